//! A tensor whose rows belong to tokens, with its rows in another order, computed while it is read.

use std::any::Any;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use indexmap::IndexMap;

use crate::checkpoint::{CheckpointError, Holding, TensorInfo, TensorSource};
use crate::kernels::dtype::{DType, narrow, widen};

/// Elements that are widened at once.
const PIECE: usize = 1024;

/// Where a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Row {
    /// A row of one of the tensors.
    Stored {
        /// Which tensor.
        from: u32,
        /// Which row of it.
        row: u32,
    },
    /// The mean of rows: an index into [`AlignedRows::means`].
    Mean(u32),
    /// Zeros.
    Zero,
    /// The mean of all other rows of the result.
    Padding,
}

/// A tensor of a model, with `[rows, …]` of the same length.
#[derive(Clone)]
pub struct RowSource {
    /// The model's tensors.
    pub source: Arc<dyn TensorSource>,
    /// Its name there.
    pub tensor: String,
}

impl RowSource {
    fn info(&self) -> &TensorInfo {
        &self.source.tensors()[&self.tensor]
    }
}

/// One tensor, put together from rows of several. Nothing is copied: each read goes to where the rows
/// are.
pub struct AlignedRows {
    /// The one tensor there is.
    tensors: IndexMap<String, TensorInfo>,
    dtype: DType,
    /// Elements of a row.
    width: usize,
    from: Vec<RowSource>,
    rows: Vec<Row>,
    means: Vec<Vec<(u32, u32)>>,
    /// The row for padding, once it is known.
    padding: OnceLock<Vec<f32>>,
}

impl AlignedRows {
    /// The tensor `name` of type `dtype`, with `rows` of the tensors `from`, which have equally long
    /// rows. `means` are lists of tensors and rows in them.
    ///
    /// # Panics
    ///
    /// Without a tensor, or when a row is not there.
    pub fn new(
        name: &str,
        dtype: DType,
        from: Vec<RowSource>,
        rows: Vec<Row>,
        means: Vec<Vec<(u32, u32)>>,
    ) -> Self {
        let mut shape = from[0].info().shape.clone();
        shape[0] = rows.len();
        let width = shape[1..].iter().product();
        let exists = |&(from_index, row): &(u32, u32)| {
            let shape = &from[from_index as usize].info().shape;
            (row as usize) < shape[0] && shape[1..].iter().product::<usize>() == width
        };
        let stored = rows.iter().filter_map(|row| match row {
            Row::Stored { from, row } => Some((*from, *row)),
            _ => None,
        });
        assert!(stored.collect::<Vec<_>>().iter().chain(means.iter().flatten()).all(exists));
        let tensors = IndexMap::from([(name.to_owned(), TensorInfo { dtype, shape })]);
        Self { tensors, dtype, width, from, rows, means, padding: OnceLock::new() }
    }

