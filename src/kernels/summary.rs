//! What one pass over a tensor tells about its values.

use super::simd::vectorized;

/// Elements that are looked at together: they stay in the first-level cache, and their counts fit
/// into 32 bits.
pub(super) const SUB_BLOCK: usize = 1024;

/// Interleaved partial results, in a fixed order that vector instructions can follow.
pub(super) const LANES: usize = 8;

/// An element type that statistics are computed from: `f32`, or `f64` where `f32` is too narrow.
pub trait Real: Copy + Default + PartialOrd + Into<f64> + Send + Sync {
    /// Whether it is neither NaN nor infinite.
    fn is_finite(self) -> bool;
    /// Whether it is no number.
    fn is_nan(self) -> bool;
}

impl Real for f32 {
    #[inline(always)]
    fn is_finite(self) -> bool {
        self.is_finite()
    }

    #[inline(always)]
    fn is_nan(self) -> bool {
        self.is_nan()
    }
}

impl Real for f64 {
    #[inline(always)]
    fn is_finite(self) -> bool {
        self.is_finite()
    }

    #[inline(always)]
    fn is_nan(self) -> bool {
        self.is_nan()
    }
}

/// Whether all values are finite, without a branch per value.
#[inline(always)]
pub(super) fn all_finite<T: Real>(values: &[T]) -> bool {
    values.iter().fold(true, |all, value| all & value.is_finite())
}

/// Statistics of some elements. Sums and extremes are those of the finite ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Number of finite elements.
    pub finite: u64,
    /// Number of elements equal to zero, of either sign.
    pub zeros: u64,
    /// Number of elements that are no number.
    pub nan: u64,
    /// Number of infinite elements, of either sign.
    pub infinite: u64,
    /// Σ x².
    pub squares: f64,
    /// Least element; infinity when there is none.
    pub least: f64,
    /// Largest element; minus infinity when there is none.
    pub largest: f64,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            finite: 0,
            zeros: 0,
            nan: 0,
            infinite: 0,
            squares: 0.0,
            least: f64::INFINITY,
            largest: f64::NEG_INFINITY,
        }
    }
}

impl Summary {
    /// The statistics of `values`. Adds in a fixed order.
    pub fn of<T: Real>(values: &[T]) -> Self {
        vectorized(
            #[inline(always)]
            || {
                let mut summary = Self::default();
                for block in values.chunks(SUB_BLOCK) {
                    if all_finite(block) {
                        summary.add_finite(block);
                        continue;
                    }
                    let mut finite = [T::default(); SUB_BLOCK];
                    let mut length = 0;
                    for &value in block {
                        if value.is_finite() {
                            finite[length] = value;
                            length += 1;
                        } else if value.is_nan() {
                            summary.nan += 1;
                        } else {
                            summary.infinite += 1;
                        }
                    }
                    summary.add_finite(&finite[..length]);
                }
                summary
            },
        )
    }

    #[inline(always)]
    fn add_finite<T: Real>(&mut self, values: &[T]) {
        let Some(&first) = values.first() else { return };
        let mut squares = [0.0f64; LANES];
        let mut zeros = [0u32; LANES];
        let mut least = [first; LANES];
        let mut largest = [first; LANES];
        let (blocks, rest) = values.as_chunks::<LANES>();
        for block in blocks {
            for lane in 0..LANES {
                let value = block[lane];
                let wide: f64 = value.into();
                squares[lane] += wide * wide;
                zeros[lane] += u32::from(value == T::default());
                least[lane] = if value < least[lane] { value } else { least[lane] };
                largest[lane] = if value > largest[lane] { value } else { largest[lane] };
            }
        }
        for (lane, &value) in rest.iter().enumerate() {
            let wide: f64 = value.into();
            squares[lane] += wide * wide;
            zeros[lane] += u32::from(value == T::default());
            least[lane] = if value < least[lane] { value } else { least[lane] };
            largest[lane] = if value > largest[lane] { value } else { largest[lane] };
        }
        self.finite += values.len() as u64;
        self.zeros += u64::from(zeros.iter().sum::<u32>());
        self.squares += squares.iter().sum::<f64>();
        for lane in 0..LANES {
            self.least = self.least.min(least[lane].into());
            self.largest = self.largest.max(largest[lane].into());
        }
    }

    /// Takes in the statistics of further elements.
    pub fn add(&mut self, other: &Self) {
        self.finite += other.finite;
        self.zeros += other.zeros;
        self.nan += other.nan;
        self.infinite += other.infinite;
        self.squares += other.squares;
        self.least = self.least.min(other.least);
        self.largest = self.largest.max(other.largest);
    }

    /// Number of all elements.
    pub fn elements(&self) -> u64 {
        self.finite + self.nan + self.infinite
    }

    /// L2 norm of the finite elements.
    pub fn norm(&self) -> f64 {
        self.squares.sqrt()
    }

    /// Root mean square of the finite elements, `None` when there are none.
    pub fn rms(&self) -> Option<f64> {
        (self.finite > 0).then(|| (self.squares / self.finite as f64).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(values: &[f32]) -> Summary {
        let finite: Vec<f64> =
            values.iter().filter(|x| x.is_finite()).map(|&x| f64::from(x)).collect();
        Summary {
            finite: finite.len() as u64,
            zeros: values.iter().filter(|&&x| x == 0.0).count() as u64,
            nan: values.iter().filter(|x| x.is_nan()).count() as u64,
            infinite: values.iter().filter(|x| x.is_infinite()).count() as u64,
            squares: finite.iter().map(|x| x * x).sum(),
            least: finite.iter().copied().fold(f64::INFINITY, f64::min),
            largest: finite.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }

    #[track_caller]
    fn check(found: Summary, expected: Summary) {
        let error = (found.squares - expected.squares).abs();
        assert!(error <= 1e-12 * expected.squares, "{} {}", found.squares, expected.squares);
        assert_eq!(Summary { squares: 0.0, ..found }, Summary { squares: 0.0, ..expected });
    }

    fn element() -> impl Strategy<Value = f32> {
        prop_oneof![
            8 => -2.0f32..2.0,
            2 => Just(0.0),
            1 => Just(-0.0),
            1 => any::<f32>(),
            1 => Just(f32::NAN),
            1 => Just(f32::NEG_INFINITY),
        ]
    }

    proptest! {
        #[test]
        fn a_summary_equals_plain_code(values in prop::collection::vec(element(), 0..3000)) {
            let wide: Vec<f64> = values.iter().map(|&x| x.into()).collect();
            let expected = plain(&values);
            check(Summary::of(&values), expected);
            check(Summary::of(&wide), expected);
            let (first, second) = values.split_at(values.len() / 3);
            let mut sum = Summary::of(first);
            sum.add(&Summary::of(second));
            check(sum, expected);
        }
    }

    #[test]
    fn nothing_and_nothing_finite_have_no_extremes() {
        assert_eq!(Summary::of::<f32>(&[]), Summary::default());
        let summary = Summary::of(&[f32::NAN, f32::INFINITY, f32::INFINITY]);
        assert_eq!(summary, Summary { nan: 1, infinite: 2, ..Summary::default() });
        assert_eq!((summary.elements(), summary.norm(), summary.rms()), (3, 0.0, None));
    }
}
