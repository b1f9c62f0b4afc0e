//! Which items a search sees and which are kept for the final exam.
//!
//! Each task is divided on its own, so that both sets have the same mix of tasks. Items are ordered
//! by a digest of (seed, task, index), and the first of them are kept: what happens to one task does
//! not depend on the others, on the platform or on a random generator's version.

use sha2::{Digest, Sha256};

use super::SearchError;

/// The items of one task, each list in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemSplit {
    /// What the search may see.
    pub search: Vec<usize>,
    /// What only the closing table uses; empty when the fraction is 0.
    pub validation: Vec<usize>,
}

impl ItemSplit {
    /// Divides the items `0 .. n_items` of `task`. The share `fraction`, in `0..1`, is kept for
    /// validation, rounded to whole items but so that neither set is empty unless `fraction` is 0.
    pub fn new(task: &str, n_items: usize, fraction: f64, seed: u64) -> Result<Self, SearchError> {
        let too_few = || SearchError::TooFewItems { task: task.to_owned(), n_items };
        if fraction <= 0.0 {
            let search: Vec<_> = (0..n_items).collect();
            return if search.is_empty() {
                Err(too_few())
            } else {
                Ok(Self { search, validation: Vec::new() })
            };
        }
        if n_items < 2 {
            return Err(too_few());
        }
        let kept = ((n_items as f64 * fraction).round() as usize).clamp(1, n_items - 1);
        let mut order: Vec<_> = (0..n_items).collect();
        order.sort_by_cached_key(|&item| position(task, item, seed));
        let mut search = order.split_off(kept);
        search.sort_unstable();
        order.sort_unstable();
        Ok(Self { search, validation: order })
    }
}

/// Where an item stands in the order.
fn position(task: &str, item: usize, seed: u64) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update((item as u64).to_le_bytes());
    hash.update(task.as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_item_is_in_exactly_one_set(
            n_items in 2usize..300, fraction in 0.0f64..1.0, seed: u64,
        ) {
            let split = ItemSplit::new("task", n_items, fraction, seed).unwrap();
            let mut all = [split.search.clone(), split.validation.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..n_items).collect::<Vec<_>>());
            prop_assert!(!split.search.is_empty());
            prop_assert!(fraction == 0.0 || !split.validation.is_empty());
            let expected = n_items as f64 * fraction;
            prop_assert!((split.validation.len() as f64 - expected).abs() <= 1.0);
            prop_assert_eq!(ItemSplit::new("task", n_items, fraction, seed).unwrap(), split);
        }
    }

    #[test]
    fn seeds_and_tasks_divide_differently() {
        let split = |task: &str, seed| ItemSplit::new(task, 100, 0.5, seed).unwrap().validation;
        assert_ne!(split("a", 0), split("a", 1));
        assert_ne!(split("a", 0), split("b", 0));
        let shared = split("a", 0).iter().filter(|item| split("b", 0).contains(item)).count();
        assert!((15..35).contains(&shared), "independent halves share a quarter, not {shared}");
    }

    #[test]
    fn one_item_cannot_be_divided() {
        let error = ItemSplit::new("tiny", 1, 0.5, 0).unwrap_err();
        assert!(error.to_string().starts_with("task `tiny` has 1 items"), "{error}");
        assert_eq!(ItemSplit::new("tiny", 1, 0.0, 0).unwrap().search, [0]);
    }
}
