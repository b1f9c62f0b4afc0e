//! What to do about a merge that cannot be planned, and where.

use super::PlanError;
use crate::hub::HubError;

impl PlanError {
    /// The same about the model that is named at `field`.
    pub(in crate::plan) fn of_model(self, field: String) -> Self {
        Self::Model { field, source: Box::new(self) }
    }

    /// The path in the config of what should be changed, where there is one such place. A field that is
    /// missing is not there yet.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::NoBase { .. } => Some("merge_method"),
            Self::LayerRange { field, .. }
            | Self::EmptyRange { field, .. }
            | Self::Duplicate { field, .. }
            | Self::Model { field, .. }
            | Self::Architectures { field, .. }
            | Self::MissingTensor { field, .. }
            | Self::MissingFromBase { field, .. }
            | Self::LayerKinds { field, .. }
            | Self::Kinds { field, .. }
            | Self::NoEmbeddingSource { field, .. }
            | Self::NoToken { field, .. }
            | Self::TokenId { field, .. }
            | Self::MissingParameter { field, .. }
            | Self::UnmatchedParameter { field, .. }
            | Self::ParameterKind { field, .. }
            | Self::Parameter { field, .. } => Some(field),
            Self::WholeNumbers { field, .. } => Some(field),
            Self::InputCount { field, .. } if field.is_empty() => Some("models"),
            Self::SeveralModules { .. } => Some("slices"),
            Self::UnknownModule { .. } => Some("modules"),
            Self::LayerCounts { field, .. } | Self::BaseNotListed { field, .. } => {
                Some(if field.is_empty() { "models" } else { field })
            }
            _ => None,
        }
    }

    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Checkpoint(error) => return error.hint(),
            Self::Architecture(error) => return error.hint(),
            Self::Adapter(error) => return error.hint(),
            Self::Hub(error) => return error.hint(),
            Self::Tokenizer(error) => return error.hint(),
            Self::Model { source, .. } => return source.hint(),
            Self::NoEmbeddingSource { .. } => {
                "embeddings come from models that are merged: list it, with a weight of 0 if need be"
                    .to_owned()
            }
            Self::Parameter { field, is_default: true, .. } => {
                format!("the config does not give it: write another value as `{field}`")
            }
            Self::RevisionNotAvailable { .. } => {
                "download that revision with `hf download MODEL --revision REVISION --local-dir \
                DIRECTORY`, and name the directory"
                    .to_owned()
            }
            Self::ScaledWeights { .. } => {
                "name the model before it was quantised, or one converted to `bfloat16`".to_owned()
            }
            Self::Architectures { .. } => {
                "`--allow-crimes` merges them as far as their tensors fit".to_owned()
            }
            Self::UnknownModule { known, .. } => format!("modules are {}", known.join(", ")),
            Self::SeveralModules { .. } => "put the slices of each module under `modules`".to_owned(),
            Self::LayerRange { n_layers, .. } => {
                format!("layers count from 0, and the end is not included: at most [0, {n_layers}]")
            }
            Self::EmptyRange { .. } => "the end of a range is not included".to_owned(),
            Self::NoBase { .. } => {
                "add `base_model:` with the model that the others were trained from".to_owned()
            }
            Self::BaseNotListed { .. } => {
                "with `slices`, list the base as a source of every slice".to_owned()
            }
            Self::Duplicate { .. } => "list it once, with the sum of the weights".to_owned(),
            Self::MissingTensor { .. } => {
                "the weights do not belong to the architecture that `config.json` names".to_owned()
            }
            Self::LayerKinds { .. } => {
                "merge layers that have the same tensors; `mergekit inspect MODEL --tensors` lists them"
                    .to_owned()
            }
            Self::MissingParameter { is_added_base: true, parameter, .. } => format!(
                "`base_model` is merged in like every other model here: list it with a {parameter}, \
                or remove `base_model`"
            ),
            Self::MissingParameter { parameter, model, .. } => match model {
                Some(_) => format!(
                    "give the model a {parameter}, or all models one under the top-level `parameters`"
                ),
                None => format!("write `{parameter}` under the top-level `parameters`"),
            },
            Self::UnmatchedParameter { .. } => {
                "end its list with a condition for all other tensors, which has a `value` and no \
                `filter`"
                    .to_owned()
            }
            Self::Shapes { is_vocabulary: true, .. } => {
                "the vocabularies differ: `tokenizer: {source: union}` aligns them by their tokens; \
                `--unsafe-truncate-embeddings` of `mergekit merge` keeps the rows that all have"
                    .to_owned()
            }
            Self::Shapes { .. } => {
                "only models of the same sizes can be merged tensor by tensor".to_owned()
            }
            _ => return None,
        };
        Some(hint)
    }

    /// Whether it is no failure, but that the run was asked to stop.
    pub fn is_interruption(&self) -> bool {
        match self {
            Self::Hub(error) => matches!(error, HubError::Interrupted),
            Self::Model { source, .. } => source.is_interruption(),
            _ => false,
        }
    }

    /// Whether another config or other models would help, as opposed to another machine.
    pub fn is_users_mistake(&self) -> bool {
        match self {
            Self::Checkpoint(error) => error.is_users_mistake(),
            Self::Architecture(error) => error.is_users_mistake(),
            Self::Adapter(error) => error.is_users_mistake(),
            Self::Hub(error) => error.is_users_mistake(),
            Self::Tokenizer(error) => error.is_users_mistake(),
            Self::Model { source, .. } => source.is_users_mistake(),
            _ => true,
        }
    }
}
