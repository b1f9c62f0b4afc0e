//! What every optimizer notes: outcomes in clean form, the best candidate, the head of its state.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{OptimizerError, Outcome, TellError};

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
    /// The outcome with a finite value, or none at all.
    pub(super) fn cleaned(self, id: u64) -> Result<Self, TellError> {
        match self {
            Self::Scored(f64::NEG_INFINITY) => Err(TellError::MinusInfinity(id)),
            Self::Scored(value) if !value.is_finite() => Ok(Self::Infeasible),
            outcome => Ok(outcome),
        }
    }
}

/// The best scored candidate, whatever the order in which outcomes arrive.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Best(Option<Holder>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Holder {
    id: u64,
    x: Vec<f64>,
    value: f64,
}

impl Best {
    /// Takes in a scored candidate. Of equals, the one asked for first holds the title.
    pub(super) fn consider(&mut self, id: u64, value: f64, x: impl FnOnce() -> Vec<f64>) {
        let beaten = self
            .0
            .as_ref()
            .is_none_or(|holder| value < holder.value || (value == holder.value && id < holder.id));
        if beaten {
            self.0 = Some(Holder { id, x: x(), value });
        }
    }

    /// Whether its point, if there is one, has `n` numbers.
    pub(super) fn has_dimension(&self, n: usize) -> bool {
        self.0.as_ref().is_none_or(|holder| holder.x.len() == n)
    }

    /// Its point and value.
    pub(super) fn get(&self) -> Option<(Vec<f64>, f64)> {
        self.0.as_ref().map(|holder| (holder.x.clone(), holder.value))
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
        told.iter().for_each(|&(id, value)| forwards.consider(id, value, || vec![id as f64]));
        told.iter()
            .rev()
            .for_each(|&(id, value)| backwards.consider(id, value, || vec![id as f64]));
        assert_eq!(forwards, backwards);
        assert_eq!(forwards.get(), Some((vec![1.0], 1.0)));
    }

    #[test]
    fn only_finite_values_count_as_scored() {
        assert_eq!(Outcome::Scored(f64::NAN).cleaned(0), Ok(Outcome::Infeasible));
        assert_eq!(Outcome::Scored(f64::INFINITY).cleaned(0), Ok(Outcome::Infeasible));
        assert_eq!(Outcome::Scored(f64::NEG_INFINITY).cleaned(7), Err(TellError::MinusInfinity(7)));
        assert_eq!(Outcome::Scored(-1.0).cleaned(0), Ok(Outcome::Scored(-1.0)));
        assert_eq!(Outcome::Lost.cleaned(0), Ok(Outcome::Lost));
    }
}
