//! What the fuzz targets promise, on the committed corpus and on thousands of mutations of it.
//!
//! The targets need a nightly compiler and an afternoon; this keeps their corpus true in a second.

#[path = "../fuzz/properties/adapter_config.rs"]
mod adapter_config;
#[path = "../fuzz/properties/merge_config.rs"]
mod merge_config;
#[path = "../fuzz/properties/pickle.rs"]
mod pickle;
#[path = "../fuzz/properties/safetensors.rs"]
mod safetensors;
#[path = "../fuzz/properties/task_data.rs"]
mod task_data;
#[path = "../fuzz/properties/tokenizer.rs"]
mod tokenizer;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mergekit::checkpoint::Checkpoint;
use mergekit::config::MergeConfig;
use mergekit::tokenizer::TokenizerFile;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Names and contents of the seeds of one target.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(directory).unwrap();
    let mut seeds: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

/// Changes a few bytes, moves some, or mixes in some of another seed.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut ChaCha8Rng) {
    const TELLING: [&[u8]; 12] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"\"",
        b"-1",
        b"0",
        b"\xff",
        b"18446744073709551615",
        b"&a",
        b"*a",
    ];
    for _ in 0..rng.random_range(1..=3) {
        let at = rng.random_range(0..=bytes.len());
        let end = (at + rng.random_range(0..=8)).min(bytes.len());
        match rng.random_range(0..5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let part = bytes[at..end].to_vec();
                let to = rng.random_range(0..=bytes.len());
                drop(bytes.splice(to..to, part));
            }
            3 => drop(
                bytes.splice(at..end, TELLING[rng.random_range(0..TELLING.len())].iter().copied()),
            ),
            _ => drop(bytes.splice(at.., other[at.min(other.len())..].iter().copied())),
        }
    }
}

/// Checks every seed of `target`, and `n_mutations` of each.
fn run(target: &str, n_mutations: u64, check: impl Fn(&[u8])) {
    let seeds = corpus(target);
    for (index, (name, seed)) in seeds.iter().enumerate() {
        for mutation in 0..=n_mutations {
            let mut rng = ChaCha8Rng::seed_from_u64(mutation);
            let mut bytes = seed.clone();
            if mutation > 0 {
                let other = (index + rng.random_range(0..seeds.len())) % seeds.len();
                mutate(&mut bytes, &seeds[other].1, &mut rng);
            }
            let result = catch_unwind(AssertUnwindSafe(|| check(&bytes)));
            assert!(
                result.is_ok(),
                "{target}/{name}, mutation {mutation}: {:?}",
                bytes.escape_ascii()
            );
        }
    }
}

#[test]
fn configs_are_refused_or_written_and_read_back() {
    run("merge_config", 100, |bytes| merge_config::check(&String::from_utf8_lossy(bytes)));
}

#[test]
fn safetensors_files_are_refused_or_read_whole() {
    run("safetensors", 40, safetensors::check);
}

#[test]
fn pytorch_files_are_refused_or_read_whole() {
    run("pickle", 40, pickle::check);
}

#[test]
fn configs_of_adapters_are_refused_or_every_element_is_read() {
    run("adapter_config", 40, |bytes| {
        adapter_config::check(bytes);
    });
}

#[test]
fn data_of_tasks_are_refused_or_read() {
    run("task_data", 40, |bytes| task_data::check_data("data.jsonl", bytes));
    run("task_csv", 40, |bytes| task_data::check_data("data.csv", bytes));
    run("task_gzip", 40, |bytes| task_data::check_data("data.jsonl.gz", bytes));
    run("task_parquet", 40, |bytes| task_data::check_data("data.parquet", bytes));
}

#[test]
fn what_stands_for_data_sets_and_functions_is_refused_or_read() {
    run("dataset_mapping", 60, task_data::check_mapping);
    run("functions", 60, task_data::check_functions);
}

#[test]
fn the_corpus_has_sound_and_broken_seeds() {
    let is_config = |(name, bytes): &(String, Vec<u8>)| {
        let text = std::str::from_utf8(bytes).unwrap();
        let result = MergeConfig::parse(text, Path::new("merge.yml"));
        // Revisions are refused later than configs are read; all else that is sound is accepted.
        let is_sound = !name.starts_with("broken") && !["empty.yml", "list.yml"].contains(&&**name);
        assert_eq!(result.is_ok(), is_sound, "{name}: {result:?}");
        is_sound
    };
    assert!(corpus("merge_config").iter().filter(|seed| is_config(seed)).count() >= 10);

    let directory = tempfile::tempdir().unwrap();
    let is_file = |(name, bytes): &(String, Vec<u8>)| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        Checkpoint::open_file(&path).is_ok()
    };
    let sound: Vec<_> =
        corpus("safetensors").into_iter().filter(is_file).map(|(name, _)| name).collect();
    let expected = [
        "every-type",
        "metadata",
        "names",
        "nan-and-infinity",
        "no-axes-and-empty",
        "no-tensors",
        "reversed-order",
    ];
    assert_eq!(sound, expected);

    for seed in corpus("pickle") {
        assert_eq!(!is_file(&seed), seed.0.starts_with("broken"), "{}", seed.0);
    }

    for (name, bytes) in corpus("adapter_config") {
        assert_eq!(adapter_config::check(&bytes), !name.starts_with("broken"), "{name}");
    }
}

#[test]
fn tokenizers_keep_their_promises() {
    run("tokenizer", 2000, tokenizer::check);
    for (name, seed) in corpus("tokenizer") {
        assert!(TokenizerFile::parse(&seed, PathBuf::new()).is_ok(), "{name}");
    }
}
