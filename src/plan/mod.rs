//! From a merge config and the models' headers to every tensor of the output.
//!
//! A [`MergePlan`] knows each output tensor's name, shape, type, inputs and parameters before one
//! weight is read, so everything that is wrong with a merge is found here. What a merge does to
//! tensors follows from two things: the architecture's list of tensors, and slices, the form that
//! every merge config is brought into.

mod alignment;
mod error;
mod layer_kinds;
mod models;
mod overview;
mod parameters;
mod recipe;
mod tensors;
#[cfg(test)]
pub(crate) mod testing;
mod unlisted;
mod usage;
mod vocabulary;
mod warning;

use std::sync::Arc;

use indexmap::IndexMap;

use crate::architecture::{ArchitectureDefinition, LayerCount, ModelConfig, infer_definition};
use crate::checkpoint::{Holding, TensorInfo, TensorSource};
use crate::config::{ChatTemplate, MergeConfig, ModelReference};
use crate::kernels::dtype::DType;
use crate::methods::{self, MethodDefinition, TensorMethod};
use crate::tokenizer::{self, OutputTokenizer};

pub use error::PlanError;
pub use models::{InputModel, ModelStore};
pub use overview::{Course, Overview, ParameterOverview, TensorKind, Tensors};
pub use parameters::{Origin, ResolvedParameter, ResolvedParameters};
pub use warning::{PlanWarning, Unmatched, Unused};

use recipe::{ModuleRecipe, Scope};
use usage::{Usage, ZeroSums};
use vocabulary::Vocabulary;

/// What a merge config alone does not decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Key of all random numbers. The same seed gives the same bytes.
    pub seed: u64,
    /// Merges models of different architectures as far as their tensors fit.
    pub allow_mixed_architectures: bool,
    /// Where vocabularies differ in size, keeps the rows that all models have.
    pub truncate_embeddings: bool,
}

/// A merge, checked and ready to run.
pub struct MergePlan {
    method: &'static MethodDefinition,
    models: Vec<Arc<InputModel>>,
    base: Option<Arc<InputModel>>,
    tensors: Vec<PlannedTensor>,
    config: ModelConfig,
    tokenizer: Option<OutputTokenizer>,
    chat_template: Option<String>,
    warnings: Vec<PlanWarning>,
    seed: u64,
}

/// One tensor of the output.
pub struct PlannedTensor {
    /// Its name in the output.
    pub name: String,
    /// Its shape and element type in the output.
    pub info: TensorInfo,
    /// How its values come about.
    pub action: Action,
    /// The method's parameters, and where they are written. None for a tensor that is copied whatever
    /// the method.
    pub parameters: ResolvedParameters,
}

/// How the values of an output tensor come about.
pub enum Action {
    /// One input's values.
    Copy {
        /// The input.
        from: Operand,
        /// Inputs that have to be equal to it, bit by bit.
        equals: Vec<Operand>,
    },
    /// The method's result.
    Merge {
        /// The method, bound to this tensor's parameters.
        method: Box<dyn TensorMethod>,
        /// The base, for methods that treat it apart.
        base: Option<Operand>,
        /// The other inputs, in config order.
        inputs: Vec<Operand>,
    },
}

/// A tensor of an input model. It may have more rows than the output.
#[derive(Clone)]
pub struct Operand {
    /// The model.
    pub model: Arc<InputModel>,
    /// What it is read from: the model's checkpoint, or its rows in the order of the output's tokens.
    pub source: Arc<dyn TensorSource>,
    /// Its name in that model.
    pub tensor: String,
    /// Its name by the architecture, in that model's own layers: what filters are held against, also
    /// where another tensor stands in for it.
    pub canonical: String,
    /// Its element type there.
    pub dtype: DType,
    /// The element type to round it to before anything is computed. Rounding is free where the two
    /// are equal, which is the usual case.
    pub loaded_as: DType,
    /// Differs, but for accidents, between tensors whose rows are aligned in different ways; none for
    /// one that is read as it is.
    pub alignment: Option<u64>,
}

impl PlannedTensor {
    /// Every input that it is made from, the base first.
    pub fn operands(&self) -> impl Iterator<Item = &Operand> {
        let (first, others) = match &self.action {
            Action::Copy { from, equals } => (Some(from), equals),
            Action::Merge { base, inputs, .. } => (base.as_ref(), inputs),
        };
        first.into_iter().chain(others)
    }
}

impl Operand {
    /// Its shape as read.
    fn stored_shape(&self) -> Vec<usize> {
        self.source.tensors()[&self.tensor].shape.clone()
    }

    /// What it takes to have it at hand, where it is computed while it is read.
    pub fn holding(&self) -> Holding {
        self.source.holding(&self.tensor)
    }
}

