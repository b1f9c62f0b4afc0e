//! A plan in few lines: tensors by kind, and each parameter's course over the layers.
//!
//! A kind is what tensors have in common that differ in numbers only, such as
//! `model.layers.*.mlp.up_proj.weight`, so that a model of a hundred layers has a dozen of them.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::{IndexMap, IndexSet};

use crate::kernels::dtype::DType;
use crate::methods::{ParameterScope, ParameterValue};

use super::{Action, MergePlan, PlannedTensor};

/// A plan in few lines.
pub struct Overview<'p> {
    /// Every kind of tensor, in output order.
    pub kinds: Vec<TensorKind<'p>>,
    /// Every parameter that the method read, in the order of its definition.
    pub parameters: Vec<ParameterOverview>,
}

/// Tensors whose names differ in numbers only, and that are made in the same way.
pub struct TensorKind<'p> {
    /// Their name with `*` for each number.
    pub name: String,
    /// The tensors, in output order; at least one.
    pub tensors: Vec<&'p PlannedTensor>,
    /// The first number of each name, as runs from first to last; none without numbers.
    pub layers: Vec<(usize, usize)>,
}

/// What a parameter is, all over the model.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterOverview {
    /// Its name.
    pub name: &'static str,
    /// The model that has it, as the config writes it; a shared parameter has none.
    pub model: Option<String>,
    /// Whether the config gives it for no tensor.
    pub is_default: bool,
    /// Its courses, and for each the tensors that follow it.
    pub courses: Vec<(Course, Tensors)>,
}

/// How a parameter runs over the layers.
#[derive(Debug, Clone, PartialEq)]
pub enum Course {
    /// The same everywhere.
    Constant(ParameterValue),
    /// From the first value to the last by way of the others, rising or falling steadily between two
    /// of them.
    Through(Vec<ParameterValue>),
    /// Up and down between two values.
    Between(ParameterValue, ParameterValue),
}

/// Which tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tensors {
    /// All of them.
    All,
    /// Those of these parts of the model, or of these layers.
    Of(Vec<String>),
    /// The rest.
    Rest,
}

/// Courses with more turns than this are shown by their bounds.
const MOST_TURNS: usize = 5;

/// Lists of tensors longer than this are called the rest, when they are the largest group.
const LONGEST_LIST: usize = 2;

impl<'p> Overview<'p> {
    /// Brings `plan` into few lines.
    pub fn new(plan: &'p MergePlan) -> Self {
        let kinds = kinds(plan.tensors());
        let parameters = parameters(plan, &kinds);
        Self { kinds, parameters }
    }
}

impl TensorKind<'_> {
    /// Elements of all tensors of the kind.
    pub fn elements(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.info.elements() as u64).sum()
    }

    /// The numbers of its layers: `0-3, 6`.
    pub fn layer_numbers(&self) -> String {
        let run = |&(first, last): &(usize, usize)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        self.layers.iter().map(run).collect::<Vec<_>>().join(", ")
    }

    /// `layer 2`, `layers 0-1`.
    fn layer_words(&self) -> String {
        let is_one = matches!(self.layers.as_slice(), [(first, last)] if first == last);
        format!("{} {}", if is_one { "layer" } else { "layers" }, self.layer_numbers())
    }

    fn shares_layers(&self, other: &Self) -> bool {
        let meets = |&(first, last): &(usize, usize)| {
            other.layers.iter().any(|&(from, to)| first <= to && from <= last)
        };
        self.layers.iter().any(meets)
    }

    /// What the tensor is called within a layer, such as `mlp.up_proj`, or outside, such as `norm`.
    fn short_name(&self) -> &str {
        let name = self.name.strip_suffix(".weight").unwrap_or(&self.name);
        match name.split_once(".*.") {
            Some((_, inside)) => inside,
            None => name.strip_prefix("model.").unwrap_or(name),
        }
    }

    /// The part of the model that it is in: `mlp`, `input_layernorm`, `lm_head`.
    fn part(&self) -> &str {
        self.short_name().split('.').next().unwrap_or_default()
    }
}

fn kinds(tensors: &[PlannedTensor]) -> Vec<TensorKind<'_>> {
    type Key<'p> = (String, &'p [usize], DType, bool, usize);
    let mut kinds: IndexMap<Key<'_>, (Vec<&PlannedTensor>, BTreeSet<usize>)> = IndexMap::new();
    for tensor in tensors {
        let (is_copy, n_inputs) = match &tensor.action {
            Action::Copy { equals, .. } => (true, equals.len()),
            Action::Merge { inputs, .. } => (false, inputs.len()),
        };
        let is_number = |part: &&str| part.parse::<usize>().is_ok();
        let parts = tensor.name.split('.').map(|part| if is_number(&part) { "*" } else { part });
        let name = parts.collect::<Vec<_>>().join(".");
        let key = (name, tensor.info.shape.as_slice(), tensor.info.dtype, is_copy, n_inputs);
        let (members, layers) = kinds.entry(key).or_default();
        members.push(tensor);
        layers.extend(layer(tensor));
    }
    let kind = |((name, ..), (tensors, layers)): (Key<'_>, (_, BTreeSet<usize>))| TensorKind {
        name,
        tensors,
        layers: runs(&layers),
    };
    kinds.into_iter().map(kind).collect()
}

/// The first number in a tensor's name.
fn layer(tensor: &PlannedTensor) -> Option<usize> {
    tensor.name.split('.').find_map(|part| part.parse().ok())
}

