//! LoRA adapters, in the layout that peft saves, seen through the model they were trained on.
//!
//! An [`Adapter`] is opened and then put on a base by [`AdaptedCheckpoint`], which is a
//! [`TensorSource`](crate::checkpoint::TensorSource) like any other: merges read it without knowing that
//! the values are computed on the way, and no merged copy is ever made.
//!
//! What an adapter may hold: products of two thin matrices for the weights of linear layers,
//! convolutions and embeddings, with ranks and scales per module, rank-stabilised or not; norms that DoRA
//! gives the outputs; additions to biases; and tensors that replace the base's.

mod base;
mod changes;
mod config;
mod error;
mod names;
mod parts;
mod product;
mod source;
#[cfg(test)]
mod tests;

pub(crate) use config::CONFIG_FILE;
pub use error::{AdapterError, Misfit};
pub use parts::Adapter;
pub(crate) use parts::weights_file;
pub use source::AdaptedCheckpoint;
