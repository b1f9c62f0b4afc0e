//! Which settings of a config had an effect on a plan, and what to say about the others.

use std::collections::{HashMap, HashSet};

use crate::config::yaml::closest;
use crate::config::{Conditional, Setting, Value};
use crate::methods::{MethodDefinition, ParameterScope, TensorMethod};

use super::parameters::ResolvedParameters;
use super::recipe::{ModuleRecipe, Scope, path};
use super::tensors::Planner;
use super::warning::{PlanWarning, Unmatched, Unused};
use super::{Action, PlannedTensor};

/// Sums of weights nearer to 0 than this cannot be divided by.
const SMALLEST_SUM: f64 = 1e-8;

/// Where the values of a config were used. Settings and values are known by their addresses in the
/// config, which outlives the planning.
#[derive(Debug, Default)]
pub(super) struct Usage {
    seen: HashMap<*const Value, Seen>,
    /// For each setting the names of the tensors that it was, or could have been, asked for.
    in_reach: HashMap<*const Setting, HashSet<String>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    in_several_layers: bool,
    in_single_layer: bool,
    /// Whether the method reads it for one of the tensors.
    is_read: bool,
    /// Why the method does not read it for another.
    unread: Option<&'static str>,
}

impl Usage {
    /// Notes that the tensor `name` takes its parameters from where `setting` stands.
    pub(super) fn reach(&mut self, setting: &Setting, name: &str) {
        let names = self.in_reach.entry(std::ptr::from_ref(setting)).or_default();
        if !names.contains(name) {
            names.insert(name.to_owned());
        }
    }

    /// Notes that a tensor took `value`; `slice_layers` tells the length of its slice when it is in a
    /// layer, and `unread` why the method does nothing with it when that is so.
    pub(super) fn note(
        &mut self,
        value: &Value,
        slice_layers: Option<usize>,
        unread: Option<&'static str>,
    ) {
        let seen = self.seen.entry(std::ptr::from_ref(value)).or_default();
        match slice_layers {
            Some(1) => seen.in_single_layer = true,
            Some(_) => seen.in_several_layers = true,
            None => {}
        }
        match unread {
            Some(reason) => seen.unread = Some(reason),
            None => seen.is_read = true,
        }
    }

    fn of(&self, value: &Value) -> Option<Seen> {
        self.seen.get(&std::ptr::from_ref(value)).copied()
    }

    /// Why the method does nothing with any of `values`, where some tensor took one.
    fn unread(&self, values: &[&Value]) -> Option<&'static str> {
        let taken: Vec<Seen> = values.iter().filter_map(|value| self.of(value)).collect();
        if taken.iter().any(|seen| seen.is_read) {
            return None;
        }
        taken.iter().find_map(|seen| seen.unread)
    }

    /// Whether some tensor takes its parameters from where `setting` stands.
    fn is_in_reach(&self, setting: &Setting) -> bool {
        self.in_reach.contains_key(&std::ptr::from_ref(setting))
    }

    /// Whether `condition` of `setting` matches one of the tensors that take their parameters there.
    fn matches(&self, setting: &Setting, condition: &Conditional) -> bool {
        let names = self.in_reach.get(&std::ptr::from_ref(setting));
        names.is_some_and(|names| names.iter().any(|name| condition.matches(name)))
    }
}

/// Tensors whose weights sum to 0, by the place of the first weight.
#[derive(Debug, Default)]
pub(super) struct ZeroSums {
    found: Vec<PlanWarning>,
}

impl ZeroSums {
    /// Looks at the weights of one output tensor. Without normalization a difference of task vectors
    /// is a fine thing; what is left of whole models is none.
    pub(super) fn note(
        &mut self,
        definition: &MethodDefinition,
        method: &dyn TensorMethod,
        name: &str,
        parameters: &ResolvedParameters,
    ) {
        let weights: Option<Vec<f64>> = parameters
            .inputs
            .iter()
            .map(|input| input.get("weight").map(|weight| weight.value.as_float()))
            .collect();
        let Some(weights) = weights.filter(|weights| !weights.is_empty()) else { return };
        let is_base_apart = definition.base == crate::methods::BaseRole::Required;
        let is_all_zero = weights.iter().all(|&weight| weight == 0.0);
        let cancels =
            weights.iter().sum::<f64>().abs() < SMALLEST_SUM && method.divides_by_weights();
        if !(is_all_zero || cancels) {
            return;
        }
        let origin = parameters.inputs[0]["weight"].origin.as_ref();
        let place = origin.map(|origin| origin.path()).unwrap_or_default();
        for warning in &mut self.found {
            if let PlanWarning::WeightsSumToZero { field, count, all_zero, .. } = warning
                && (&*field, &*all_zero) == (&place, &is_all_zero)
            {
                *count += 1;
                return;
            }
        }
        self.found.push(PlanWarning::WeightsSumToZero {
            field: place,
            tensor: name.to_owned(),
            count: 1,
            all_zero: is_all_zero,
            has_base: is_base_apart,
        });
    }
}

