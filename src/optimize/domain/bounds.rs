//! The unit interval as the image of the whole line.
//!
//! Candidates are drawn on an unbounded line and folded into [0, 1] by a function that is smooth,
//! leaves the inner 90 % alone and reaches both ends. With margin a = 1/20:
//!
//! ```text
//! r in [−a, a]         →  (r + a)² / 4a          a parabola that meets the end with slope 0
//! r in [a, 1−a]        →  r
//! r in [1−a, 1+a]      →  1 − (1 + a − r)² / 4a
//! outside [−a, 1+a]    →  mirrored back, period 2 (1 + 2a)
//! ```
//!
//! Clipping or resampling instead would shrink the step size too early when the optimum lies on
//! the boundary, where a merge's weights of 0 and densities of 1 are.

/// Width of the zone at each end in which the fold is curved.
const MARGIN: f64 = 1.0 / 20.0;

/// The point of [0, 1] that `raw` stands for. `raw` is finite.
pub(super) fn fold(raw: f64) -> f64 {
    let width = 1.0 + 2.0 * MARGIN;
    let mut r = raw;
    if !(-MARGIN..=1.0 + MARGIN).contains(&r) {
        let offset = (r + MARGIN).rem_euclid(2.0 * width);
        r = if offset > width { 2.0 * width - offset } else { offset } - MARGIN;
    }
    let folded = if r < MARGIN {
        (r + MARGIN) * (r + MARGIN) / (4.0 * MARGIN)
    } else if r > 1.0 - MARGIN {
        1.0 - (1.0 + MARGIN - r) * (1.0 + MARGIN - r) / (4.0 * MARGIN)
    } else {
        r
    };
    folded.clamp(0.0, 1.0)
}

/// The point next to the inner 90 % that [`fold`] maps to `x`, which lies in [0, 1].
pub(super) fn unfold(x: f64) -> f64 {
    if x < MARGIN {
        2.0 * (MARGIN * x).sqrt() - MARGIN
    } else if x > 1.0 - MARGIN {
        1.0 + MARGIN - 2.0 * (MARGIN * (1.0 - x)).sqrt()
    } else {
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reaches_the_ends_and_leaves_the_middle_alone() {
        assert_eq!(fold(-MARGIN), 0.0);
        assert_eq!(fold(1.0 + MARGIN), 1.0);
        for x in [MARGIN, 0.3, 0.5, 1.0 - MARGIN] {
            assert_eq!(fold(x), x);
            assert_eq!(unfold(x), x);
        }
    }

    #[test]
    fn mirrors_at_the_ends() {
        let width = 1.0 + 2.0 * MARGIN;
        for r in [0.01, 0.4, 0.97] {
            assert!((fold(-2.0 * MARGIN - r) - fold(r)).abs() < 1e-12);
            assert!((fold(r + 2.0 * width) - fold(r)).abs() < 1e-12);
        }
    }

    #[test]
    fn is_smooth_where_the_pieces_meet() {
        let slope = |r: f64| (fold(r + 1e-7) - fold(r - 1e-7)) / 2e-7;
        for r in [MARGIN, 1.0 - MARGIN] {
            assert!((slope(r) - 1.0).abs() < 1e-5);
        }
        for r in [-MARGIN, 1.0 + MARGIN, 1.0 + MARGIN + 2.2] {
            assert!(slope(r).abs() < 1e-5);
        }
    }

    proptest! {
        #[test]
        fn stays_inside(raw in -1e32..1e32_f64) {
            prop_assert!((0.0..=1.0).contains(&fold(raw)));
        }

        #[test]
        fn unfold_is_its_inverse(x in 0.0..=1.0_f64) {
            prop_assert!((fold(unfold(x)) - x).abs() < 1e-15);
        }
    }
}
