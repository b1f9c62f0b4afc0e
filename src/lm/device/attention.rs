//! Causal attention of ragged sequences, as products of tensors.

use candle_core::{D, DType, Device, Tensor};

use super::index;
use super::plan::{Group, Question, Shared};
use super::store::Store;
use crate::lm::alibi;
use crate::lm::backend::Attention;
use crate::lm::config::{AttentionConfig, Positions};
use crate::lm::error::LmError;

/// A plan of a pass's attention, with what it needs on the device.
#[derive(Debug)]
pub(super) struct Plan {
    groups: Vec<PlacedGroup>,
    /// Which row of the groups' results, one below the other, each query's is; `None` if they stand
    /// in order.
    order: Option<Tensor>,
}

/// A group with its tensors.
#[derive(Debug)]
struct PlacedGroup {
    group: Group,
    queries: usize,
    keys: usize,
    /// `[members · queries]`.
    rows: Tensor,
    /// `[members · keys]`.
    places: Tensor,
    /// `[members, queries]`, f32.
    query_positions: Tensor,
    /// `[members, keys]`, f32.
    key_positions: Tensor,
    /// Positions of the keys that are seen of each shared part, `[1, keys]`, f32; `None` if none is.
    shared_positions: Vec<Option<Tensor>>,
}

impl Plan {
    /// The question that a layer's attention asks. Layers that ask the same can share the plan.
    pub(super) fn question(attention: &Attention<'_, Store>, most: usize) -> Question {
        let Attention { config, pass, .. } = attention;
        let shared = pass.prefixes.iter();
        Question {
            queries: attention.queries.to_vec(),
            segments: pass.segments.to_vec(),
            shared: shared.map(|one| Shared { position: one.position, len: one.len }).collect(),
            window: config.window,
            heads: config.heads,
            kv_elements: config.kv_elements(),
            most,
        }
    }

    /// Plans, and puts the plan on a device.
    pub(super) fn new(question: &Question, device: &Device) -> Result<Self, LmError> {
        let groups = question.groups();
        let mut order = vec![0; question.queries.len()];
        let rows = groups.iter().flat_map(|group| &group.rows);
        let count = rows.clone().count();
        rows.enumerate().for_each(|(result, row)| order[*row] = result);
        let is_in_order = count == order.len() && order.iter().enumerate().all(|(a, b)| a == *b);
        let order = if is_in_order { None } else { Some(index(&order, device)?) };
        let groups =
            groups.into_iter().map(|group| PlacedGroup::new(group, &question.shared, device));
        Ok(Self { groups: groups.collect::<Result<_, _>>()?, order })
    }

    /// `softmax(scale · query · keysᵀ) · values`, `[queries, heads · value_dim]`.
    pub(super) fn attend(
        &self,
        rows: &Tensor,
        attention: &Attention<'_, Store>,
        slopes: Option<&Tensor>,
    ) -> Result<Tensor, LmError> {
        let rows = rows.affine(f64::from(attention.config.scale), 0.0)?;
        let results = self
            .groups
            .iter()
            .map(|group| group.attend(&rows, attention, slopes))
            .collect::<Result<Vec<_>, _>>()?;
        let results = Tensor::cat(&results, 0)?;
        Ok(match &self.order {
            None => results,
            Some(order) => results.index_select(order, 0)?,
        })
    }
}

/// The rates of ALiBi `[kv_heads, 1, 1, heads of a kv_head, 1]`, if a layer has them.
pub(super) fn slopes(config: &AttentionConfig, device: &Device) -> Result<Option<Tensor>, LmError> {
    if config.positions != Positions::Alibi {
        return Ok(None);
    }
    let (kv_heads, shared) = (config.kv_heads, config.heads / config.kv_heads);
    let slopes = alibi::slopes(config.heads);
    Ok(Some(Tensor::from_vec(slopes, (kv_heads, 1, 1, shared, 1), device)?))
}

/// Scores of a group with some keys, and the values that they weigh.
struct Part {
    /// `[kv_heads · members, queries of a kv_head, keys]`.
    scores: Tensor,
    /// `[kv_heads · members, keys, value_dim]`, or `[kv_heads, keys, value_dim]` for all members.
    values: Tensor,
}

impl PlacedGroup {
    fn new(group: Group, shared: &[Shared], device: &Device) -> Result<Self, LmError> {
        let members = group.members;
        let [queries, keys] = [&group.rows, &group.places].map(|all| all.len() / members);
        let positions = |positions: &[usize], each| {
            let positions: Vec<f32> = positions.iter().map(|position| *position as f32).collect();
            Tensor::from_vec(positions, (members, each), device)
        };
        let shared_positions = shared.iter().zip(&group.shared).map(|(shared, (range, _))| {
            let positions = range.clone().map(|key| (shared.position + key) as f32);
            let positions: Vec<f32> = positions.collect();
            let tensor = || Tensor::from_vec(positions, (1, range.len()), device);
            (!range.is_empty()).then(tensor).transpose()
        });
        Ok(Self {
            queries,
            keys,
            rows: index(&group.rows, device)?,
            places: index(&group.places, device)?,
            query_positions: positions(&group.query_positions, queries)?,
            key_positions: positions(&group.key_positions, keys)?,
            shared_positions: shared_positions.collect::<Result<_, _>>()?,
            group,
        })
    }

