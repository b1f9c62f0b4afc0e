//! Opened input models, shared by all plans that use them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::adapter::{AdaptedCheckpoint, Adapter};
use crate::architecture::{Architecture, ModelConfig};
use crate::checkpoint::{Checkpoint, TensorInfo, TensorSource};
use crate::config::ModelReference;
use crate::kernels::dtype::DType;
use crate::tokenizer::{self, TokenizerError, TokenizerFile};

use super::PlanError;

/// An input model: its weights, what its config says, and which tensors it should have.
pub struct InputModel {
    /// As written in merge configs.
    pub reference: ModelReference,
    /// Where it was read from, without its adapter.
    pub directory: PathBuf,
    /// Its weights.
    pub checkpoint: Arc<dyn TensorSource>,
    /// Its `config.json`.
    pub config: ModelConfig,
    /// Its architecture, with its own layer counts.
    pub architecture: Architecture,
    id: u64,
    unlisted: OnceLock<Vec<String>>,
    tokenizer: OnceLock<Result<Arc<TokenizerFile>, TokenizerError>>,
}

impl InputModel {
    /// Opens the model directory that `reference` names, and its adapter. Reads headers only.
    ///
    /// A model with an adapter is converted to `adapted_as`, where given, before the two are combined.
    pub fn open(reference: &ModelReference, adapted_as: Option<DType>) -> Result<Self, PlanError> {
        let mut paths = std::iter::once(&reference.model).chain(&reference.lora);
        if paths.any(|path| path.revision.is_some()) {
            return Err(PlanError::RevisionNotAvailable { model: reference.to_string() });
        }
        let directory = Path::new(&reference.model.path);
        let checkpoint = Box::new(Checkpoint::open(directory)?);
        let config = ModelConfig::load(directory)?;
        let model = Self::new(reference.clone(), directory.to_owned(), checkpoint, config)?;
        let Some(adapter) = &reference.lora else { return Ok(model) };
        let adapter = Adapter::open(Path::new(&adapter.path))?;
        let Self { checkpoint, architecture, mut config, .. } = model;
        let label = reference.model.to_string();
        let adapted =
            AdaptedCheckpoint::new(checkpoint, &label, &architecture, adapter, adapted_as)?;
        if adapted.is_untied() {
            config.set_tie_word_embeddings(false);
        }
        if let Some(rows) = adapted.vocabulary_size() {
            let keys = &architecture.definition().vocabulary_size_keys;
            let key = config.first_of(keys).to_owned();
            config.set(&key, rows)?;
        }
        Ok(Self { checkpoint: Arc::new(adapted), architecture, config, ..model })
    }