impl Planner<'_> {
    /// Warns of settings that do nothing, or not what they seem to do, once all tensors are planned.
    pub(super) fn warn_of_settings(&mut self, modules: &[ModuleRecipe<'_>]) {
        let mut review = Review {
            method: self.method,
            usage: &self.usage,
            names: Names::new(&self.planned),
            warnings: Vec::new(),
        };
        for module in modules {
            for slice in &module.slices {
                for (index, source) in slice.sources.iter().enumerate() {
                    if let Some(scope) = &source.scope {
                        review.scope(scope, Some(slice.base == Some(index)));
                    }
                }
                slice.scope.iter().for_each(|scope| review.scope(scope, None));
            }
            module.scope.iter().for_each(|scope| review.scope(scope, None));
        }
        review.scope(self.top, None);
        // Entries of `models` are looked at once for each module that they are in.
        for warning in std::mem::take(&mut self.zero_sums.found).into_iter().chain(review.warnings)
        {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }
}

/// Names that filters are held against.
struct Names<'p> {
    tensors: Vec<&'p str>,
}

impl<'p> Names<'p> {
    fn new(planned: &'p [PlannedTensor]) -> Self {
        let mut tensors = Vec::new();
        for tensor in planned {
            tensors.push(tensor.name.as_str());
            match &tensor.action {
                Action::Copy { from, equals } => {
                    tensors.extend(
                        std::iter::once(from).chain(equals).map(|one| one.canonical.as_str()),
                    );
                }
                Action::Merge { base, inputs, .. } => {
                    tensors.extend(inputs.iter().chain(base).map(|one| one.canonical.as_str()));
                }
            }
        }
        Self { tensors }
    }

    fn matched(&self, condition: &Conditional) -> Option<&'p str> {
        self.tensors.iter().copied().find(|name| condition.matches(name))
    }

    /// The part of a name between two dots that is most like `filter`.
    fn nearest(&self, filter: &str) -> Option<String> {
        let parts = self.tensors.iter().flat_map(|name| name.split('.'));
        closest(filter, parts).map(str::to_owned)
    }
}

/// Goes through what a config says.
struct Review<'p> {
    method: &'static MethodDefinition,
    usage: &'p Usage,
    names: Names<'p>,
    warnings: Vec<PlanWarning>,
}

impl Review<'_> {
    /// `is_base` tells for a scope that belongs to a single model whether that is a base treated
    /// apart.
    fn scope(&mut self, scope: &Scope<'_>, is_base: Option<bool>) {
        for definition in self.method.parameters {
            let Some(setting) = scope.settings.get(definition.name) else { continue };
            if is_base.is_some() && definition.scope == ParameterScope::Shared {
                continue; // The config's own warning says that it is not read here.
            }
            let field = path(&scope.field, definition.name);
            let values: Vec<&Value> = match setting {
                Setting::Plain(value) => vec![value],
                Setting::Conditional(conditions) => {
                    conditions.iter().map(|condition| &condition.value).collect()
                }
            };
            let parameter = definition.name;
            if let Some(reason) = self.usage.unread(&values) {
                self.warnings.push(PlanWarning::UnreadParameter { field, parameter, reason });
                continue;
            }
            if values.iter().all(|value| self.usage.of(value).is_none())
                && let Some(reason) = self.unused(setting, is_base)
            {
                self.warnings.push(PlanWarning::UnusedParameter { field, parameter, reason });
                continue;
            }
            match setting {
                Setting::Plain(value) => self.gradient(value, field),
                Setting::Conditional(conditions) => {
                    for (index, condition) in conditions.iter().enumerate() {
                        let field = format!("{field}[{index}]");
                        self.filter(setting, condition, &field);
                        self.gradient(&condition.value, format!("{field}.value"));
                    }
                }
            }
        }
    }

    /// Why no tensor takes a value of `setting`; nothing where that is for its filters.
    fn unused(&self, setting: &Setting, is_base: Option<bool>) -> Option<Unused> {
        let matches = |condition| self.usage.matches(setting, condition);
        match setting {
            _ if is_base == Some(true) => Some(Unused::Base),
            _ if !self.usage.is_in_reach(setting) => Some(Unused::NoTensor),
            Setting::Conditional(conditions) if !conditions.iter().any(matches) => None,
            _ => Some(Unused::Hidden),
        }
    }

    fn filter(&mut self, setting: &Setting, condition: &Conditional, field: &str) {
        let Some(filter) = condition.filter.as_ref().filter(|filter| *filter != "*") else {
            return; // A last resort that is never needed does no harm.
        };
        if self.usage.of(&condition.value).is_some() {
            return;
        }
        let reason = match self.names.matched(condition) {
            _ if self.usage.matches(setting, condition) => Unmatched::Hidden,
            Some(tensor) => Unmatched::Elsewhere { tensor: tensor.to_owned() },
            None => Unmatched::Nowhere { meant: self.names.nearest(filter) },
        };
        let (field, filter) = (format!("{field}.filter"), filter.clone());
        self.warnings.push(PlanWarning::UnusedFilter { field, filter, reason });
    }

    fn gradient(&mut self, value: &Value, field: String) {
        let (Value::Gradient(entries), Some(seen)) = (value, self.usage.of(value)) else { return };
        let varies = entries.iter().any(|entry| *entry != entries[0]);
        if varies && !seen.in_several_layers {
            let (entries, in_layers) = (entries.len(), seen.in_single_layer);
            self.warnings.push(PlanWarning::FlatGradient { field, entries, in_layers });
        }
    }
}
