//! From a config with its variables at their start to a template with gaps.
//!
//! On the way every number of every variable gets its name, and its groups are compared with the
//! layers they lie over.

use std::collections::HashMap;
use std::ops::Range;

use super::error::SpaceError;
use super::spread::{Spread, filter_suffix};
use super::template::{Entry, Model, Number, Parameters, Profile, Recipe, Slice, Template};
use super::variable::Variable;
use crate::config;
use crate::config::yaml::FieldPath;
use crate::config::{MergeConfig, ModelReference, Setting};

/// The output layers that a scope's groups are counted over.
struct Stack {
    /// When it is only one stack.
    span: Option<Range<usize>>,
    /// Layers of the shortest.
    least: usize,
    /// Models of several modules, whose depths are not known here.
    several_modules: bool,
}

impl Stack {
    fn whole(span: Range<usize>, several_modules: bool) -> Self {
        Self { least: span.len(), span: Some(span), several_modules }
    }

    /// The stacks of a recipe over models of `layers` layers: gradients and groups start anew in
    /// every slice.
    fn of(recipe: &config::Recipe, layers: usize) -> Self {
        match recipe {
            config::Recipe::Models(_) => Self::whole(0..layers, false),
            config::Recipe::Slices(slices) => {
                let spans = spans(slices);
                let least = spans.iter().map(ExactSizeIterator::len).min().unwrap_or(0);
                let span = if let [span] = spans.as_slice() { Some(span.clone()) } else { None };
                Self { span, least, several_modules: false }
            }
            config::Recipe::Modules(modules) => match modules.values().next() {
                Some(module) if modules.len() == 1 => Self::of(&module.recipe, layers),
                _ => Self { span: None, least: 0, several_modules: true },
            },
        }
    }
}

/// The output layers of each slice.
fn spans(slices: &[config::OutputSlice]) -> Vec<Range<usize>> {
    let mut first = 0;
    slices
        .iter()
        .map(|slice| {
            let layers = slice.sources.iter().map(|s| s.layers.len()).min().unwrap_or(0);
            first += layers;
            first - layers..first
        })
        .collect()
}

/// Puts numbers with gaps in the place of the config's numbers.
pub(super) struct Builder<'a> {
    /// Variables by their path from the config's root.
    pub(super) spreads: HashMap<&'a FieldPath, &'a Spread>,
    /// Short names of all models.
    pub(super) names: HashMap<ModelReference, String>,
    /// Filled on the way; as long as all numbers of all variables.
    pub(super) variables: Vec<Option<Variable>>,
    /// Layers of the models.
    pub(super) layers: usize,
}

