//! What works, but perhaps not as meant.

/// Something that works, but perhaps not as meant.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PlanWarning {
    /// A model has tensors that its architecture does not mention and the other models do not have
    /// alike. They are not in the output.
    UnlistedTensors {
        /// Path in the config of where the model is named.
        field: String,
        /// The model.
        model: String,
        /// How many.
        count: usize,
        /// One of them.
        example: String,
    },
    /// A revision is asked for of a local directory, which has none.
    IgnoredRevision {
        /// Path in the config of where the model is named.
        field: String,
        /// The model.
        model: String,
    },
    /// A model's chat template cannot be read, and does not count.
    UnreadableChatTemplate {
        /// The model.
        model: String,
        /// Why, as a sentence.
        problem: String,
    },
    /// No model has a chat template, of which the most frequent one was asked for.
    NoChatTemplate,
    /// A model's tokenizer cannot be read. The model is taken to have the base model's tokens.
    UnreadableTokenizer {
        /// Path in the config of where the model is named.
        field: String,
        /// The model.
        model: String,
        /// Why, as a sentence.
        problem: String,
    },
    /// A model has other tokens at the same ids, but embeddings are merged row by row.
    OtherTokens {
        /// Path in the config of where the model is named.
        field: String,
        /// The model.
        model: String,
        /// The model whose tokenizer the output gets.
        first: String,
        /// How many ids.
        count: usize,
        /// One of them, its token, and the first model's.
        example: (u32, String, String),
    },
    /// The base model's tokenizer has tokens without a row in its embedding. The output lacks them.
    TokensWithoutRow {
        /// The model.
        model: String,
        /// How many.
        count: usize,
        /// One of them.
        example: String,
        /// Rows that there are.
        end: usize,
    },
    /// Models treat the same added tokens differently. The first model decides.
    TokenFlags {
        /// How many.
        count: usize,
        /// One of them.
        example: String,
    },
    /// Ordinary tokens of other models are found in texts before the base model's rules divide them.
    SearchedTokens {
        /// How many.
        count: usize,
        /// One of them.
        example: String,
        /// The base model.
        base: String,
    },
    /// The output lacks tokens of a model, since its tokens come from another.
    DroppedTokens {
        /// The model.
        model: String,
        /// How many.
        count: usize,
        /// One of them.
        example: String,
    },
    /// No model has an embedding for tokens of the output.
    ZeroEmbeddings {
        /// How many.
        count: usize,
        /// One of them.
        example: String,
    },
    /// A file that holds the tokens in another form would no longer be true.
    NoVocabularyFile {
        /// Its name.
        file: &'static str,
    },
    /// Too few models have an optional tensor. It is not in the output.
    SkippedTensor {
        /// Its name in the output.
        tensor: String,
    },
    /// The config does not mention a module of the architecture. It is not in the output.
    OmittedModule {
        /// The module.
        module: String,
    },
    /// There is no definition of the models' architecture, so the names of their tensors are all that
    /// is known.
    InferredArchitecture {
        /// The class that the config names.
        class: String,
    },
    /// Layers of a module are rearranged, but the config has no number of them that could be adapted.
    UnknownLayerCount {
        /// The module.
        module: String,
    },
    /// The models are of different architectures, and the merge was allowed nevertheless.
    MixedArchitectures {
        /// Path in the config of where the one that differs is named.
        field: String,
        /// The model that gives the output its architecture.
        first: String,
        /// One that differs.
        model: String,
    },
    /// A filter decides about no tensor.
    UnusedFilter {
        /// Its path in the config.
        field: String,
        /// As written.
        filter: String,
        /// Why.
        reason: Unmatched,
    },
    /// A parameter decides about no tensor.
    UnusedParameter {
        /// Its path in the config.
        field: String,
        /// The parameter.
        parameter: &'static str,
        /// Why.
        reason: Unused,
    },
    /// The method reads the parameter, but not as the others are set.
    UnreadParameter {
        /// Its path in the config.
        field: String,
        /// The parameter.
        parameter: &'static str,
        /// The end of a sentence.
        reason: &'static str,
    },
    /// Of a gradient only one value is used.
    FlatGradient {
        /// Its path in the config.
        field: String,
        /// How many values it has.
        entries: usize,
        /// Whether it is used in slices of a single layer, as opposed to outside of layers only.
        in_layers: bool,
    },
    /// Weights cancel out.
    WeightsSumToZero {
        /// Path in the config of the first of the weights.
        field: String,
        /// The first tensor they belong to.
        tensor: String,
        /// For how many tensors.
        count: usize,
        /// Whether all of them are 0.
        all_zero: bool,
        /// Whether a base model is left.
        has_base: bool,
    },
}

