//! What a machine has to compute for a decoder: the operations between which `layer` and `decoder`
//! move rows of activations.
//!
//! Everything above this trait knows sizes, names and the order of operations, but neither where
//! numbers lie nor how they are computed. [`super::cpu`] works on slices in main memory,
//! [`super::device`] on candle's tensors wherever candle keeps them.
//!
//! Rows are f32 matrices `[rows, width]`, one row for each token that is under way. Operations with an
//! `out` argument replace what it held and may reuse its memory.

use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::Range;

use super::config::{Activation, AttentionConfig, Norm};
use super::error::LmError;
use super::layout::{Pass, Query};
use super::rotary::RotaryTable;
use super::storage::StoredTensor;

/// A place where decoders run.
pub(super) trait Backend: Debug + Send + Sync {
    /// A weight `[outputs, inputs]`.
    type Matrix: Debug + Clone + Send + Sync;
    /// The weights of a norm, or a bias.
    type Vector: Debug + Clone + Send + Sync;
    /// `[rows, width]`.
    type Rows: Debug + Default + Send;
    /// Keys and values.
    type Store: Debug + Send + Sync;

    /// How much it takes to be busy.
    const HABITS: Habits;

    /// What each of some passes runs on that run at the same time.
    fn share(&self, passes: usize) -> Self
    where
        Self: Sized;

    /// Takes a weight in, which is stored `[inputs, outputs]` if `transposed`.
    fn matrix(&self, tensor: StoredTensor, transposed: bool) -> Result<Self::Matrix, LmError>;

    /// Some outputs of a weight, without a copy.
    fn outputs(matrix: &Self::Matrix, outputs: Range<usize>) -> Result<Self::Matrix, LmError>;

    /// Takes a norm's weights or a bias in.
    fn vector(&self, tensor: StoredTensor) -> Result<Self::Vector, LmError>;

    /// Some elements of a vector, without a copy.
    fn elements(vector: &Self::Vector, elements: Range<usize>) -> Result<Self::Vector, LmError>;

    /// `out = scale · table[index]` for each index.
    fn embed(
        &self,
        out: &mut Self::Rows,
        table: &Self::Matrix,
        indices: &[usize],
        scale: f32,
    ) -> Result<(), LmError>;

    /// `out = rows`.
    fn copy(&self, out: &mut Self::Rows, rows: &Self::Rows) -> Result<(), LmError>;

    /// `out = 0`, of the shape of `rows`.
    fn zeros(&self, out: &mut Self::Rows, rows: &Self::Rows) -> Result<(), LmError>;

    /// `out = rows[index]` for each index.
    fn gather(
        &self,
        out: &mut Self::Rows,
        rows: &Self::Rows,
        indices: &[usize],
    ) -> Result<(), LmError>;

    /// Lays columns of rows side by side.
    fn columns(
        &self,
        out: &mut Self::Rows,
        sources: &[&Self::Rows],
        runs: &[Columns],
    ) -> Result<(), LmError>;

    /// Normalizes each `width` elements of each row on their own. Weights go on from one such part
    /// to the next and begin again when they end.
    fn normalize(
        &self,
        rows: &mut Self::Rows,
        norm: &NormWeights<Self::Vector>,
        width: usize,
    ) -> Result<(), LmError>;

    /// Normalizes whole rows.
    fn normalize_rows(
        &self,
        rows: &mut Self::Rows,
        norm: &NormWeights<Self::Vector>,
    ) -> Result<(), LmError>;

    /// `out = rows · matrixᵀ + bias`.
    fn project(
        &self,
        out: &mut Self::Rows,
        rows: &Self::Rows,
        projection: &Projection<Self>,
    ) -> Result<(), LmError>
    where
        Self: Sized;

    /// `sum += rows · matrixᵀ + bias`.
    fn add_projected(
        &self,
        sum: &mut Self::Rows,
        rows: &Self::Rows,
        projection: &Projection<Self>,
    ) -> Result<(), LmError>
    where
        Self: Sized;

    /// `sum += scale · rows`.
    fn add(&self, sum: &mut Self::Rows, rows: &Self::Rows, scale: f32) -> Result<(), LmError>;

    /// `sum[index] += factor · row` for each row with its index and factor. Indices rise.
    fn add_at(
        &self,
        sum: &mut Self::Rows,
        rows: &Self::Rows,
        indices: &[usize],
        factors: &[f32],
    ) -> Result<(), LmError>;

    /// `rows = activation(rows) · up`, or without `up`.
    fn activate(
        &self,
        rows: &mut Self::Rows,
        up: Option<&Self::Rows>,
        activation: Activation,
    ) -> Result<(), LmError>;

