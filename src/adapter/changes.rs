//! What an adapter changes: its tensors, brought together by the tensor of the base that they change.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, Weak};

use indexmap::IndexMap;

use super::AdapterError;
use super::config::AdapterConfig;
use super::error::Misfit;
use super::names::{self, Part};
use super::product::{Layout, Product};
use super::source::Held;
use crate::architecture::{Architecture, TensorNames};
use crate::checkpoint::{Checkpoint, TensorInfo, TensorSource, WeightsFile};
use crate::kernels::dtype::DType;

/// What weights may be called, the preferred name first.
const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// Which of the files that `is_there` knows holds the weights.
pub(crate) fn weights_file(is_there: impl Fn(&str) -> bool) -> Option<WeightsFile> {
    let name = WEIGHTS.into_iter().find(|name| is_there(name))?;
    let is_safetensors = name.ends_with(".safetensors");
    Some(WeightsFile { name, is_index: false, is_safetensors })
}

/// A LoRA adapter: a directory with `adapter_config.json` and `adapter_model.safetensors` or
/// `adapter_model.bin`, as peft writes it.
pub struct Adapter {
    path: PathBuf,
    config: AdapterConfig,
    pub(super) weights: Box<dyn TensorSource>,
    modules: IndexMap<String, Parts>,
    /// Name in the adapter of each tensor that takes the place of the base's.
    wholes: IndexMap<String, String>,
}

/// Names of a module's tensors in the adapter.
#[derive(Debug, Default)]
struct Parts {
    a: Option<String>,
    b: Option<String>,
    bias: Option<String>,
    magnitude: Option<String>,
    is_embedding: bool,
}

/// How one tensor of the adapted model comes about.
pub(super) struct Change {
    /// As the adapted model has it.
    pub(super) info: TensorInfo,
    /// What is changed.
    pub(super) from: Origin,
    /// What is added to a weight.
    pub(super) product: Option<Product>,
    /// Name and scale of what is added to a bias.
    pub(super) bias: Option<(String, f32)>,
    /// Whether the base has another tensor in its place.
    pub(super) is_untied: bool,
    /// Its number of rows, when it has one for each token and not as many as the base's.
    pub(super) vocabulary: Option<usize>,
    /// What was loaded of the product, for as long as somebody needs it.
    pub(super) held: Mutex<Weak<Held>>,
}

/// Where values come from before they are changed.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// This tensor of the base.
    Base(String),
    /// This tensor of the adapter.
    Adapter(String),
}

/// How the base has a tensor.
enum Found {
    /// Under this name.
    Stored(String),
    /// Not itself; this one stands in for it.
    Tied(String),
    Absent,
}

impl Adapter {
    /// Opens the adapter in `directory`. Reads headers only, or the pickle.
    pub fn open(directory: &Path) -> Result<Self, AdapterError> {
        let config = AdapterConfig::load(directory)?;
        let mut files = WEIGHTS.iter().map(|name| directory.join(name));
        let weights = files
            .find(|file| file.symlink_metadata().is_ok())
            .ok_or_else(|| AdapterError::NoWeights { path: directory.to_owned() })?;
        Self::new(directory.to_owned(), config, Box::new(Checkpoint::open_file(&weights)?))
    }

    /// An adapter from its parts.
    pub(super) fn new(
        path: PathBuf,
        config: AdapterConfig,
        weights: Box<dyn TensorSource>,
    ) -> Result<Self, AdapterError> {
        let mut modules: IndexMap<String, Parts> = IndexMap::new();
        let mut wholes = IndexMap::new();
        for tensor in weights.tensors().keys() {
            let Some((name, part)) = names::parse(tensor) else {
                return Err(AdapterError::UnknownTensor { path, tensor: tensor.clone() });
            };
            if part == Part::Whole {
                wholes.insert(name, tensor.clone());
                continue;
            }
            let parts = modules.entry(name).or_default();
            parts.is_embedding |= matches!(part, Part::EmbeddingA | Part::EmbeddingB);
            let slot = match part {
                Part::A | Part::EmbeddingA => &mut parts.a,
                Part::B | Part::EmbeddingB => &mut parts.b,
                Part::Bias => &mut parts.bias,
                Part::Magnitude | Part::Whole => &mut parts.magnitude,
            };
            *slot = Some(tensor.clone());
        }
        if modules.is_empty() && wholes.is_empty() {
            return Err(AdapterError::NoWeights { path });
        }
        Ok(Self { path, config, weights, modules, wholes })
    }

