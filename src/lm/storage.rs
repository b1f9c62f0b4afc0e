//! How weights lie in memory while a model runs.

use std::str::FromStr;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Tensor};

/// The form in which weights are kept. Arithmetic is f32 whatever it is, but for products with
/// [`Storage::F16`] on a graphics card; see [`DeviceChoice`](super::DeviceChoice).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Storage {
    /// 32 bits; exact.
    #[default]
    F32,
    /// 16 bits, IEEE half precision.
    F16,
    /// 8.5 bits: blocks of 32 whole numbers with a common scale.
    Q8_0,
    /// 4.5 bits: blocks of 32 whole numbers with a common scale.
    Q4_0,
    /// 4.5 bits: blocks of 256 whole numbers with scales and offsets for each 32.
    Q4K,
}

impl Storage {
    /// All forms, by the names people give them.
    pub const NAMES: [(&'static str, Storage); 5] = [
        ("f32", Storage::F32),
        ("f16", Storage::F16),
        ("q8_0", Storage::Q8_0),
        ("q4_0", Storage::Q4_0),
        ("q4_k", Storage::Q4K),
    ];

    /// The name that people give it.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, storage)| *storage == self).map_or("f32", |(name, _)| name)
    }

    /// Bytes that so many elements take.
    pub fn bytes(self, elements: usize) -> u64 {
        let (size, of) = match self.quantized() {
            Some(dtype) => (dtype.type_size(), dtype.block_size()),
            None if self == Storage::F16 => (2, 1),
            None => (4, 1),
        };
        (elements as u64).div_ceil(of as u64) * size as u64
    }

    fn quantized(self) -> Option<GgmlDType> {
        match self {
            Storage::F32 | Storage::F16 => None,
            Storage::Q8_0 => Some(GgmlDType::Q8_0),
            Storage::Q4_0 => Some(GgmlDType::Q4_0),
            Storage::Q4K => Some(GgmlDType::Q4K),
        }
    }
}

impl FromStr for Storage {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, storage)| *storage)
            .ok_or_else(|| {
                let known: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
                format!("should be one of {}", known.join(", "))
            })
    }
}

/// A tensor in the form in which a decoder keeps it.
#[derive(Debug, Clone)]
pub struct StoredTensor(pub(super) Form);

#[derive(Debug, Clone)]
pub(super) enum Form {
    /// A tensor of floats.
    Floats(Tensor),
    /// Blocks of whole numbers, along the last dimension.
    Blocks(Arc<QTensor>),
}

impl StoredTensor {
    /// A tensor as it is.
    pub fn new(tensor: Tensor) -> Self {
        Self(Form::Floats(tensor))
    }

    /// Converts the tensor `name` to a form, if it is a matrix; vectors are f32. What chooses among
    /// experts stays as exact as it is, and matrices whose rows are no multiple of a block are f16.
    ///
    /// # Errors
    ///
    /// A device that cannot convert it.
    pub fn convert(name: &str, tensor: &Tensor, storage: Storage) -> candle_core::Result<Self> {
        if tensor.rank() < 2 || is_router(name) {
            return Ok(Self::new(tensor.to_dtype(DType::F32)?));
        }
        let row = tensor.dim(tensor.rank() - 1)?;
        match storage.quantized() {
            Some(dtype) if row.is_multiple_of(dtype.block_size()) => {
                let tensor = tensor.to_dtype(DType::F32)?;
                Ok(Self(Form::Blocks(Arc::new(QTensor::quantize(&tensor, dtype)?))))
            }
            None if storage == Storage::F32 => Ok(Self::new(tensor.to_dtype(DType::F32)?)),
            _ => Ok(Self::new(tensor.to_dtype(DType::F16)?)),
        }
    }

    /// Sizes of its dimensions.
    pub fn shape(&self) -> &[usize] {
        match &self.0 {
            Form::Floats(tensor) => tensor.dims(),
            Form::Blocks(blocks) => blocks.shape().dims(),
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Form::Floats(tensor) => tensor.elem_count() * tensor.dtype().size_in_bytes(),
            Form::Blocks(blocks) => blocks.storage_size_in_bytes(),
        }
    }
}

/// Whether a tensor decides which experts a token uses, where a small error changes everything.
fn is_router(name: &str) -> bool {
    [".gate.weight", ".router.weight", ".shared_expert_gate.weight"]
        .iter()
        .any(|ending| name.ends_with(ending))
}
