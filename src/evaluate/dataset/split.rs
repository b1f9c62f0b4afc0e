//! Splits as tasks name them: a name, or an expression of names and slices.
//!
//! `test[:100]`, `train[10%:]` and `train+validation[-5%:]` mean what they mean in the `datasets`
//! library. A per cent of a split is rounded to the closest document, halves to the even one; with
//! `(pct1_dropremainder)` behind the slice it is a multiple of the whole documents in one per cent.

use super::super::EvaluateError;
use crate::config::yaml::{Node, Place, YamlError};

/// A split as a task names it.
#[derive(Debug, Clone)]
pub(in crate::evaluate) struct SplitName {
    /// As written.
    pub(in crate::evaluate) name: String,
    pub(in crate::evaluate) at: Place,
    /// What it consists of, at least one.
    pub(in crate::evaluate) parts: Vec<SplitPart>,
}

/// A split of the data, or documents of it that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::evaluate) struct SplitPart {
    /// The split's name in the data.
    pub(in crate::evaluate) split: String,
    slice: Option<Slice>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slice {
    from: Option<i64>,
    to: Option<i64>,
    unit: Unit,
}

/// What the bounds of a slice count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Documents,
    /// Hundredths of all documents, rounded.
    PerCent,
    /// Times the whole documents that are in one per cent.
    WholePerCent,
}

/// A field that names a split.
pub(in crate::evaluate) fn split_name(
    node: Option<Node<'_>>,
) -> Result<Option<SplitName>, YamlError> {
    let Some(node) = node else { return Ok(None) };
    let name = node.text()?.to_owned();
    let Some(parts) = parse(&name) else {
        return Err(node.wrong_type(
            "a split, a slice of one such as `test[:100]` or `test[10%:]`, or a sum of these",
        ));
    };
    Ok(Some(SplitName { name, at: node.place(), parts }))
}

/// The parts of an expression. What is no expression is a name, whatever it has in it.
fn parse(text: &str) -> Option<Vec<SplitPart>> {
    if !text.contains(['[', ']', '(', ')', '+']) {
        return Some(vec![SplitPart { split: text.to_owned(), slice: None }]);
    }
    let parts = text.split('+').map(|part| SplitPart::parse(part.trim()));
    let parts = parts.collect::<Option<Vec<_>>>()?;
    // The library refuses other per cents behind those that come first.
    let unit = |part: &SplitPart| part.slice.map_or(Unit::Documents, |slice| slice.unit);
    let (first, mut others) = (unit(parts.first()?), parts.iter().map(unit));
    let is_other = |other| other != first && other != Unit::Documents;
    (first == Unit::Documents || !others.any(is_other)).then_some(parts)
}

impl SplitPart {
    fn parse(text: &str) -> Option<SplitPart> {
        let (text, rounding) = match text.split_once('(') {
            None => (text, None),
            Some((text, "closest)")) => (text, Some(Unit::PerCent)),
            Some((text, "pct1_dropremainder)")) => (text, Some(Unit::WholePerCent)),
            Some(_) => return None,
        };
        let (split, slice) = match text.split_once('[') {
            None => (text, None),
            Some((split, rest)) => (split, Some(Slice::parse(rest.strip_suffix(']')?, rounding)?)),
        };
        if slice.is_none() && rounding.is_some() {
            return None;
        }
        let is_word =
            |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_');
        let is_name = split.split('.').all(is_word);
        is_name.then(|| SplitPart { split: split.to_owned(), slice })
    }

    /// The index of the first document that belongs to it and that of the first behind, of `count`.
    /// `None` for per cents that no document is a whole one of.
    fn bounds(&self, count: usize) -> Option<(usize, usize)> {
        let Some(slice) = self.slice else { return Some((0, count)) };
        if slice.unit == Unit::WholePerCent && count < 100 {
            return None;
        }
        let bound = |bound: Option<i64>, default: usize| match bound {
            None => default,
            Some(bound) => {
                let bound = slice.unit.documents(bound, count);
                let from_start = if bound < 0 { bound + count as i128 } else { bound };
                from_start.clamp(0, count as i128) as usize
            }
        };
        Some((bound(slice.from, 0), bound(slice.to, count)))
    }

