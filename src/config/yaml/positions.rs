//! Lines and columns of the values of a YAML text, found only when an error is shown.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser};

use super::{FieldPath, Step};

/// How many merge keys a look-up goes through; a mapping may name itself.
const LONGEST_MERGE: usize = 16;

/// Line and column, both from 1.
pub(super) type Position = (u32, u32);

/// The positions of the values of one document.
#[derive(Debug, Clone)]
pub(super) struct Positions {
    nodes: Vec<Located>,
}

#[derive(Debug, Clone)]
struct Located {
    at: Position,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Scalar(String),
    List(Vec<usize>),
    /// Pairs of key and value.
    Mapping(Vec<(usize, usize)>),
}

/// A list or mapping whose end has not come yet.
struct Open {
    node: usize,
    /// The key that waits for its value.
    key: Option<usize>,
}

impl Positions {
    /// Those of the first document; as far as the text goes when it is not valid.
    pub(super) fn of(text: &str) -> Self {
        let mut nodes: Vec<Located> = Vec::new();
        let mut open: Vec<Open> = Vec::new();
        let mut anchors: HashMap<usize, usize> = HashMap::new();
        let mut parser = Parser::new_from_str(text);
        while let Some(Ok((event, span))) = parser.next_event() {
            let (content, anchor) = match event {
                Event::Scalar(text, _, anchor, _) => (Content::Scalar(text.into_owned()), anchor),
                Event::SequenceStart(anchor, _) => (Content::List(Vec::new()), anchor),
                Event::MappingStart(anchor, _) => (Content::Mapping(Vec::new()), anchor),
                Event::SequenceEnd | Event::MappingEnd => {
                    open.pop();
                    continue;
                }
                Event::Alias(anchor) => {
                    if let Some(&node) = anchors.get(&anchor) {
                        attach(&mut nodes, &mut open, node);
                    }
                    continue;
                }
                Event::DocumentEnd => break,
                _ => continue,
            };
            let node = nodes.len();
            let is_scalar = matches!(content, Content::Scalar(_));
            nodes.push(Located { at: position(span.start), content });
            attach(&mut nodes, &mut open, node);
            if anchor != 0 {
                anchors.insert(anchor, node);
            }
            if !is_scalar {
                open.push(Open { node, key: None });
            }
        }
        Self { nodes }
    }

    /// Where the value at `path` starts.
    pub(super) fn value(&self, path: &FieldPath) -> Option<Position> {
        Some(self.nodes[self.entry(path)?.1].at)
    }

    /// Where the last key of `path` starts; an item of a list has only its value.
    pub(super) fn key(&self, path: &FieldPath) -> Option<Position> {
        Some(self.nodes[self.entry(path)?.0].at)
    }

    /// The keys that their mapping has had before.
    pub(super) fn repeated_keys(&self) -> impl Iterator<Item = (&str, Position)> {
        self.nodes.iter().flat_map(move |node| {
            let pairs = match &node.content {
                Content::Mapping(pairs) => pairs.as_slice(),
                _ => &[],
            };
            let mut seen = std::collections::HashSet::new();
            pairs.iter().filter_map(move |&(key, _)| {
                let Content::Scalar(name) = &self.nodes[key].content else { return None };
                (!seen.insert(name)).then_some((name.as_str(), self.nodes[key].at))
            })
        })
    }

    /// Key and value at `path`; the same node twice where there is no key.
    fn entry(&self, path: &FieldPath) -> Option<(usize, usize)> {
        let mut entry = (0, 0);
        self.nodes.first()?;
        for step in &path.0 {
            entry = match (step, &self.nodes[entry.1].content) {
                (Step::Index(index), Content::List(items)) => {
                    let &item = items.get(*index)?;
                    (item, item)
                }
                (Step::Key(key), Content::Mapping(_)) => self.find(entry.1, key, LONGEST_MERGE)?,
                _ => return None,
            };
        }
        Some(entry)
    }

    fn find(&self, mapping: usize, key: &str, merges_left: usize) -> Option<(usize, usize)> {
        let Content::Mapping(pairs) = &self.nodes[mapping].content else { return None };
        let named = |name: &str| {
            // Of equal keys, where there may be any, the last counts.
            pairs.iter().rev().copied().find(
                |&(key, _)| matches!(&self.nodes[key].content, Content::Scalar(text) if text == name),
            )
        };
        if let Some(entry) = named(key) {
            return Some(entry);
        }
        let merges_left = merges_left.checked_sub(1)?;
        let (_, merged) = named("<<")?;
        match &self.nodes[merged].content {
            Content::List(items) => {
                items.iter().find_map(|&item| self.find(item, key, merges_left))
            }
            _ => self.find(merged, key, merges_left),
        }
    }
}

/// Puts `node` into the innermost list or mapping.
fn attach(nodes: &mut [Located], open: &mut [Open], node: usize) {
    let Some(parent) = open.last_mut() else { return };
    match &mut nodes[parent.node].content {
        Content::List(items) => items.push(node),
        Content::Mapping(pairs) => match parent.key.take() {
            Some(key) => pairs.push((key, node)),
            None => parent.key = Some(node),
        },
        Content::Scalar(_) => {}
    }
}

/// The parser counts columns from 0.
fn position(marker: Marker) -> Position {
    (narrow(marker.line()), narrow(marker.col() + 1))
}

/// Places count in 32 bits, so that errors stay small.
pub(super) fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, path: &str) -> Option<Position> {
        Positions::of(text).value(&FieldPath::parse(path)?)
    }

    #[test]
    fn values_are_found_in_block_and_flow_style() {
        let text = "a:\n  - b: 1\n  - {b: 22, c: [x, yy]}\n";
        assert_eq!(value(text, "a[0].b"), Some((2, 8)));
        assert_eq!(value(text, "a[1].b"), Some((3, 9)));
        assert_eq!(value(text, "a[1].c[1]"), Some((3, 20)));
        assert_eq!(value(text, "a[1].d"), None);
        assert_eq!(value(text, "a.b"), None);
        let key = Positions::of(text).key(&FieldPath::parse("a[1].c").unwrap());
        assert_eq!(key, Some((3, 13)));
    }

    #[test]
    fn aliases_and_merge_keys_lead_to_the_original() {
        let text = "p: &p {w: 1}\nq:\n  <<: *p\n  v: 2\nr: [*p]\ns: {<<: [{}, *p]}\n";
        assert_eq!(value(text, "q.w"), Some((1, 11)));
        assert_eq!(value(text, "q.v"), Some((4, 6)));
        assert_eq!(value(text, "r[0].w"), Some((1, 11)));
        assert_eq!(value(text, "s.w"), Some((1, 11)));
    }

    #[test]
    fn a_mapping_that_merges_itself_ends() {
        assert_eq!(value("a: &a {<<: *a, b: 1}\n", "a.c"), None);
        assert_eq!(value("a: &a {<<: [*a, *a], b: 1}\n", "a.c"), None);
    }

    #[test]
    fn repeated_keys_are_found() {
        let keys = |text: &str| {
            let positions = Positions::of(text);
            positions.repeated_keys().map(|(key, at)| (key.to_owned(), at)).collect::<Vec<_>>()
        };
        assert_eq!(keys("a: {b: 1, c: 2}\nd:\n  b: 1\n  b: 2\n"), [("b".to_owned(), (4, 3))]);
        assert!(keys("a: 1\nb: 1\n").is_empty());
        assert_eq!(value("a: 1\na: 2\n", "a"), Some((2, 4)));
    }
}
