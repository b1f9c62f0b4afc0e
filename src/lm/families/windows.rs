//! Which layers have a limited view.

use crate::lm::error::LmError;
use crate::lm::json::Fields;

/// What a layer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// All tokens before.
    Full,
    /// Those in a window.
    Sliding,
}

/// The kind of each layer: by `layer_types`, or as the family does without it.
pub(super) fn kinds_of_layers(
    config: Fields<'_>,
    layers: usize,
    default: impl Fn(usize) -> Kind,
) -> Result<Vec<Kind>, LmError> {
    let Some(names) = config.names_of_layers("layer_types", layers)? else {
        return Ok((0..layers).map(default).collect());
    };
    names
        .into_iter()
        .map(|name| match name {
            "full_attention" => Ok(Kind::Full),
            "sliding_attention" => Ok(Kind::Sliding),
            other => Err(config.unsupported("layer_types", &other.into())),
        })
        .collect()
}
