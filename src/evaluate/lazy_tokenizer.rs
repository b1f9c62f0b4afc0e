//! Tokenizers that are opened when the first task needs them.

use std::fmt;
use std::sync::OnceLock;

use super::{EvaluateError, Tokenizer};

/// Where evaluators get their tokenizer from. Those that score no text do not ask, and models without a
/// tokenizer do for them.
pub trait TokenizerSource: Sync {
    /// The tokenizer.
    fn tokenizer(&self) -> Result<&Tokenizer, EvaluateError>;
}

impl TokenizerSource for Tokenizer {
    fn tokenizer(&self) -> Result<&Tokenizer, EvaluateError> {
        Ok(self)
    }
}

/// A tokenizer that is opened when it is first asked for.
pub struct LazyTokenizer<'a> {
    open: Box<dyn Fn() -> Result<Tokenizer, EvaluateError> + Send + Sync + 'a>,
    opened: OnceLock<Tokenizer>,
}

impl<'a> LazyTokenizer<'a> {
    /// A tokenizer that `open` opens. Where it fails, the next who asks tries again.
    pub fn new(
        open: impl Fn() -> Result<Tokenizer, EvaluateError> + Send + Sync + 'a,
    ) -> LazyTokenizer<'a> {
        LazyTokenizer { open: Box::new(open), opened: OnceLock::new() }
    }
}

impl TokenizerSource for LazyTokenizer<'_> {
    fn tokenizer(&self) -> Result<&Tokenizer, EvaluateError> {
        if let Some(tokenizer) = self.opened.get() {
            return Ok(tokenizer);
        }
        let tokenizer = (self.open)()?;
        Ok(self.opened.get_or_init(|| tokenizer))
    }
}

impl fmt::Debug for LazyTokenizer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyTokenizer").field("opened", &self.opened.get().is_some()).finish()
    }
}
