//! Everything that can go wrong with an optimizer, and what to do about it.

/// Options or a saved state that no optimizer can be made of. Variables are numbered from 0.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptimizerError {
    /// There is nothing to search.
    #[error("there are no variables to search")]
    NoVariables,

    /// Every variable's range is a single point.
    #[error("every variable is fixed: all lower bounds equal their upper bounds")]
    NothingVaries,

    /// The bounds are not in order, not finite, or too far apart for their difference.
    #[error("variable {variable} cannot range from `{low}` to `{high}`")]
    Bounds {
        /// Which variable.
        variable: usize,
        /// Its lower bound.
        low: f64,
        /// Its upper bound.
        high: f64,
    },

    /// A logarithmic range reaches down to zero or below.
    #[error("variable {variable} has a logarithmic scale, but its lower bound is `{low}`")]
    LogarithmOfBound {
        /// Which variable.
        variable: usize,
        /// Its lower bound.
        low: f64,
    },

    /// Values are not ascending numbers, or there are none.
    #[error("variable {variable} needs values in ascending order, each once and at least one")]
    Values {
        /// Which variable.
        variable: usize,
    },

    /// A given point has too few or too many numbers.
    #[error("point {point} has {found} numbers, but there are {expected} variables")]
    PointLength {
        /// Which point, from 0.
        point: usize,
        /// How many numbers it has.
        found: usize,
        /// How many variables there are.
        expected: usize,
    },

    /// A given point is not one of the domain.
    #[error("point {point} has `{value}` for variable {variable}, which is outside of its range")]
    PointOutside {
        /// Which point, from 0.
        point: usize,
        /// Which variable.
        variable: usize,
        /// Its value.
        value: f64,
    },

    /// The start is not a point of the variable's range.
    #[error("variable {variable} cannot start at `{start}`, which is outside of its range")]
    Start {
        /// Which variable.
        variable: usize,
        /// Where it should start.
        start: f64,
    },

    /// The relative initial deviation is out of range.
    #[error("variable {variable} cannot have the initial spread `{spread}`")]
    Spread {
        /// Which variable.
        variable: usize,
        /// The factor on its initial deviation.
        spread: f64,
    },

    /// The initial step size is out of range.
    #[error("the initial step size cannot be `{sigma0}`")]
    Sigma0 {
        /// The initial step size.
        sigma0: f64,
    },

    /// The population is too small to rank, or too large to count.
    #[error("a generation cannot have {population_size} candidates")]
    PopulationSize {
        /// Candidates per generation.
        population_size: usize,
    },

    /// A tolerance is negative or not a number.
    #[error("the tolerance `{name}` cannot be `{value}`")]
    Tolerance {
        /// Which tolerance.
        name: &'static str,
        /// Its value.
        value: f64,
    },

    /// The optimizer draws from ranges.
    #[error("{optimizer} needs a range for every variable, but variable {variable} has none")]
    UnboundedVariable {
        /// The optimizer, as people call it.
        optimizer: &'static str,
        /// Which variable.
        variable: usize,
    },

    /// The optimizer is for another number of objectives.
    #[error("{optimizer} is for 1 objective{}, not for {found}", or_more(*most))]
    Objectives {
        /// The optimizer, as people call it.
        optimizer: &'static str,
        /// How many there are.
        found: usize,
        /// How many it is for at most.
        most: usize,
    },

    /// There are too few kernels.
    #[error("{kernels} kernel cannot approximate a front; there have to be 2 at least")]
    Kernels {
        /// How many there are.
        kernels: usize,
    },

    /// The optimizer cannot learn from outcomes as they come.
    #[error("{optimizer} learns from whole generations only")]
    Pacing {
        /// The optimizer, as people call it.
        optimizer: &'static str,
    },

    /// The optimizer knows only numbers that vary continuously.
    #[error("{optimizer} cannot vary variable {variable}, which has single values")]
    DiscreteVariable {
        /// The optimizer, as people call it.
        optimizer: &'static str,
        /// Which variable.
        variable: usize,
    },

    /// A saved state does not read as one.
    #[error("the saved state of the optimizer is damaged")]
    StateSyntax {
        /// Where it deviates.
        source: serde_json::Error,
    },

    /// A saved state reads well but contradicts itself.
    #[error("the saved state of the optimizer is damaged: {fact}")]
    StateContent {
        /// What cannot be.
        fact: &'static str,
    },

    /// A saved state of another version of this program.
    #[error("the saved state of the optimizer has version {found}; this program reads {expected}")]
    StateVersion {
        /// Its version.
        found: u64,
        /// The version read here.
        expected: u64,
    },

    /// A saved state of another optimizer.
    #[error("the saved state belongs to the optimizer `{found}`")]
    StateAlgorithm {
        /// The optimizer that saved it.
        found: String,
    },
}

