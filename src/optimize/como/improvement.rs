//! What a point adds to a front.
//!
//! The uncrowded hypervolume improvement (Touré et al. 2019, <https://arxiv.org/abs/1904.08823>):
//! the area that the point adds, or, where it adds none, minus its distance from where it would.

use crate::optimize::population::hypervolume;

/// Larger is better. `front` may hold points that are not on it.
pub(super) fn improvement(point: [f64; 2], front: &[[f64; 2]], reference: [f64; 2]) -> f64 {
    let inside = |p: &[f64; 2]| p[0] < reference[0] && p[1] < reference[1];
    let mut front: Vec<[f64; 2]> = front.iter().copied().filter(inside).collect();
    front.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    let mut ceiling = f64::INFINITY;
    front.retain(|p| {
        let stays = p[1] < ceiling;
        if stays {
            ceiling = p[1];
        }
        stays
    });

    let is_beaten = front.iter().any(|p| p[0] <= point[0] && p[1] <= point[1]);
    if !is_beaten && inside(&point) {
        let area = |extra: Option<&[f64; 2]>| {
            hypervolume(front.iter().chain(extra).map(|p| &p[..]), reference)
        };
        return area(Some(&point)) - area(None);
    }
    -distance(point, &front, reference)
}

/// How far a point has to go until nothing on the front beats it and it beats the reference point.
/// `front` ascends in the first objective and descends in the second.
fn distance(point: [f64; 2], front: &[[f64; 2]], reference: [f64; 2]) -> f64 {
    // The boundary is a staircase: between neighbours of the front lie corners that both would have
    // to be passed at.
    let first = [f64::NEG_INFINITY, reference[1]];
    let last = [reference[0], f64::NEG_INFINITY];
    let left = std::iter::once(&first).chain(front);
    let right = front.iter().chain(std::iter::once(&last));
    left.zip(right)
        .map(|(left, right)| {
            let beyond = |k: usize, limit: f64| (point[k] - limit).max(0.0);
            let (x, y) = (beyond(0, right[0]), beyond(1, left[1]));
            (x * x + y * y).sqrt()
        })
        .fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRONT: [[f64; 2]; 3] = [[1.0, 3.0], [2.0, 2.0], [2.5, 2.5]];
    const REFERENCE: [f64; 2] = [4.0, 4.0];

    fn of(point: [f64; 2]) -> f64 {
        improvement(point, &FRONT, REFERENCE)
    }

    #[test]
    fn is_the_area_added() {
        assert_eq!(of([3.0, 1.0]), 1.0);
        assert_eq!(of([1.5, 2.5]), 0.25);
        assert_eq!(of([0.0, 0.0]), 16.0 - 5.0);
        assert_eq!(improvement([3.0, 3.0], &[], REFERENCE), 1.0);
    }

    #[test]
    fn is_the_distance_where_nothing_is_added() {
        assert_eq!(of([2.0, 2.0]), 0.0);
        assert_eq!(of([1.5, 3.5]), -0.5);
        assert_eq!(of([3.0, 3.0]), -1.0);
        assert_eq!(of([5.0, 1.0]), -1.0);
        assert_eq!(of([7.0, 8.0]), -(3.0_f64 * 3.0 + 6.0 * 6.0).sqrt());
        assert_eq!(improvement([7.0, 8.0], &[], REFERENCE), -5.0);
    }
}
