//! Filters between what a model wrote and what is compared: the harness's pipelines.

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;

use super::choice_filter::ChoiceSearch;
use super::data::{Document, describe};
use super::error::Row;
use super::python::{Pattern, strip};
use crate::config::yaml::{Fields, Place, YamlError};
use crate::evaluate::EvaluateError;

/// The pipeline of a task that names none.
pub(super) const DEFAULT_PIPELINE: &str = "none";

/// Every filter by its name in task files, and how its options are read. To add one, add a line
/// and a variant of [`Filter`].
const FILTERS: &[(&str, &[&str], ReadFilter)] = &[
    ("take_first", &[], |_| Ok(Filter::TakeFirst)),
    ("take_first_k", &["k"], |fields| Ok(Filter::TakeFirstK(fields.require("k")?.count()?))),
    ("majority_vote", &[], |_| Ok(Filter::MajorityVote)),
    ("regex", &["regex_pattern", "group_select", "fallback"], |fields| {
        Ok(Filter::Regex(Box::new(read_regex(fields)?)))
    }),
    (
        "multi_choice_regex",
        &[
            "regex_pattern",
            "group_select",
            "fallback",
            "ignore_case",
            "ignore_punctuation",
            "regexes_to_ignore",
        ],
        read_choice_regex,
    ),
    ("remove_whitespace", &[], |_| Ok(Filter::RemoveWhitespace)),
    ("lowercase", &[], |_| Ok(Filter::Lowercase)),
    ("uppercase", &[], |_| Ok(Filter::Uppercase)),
    ("map", &["mapping_dict", "default_value"], read_map),
];

type ReadFilter = fn(&Fields<'_>) -> Result<Filter, EvaluateError>;

/// The column that one filter needs.
const CHOICES: &str = "choices";

/// What the regex filter looks for when a task does not say.
const DEFAULT_PATTERN: &str = r"#### (\-?[0-9\.\,]+)";

/// What stands for a response without a match when a task does not say.
const DEFAULT_FALLBACK: &str = "[invalid]";

/// A named sequence of filters, applied to the responses of one document.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Pipeline {
    pub(super) name: String,
    filters: Vec<Filter>,
}

#[derive(Debug, Clone, Serialize)]
enum Filter {
    TakeFirst,
    TakeFirstK(usize),
    MajorityVote,
    Regex(Box<RegexFilter>),
    ChoiceRegex {
        regex: Box<RegexFilter>,
        choices: ChoiceSearch,
        /// The filter, for messages.
        #[serde(skip)]
        at: Box<Place>,
    },
    RemoveWhitespace,
    Lowercase,
    Uppercase,
    Map {
        mapping: IndexMap<String, String>,
        default: Option<String>,
    },
}

#[derive(Debug, Clone, Serialize)]
struct RegexFilter {
    pattern: Pattern,
    /// Which match counts; negative from the end.
    select: i64,
    fallback: String,
}

impl Pipeline {
    /// The pipeline of a task that names none.
    pub(super) fn take_first() -> Pipeline {
        Pipeline { name: DEFAULT_PIPELINE.to_owned(), filters: vec![Filter::TakeFirst] }
    }