    /// `rows = min(max(rows, −limit), limit)`.
    fn clamp(&self, rows: &mut Self::Rows, limit: f32) -> Result<(), LmError>;

    /// Turns each head of `head_dim` elements, from its element `offset` on, as far as its row's
    /// position says.
    fn turn(
        &self,
        rows: &mut Self::Rows,
        head_dim: usize,
        offset: usize,
        table: &RotaryTable,
        positions: &[usize],
    ) -> Result<(), LmError>;

    /// A store without room for any position, for layers with these widths of keys and values.
    fn store(&self, widths: Vec<KvWidths>) -> Self::Store;

    /// Makes room for `positions` in all; what is held stays.
    fn grow(&self, store: &mut Self::Store, positions: usize) -> Result<(), LmError>;

    /// Puts the keys and values of a pass's rows into the blocks of their segments.
    fn keep(
        &self,
        store: &mut Self::Store,
        layer: usize,
        keys: &Self::Rows,
        values: &Self::Rows,
        queries: &[Query],
        pass: &Pass<'_, Self::Store>,
    ) -> Result<(), LmError>;

    /// `out = softmax(scale · query · keysᵀ) · values` for each query and head.
    fn attend(
        &self,
        out: &mut Self::Rows,
        queries: &Self::Rows,
        attention: &Attention<'_, Self::Store>,
    ) -> Result<(), LmError>;

    /// `rows = cap · tanh(scale · rows / cap)`, or `scale · rows` without a cap.
    fn limit(
        &self,
        rows: &mut Self::Rows,
        scale: f32,
        soft_cap: Option<f32>,
    ) -> Result<(), LmError>;

    /// What each row of logits says of itself.
    fn summarize(&self, logits: &Self::Rows) -> Result<Vec<RowSummary>, LmError>;

    /// The logits of tokens: for each row and token, in order.
    fn pick(&self, logits: &Self::Rows, wanted: &[(usize, u32)]) -> Result<Vec<f32>, LmError>;

    /// Elements of rows in main memory.
    fn to_host<'a>(&self, rows: &'a Self::Rows) -> Result<Cow<'a, [f32]>, LmError>;

    /// Elements of a vector in main memory.
    fn vector_to_host(&self, vector: &Self::Vector) -> Result<Vec<f32>, LmError>;
}

/// How much a backend computes at once, unless told otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habits {
    /// Tokens that pass through the layers together.
    pub(super) batch_rows: usize,
    /// Logits that exist at once, in numbers, unless the vocabulary is very large.
    pub(super) logits: usize,
    /// Sequences that a worker continues together.
    pub(super) sequences: usize,
    /// Passes that run at the same time, at most.
    pub(super) passes: usize,
}

/// A matrix product's weight and its bias, if any.
#[derive(Debug)]
pub(super) struct Projection<B: Backend> {
    pub(super) weight: B::Matrix,
    pub(super) bias: Option<B::Vector>,
}

/// A norm with its weights.
#[derive(Debug, Clone)]
pub(super) struct NormWeights<V> {
    pub(super) norm: Norm,
    /// None for [`Norm::Plain`].
    pub(super) weight: Option<V>,
    pub(super) bias: Option<V>,
}

/// Consecutive columns of one of several sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) source: usize,
    pub(super) start: usize,
    pub(super) count: usize,
}

/// Elements of a position's keys and values in one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KvWidths {
    /// `kv_heads · key_dim`.
    pub(super) keys: usize,
    /// Elements of a head of keys.
    pub(super) key_dim: usize,
    /// `kv_heads · value_dim`.
    pub(super) values: usize,
}

impl KvWidths {
    /// Elements of a head of values.
    pub(super) fn value_dim(&self) -> usize {
        self.values * self.key_dim / self.keys
    }
}

/// Attention of one layer.
#[derive(Debug)]
pub(super) struct Attention<'a, S> {
    pub(super) layer: usize,
    pub(super) config: &'a AttentionConfig,
    /// Which token each row of queries is.
    pub(super) queries: &'a [Query],
    pub(super) pass: &'a Pass<'a, S>,
    pub(super) store: &'a S,
}

/// What a row of logits says: its logarithmic normaliser and its most probable token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RowSummary {
    /// Largest logit.
    pub(super) largest: f32,
    /// `ln Σ e^(logit − largest)`; not finite if a logit is infinite above or not a number.
    pub(super) log_sum: f64,
    /// Index of the largest logit, the lowest one if several are largest.
    pub(super) argmax: u32,
}