    /// A model from its parts, which may live in memory.
    pub fn new(
        reference: ModelReference,
        directory: PathBuf,
        checkpoint: Box<dyn TensorSource>,
        config: ModelConfig,
    ) -> Result<Self, PlanError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let architecture = match &reference.override_architecture {
            None => Architecture::known_or_inferred(&config, &*checkpoint)?,
            Some(name) => {
                let mut named = config.clone();
                named.set("architectures", vec![name.clone()])?;
                Architecture::known_or_inferred(&named, &*checkpoint)?
            }
        };
        architecture.check_layer_counts(&*checkpoint, &config)?;
        if let Some((tensor, scale)) = scaled_weight(&*checkpoint) {
            let model = reference.to_string();
            return Err(PlanError::ScaledWeights { model, tensor, scale });
        }
        Ok(Self {
            reference,
            directory,
            checkpoint: checkpoint.into(),
            config,
            architecture,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            unlisted: OnceLock::new(),
            tokenizer: OnceLock::new(),
        })
    }

    /// The model with its tensors laid out as those of `other`, when it is of the same architecture in
    /// another layout. What is known of its tensors by its [`id`](Self::id) stays true, since those
    /// that the layouts have in common are the same.
    pub(super) fn in_layout_of(&self, other: &Self) -> Option<Self> {
        let (architecture, checkpoint) =
            self.architecture.in_layout_of(&other.architecture, &self.config, &self.checkpoint)?;
        Some(Self {
            reference: self.reference.clone(),
            directory: self.directory.clone(),
            checkpoint,
            config: self.config.clone(),
            architecture,
            id: self.id,
            unlisted: OnceLock::new(),
            tokenizer: OnceLock::new(),
        })
    }

    /// The model as messages name it: the way merge configs write it.
    pub fn label(&self) -> String {
        self.reference.to_string()
    }

    /// The directories that it was read from: its own, and its adapter's.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let adapter = self.reference.lora.iter().map(|adapter| Path::new(&adapter.path));
        std::iter::once(self.directory.as_path()).chain(adapter)
    }

    /// Differs between any two models that this process has opened, so that what was computed from
    /// one is never taken for another's.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Tensors that the architecture does not mention.
    pub fn unlisted(&self) -> &[String] {
        self.unlisted.get_or_init(|| {
            let names = self.architecture.unlisted(&*self.checkpoint);
            names.into_iter().map(str::to_owned).collect()
        })
    }

    /// Its tokenizer, read when it is first asked for.
    pub(super) fn tokenizer(&self) -> Result<&Arc<TokenizerFile>, &TokenizerError> {
        let read = || TokenizerFile::read(&self.directory).map(Arc::new);
        self.tokenizer.get_or_init(read).as_ref()
    }

    /// Whether the tokenizers of both models are the same file, byte by byte; also when both have none.
    pub(super) fn has_tokenizer_of(&self, other: &Self) -> bool {
        let path = |model: &Self| model.directory.join(tokenizer::FILE);
        same_contents(&path(self), &path(other))
    }

    /// Whether the model's config says that its LM head is its input embedding.
    pub(super) fn is_tied(&self) -> bool {
        self.config.get("tie_word_embeddings").and_then(serde_json::Value::as_bool) == Some(true)
    }
}

impl std::fmt::Debug for InputModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InputModel").field("reference", &self.reference).finish_non_exhaustive()
    }
}

/// A tensor of 8-bit floating numbers that has its scales beside it, and these.
fn scaled_weight(source: &dyn TensorSource) -> Option<(String, String)> {
    let tensors = source.tensors();
    let is_small = |info: &TensorInfo| matches!(info.dtype, DType::F8E4M3 | DType::F8E5M2);
    tensors.iter().filter(|(_, info)| is_small(info)).find_map(|(name, _)| {
        let mut scales = ["_scale_inv", "_scale"].map(|end| format!("{name}{end}")).into_iter();
        Some((name.clone(), scales.find(|scale| tensors.contains_key(scale))?))
    })
}

/// Opened models by reference. Each is opened once, however many plans use it.
#[derive(Debug, Default)]
pub struct ModelStore {
    adapted_as: Option<DType>,
    models: Mutex<HashMap<ModelReference, Arc<InputModel>>>,
}

impl ModelStore {
    /// A store without models.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store without models, in which models with adapters are converted to `dtype`, where given,
    /// before the two are combined.
    pub fn with_adapted_as(dtype: Option<DType>) -> Self {
        Self { adapted_as: dtype, ..Self::default() }
    }

    /// The model that `reference` names, opened now or before.
    pub fn open(&self, reference: &ModelReference) -> Result<Arc<InputModel>, PlanError> {
        // A model is put in complete or not at all, so a panic elsewhere leaves nothing to repair.
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = models.get(reference) {
            return Ok(Arc::clone(model));
        }
        let model = Arc::new(InputModel::open(reference, self.adapted_as)?);
        models.insert(reference.clone(), Arc::clone(&model));
        Ok(model)
    }

    /// Puts in a model that was made elsewhere, under its reference.
    pub fn insert(&self, model: InputModel) -> Arc<InputModel> {
        let model = Arc::new(model);
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.insert(model.reference.clone(), Arc::clone(&model));
        model
    }
}

fn same_contents(a: &Path, b: &Path) -> bool {
    let length = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.len()).ok();
    a == b || length(a) == length(b) && std::fs::read(a).ok() == std::fs::read(b).ok()
}
