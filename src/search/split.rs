//! Which items a search sees and which are kept for the final exam.
//!
//! Each task is divided on its own, so that both sets have the same mix of tasks. Items are ordered
//! by a digest of (seed, task, index), and the first of them are kept: what happens to one task does
//! not depend on the others, on the platform or on a random generator's version. Items that are the
//! same stay together: an item that the search has seen is no exam.

use indexmap::IndexMap;
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
    /// Divides the items of `task`, of which there is one for each of `fingerprints`; those with
    /// equal fingerprints come into the same set. The share `fraction`, in `0..1`, is kept for
    /// validation, rounded to whole items but so that neither set is empty unless `fraction` is 0;
    /// fewer where a group of equal items would be too many.
    pub fn new(
        task: &str,
        fingerprints: &[String],
        fraction: f64,
        seed: u64,
    ) -> Result<Self, SearchError> {
        let n_items = fingerprints.len();
        let mut groups: IndexMap<&str, Vec<usize>> = IndexMap::new();
        for (item, fingerprint) in fingerprints.iter().enumerate() {
            groups.entry(fingerprint).or_default().push(item);
        }
        let too_few = || SearchError::TooFewItems { task: task.to_owned(), n_items: groups.len() };
        if fraction <= 0.0 {
            let search: Vec<_> = (0..n_items).collect();
            return if search.is_empty() {
                Err(too_few())
            } else {
                Ok(Self { search, validation: Vec::new() })
            };
        }
        if groups.len() < 2 {
            return Err(too_few());
        }
        let kept = ((n_items as f64 * fraction).round() as usize).clamp(1, n_items - 1);
        let mut order: Vec<Vec<usize>> = groups.into_values().collect();
        order.sort_by_cached_key(|group| position(task, group[0], seed));
        // Where every group is larger than what is to be kept, the first of the smallest is kept.
        let smallest = order.iter().map(Vec::len).min().unwrap_or(0);
        let kept = kept.max(smallest);
        let (mut search, mut validation) = (Vec::new(), Vec::new());
        for group in order {
            if validation.len() + group.len() <= kept {
                validation.extend(group);
            } else {
                search.extend(group);
            }
        }
        search.sort_unstable();
        validation.sort_unstable();
        Ok(Self { search, validation })
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

    /// Fingerprints of so many items, all different.
    fn different(n_items: usize) -> Vec<String> {
        (0..n_items).map(|item| item.to_string()).collect()
    }

    proptest! {
        #[test]
        fn every_item_is_in_exactly_one_set(
            n_items in 2usize..300, fraction in 0.0f64..1.0, seed: u64,
        ) {
            let items = different(n_items);
            let split = ItemSplit::new("task", &items, fraction, seed).unwrap();
            let mut all = [split.search.clone(), split.validation.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..n_items).collect::<Vec<_>>());
            prop_assert!(!split.search.is_empty());
            prop_assert!(fraction == 0.0 || !split.validation.is_empty());
            let expected = n_items as f64 * fraction;
            prop_assert!((split.validation.len() as f64 - expected).abs() <= 1.0);
            prop_assert_eq!(ItemSplit::new("task", &items, fraction, seed).unwrap(), split);
        }
    }

    proptest! {
        #[test]
        fn equal_items_are_in_the_same_set(
            kinds in prop::collection::vec(0u8..12, 2..60), fraction in 0.01f64..0.99, seed: u64,
        ) {
            let items: Vec<String> = kinds.iter().map(u8::to_string).collect();
            let Ok(split) = ItemSplit::new("task", &items, fraction, seed) else {
                prop_assert!(kinds.iter().all(|kind| *kind == kinds[0]));
                return Ok(());
            };
            prop_assert_eq!(split.search.len() + split.validation.len(), items.len());
            prop_assert!(!split.search.is_empty() && !split.validation.is_empty());
            for &item in &split.search {
                prop_assert!(split.validation.iter().all(|&other| items[other] != items[item]));
            }
        }
    }

    #[test]
    fn seeds_and_tasks_divide_differently() {
        let split =
            |task: &str, seed| ItemSplit::new(task, &different(100), 0.5, seed).unwrap().validation;
        assert_ne!(split("a", 0), split("a", 1));
        assert_ne!(split("a", 0), split("b", 0));
        let shared = split("a", 0).iter().filter(|item| split("b", 0).contains(item)).count();
        assert!((15..35).contains(&shared), "independent halves share a quarter, not {shared}");
    }

    #[test]
    fn one_item_cannot_be_divided() {
        let error = ItemSplit::new("tiny", &different(1), 0.5, 0).unwrap_err();
        assert!(error.to_string().starts_with("task `tiny` has 1 different items"), "{error}");
        assert_eq!(ItemSplit::new("tiny", &different(1), 0.0, 0).unwrap().search, [0]);
    }
}
