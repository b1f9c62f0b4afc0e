//! The `merge:` form: a merge config in which numbers are replaced by variables.
//!
//! Variables may stand for a whole parameter, for an entry of a gradient, and for the `value` of a
//! conditional. A variable's name is its path in the config with models by their short names and
//! without `parameters` behind a model, and then what tells its numbers apart:
//!
//! ```text
//! models.adder.weight[layers 0-3]          parameters.t
//! models.adder.density[self_attn]          slices[1].adder.weight[point 2 of 4]
//! models.adder.density[rest]               slices[1].parameters.t[0]
//! ```
//!
//! Layers are counted over the output, from 0. Names that would be equal all the same, as those of
//! a model listed twice, are followed by ` #2`, ` #3`, ….

use std::collections::HashMap;
use std::ops::Range;

use serde_yaml::{Mapping, Value};

use super::error::SpaceError;
use super::names::{make_unique, short_names};
use super::spread::{Spread, filter_suffix, is_variable};
use super::template::{Entry, Model, Number, Parameters, Profile, Recipe, Slice, Template};
use super::variable::Variable;
use super::warning::Warning;
use crate::config;
use crate::config::yaml::{FieldPath, Node, Step};
use crate::config::{MergeConfig, ModelReference, Setting};

/// A merge config and the variables in it, as written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MergeForm {
    /// With every variable at its start.
    config: MergeConfig,
    /// By their path from the config's root, in the order of the file.
    spreads: Vec<(FieldPath, Spread)>,
}

impl MergeForm {
    /// Reads and checks the config with all variables at their start, at their lower ends and at
    /// their upper ends.
    pub(super) fn read(node: &Node<'_>, warnings: &mut Vec<Warning>) -> Result<Self, SpaceError> {
        let mut spreads = Vec::new();
        collect(node, FieldPath::default(), &mut spreads)?;
        if spreads.is_empty() {
            return Err(SpaceError::NoVariables { at: node.key_place() });
        }
        let by_path: HashMap<&FieldPath, &Spread> = spreads.iter().map(|(p, s)| (p, s)).collect();
        let config_with = |pick: fn(&Spread) -> f64| {
            let value = substitute(node.value(), &FieldPath::default(), &by_path, pick);
            MergeConfig::from_node(&node.with_value(&value))
        };
        let (config, found) = config_with(|spread| spread.initial)?;
        config_with(|spread| spread.low)?;
        config_with(|spread| spread.high)?;
        warnings.extend(found.into_iter().map(Warning::from));
        Ok(Self { config, spreads })
    }

    /// The models, base first, the others in the order of the file, each once.
    pub(super) fn models(&self) -> Vec<ModelReference> {
        let mut models: Vec<ModelReference> = self.config.base_model.iter().cloned().collect();
        collect_models(&self.config.recipe, &mut models);
        let mut seen = std::collections::HashSet::new();
        models.retain(|model| seen.insert(model.clone()));
        models
    }

    /// The template and its variables for models of `layers` layers.
    pub(super) fn template(&self, layers: usize) -> Result<(Template, Vec<Variable>), SpaceError> {
        let models = self.models();
        let names = short_names(&models);
        let count = self.spreads.iter().map(|(_, spread)| spread.len()).sum();
        let mut builder = Builder {
            spreads: self.spreads.iter().map(|(path, spread)| (path, spread)).collect(),
            names: models.into_iter().zip(names).collect(),
            variables: vec![None; count],
            layers,
        };
        let root = FieldPath::default();
        let recipe = builder.recipe(&self.config.recipe, &root, "", false)?;
        let stack = Stack::of(&self.config.recipe, layers);
        let parameters =
            builder.parameters(&self.config.parameters, &root, "parameters", &stack)?;
        let mut variables: Vec<Variable> = builder
            .variables
            .into_iter()
            .map(|variable| variable.expect("every variable stands where a config has a parameter"))
            .collect();
        make_unique(variables.iter_mut().map(|variable| &mut variable.name));
        Ok((Template::new(self.config.clone(), recipe, parameters, layers), variables))
    }
}

