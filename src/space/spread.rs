//! A search variable as written, which may stand for several numbers.
//!
//! ```yaml
//! weight: {uniform: [0, 1], init: 0.5, layer_groups: 4, filters: [self_attn], smooth: true}
//! ```
//!
//! | field | default | meaning |
//! |---|---|---|
//! | `uniform` or `log_uniform` | one of them | smallest and largest value |
//! | `init` | the middle, geometric for `log_uniform` | where the search starts |
//! | `layer_groups` | 1 | one value per group of layers |
//! | `filters` | none | one value for each part of tensor names, and one for the rest |
//! | `smooth` | false | the groups' values are points of a gradient over the layers |
//!
//! Its `layer_groups × (filters + 1)` numbers are ordered by group, then by filter, the rest last.

use std::ops::Range;

use super::cut::group_layers;
use super::error::SpaceError;
use super::sections::at_least;
use super::template::{Entry, Number, Profile};
use super::variable::{Variable, middle};
use crate::config::yaml::{Node, Place};

/// Kinds that exist.
const KINDS: [&str; 2] = ["uniform", "log_uniform"];

/// Kinds whose place is reserved.
const LATER_KINDS: [&str; 4] = ["int", "choice", "grid", "same_as"];

/// A search variable as written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spread {
    pub(super) low: f64,
    pub(super) high: f64,
    log: bool,
    pub(super) initial: f64,
    /// Number of layer groups, and where it is given.
    groups: usize,
    pub(super) groups_at: Option<Place>,
    filters: Vec<String>,
    smooth: bool,
    /// Index of its first number.
    pub(super) first: usize,
}

/// Whether a value is meant as a variable: a mapping with the name of a kind.
pub(super) fn is_variable(node: &Node<'_>) -> bool {
    node.fields()
        .is_ok_and(|fields| KINDS.iter().chain(&LATER_KINDS).any(|kind| fields.get(kind).is_some()))
}

impl Spread {
    /// Reads a variable whose first number has index `first`.
    pub(super) fn read(node: &Node<'_>, first: usize) -> Result<Self, SpaceError> {
        let fields = node.fields()?;
        let mut kinds =
            KINDS.iter().chain(&LATER_KINDS).filter_map(|kind| Some((*kind, fields.get(kind)?)));
        let Some((kind, interval)) = kinds.next() else {
            return Err(node.wrong_type("a variable such as `{uniform: [0, 1]}`").into());
        };
        if let Some((second, node)) = kinds.next() {
            return Err(SpaceError::TwoKinds {
                at: node.key_place(),
                first: kind.to_owned(),
                second: second.to_owned(),
            });
        }
        if !KINDS.contains(&kind) {
            return Err(SpaceError::NotSupported {
                at: interval.key_place(),
                what: format!("a variable of kind `{kind}`"),
                instead: "`uniform` and `log_uniform` are there",
            });
        }
        fields.only(&["uniform", "log_uniform", "init", "layer_groups", "filters", "smooth"])?;
        let log = kind == "log_uniform";
        let (low, high) = bounds(&interval, log)?;
        let initial = match fields.get("init") {
            None => middle(low, high, log),
            Some(node) => {
                let init = node.number()?;
                if !(low..=high).contains(&init) {
                    return Err(SpaceError::InitOutside { at: node.place(), init, low, high });
                }
                init
            }
        };
        let groups_node = fields.get("layer_groups");
        let groups = groups_node
            .as_ref()
            .map(|node| at_least(node, 1, "a whole number of at least 1"))
            .transpose()?
            .unwrap_or(1);
        let smooth_node = fields.get("smooth");
        let smooth = smooth_node.as_ref().map(Node::boolean).transpose()?.unwrap_or(false);
        if let Some(node) = smooth_node.filter(|_| smooth && groups < 2) {
            return Err(SpaceError::NothingToSmooth { at: node.key_place() });
        }
        Ok(Self {
            low,
            high,
            log,
            initial,
            groups,
            groups_at: groups_node.map(|node| node.place()),
            filters: fields.get("filters").as_ref().map(filters).transpose()?.unwrap_or_default(),
            smooth,
            first,
        })
    }

    /// How many numbers it stands for.
    pub(super) fn len(&self) -> usize {
        self.groups * (self.filters.len() + 1)
    }

    /// Whether it is a plain number without groups or filters.
    pub(super) fn is_single(&self) -> bool {
        self.groups_at.is_none() && self.filters.is_empty()
    }

