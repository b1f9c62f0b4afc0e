//! Opened input models, shared by all plans that use them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sha2::{Digest, Sha256};

use crate::adapter::{AdaptedCheckpoint, Adapter};
use crate::architecture::{Architecture, ModelConfig};
use crate::checkpoint::{Beginnings, Checkpoint, TensorInfo, TensorSource};
use crate::config::{ModelPath, ModelReference};
use crate::hub::{Hub, Kind, Place, Snapshot};
use crate::kernels::dtype::DType;
use crate::tokenizer::{self, TokenizerError, TokenizerFile};

use super::PlanError;

/// An input model: its weights, what its config says, and which tensors it should have.
pub struct InputModel {
    /// As written in merge configs.
    pub reference: ModelReference,
    /// Where it was read from, without its adapter.
    pub directory: PathBuf,
    /// The commit of the Hub that it is, without its adapter, where it is one.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Its weights.
    pub checkpoint: Arc<dyn TensorSource>,
    /// Its `config.json`.
    pub config: ModelConfig,
    /// Its architecture, with its own layer counts.
    pub architecture: Architecture,
    /// The commit that its adapter is.
    pub adapter_snapshot: Option<Arc<Snapshot>>,
    adapter_directory: Option<PathBuf>,
    id: u64,
    unlisted: OnceLock<Vec<String>>,
    tokenizer: OnceLock<Result<Arc<TokenizerFile>, TokenizerError>>,
    tokenizer_digest: OnceLock<Option<[u8; 32]>>,
}

