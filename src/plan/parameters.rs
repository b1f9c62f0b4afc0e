//! Parameters of one output tensor: found by precedence, resolved, typed, bound to the method.
//!
//! For one model: its own entry, the slice, the module, the top level, the method's default. For a
//! parameter that all models share: the same without the model's own entry.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::config::{Scalar, Setting, Value};
use crate::methods::{
    MethodDefinition, MethodError, ParameterDefault, ParameterDefinition, ParameterScope,
    ParameterValue, Parameters, TensorMethod,
};

use super::PlanError;
use super::recipe::{Scope, Source, path};
use super::usage::Usage;

/// Parameters of one output tensor with the place that each comes from; by name, in the order of
/// the method's definition.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResolvedParameters {
    /// What all inputs share.
    pub shared: IndexMap<&'static str, ResolvedParameter>,
    /// What each input has, in config order; a base treated apart has nothing.
    pub inputs: Vec<IndexMap<&'static str, ResolvedParameter>>,
}

/// A parameter's value for one tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedParameter {
    /// After gradients and filters.
    pub value: ParameterValue,
    /// Where it is written; nowhere for a default.
    pub origin: Option<Origin>,
}

/// Where in a merge config a parameter is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    parameter: &'static str,
    /// Path of the place that has the `parameters`.
    scope: Arc<str>,
    /// Which condition of several.
    condition: Option<usize>,
}

impl Origin {
    /// The path in the config, such as `models[0].parameters.weight[1].value`.
    pub fn path(&self) -> String {
        let path = path(&self.scope, self.parameter);
        match self.condition {
            Some(condition) => format!("{path}[{condition}].value"),
            None => path,
        }
    }
}

impl ResolvedParameters {
    fn values(&self) -> Parameters {
        let values = |resolved: &IndexMap<&'static str, ResolvedParameter>| {
            resolved.iter().map(|(&name, resolved)| (name, resolved.value)).collect()
        };
        Parameters {
            shared: values(&self.shared),
            inputs: self.inputs.iter().map(values).collect(),
        }
    }
}

/// Where one output tensor is, as far as its parameters depend on it.
pub(super) struct Place<'p, 'c> {
    /// The output's name, which filters of shared parameters are held against.
    pub(super) tensor: &'p str,
    /// From 0 at the first layer of a slice to 1 at its last; 0 outside of layers.
    pub(super) position: f64,
    /// Layers of the slice; none for a tensor outside of layers.
    pub(super) slice_layers: Option<usize>,
    /// Slice, module and top level, as far as they exist, innermost first.
    pub(super) scopes: &'p [&'p Scope<'c>],
    /// Each input that has parameters of its own, and its tensor's name there.
    pub(super) inputs: &'p [(&'p Source<'c>, &'p str)],
}

/// Binds `method` to the parameters at `place`, and notes in `usage` which settings took part.
pub(super) fn bind(
    method: &'static MethodDefinition,
    place: &Place<'_, '_>,
    usage: &mut Usage,
) -> Result<(Box<dyn TensorMethod>, ResolvedParameters), PlanError> {
    let mut parameters = ResolvedParameters::default();
    parameters.inputs.resize(place.inputs.len(), IndexMap::new());
    let mut taken = Vec::new();
    let mut resolve = |definition: &ParameterDefinition, input| {
        for setting in place.settings(definition.name, input) {
            usage.reach(setting, place.name(input));
        }
        let found = place.find(definition.name, input);
        taken.extend(found.iter().map(|found| (definition.name, found.value)));
        place.resolve(method, definition, input, found)
    };
    for definition in method.parameters {
        if definition.scope == ParameterScope::Shared {
            if let Some(value) = resolve(definition, None)? {
                parameters.shared.insert(definition.name, value);
            }
            continue;
        }
        for (index, values) in parameters.inputs.iter_mut().enumerate() {
            if let Some(value) = resolve(definition, Some(index))? {
                values.insert(definition.name, value);
            }
        }
    }
    let bound = (method.bind)(&parameters.values()).map_err(|error| place.explain(error))?;
    for (name, value) in taken {
        usage.note(value, place.slice_layers, bound.unread(name));
    }
    Ok((bound, parameters))
}

/// What the config says about one parameter of one tensor.
struct Found<'p, 'c> {
    scalar: Scalar,
    scope: &'p Scope<'c>,
    condition: Option<usize>,
    value: &'c Value,
}