    /// Whether different tensors of a layer may get different values.
    pub(super) fn has_filters(&self) -> bool {
        !self.filters.is_empty()
    }

    /// Checks that every group has a layer in a stack of `layers` layers.
    pub(super) fn check_layers(&self, layers: usize) -> Result<(), SpaceError> {
        match &self.groups_at {
            Some(at) if self.groups > layers => {
                Err(SpaceError::GroupsDoNotFit { at: at.clone(), groups: self.groups, layers })
            }
            _ => Ok(()),
        }
    }

    /// The setting with its gaps.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let filters = self.filters.iter().cloned().map(Some).chain([None]);
        filters
            .enumerate()
            .map(|(position, filter)| Entry { filter, profile: self.profile(position) })
            .collect()
    }

    /// The numbers of one filter.
    pub(super) fn profile(&self, filter: usize) -> Profile {
        let number = |group| Number::Variable(self.index(group, filter));
        match self.groups {
            1 => Profile::Constant(number(0)),
            groups if self.smooth => Profile::Gradient((0..groups).map(number).collect()),
            groups => Profile::Steps((0..groups).map(number).collect()),
        }
    }

    /// Its variables in their order. `span` is the stack of output layers it lies over, `None` when
    /// it lies over several.
    pub(super) fn variables(&self, name: &str, span: Option<&Range<usize>>) -> Vec<Variable> {
        let mut variables = Vec::with_capacity(self.len());
        for group in 0..self.groups {
            for filter in 0..=self.filters.len() {
                variables.push(Variable {
                    name: format!(
                        "{name}{}{}",
                        group_suffix(group, self.groups, self.smooth, span),
                        filter_suffix(filter, &self.filters)
                    ),
                    low: self.low,
                    high: self.high,
                    log: self.log,
                    initial: self.initial,
                });
            }
        }
        variables
    }

    fn index(&self, group: usize, filter: usize) -> usize {
        self.first + group * (self.filters.len() + 1) + filter
    }
}

/// `[layers 0-3]`, `[layer 3]`, or `[point 1 of 4]` where a value has no layers of its own.
pub(super) fn group_suffix(
    group: usize,
    groups: usize,
    smooth: bool,
    span: Option<&Range<usize>>,
) -> String {
    if groups == 1 {
        return String::new();
    }
    match span {
        Some(span) if !smooth => {
            let layers = group_layers(group, groups, span.len());
            let (first, last) = (span.start + layers.start, span.start + layers.end - 1);
            if first == last {
                format!("[layer {first}]")
            } else {
                format!("[layers {first}-{last}]")
            }
        }
        _ => {
            let kind = if smooth { "point" } else { "group" };
            format!("[{kind} {} of {groups}]", group + 1)
        }
    }
}

/// `[self_attn]`, or `[rest]` behind the filters.
pub(super) fn filter_suffix(filter: usize, filters: &[String]) -> String {
    match filters.get(filter) {
        Some(filter) => format!("[{filter}]"),
        None if filters.is_empty() => String::new(),
        None => "[rest]".to_owned(),
    }
}

/// Reads a list of filters, each of which can get tensors.
pub(super) fn filters(list: &Node<'_>) -> Result<Vec<String>, SpaceError> {
    let mut filters: Vec<String> = Vec::new();
    for item in list.items()? {
        let filter = item.text()?;
        // The first filter that matches wins, so nothing is left for one that contains another.
        if filter == "*" || filter.is_empty() || filters.iter().any(|f| filter.contains(&**f)) {
            return Err(SpaceError::UselessFilter { at: item.place(), filter: filter.to_owned() });
        }
        filters.push(filter.to_owned());
    }
    Ok(filters)
}

fn bounds(interval: &Node<'_>, log: bool) -> Result<(f64, f64), SpaceError> {
    let ends = interval.items().ok().filter(|items| items.len() == 2);
    let Some(ends) = ends else {
        return Err(interval.wrong_type("two numbers `[low, high]`").into());
    };
    let (low, high) = (ends[0].number()?, ends[1].number()?);
    let at = interval.place();
    if log && low <= 0.0 {
        return Err(SpaceError::LogOfNothing { at, low });
    }
    let ends_meet = if log { libm::log(low) >= libm::log(high) } else { low >= high };
    if ends_meet {
        return Err(SpaceError::EmptyInterval { at, low, high });
    }
    if !(high - low).is_finite() {
        return Err(SpaceError::EndlessInterval { at, low, high });
    }
    Ok((low, high))
}