/// Why a parameter decides about no tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unused {
    /// It stands at the base model, which has no such parameter.
    Base,
    /// All tensors find a value elsewhere first.
    Hidden,
    /// Nothing is computed for the tensors there: they are copied.
    NoTensor,
}

/// Why a filter decides about no tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmatched {
    /// For all tensors that it matches others come first.
    Hidden,
    /// It matches tensors only whose parameters stand in another place, or that have none.
    Elsewhere {
        /// One of them.
        tensor: String,
    },
    /// It matches no tensor of the merge.
    Nowhere {
        /// A part of tensors' names that may have been meant.
        meant: Option<String>,
    },
}

impl PlanWarning {
    /// The path in the config of what it is about, where there is one such place.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::UnlistedTensors { field, .. }
            | Self::IgnoredRevision { field, .. }
            | Self::UnreadableTokenizer { field, .. }
            | Self::OtherTokens { field, .. }
            | Self::MixedArchitectures { field, .. }
            | Self::UnusedFilter { field, .. }
            | Self::UnusedParameter { field, .. }
            | Self::UnreadParameter { field, .. }
            | Self::FlatGradient { field, .. }
            | Self::WeightsSumToZero { field, .. } => Some(field),
            Self::OmittedModule { .. } => Some("modules"),
            Self::UnreadableChatTemplate { .. } | Self::NoChatTemplate => Some("chat_template"),
            Self::UnknownLayerCount { .. } => Some("slices"),
            Self::TokensWithoutRow { .. }
            | Self::TokenFlags { .. }
            | Self::SearchedTokens { .. }
            | Self::DroppedTokens { .. }
            | Self::ZeroEmbeddings { .. }
            | Self::NoVocabularyFile { .. } => Some("tokenizer"),
            Self::SkippedTensor { .. } | Self::InferredArchitecture { .. } => None,
        }
    }

    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnusedFilter { reason, .. } => Some(match reason {
                Unmatched::Nowhere { meant: Some(meant) } => format!("did you mean `{meant}`?"),
                Unmatched::Nowhere { meant: None } => {
                    "a filter is a part of tensors' names, such as \
                    `self_attn`; `mergekit plan` lists the tensors"
                        .to_owned()
                }
                Unmatched::Hidden => {
                    "of several conditions the first that matches decides".to_owned()
                }
                Unmatched::Elsewhere { .. } => {
                    "filters are held against the names in the model that the parameter is for, or \
                    in the output when it is for all models"
                        .to_owned()
                }
            }),
            Self::IgnoredRevision { .. } => {
                Some("a directory comes before a model of the Hub with that name".to_owned())
            }
            Self::OtherTokens { .. } => {
                Some("`tokenizer: {source: union}` aligns embeddings by their tokens".to_owned())
            }
            Self::SearchedTokens { .. } => {
                Some("`tokenizer: {source: base}` divides texts as the base model does".to_owned())
            }
            Self::FlatGradient { .. } => {
                Some("gradients run from the first layer of a slice to its last".to_owned())
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for PlanWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnlistedTensors { model, count: 1, example, .. } => write!(
                f,
                "tensor `{example}` of `{model}` is unknown to its architecture and not alike in all \
                models; it will not be in the output"
            ),
            Self::UnlistedTensors { model, count, example, .. } => write!(
                f,
                "{count} tensors of `{model}`, such as `{example}`, are unknown to its architecture and \
                not alike in all models; they will not be in the output"
            ),
            Self::IgnoredRevision { model, .. } => write!(
                f,
                "the revision in `{model}` has no effect, because there is a local directory of that \
                name"
            ),
            Self::UnreadableChatTemplate { model, problem } => {
                write!(f, "the chat template of `{model}` does not count: {problem}")
            }
            Self::NoChatTemplate => {
                write!(f, "none of the models has a chat template, and the output gets none")
            }
            Self::UnreadableTokenizer { model, problem, .. } => {
                write!(f, "`{model}` is taken to have the tokens of the base model: {problem}")
            }
            Self::OtherTokens { model, first, count, example: (id, token, other), .. } => write!(
                f,
                "{} of `{model}` {} not the same token in `{first}` (id {id} is {token:?} and {other:?}), \
                but embeddings are merged row by row",
                if *count == 1 { "1 id".to_owned() } else { format!("{count} ids") },
                if *count == 1 { "is" } else { "are" }
            ),
            Self::TokensWithoutRow { model, count, example, end } => write!(
                f,
                "the output lacks {} of `{model}`, whose embedding has {end} rows",
                tokens(*count, example)
            ),
            Self::TokenFlags { count, example } => write!(
                f,
                "the models find {} in texts by different rules; those of the first model hold",
                tokens(*count, example)
            ),
            Self::SearchedTokens { count, example, base } => write!(
                f,
                "{} of other models will be found in texts before the rules of `{base}` divide them, also \
                inside of words",
                tokens(*count, example)
            ),
            Self::DroppedTokens { model, count, example } => {
                write!(f, "the output lacks {} of `{model}`", tokens(*count, example))
            }
            Self::ZeroEmbeddings { count, example } => write!(
                f,
                "no model has an embedding of {}; the output has zeros",
                tokens(*count, example)
            ),
            Self::NoVocabularyFile { file } => write!(
                f,
                "the output has no `{file}`, for its tokens are no longer those of that file; they are in \
                `tokenizer.json`"
            ),
            Self::SkippedTensor { tensor } => {
                write!(f, "too few models have tensor `{tensor}`; it will not be in the output")
            }
            Self::OmittedModule { module } => {
                write!(f, "module `{module}` is not mentioned and will not be in the output")
            }
            Self::InferredArchitecture { class } => write!(
                f,
                "there is no definition of architecture `{class}`; what its models consist of is \
                inferred from the names of their tensors"
            ),
            Self::UnknownLayerCount { module } => write!(
                f,
                "`config.json` of the output keeps its numbers of layers, because none of them is known \
                to be that of module `{module}`"
            ),
            Self::MixedArchitectures { first, model, .. } => write!(
                f,
                "`{model}` has another architecture than `{first}`, which the output will have"
            ),
            Self::UnusedFilter { filter, reason, .. } => match reason {
                Unmatched::Nowhere { .. } => write!(f, "filter `{filter}` matches no tensor"),
                Unmatched::Elsewhere { tensor } => write!(
                    f,
                    "filter `{filter}` matches no tensor that has its parameters from here, only \
                    others such as `{tensor}`"
                ),
                Unmatched::Hidden => write!(
                    f,
                    "filter `{filter}` decides about no tensor: others come first for all it matches"
                ),
            },
            Self::UnusedParameter { parameter, reason, .. } => {
                let reason = match reason {
                    Unused::Base => "the base model has none",
                    Unused::Hidden => "every tensor finds a nearer one",
                    Unused::NoTensor => "all tensors are copied as they are",
                };
                write!(f, "`{parameter}` has no effect here: {reason}")
            }
            Self::UnreadParameter { parameter, reason, .. } => {
                write!(f, "`{parameter}` has no effect: {reason}")
            }
            Self::FlatGradient { entries, in_layers: true, .. } => write!(
                f,
                "the gradient of {entries} values is used in slices of one layer only, which take \
                its last value"
            ),
            Self::FlatGradient { entries, in_layers: false, .. } => write!(
                f,
                "the gradient of {entries} values is used outside of layers only, where its first \
                value counts"
            ),
            Self::WeightsSumToZero { tensor, count, all_zero, has_base, .. } => {
                let what = match (all_zero, has_base) {
                    (true, true) => "all weights are 0, so that the base model is left",
                    (true, false) => "all weights are 0, so that nothing is left",
                    (false, _) => "the weights sum to 0, so that they cannot be normalized",
                };
                match count {
                    1 => write!(f, "{what} of tensor `{tensor}`"),
                    _ => write!(f, "{what}, for {count} tensors such as `{tensor}`"),
                }
            }
        }
    }
}

/// So many tokens, as words.
fn tokens(count: usize, example: &str) -> String {
    match count {
        1 => format!("token {example:?}"),
        _ => format!("{count} tokens (such as {example:?})"),
    }
}