    /// Differs, but for accidents, between tensors with other rows of the same sources.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.dtype.to_string(), &self.rows, &self.means).hash(&mut hasher);
        hasher.finish()
    }

    /// How many rows from `row` on lie behind each other in the same place, at most `most`.
    fn run(&self, row: usize, most: usize) -> usize {
        let Row::Stored { from, row: first } = self.rows[row] else { return 1 };
        let following = self.rows[row..].iter().zip(first..).take(most);
        let is_next = |(found, row): &(&Row, u32)| **found == Row::Stored { from, row: *row };
        following.take_while(is_next).count()
    }

    /// Copies elements from column `col` of `row` on, which lie behind each other.
    fn copy_run(&self, row: usize, col: usize, out: &mut [u8]) -> Result<(), CheckpointError> {
        let size = self.dtype.size();
        if let Row::Stored { from, row } = self.rows[row] {
            let RowSource { source, tensor } = &self.from[from as usize];
            if self.from[from as usize].info().dtype == self.dtype {
                return source.copy_bytes(tensor, row as usize * self.width + col, out);
            }
        }
        let mut values = [0.0; PIECE];
        for (index, out) in out.chunks_mut(PIECE * size).enumerate() {
            let values = &mut values[..out.len() / size];
            self.values(row, col + index * PIECE, values)?;
            narrow(self.dtype, values, out);
        }
        Ok(())
    }

    /// Computes elements from column `col` of `row` on.
    fn values(&self, row: usize, col: usize, out: &mut [f32]) -> Result<(), CheckpointError> {
        let read = |from: u32, row: u32, out: &mut [f32]| {
            let RowSource { source, tensor } = &self.from[from as usize];
            source.read_into(tensor, row as usize * self.width + col, out)
        };
        match self.rows[row] {
            Row::Stored { from, row } => read(from, row, out)?,
            Row::Zero => out.fill(0.0),
            Row::Padding => out.copy_from_slice(&self.padding()?[col..][..out.len()]),
            Row::Mean(mean) => {
                let rows = &self.means[mean as usize];
                let mut other = [0.0; PIECE];
                let other = &mut other[..out.len()];
                out.fill(0.0);
                for &(from, row) in rows {
                    read(from, row, other)?;
                    out.iter_mut().zip(&*other).for_each(|(sum, value)| *sum += value);
                }
                out.iter_mut().for_each(|sum| *sum /= rows.len() as f32);
            }
        }
        Ok(())
    }

    /// The mean of all rows that are no padding; zeros when there are none.
    fn padding(&self) -> Result<&[f32], CheckpointError> {
        if let Some(padding) = self.padding.get() {
            return Ok(padding);
        }
        let mut sums = vec![0.0f64; self.width];
        let mut stored = vec![0; self.width * self.dtype.size()];
        let mut values = vec![0.0; self.width];
        let mut n_rows = 0;
        for row in (0..self.rows.len()).filter(|&row| self.rows[row] != Row::Padding) {
            self.copy_run(row, 0, &mut stored)?;
            widen(self.dtype, &stored, &mut values);
            sums.iter_mut().zip(&values).for_each(|(sum, &value)| *sum += f64::from(value));
            n_rows += 1;
        }
        let mean = |sum: f64| (sum / f64::from(n_rows.max(1))) as f32;
        Ok(self.padding.get_or_init(|| sums.into_iter().map(mean).collect()))
    }

    fn has_padding(&self) -> bool {
        self.rows.contains(&Row::Padding)
    }
}

impl TensorSource for AlignedRows {
    fn tensors(&self) -> &IndexMap<String, TensorInfo> {
        &self.tensors
    }

    fn read_into(&self, name: &str, start: usize, out: &mut [f32]) -> Result<(), CheckpointError> {
        let mut stored = vec![0; out.len() * self.dtype.size()];
        self.copy_bytes(name, start, &mut stored)?;
        widen(self.dtype, &stored, out);
        Ok(())
    }

    fn copy_bytes(&self, name: &str, start: usize, out: &mut [u8]) -> Result<(), CheckpointError> {
        let info = &self.tensors[name];
        let length = info.whole_elements(name, out.len())?;
        info.check_range(name, start, length)?;
        let size = self.dtype.size();
        let (mut start, mut rest) = (start, out);
        while !rest.is_empty() {
            let (row, col) = (start / self.width, start % self.width);
            let wanted = rest.len() / size;
            let rows = self.run(row, (col + wanted).div_ceil(self.width));
            let length = wanted.min(rows * self.width - col);
            let (part, behind) = rest.split_at_mut(length * size);
            self.copy_run(row, col, part)?;
            start += length;
            rest = behind;
        }
        Ok(())
    }

    fn files(&self) -> Vec<&Path> {
        self.from.iter().flat_map(|from| from.source.files()).collect()
    }

    fn hold(&self, _: &str) -> Result<Option<Arc<dyn Any + Send + Sync>>, CheckpointError> {
        let mut held = Vec::new();
        for RowSource { source, tensor } in &self.from {
            held.extend(source.hold(tensor)?);
        }
        if self.has_padding() {
            self.padding()?;
        }
        Ok((!held.is_empty()).then(|| Arc::new(held) as Arc<dyn Any + Send + Sync>))
    }

    fn holding(&self, name: &str) -> Holding {
        let of = |from: &RowSource| from.source.holding(&from.tensor);
        let all = self.from.iter().map(of).fold(Holding::default(), |a, b| Holding {
            bytes_read: a.bytes_read + b.bytes_read,
            memory: a.memory + b.memory,
        });
        match self.has_padding() {
            false => all,
            true => Holding {
                bytes_read: all.bytes_read + self.tensors[name].bytes() as u64,
                memory: all.memory + 16 * self.width as u64,
            },
        }
    }
}
