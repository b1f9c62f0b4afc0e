//! Which tokens pass through the model together, and which keys each of them sees.
//!
//! A [`Segment`] is a run of consecutive tokens of a sequence. It owns a block of a store of keys and
//! values, and its tokens see its own block up to themselves and, before it, the whole blocks of its
//! ancestors. So sequences that share a beginning share its block, and nothing is padded.

use std::ops::Range;
use std::sync::Arc;

use super::rotary::Turns;

/// A place for the keys and values of consecutive positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// Positions allotted before this block.
    pub(super) offset: usize,
    /// Positions it has room for.
    pub(super) capacity: usize,
}

/// Hands out consecutive blocks.
#[derive(Debug, Default)]
pub(super) struct BlockAllocator {
    /// Positions handed out so far.
    pub(super) positions: usize,
}

impl BlockAllocator {
    /// The next block.
    pub(super) fn allot(&mut self, capacity: usize) -> Block {
        let block = Block { offset: self.positions, capacity };
        self.positions += capacity;
        block
    }
}

/// Keys that a segment sees before its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ancestor {
    pub(super) block: Block,
    /// How many of the block's keys there are.
    pub(super) len: usize,
    /// Position of its first token in the sequence.
    pub(super) position: usize,
}

/// Consecutive tokens of a sequence, and what they see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// Which of the pass's tokens they are.
    pub(super) tokens: Range<usize>,
    /// Where their keys and values go, and where earlier ones of the same sequence may be.
    pub(super) block: Block,
    /// Keys in `block` before this segment's.
    pub(super) held: usize,
    /// Position in the sequence of the block's first token.
    pub(super) position: usize,
    /// In the order of the sequence.
    pub(super) ancestors: Vec<Ancestor>,
}

impl Segment {
    /// A segment that continues what its block already holds: `held` tokens, the first of which is
    /// at `position` of the sequence.
    pub(super) fn continued(
        block: Block,
        held: usize,
        position: usize,
        tokens: Range<usize>,
    ) -> Self {
        Self { tokens, block, held, position, ancestors: Vec::new() }
    }
}

/// A token whose attention is wanted: its segment, and which of the segment's tokens it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) segment: usize,
    pub(super) index: usize,
}

impl Query {
    /// Position in the sequence.
    pub(super) fn position(self, segments: &[Segment]) -> usize {
        let segment = &segments[self.segment];
        segment.position + segment.held + self.index
    }
}

/// Tokens that all sequences of a batch share, computed earlier.
#[derive(Debug)]
pub(super) struct Prefix<S> {
    pub(super) store: S,
    pub(super) block: Block,
    pub(super) len: usize,
    /// Position in the sequences of the first of them.
    pub(super) position: usize,
}

/// What goes through the layers together.
#[derive(Debug)]
pub(super) struct Pass<'a, S> {
    /// Tokens of all segments, end to end.
    pub(super) tokens: &'a [u32],
    pub(super) segments: &'a [Segment],
    /// Seen by all segments; in the order of the sequences.
    pub(super) prefixes: &'a [Arc<Prefix<S>>],
    /// For the positions of all segments, which have one regime.
    pub(super) turns: &'a Turns,
}

/// Keys and values of one block that a query sees.
#[derive(Debug, Clone)]
pub(super) struct Visible<'a, S> {
    pub(super) store: &'a S,
    pub(super) block: Block,
    /// Which of the block's positions.
    pub(super) keys: Range<usize>,
    /// Position in the sequence of the first of them.
    pub(super) position: usize,
}

impl<S> Pass<'_, S> {
    /// Lists what a query sees, in the order of the sequence, with a limit on how many keys.
    pub(super) fn visible<'b>(
        &'b self,
        store: &'b S,
        query: Query,
        window: Option<usize>,
        visible: &mut Vec<Visible<'b, S>>,
    ) {
        let segment = &self.segments[query.segment];
        let position = query.position(self.segments);
        let first = window.map_or(0, |window| (position + 1).saturating_sub(window));
        visible.clear();
        let mut see = |store: &'b S, block, len: usize, start: usize| {
            let hidden = first.saturating_sub(start).min(len);
            if hidden < len {
                let position = start + hidden;
                visible.push(Visible { store, block, keys: hidden..len, position });
            }
        };
        for prefix in self.prefixes {
            see(&prefix.store, prefix.block, prefix.len, prefix.position);
        }
        for ancestor in &segment.ancestors {
            see(store, ancestor.block, ancestor.len, ancestor.position);
        }
        let own = segment.held + query.index + 1;
        see(store, segment.block, own, segment.position);
    }
}
