//! The joint between the search and what it searches: from a genotype to a score.

use super::record::Scores;

/// Turns genotypes into merges and merges into scores. May be called from several threads at once;
/// the results must not depend on how many.
pub trait CandidateScorer: Sync {
    /// What a genotype stands for. Cheap and deterministic.
    fn propose(&self, genotype: &[f64]) -> Proposal;

    /// Makes the merge of a merge config and measures it.
    fn score(&self, config: &str, sets: ItemSets) -> Result<Measurement, ScoreFailure>;
}

/// A genotype in words.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The value of every variable.
    pub values: Vec<f64>,
    /// The merge config as YAML, or why there is none. Two genotypes with the same text are the same
    /// merge and are scored once.
    pub config: Result<String, String>,
}

/// On which items a merge is to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemSets {
    /// On the search items.
    pub search: bool,
    /// On the validation items, if there are any.
    pub validation: bool,
}

impl ItemSets {
    /// What a candidate is scored on.
    pub const SEARCH: Self = Self { search: true, validation: false };
    /// What the winner still has to be scored on.
    pub const VALIDATION: Self = Self { search: false, validation: true };
    /// What the winner is compared with is scored on.
    pub const BOTH: Self = Self { search: true, validation: true };
}

/// A measured merge.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// On the search items, if they were asked for.
    pub search: Option<Scores>,
    /// On the validation items, if they were asked for and there are any.
    pub validation: Option<Scores>,
    /// Seconds spent merging.
    pub merge_seconds: f64,
    /// Seconds spent scoring.
    pub evaluation_seconds: f64,
}

/// Why a merge has no score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScoreFailure {
    /// The merge is at fault: it cannot be made, or its scores are not numbers.
    Infeasible(String),
    /// The machine is at fault: another attempt may succeed.
    Lost(String),
}
