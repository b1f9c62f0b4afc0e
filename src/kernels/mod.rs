//! Element conversion, reductions, exact selection and counter-based random numbers.
//!
//! Pure functions over slices: no files, no threads of their own. The only room that may hold SIMD
//! or `unsafe` code.

pub mod compare;
pub mod divergence;
pub mod dtype;
pub mod elementary;
pub mod flags;
pub mod float8;
pub mod random;
pub mod rank;
pub mod reduce;
pub mod select;
pub mod simd;
pub mod summary;