    /// Results of all queries `[members · queries, heads · value_dim]`; `rows` are scaled.
    fn attend(
        &self,
        rows: &Tensor,
        attention: &Attention<'_, Store>,
        slopes: Option<&Tensor>,
    ) -> Result<Tensor, LmError> {
        let Attention { config, layer, pass, store, .. } = *attention;
        let AttentionConfig { kv_heads, key_dim, value_dim, .. } = *config;
        let (members, shared_heads) = (self.group.members, config.heads / kv_heads);
        let count = members * self.queries;
        // Heads of queries that see the same head of keys are rows of one product.
        let queries = rows.index_select(&self.rows, 0)?;
        let queries = queries.reshape((count, kv_heads, shared_heads, key_dim))?;
        let queries = queries.transpose(0, 1)?.contiguous()?;
        let of_all = queries.reshape((kv_heads, count * shared_heads, key_dim))?;
        let of_members =
            of_all.reshape((kv_heads * members, self.queries * shared_heads, key_dim))?;

        let mut parts = Vec::new();
        let shared = self.group.shared.iter().zip(&self.shared_positions);
        for (prefix, ((range, is_masked), positions)) in pass.prefixes.iter().zip(shared) {
            let held = prefix.store.layer(layer);
            let (Some(keys), Some(values), Some(positions)) = (&held.keys, &held.values, positions)
            else {
                continue;
            };
            let (start, len) = (prefix.block.offset + range.start, range.len());
            let keys = keys.narrow(1, start, len)?;
            let scores = of_all.matmul(&keys.t()?)?;
            let scores = self.finish(&scores, config, positions, *is_masked, slopes)?;
            parts.push(Part { scores, values: values.narrow(1, start, len)? });
        }
        let held = store.layer(layer);
        if let (Some(keys), Some(values)) = (&held.keys, &held.values) {
            let own = |held: &Tensor, dim: usize| {
                let chosen = held.index_select(&self.places, 1)?;
                chosen.reshape((kv_heads * members, self.keys, dim))
            };
            let scores = of_members.matmul(&own(keys, key_dim)?.t()?)?;
            let is_masked = self.group.is_masked;
            let scores = self.finish(&scores, config, &self.key_positions, is_masked, slopes)?;
            parts.push(Part { scores, values: own(values, value_dim)? });
        }

        let result = weighted(&parts)?;
        let result = result.reshape((kv_heads, count, shared_heads * value_dim))?;
        let result = result.transpose(0, 1)?.contiguous()?;
        Ok(result.reshape((count, config.result_width()))?)
    }

    /// Turns products into scores `[kv_heads · members, queries of a kv_head, keys]`: with what depends
    /// on positions `[members or 1, keys]`, and with −∞ for what must not be seen.
    fn finish(
        &self,
        products: &Tensor,
        config: &AttentionConfig,
        key_positions: &Tensor,
        is_masked: bool,
        slopes: Option<&Tensor>,
    ) -> Result<Tensor, LmError> {
        let AttentionConfig { kv_heads, heads, .. } = *config;
        let (members, queries) = (self.group.members, self.queries);
        let (some, keys) = key_positions.dims2()?;
        let shape = (kv_heads, members, queries, heads / kv_heads, keys);
        let mut scores = products.reshape(shape)?;
        if let Some(slopes) = slopes {
            let rounded = |x: &Tensor| x.to_dtype(DType::BF16)?.to_dtype(DType::F32);
            let positions = rounded(&key_positions.reshape((1, some, 1, 1, keys))?)?;
            let bias = rounded(&slopes.broadcast_mul(&positions)?)?;
            scores = scores.broadcast_add(&bias.affine(f64::from(config.scale), 0.0)?)?;
        }
        if let Some(cap) = config.soft_cap {
            let cap = f64::from(cap);
            scores = (scores.affine(1.0 / cap, 0.0)?.tanh()? * cap)?;
        }
        if is_masked {
            let mask = self.mask(key_positions, config.window)?;
            scores = scores.broadcast_add(&mask.reshape((1, members, queries, 1, keys))?)?;
        }
        Ok(scores.reshape((kv_heads * members, queries * (heads / kv_heads), keys))?)
    }

    /// 0 for what a query sees, −∞ for what it must not see, `[members, queries, keys]`.
    fn mask(&self, key_positions: &Tensor, window: Option<usize>) -> Result<Tensor, LmError> {
        let distance =
            self.query_positions.unsqueeze(2)?.broadcast_sub(&key_positions.unsqueeze(1)?)?;
        let nothing = distance.zeros_like()?;
        let hidden = Tensor::full(f32::NEG_INFINITY, distance.shape(), distance.device())?;
        let mask = distance.lt(0.0)?.where_cond(&hidden, &nothing)?;
        Ok(match window {
            None => mask,
            Some(window) => distance.ge(window as f64)?.where_cond(&hidden, &mask)?,
        })
    }
}

/// Values of all parts, weighted by the softmax of their scores together: `[.., queries, value_dim]`.
fn weighted(parts: &[Part]) -> Result<Tensor, LmError> {
    let largest = parts.iter().map(|part| part.scores.max_keepdim(D::Minus1));
    let largest = largest
        .reduce(|a, b| a?.maximum(&b?))
        .unwrap_or_else(|| candle_core::bail!("attention without keys"))?;
    let mut sums: Option<[Tensor; 2]> = None;
    for Part { scores, values } in parts {
        let weights = scores.broadcast_sub(&largest)?.exp()?;
        let sum = weights.sum_keepdim(D::Minus1)?;
        let (heads, rows, keys) = weights.dims3()?;
        // Members that see the same values are rows of one product.
        let (together, _, dim) = values.dims3()?;
        let values = weights
            .reshape((together, heads / together * rows, keys))?
            .matmul(values)?
            .reshape((heads, rows, dim))?;
        sums = Some(match sums {
            None => [sum, values],
            Some([sums, weighted]) => [(sums + sum)?, (weighted + values)?],
        });
    }
    match sums {
        Some([sums, weighted]) => Ok(weighted.broadcast_div(&sums)?),
        None => Ok(largest),
    }
}
