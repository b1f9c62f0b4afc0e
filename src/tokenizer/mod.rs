//! What an output's tokenizer has that its donor's has not.
//!
//! | form | read | written |
//! | --- | --- | --- |
//! | `chat_template.jinja` | first | always |
//! | `chat_template.json`, field `chat_template` | second | where the donor has it |
//! | `tokenizer_config.json`, field `chat_template` | last: a text, or a list or mapping with a `default` | where the donor has it |

mod chat_template;
mod error;

pub use chat_template::{built_in, most_frequent, of_model, set};
pub use error::TokenizerError;