    /// Of a split's documents, those that belong to it.
    pub(in crate::evaluate) fn of<T>(
        &self,
        mut documents: Vec<T>,
        at: &Place,
    ) -> Result<Vec<T>, EvaluateError> {
        let count = documents.len();
        let bounds = self.bounds(count).filter(|(from, to)| from < to);
        let Some((from, to)) = bounds else {
            let (at, split) = (at.clone().into(), self.split.clone());
            return Err(EvaluateError::EmptySlice { at, split, count });
        };
        documents.truncate(to);
        documents.drain(..from);
        Ok(documents)
    }
}

impl Slice {
    /// A slice without its brackets. If one bound is in per cent, both are; only then are they rounded.
    fn parse(text: &str, rounding: Option<Unit>) -> Option<Slice> {
        let (from, to) = text.split_once(':')?;
        let is_per_cent = [from, to].iter().any(|bound| bound.ends_with('%'));
        let unit = match (is_per_cent, rounding) {
            (true, rounding) => rounding.unwrap_or(Unit::PerCent),
            (false, None) => Unit::Documents,
            (false, Some(_)) => return None,
        };
        let is_allowed = |bound: &i64| !is_per_cent || (-100..=100).contains(bound);
        let bound = |text: &str| {
            let digits = text.strip_suffix('%').unwrap_or(text).replace('_', "");
            match digits.parse() {
                Ok(bound) if !digits.starts_with('+') => Some(Some(bound)),
                _ => text.is_empty().then_some(None),
            }
        };
        let (from, to): (Option<i64>, Option<i64>) = (bound(from)?, bound(to)?);
        let are_allowed = [from, to].iter().flatten().all(is_allowed);
        are_allowed.then_some(Slice { from, to, unit })
    }
}

impl Unit {
    /// How many documents of `count` a bound stands for; as negative as the bound.
    fn documents(self, bound: i64, count: usize) -> i128 {
        match self {
            Unit::Documents => bound.into(),
            Unit::PerCent => (bound as f64 * count as f64 / 100.0).round_ties_even() as i128,
            Unit::WholePerCent => i128::from(bound) * (count / 100) as i128,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    // What the `datasets` library selects; see tests/golden/evaluate/splits.py.
    #[test]
    fn slices_are_those_of_the_datasets_library() {
        let text = include_str!("../../../tests/golden/evaluate/splits.json");
        let cases: Vec<Value> = serde_json::from_str(text).expect("golden data");
        for case in cases {
            let (split, lengths) = (case["split"].as_str().expect("text"), &case["lengths"]);
            let parts = parse(split).and_then(|parts| {
                let bounds = parts.iter().map(|part| {
                    let (from, to) = part.bounds(lengths[&part.split].as_u64()? as usize)?;
                    Some(json!([part.split, from, to]))
                });
                bounds.collect::<Option<Vec<_>>>()
            });
            assert_eq!(json!(parts), case["parts"], "{split} of {lengths}");
        }
    }

    #[test]
    fn other_texts_are_names_or_refused() {
        assert_eq!(parse("dev-1").expect("a name")[0].split, "dev-1");
        for text in
            ["test[", "test[]", "test[1]", "test[a:]", "[:1]", "test+", "t[:1](up)", "t[+1:]"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn nothing_is_not_a_split() {
        let part = &parse("test[5:]").expect("a slice")[0];
        let error = part.of(vec![1, 2, 3], &Place::default()).expect_err("empty");
        assert!(error.to_string().contains("of the 3 documents of split `test` none"), "{error}");
        assert_eq!(
            parse("t[1:3]").expect("a slice")[0].of(vec![1, 2, 3, 4], &Place::default()).ok(),
            Some(vec![2, 3])
        );
    }
}
