//! What an adapter changes: its tensors, brought together by the tensor of the base that they change.

use std::sync::{Mutex, Weak};

use indexmap::IndexMap;

use super::AdapterError;
use super::base::{Base, Found};
use super::error::Misfit;
use super::parts::{Adapter, Parts};
use super::product::{Layout, Product};
use super::source::Held;
use crate::architecture::Architecture;
use crate::checkpoint::{TensorInfo, TensorSource};
use crate::kernels::dtype::DType;

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

impl Adapter {
    /// Every change to `base`, a model of `architecture` that messages call `label`, by the name of the
    /// tensor in the adapted model.
    pub(super) fn changes(
        &self,
        base: &dyn TensorSource,
        label: &str,
        architecture: &Architecture,
        dtype: Option<DType>,
    ) -> Result<IndexMap<String, Change>, AdapterError> {
        let base = Base::new(base, label, architecture);
        let target = Target { adapter: self, base, dtype };
        let mut changes = IndexMap::new();
        for (name, tensor) in &self.wholes {
            let (name, change) = target.whole(name, tensor)?;
            if let Some(Change { from: Origin::Adapter(first), .. }) = changes.insert(name, change)
            {
                return Err(self.twice(&first, tensor));
            }
        }
        target.check_vocabularies(&changes)?;
        for (module, parts) in &self.modules {
            let (name, product) = target.product(module, parts, &mut changes)?;
            let second = product.a.clone();
            if let Some(first) = changes[&name].product.replace(product) {
                return Err(self.twice(&first.a, &second));
            }
            if let Some(bias) = &parts.bias {
                let name = target.bias(module, bias, &mut changes)?;
                let added = (bias.clone(), self.config.scale(module)?);
                if let Some((first, _)) = changes[&name].bias.replace(added) {
                    return Err(self.twice(&first, bias));
                }
            }
        }
        Ok(changes)
    }

    fn twice(&self, first: &str, second: &str) -> AdapterError {
        let (path, first, second) = (self.path.clone(), first.to_owned(), second.to_owned());
        AdapterError::Twice { path, first, second }
    }
}

/// An adapter and the model that it is put on.
struct Target<'t> {
    adapter: &'t Adapter,
    base: Base<'t>,
    /// The type that the model is converted to before it is changed.
    dtype: Option<DType>,
}

impl Target<'_> {
    fn not_in_base(&self, tensor: String) -> AdapterError {
        AdapterError::NotInBase {
            path: self.adapter.path.clone(),
            base: self.base.label.to_owned(),
            tensor,
            trained_on: self.adapter.config.trained_on.clone(),
        }
    }

    fn misfit(&self, part: &str, tensor: &str, shape: &[usize]) -> AdapterError {
        AdapterError::Shape(Box::new(Misfit {
            path: self.adapter.path.clone(),
            base: self.base.label.to_owned(),
            part: part.to_owned(),
            found: self.adapter.weights.tensors()[part].shape.clone(),
            tensor: tensor.to_owned(),
            shape: shape.to_vec(),
            trained_on: self.adapter.config.trained_on.clone(),
        }))
    }

    /// The base's tensor `name`, in the type that it is changed in.
    fn info(&self, name: &str) -> Result<TensorInfo, AdapterError> {
        let mut info = self.base.info(name).clone();
        if !info.dtype.is_float() {
            return Err(AdapterError::NotFloat {
                path: self.adapter.path.clone(),
                base: self.base.label.to_owned(),
                tensor: name.to_owned(),
                dtype: info.dtype,
            });
        }
        info.dtype = self.dtype.unwrap_or(info.dtype);
        Ok(info)
    }

    /// Tensors with a row for each token may have been given more rows, but then all of them.
    fn check_vocabularies(&self, changes: &IndexMap<String, Change>) -> Result<(), AdapterError> {
        for (_, change) in changes.iter().filter(|(name, _)| self.base.is_vocabulary(name)) {
            let Origin::Adapter(tensor) = &change.from else { continue };
            for other in self.base.vocabularies() {
                let changed = changes.get(other).map(|change| &change.info);
                if let Some(info) = changed.or_else(|| self.base.source.tensors().get(other))
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
        let place = self.base.find(name);
        let is_untied = matches!(place, Found::Tied(_));
        let (name, dtype) = match place {
            Found::Stored(name) => {
                let info = self.info(&name)?;
                let is_resized = self.base.is_vocabulary(&name)
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
        let before = self.base.source.tensors().get(&name).map(|info| &info.shape);
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
    ) -> Result<(String, Product), AdapterError> {
        let config = &self.adapter.config;
        let (a, b) = self.complete(module, parts)?;
        let name = self.entry(format!("{module}.weight"), changes)?;
        let shape = changes[&name].info.shape.clone();
        let (a_shape, b_shape) = (self.shape_of(a), self.shape_of(b));
        let ([rank, inputs @ ..], [outputs, b_rank @ ..]) = (a_shape, b_shape) else {
            return Err(self.misfit(a, &name, &shape));
        };
        let (inputs, b_rank) = (elements(inputs), elements(b_rank));
        let [rows, rest @ ..] = shape.as_slice() else {
            return Err(self.misfit(a, &name, &shape));
        };
        let (rows, cols) = (*rows, elements(rest));
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
        let configured = config.rank(module)?;
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
            scale: config.scale(module)?,
            magnitude: parts.magnitude.clone(),
        };
        Ok((name, product))
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
        let place = self.base.find(&wanted);
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

/// Elements of a part of a shape. Beside an axis of length 0, others may be of any length.
fn elements(axes: &[usize]) -> usize {
    axes.iter().fold(1, |elements, &length| elements.saturating_mul(length))
}

impl Change {
    fn new(info: TensorInfo, from: Origin) -> Self {
        let held = Mutex::default();
        Self { info, from, product: None, bias: None, is_untied: false, vocabulary: None, held }
    }
}
