//! Names of tasks that are public test sets.
//!
//! A search that optimises on the test set of a published benchmark makes that benchmark's result
//! worthless. mergekit-evolve refuses such tasks by their name, and the same names count here.

/// How the names of well-known test sets begin.
const PREFIXES: [&str; 13] = [
    "mmlu",
    "hendrycks",
    "agieval",
    "gsm8k",
    "hellaswag",
    "winogrande",
    "arc_",
    "ai2_arc",
    "truthfulqa",
    "bigbench",
    "piqa",
    "openbookqa",
    "leaderboard",
];

/// Whether a task of this name is a well-known test set, which no search should optimise on.
///
/// Training splits, whose names end in `_train`, are not.
pub fn is_benchmark(name: &str) -> bool {
    !name.ends_with("_train") && PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_sets_are_known_by_their_beginning() {
        for name in ["mmlu", "mmlu_pro", "gsm8k", "arc_easy", "leaderboard_ifeval"] {
            assert!(is_benchmark(name), "{name}");
        }
        for name in ["arithmetic", "gsm8k_train", "arcade", "my_mmlu", "MMLU"] {
            assert!(!is_benchmark(name), "{name}");
        }
    }
}