    /// Every change to `base`, a model of `architecture` that messages call `label`, by the name of the
    /// tensor in the adapted model.
    pub(super) fn changes(
        &self,
        base: &dyn TensorSource,
        label: &str,
        architecture: &Architecture,
        dtype: Option<DType>,
    ) -> Result<IndexMap<String, Change>, AdapterError> {
        let listed = listed_in(architecture);
        let target = Target { adapter: self, base, label, dtype, listed };
        let mut changes = IndexMap::new();
        for (name, tensor) in &self.wholes {
            let (name, change) = target.whole(name, tensor)?;
            changes.insert(name, change);
        }
        target.check_vocabularies(&changes)?;
        for (module, parts) in &self.modules {
            let (name, product) = target.product(module, parts, &mut changes)?;
            let change: &mut Change = &mut changes[&name];
            change.product = product;
            if let Some(bias) = &parts.bias {
                let name = target.bias(module, bias, &mut changes)?;
                changes[&name].bias = Some((bias.clone(), self.config.scale(module)));
            }
        }
        Ok(changes)
    }
}

/// A model that an adapter is put on.
struct Target<'t> {
    adapter: &'t Adapter,
    base: &'t dyn TensorSource,
    label: &'t str,
    /// The type that the model is converted to before it is changed.
    dtype: Option<DType>,
    /// By each name of their own.
    listed: IndexMap<String, Listed>,
}

/// A tensor that an architecture lists.
struct Listed {
    names: TensorNames,
    /// Whether it has a row for each token.
    is_vocabulary: bool,
}

