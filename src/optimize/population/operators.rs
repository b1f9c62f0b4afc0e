//! Crossover and mutation of real-coded genetic algorithms, with bounds.

/// How probable it is that two parents are crossed at all.
const CROSSOVER_PROBABILITY: f64 = 0.9;
/// η_c: the larger, the closer children are to their parents.
const CROSSOVER_INDEX: f64 = 15.0;
/// η_m: the larger, the smaller mutations are.
const MUTATION_INDEX: f64 = 20.0;

/// How many uniform draws [`child`] needs for `n` coordinates.
pub(super) fn draws_per_child(n: usize) -> usize {
    2 + 5 * n
}

/// A child of two parents in [0, 1]ⁿ.
///
/// Simulated binary crossover in half of the coordinates (Deb & Agrawal 1995, bounded as in Deb
/// et al. 2002), then polynomial mutation (Deb & Goyal 1996) in one coordinate on average.
pub(super) fn child(a: &[f64], b: &[f64], uniforms: &[f64]) -> Vec<f64> {
    let n = a.len();
    let (crossed, first) = (uniforms[0] < CROSSOVER_PROBABILITY, uniforms[1] < 0.5);
    let (own, other) = if first { (a, b) } else { (b, a) };
    let mut child = own.to_vec();
    for (i, draws) in uniforms[2..].chunks_exact(5).enumerate().take(n) {
        if crossed && draws[0] < 0.5 {
            let (near, far) = if draws[1] < 0.5 { (own[i], other[i]) } else { (other[i], own[i]) };
            child[i] = crossover(near, far, draws[2]);
        }
        if draws[3] < 1.0 / n as f64 {
            child[i] = mutation(child[i], draws[4]);
        }
    }
    child
}

/// Of the two children that numbers in [0, 1] have, the one next to `own`.
fn crossover(own: f64, other: f64, u: f64) -> f64 {
    let (low, high) = (own.min(other), own.max(other));
    if high - low < 1e-14 {
        return own;
    }
    let room = if own == low { low } else { 1.0 - high };
    let beta = 1.0 + 2.0 * room / (high - low);
    let alpha = 2.0 - libm::pow(beta, -(CROSSOVER_INDEX + 1.0));
    let base = if u <= 1.0 / alpha { u * alpha } else { 1.0 / (2.0 - u * alpha) };
    let spread = libm::pow(base, 1.0 / (CROSSOVER_INDEX + 1.0)) * (high - low);
    let middle = low + high;
    let child = if own == low { middle - spread } else { middle + spread } / 2.0;
    child.clamp(0.0, 1.0)
}

fn mutation(x: f64, u: f64) -> f64 {
    let power = 1.0 / (MUTATION_INDEX + 1.0);
    let step = if u < 0.5 {
        let rest = libm::pow(1.0 - x, MUTATION_INDEX + 1.0);
        libm::pow(2.0 * u + (1.0 - 2.0 * u) * rest, power) - 1.0
    } else {
        let rest = libm::pow(x, MUTATION_INDEX + 1.0);
        1.0 - libm::pow(2.0 * (1.0 - u) + (2.0 * u - 1.0) * rest, power)
    };
    (x + step).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn children_are_as_far_apart_as_their_parents_on_average() {
        let spread = |u| crossover(0.6, 0.4, u) - crossover(0.4, 0.6, u);
        let mean: f64 =
            (0..1000).map(|i| spread((f64::from(i) + 0.5) / 1000.0)).sum::<f64>() / 1000.0;
        assert!((mean - 0.2).abs() < 0.01, "{mean}");
    }

    #[test]
    fn the_middle_draw_mutates_nothing() {
        assert!((mutation(0.3, 0.5) - 0.3).abs() < 1e-15);
        assert!(mutation(0.3, 0.1) < 0.3 && mutation(0.3, 0.9) > 0.3);
    }

    proptest! {
        #[test]
        fn children_stay_inside(
            a in prop::array::uniform4(0.0..=1.0_f64),
            b in prop::array::uniform4(0.0..=1.0_f64),
            uniforms in prop::collection::vec(0.0..1.0_f64, draws_per_child(4)),
        ) {
            let child = child(&a, &b, &uniforms);
            prop_assert!(child.iter().all(|share| (0.0..=1.0).contains(share)));
        }
    }
}
