//! How much is computed and kept at once.

use super::backend::Habits;
use super::config::{DecoderConfig, FeedForward};
use super::device::DeviceChoice;

/// A pass may become so many times as large as usual, so that sequences which share much stay together.
const MOST_BATCHES: usize = 8;

/// Rows that pass through the head together, at least: reading its weights for fewer would cost
/// more than the arithmetic.
const FEWEST_HEAD_ROWS: usize = 64;

/// Bytes that activations, keys and values may take, unless told otherwise.
const MEMORY: u64 = 2 << 30;

/// How a [`Decoder`](super::Decoder) runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecoderOptions {
    /// Most tokens of context and continuation together; `None`: what the model's config says.
    pub max_length: Option<usize>,
    /// Most tokens that pass through the layers together; `None`: 256 on a processor, which is fast for
    /// small and middle-sized models, 2048 on a graphics card, or fewer if memory is short. Sequences are not cut for scoring, so a
    /// longer sequence makes a longer pass. Memory grows with it; results do not change.
    pub batch_rows: Option<usize>,
    /// Bytes that activations, keys and values may take, besides the weights; `None`: 2 GiB. One
    /// sequence is always computed, whatever it needs.
    pub memory_limit: Option<u64>,
    /// Whether beginnings that several requests share are computed once. Results do not change.
    pub share_prefixes: bool,
    /// Where the model runs.
    pub device: DeviceChoice,
}

impl Default for DecoderOptions {
    fn default() -> Self {
        Self {
            max_length: None,
            batch_rows: None,
            memory_limit: None,
            share_prefixes: true,
            device: DeviceChoice::Cpu,
        }
    }
}

/// [`DecoderOptions`] for one model.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) max_length: usize,
    pub(super) batch_rows: usize,
    /// Tokens that pass through the layers together at most, when they are those of several sequences.
    pub(super) most_rows: usize,
    /// Rows that pass through the head together.
    pub(super) head_rows: usize,
    /// Passes that may run at the same time.
    pub(super) passes: usize,
    /// Positions of sequences that are being continued, all together.
    pub(super) kv_positions: usize,
    pub(super) share_prefixes: bool,
}

impl Limits {
    pub(super) fn new(config: &DecoderConfig, options: &DecoderOptions, habits: &Habits) -> Self {
        let memory = options.memory_limit.unwrap_or(MEMORY);
        // An eighth of the memory at most.
        let logits = habits.logits.min(memory as usize / 8 / size_of::<f32>());
        let head_rows = (logits / config.vocabulary).max(FEWEST_HEAD_ROWS);
        let row = (row_elements(config) * size_of::<f32>()) as u64;
        let head = ((head_rows * config.vocabulary) * size_of::<f32>()) as u64;
        // Half for passes, half for keys and values that last.
        let room = (memory / 2).saturating_sub(head);
        let most_rows = (room / row).max(1) as usize;
        let batch_rows = options.batch_rows.unwrap_or(habits.batch_rows).clamp(1, most_rows.max(1));
        let pass = batch_rows as u64 * row + head;
        let position = (config.kv_elements() * size_of::<f32>()) as u64;
        Self {
            max_length: options.max_length.unwrap_or(config.max_length).max(1),
            batch_rows,
            most_rows: (batch_rows * MOST_BATCHES).min(most_rows),
            head_rows,
            passes: (memory / 2 / pass).max(1).min(habits.passes as u64) as usize,
            kv_positions: (memory / 2 / position).max(1) as usize,
            share_prefixes: options.share_prefixes,
        }
    }
}

/// Elements of all activations of a token, of the layer that has most.
fn row_elements(config: &DecoderConfig) -> usize {
    let of_layer = |layer: &super::config::LayerConfig| {
        let attention = &layer.attention;
        let inner = match &layer.feed_forward {
            FeedForward::Dense(mlp) => 2 * mlp.intermediate,
            FeedForward::Experts(experts) => {
                let shared = experts.shared.map_or(0, |shared| shared.mlp.intermediate);
                2 * (experts.mlp.intermediate).max(shared) + experts.count
            }
        };
        let attended =
            2 * (attention.query_width() + attention.kv_elements()) + attention.result_width();
        4 * config.hidden + attended + inner
    };
    config.layers.iter().map(of_layer).max().unwrap_or(1)
}
