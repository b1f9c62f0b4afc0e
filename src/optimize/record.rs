//! What every optimizer notes: outcomes in clean form, the best candidate, the head of its state.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{FrontPoint, OptimizerError, Outcome, TellError};

/// Version of the saved states written here.
pub(super) const STATE_VERSION: u64 = 1;

/// The algorithm that saved this state, once its version is known to be ours.
pub(super) fn algorithm(state: &Value) -> Result<&str, OptimizerError> {
    let damaged = |fact| OptimizerError::StateContent { fact };
    let version =
        state.get("version").and_then(Value::as_u64).ok_or(damaged("it has no version"))?;
    if version != STATE_VERSION {
        return Err(OptimizerError::StateVersion { found: version, expected: STATE_VERSION });
    }
    state.get("algorithm").and_then(Value::as_str).ok_or(damaged("it names no algorithm"))
}

/// Checks that this is a state of `expected`.
pub(super) fn expect_algorithm(state: &Value, expected: &str) -> Result<(), OptimizerError> {
    match algorithm(state)? {
        found if found == expected => Ok(()),
        found => Err(OptimizerError::StateAlgorithm { found: found.to_owned() }),
    }
}

impl Outcome {
    /// The outcome with finite values, or none at all.
    pub(super) fn cleaned(self, id: u64, n_objectives: usize) -> Result<Self, TellError> {
        let Some(values) = self.values() else { return Ok(self) };
        if values.len() != n_objectives {
            let (found, expected) = (values.len(), n_objectives);
            return Err(TellError::Objectives { id, found, expected });
        }
        if values.contains(&f64::NEG_INFINITY) {
            return Err(TellError::MinusInfinity(id));
        }
        let finite = values.iter().all(|value| value.is_finite());
        Ok(if finite { self } else { Self::Infeasible })
    }

    /// The values, if there are any.
    pub(super) fn values(&self) -> Option<&[f64]> {
        match self {
            Self::Scored(value) => Some(std::slice::from_ref(value)),
            Self::Multi(values) => Some(values),
            Self::Infeasible | Self::Lost => None,
        }
    }
}

/// Whether `a` is nowhere worse than `b`, and somewhere better.
pub(super) fn dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a <= b) && a != b
}

/// The candidates that no other beats, whatever the order in which outcomes arrive. With one
/// objective it is one at most.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Best(Vec<FrontPoint>);

impl Best {
    /// Takes in a scored candidate. Of equals, the one asked for first stays.
    pub(super) fn consider(&mut self, id: u64, values: &[f64], x: impl FnOnce() -> Vec<f64>) {
        let loses_to = |other: &FrontPoint| {
            dominates(&other.values, values) || (other.values == values && other.id < id)
        };
        if self.0.iter().any(loses_to) {
            return;
        }
        self.0.retain(|other| !dominates(values, &other.values) && other.values != values);
        let position = self.0.partition_point(|other| other.id < id);
        self.0.insert(position, FrontPoint { id, x: x(), values: values.to_vec() });
    }

    /// Whether its points have `n` numbers.
    pub(super) fn has_dimension(&self, n: usize) -> bool {
        self.0.iter().all(|point| point.x.len() == n)
    }

    /// Point and value of the only objective.
    pub(super) fn single(&self) -> Option<(Vec<f64>, f64)> {
        match self.0.as_slice() {
            [point] if point.values.len() == 1 => Some((point.x.clone(), point.values[0])),
            _ => None,
        }
    }

    /// The points, where there are several objectives.
    pub(super) fn front(&self) -> Vec<FrontPoint> {
        self.0.iter().filter(|point| point.values.len() > 1).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_does_not_depend_on_the_order_of_arrival() {
        let told = [(0, 2.0), (1, 1.0), (2, 1.0), (3, 3.0)];
        let mut forwards = Best::default();
        let mut backwards = Best::default();
        told.iter().for_each(|&(id, value)| forwards.consider(id, &[value], || vec![id as f64]));
        told.iter()
            .rev()
            .for_each(|&(id, value)| backwards.consider(id, &[value], || vec![id as f64]));
        assert_eq!(forwards, backwards);
        assert_eq!(forwards.single(), Some((vec![1.0], 1.0)));
    }

    #[test]
    fn a_front_holds_what_nothing_beats() {
        let mut front = Best::default();
        for (id, values) in [[2.0, 2.0], [1.0, 3.0], [2.0, 2.0], [3.0, 3.0], [0.5, 3.0], [4.0, 0.0]]
            .iter()
            .enumerate()
        {
            front.consider(id as u64, values, || vec![0.0]);
        }
        let ids: Vec<u64> = front.front().iter().map(|point| point.id).collect();
        assert_eq!(ids, [0, 4, 5]);
        assert_eq!(front.single(), None);
    }

    #[test]
    fn only_finite_values_count_as_scored() {
        assert_eq!(Outcome::Scored(f64::NAN).cleaned(0, 1), Ok(Outcome::Infeasible));
        assert_eq!(Outcome::Scored(f64::INFINITY).cleaned(0, 1), Ok(Outcome::Infeasible));
        assert_eq!(
            Outcome::Scored(f64::NEG_INFINITY).cleaned(7, 1),
            Err(TellError::MinusInfinity(7))
        );
        assert_eq!(Outcome::Scored(-1.0).cleaned(0, 1), Ok(Outcome::Scored(-1.0)));
        assert_eq!(Outcome::Lost.cleaned(0, 1), Ok(Outcome::Lost));
        let objectives = Outcome::Multi(vec![1.0, 2.0]);
        assert_eq!(objectives.clone().cleaned(0, 2), Ok(objectives.clone()));
        let error = TellError::Objectives { id: 3, found: 2, expected: 1 };
        assert_eq!(objectives.cleaned(3, 1), Err(error));
    }
}
