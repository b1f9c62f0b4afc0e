//! `merge.lock.json`: what a merged model was made of, so that it can be checked and made again.
//!
//! A [`Lock`] has the SHA-256 of the merge config and of every input file, the options that decide the
//! output's bytes, and our version. With these the output is determined, so its own digests are not in
//! there. They would cost another pass over everything that was just written.

mod error;
mod hashing;
mod inputs;
mod known;

use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::WriteOptions;
use crate::checkpoint::WeightFormat;
use crate::kernels::dtype::DType;
use crate::plan::PlanOptions;

pub use error::LockError;
pub(super) use hashing::Hashing;
pub use inputs::{InputFiles, LockedFile, LockedInput};

/// The name of the lock in an output directory.
pub const LOCK_FILE: &str = "merge.lock.json";

/// The version of the file's form. New fields do not change it.
const FORMAT: u64 = 1;

/// The version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a merged model was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    format: u64,
    mergekit: String,
    #[serde(flatten)]
    config: LockedConfig,
    inputs: Vec<LockedInput>,
}

/// What decides the bytes of a merged model beside its input files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedConfig {
    config_sha256: String,
    options: IndexMap<String, Value>,
}

/// How an output gets its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockOptions {
    /// What the merge is.
    pub config: LockedConfig,
    /// The digests of the input files, where they are known; they are computed beside the merge if not.
    pub inputs: Option<Vec<LockedInput>>,
    /// A directory where digests of large files are kept for the next merge, and taken from as long as
    /// the files have not changed. It is created as needed.
    pub kept_digests: Option<PathBuf>,
}

impl LockedConfig {
    /// The merge that the text of a config asks for with these options. `adapted_as` is what models with
    /// adapters are converted to. Options go by the names of the flags of `mergekit merge`.
    pub fn new(
        config_text: &str,
        plan: &PlanOptions,
        adapted_as: Option<DType>,
        write: &WriteOptions,
    ) -> Self {
        let options = [
            ("random-seed", Value::from(plan.seed)),
            ("allow-crimes", plan.allow_mixed_architectures.into()),
            ("unsafe-truncate-embeddings", plan.truncate_embeddings.into()),
            ("lora-merge-dtype", adapted_as.map(|dtype| dtype.to_string()).into()),
            ("safe-serialization", (write.format == WeightFormat::Safetensors).into()),
            ("out-shard-size", write.shard_size.to_string().into()),
            ("copy-tokenizer", write.copy_tokenizer.into()),
            ("write-model-card", write.config_text.is_some().into()),
        ];
        let options = options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { config_sha256: hex(&Sha256::digest(config_text)), options }
    }
}

impl Lock {
    /// The lock of what this program makes.
    pub fn new(config: LockedConfig, inputs: Vec<LockedInput>) -> Self {
        Self { format: FORMAT, mergekit: VERSION.to_owned(), config, inputs }
    }

    /// Reads the lock in `path`.
    pub fn open(path: &Path) -> Result<Self, LockError> {
        #[derive(Deserialize)]
        struct Format {
            format: u64,
        }
        let path = || path.to_owned();
        let text = fs::read(path()).map_err(|source| LockError::Read { path: path(), source })?;
        let syntax = |source| LockError::Syntax { path: path(), source };
        // First of all, since another form may have other fields.
        let Format { format } = serde_json::from_slice(&text).map_err(syntax)?;
        if format != FORMAT {
            return Err(LockError::Format { path: path(), found: format, known: FORMAT });
        }
        serde_json::from_slice(&text).map_err(syntax)
    }

    /// Writes the lock into an output directory.
    pub fn save(&self, directory: &Path) -> Result<(), LockError> {
        let path = directory.join(LOCK_FILE);
        let text = serde_json::to_string_pretty(self).expect("a lock is plain text and numbers");
        fs::write(&path, text + "\n").map_err(|source| LockError::Write { path, source })
    }

    /// The version of the program that wrote it, when that is not this one. Another version may compute
    /// other bytes.
    pub fn other_version(&self) -> Option<&str> {
        (self.mergekit != VERSION).then_some(&*self.mergekit)
    }

    /// Refuses another merge config and other options. `path` is the config's file, for messages.
    pub fn check_config(&self, config: &LockedConfig, path: &Path) -> Result<(), LockError> {
        if self.config.config_sha256 != config.config_sha256 {
            return Err(LockError::Config { path: path.to_owned() });
        }
        let differs = |(name, _): &(&String, &Value)| {
            config.options.get(*name) != self.config.options.get(*name)
        };
        match self.config.options.iter().find(differs) {
            None => Ok(()),
            Some((name, expected)) => Err(LockError::Option {
                name: name.clone(),
                found: Box::new(config.options.get(name).cloned().unwrap_or(Value::Null)),
                expected: Box::new(expected.clone()),
            }),
        }
    }

    /// Refuses files that are missing, new, or of another size: what can be seen without reading them.
    pub fn check_files(&self, files: &InputFiles) -> Result<(), LockError> {
        for input in files.inputs() {
            let locked = self.input(&input.path)?;
            let name_of = |file: &LockedFile| file.name.clone();
            for file in &locked.files {
                let path = || input.place(&file.name);
                match input.files.iter().find(|other| other.name == file.name) {
                    None => return Err(LockError::Missing { path: path() }),
                    Some(found) if found.bytes != file.bytes => {
                        let (found, expected) = (found.bytes, file.bytes);
                        return Err(LockError::Size { path: path(), found, expected });
                    }
                    Some(_) => {}
                }
            }
            let locked: Vec<String> = locked.files.iter().map(name_of).collect();
            if let Some(file) = input.files.iter().find(|file| !locked.contains(&file.name)) {
                return Err(LockError::New { path: input.place(&file.name) });
            }
        }
        Ok(())
    }

    /// Refuses files with another content. `found` are those that [`check_files`](Self::check_files)
    /// has passed, with their digests.
    pub fn check_digests(
        &self,
        files: &InputFiles,
        found: &[LockedInput],
    ) -> Result<(), LockError> {
        for (input, found) in files.inputs().iter().zip(found) {
            let locked = self.input(&input.path)?;
            for file in &found.files {
                let expected = locked.files.iter().find(|other| other.name == file.name);
                if expected.is_some_and(|expected| expected.sha256 != file.sha256) {
                    return Err(LockError::Content { path: input.place(&file.name) });
                }
            }
        }
        Ok(())
    }

    fn input(&self, path: &str) -> Result<&LockedInput, LockError> {
        let locked = self.inputs.iter().find(|input| input.path == path);
        locked.ok_or_else(|| LockError::NoModel { model: path.to_owned() })
    }
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