impl MergePlan {
    /// Plans the merge that `config` asks for. Opens models through `store`, reading headers only.
    ///
    /// # Panics
    ///
    /// When a config that was not read, but put together by hand, names no merge method.
    pub fn new(
        config: &MergeConfig,
        store: &ModelStore,
        options: &PlanOptions,
    ) -> Result<Self, PlanError> {
        let method = methods::find(&config.merge_method)
            .expect("merge configs name a merge method that exists");
        Self::with_method(method, config, store, options)
    }

    /// As [`new`](Self::new), with a method that need not be in [`methods::METHODS`]: one of the
    /// caller's own. The config's `merge_method` is only a name then, and the config has been checked
    /// against the parameters of the method of that name.
    pub fn with_method(
        method: &'static MethodDefinition,
        config: &MergeConfig,
        store: &ModelStore,
        options: &PlanOptions,
    ) -> Result<Self, PlanError> {
        for (field, dtype) in [("dtype", config.dtype), ("out_dtype", config.out_dtype)] {
            if let Some(dtype) = dtype.filter(|dtype| !dtype.is_float()) {
                return Err(PlanError::WholeNumbers { field, dtype });
            }
        }
        let references = recipe::references(config);
        let mut models = references
            .iter()
            .map(|(field, reference)| {
                store.open(reference).map_err(|error| error.of_model(field.clone()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let (donor, others) = models.split_first_mut().ok_or(PlanError::NoTensors)?;
        for model in others {
            if let Some(relaid) = model.in_layout_of(donor) {
                *model = Arc::new(relaid);
            }
        }
        let (models, donor) = (&models, &models[0]);
        let mut warnings = Vec::new();
        let chat_template = chat_template(config, models, &mut warnings);
        let vocabulary = Vocabulary::new(config, models, &references, store, &mut warnings)?;
        if vocabulary.is_none() {
            vocabulary::warn_of_other_tokens(models, &references, &mut warnings);
        }
        check_architectures(models, &references, options, &mut warnings)?;
        let definition = common_definition(models, &mut warnings);
        for (model, (field, _)) in models.iter().zip(&references) {
            if model.ignores_revision() {
                let (field, model) = (field.clone(), model.label());
                warnings.push(PlanWarning::IgnoredRevision { field, model });
            }
        }

        let modules = recipe::normalise(config, models, method, &definition, &mut warnings)?;
        let definition =
            unlisted::extend(&definition, models, &references, &modules, &mut warnings)?;
        let top = Scope { field: "".into(), settings: &config.parameters };
        let mut planner = tensors::Planner {
            method,
            top: &top,
            dtype: config.dtype,
            out_dtype: config.out_dtype,
            truncate_embeddings: options.truncate_embeddings,
            vocabulary,
            planned: Vec::new(),
            warnings,
            written_despite_tie: Vec::new(),
            vocabulary_size: None,
            usage: Usage::default(),
            zero_sums: ZeroSums::default(),
        };
        for module in &modules {
            planner.plan_module(module, &definition.modules[&module.name])?;
        }
        if planner.planned.is_empty() {
            return Err(PlanError::NoTensors);
        }
        planner.warn_of_settings(&modules);
        let output_config = output_config(donor, &definition, &modules, &mut planner)?;
        let base = config.base_model.is_some().then(|| Arc::clone(donor));
        let tensors::Planner { planned, mut warnings, vocabulary, .. } = planner;
        let tokenizer = vocabulary.map(|vocabulary| vocabulary.finish(&mut warnings));
        Ok(Self {
            method,
            tensors: planned,
            config: output_config,
            tokenizer,
            chat_template,
            warnings,
            seed: options.seed,
            base,
            models: models.clone(),
        })
    }

    /// The merge method.
    pub fn method(&self) -> &'static MethodDefinition {
        self.method
    }

    /// Every model that the config mentions, the donor first.
    pub fn models(&self) -> &[Arc<InputModel>] {
        &self.models
    }

    /// The model whose config and tokenizer the output gets: the base, or else the first one.
    pub fn donor(&self) -> &InputModel {
        &self.models[0]
    }

    /// The config's base model.
    pub fn base(&self) -> Option<&InputModel> {
        self.base.as_deref()
    }

    /// The output's tokenizer, where it is not the donor's as it is.
    pub fn tokenizer(&self) -> Option<&OutputTokenizer> {
        self.tokenizer.as_ref()
    }

    /// The Jinja text of the chat template that the output's tokenizer gets instead of the donor's.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// Every output tensor, in output order; at least one.
    pub fn tensors(&self) -> &[PlannedTensor] {
        &self.tensors
    }

    /// The output's tensors as a checkpoint lists them.
    pub fn tensor_infos(&self) -> IndexMap<String, TensorInfo> {
        self.tensors.iter().map(|tensor| (tensor.name.clone(), tensor.info.clone())).collect()
    }

    /// Bytes of all output tensors.
    pub fn output_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.info.bytes() as u64).sum()
    }

    /// The output's `config.json`.
    pub fn model_config(&self) -> &serde_json::Value {
        self.config.values()
    }

    /// The output's `config.json`, to be saved.
    pub fn output_config(&self) -> &ModelConfig {
        &self.config
    }

    /// What works, but perhaps not as meant.
    pub fn warnings(&self) -> &[PlanWarning] {
        &self.warnings
    }

    /// Key of all random numbers.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

/// The text of the chat template that `config` asks for.
fn chat_template(
    config: &MergeConfig,
    models: &[Arc<InputModel>],
    warnings: &mut Vec<PlanWarning>,
) -> Option<String> {
    match config.chat_template.as_ref()? {
        ChatTemplate::BuiltIn(template) => Some(tokenizer::built_in(*template).to_owned()),
        ChatTemplate::Text(text) => Some(text.clone()),
        ChatTemplate::Auto => {
            let mut found = Vec::new();
            for model in models {
                match tokenizer::of_model(&model.directory) {
                    Ok(template) => found.extend(template),
                    Err(error) => warnings.push(PlanWarning::UnreadableChatTemplate {
                        model: model.label(),
                        problem: error.to_string(),
                    }),
                }
            }
            let template = tokenizer::most_frequent(found);
            if template.is_none() {
                warnings.push(PlanWarning::NoChatTemplate);
            }
            template
        }
    }
}

/// All models have the donor's architecture, or else are allowed to differ.
fn check_architectures(
    models: &[Arc<InputModel>],
    references: &[(String, &ModelReference)],
    options: &PlanOptions,
    warnings: &mut Vec<PlanWarning>,
) -> Result<(), PlanError> {
    let donor = &models[0];
    for (model, (field, _)) in models.iter().zip(references).skip(1) {
        let field = field.clone();
        let (first, second) = (donor.architecture.definition(), model.architecture.definition());
        let are_inferred = first.is_inferred && second.is_inferred && first.name == second.name;
        if first == second || are_inferred {
            continue;
        }
        if !options.allow_mixed_architectures {
            return Err(PlanError::Architectures {
                field,
                first: donor.label(),
                expected: donor.architecture.name().to_owned(),
                model: model.label(),
                found: model.architecture.name().to_owned(),
            });
        }
        let (first, model) = (donor.label(), model.label());
        warnings.push(PlanWarning::MixedArchitectures { field, first, model });
    }
    Ok(())
}

/// The donor's definition or, where that is inferred, one that fits all models.
fn common_definition(
    models: &[Arc<InputModel>],
    warnings: &mut Vec<PlanWarning>,
) -> Arc<ArchitectureDefinition> {
    let definition = models[0].architecture.definition();
    if !definition.is_inferred {
        return Arc::clone(definition);
    }
    let class = definition.name.clone();
    let all: Vec<_> = models.iter().map(|model| (&model.config, &*model.checkpoint)).collect();
    let definition = Arc::new(infer_definition(&class, &all));
    warnings.push(PlanWarning::InferredArchitecture { class });
    definition
}

/// The one type of all floating tensors, when `config` says that they have another.
fn contradicted_dtype(config: &ModelConfig, tensors: &[PlannedTensor]) -> Option<DType> {
    let said = config.dtype()?;
    let mut written =
        tensors.iter().map(|tensor| tensor.info.dtype).filter(|dtype| dtype.is_float());
    let first = written.next()?;
    (written.all(|dtype| dtype == first) && first.to_string() != said).then_some(first)
}

/// The donor's config, adapted to what is written.
fn output_config(
    donor: &InputModel,
    definition: &ArchitectureDefinition,
    modules: &[ModuleRecipe<'_>],
    planner: &mut tensors::Planner<'_>,
) -> Result<ModelConfig, PlanError> {
    let mut config = donor.config.clone();
    let wanted = planner.out_dtype.or(planner.dtype);
    if let Some(dtype) = wanted.or_else(|| contradicted_dtype(&config, &planner.planned)) {
        config.set_dtype(dtype);
    }
    for module in modules.iter().filter(|module| module.is_restacked) {
        match &definition.modules[&module.name].layer_count {
            LayerCount::Keys(keys) => {
                let first = |slice: &recipe::Slice<'_>| slice.sources[0].layers.clone();
                let source_layers: Vec<usize> = module.slices.iter().flat_map(first).collect();
                let key = config.first_of(keys).to_owned();
                config.set_source_layers(&key, &source_layers)?;
            }
            LayerCount::Stored => {
                let module = module.name.clone();
                planner.warnings.push(PlanWarning::UnknownLayerCount { module });
            }
            LayerCount::Fixed(_) => {}
        }
    }
    // A config may leave out that its model is tied, where that is usual for the architecture.
    let is_tied = |name: &String| donor.is_tied() || !donor.checkpoint.tensors().contains_key(name);
    if planner.written_despite_tie.iter().any(is_tied) {
        config.set_tie_word_embeddings(false);
    }
    if let Some(rows) = planner.vocabulary_size {
        let key = config.first_of(&definition.vocabulary_size_keys).to_owned();
        config.set(&key, rows)?;
    }
    Ok(config)
}

#[cfg(test)]
mod tests;