impl Builder<'_> {
    /// The config with gaps in the place of variables.
    pub(super) fn template(&mut self, config: &MergeConfig) -> Result<Template, SpaceError> {
        let root = FieldPath::default();
        let recipe = self.recipe(&config.recipe, &root, "", false)?;
        let stack = Stack::of(&config.recipe, self.layers);
        let parameters = self.parameters(&config.parameters, &root, "parameters", &stack)?;
        Ok(Template::new(config.clone(), recipe, parameters, self.layers))
    }

    fn recipe(
        &mut self,
        recipe: &config::Recipe,
        path: &FieldPath,
        name: &str,
        several_modules: bool,
    ) -> Result<Recipe, SpaceError> {
        match recipe {
            config::Recipe::Models(entries) => {
                let stack = Stack::whole(0..self.layers, several_modules);
                let models = entries.iter().enumerate().map(|(index, entry)| {
                    let path = path.key("models").index(index);
                    let name = format!("{name}models.{}", self.names[&entry.model]);
                    let parameters = self.parameters(&entry.parameters, &path, &name, &stack)?;
                    Ok(Model { model: entry.model.clone(), parameters })
                });
                Ok(Recipe::Models(models.collect::<Result<_, SpaceError>>()?))
            }
            config::Recipe::Slices(slices) => {
                let slices =
                    slices.iter().zip(spans(slices)).enumerate().map(|(index, (slice, span))| {
                        let path = path.key("slices").index(index);
                        let name = format!("{name}slices[{index}]");
                        self.slice(slice, &path, &name, &Stack::whole(span, false))
                    });
                Ok(Recipe::Slices(slices.collect::<Result<_, SpaceError>>()?))
            }
            config::Recipe::Modules(modules) => {
                let several = modules.len() > 1;
                let modules = modules.iter().map(|(module, entry)| {
                    let path = path.key("modules").key(module);
                    let name = format!("modules.{module}.");
                    let mut stack = Stack::of(&entry.recipe, self.layers);
                    stack.several_modules |=
                        several && matches!(entry.recipe, config::Recipe::Models(_));
                    let recipe = self.recipe(&entry.recipe, &path, &name, several)?;
                    let name = format!("{name}parameters");
                    let parameters = self.parameters(&entry.parameters, &path, &name, &stack)?;
                    Ok((module.clone(), (recipe, parameters)))
                });
                Ok(Recipe::Modules(modules.collect::<Result<_, SpaceError>>()?))
            }
        }
    }

    fn slice(
        &mut self,
        slice: &config::OutputSlice,
        path: &FieldPath,
        name: &str,
        stack: &Stack,
    ) -> Result<Slice, SpaceError> {
        let sources = slice.sources.iter().enumerate().map(|(index, source)| {
            let path = path.key("sources").index(index);
            let name = format!("{name}.{}", self.names[&source.model]);
            let parameters = self.parameters(&source.parameters, &path, &name, stack)?;
            Ok((Model { model: source.model.clone(), parameters }, source.layers.clone()))
        });
        let sources = sources.collect::<Result<_, SpaceError>>()?;
        let name = format!("{name}.parameters");
        Ok(Slice {
            sources,
            base_model: slice.base_model.clone(),
            parameters: self.parameters(&slice.parameters, path, &name, stack)?,
        })
    }

    /// The parameters of the scope at `path`; `name` is that of the scope.
    fn parameters(
        &mut self,
        settings: &config::Settings,
        path: &FieldPath,
        name: &str,
        stack: &Stack,
    ) -> Result<Parameters, SpaceError> {
        let path = path.key("parameters");
        let parameters = settings.iter().map(|(parameter, setting)| {
            let name = format!("{name}.{parameter}");
            let entries = self.setting(setting, &path.key(parameter), &name, stack)?;
            Ok((parameter.clone(), entries))
        });
        parameters.collect()
    }

    fn setting(
        &mut self,
        setting: &Setting,
        path: &FieldPath,
        name: &str,
        stack: &Stack,
    ) -> Result<Vec<Entry>, SpaceError> {
        if let Some(spread) = self.spreads.get(path).copied() {
            self.name(spread, name, stack)?;
            return Ok(spread.entries());
        }
        let conditional;
        let (conditions, is_plain) = match setting {
            Setting::Conditional(conditions) => (conditions.as_slice(), false),
            Setting::Plain(value) => {
                conditional = config::Conditional { filter: None, value: value.clone() };
                (std::slice::from_ref(&conditional), true)
            }
        };
        let filters: Vec<String> =
            conditions.iter().filter_map(|condition| condition.filter.clone()).collect();
        let entries = conditions.iter().enumerate().map(|(index, condition)| {
            let value_path = self.value_path(path, index, is_plain);
            let suffix = match &condition.filter {
                Some(filter) => format!("[{filter}]"),
                None => filter_suffix(filters.len(), &filters),
            };
            let name = format!("{name}{suffix}");
            let profile = self.value(&condition.value, &value_path, &name, stack)?;
            Ok(Entry { filter: condition.filter.clone(), profile })
        });
        entries.collect()
    }

    /// Where the value of the condition at `index` stands. A setting may be the value itself, one
    /// condition, or a list of conditions.
    fn value_path(&self, setting: &FieldPath, index: usize, is_plain: bool) -> FieldPath {
        let listed = setting.index(index).key("value");
        let alone = setting.key("value");
        let holds_variable =
            |path: &FieldPath| self.spreads.keys().any(|key| key.0.starts_with(&path.0));
        if holds_variable(&listed) {
            listed
        } else if holds_variable(&alone) {
            alone
        } else if is_plain {
            setting.clone()
        } else {
            listed
        }
    }

    fn value(
        &mut self,
        value: &config::Value,
        path: &FieldPath,
        name: &str,
        stack: &Stack,
    ) -> Result<Profile, SpaceError> {
        if let Some(spread) = self.spreads.get(path).copied() {
            self.name(spread, name, stack)?;
            return Ok(spread.profile(0));
        }
        let numbers = match value {
            config::Value::Scalar(scalar) => {
                return Ok(Profile::Constant(Number::Fixed(scalar.clone())));
            }
            config::Value::Gradient(scalars) => {
                scalars.iter().enumerate().map(|(index, scalar)| {
                    let Some(spread) = self.spreads.get(&path.index(index)).copied() else {
                        return Ok(Number::Fixed(scalar.clone()));
                    };
                    self.name(spread, &format!("{name}[{index}]"), stack)?;
                    Ok(Number::Variable(spread.first))
                })
            }
        };
        Ok(Profile::Gradient(numbers.collect::<Result<_, SpaceError>>()?))
    }

    /// Checks a variable against the layers it lies over, and names its numbers.
    fn name(&mut self, spread: &Spread, name: &str, stack: &Stack) -> Result<(), SpaceError> {
        if let Some(at) = spread.groups_at.as_ref().filter(|_| stack.several_modules) {
            return Err(SpaceError::GroupsInModules { at: at.clone() });
        }
        spread.check_layers(stack.least)?;
        for (offset, variable) in
            spread.variables(name, stack.span.as_ref()).into_iter().enumerate()
        {
            self.variables[spread.first + offset] = Some(variable);
        }
        Ok(())
    }
}
