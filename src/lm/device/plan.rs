//! Which queries attend to their keys together.
//!
//! Queries of a segment see keys of their own: those of its ancestors and its block. Segments of
//! similar shape form a group, whose members have equal numbers of queries and keys, filled up with
//! repetitions where they have fewer. Keys that all segments see are no member's own; they are where
//! they are, once for all queries.

use std::ops::Range;

use crate::lm::layout::{Query, Segment};

/// Queries of a segment that attend at once, at most: later ones see keys that earlier ones do not.
const MOST_QUERIES: usize = 1024;

/// Scores that a group may have in vain, however few it has: filling up is faster than another round
/// of operations.
const FREE_SCORES: usize = 1 << 20;

/// Beginning of the shared part of sequences, which all segments see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) position: usize,
    pub(super) len: usize,
}

/// What a plan depends on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    /// Successive queries of a segment stand in the order of its tokens.
    pub(super) queries: Vec<Query>,
    pub(super) segments: Vec<Segment>,
    pub(super) shared: Vec<Shared>,
    pub(super) window: Option<usize>,
    /// Heads of queries.
    pub(super) heads: usize,
    /// Elements of a position's keys and values.
    pub(super) kv_elements: usize,
    /// Most scores, and most elements of keys and values, that exist at once.
    pub(super) most: usize,
}

/// Queries that attend together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Number of members.
    pub(super) members: usize,
    /// Which row each query is, `[members, queries]`.
    pub(super) rows: Vec<usize>,
    /// Which places of the store each member sees, `[members, keys]`.
    pub(super) places: Vec<usize>,
    /// Positions of the queries in their sequences.
    pub(super) query_positions: Vec<usize>,
    /// Positions of the keys, [`NOWHERE`] for what only fills up.
    pub(super) key_positions: Vec<usize>,
    /// Whether some of the queries must not see some of the keys.
    pub(super) is_masked: bool,
    /// Of each shared part, what some of the queries see, and whether some must not.
    pub(super) shared: Vec<(Range<usize>, bool)>,
}

/// Position of a key that nobody sees. Exact in f32, as all positions are.
pub(super) const NOWHERE: usize = 1 << 24;

/// Queries of one segment.
#[derive(Debug)]
struct Member {
    rows: Range<usize>,
    /// Of the first and the last query.
    positions: [usize; 2],
    /// First places of runs of keys, their lengths, and the position of the first.
    runs: Vec<(usize, usize, usize)>,
    keys: usize,
}

impl Question {
    /// Groups that have every query once, and repetitions of some.
    pub(super) fn groups(&self) -> Vec<Group> {
        let shared: usize = self.shared.iter().map(|shared| shared.len).sum();
        let mut members = self.members(shared);
        members.sort_by_key(|member| (member.rows.len().next_power_of_two(), member.keys));
        let mut groups = Vec::new();
        let mut rest = members.as_slice();
        while !rest.is_empty() {
            let (mut queries, mut keys, mut useful) = (0, 0, 0);
            let fits = rest.iter().enumerate().take_while(|(index, member)| {
                queries = queries.max(member.rows.len());
                keys = keys.max(member.keys);
                useful += self.heads * member.rows.len() * (member.keys + shared);
                let scores = (index + 1) * self.heads * queries * (keys + shared);
                let elements = (index + 1) * keys * self.kv_elements;
                let wasted = scores - useful;
                *index == 0
                    || (scores.max(elements) <= self.most && wasted <= useful.max(FREE_SCORES))
            });
            let (group, others) = rest.split_at(fits.count());
            groups.push(self.group(group));
            rest = others;
        }
        groups
    }

    fn members(&self, shared: usize) -> Vec<Member> {
        let mut members = Vec::new();
        let mut row = 0;
        for queries in self.queries.chunk_by(|a, b| a.segment == b.segment) {
            let end = row + queries.len();
            while row < end {
                let keys = self.member(row..row + 1).keys + queries.len() + shared;
                let count = (self.most / (self.heads * keys)).clamp(1, MOST_QUERIES);
                let next = end.min(row + count);
                members.push(self.member(row..next));
                row = next;
            }
        }
        members
    }

    /// First position that a query at `position` sees.
    fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    fn member(&self, rows: Range<usize>) -> Member {
        let (first, last) = (self.queries[rows.start], self.queries[rows.end - 1]);
        let segment = &self.segments[first.segment];
        let positions = [first, last].map(|query| query.position(&self.segments));
        let from = self.first_seen(positions[0]);
        let mut runs = Vec::new();
        let mut see = |place: usize, len: usize, position: usize| {
            let hidden = from.saturating_sub(position).min(len);
            if hidden < len {
                runs.push((place + hidden, len - hidden, position + hidden));
            }
        };
        for ancestor in &segment.ancestors {
            see(ancestor.block.offset, ancestor.len, ancestor.position);
        }
        see(segment.block.offset, segment.held + last.index + 1, segment.position);
        let keys = runs.iter().map(|(_, len, _)| len).sum();
        Member { rows, positions, runs, keys }
    }

