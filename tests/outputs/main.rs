//! What `mergekit merge` leaves behind: that it is complete and exact, and can be checked.

#[path = "../support/tiny.rs"]
mod tiny;

mod files;
mod locks;
mod mixed_inputs;
mod pickles;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use mergekit::checkpoint::{Checkpoint, TensorSource};
use mergekit::kernels::dtype::DType;
use serde_json::Value;
use tempfile::TempDir;

/// A directory with models and merge configs, where the program runs.
struct Place {
    directory: TempDir,
}

/// How a run ended.
struct Outcome {
    code: Option<i32>,
    stderr: String,
}

impl Place {
    /// A place with the Llamas `base`, `a` and `b` in float32, of two layers.
    fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        for (seed, name) in (0..).zip(["base", "a", "b"]) {
            let tensors = tiny::llama(2, 6, DType::F32);
            tiny::write_model(&place.path(name), 2, tensors, noise(seed));
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// `mergekit merge` with these arguments.
    fn run(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::cargo_bin("mergekit").unwrap();
        let output =
            command.current_dir(&self.directory).arg("merge").args(arguments).output().unwrap();
        Outcome { code: output.status.code(), stderr: String::from_utf8(output.stderr).unwrap() }
    }

    /// Merges `config` into `out`, which has to work.
    #[track_caller]
    fn merge(&self, config: &str, out: &str, options: &[&str]) -> String {
        self.write("merge.yml", config);
        let outcome = self.run(&[&["merge.yml", out], options].concat());
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stderr
    }

    /// Runs what has to be refused, without a trace of an output `out`, and returns what was said.
    #[track_caller]
    fn refused(&self, arguments: &[&str], out: &str) -> String {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
        let left: Vec<_> =
            names(self.directory.path()).into_iter().filter(|name| name.starts_with(out)).collect();
        assert!(left.is_empty(), "{left:?}");
        outcome.stderr
    }
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Values between -1 and 1 that depend on seed, tensor and element.
fn noise(seed: u32) -> impl Fn(&str, usize) -> f32 {
    move |name, element| {
        let mut hash = seed.wrapping_mul(0x9e37_79b9) ^ element as u32;
        for byte in name.bytes() {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
        hash ^= hash >> 15;
        hash = hash.wrapping_mul(0x85eb_ca6b);
        (hash >> 8) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// The values of a tensor.
fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let mut values = vec![0.0; checkpoint.tensors()[name].elements()];
    checkpoint.read_into(name, 0, &mut values).unwrap();
    values
}

const LINEAR: &str = "\
merge_method: linear
models:
- model: base
  parameters: {weight: 0.25}
- model: a
  parameters: {weight: 0.75}
";
