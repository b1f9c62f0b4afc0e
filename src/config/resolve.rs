//! The value of a setting for one tensor: filters and gradients.

use super::yaml::{boolean_of, number_of, whole_of};
use super::{Conditional, Scalar, Setting, Value};
use crate::methods::{ParameterDefault, ParameterDefinition, ParameterValue};

impl Setting {
    /// The value for one tensor; `None` when no filter matches, so that the next scope decides.
    ///
    /// `t` is the position of the tensor's layer, from 0 for the first to 1 for the last. A filter
    /// matches when it is `*` or a part of the name, case-sensitive; the first match wins.
    pub fn resolve(&self, tensor_name: &str, t: f64) -> Option<Scalar> {
        self.choose(tensor_name)?.1.at(t)
    }

    /// The value for one tensor before its position is known, and the number of the condition that it
    /// stands in, if any.
    pub fn choose(&self, tensor_name: &str) -> Option<(Option<usize>, &Value)> {
        match self {
            Self::Plain(value) => Some((None, value)),
            Self::Conditional(conditions) => {
                let first =
                    conditions.iter().position(|condition| condition.matches(tensor_name))?;
                Some((Some(first), &conditions[first].value))
            }
        }
    }
}

impl Conditional {
    /// Whether the value is for the tensor of that name.
    pub fn matches(&self, tensor_name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter == "*" || tensor_name.contains(filter))
    }
}

impl Value {
    /// The value at position `t` in `0..=1`; `None` for a gradient without entries.
    ///
    /// Numbers are interpolated between the two nearest entries. Of other gradients the entry at or
    /// before the position is taken.
    pub fn at(&self, t: f64) -> Option<Scalar> {
        let entries = match self {
            Self::Scalar(scalar) => return Some(scalar.clone()),
            Self::Gradient(entries) => entries,
        };
        let last = entries.len().checked_sub(1)?;
        let position = t.clamp(0.0, 1.0) * last as f64;
        // In range: `position` is at most `last`, and NaN becomes 0.
        let before = position.floor() as usize;
        let share = position - before as f64;
        let numbers: Option<Vec<f64>> = entries.iter().map(Scalar::as_number).collect();
        match numbers {
            Some(numbers) if share > 0.0 => {
                let behind = last.min(before + 1);
                let value = (1.0 - share) * numbers[before] + share * numbers[behind];
                Some(Scalar::Float(value))
            }
            _ => Some(entries[before].clone()),
        }
    }
}

impl Scalar {
    /// As a number, also when it is text that reads as one. A boolean is no number.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Text(text) => number_of(text),
            Self::Bool(_) => None,
        }
    }

    /// As a whole number.
    pub fn as_whole(&self) -> Option<i64> {
        match self {
            Self::Int(whole) => Some(*whole),
            _ => self.as_number().and_then(whole_of),
        }
    }

    /// As a boolean: also YAML 1.1's words for it, and the numbers 0 and 1.
    pub fn as_boolean(&self) -> Option<bool> {
        match self {
            Self::Bool(boolean) => Some(*boolean),
            Self::Text(text) => boolean_of(text),
            Self::Int(0) => Some(false),
            Self::Int(1) => Some(true),
            Self::Float(number) if *number == 0.0 => Some(false),
            Self::Float(number) if *number == 1.0 => Some(true),
            Self::Int(_) | Self::Float(_) => None,
        }
    }

    /// In the type of a method's parameter; `None` when it has another.
    ///
    /// Settings that were read from a config already have the type, except that a gradient of whole
    /// numbers may have become a fraction.
    pub fn to_parameter(&self, definition: &ParameterDefinition) -> Option<ParameterValue> {
        match definition.default {
            ParameterDefault::Value(ParameterValue::Bool(_)) => {
                self.as_boolean().map(ParameterValue::Bool)
            }
            ParameterDefault::Value(ParameterValue::Int(_)) => {
                self.as_whole().map(ParameterValue::Int)
            }
            ParameterDefault::Value(ParameterValue::Float(_))
            | ParameterDefault::Required
            | ParameterDefault::Absent => {
                self.as_number().filter(|number| number.is_finite()).map(ParameterValue::Float)
            }
        }
    }
}