impl Target<'_> {
    fn find(&self, name: &str) -> Found {
        let tensors = self.base.tensors();
        if tensors.contains_key(name) {
            return Found::Stored(name.to_owned());
        }
        if let Some(Listed { names, .. }) = self.listed.get(name)
            && let Some(found) = names.resolve(self.base)
        {
            let found = found.to_owned();
            return match names.is_stored_in(self.base) {
                true => Found::Stored(found),
                false => Found::Tied(found),
            };
        }
        // Classes of transformers hold the same model under attributes of different names, which
        // checkpoints then have in front of all names or not.
        let is_end = |long: &str, short: &str| {
            long.strip_suffix(short).is_some_and(|front| front.ends_with('.'))
        };
        let mut alike =
            tensors.keys().filter(|stored| is_end(stored, name) || is_end(name, stored));
        match (alike.next(), alike.next()) {
            (Some(stored), None) => Found::Stored(stored.clone()),
            _ => Found::Absent,
        }
    }

    fn not_in_base(&self, tensor: String) -> AdapterError {
        AdapterError::NotInBase {
            path: self.adapter.path.clone(),
            base: self.label.to_owned(),
            tensor,
            trained_on: self.adapter.config.trained_on.clone(),
        }
    }

    fn misfit(&self, part: &str, tensor: &str, shape: &[usize]) -> AdapterError {
        AdapterError::Shape(Box::new(Misfit {
            path: self.adapter.path.clone(),
            base: self.label.to_owned(),
            part: part.to_owned(),
            found: self.adapter.weights.tensors()[part].shape.clone(),
            tensor: tensor.to_owned(),
            shape: shape.to_vec(),
            trained_on: self.adapter.config.trained_on.clone(),
        }))
    }

    /// The base's tensor `name`, in the type that it is changed in.
    fn info(&self, name: &str) -> Result<TensorInfo, AdapterError> {
        let mut info = self.base.tensors()[name].clone();
        if !info.dtype.is_float() {
            return Err(AdapterError::NotFloat {
                path: self.adapter.path.clone(),
                base: self.label.to_owned(),
                tensor: name.to_owned(),
                dtype: info.dtype,
            });
        }
        info.dtype = self.dtype.unwrap_or(info.dtype);
        Ok(info)
    }

    fn is_vocabulary(&self, name: &str) -> bool {
        self.listed.get(name).is_some_and(|listed| listed.is_vocabulary)
    }

    /// Tensors with a row for each token may have been given more rows, but then all of them.
    fn check_vocabularies(&self, changes: &IndexMap<String, Change>) -> Result<(), AdapterError> {
        for (_, change) in changes.iter().filter(|(name, _)| self.is_vocabulary(name)) {
            let Origin::Adapter(tensor) = &change.from else { continue };
            for other in self.listed.keys().filter(|other| self.is_vocabulary(other)) {
                let changed = changes.get(other).map(|change| &change.info);
                if let Some(info) = changed.or_else(|| self.base.tensors().get(other))
                    && info.shape.first() != change.info.shape.first()
                {
                    return Err(self.misfit(tensor, other, &info.shape));
                }
            }
        }
        Ok(())
    }

    /// The tensor `name`, which `tensor` of the adapter replaces. The base may be without it.
    fn whole(&self, name: &str, tensor: &str) -> Result<(String, Change), AdapterError> {
        let found = &self.adapter.weights.tensors()[tensor];
        let place = self.find(name);
        let is_untied = matches!(place, Found::Tied(_));
        let (name, dtype) = match place {
            Found::Stored(name) => {
                let info = self.info(&name)?;
                let is_resized = self.is_vocabulary(&name)
                    && info.shape.len() == 2
                    && found.shape.len() == 2
                    && found.shape[1] == info.shape[1];
                if found.shape != info.shape && !is_resized {
                    return Err(self.misfit(tensor, &name, &info.shape));
                }
                (name, info.dtype)
            }
            Found::Tied(other) => (name.to_owned(), self.info(&other)?.dtype),
            Found::Absent => (name.to_owned(), self.dtype.unwrap_or(found.dtype)),
        };
        let info = TensorInfo { dtype, shape: found.shape.clone() };
        let before = self.base.tensors().get(&name).map(|info| &info.shape);
        let vocabulary = match before {
            Some(shape) if *shape != info.shape => Some(info.shape[0]),
            _ => None,
        };
        let change = Change::new(info, Origin::Adapter(tensor.to_owned()));
        Ok((name, Change { is_untied, vocabulary, ..change }))
    }

    /// Finds the weight of `module`, which then has an entry in `changes`, and the product on top of it.
    fn product(
        &self,
        module: &str,
        parts: &Parts,
        changes: &mut IndexMap<String, Change>,
    ) -> Result<(String, Option<Product>), AdapterError> {
        let config = &self.adapter.config;
        let (a, b) = self.complete(module, parts)?;
        let name = self.entry(format!("{module}.weight"), changes)?;
        let shape = changes[&name].info.shape.clone();
        let (a_shape, b_shape) = (self.shape_of(a), self.shape_of(b));
        let ([rank, inputs @ ..], [outputs, b_rank @ ..]) = (a_shape, b_shape) else {
            return Err(self.misfit(a, &name, &shape));
        };
        let (inputs, b_rank): (usize, usize) = (inputs.iter().product(), b_rank.iter().product());
        let [rows, rest @ ..] = shape.as_slice() else {
            return Err(self.misfit(a, &name, &shape));
        };
        let (rows, cols): (usize, usize) = (*rows, rest.iter().product());
        let fits_plain = !parts.is_embedding && (rows, cols) == (*outputs, inputs);
        let fits_transposed = shape.len() == 2 && (rows, cols) == (inputs, *outputs);
        // What the config says is about one class of layers; a model may have both, so it only decides
        // where shapes don't.
        let layout = match (fits_plain, fits_transposed) {
            (true, true) if config.fan_in_fan_out => Layout::Transposed,
            (true, _) => Layout::Plain,
            (false, true) => Layout::Transposed,
            (false, false) => {
                let is_a_wrong = if parts.is_embedding { inputs != rows } else { inputs != cols };
                return Err(self.misfit(if is_a_wrong { a } else { b }, &name, &shape));
            }
        };
        let configured = config.rank(module);
        if let Some(&found) = [*rank, b_rank].iter().find(|&&rank| rank != configured) {
            let (path, module) = (self.adapter.path.clone(), module.to_owned());
            return Err(AdapterError::Rank { path, module, configured, found });
        }
        if let Some(magnitude) = &parts.magnitude {
            let wanted = if layout == Layout::Plain { rows } else { cols };
            if self.adapter.weights.tensors()[magnitude].elements() != wanted {
                return Err(self.misfit(magnitude, &name, &shape));
            }
        }
        let product = Product {
            a: a.to_owned(),
            b: b.to_owned(),
            layout,
            rows,
            cols,
            rank: *rank,
            scale: config.scale(module),
            magnitude: parts.magnitude.clone(),
        };
        Ok((name, Some(product)))
    }

    /// Both matrices of `module`, which has all parts that it should have and no other.
    fn complete<'p>(
        &self,
        module: &str,
        parts: &'p Parts,
    ) -> Result<(&'p str, &'p str), AdapterError> {
        let (path, module) = (self.adapter.path.clone(), module.to_owned());
        let missing = match (&parts.a, &parts.b, &parts.magnitude) {
            (None, _, _) if parts.is_embedding => "lora_embedding_A",
            (_, None, _) if parts.is_embedding => "lora_embedding_B",
            (None, _, _) => "lora_A.weight",
            (_, None, _) => "lora_B.weight",
            (_, _, None) if self.adapter.config.use_dora => "lora_magnitude_vector",
            (_, _, Some(_)) if !self.adapter.config.use_dora => {
                return Err(AdapterError::UnexpectedMagnitude { path, module });
            }
            (Some(a), Some(b), _) => return Ok((a, b)),
        };
        Err(AdapterError::MissingPart { path, module, missing })
    }

    /// Finds the bias of `module`, which then has an entry in `changes`.
    fn bias(
        &self,
        module: &str,
        bias: &str,
        changes: &mut IndexMap<String, Change>,
    ) -> Result<String, AdapterError> {
        let name = self.entry(format!("{module}.bias"), changes)?;
        let shape = &changes[&name].info.shape;
        match self.shape_of(bias) == shape {
            true => Ok(name),
            false => Err(self.misfit(bias, &name, shape)),
        }
    }

    /// Makes sure that the tensor `wanted` has an entry in `changes`, and returns its name there. One
    /// that the base has only through another is made a tensor of its own: an adapter for the head is
    /// not meant for the embeddings.
    fn entry(
        &self,
        wanted: String,
        changes: &mut IndexMap<String, Change>,
    ) -> Result<String, AdapterError> {
        let place = self.find(&wanted);
        let is_untied = matches!(place, Found::Tied(_));
        let (name, from) = match place {
            Found::Stored(name) => (name.clone(), name),
            Found::Tied(other) => (wanted, other),
            Found::Absent if changes.contains_key(&wanted) => return Ok(wanted),
            Found::Absent => return Err(self.not_in_base(wanted)),
        };
        if !changes.contains_key(&name) {
            let change = Change::new(self.info(&from)?, Origin::Base(from));
            changes.insert(name.clone(), Change { is_untied, ..change });
        }
        Ok(name)
    }

    fn shape_of(&self, tensor: &str) -> &[usize] {
        &self.adapter.weights.tensors()[tensor].shape
    }
}

impl Change {
    fn new(info: TensorInfo, from: Origin) -> Self {
        let held = Mutex::default();
        Self { info, from, product: None, bias: None, is_untied: false, vocabulary: None, held }
    }
}

/// Every tensor of `architecture`, by each name that is its own.
fn listed_in(architecture: &Architecture) -> IndexMap<String, Listed> {
    let mut listed = IndexMap::new();
    for (_, module, n_layers) in architecture.modules() {
        for (location, template) in module.tensors(n_layers) {
            let names = template.names_for(location, n_layers);
            let is_vocabulary = template.vocabulary_axis == Some(0);
            for name in std::iter::once(&names.name).chain(&names.aliases) {
                listed.insert(name.clone(), Listed { names: names.clone(), is_vocabulary });
            }
        }
    }
    listed
}
