//! Tokenizers as files: their tokens, the union of several, embeddings aligned to them, chat templates.
//!
//! A [`TokenizerFile`] is a `tokenizer.json`, and an [`OutputTokenizer`] what becomes of one.
//! [`AlignedRows`] are an embedding with its rows in another tokenizer's order.
//!
//! Chat templates:
//!
//! | form | read | written |
//! | --- | --- | --- |
//! | `chat_template.jinja` | first | always |
//! | `chat_template.json`, field `chat_template` | second | where the donor has it |
//! | `tokenizer_config.json`, field `chat_template` | last: a text, or a list or mapping with a `default` | where the donor has it |

mod chat_template;
mod error;
mod file;
mod json_file;
mod output;
mod rows;
#[cfg(test)]
mod tests;
mod union;

pub use chat_template::{built_in, most_frequent, of_model, set};
pub use error::TokenizerError;
pub use file::{AddedToken, FILE, TokenFlags, TokenizerFile};
pub(crate) use json_file::read_object;
pub use output::{OutputTokenizer, VOCABULARY_FILES};
pub use rows::{AlignedRows, Row, RowSource};
pub use union::{ModelTokens, United, unite};