impl InputModel {
    /// Opens the model that `reference` names, and its adapter: directories or, with a `hub`, models of
    /// the Hub. Reads headers only, also of weights that are still to be fetched.
    ///
    /// A model with an adapter is converted to `adapted_as`, where given, before the two are combined.
    pub fn open(
        reference: &ModelReference,
        adapted_as: Option<DType>,
        hub: Option<&Hub>,
    ) -> Result<Self, PlanError> {
        let place = locate(&reference.model, Kind::Model, hub)?;
        let adapter = reference.lora.as_ref();
        let adapter_place = adapter.map(|path| locate(path, Kind::Adapter, hub)).transpose()?;
        let beginnings = match (hub, place.snapshot()) {
            (Some(hub), Some(snapshot)) => hub.beginnings(snapshot)?,
            _ => Beginnings::new(),
        };
        let directory = place.directory();
        let checkpoint = Box::new(Checkpoint::open_with(&directory, &beginnings)?);
        let config = ModelConfig::load(&directory)?;
        let model = Self {
            snapshot: place.snapshot().cloned(),
            ..Self::new(reference.clone(), directory, checkpoint, config)?
        };
        let Some(adapter_place) = adapter_place else { return Ok(model) };
        let adapter = Adapter::open(&adapter_place.directory())?;
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
        Ok(Self {
            checkpoint: Arc::new(adapted),
            architecture,
            config,
            adapter_snapshot: adapter_place.snapshot().cloned(),
            adapter_directory: Some(adapter_place.directory()),
            ..model
        })
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
            snapshot: None,
            checkpoint: checkpoint.into(),
            config,
            architecture,
            adapter_snapshot: None,
            adapter_directory: None,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            unlisted: OnceLock::new(),
            tokenizer: OnceLock::new(),
            tokenizer_digest: OnceLock::new(),
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
            snapshot: self.snapshot.clone(),
            checkpoint,
            config: self.config.clone(),
            architecture,
            adapter_snapshot: self.adapter_snapshot.clone(),
            adapter_directory: self.adapter_directory.clone(),
            id: self.id,
            unlisted: OnceLock::new(),
            tokenizer: OnceLock::new(),
            tokenizer_digest: OnceLock::new(),
        })
    }

    /// The model as messages name it: the way merge configs write it.
    pub fn label(&self) -> String {
        self.reference.to_string()
    }

    /// The directories that it was read from: its own, and its adapter's.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let adapter = self.adapter_directory.as_deref();
        std::iter::once(self.directory.as_path()).chain(adapter)
    }

    /// Whether a revision is asked for of a local directory, which has none.
    pub(super) fn ignores_revision(&self) -> bool {
        let ModelReference { model, lora, .. } = &self.reference;
        let adapter = lora.as_ref().and_then(|adapter| adapter.revision.as_ref());
        (model.revision.is_some() && self.snapshot.is_none())
            || (adapter.is_some() && self.adapter_snapshot.is_none())
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

    /// Bytes of memory that its tokenizer takes, if it has been read.
    pub(super) fn tokenizer_memory(&self) -> u64 {
        let read = self.tokenizer.get().and_then(|tokenizer| tokenizer.as_ref().ok());
        read.map_or(0, |tokenizer| tokenizer.memory())
    }

    /// Whether the tokenizers of both models are the same file, byte by byte; also when both have none.
    /// Files are read once per model, however often a search asks.
    pub(super) fn has_tokenizer_of(&self, other: &Self) -> bool {
        self.directory == other.directory || self.tokenizer_digest() == other.tokenizer_digest()
    }

    fn tokenizer_digest(&self) -> Option<[u8; 32]> {
        *self.tokenizer_digest.get_or_init(|| {
            let text = std::fs::read(self.directory.join(tokenizer::FILE)).ok()?;
            Some(Sha256::digest(text).into())
        })
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

/// Where a model is: a directory or, with a `hub`, perhaps a model of the Hub.
fn locate(path: &ModelPath, kind: Kind, hub: Option<&Hub>) -> Result<Place, PlanError> {
    match (hub, &path.revision) {
        (Some(hub), revision) => Ok(hub.locate(&path.path, revision.as_deref(), kind)?),
        (None, None) => Ok(Place::Local(PathBuf::from(&path.path))),
        (None, Some(_)) => Err(PlanError::RevisionNotAvailable { model: path.to_string() }),
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
    hub: Option<Arc<Hub>>,
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

    /// The same, in which models may also come from the Hub.
    pub fn with_hub(self, hub: Arc<Hub>) -> Self {
        Self { hub: Some(hub), ..self }
    }

    /// Fetches the weights of opened models that are not here, after which these have to be opened
    /// again. Returns whether there were any.
    ///
    /// A plan that was made before has the models without their weights and cannot be run.
    pub fn fetch_weights(&self) -> Result<bool, PlanError> {
        let Some(hub) = &self.hub else { return Ok(false) };
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let absent: HashMap<&ModelReference, Arc<Snapshot>> = models
            .iter()
            .filter_map(|(reference, model)| Some((reference, model.snapshot.clone()?)))
            .filter(|(_, snapshot)| !snapshot.is_complete())
            .collect();
        hub.fetch(&absent.values().cloned().collect::<Vec<_>>())?;
        let reopened: Vec<ModelReference> = absent.into_keys().cloned().collect();
        models.retain(|reference, _| !reopened.contains(reference));
        Ok(!reopened.is_empty())
    }

    /// The model that `reference` names, opened now or before.
    pub fn open(&self, reference: &ModelReference) -> Result<Arc<InputModel>, PlanError> {
        // A model is put in complete or not at all, so a panic elsewhere leaves nothing to repair.
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = models.get(reference) {
            return Ok(Arc::clone(model));
        }
        let model = Arc::new(InputModel::open(reference, self.adapted_as, self.hub.as_deref())?);
        models.insert(reference.clone(), Arc::clone(&model));
        Ok(model)
    }

    /// The directory with the tokenizer of the model that `reference` names, which is not opened.
    pub(super) fn tokenizer_directory(
        &self,
        reference: &ModelReference,
    ) -> Result<PathBuf, PlanError> {
        Ok(locate(&reference.model, Kind::Tokenizer, self.hub.as_deref())?.directory())
    }

    /// Puts in a model that was made elsewhere, under its reference.
    pub fn insert(&self, model: InputModel) -> Arc<InputModel> {
        let model = Arc::new(model);
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.insert(model.reference.clone(), Arc::clone(&model));
        model
    }
}
