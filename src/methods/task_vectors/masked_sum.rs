//! The apply pass: sparse task vectors of all models, added to the base, whole or where their signs agree.

use std::ops::Range;

use super::super::sparsify::{BLOCK, Mask, subtract};
use super::super::{Apply, Chunk, Granularity};
use crate::kernels::simd::{Aligned, vectorized};

/// base + scale · Σ sparse task vectors.
pub(super) struct MaskedSum {
    pub(super) models: Vec<MaskedModel>,
    /// Whether only those elements count whose sign is that of the sum of all.
    pub(super) consensus: bool,
    /// Whether agreed task vectors are divided by the weights that agreed.
    pub(super) normalize: bool,
    /// Factor of the sum, λ and what normalizes without sign consensus.
    pub(super) scale: f32,
}

pub(super) struct MaskedModel {
    pub(super) mask: Mask,
    /// Factor of the masked task vector: the weight, and what restores the L1 norm.
    pub(super) factor: f32,
    pub(super) weight: f32,
}

impl Apply for MaskedSum {
    fn granularity(&self) -> Granularity {
        match self.models.iter().any(|model| model.mask.needs_rows()) {
            true => Granularity::Row,
            false => Granularity::Element,
        }
    }

    fn apply(&self, chunk: &Chunk<'_>, out: &mut [f32]) {
        // Empty, and so nothing is allocated, for all rules but one.
        let row_flags = match self.granularity() {
            Granularity::Element => Vec::new(),
            Granularity::Row => self.row_flags(chunk),
        };
        vectorized(
            #[inline(always)]
            || match (self.consensus, self.normalize) {
                (false, _) => self.add(chunk, &row_flags, out),
                (true, false) => self.agree::<false>(chunk, &row_flags, out),
                (true, true) => self.agree::<true>(chunk, &row_flags, out),
            },
        );
    }
}

impl MaskedSum {
    fn row_flags(&self, chunk: &Chunk<'_>) -> Vec<Vec<u8>> {
        let models = self.models.iter().enumerate();
        models.map(|(input, model)| model.mask.row_flags(chunk, input)).collect()
    }

    /// Adds the models' task vectors to the base.
    #[inline(always)]
    fn add(&self, chunk: &Chunk<'_>, row_flags: &[Vec<u8>], out: &mut [f32]) {
        let mut buffers = Buffers::new();
        for (range, base, sums) in blocks(chunk, out) {
            sums.fill(0.0);
            self.for_kept(
                (chunk, row_flags, range, base),
                &mut buffers,
                #[inline(always)]
                |_, model, kept| {
                    for (sum, kept) in sums.iter_mut().zip(kept) {
                        *sum += model.factor * kept;
                    }
                },
            );
            for (sum, base) in sums.iter_mut().zip(base) {
                *sum = base + self.scale * *sum;
            }
        }
    }

    /// Adds those parts of the models' task vectors to the base that agree with the sign of their sum.
    #[inline(always)]
    fn agree<const NORMALIZE: bool>(
        &self,
        chunk: &Chunk<'_>,
        row_flags: &[Vec<u8>],
        out: &mut [f32],
    ) {
        let (mut buffers, mut votes) = (Buffers::new(), Votes::new());
        for (range, base, sums) in blocks(chunk, out) {
            sums.fill(0.0);
            self.for_kept(
                (chunk, row_flags, range, base),
                &mut buffers,
                #[inline(always)]
                |index, model, kept| match index {
                    0 => votes.count::<NORMALIZE, true>(model, kept, sums),
                    _ => votes.count::<NORMALIZE, false>(model, kept, sums),
                },
            );
            votes.add_to::<NORMALIZE>(base, self.scale, sums);
        }
    }

