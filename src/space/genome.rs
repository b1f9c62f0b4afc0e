//! The `genome:` form: mergekit-evolve's own search files.

use super::error::SpaceError;
use super::sections::{known_fields, unknown_word};
use super::warning::Warning;
use crate::config::ModelReference;
use crate::config::yaml::{Node, Place, YamlError};

const FIELDS: [&str; 9] = [
    "models",
    "merge_method",
    "base_model",
    "tokenizer_source",
    "layer_granularity",
    "normalize",
    "allow_negative_weights",
    "filters",
    "smooth",
];

/// Methods that a genome can have, their parameters in the order of the genotype, and whether the
/// weights are normalised by default.
const METHODS: [(&str, &[&str], bool); 5] = [
    ("linear", &["weight"], true),
    ("task_arithmetic", &["weight"], false),
    ("ties", &["weight", "density"], true),
    ("dare_ties", &["weight", "density"], true),
    ("slerp", &["t"], false),
];

/// A genome as written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Genome {
    /// At least one.
    pub(super) models: Vec<ModelReference>,
    pub(super) method: &'static str,
    /// The method's parameters in the order of the genotype.
    pub(super) parameters: &'static [&'static str],
    pub(super) base_model: Option<ModelReference>,
    /// Layers per group and where it is given; `None` for one group of all layers.
    granularity: Option<(usize, Place)>,
    pub(super) normalize: bool,
    pub(super) allow_negative_weights: bool,
    /// Parts of tensor names, without the catch-all.
    pub(super) filters: Vec<String>,
    pub(super) smooth: bool,
}

impl Genome {
    pub(super) fn read(node: &Node<'_>, warnings: &mut Vec<Warning>) -> Result<Self, SpaceError> {
        let fields = node.fields()?;
        known_fields(&fields, &FIELDS, &mut |error: YamlError| {
            warnings.push(Warning::UnknownField(error));
            Ok(())
        })?;
        let method = fields.require("merge_method")?;
        let name = method.text()?;
        let Some(&(name, parameters, normalized)) = METHODS.iter().find(|known| known.0 == name)
        else {
            return Err(unknown_word(&method, &METHODS.map(|known| known.0)));
        };
        let models = fields.require("models")?;
        let base_model = fields.get("base_model").as_ref().map(read_model).transpose()?;
        let granularity = fields.get("layer_granularity");
        let granularity = granularity.map(|node| Ok::<_, YamlError>((node.whole()?, node.place())));
        let filters = fields
            .get("filters")
            .map(|list| list.items()?.iter().map(|item| item.text().map(str::to_owned)).collect());
        let flag = |name: &str| fields.get(name).as_ref().map(Node::boolean).transpose();
        let genome = Self {
            models: models.items()?.iter().map(read_model).collect::<Result<_, _>>()?,
            method: name,
            parameters,
            base_model,
            granularity: granularity
                .transpose()?
                .filter(|(layers, _)| *layers > 0)
                .map(|(layers, at)| (layers as usize, at)),
            normalize: flag("normalize")?.unwrap_or(normalized),
            allow_negative_weights: flag("allow_negative_weights")?.unwrap_or(false),
            filters: filters.transpose().map_err(|error: YamlError| error)?.unwrap_or_default(),
            smooth: flag("smooth")?.unwrap_or(false),
        };
        if let Some(node) = fields.get("tokenizer_source")
            && node.value().as_str() != Some("base")
        {
            return Err(SpaceError::NotSupported {
                at: node.place(),
                what: "a vocabulary other than the base model's".to_owned(),
                instead: "only `base` can be given here, and all models need its vocabulary",
            });
        }
        genome.check(&models, |name| fields.get(name).unwrap_or_else(|| node.clone()).place())?;
        if let Some(base) = genome.base_model.as_ref().filter(|_| genome.method != "slerp")
            && genome.method != "linear"
            && let Some(index) = genome.models.iter().position(|model| model == base)
        {
            let at = models.items()?[index].place();
            warnings.push(Warning::BaseHasVariables { at, model: base.to_string() });
        }
        Ok(genome)
    }

    /// Rules that concern several fields. `place` is that of a field, or of the genome.
    fn check(&self, models: &Node<'_>, place: impl Fn(&str) -> Place) -> Result<(), SpaceError> {
        let wrong = |field: &str, problem: String, remedy: &'static str| {
            Err(SpaceError::Conflict { at: place(field), problem, remedy })
        };
        let method = self.method;
        let base_outside = self.base_model.as_ref().is_some_and(|base| !self.models.contains(base));
        if self.models.is_empty() {
            return Err(models.wrong_type("a list of at least one model").into());
        }
        match method {
            "slerp" if self.models.len() < 2 => wrong(
                "models",
                "`slerp` needs at least two models".to_owned(),
                "list another model",
            ),
            "slerp" if self.smooth => wrong(
                "smooth",
                "`slerp` cannot be searched with `smooth`".to_owned(),
                "which two models a group of layers has can only change at once",
            ),
            "slerp" if !self.filters.is_empty() => wrong(
                "filters",
                "`slerp` cannot be searched with `filters`".to_owned(),
                "all tensors of a group of layers have the same two models",
            ),
            "slerp" | "linear" if base_outside => wrong(
                "base_model",
                format!("`{method}` has no use for a base model that is not one of `models`"),
                "leave `base_model` out, or list it under `models`",
            ),
            "slerp" | "linear" => Ok(()),
            _ if self.base_model.is_none() => wrong(
                "merge_method",
                format!("`{method}` needs a `base_model`"),
                "name the model that the others were fine-tuned from",
            ),
            _ => Ok(()),
        }
    }

    /// The base model, if there is one, and the models, each once.
    pub(super) fn models(&self) -> Vec<ModelReference> {
        let mut all: Vec<ModelReference> = self.base_model.iter().cloned().collect();
        for model in &self.models {
            if !all.contains(model) {
                all.push(model.clone());
            }
        }
        all
    }

    /// Groups over `layers` layers.
    pub(super) fn groups(&self, layers: usize) -> Result<usize, SpaceError> {
        match &self.granularity {
            None => Ok(1),
            Some((granularity, _)) if layers > 0 && layers.is_multiple_of(*granularity) => {
                Ok(layers / granularity)
            }
            Some((granularity, at)) => Err(SpaceError::GranularityDoesNotDivide {
                at: at.clone(),
                granularity: *granularity,
                layers,
            }),
        }
    }
}

fn read_model(node: &Node<'_>) -> Result<ModelReference, SpaceError> {
    Ok(ModelReference::from_node(node)?)
}
