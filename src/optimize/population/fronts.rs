//! What is better with two objectives: fronts, loneliness on them, and the area that they enclose.
//!
//! Deb et al. 2002, NSGA-II, <https://doi.org/10.1109/4235.996017>.

use super::members::Member;
use crate::optimize::record::dominates;

/// By front and, within it, the lonely ones first; those without values last.
pub(super) fn sorted(members: Vec<Member>) -> Vec<Member> {
    let (mut waiting, infeasible): (Vec<Member>, Vec<Member>) =
        members.into_iter().partition(|member| member.values.is_some());
    let mut sorted = Vec::with_capacity(waiting.len() + infeasible.len());
    while !waiting.is_empty() {
        let is_beaten: Vec<bool> =
            waiting.iter().map(|member| waiting.iter().any(|other| beats(other, member))).collect();
        let mut beaten = is_beaten.into_iter();
        let (rest, front): (Vec<Member>, Vec<Member>) =
            waiting.into_iter().partition(|_| beaten.next().unwrap_or_default());
        let crowding = crowding(&front);
        let mut order: Vec<usize> = (0..front.len()).collect();
        order.sort_by(|&a, &b| crowding[b].total_cmp(&crowding[a]));
        let mut front: Vec<Option<Member>> = front.into_iter().map(Some).collect();
        sorted.extend(order.into_iter().filter_map(|index| front[index].take()));
        waiting = rest;
    }
    sorted.extend(infeasible);
    sorted
}

fn beats(a: &Member, b: &Member) -> bool {
    match (&a.values, &b.values) {
        (Some(a), Some(b)) => dominates(a, b),
        _ => false,
    }
}

/// For each member of a front, the length of the gap between its neighbours in each objective, as a
/// share of the front's; infinite at the ends.
fn crowding(front: &[Member]) -> Vec<f64> {
    let mut crowding = vec![0.0; front.len()];
    for objective in 0..2 {
        let value = |index: usize| front[index].values.as_ref().map_or(0.0, |v| v[objective]);
        let mut order: Vec<usize> = (0..front.len()).collect();
        order.sort_by(|&a, &b| value(a).total_cmp(&value(b)));
        let (Some(&first), Some(&last)) = (order.first(), order.last()) else { continue };
        let length = value(last) - value(first);
        crowding[first] = f64::INFINITY;
        crowding[last] = f64::INFINITY;
        for triple in order.windows(3) {
            if length > 0.0 {
                crowding[triple[1]] += (value(triple[2]) - value(triple[0])) / length;
            }
        }
    }
    crowding
}

/// The area between points of two objectives and a reference point: what they beat of the rectangle
/// that it is the worst corner of.
pub fn hypervolume<'a>(points: impl Iterator<Item = &'a [f64]>, reference: [f64; 2]) -> f64 {
    let mut inside: Vec<&[f64]> =
        points.filter(|point| point[0] < reference[0] && point[1] < reference[1]).collect();
    inside.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    let (mut area, mut ceiling) = (0.0, reference[1]);
    for point in inside {
        if point[1] < ceiling {
            area += (reference[0] - point[0]) * (ceiling - point[1]);
            ceiling = point[1];
        }
    }
    area
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(values: [f64; 2]) -> Member {
        Member { shares: vec![0.0], values: Some(values.to_vec()) }
    }

    #[test]
    fn fronts_come_before_loneliness() {
        let members = [[2.0, 2.0], [1.0, 1.9], [0.9, 2.0], [0.0, 3.0], [3.0, 0.0], [4.0, 4.0]];
        let mut members: Vec<Member> = members.map(member).to_vec();
        members.insert(0, Member { shares: vec![0.0], values: None });
        let values: Vec<_> = sorted(members).into_iter().map(|member| member.values).collect();
        let expected =
            [[0.0, 3.0], [3.0, 0.0], [1.0, 1.9], [0.9, 2.0], [2.0, 2.0], [4.0, 4.0]].map(Vec::from);
        assert_eq!(values[..6], expected.map(Some));
        assert_eq!(values[6], None);
    }

    #[test]
    fn area_of_a_staircase() {
        let points: [&[f64]; 5] = [&[1.0, 2.0], &[2.0, 1.0], &[2.0, 2.0], &[5.0, 0.0], &[0.0, 2.5]];
        let area = hypervolume(points.into_iter(), [3.0, 3.0]);
        assert!((area - (3.0 * 0.5 + 2.0 * 0.5 + 1.0)).abs() < 1e-12);
    }
}
