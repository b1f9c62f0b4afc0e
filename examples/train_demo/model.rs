//! A Llama for training: the forward pass in operations that candle can differentiate.
//!
//! The fused operations of candle-nn (softmax over the last dimension, RMSNorm, rotary embedding)
//! have no derivative, so this file spells them out. Names and shapes of the parameters are those
//! of a Hugging Face `LlamaForCausalLM` with tied embeddings.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use indexmap::IndexMap;
use rand::Rng;
use rand_distr::{Distribution, Normal};

/// Added to the mean square before the root, as in `config.json`.
pub(crate) const NORM_EPSILON: f64 = 1e-5;
/// Base of the rotary frequencies, as in `config.json`.
pub(crate) const ROPE_THETA: f64 = 10_000.0;
/// What the causal mask adds to scores of later positions: small enough to vanish in the softmax.
const MASKED: f32 = -1e9;

/// Sizes of a model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) vocabulary: usize,
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    /// Longest sequence, in tokens.
    pub(crate) positions: usize,
}

impl Sizes {
    fn head(&self) -> usize {
        self.hidden / self.heads
    }

    /// Number of trained numbers.
    pub(crate) fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Name and shape of every parameter, in the order of a checkpoint.
    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, intermediate) = (self.hidden, self.intermediate);
        let mut parameters =
            vec![("model.embed_tokens.weight".to_string(), vec![self.vocabulary, hidden])];
        for layer in 0..self.layers {
            let prefix = format!("model.layers.{layer}");
            for (name, shape) in [
                ("input_layernorm", vec![hidden]),
                ("self_attn.q_proj", vec![hidden, hidden]),
                ("self_attn.k_proj", vec![hidden, hidden]),
                ("self_attn.v_proj", vec![hidden, hidden]),
                ("self_attn.o_proj", vec![hidden, hidden]),
                ("post_attention_layernorm", vec![hidden]),
                ("mlp.gate_proj", vec![intermediate, hidden]),
                ("mlp.up_proj", vec![intermediate, hidden]),
                ("mlp.down_proj", vec![hidden, intermediate]),
            ] {
                parameters.push((format!("{prefix}.{name}.weight"), shape));
            }
        }
        parameters.push(("model.norm.weight".to_string(), vec![hidden]));
        parameters
    }
}

/// Parameters by name, in f32.
pub(crate) type Parameters = IndexMap<String, Tensor>;

/// Draws a fresh model: norms are one, matrices normal with variance 1 / (number of inputs), those
/// that write to the residual stream scaled down by the number of writers.
pub(crate) fn initial_parameters(sizes: &Sizes, rng: &mut impl Rng) -> Result<Parameters> {
    let residual_writers = (2 * sizes.layers) as f64;
    let mut parameters = Parameters::new();
    for (name, shape) in sizes.parameters() {
        let deviation = match *shape.as_slice() {
            [_] => None,
            _ if name.contains("embed_tokens") => Some(0.05),
            [_, inputs] if name.contains("o_proj") || name.contains("down_proj") => {
                Some((1.0 / (inputs as f64 * residual_writers)).sqrt())
            }
            [_, inputs] => Some((1.0 / inputs as f64).sqrt()),
            _ => unreachable!("parameters are vectors and matrices"),
        };
        let tensor = match deviation {
            None => Tensor::ones(shape, DType::F32, &Device::Cpu)?,
            Some(deviation) => {
                let normal = Normal::new(0.0, deviation).expect("the deviation is finite");
                let count = shape.iter().product();
                let values: Vec<f32> =
                    (0..count).map(|_| normal.sample(&mut *rng) as f32).collect();
                Tensor::from_vec(values, shape, &Device::Cpu)?
            }
        };
        parameters.insert(name, tensor);
    }
    Ok(parameters)
}

/// A model whose parameters can be trained.
pub(crate) struct Llama {
    sizes: Sizes,
    parameters: IndexMap<String, Var>,
    /// Cosines and sines of the rotary embedding, `[positions, head]`, both halves filled.
    cosines: Tensor,
    sines: Tensor,
    /// What is added to attention scores, `[positions, positions]`.
    mask: Tensor,
}

