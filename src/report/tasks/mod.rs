//! Tasks as a person or a program is shown them.

mod validation;

pub use validation::{validation_json, validation_text};
