//! Numbers, shapes and inputs as a plan shows them.

use crate::cli::Talk;
use crate::methods::ParameterValue;
use crate::plan::{Action, Course, MergePlan, Operand, PlannedTensor};
use crate::report::{ShortNames, count};

/// Significant digits of parameters that were interpolated.
const DIGITS: i32 = 5;

/// A parameter's value.
pub(super) fn value(value: ParameterValue) -> String {
    match value {
        ParameterValue::Float(number) => float(number),
        ParameterValue::Int(number) => number.to_string(),
        ParameterValue::Bool(boolean) => boolean.to_string(),
    }
}

/// At most [`DIGITS`] digits that mean something.
fn float(number: f64) -> String {
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-4..1e15).contains(&magnitude) {
        return format!("{number:e}");
    }
    let whole_digits = if magnitude == 0.0 { 1 } else { magnitude.log10().floor() as i32 + 1 };
    let decimals = (DIGITS - whole_digits).clamp(0, 8) as usize;
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// How a parameter runs over the layers.
pub(super) fn course(course: &Course) -> String {
    match course {
        Course::Constant(constant) => value(*constant),
        Course::Through(turns) => {
            turns.iter().map(|&turn| value(turn)).collect::<Vec<_>>().join(" … ")
        }
        Course::Between(least, most) => {
            format!("between {} and {}", value(*least), value(*most))
        }
    }
}

/// What is merged how: `ties of 2 models on base `models/base``.
pub(in crate::cli) fn heading(plan: &MergePlan) -> String {
    let method = plan.method().name;
    let others = plan.models().len() - usize::from(plan.base().is_some());
    match plan.base() {
        Some(base) if others > 0 => {
            format!("{method} of {} on base `{}`", count(others, "model"), base.label())
        }
        _ => format!("{method} of {}", count(plan.models().len(), "model")),
    }
}

/// Says with `--verbose` which models there are, and with `-vv` every tensor of the output.
pub(in crate::cli) fn introduce(plan: &MergePlan, talk: Talk) {
    for model in plan.models() {
        let tensors = count(model.checkpoint.tensors().len(), "tensor");
        let architecture = model.architecture.name();
        talk.detail(&format_args!("{}: {tensors}, {architecture}", model.label()));
    }
    for tensor in plan.tensors() {
        let info = &tensor.info;
        talk.fine_detail(&format_args!("{} {} {:?}", tensor.name, info.dtype, info.shape));
    }
}

/// `12.4 k`, `6.74 B`: how many weights.
pub(super) fn weights(number: u64) -> String {
    for (factor, suffix) in [(1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k")] {
        let scaled = number as f64 / factor;
        if scaled >= 0.9995 {
            let decimals = if scaled < 9.995 { 2 } else { usize::from(scaled < 99.95) };
            return format!("{scaled:.decimals$}{suffix}");
        }
    }
    number.to_string()
}

/// The models by the last part of their paths, where that tells them apart.
pub(super) fn short_names(plan: &MergePlan) -> ShortNames {
    ShortNames::new(plan.models().iter().map(|model| model.label()))
}

/// What happens to a tensor.
pub(super) fn method(plan: &MergePlan, tensor: &PlannedTensor) -> &'static str {
    match tensor.action {
        Action::Copy { .. } => "copy",
        Action::Merge { .. } => plan.method().name,
    }
}

/// Every input of a tensor with its role, in the order of the config and the base first.
pub(super) fn inputs(tensor: &PlannedTensor) -> Vec<(Role, &Operand)> {
    match &tensor.action {
        Action::Copy { from, equals } => std::iter::once((Role::Copied, from))
            .chain(equals.iter().map(|operand| (Role::Equal, operand)))
            .collect(),
        Action::Merge { base, inputs, .. } => base
            .iter()
            .map(|operand| (Role::Base, operand))
            .chain(inputs.iter().map(|operand| (Role::Input, operand)))
            .collect(),
    }
}

/// What an input is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The base, treated apart.
    Base,
    /// One of those that are merged.
    Input,
    /// It is the output.
    Copied,
    /// It has to be equal to the one that is copied.
    Equal,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Input => "input",
            Self::Copied => "copied",
            Self::Equal => "equal",
        }
    }

    /// Whether the input has parameters of its own.
    pub(super) fn has_parameters(self) -> bool {
        matches!(self, Self::Input | Self::Copied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!(float(0.1 + 0.2), "0.3");
        assert_eq!(float(1.0), "1");
        assert_eq!(float(-0.5), "-0.5");
        assert_eq!(float(1.0 / 3.0), "0.33333");
        assert_eq!(float(0.0), "0");
        assert_eq!(float(12.0), "12");
        assert_eq!(float(123_456.0), "123456");
        assert_eq!(float(1e-5), "1e-5");
        assert_eq!(weights(0), "0");
        assert_eq!(weights(999), "999");
        assert_eq!(weights(6_738_415_616), "6.74 B");
        assert_eq!(weights(193_472), "193 k");
        assert_eq!(weights(999_999), "1.00 M");
    }
}