/// Finds all variables below `node`, whose path from the config's root is `path`.
fn collect(
    node: &Node<'_>,
    path: FieldPath,
    spreads: &mut Vec<(FieldPath, Spread)>,
) -> Result<(), SpaceError> {
    if is_variable(node) {
        let first = spreads.last().map_or(0, |(_, last)| last.first + last.len());
        let place = number_place(&path.0).ok_or_else(|| SpaceError::NotAVariablePlace {
            at: node.place(),
            instead: "only numbers of `parameters` can be search variables",
        })?;
        let spread = Spread::read(node, first)?;
        let instead = match place {
            NumberPlace::Entry if !spread.is_single() => {
                "`layer_groups` and `filters` are for whole parameters, not for an entry of a gradient"
            }
            NumberPlace::Condition if spread.has_filters() => {
                "`filters` are for whole parameters; here the conditional has its `filter`"
            }
            _ => {
                spreads.push((path, spread));
                return Ok(());
            }
        };
        return Err(SpaceError::NotAVariablePlace { at: node.place(), instead });
    }
    match node.value() {
        Value::Mapping(_) => {
            for (name, child) in node.fields()?.all()? {
                collect(&child, path.key(name), spreads)?;
            }
        }
        Value::Sequence(_) => {
            for (index, child) in node.items()?.iter().enumerate() {
                collect(child, path.index(index), spreads)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// What a number of a merge config is part of.
enum NumberPlace {
    /// A whole parameter.
    Parameter,
    /// One value of a gradient.
    Entry,
    /// The value of a conditional.
    Condition,
}

/// What a value at this path of a merge config is, if it may be a variable.
fn number_place(mut steps: &[Step]) -> Option<NumberPlace> {
    let is = |step: &Step, name: &str| matches!(step, Step::Key(key) if key == name);
    if let [modules, Step::Key(_), rest @ ..] = steps
        && is(modules, "modules")
    {
        steps = rest;
    }
    steps = match steps {
        [slices, Step::Index(_), sources, Step::Index(_), rest @ ..]
            if is(slices, "slices") && is(sources, "sources") =>
        {
            rest
        }
        [list, Step::Index(_), rest @ ..] if is(list, "models") || is(list, "slices") => rest,
        rest => rest,
    };
    let [parameters, Step::Key(_), rest @ ..] = steps else { return None };
    if !is(parameters, "parameters") {
        return None;
    }
    match rest {
        [] => Some(NumberPlace::Parameter),
        [Step::Index(_)] => Some(NumberPlace::Entry),
        [value] | [Step::Index(_), value] if is(value, "value") => Some(NumberPlace::Condition),
        [value, Step::Index(_)] | [Step::Index(_), value, Step::Index(_)] if is(value, "value") => {
            Some(NumberPlace::Entry)
        }
        _ => None,
    }
}

/// The value with a number in the place of every variable.
fn substitute(
    value: &Value,
    path: &FieldPath,
    spreads: &HashMap<&FieldPath, &Spread>,
    pick: fn(&Spread) -> f64,
) -> Value {
    if let Some(spread) = spreads.get(path) {
        return Value::from(pick(spread));
    }
    match value {
        Value::Mapping(pairs) => {
            let mut numbers = Mapping::new();
            for (key, value) in pairs {
                let path = path.key(key.as_str().unwrap_or_default());
                numbers.insert(key.clone(), substitute(value, &path, spreads, pick));
            }
            Value::Mapping(numbers)
        }
        Value::Sequence(items) => {
            let items = items.iter().enumerate();
            Value::Sequence(
                items
                    .map(|(index, item)| substitute(item, &path.index(index), spreads, pick))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

fn collect_models(recipe: &config::Recipe, models: &mut Vec<ModelReference>) {
    match recipe {
        config::Recipe::Models(entries) => {
            models.extend(entries.iter().map(|entry| entry.model.clone()));
        }
        config::Recipe::Slices(slices) => {
            for slice in slices {
                models.extend(slice.base_model.clone());
                models.extend(slice.sources.iter().map(|source| source.model.clone()));
            }
        }
        config::Recipe::Modules(modules) => {
            for module in modules.values() {
                collect_models(&module.recipe, models);
            }
        }
    }
}

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
struct Builder<'a> {
    spreads: HashMap<&'a FieldPath, &'a Spread>,
    names: HashMap<ModelReference, String>,
    variables: Vec<Option<Variable>>,
    layers: usize,
}

impl Builder<'_> {
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
