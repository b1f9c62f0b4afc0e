//! How two models differ and, with a base model, where they went from it.

use rayon::prelude::*;

use super::measure::{Block, Operand, measure};
use super::{Accumulate, Groups, InspectError, MeasureOptions, Measured, Model, ModelTensor};
use crate::kernels::compare::{Comparison, TaskVectors};

/// How a part of one model differs from the same part of another.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ComparedPart {
    /// Number of tensors.
    pub tensors: u64,
    /// A against B.
    pub comparison: Comparison,
    /// A − C against B − C, over those tensors that the base model C has too.
    pub task_vectors: Option<TaskVectors>,
}

impl Accumulate for ComparedPart {
    fn add(&mut self, other: &Self) {
        self.tensors += other.tensors;
        self.comparison.add(&other.comparison);
        if let Some(vectors) = &other.task_vectors {
            self.task_vectors.get_or_insert_default().add(vectors);
        }
    }
}

/// A tensor that only one of the models has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmatched {
    /// Its shared name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// A tensor that has another shape in another model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeMismatch {
    /// Its shared name.
    pub name: String,
    /// Its shapes in A and in B, or in A and in the base model.
    pub shapes: [Vec<usize>; 2],
}

/// How model B differs from model A.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Every tensor that both models have in the same shape, in A's order.
    pub tensors: Vec<Measured<ComparedPart>>,
    /// The same by layer and kind.
    pub groups: Groups<ComparedPart>,
    /// Tensors that B lacks.
    pub only_in_a: Vec<Unmatched>,
    /// Tensors that A lacks.
    pub only_in_b: Vec<Unmatched>,
    /// Tensors of different shape.
    pub shape_mismatches: Vec<ShapeMismatch>,
    /// Tensors that are compared without the base model, which lacks them or has them in another
    /// shape. Empty without a base model.
    pub not_in_base: Vec<String>,
}

/// A tensor that is to be compared.
struct Pair<'m> {
    name: &'m str,
    tensor: &'m ModelTensor,
    elements: usize,
    /// A, B and, if it has the tensor, the base model.
    operands: Vec<Operand<'m>>,
}

/// What there is to compare.
#[derive(Default)]
struct Pairs<'m> {
    pairs: Vec<Pair<'m>>,
    only_in_a: Vec<Unmatched>,
    only_in_b: Vec<Unmatched>,
    shape_mismatches: Vec<ShapeMismatch>,
    not_in_base: Vec<String>,
}

impl<'m> Pairs<'m> {
    fn find(a: &'m Model, b: &'m Model, base: Option<&'m Model>) -> Self {
        let mut found = Self::default();
        let unmatched = |model: &Model, name: &str, tensor| Unmatched {
            name: name.to_owned(),
            shape: model.info(tensor).shape.clone(),
        };
        for (name, a_tensor) in a.tensors() {
            match b.find(name) {
                Some(b_tensor) => found.add((a, a_tensor), (b, b_tensor), base, name),
                None => found.only_in_a.push(unmatched(a, name, a_tensor)),
            }
        }
        for (name, b_tensor) in
            b.tensors().iter().filter(|(name, _)| !a.tensors().contains_key(*name))
        {
            match a.tied().get(name) {
                Some(a_tensor) => found.add((a, a_tensor), (b, b_tensor), base, name),
                None => found.only_in_b.push(unmatched(b, name, b_tensor)),
            }
        }
        found
    }

    fn add(
        &mut self,
        (a, a_tensor): (&'m Model, &'m ModelTensor),
        (b, b_tensor): (&'m Model, &'m ModelTensor),
        base: Option<&'m Model>,
        name: &'m str,
    ) {
        let shape = &a.info(a_tensor).shape;
        let b_shape = &b.info(b_tensor).shape;
        if shape != b_shape {
            let shapes = [shape.clone(), b_shape.clone()];
            self.shape_mismatches.push(ShapeMismatch { name: name.to_owned(), shapes });
            return;
        }
        let mut operands = vec![Operand::new(a, a_tensor), Operand::new(b, b_tensor)];
        if let Some(base) = base {
            match base.find(name).filter(|tensor| base.info(tensor).shape == *shape) {
                Some(tensor) => operands.push(Operand::new(base, tensor)),
                None => self.not_in_base.push(name.to_owned()),
            }
        }
        let elements = a.info(a_tensor).elements();
        self.pairs.push(Pair { name, tensor: a_tensor, elements, operands });
    }

    fn bytes(&self) -> u64 {
        let bytes = |pair: &Pair<'_>| {
            let element: usize = pair.operands.iter().map(|operand| operand.dtype.size()).sum();
            (element * pair.elements) as u64
        };
        self.pairs.iter().map(bytes).sum()
    }
}

impl Difference {
    /// Reads every tensor that A and B share once from each model.
    ///
    /// A tied tensor of one model is compared with the stored one of the other. `progress` is told,
    /// from many threads, how many more bytes have been read; in the end they add up to
    /// [`Difference::bytes`]. Fails when the models have nothing to compare.
    pub fn measure(
        a: &Model,
        b: &Model,
        base: Option<&Model>,
        options: &MeasureOptions,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Self, InspectError> {
        let found = Pairs::find(a, b, base);
        let (a_label, b_label) = (a.label().to_owned(), b.label().to_owned());
        if found.pairs.is_empty() {
            return Err(InspectError::NothingInCommon { a: a_label, b: b_label });
        }
        if let Some(base) = base
            && found.pairs.len() == found.not_in_base.len()
        {
            let base = base.label().to_owned();
            return Err(InspectError::NothingInBase { base, a: a_label, b: b_label });
        }
        let measured: Result<Vec<_>, InspectError> = options.pool()?.install(|| {
            let pairs = found.pairs.par_iter().with_max_len(1);
            let measured = pairs.map(|pair| {
                let mut part: ComparedPart =
                    measure(&pair.operands, pair.elements, options, progress, compare)?;
                part.tensors = 1;
                if pair.operands.len() == 3 {
                    part.task_vectors.get_or_insert_default();
                }
                Ok(Measured {
                    name: pair.name.to_owned(),
                    place: pair.tensor.place.clone(),
                    shape: a.info(pair.tensor).shape.clone(),
                    dtypes: pair.operands.iter().map(|operand| operand.dtype).collect(),
                    part,
                })
            });
            measured.collect()
        });
        let tensors = measured?;
        Ok(Self {
            groups: Groups::of(&tensors),
            tensors,
            only_in_a: found.only_in_a,
            only_in_b: found.only_in_b,
            shape_mismatches: found.shape_mismatches,
            not_in_base: found.not_in_base,
        })
    }

    /// Bytes that [`Difference::measure`] reads.
    pub fn bytes(a: &Model, b: &Model, base: Option<&Model>) -> u64 {
        Pairs::find(a, b, base).bytes()
    }
}

/// Compares a block of A and B, and of the base model where it has the tensor.
fn compare(block: Block<'_>) -> ComparedPart {
    let (comparison, task_vectors) = match block {
        Block::Narrow([a, b]) => (Comparison::of(a, b), None),
        Block::Wide([a, b]) => (Comparison::of(a, b), None),
        Block::Narrow([a, b, c]) => (Comparison::of(a, b), Some(TaskVectors::of(a, b, c))),
        Block::Wide([a, b, c]) => (Comparison::of(a, b), Some(TaskVectors::of(a, b, c))),
        Block::Narrow(_) | Block::Wide(_) => unreachable!("two or three models are compared"),
    };
    ComparedPart { tensors: 0, comparison, task_vectors }
}

#[cfg(test)]
mod tests;