    /// Calls `visit` with the index of every model in turn, the model and its sparse task vector, in one
    /// block of a chunk.
    #[inline(always)]
    fn for_kept(
        &self,
        (chunk, row_flags, range, base): (&Chunk<'_>, &[Vec<u8>], Range<usize>, &[f32]),
        buffers: &mut Buffers,
        mut visit: impl FnMut(usize, &MaskedModel, &[f32]),
    ) {
        let (delta, kept) = (&mut buffers.delta[..range.len()], &mut buffers.kept[..range.len()]);
        for (index, (model, input)) in self.models.iter().zip(chunk.inputs).enumerate() {
            subtract(&input[range.clone()], base, delta);
            let flags = row_flags.get(index).and_then(|flags| flags.get(range.clone()));
            let start = chunk.start + range.start;
            model.mask.apply(start, flags.unwrap_or_default(), delta, kept);
            visit(index, model, kept);
        }
    }
}

/// Consecutive parts of a chunk: where they lie in it, the base, and the output.
#[inline(always)]
fn blocks<'a>(
    chunk: &Chunk<'a>,
    out: &'a mut [f32],
) -> impl Iterator<Item = (Range<usize>, &'a [f32], &'a mut [f32])> {
    let base = chunk.base.expect("the method has a base");
    let blocks = base.chunks(BLOCK).zip(out.chunks_mut(BLOCK)).enumerate();
    blocks.map(|(index, (base, out))| {
        let start = index * BLOCK;
        (start..start + base.len(), base, out)
    })
}

/// Memory for one block of one task vector, before and after masking.
struct Buffers {
    delta: Aligned<f32, BLOCK>,
    kept: Aligned<f32, BLOCK>,
}

impl Buffers {
    #[inline(always)]
    fn new() -> Self {
        Self { delta: Aligned([0.0; BLOCK]), kept: Aligned([0.0; BLOCK]) }
    }
}

/// The parts of task vectors with either sign, for each element of a block.
///
/// They are summed apart, so that no task vector is needed twice. A zero has no sign and agrees with
/// nobody.
struct Votes {
    positive: Aligned<f32, BLOCK>,
    negative: Aligned<f32, BLOCK>,
    /// Sums of the weights of those that are positive.
    positive_weights: Aligned<f32, BLOCK>,
    negative_weights: Aligned<f32, BLOCK>,
}

impl Votes {
    #[inline(always)]
    fn new() -> Self {
        let [positive, negative, positive_weights, negative_weights] =
            [const { Aligned([0.0; BLOCK]) }; 4];
        Self { positive, negative, positive_weights, negative_weights }
    }

    /// Adds a model's weighted task vector to `sums`, and each of its elements to the votes; the first
    /// model's replaces what was there.
    #[inline(always)]
    fn count<const NORMALIZE: bool, const FIRST: bool>(
        &mut self,
        model: &MaskedModel,
        kept: &[f32],
        sums: &mut [f32],
    ) {
        let add = |total: &mut f32, value: f32| *total = if FIRST { value } else { *total + value };
        let votes = self.positive.iter_mut().zip(&mut self.negative);
        let weights = self.positive_weights.iter_mut().zip(&mut self.negative_weights);
        for ((sum, kept), (votes, weights)) in sums.iter_mut().zip(kept).zip(votes.zip(weights)) {
            let delta = model.factor * kept;
            *sum += delta;
            add(votes.0, if delta > 0.0 { delta } else { 0.0 });
            add(votes.1, if delta < 0.0 { delta } else { 0.0 });
            if NORMALIZE {
                add(weights.0, if delta > 0.0 { model.weight } else { 0.0 });
                add(weights.1, if delta < 0.0 { model.weight } else { 0.0 });
            }
        }
    }

    /// Replaces `sums` by the base and what agrees with them.
    #[inline(always)]
    fn add_to<const NORMALIZE: bool>(&self, base: &[f32], scale: f32, sums: &mut [f32]) {
        let votes = self.positive.iter().zip(&self.negative);
        let weights = self.positive_weights.iter().zip(&self.negative_weights);
        for ((sum, base), (votes, weights)) in sums.iter_mut().zip(base).zip(votes.zip(weights)) {
            // Bits are masked, since the compiler would rather choose between addresses.
            let mask = 0u32.wrapping_sub(u32::from(*sum >= 0.0));
            let choose = |positive: f32, negative: f32| {
                f32::from_bits(positive.to_bits() & mask | negative.to_bits() & !mask)
            };
            let mut agreed = choose(*votes.0, *votes.1);
            if NORMALIZE {
                let divisor = choose(*weights.0, *weights.1);
                agreed /= if divisor == 0.0 { 1.0 } else { divisor };
            }
            // A sum that is not a number must not be hidden by an empty vote.
            let agreed = if sum.is_nan() { *sum } else { agreed };
            *sum = base + scale * agreed;
        }
    }
}