/// `{0, 1, 2, 5}` as 0 to 2 and 5 to 5.
fn runs(numbers: &BTreeSet<usize>) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}

fn parameters(plan: &MergePlan, kinds: &[TensorKind<'_>]) -> Vec<ParameterOverview> {
    let mut overviews = Vec::new();
    for definition in plan.method().parameters {
        let name = definition.name;
        // For each model that has the parameter, its values by kind, in output order.
        let mut found: IndexMap<Option<String>, BTreeMap<usize, Vec<ParameterValue>>> =
            IndexMap::new();
        let mut given: IndexSet<Option<String>> = IndexSet::new();
        for (index, kind) in kinds.iter().enumerate() {
            for tensor in &kind.tensors {
                let mut note = |model: Option<String>, resolved: &super::ResolvedParameter| {
                    if resolved.origin.is_some() {
                        given.insert(model.clone());
                    }
                    let values = found.entry(model).or_default().entry(index).or_default();
                    values.push(resolved.value);
                };
                if definition.scope == ParameterScope::Shared {
                    tensor.parameters.shared.get(name).into_iter().for_each(|one| note(None, one));
                    continue;
                }
                let operands = match &tensor.action {
                    Action::Copy { from, .. } => std::slice::from_ref(from),
                    Action::Merge { inputs, .. } => inputs.as_slice(),
                };
                for (operand, values) in operands.iter().zip(&tensor.parameters.inputs) {
                    values.get(name).into_iter().for_each(|one| {
                        note(Some(operand.model.label()), one);
                    });
                }
            }
        }
        for (model, by_kind) in found {
            let is_default = !given.contains(&model);
            let courses = courses(&by_kind, kinds);
            overviews.push(ParameterOverview { name, model, is_default, courses });
        }
    }
    overviews
}

/// Kinds of the same course together.
fn courses(
    by_kind: &BTreeMap<usize, Vec<ParameterValue>>,
    kinds: &[TensorKind<'_>],
) -> Vec<(Course, Tensors)> {
    let mut groups: Vec<(Course, Vec<usize>)> = Vec::new();
    for (&kind, values) in by_kind {
        let course = Course::of(values);
        match groups.iter_mut().find(|(other, _)| *other == course) {
            Some((_, members)) => members.push(kind),
            None => groups.push((course, vec![kind])),
        }
    }
    if groups.len() == 1 {
        return groups.into_iter().map(|(course, _)| (course, Tensors::All)).collect();
    }
    let largest = groups.iter().map(|(_, members)| members.len()).max().unwrap_or(0);
    let mut named: Vec<(Course, Tensors)> = Vec::new();
    let mut rest = None;
    for (course, members) in groups {
        let names = names(&members, by_kind, kinds);
        if members.len() == largest && names.len() > LONGEST_LIST && rest.is_none() {
            rest = Some((course, Tensors::Rest));
        } else {
            named.push((course, Tensors::Of(names)));
        }
    }
    named.extend(rest);
    named
}

/// What to call `members`: by as much as lies wholly among them, which is a part of the model, some
/// layers, a tensor within a layer, or that within some layers.
fn names(
    members: &[usize],
    by_kind: &BTreeMap<usize, Vec<ParameterValue>>,
    kinds: &[TensorKind<'_>],
) -> Vec<String> {
    let others: Vec<&TensorKind<'_>> =
        by_kind.keys().filter(|kind| !members.contains(kind)).map(|&kind| &kinds[kind]).collect();
    let none = |fits: &dyn Fn(&TensorKind<'_>) -> bool| !others.iter().any(|other| fits(other));
    let names: IndexSet<String> = members
        .iter()
        .map(|&member| {
            let kind = &kinds[member];
            let (part, name, layers) = (kind.part(), kind.short_name(), kind.layer_words());
            match () {
                () if none(&|other| other.part() == part) => part.to_owned(),
                () if kind.layers.is_empty() => name.to_owned(),
                () if none(&|other| other.shares_layers(kind)) => layers,
                () if none(&|other| other.short_name() == name) => name.to_owned(),
                () if none(&|other| other.part() == part && other.shares_layers(kind)) => {
                    format!("{part} of {layers}")
                }
                () => format!("{name} of {layers}"),
            }
        })
        .collect();
    names.into_iter().collect()
}

impl Course {
    /// The course of at least one value.
    fn of(values: &[ParameterValue]) -> Self {
        let first = values[0];
        if values.iter().all(|value| *value == first) {
            return Self::Constant(first);
        }
        let numbers: Vec<f64> = values.iter().map(|value| value.as_float()).collect();
        let mut turns = vec![0];
        let mut direction = 0.0;
        for index in 1..numbers.len() {
            let step = numbers[index] - numbers[index - 1];
            if step != 0.0 && direction != 0.0 && step.signum() != direction {
                turns.push(index - 1);
            }
            if step != 0.0 {
                direction = step.signum();
            }
        }
        turns.push(numbers.len() - 1);
        if turns.len() <= MOST_TURNS {
            return Self::Through(turns.into_iter().map(|index| values[index]).collect());
        }
        let by_number =
            |a: &&ParameterValue, b: &&ParameterValue| a.as_float().total_cmp(&b.as_float());
        let bound = |value: Option<&ParameterValue>| *value.expect("there are values");
        Self::Between(
            bound(values.iter().min_by(by_number)),
            bound(values.iter().max_by(by_number)),
        )
    }
}

#[cfg(test)]
mod tests;
