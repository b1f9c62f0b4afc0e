//! Tasks as a person or a program is shown them.

mod fields;
mod list;
mod show;
mod tree;
mod validation;
mod visible;

pub use list::{task_list_json, task_list_text};
pub use show::{RequestTokens, ShownItem, ShownTask, task_json, task_text};
pub use tree::{selection_json, selection_text};
pub use validation::{validation_json, validation_text};
