//! The `genome:` form: mergekit-evolve's own search files.
//!
//! A genotype is an array of shape `[groups, models, filters + 1, parameters]`, the last dimension
//! running fastest, with the catch-all behind the filters. In Python it is unbounded: weights are
//! decoded as `|v|` and densities as `min(|v|, 1)`. Each good point then has mirror images, between
//! which the mean of a search distribution is no good point, and beyond a density of 1 the score is
//! flat. Here variables are bounded to where decoding changes nothing:
//!
//! | variable | domain | why |
//! |---|---|---|
//! | `weight`, normalised | 0 to 1 | only ratios count |
//! | `weight`, not normalised | 0 to 2 | beyond that models rarely work |
//! | the same with `allow_negative_weights` | −1 to 1, −2 to 2 | |
//! | `density` | 0.01 to 1 | at 0 a model would vanish, or its rescaling fail |
//! | `t` (slerp) | −2 to 2 | a difference of 4 leaves the lesser model a share of 0.018 |
//!
//! The start is Python's: `1 / models` for weights and `t`, 1 for densities.

use std::ops::Range;

use indexmap::IndexMap;

use super::error::SpaceError;
use super::names::{make_unique, short_names};
use super::sections::{known_fields, unknown_word};
use super::spread::{filter_suffix, group_suffix};
use super::template::{Entry, Model, Number, Parameters, Profile, Recipe, Template};
use super::variable::Variable;
use super::warning::Warning;
use crate::config;
use crate::config::yaml::{Node, Place, YamlError};
use crate::config::{MergeConfig, ModelReference, Scalar, Setting, Value};
use crate::kernels::dtype::DType;

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
    models: Vec<ModelReference>,
    method: &'static str,
    parameters: &'static [&'static str],
    base_model: Option<ModelReference>,
    /// Layers per group and where it is given; `None` for one group of all layers.
    granularity: Option<(usize, Place)>,
    normalize: bool,
    allow_negative_weights: bool,
    filters: Vec<String>,
    smooth: bool,
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
        let filters = fields.get("filters").map(|list| {
            list.items()?.iter().map(|item| item.text().map(str::to_owned)).collect()
        });
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
            Err(SpaceError::Genome { at: place(field), problem, remedy })
        };
        let method = self.method;
        let base_outside =
            self.base_model.as_ref().is_some_and(|base| !self.models.contains(base));
        if self.models.is_empty() {
            return Err(models.wrong_type("a list of at least one model").into());
        }
        match method {
            "slerp" if self.models.len() < 2 => {
                wrong("models", "`slerp` needs at least two models".to_owned(), "list another model")
            }
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
    fn groups(&self, layers: usize) -> Result<usize, SpaceError> {
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

    /// The variables in the order of the genotype, for models of `layers` layers.
    pub(super) fn variables(&self, layers: usize) -> Result<Vec<Variable>, SpaceError> {
        let groups = self.groups(layers)?;
        let names = short_names(&self.models);
        let mut variables = Vec::new();
        for group in 0..groups {
            let group = group_suffix(group, groups, self.smooth, Some(&(0..layers)));
            for model in &names {
                for filter in 0..=self.filters.len() {
                    let filter = filter_suffix(filter, &self.filters);
                    for &parameter in self.parameters {
                        let name = format!("models.{model}.{parameter}{group}{filter}");
                        let (low, high, initial) = self.domain(parameter);
                        variables.push(Variable { name, low, high, log: false, initial });
                    }
                }
            }
        }
        make_unique(variables.iter_mut().map(|variable| &mut variable.name));
        Ok(variables)
    }

    /// Bounds and start of a parameter.
    fn domain(&self, parameter: &str) -> (f64, f64, f64) {
        let share = 1.0 / self.models.len() as f64;
        match parameter {
            "density" => (0.01, 1.0, 1.0),
            "t" => (-2.0, 2.0, share),
            _ => {
                let high = if self.normalize { 1.0 } else { 2.0 };
                (if self.allow_negative_weights { -high } else { 0.0 }, high, share)
            }
        }
    }

    /// The values that Python's decoding makes of a genotype, which may lie outside of the bounds.
    pub(super) fn express(&self, genotype: &[f64]) -> Vec<f64> {
        let parameters = self.parameters.iter().cycle();
        genotype
            .iter()
            .zip(parameters)
            .map(|(&value, &parameter)| match parameter {
                "density" => value.abs().min(1.0),
                "weight" if !self.allow_negative_weights => value.abs(),
                _ => value,
            })
            .collect()
    }

    /// The template of all methods but slerp, whose recipe depends on the values.
    pub(super) fn template(&self, layers: usize) -> Result<Option<Template>, SpaceError> {
        let groups = self.groups(layers)?;
        if self.method == "slerp" {
            return Ok(None);
        }
        let mut models: Vec<Model> = (0..self.models.len())
            .map(|model| Model {
                model: self.models[model].clone(),
                parameters: self.model_parameters(model, groups),
            })
            .collect();
        let frame = self.config(config::Recipe::Models(Vec::new()));
        if !self.smooth {
            let recipe = Recipe::Models(models);
            return Ok(Some(Template::sliced(frame, recipe, shared_parameters(&frame_of(self)), layers)));
        }
        if let Some(base) = self.base_model.as_ref().filter(|base| !self.models.contains(base)) {
            models.push(Model { model: base.clone(), parameters: Parameters::new() });
        }
        Ok(Some(Template::new(frame, Recipe::Models(models), Parameters::new(), layers)))
    }

    fn model_parameters(&self, model: usize, groups: usize) -> Parameters {
        let sets = self.filters.len() + 1;
        let index = |group: usize, set: usize, parameter: usize| {
            ((group * self.models.len() + model) * sets + set) * self.parameters.len() + parameter
        };
        let entry = |parameter: usize, set: usize| {
            let number = |group| Number::Variable(index(group, set, parameter));
            let profile = match groups {
                1 => Profile::Constant(number(0)),
                _ if self.smooth => Profile::Gradient((0..groups).map(number).collect()),
                _ => Profile::Steps((0..groups).map(number).collect()),
            };
            Entry { filter: self.filters.get(set).cloned(), profile }
        };
        let parameters = self.parameters.iter().enumerate();
        parameters
            .map(|(position, name)| {
                ((*name).to_owned(), (0..sets).map(|set| entry(position, set)).collect())
            })
            .collect()
    }

    /// The slerp of a genotype: each group has the two models of the largest values, and `t` is the
    /// lesser one's share in the softmax of both.
    pub(super) fn slerp(&self, genotype: &[f64], layers: usize) -> MergeConfig {
        let groups = genotype.len() / self.models.len();
        let slices = genotype.chunks_exact(self.models.len()).enumerate().map(|(group, values)| {
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
            let (first, second) = (order[0], order[1]);
            let t = 1.0 / (1.0 + libm::exp(values[first] - values[second]));
            let layers = group * layers / groups..(group + 1) * layers / groups;
            slerp_slice(&self.models[first], &self.models[second], t, layers)
        });
        self.config(config::Recipe::Slices(slices.collect()))
    }

    fn config(&self, recipe: config::Recipe) -> MergeConfig {
        let boolean = |value| Setting::Plain(Value::Scalar(Scalar::Bool(value)));
        MergeConfig {
            merge_method: self.method.to_owned(),
            recipe,
            base_model: self.base_model.clone(),
            parameters: IndexMap::from([
                ("normalize".to_owned(), boolean(self.normalize)),
                ("int8_mask".to_owned(), boolean(true)),
            ]),
            dtype: Some(DType::BF16),
            out_dtype: None,
        }
    }
}

fn slerp_slice(
    first: &ModelReference,
    second: &ModelReference,
    t: f64,
    layers: Range<usize>,
) -> config::OutputSlice {
    let source = |model: &ModelReference| config::SliceSource {
        model: model.clone(),
        layers: layers.clone(),
        parameters: config::Settings::new(),
    };
    config::OutputSlice {
        sources: vec![source(first), source(second)],
        base_model: Some(first.clone()),
        parameters: IndexMap::from([(
            "t".to_owned(),
            Setting::Plain(Value::Scalar(Scalar::Float(t))),
        )]),
    }
}

fn read_model(node: &Node<'_>) -> Result<ModelReference, SpaceError> {
    let model = ModelReference::from_node(node)?;
    if model.lora.is_some() {
        return Err(SpaceError::NotSupported {
            at: node.place(),
            what: "a model with an adapter".to_owned(),
            instead: "merge the adapter into its model first, and name the result",
        });
    }
    Ok(model)
}