    fn group(&self, members: &[Member]) -> Group {
        let queries = members.iter().map(|member| member.rows.len()).max().unwrap_or(0);
        let keys = members.iter().map(|member| member.keys).max().unwrap_or(0);
        let mut group = Group {
            members: members.len(),
            rows: Vec::with_capacity(members.len() * queries),
            places: Vec::with_capacity(members.len() * keys),
            query_positions: Vec::with_capacity(members.len() * queries),
            key_positions: Vec::with_capacity(members.len() * keys),
            is_masked: queries > 1 || members.iter().any(|member| member.keys < keys),
            shared: Vec::new(),
        };
        for member in members {
            for query in 0..queries {
                let row = (member.rows.start + query).min(member.rows.end - 1);
                group.rows.push(row);
                group.query_positions.push(self.queries[row].position(&self.segments));
            }
            for (place, len, position) in &member.runs {
                group.places.extend(*place..place + len);
                group.key_positions.extend(*position..position + len);
            }
            // What fills up is a key that the member sees, so that it is a number.
            let filler = group.places.last().copied().unwrap_or(0);
            let end = group.places.len() + keys - member.keys;
            group.places.resize(end, filler);
            group.key_positions.resize(end, NOWHERE);
        }
        let first = members.iter().map(|member| member.positions[0]).min().unwrap_or(0);
        let last = members.iter().map(|member| member.positions[1]).max().unwrap_or(0);
        group.shared = self
            .shared
            .iter()
            .map(|shared| {
                let hidden = |position| {
                    self.first_seen(position).saturating_sub(shared.position).min(shared.len)
                };
                (hidden(first)..shared.len, hidden(last) > hidden(first))
            })
            .collect();
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lm::layout::{Ancestor, BlockAllocator};

    /// Segments of so many tokens that stand behind the first, which is behind `shared` tokens.
    fn question(lengths: &[usize], shared: usize, window: Option<usize>, most: usize) -> Question {
        let mut allocator = BlockAllocator::default();
        let mut ancestors = Vec::new();
        let mut segments: Vec<Segment> = Vec::new();
        let mut queries = Vec::new();
        for (index, len) in lengths.iter().enumerate() {
            let block = allocator.allot(*len);
            let position = shared + if index == 0 { 0 } else { lengths[0] };
            let start = block.offset;
            let segment = Segment::continued(block, 0, position, start..start + len);
            segments.push(Segment { ancestors: ancestors.clone(), ..segment });
            queries.extend((0..*len).map(|token| Query { segment: index, index: token }));
            if index == 0 {
                ancestors.push(Ancestor { block, len: *len, position });
            }
        }
        let shared = [Shared { position: 0, len: shared }].into();
        Question { queries, segments, shared, window, heads: 2, kv_elements: 4, most }
    }

    /// What each query sees by the groups: places, and positions of the shared part.
    fn seen(question: &Question) -> Vec<(Vec<usize>, Vec<usize>)> {
        let mut seen = vec![(Vec::new(), Vec::new()); question.queries.len()];
        for group in question.groups() {
            let [queries, keys] =
                [group.rows.len(), group.places.len()].map(|count| count / group.members);
            for (index, row) in group.rows.iter().enumerate() {
                let at = group.query_positions[index];
                let sees = |key: usize| {
                    let is_near = question.window.is_none_or(|window| key + window > at);
                    !group.is_masked || (key <= at && is_near)
                };
                let member = index / queries;
                let range = member * keys..(member + 1) * keys;
                let own = range.filter(|key| sees(group.key_positions[*key]));
                let (range, is_masked) = &group.shared[0];
                let shared = range.clone().filter(|key| {
                    !is_masked || question.window.is_none_or(|window| key + window > at)
                });
                seen[*row] = (own.map(|key| group.places[key]).collect(), shared.collect());
            }
        }
        seen
    }

    #[test]
    fn every_query_sees_what_it_should_however_queries_are_grouped() {
        for window in [None, Some(1), Some(3), Some(6), Some(100)] {
            for most in [1, 60, 200, 1 << 20] {
                let question = question(&[5, 1, 3, 4, 1], 4, window, most);
                for (query, (own, shared)) in question.queries.iter().zip(seen(&question)) {
                    let at = query.position(&question.segments);
                    let first = window.map_or(0, |window| (at + 1).saturating_sub(window));
                    assert_eq!(shared, (first.min(4)..4).collect::<Vec<_>>());
                    let block = question.segments[query.segment].block.offset;
                    let of_first = (0..5).filter(|key| query.segment > 0 && 4 + key >= first);
                    let behind = if query.segment > 0 { 9 } else { 4 };
                    let of_own = (0..=query.index).filter(|key| behind + key >= first);
                    let expected = of_first.chain(of_own.map(|key| block + key));
                    assert_eq!(own, expected.collect::<Vec<_>>(), "{window:?} {most}");
                }
            }
        }
    }

    #[test]
    fn groups_are_bounded() {
        let question = question(&[50, 1, 30, 4, 1, 2, 2, 7], 4, None, 400);
        let groups = question.groups();
        assert!(groups.len() > 3);
        for group in groups {
            let queries = group.rows.len() / group.members;
            let scores = 2 * queries * (group.places.len() + 4 * group.members);
            assert!(scores <= 400 || group.members * queries == 1, "{scores}");
        }
    }
}
