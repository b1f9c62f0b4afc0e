//! Parameters of one output tensor: found by precedence, resolved, typed, bound to the method.
//!
//! For one model: its own entry, the slice, the module, the top level, the method's default. For a
//! parameter that all models share: the same without the model's own entry.

use indexmap::IndexMap;

use crate::config::Scalar;
use crate::methods::{
    MethodDefinition, MethodError, ParameterDefault, ParameterDefinition, ParameterScope,
    ParameterValue, Parameters, TensorMethod,
};

use super::PlanError;
use super::recipe::{Scope, Source, path};

/// Where one output tensor is, as far as its parameters depend on it.
pub(super) struct Place<'p, 'c> {
    /// The output's name, which filters of shared parameters are held against.
    pub(super) tensor: &'p str,
    /// From 0 at the first layer of a slice to 1 at its last; 0 outside of layers.
    pub(super) position: f64,
    /// Slice, module and top level, as far as they exist, innermost first.
    pub(super) scopes: &'p [&'p Scope<'c>],
    /// Each input that has parameters of its own, and its tensor's name there.
    pub(super) inputs: &'p [(&'p Source<'c>, &'p str)],
}

/// Binds `method` to the parameters at `place`.
pub(super) fn bind(
    method: &'static MethodDefinition,
    place: &Place<'_, '_>,
) -> Result<Box<dyn TensorMethod>, PlanError> {
    let mut parameters = Parameters::default();
    parameters.inputs.resize(place.inputs.len(), IndexMap::new());
    for definition in method.parameters {
        if definition.scope == ParameterScope::Shared {
            if let Some(value) = place.resolve(method, definition, None)? {
                parameters.shared.insert(definition.name, value);
            }
            continue;
        }
        for (index, values) in parameters.inputs.iter_mut().enumerate() {
            if let Some(value) = place.resolve(method, definition, Some(index))? {
                values.insert(definition.name, value);
            }
        }
    }
    (method.bind)(&parameters).map_err(|error| place.explain(error))
}

impl<'c> Place<'_, 'c> {
    fn resolve(
        &self,
        method: &'static MethodDefinition,
        definition: &ParameterDefinition,
        input: Option<usize>,
    ) -> Result<Option<ParameterValue>, PlanError> {
        let name = definition.name;
        if let Some((scalar, scope)) = self.find(name, input) {
            return match scalar.to_parameter(definition) {
                Some(value) => Ok(Some(value)),
                None => Err(PlanError::ParameterKind {
                    field: scope.path(name),
                    value: display(&scalar),
                    tensor: self.name(input).to_owned(),
                    expected: expected(definition),
                }),
            };
        }
        match definition.default {
            ParameterDefault::Value(value) => Ok(Some(value)),
            ParameterDefault::Absent => Ok(None),
            ParameterDefault::Required => {
                let source = input.map(|input| self.inputs[input].0);
                Err(PlanError::MissingParameter {
                    field: self.field(name, input),
                    method: method.name,
                    parameter: name,
                    model: source.map(|source| source.model.label()),
                    tensor: self.name(input).to_owned(),
                    is_added_base: source.is_some_and(|source| source.scope.is_none()),
                })
            }
        }
    }

    /// The innermost value of a parameter, and where it is written.
    fn find(&self, name: &str, input: Option<usize>) -> Option<(Scalar, &Scope<'c>)> {
        let own = input.and_then(|input| self.inputs[input].0.scope.as_ref());
        own.into_iter().chain(self.scopes.iter().copied()).find_map(|scope| {
            let setting = scope.settings.get(name)?;
            Some((setting.resolve(self.name(input), self.position)?, scope))
        })
    }

    /// What filters are held against.
    fn name(&self, input: Option<usize>) -> &str {
        input.map_or(self.tensor, |input| self.inputs[input].1)
    }

    /// Where a parameter is written, or where it would be.
    fn field(&self, name: &str, input: Option<usize>) -> String {
        match (self.find(name, input), input) {
            (Some((_, scope)), _) => scope.path(name),
            (None, Some(input)) if self.inputs[input].0.scope.is_some() => {
                path(&self.inputs[input].0.field, name)
            }
            (None, _) => path("", name),
        }
    }

    fn explain(&self, error: MethodError) -> PlanError {
        match error {
            MethodError::Parameter { name, input, value, allowed } => PlanError::Parameter {
                field: self.field(name, input),
                value,
                problem: allowed,
                tensor: self.name(input).to_owned(),
            },
            MethodError::Read(_) | MethodError::NoDirection => {
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
