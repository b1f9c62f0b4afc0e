//! What is in a model, and how two models differ: statistics for people who choose weights.
//!
//! A [`Model`] knows under which name, in which layer and of which kind each stored tensor is.
//! [`Inspection`] holds statistics of every tensor of one model, [`Difference`] of every tensor that
//! two models share and, with a base model, of their task vectors. Both come from one streaming
//! pass: memory is a block of each model per thread, sums are accumulated in `f64` over blocks of fixed
//! size in a fixed order, so that the number of threads changes nothing.

mod difference;
mod error;
mod groups;
mod inspection;
mod measure;
mod model;
mod place;

pub use difference::{ComparedPart, Difference, ShapeMismatch, Unmatched};
pub use error::InspectError;
pub use groups::{Accumulate, Groups, Layer, Measured};
pub use inspection::{InspectedPart, Inspection};
pub use measure::MeasureOptions;
pub use model::{Model, ModelTensor};
pub use place::Place;
