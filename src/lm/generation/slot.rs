//! A place for one sequence after the other.

use crate::lm::layout::{Block, Segment};
use crate::lm::rotary::{Regime, Rotary, regimes};

/// A place for keys and values, and the sequence that has it.
#[derive(Debug)]
pub(super) struct Slot {
    block: Block,
    sequence: Option<Sequence>,
}

/// A prompt that is being continued.
#[derive(Debug)]
struct Sequence {
    request: usize,
    /// Prompt and answer.
    tokens: Vec<u32>,
    prompt: usize,
    /// How many first tokens the keys and values of other places stand for.
    shared: usize,
    /// How many first tokens have passed through the model, those included.
    fed: usize,
    /// How the rotary embeddings turn what is fed now.
    regimes: Vec<Regime>,
}

impl Slot {
    /// A free slot.
    pub(super) fn new(block: Block) -> Self {
        Self { block, sequence: None }
    }

    pub(super) fn is_free(&self) -> bool {
        self.sequence.is_none()
    }

    /// Takes a prompt, of which the first `shared` tokens have passed through the model.
    pub(super) fn begin(
        &mut self,
        request: usize,
        prompt: &[u32],
        shared: usize,
        rotaries: &[Rotary],
    ) {
        self.sequence = Some(Sequence {
            request,
            tokens: prompt.to_vec(),
            prompt: prompt.len(),
            shared,
            fed: shared,
            regimes: regimes(rotaries, prompt.len()),
        });
    }

    fn sequence(&self) -> &Sequence {
        self.sequence.as_ref().expect("only slots that are not free are asked")
    }

    fn sequence_mut(&mut self) -> &mut Sequence {
        self.sequence.as_mut().expect("only slots that are not free are asked")
    }

    /// How the next tokens are turned; `None` if the slot is free.
    pub(super) fn regimes(&self) -> Option<&[Regime]> {
        self.sequence.as_ref().map(|sequence| sequence.regimes.as_slice())
    }

    /// The request whose answer is written here.
    pub(super) fn request(&self) -> usize {
        self.sequence().request
    }

    /// Tokens that have not passed through the model.
    pub(super) fn waiting(&self) -> usize {
        self.sequence().tokens.len() - self.sequence().fed
    }

    /// Prompt and answer so far.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.sequence().tokens
    }

    /// What has been produced.
    pub(super) fn answer(&self) -> &[u32] {
        &self.sequence().tokens[self.sequence().prompt..]
    }

    /// Adds at most `room` waiting tokens to a pass; also tells whether none is left behind.
    pub(super) fn feed(&mut self, room: usize, pass: &mut Vec<u32>) -> (Segment, bool) {
        let block = self.block;
        let Sequence { tokens, fed, shared, .. } = self.sequence_mut();
        let end = tokens.len().min(*fed + room);
        let start = pass.len();
        pass.extend_from_slice(&tokens[*fed..end]);
        let segment = Segment::continued(block, *fed - *shared, *shared, start..pass.len());
        *fed = end;
        (segment, end == tokens.len())
    }

    /// Adds a token to the answer.
    pub(super) fn push(&mut self, token: u32, rotaries: &[Rotary]) {
        let sequence = self.sequence_mut();
        sequence.tokens.push(token);
        let next = regimes(rotaries, sequence.tokens.len());
        if next != sequence.regimes && rotaries.iter().any(Rotary::restarts) {
            sequence.fed = 0;
        }
        sequence.regimes = next;
    }

    /// Frees the slot and gives its request and answer.
    pub(super) fn finish(&mut self) -> (usize, Vec<u32>) {
        let Sequence { request, mut tokens, prompt, .. } =
            self.sequence.take().expect("only slots that are not free are asked");
        (request, tokens.split_off(prompt))
    }
}
