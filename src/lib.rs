//! Merge language models, and search for the best merge.
//!
//! The crate is laid out as a house: each module is a room, and `docs/ARCHITECTURE.md` says
//! what lives in each and which others it may use. `methods`, `kernels` and `optimize` stand on the ground floor.

pub mod adapter;
pub mod architecture;
pub mod candidate;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod engine;
pub mod evaluate;
mod files;
pub mod hub;
pub mod inspect;
pub mod kernels;
pub mod lm;
pub mod methods;
pub mod optimize;
mod panics;
pub mod plan;
pub mod report;
pub mod search;
pub mod space;
pub mod tokenizer;
pub mod tokensurgeon;