impl Llama {
    /// Copies the parameters into variables.
    pub(crate) fn new(sizes: Sizes, parameters: &Parameters) -> Result<Self> {
        let parameters = parameters
            .iter()
            .map(|(name, tensor)| Ok((name.clone(), Var::from_tensor(tensor)?)))
            .collect::<Result<_>>()?;
        let (positions, head) = (sizes.positions, sizes.head());
        let angles: Vec<f32> = (0..positions)
            .flat_map(|position| {
                (0..head).map(move |i| {
                    let exponent = (2 * (i % (head / 2))) as f64 / head as f64;
                    (position as f64 * ROPE_THETA.powf(-exponent)) as f32
                })
            })
            .collect();
        let angles = Tensor::from_vec(angles, (positions, head), &Device::Cpu)?;
        let mask: Vec<f32> = (0..positions * positions)
            .map(|i| if i % positions > i / positions { MASKED } else { 0.0 })
            .collect();
        Ok(Self {
            sizes,
            parameters,
            cosines: angles.cos()?,
            sines: angles.sin()?,
            mask: Tensor::from_vec(mask, (positions, positions), &Device::Cpu)?,
        })
    }

    /// The trainable variables, in the order of a checkpoint.
    pub(crate) fn variables(&self) -> Vec<Var> {
        self.parameters.values().cloned().collect()
    }

    /// A copy of the parameters' values.
    pub(crate) fn parameters(&self) -> Result<Parameters> {
        self.parameters
            .iter()
            .map(|(name, variable)| Ok((name.clone(), variable.as_detached_tensor().copy()?)))
            .collect()
    }

    /// Logits of the next token, `[batch · length, vocabulary]`, for tokens `[batch, length]`.
    pub(crate) fn logits(&self, tokens: &Tensor) -> Result<Tensor> {
        let (batch, length) = tokens.dims2()?;
        let embeddings = self.parameters["model.embed_tokens.weight"].as_tensor();
        let mut states = embeddings.index_select(&tokens.flatten_all()?, 0)?;
        for layer in 0..self.sizes.layers {
            let prefix = format!("model.layers.{layer}");
            let normed = self.norm(&states, &format!("{prefix}.input_layernorm"))?;
            let mixed = self.attention(&normed, &format!("{prefix}.self_attn"), batch, length)?;
            states = (states + mixed)?;
            let normed = self.norm(&states, &format!("{prefix}.post_attention_layernorm"))?;
            let gate = self.linear(&normed, &format!("{prefix}.mlp.gate_proj"))?.silu()?;
            let up = self.linear(&normed, &format!("{prefix}.mlp.up_proj"))?;
            let down = self.linear(&(gate * up)?, &format!("{prefix}.mlp.down_proj"))?;
            states = (states + down)?;
        }
        self.norm(&states, "model.norm")?.matmul(&embeddings.t()?)
    }

    fn linear(&self, states: &Tensor, name: &str) -> Result<Tensor> {
        states.matmul(&self.parameters[&format!("{name}.weight")].t()?)
    }

    fn norm(&self, states: &Tensor, name: &str) -> Result<Tensor> {
        let mean_square = states.sqr()?.mean_keepdim(D::Minus1)?;
        let normed = states.broadcast_div(&(mean_square + NORM_EPSILON)?.sqrt()?)?;
        normed.broadcast_mul(&self.parameters[&format!("{name}.weight")])
    }

    fn attention(
        &self,
        states: &Tensor,
        name: &str,
        batch: usize,
        length: usize,
    ) -> Result<Tensor> {
        let (heads, head) = (self.sizes.heads, self.sizes.head());
        let by_head = |projection: &str| {
            self.linear(states, &format!("{name}.{projection}"))?
                .reshape((batch, length, heads, head))?
                .transpose(1, 2)?
                .contiguous()
        };
        let queries = self.rotate(&by_head("q_proj")?, length)?;
        let keys = self.rotate(&by_head("k_proj")?, length)?;
        let values = by_head("v_proj")?;
        let mask = self.mask.narrow(0, 0, length)?.narrow(1, 0, length)?;
        let scores = (queries.matmul(&keys.t()?)? * (1.0 / (head as f64).sqrt()))?;
        let shares = candle_nn::ops::softmax(&scores.broadcast_add(&mask)?, D::Minus1)?;
        let mixed = shares.matmul(&values)?.transpose(1, 2)?;
        self.linear(&mixed.reshape((batch * length, heads * head))?, &format!("{name}.o_proj"))
    }

    /// Rotary position embedding: pairs (i, i + head / 2) turn by position × frequency i.
    fn rotate(&self, states: &Tensor, length: usize) -> Result<Tensor> {
        let half = self.sizes.head() / 2;
        let first = states.narrow(D::Minus1, 0, half)?;
        let second = states.narrow(D::Minus1, half, half)?;
        let turned = Tensor::cat(&[&second.neg()?, &first], D::Minus1)?;
        states.broadcast_mul(&self.cosines.narrow(0, 0, length)?)?
            + turned.broadcast_mul(&self.sines.narrow(0, 0, length)?)?
    }
}