impl<'c> Place<'_, 'c> {
    fn resolve(
        &self,
        method: &'static MethodDefinition,
        definition: &ParameterDefinition,
        input: Option<usize>,
        found: Option<Found<'_, 'c>>,
    ) -> Result<Option<ResolvedParameter>, PlanError> {
        let name = definition.name;
        if let Some(Found { scalar, scope, condition, .. }) = found {
            let (parameter, scope_field) = (name, Arc::clone(&scope.field));
            let origin = Some(Origin { parameter, scope: scope_field, condition });
            return match scalar.to_parameter(definition) {
                Some(value) => Ok(Some(ResolvedParameter { value, origin })),
                None => Err(PlanError::ParameterKind {
                    field: scope.path(name),
                    value: display(&scalar),
                    tensor: self.name(input).to_owned(),
                    expected: expected(definition),
                }),
            };
        }
        match definition.default {
            ParameterDefault::Value(value) => Ok(Some(ResolvedParameter { value, origin: None })),
            ParameterDefault::Absent => Ok(None),
            ParameterDefault::Required => {
                let source = input.map(|input| self.inputs[input].0);
                let (method, parameter) = (method.name, name);
                let model = source.map(|source| source.model.label());
                let tensor = self.name(input).to_owned();
                // Given, but for other tensors only.
                let given = self.scopes(input).find(|scope| scope.settings.contains_key(name));
                if let Some(scope) = given {
                    let field = scope.path(name);
                    return Err(PlanError::UnmatchedParameter {
                        field,
                        method,
                        parameter,
                        model,
                        tensor,
                    });
                }
                Err(PlanError::MissingParameter {
                    field: self.field(name, input),
                    method,
                    parameter,
                    model,
                    tensor,
                    is_added_base: source.is_some_and(|source| source.scope.is_none()),
                })
            }
        }
    }

    /// Where parameters stand, innermost first.
    fn scopes(&self, input: Option<usize>) -> impl Iterator<Item = &Scope<'c>> {
        let own = input.and_then(|input| self.inputs[input].0.scope.as_ref());
        own.into_iter().chain(self.scopes.iter().copied())
    }

    /// What all scopes say about a parameter.
    fn settings(&self, name: &str, input: Option<usize>) -> impl Iterator<Item = &'c Setting> {
        self.scopes(input).filter_map(move |scope| scope.settings.get(name))
    }

    /// The innermost value of a parameter, and where it is written.
    fn find(&self, name: &str, input: Option<usize>) -> Option<Found<'_, 'c>> {
        self.scopes(input).find_map(|scope| {
            let (condition, value) = scope.settings.get(name)?.choose(self.name(input))?;
            let scalar = value.at(self.position)?;
            Some(Found { scalar, scope, condition, value })
        })
    }

    /// What filters are held against.
    fn name(&self, input: Option<usize>) -> &str {
        input.map_or(self.tensor, |input| self.inputs[input].1)
    }

    /// Where a parameter is written, or where it would be.
    fn field(&self, name: &str, input: Option<usize>) -> String {
        match (self.find(name, input), input) {
            (Some(found), _) => found.scope.path(name),
            (None, Some(input)) if self.inputs[input].0.scope.is_some() => {
                path(&self.inputs[input].0.field, name)
            }
            (None, _) => path("", name),
        }
    }

    fn explain(&self, error: MethodError) -> PlanError {
        match error {
            MethodError::Parameter { name, input, value, problem } => PlanError::Parameter {
                field: self.field(name, input),
                value,
                problem,
                tensor: self.name(input).to_owned(),
                is_default: self.find(name, input).is_none(),
            },
            MethodError::Read(_) | MethodError::NoDirection | MethodError::LongRow { .. } => {
                unreachable!("methods read nothing before `prepare`")
            }
        }
    }
}

/// What a value of the type of `definition` looks like.
fn expected(definition: &ParameterDefinition) -> &'static str {
    match definition.default {
        ParameterDefault::Value(ParameterValue::Bool(_)) => "true or false",
        ParameterDefault::Value(ParameterValue::Int(_)) => "a whole number",
        _ => "a finite number",
    }
}

fn display(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        Scalar::Float(value) => value.to_string(),
        Scalar::Text(text) => format!("`{text}`"),
    }
}
