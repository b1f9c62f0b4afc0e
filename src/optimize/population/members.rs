//! The points that a population consists of.

use serde::{Deserialize, Serialize};

use crate::optimize::Status;
use crate::optimize::domain::Domain;
use crate::optimize::generational::Told;

/// A point and its values; none if it is infeasible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Member {
    pub(super) shares: Vec<f64>,
    pub(super) values: Option<Vec<f64>>,
}

impl Told<'_> {
    /// The candidate as a member.
    pub(super) fn member(&self) -> Member {
        Member { shares: self.raw.to_vec(), values: self.values.map(<[f64]>::to_vec) }
    }
}

impl Member {
    /// What a search for the smallest first value sorts by.
    pub(super) fn key(&self) -> f64 {
        self.values.as_ref().map_or(f64::INFINITY, |values| values[0])
    }

    pub(super) fn is_sound(&self, n: usize, n_objectives: usize) -> bool {
        self.shares.len() == n
            && self.shares.iter().all(|share| (0.0..=1.0).contains(share))
            && self.values.as_ref().is_none_or(|values| {
                values.len() == n_objectives && values.iter().all(|value| value.is_finite())
            })
    }
}

/// Describes a search by the mean and the standard deviations of its population; before there is
/// one, by those of uniform draws.
pub(super) fn describe<'a>(
    domain: &Domain,
    members: impl Iterator<Item = &'a Member> + Clone,
    status: &mut Status,
) {
    let n = domain.dimension();
    let count = members.clone().count() as f64;
    let (mut mean, mut deviations) = (vec![0.5; n], vec![(1.0_f64 / 12.0).sqrt(); n]);
    if count > 0.0 {
        for i in 0..n {
            mean[i] = members.clone().map(|member| member.shares[i]).sum::<f64>() / count;
            let squares = members.clone().map(|member| (member.shares[i] - mean[i]).powi(2));
            deviations[i] = (squares.sum::<f64>() / count).sqrt();
        }
    }
    status.sigma = deviations.iter().sum::<f64>() / n as f64;
    status.mean = domain.point_at(&mean);
    status.deviations = domain.per_variable(&deviations);
}
