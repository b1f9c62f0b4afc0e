//! Reading `parameters`: scalars, gradients and conditions, in the types that the method reads.

use serde_yaml::Value as Yaml;

use super::yaml::{Node, closest};
use super::{Conditional, ConfigError, Scalar, Setting, Settings, Value, Warning};
use crate::methods::{
    METHODS, MethodDefinition, ParameterDefault, ParameterDefinition, ParameterScope,
    ParameterValue,
};

/// Parameters that are shares in every method with a density. Others may be any number: weights are
/// negative at times, `t` extrapolates, and `epsilon` is a threshold elsewhere.
const SHARES: [&str; 3] = ["density", "gamma", "epsilon"];

/// A parameter that the method reads.
#[derive(Clone, Copy)]
struct Known {
    definition: &'static ParameterDefinition,
    is_share: bool,
}

impl Known {
    fn find(method: &'static MethodDefinition, name: &str) -> Option<Self> {
        let find = |name| method.parameters.iter().find(|definition| definition.name == name);
        let is_share = SHARES.contains(&name) && find("density").is_some();
        find(name).map(|definition| Self { definition, is_share })
    }
}

/// Whose parameters a mapping has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A model entry or slice source.
    Input,
    /// A slice, a module or the whole config.
    Output,
}

/// Reads one `parameters` mapping; an absent one has no settings.
pub(super) fn read(
    node: Option<Node<'_>>,
    owner: Owner,
    method: &'static MethodDefinition,
    warnings: &mut Vec<Warning>,
) -> Result<Settings, ConfigError> {
    let Some(node) = node else { return Ok(Settings::new()) };
    let all = node.fields()?.all()?;
    let mut settings = Settings::new();
    for (name, node) in &all {
        let mut known = Known::find(method, name);
        match known {
            Some(Known { definition, .. })
                if owner == Owner::Input && definition.scope == ParameterScope::Shared =>
            {
                warnings.push(Warning::NotReadHere { at: node.key_place(), name: definition.name });
                known = None;
            }
            Some(_) => {}
            None => {
                let is_given = |meant: &str| all.iter().any(|(name, _)| *name == meant);
                warnings.push(not_read(node, name, method, is_given)?);
            }
        }
        if let Some(setting) = read_setting(node, known)? {
            settings.insert((*name).to_owned(), setting);
        }
    }
    Ok(settings)
}

/// The warning about a name that the method does not read; an error when it looks like a required
/// parameter that is not given beside it.
fn not_read(
    node: &Node<'_>,
    name: &str,
    method: &'static MethodDefinition,
    is_given: impl Fn(&str) -> bool,
) -> Result<Warning, ConfigError> {
    let another_methods = METHODS
        .into_iter()
        .flat_map(|method| method.parameters)
        .any(|definition| definition.name == name);
    let names = method.parameters.iter().map(|definition| definition.name);
    let meant = if another_methods { None } else { closest(name, names) };
    let meant = meant.filter(|meant| !is_given(meant));
    let required = method.parameters.iter().find(|definition| {
        Some(definition.name) == meant && matches!(definition.default, ParameterDefault::Required)
    });
    let (at, name) = (node.key_place(), name.to_owned());
    match required {
        Some(required) => Err(ConfigError::UnknownParameter {
            at,
            name,
            meant: required.name,
            method: method.name,
        }),
        None => Ok(Warning::NotRead { at, name, method: method.name, meant }),
    }
}

/// Reads one setting; an empty list counts as absent. Of a parameter that is not known, the type
/// is not either.
fn read_setting(node: &Node<'_>, known: Option<Known>) -> Result<Option<Setting>, ConfigError> {
    match node.value() {
        Yaml::Sequence(items) if items.is_empty() => Ok(None),
        Yaml::Sequence(items) if items.iter().any(Yaml::is_mapping) => {
            let items = node.items()?;
            let conditions = items.iter().map(|item| read_condition(item, known));
            Ok(Some(Setting::Conditional(conditions.collect::<Result<_, _>>()?)))
        }
        Yaml::Mapping(_) => Ok(Some(Setting::Conditional(vec![read_condition(node, known)?]))),
        _ => Ok(Some(Setting::Plain(read_value(node, known)?))),
    }
}

fn read_condition(node: &Node<'_>, known: Option<Known>) -> Result<Conditional, ConfigError> {
    let fields = node.fields().map_err(|_| {
        node.wrong_type("a condition `{filter: …, value: …}` as the list has others")
    })?;
    fields.only(&["filter", "value"])?;
    let filter = fields.get("filter");
    let filter = filter.map(|filter| filter.text().map(str::to_owned)).transpose()?;
    let value = read_value(&fields.require("value")?, known)?;
    Ok(Conditional { filter, value })
}

fn read_value(node: &Node<'_>, known: Option<Known>) -> Result<Value, ConfigError> {
    match node.value() {
        Yaml::Sequence(items) if !items.is_empty() => {
            let items = node.items()?;
            let scalars = items.iter().map(|item| read_scalar(item, known));
            Ok(Value::Gradient(scalars.collect::<Result<_, _>>()?))
        }
        _ => Ok(Value::Scalar(read_scalar(node, known)?)),
    }
}

fn read_scalar(node: &Node<'_>, known: Option<Known>) -> Result<Scalar, ConfigError> {
    let scalar = match node.value() {
        Yaml::Bool(boolean) => Some(Scalar::Bool(*boolean)),
        Yaml::String(text) => Some(Scalar::Text(text.clone())),
        Yaml::Number(number) => Some(match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Scalar::Int(whole),
            (None, Some(float)) if float.is_finite() => Scalar::Float(float),
            _ => Scalar::Text(number.to_string()),
        }),
        Yaml::Null | Yaml::Sequence(_) | Yaml::Mapping(_) | Yaml::Tagged(_) => None,
    };
    let Some(Known { definition, is_share }) = known else {
        return scalar.ok_or_else(|| {
            node.wrong_type("a number, a boolean, text, or a list of these").into()
        });
    };
    let value = scalar.as_ref().and_then(|scalar| scalar.to_parameter(definition));
    let Some(value) = value else {
        return Err(node.wrong_type(expected(definition)).into());
    };
    if is_share && !(0.0..=1.0).contains(&value.as_float()) {
        return Err(ConfigError::OutOfRange {
            at: node.place(),
            name: definition.name,
            value: value.as_float(),
            least: 0.0,
            most: 1.0,
        });
    }
    Ok(match (value, scalar) {
        (ParameterValue::Float(_), Some(Scalar::Int(whole))) => Scalar::Int(whole),
        (ParameterValue::Float(float), _) => Scalar::Float(float),
        (ParameterValue::Int(whole), _) => Scalar::Int(whole),
        (ParameterValue::Bool(boolean), _) => Scalar::Bool(boolean),
    })
}

fn expected(definition: &ParameterDefinition) -> &'static str {
    match definition.default {
        ParameterDefault::Value(ParameterValue::Bool(_)) => "`true` or `false`",
        ParameterDefault::Value(ParameterValue::Int(_)) => "a whole number",
        _ => "a number",
    }
}
