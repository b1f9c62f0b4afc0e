//! A decoder's tensors, taken from a map by name and checked against the config.
//!
//! Tensors that are f32, contiguous and in main memory, as the merge engine makes them, are used
//! where they are. Others are converted once.

use std::ops::{Deref, Range};

use candle_core::{DType, Device, Storage, Tensor};
use indexmap::IndexMap;

use super::config::DecoderConfig;
use super::error::LmError;

/// A contiguous f32 tensor in main memory.
#[derive(Debug, Clone)]
pub(super) struct Weight(Tensor);

/// Access to a [`Weight`]'s elements, through the guard `G` of its storage.
struct Elements<G> {
    storage: G,
    range: Range<usize>,
}

impl Weight {
    pub(super) fn elements(&self) -> impl Deref<Target = [f32]> + '_ {
        let (storage, layout) = self.0.storage_and_layout();
        let (start, end) = layout.contiguous_offsets().expect("checked by `Tensors::take`");
        Elements { storage, range: start..end }
    }
}

impl<G: Deref<Target = Storage>> Deref for Elements<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        let Storage::Cpu(storage) = &*self.storage else {
            unreachable!("`Tensors::take` keeps tensors in main memory only")
        };
        let elements = storage.as_slice::<f32>().expect("`Tensors::take` keeps f32 only");
        &elements[self.range.clone()]
    }
}

/// A matrix product's weight `[outputs, inputs]` and its bias, if any.
#[derive(Debug, Clone)]
pub(super) struct Projection {
    pub(super) weight: Weight,
    pub(super) bias: Option<Weight>,
}

/// RMSNorm weights over each head of queries and of keys.
#[derive(Debug, Clone)]
pub(super) struct HeadNorms {
    pub(super) queries: Weight,
    pub(super) keys: Weight,
}

/// One layer's tensors.
#[derive(Debug, Clone)]
pub(super) struct LayerWeights {
    pub(super) attention_norm: Weight,
    pub(super) query: Projection,
    pub(super) key: Projection,
    pub(super) value: Projection,
    pub(super) head_norms: Option<HeadNorms>,
    pub(super) output: Projection,
    pub(super) mlp_norm: Weight,
    pub(super) gate: Projection,
    pub(super) up: Projection,
    pub(super) down: Projection,
}

/// All tensors of a decoder.
#[derive(Debug, Clone)]
pub(super) struct Weights {
    pub(super) embedding: Weight,
    pub(super) layers: Vec<LayerWeights>,
    pub(super) norm: Weight,
    /// `[vocabulary, hidden]`; the embedding again if the head is tied.
    pub(super) head: Weight,
}

impl Weights {
    /// Takes what the config promises; other tensors are left out, as in transformers.
    pub(super) fn new(
        config: &DecoderConfig,
        tensors: IndexMap<String, Tensor>,
    ) -> Result<Self, LmError> {
        let mut tensors = Tensors(tensors);
        let hidden = config.hidden;
        let embedding = tensors.take("model.embed_tokens.weight", &[config.vocabulary, hidden])?;
        let norm = tensors.take("model.norm.weight", &[hidden])?;
        let head = if config.tied_head {
            embedding.clone()
        } else {
            tensors.take("lm_head.weight", &[config.vocabulary, hidden])?
        };
        let mut layers = Vec::new();
        for layer in 0..config.layers {
            layers.push(tensors.take_layer(config, &format!("model.layers.{layer}"))?);
        }
        Ok(Self { embedding, layers, norm, head })
    }
}

struct Tensors(IndexMap<String, Tensor>);

impl Tensors {
    fn take_layer(&mut self, config: &DecoderConfig, at: &str) -> Result<LayerWeights, LmError> {
        let hidden = config.hidden;
        let intermediate = config.intermediate;
        let query_width = config.heads * config.head_dim;
        let kv_width = config.kv_heads * config.head_dim;
        let qkv_bias = config.query_key_value_bias;
        let attention = format!("{at}.self_attn");
        let mlp = format!("{at}.mlp");
        let head_norms = if config.normalized_heads {
            let shape = [config.head_dim];
            Some(HeadNorms {
                queries: self.take(&format!("{attention}.q_norm.weight"), &shape)?,
                keys: self.take(&format!("{attention}.k_norm.weight"), &shape)?,
            })
        } else {
            None
        };
        let mut projection = |parent: &str, name: &str, outputs, inputs, bias: bool| {
            let weight = self.take(&format!("{parent}.{name}.weight"), &[outputs, inputs])?;
            let bias = if bias {
                Some(self.take(&format!("{parent}.{name}.bias"), &[outputs])?)
            } else {
                None
            };
            Ok::<_, LmError>(Projection { weight, bias })
        };
        Ok(LayerWeights {
            query: projection(&attention, "q_proj", query_width, hidden, qkv_bias)?,
            key: projection(&attention, "k_proj", kv_width, hidden, qkv_bias)?,
            value: projection(&attention, "v_proj", kv_width, hidden, qkv_bias)?,
            output: projection(&attention, "o_proj", hidden, query_width, config.output_bias)?,
            gate: projection(&mlp, "gate_proj", intermediate, hidden, config.mlp_bias)?,
            up: projection(&mlp, "up_proj", intermediate, hidden, config.mlp_bias)?,
            down: projection(&mlp, "down_proj", hidden, intermediate, config.mlp_bias)?,
            head_norms,
            attention_norm: self.take(&format!("{at}.input_layernorm.weight"), &[hidden])?,
            mlp_norm: self.take(&format!("{at}.post_attention_layernorm.weight"), &[hidden])?,
        })
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Weight, LmError> {
        let tensor = self
            .0
            .swap_remove(name)
            .ok_or_else(|| LmError::MissingTensor { tensor: name.to_owned() })?;
        if tensor.dims() != shape {
            return Err(LmError::TensorShape {
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                actual: tensor.dims().to_vec(),
            });
        }
        if !matches!(tensor.device(), Device::Cpu) {
            return Err(LmError::NotOnCpu { tensor: name.to_owned() });
        }
        Ok(Weight(tensor.to_dtype(DType::F32)?.contiguous()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f32_tensors_are_used_where_they_are() {
        let values: Vec<f32> = (0..12).map(|value| value as f32).collect();
        let address = values.as_ptr();
        let tensor = Tensor::from_vec(values, (4, 3), &Device::Cpu).expect("twelve values");
        let part = tensor.narrow(0, 1, 2).expect("rows 1 and 2 exist");
        let named = [("whole".to_owned(), tensor), ("part".to_owned(), part)];
        let mut tensors = Tensors(named.into_iter().collect());
        let whole = tensors.take("whole", &[4, 3]).expect("it is there");
        assert_eq!(whole.elements().as_ptr(), address);
        let part = tensors.take("part", &[2, 3]).expect("it is there");
        assert_eq!(part.elements().as_ptr(), address.wrapping_add(3));
        assert_eq!(part.elements()[..], [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    }
}