impl OptimizerError {
    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Bounds { low, high, .. } if low > high => "swap the bounds",
            Self::Bounds { .. } => "bounds are finite numbers",
            Self::LogarithmOfBound { .. } => "choose a lower bound above 0, or a linear scale",
            Self::Start { .. } => "choose a start between the bounds; both of them are allowed",
            Self::Spread { .. } => "a spread lies between 0.001 and 1000; 1 is the default",
            Self::Sigma0 { .. } => "a good step size is a sixth of the range, 0.1667",
            Self::PopulationSize { .. } => "4 candidates are the fewest that can be ranked",
            Self::Tolerance { .. } => "tolerances are finite numbers from 0 on",
            Self::StateSyntax { .. }
            | Self::StateContent { .. }
            | Self::StateVersion { .. }
            | Self::StateAlgorithm { .. } => "rebuild the state by replaying the journal",
            Self::DiscreteVariable { .. } => "CatCMA with margin searches all kinds of variables",
            Self::NoVariables
            | Self::NothingVaries
            | Self::UnboundedVariable { .. }
            | Self::Values { .. }
            | Self::Objectives { .. }
            | Self::Kernels { .. }
            | Self::Pacing { .. }
            | Self::PointLength { .. }
            | Self::PointOutside { .. } => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether other options would help, as opposed to another saved state.
    pub fn is_users_mistake(&self) -> bool {
        !matches!(
            self,
            Self::StateSyntax { .. }
                | Self::StateContent { .. }
                | Self::StateVersion { .. }
                | Self::StateAlgorithm { .. }
        )
    }
}

fn or_more(most: usize) -> String {
    if most > 1 { format!(" to {most}") } else { String::new() }
}

/// A `tell` that could not be taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TellError {
    /// No candidate with this id is waiting.
    #[error("no candidate with id {0} is waiting for an outcome")]
    UnknownId(u64),
    /// The optimizer was made for another number of objectives.
    #[error("candidate {id} has {found} values, but there are {expected} objectives")]
    Objectives {
        /// The candidate.
        id: u64,
        /// How many values it has.
        found: usize,
        /// How many objectives there are.
        expected: usize,
    },
    /// Minus infinity would win every comparison.
    #[error("the value of candidate {0} is minus infinity")]
    MinusInfinity(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_say_what_to_do() {
        let swapped = OptimizerError::Bounds { variable: 0, low: 1.0, high: 0.0 };
        assert_eq!(swapped.hint().as_deref(), Some("swap the bounds"));
        let infinite = OptimizerError::Bounds { variable: 0, low: 1.0, high: f64::INFINITY };
        assert_eq!(infinite.hint().as_deref(), Some("bounds are finite numbers"));
        assert_eq!(OptimizerError::NothingVaries.hint(), None);
    }

    #[test]
    fn options_are_the_users_and_states_are_not() {
        assert!(OptimizerError::Sigma0 { sigma0: 0.0 }.is_users_mistake());
        assert!(!OptimizerError::StateVersion { found: 2, expected: 1 }.is_users_mistake());
    }
}