    /// Reads an entry of `filter_list`.
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Pipeline, EvaluateError> {
        fields.only(&["name", "filter"])?;
        let name = fields.require("name")?.text()?.to_owned();
        let list = fields.require("filter")?;
        let steps = list.items()?;
        let mut filters = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let step = step.fields()?;
            let function = step.require("function")?;
            let wanted = function.text()?;
            let Some((_, options, read)) = FILTERS.iter().find(|(name, ..)| *name == wanted) else {
                let supported = FILTERS.iter().map(|(name, ..)| *name).collect();
                return Err(EvaluateError::unsupported(&function, "filter", wanted, supported));
            };
            let known: Vec<&str> = options.iter().copied().chain(["function"]).collect();
            step.only(&known)?;
            let filter = read(&step)?;
            // Behind `take_first` the harness would go on over single characters.
            if matches!(filter, Filter::TakeFirst) != (index + 1 == steps.len()) {
                return Err(YamlError::WrongType {
                    at: function.place(),
                    expected: "`take_first` as the last filter and nowhere else".to_owned(),
                    found: format!("`{wanted}`"),
                }
                .into());
            }
            filters.push(filter);
        }
        if filters.is_empty() {
            return Err(list.wrong_type("a list of filters that ends with `take_first`").into());
        }
        Ok(Pipeline { name, filters })
    }

    /// Whether the responses stay as they are.
    pub(super) fn keeps_responses(&self) -> bool {
        matches!(self.filters.as_slice(), [Filter::TakeFirst])
    }

    /// The choices of a document as [`Pipeline::apply`] wants them: those in its column of that name,
    /// if a filter needs them.
    pub(super) fn choices(
        &self,
        document: &Document,
        row: Row,
    ) -> Result<Vec<String>, EvaluateError> {
        let place = self.filters.iter().find_map(|filter| match filter {
            Filter::ChoiceRegex { at, .. } => Some(at),
            _ => None,
        });
        let Some(at) = place else { return Ok(Vec::new()) };
        let found = document.columns.get(CHOICES).unwrap_or(&Value::Null);
        let texts = found.as_array().and_then(|items| {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        texts.ok_or_else(|| EvaluateError::Value {
            at: at.clone(),
            row,
            expected: "a list of texts in the column `choices`",
            found: describe(found),
        })
    }

    /// What the pipeline makes of the responses to one document, of which there is at least one;
    /// `choices` are those of the document.
    pub(super) fn apply(&self, responses: &[String], choices: &[String]) -> String {
        let mut responses = responses.to_vec();
        for filter in &self.filters {
            responses = filter.apply(responses, choices);
        }
        responses.into_iter().next().unwrap_or_default()
    }
}

impl Filter {
    fn apply(&self, mut responses: Vec<String>, choices: &[String]) -> Vec<String> {
        let each = |responses: Vec<String>, change: &dyn Fn(&str) -> String| {
            responses.iter().map(|response| change(response)).collect()
        };
        match self {
            Filter::TakeFirst => {
                responses.truncate(1);
                responses
            }
            Filter::TakeFirstK(count) => {
                responses.truncate(*count);
                responses
            }
            Filter::MajorityVote => majority(responses),
            Filter::Regex(filter) => each(responses, &|text| {
                filter.extract(text).unwrap_or_else(|| filter.fallback.clone())
            }),
            Filter::ChoiceRegex { regex, choices: search, .. } => each(responses, &|text| {
                let own = regex.extract(text).filter(|found| !found.is_empty());
                let found = own.or_else(|| search.find(text, choices));
                found.unwrap_or_else(|| regex.fallback.clone())
            }),
            Filter::RemoveWhitespace => each(responses, &|text| strip(text).to_owned()),
            Filter::Lowercase => each(responses, &|text| text.to_lowercase()),
            Filter::Uppercase => each(responses, &|text| text.to_uppercase()),
            Filter::Map { mapping, default } => each(responses, &|text| {
                mapping.get(text).or(default.as_ref()).cloned().unwrap_or_else(|| "None".to_owned())
            }),
        }
    }
}

impl RegexFilter {
    /// What is found in a text.
    fn extract(&self, text: &str) -> Option<String> {
        let matches = self.pattern.find_all(text);
        let index = match usize::try_from(self.select) {
            Ok(index) => Some(index),
            Err(_) => matches.len().checked_sub(self.select.unsigned_abs() as usize),
        };
        let found = match index.and_then(|index| matches.get(index)).map(Vec::as_slice) {
            Some([only]) => Some(only),
            Some(groups) => groups.iter().find(|group| !group.is_empty()),
            None => None,
        };
        found.map(|text| strip(text).to_owned())
    }
}

/// The most frequent response; of equally frequent ones the first seen.
fn majority(responses: Vec<String>) -> Vec<String> {
    let mut counts: IndexMap<String, usize> = IndexMap::new();
    for response in responses {
        *counts.entry(response).or_default() += 1;
    }
    let most = counts.values().copied().max();
    counts
        .into_iter()
        .find(|(_, count)| Some(*count) == most)
        .map(|(text, _)| text)
        .into_iter()
        .collect()
}

fn read_regex(fields: &Fields<'_>) -> Result<RegexFilter, EvaluateError> {
    let pattern = match fields.get("regex_pattern") {
        Some(node) => Pattern::read(&node)?,
        None => Pattern::new(DEFAULT_PATTERN).expect("the default pattern is valid"),
    };
    let select = fields.get("group_select").map_or(Ok(0), |node| node.whole())?;
    let fallback = match fields.get("fallback") {
        Some(node) => node.text()?.to_owned(),
        None => DEFAULT_FALLBACK.to_owned(),
    };
    Ok(RegexFilter { pattern, select, fallback })
}

fn read_choice_regex(fields: &Fields<'_>) -> Result<Filter, EvaluateError> {
    let flag = |name| fields.get(name).map_or(Ok(false), |node| node.boolean());
    let regex = read_regex(fields)?;
    let choices = ChoiceSearch {
        removed: Pattern::read_list(fields.get("regexes_to_ignore").as_ref())?,
        ignore_case: flag("ignore_case")?,
        ignore_punctuation: flag("ignore_punctuation")?,
        select: regex.select,
    };
    let at = fields.node().place().into();
    Ok(Filter::ChoiceRegex { regex: Box::new(regex), choices, at })
}

fn read_map(fields: &Fields<'_>) -> Result<Filter, EvaluateError> {
    let mut mapping = IndexMap::new();
    for (from, to) in fields.require("mapping_dict")?.fields()?.all()? {
        mapping.insert(from.to_owned(), to.text()?.to_owned());
    }
    let default = fields.get("default_value").map(|node| node.text().map(str::to_owned));
    Ok(Filter::Map { mapping, default: default.transpose()? })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::yaml;

    fn pipeline(steps: &str) -> Result<Pipeline, EvaluateError> {
        let text = format!("name: p\nfilter: {steps}\n");
        let document = yaml::Document::parse(&text, Path::new("task.yaml"))?;
        Pipeline::parse(&document.root().fields()?)
    }

    fn apply(steps: &str, responses: &[&str]) -> String {
        let responses: Vec<String> = responses.iter().map(|&text| text.to_owned()).collect();
        pipeline(steps)
            .unwrap_or_else(|error| panic!("{error}"))
            .apply(&responses, &["up".to_owned(), "down".to_owned()])
    }

    #[test]
    fn pipelines_do_what_the_harness_does() {
        let take = "{function: take_first}";
        let regex = r#"{function: regex, regex_pattern: "([A-Z])|([0-9])", group_select: -1}"#;
        assert_eq!(apply(&format!("[{regex}, {take}]"), &["a1 B 7"]), "7");
        assert_eq!(apply(&format!("[{regex}, {take}]"), &["none"]), "[invalid]");
        assert_eq!(apply(&format!("[{{function: regex}}, {take}]"), &["so #### 12,5"]), "12,5");
        let choice = "{function: multi_choice_regex, regex_pattern: 'is ([A-Z])'}";
        let by_choice = |answer| apply(&format!("[{choice}, {take}]"), &[answer]);
        assert_eq!(by_choice("it is A, not down"), "A");
        assert_eq!(by_choice("not A but down"), "(B)");
        assert_eq!(by_choice("left"), "[invalid]");
        assert_eq!(
            apply(
                &format!("[{{function: remove_whitespace}}, {{function: lowercase}}, {take}]"),
                &[" Ab "]
            ),
            "ab"
        );
        assert_eq!(apply(&format!("[{{function: majority_vote}}, {take}]"), &["a", "b", "b"]), "b");
        assert_eq!(
            apply(
                &format!("[{{function: map, mapping_dict: {{x: y}}, default_value: z}}, {take}]"),
                &["x"]
            ),
            "y"
        );
    }

    #[test]
    fn mistakes_are_named() {
        let message = |steps| pipeline(steps).expect_err("a mistake").to_string();
        assert_eq!(
            message("[{function: format_span}]"),
            "task.yaml:2:21: filter[0].function: filter `format_span` is not supported"
        );
        assert_eq!(
            message("[{function: lowercase}]"),
            "task.yaml:2:21: filter[0].function: expected `take_first` as the last filter and \
             nowhere else, found `lowercase`"
        );
        assert!(
            message("[{function: regex, regex_pattern: '('}, {function: take_first}]").starts_with(
                "task.yaml:2:43: filter[0].regex_pattern: not a valid regular expression: "
            )
        );
        assert_eq!(
            message("[{function: take_first, k: 1}]"),
            "task.yaml:2:33: filter[0].k: unknown field `k`"
        );
    }
}
