//! The digests of input files, found piece by piece beside the merge that reads them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, TryLockError};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::inputs::{FileSize, InputFiles};
use super::known::Known;
use super::{LockError, LockedInput, hex};
use crate::engine::EngineError;

/// Bytes that are read at a time, few enough to stay in a core's cache.
const BLOCK_BYTES: usize = 1 << 17;

/// An error when the work is to stop.
type GoOn<'a> = &'a (dyn Fn() -> Result<(), EngineError> + Sync);

/// Files that are being hashed.
///
/// A digest needs its file from beginning to end, whereas a merge reads from everywhere. But it goes
/// through its inputs roughly in their order, so hashing up to the same share of every model reads what
/// is in the system's cache anyway, also where the models are larger than memory.
pub(crate) struct Hashing {
    files: InputFiles,
    /// Of every input.
    hashed: Vec<Vec<HashedFile>>,
}

struct HashedFile {
    path: PathBuf,
    /// Bytes of the files before it in the same input.
    before: u64,
    bytes: u64,
    /// Where its digest is kept.
    known: Option<Known>,
    /// Its digest, when it was kept.
    digest: Option<String>,
    state: Mutex<State>,
}

/// How far a file has been hashed.
#[derive(Default)]
struct State {
    /// Open from the first to the last byte.
    file: Option<File>,
    hash: Sha256,
    done: u64,
}

impl Hashing {
    /// Digests in the directory `kept` are taken for true, and new ones added to it.
    pub(crate) fn new(files: InputFiles, kept: Option<&Path>) -> Self {
        let hashed = files.inputs().iter().map(|input| {
            let mut before = 0;
            let file = |file: &FileSize| {
                let (path, bytes, state) = (input.place(&file.name), file.bytes, Mutex::default());
                before += bytes;
                let known = kept.and_then(|kept| Known::of(&path, kept));
                let digest = known.as_ref().and_then(Known::digest);
                HashedFile { path, before: before - bytes, bytes, known, digest, state }
            };
            input.files.iter().map(file).collect()
        });
        Self { hashed: hashed.collect(), files }
    }

    /// Hashes up to the share `done` of `total` of every input, except what somebody else is hashing.
    /// `go_on` is asked now and then whether to.
    pub(crate) fn advance(
        &self,
        done: u64,
        total: u64,
        go_on: GoOn<'_>,
    ) -> Result<(), EngineError> {
        self.hashed.par_iter().zip(self.files.inputs()).try_for_each(|(files, input)| {
            let share = u128::from(input.bytes()) * u128::from(done) / u128::from(total.max(1));
            for file in files {
                let wanted = (share as u64).saturating_sub(file.before);
                match file.state.try_lock() {
                    Ok(mut state) => file.advance(&mut state, wanted, go_on, &|_| ())?,
                    // A hash that panicked half-way is of no use, and neither is the merge.
                    Err(TryLockError::Poisoned(_) | TryLockError::WouldBlock) => {}
                }
            }
            Ok(())
        })
    }

    /// Hashes what is left, all files at once, and tells `progress` about every byte of it.
    pub(crate) fn finish(
        self,
        go_on: GoOn<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<LockedInput>, EngineError> {
        self.hashed.par_iter().flatten().try_for_each(|file| {
            let mut state = file.state.lock().unwrap_or_else(PoisonError::into_inner);
            file.advance(&mut state, file.bytes, go_on, progress)
        })?;
        let locked = self.files.inputs().iter().zip(self.hashed);
        let digests = |files: Vec<HashedFile>| files.into_iter().map(HashedFile::into_digest);
        Ok(locked.map(|(input, files)| input.locked(digests(files))).collect())
    }
}

impl HashedFile {
    /// Hashes whole blocks up to `wanted` bytes, and the last block when all are wanted.
    fn advance(
        &self,
        state: &mut State,
        wanted: u64,
        go_on: GoOn<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), EngineError> {
        let failed = |source: io::Error| {
            let path = self.path.clone();
            match source.kind() {
                io::ErrorKind::UnexpectedEof => LockError::CutOff { path },
                _ => LockError::Read { path, source },
            }
        };
        if self.digest.is_some() {
            return Ok(());
        }
        let mut block = Vec::new();
        while state.done < self.bytes {
            let bytes = (self.bytes - state.done).min(BLOCK_BYTES as u64);
            if state.done + bytes > wanted {
                return Ok(());
            }
            go_on()?;
            let file = match &mut state.file {
                Some(file) => file,
                None => state.file.insert(File::open(&self.path).map_err(failed)?),
            };
            block.resize(bytes as usize, 0);
            file.read_exact(&mut block).map_err(failed)?;
            state.hash.update(&block);
            state.done += bytes;
            progress(bytes);
        }
        state.file = None;
        Ok(())
    }

    /// The digest of what has been hashed as a whole.
    fn into_digest(self) -> String {
        if let Some(digest) = self.digest {
            return digest;
        }
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let digest = hex(&state.hash.finalize());
        // Only if the file is still what it was before it was hashed.
        if let Some(known) = &self.known
            && let Some(kept) = known.directory()
            && Known::of(&self.path, kept).as_ref() == Some(known)
        {
            known.remember(&digest);
        }
        digest
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::engine::lock::inputs::Input;

    /// A directory with files of these sizes.
    fn files(sizes: &[usize]) -> (tempfile::TempDir, InputFiles) {
        let directory = tempfile::tempdir().unwrap();
        let file = |(index, &size): (usize, &usize)| {
            let name = format!("file-{index}");
            let content: Vec<u8> = (0..size).map(|at| (at * 31 + index) as u8).collect();
            fs::write(directory.path().join(&name), content).unwrap();
            (name, size as u64)
        };
        let files = sizes.iter().enumerate().map(file).collect();
        let input = Input::new("model".to_owned(), directory.path().to_owned(), files);
        (directory, InputFiles::new(vec![input]))
    }

    #[test]
    fn steps_give_the_digest_of_the_whole() {
        let sizes = [10, 0, 3 * BLOCK_BYTES + 5, BLOCK_BYTES];
        let (directory, files) = files(&sizes);
        let go_on = || Ok(());
        let hashing = Hashing::new(files, None);
        for done in [0, 1, 2, 40, 40, 99] {
            hashing.advance(done, 100, &go_on).unwrap();
        }
        let late = AtomicU64::new(0);
        let count = |bytes| {
            late.fetch_add(bytes, Ordering::Relaxed);
        };
        let locked = hashing.finish(&go_on, &count).unwrap();
        assert!(late.into_inner() < 2 * BLOCK_BYTES as u64, "most was hashed on the way");
        assert_eq!(locked[0].files.len(), sizes.len());
        for file in &locked[0].files {
            let content = fs::read(directory.path().join(&file.name)).unwrap();
            assert_eq!(file.sha256, hex(&Sha256::digest(&content)), "{}", file.name);
            assert_eq!(file.bytes, content.len() as u64);
        }
    }

    #[test]
    fn a_file_that_became_shorter_or_went_away_is_named() {
        let (directory, files) = files(&[10, 20]);
        fs::write(directory.path().join("file-1"), "short").unwrap();
        let error = Hashing::new(files.clone(), None).finish(&|| Ok(()), &|_| ()).unwrap_err();
        assert!(error.to_string().ends_with("file-1` was cut off while it was read"), "{error}");
        fs::remove_file(directory.path().join("file-1")).unwrap();
        let error = Hashing::new(files, None).finish(&|| Ok(()), &|_| ()).unwrap_err();
        assert!(error.to_string().contains("file-1`") && error.is_users_mistake(), "{error}");
    }

    #[test]
    fn hashing_stops_when_it_is_told_to() {
        let (_directory, files) = files(&[10]);
        let error = Hashing::new(files, None).finish(&|| Err(EngineError::Interrupted), &|_| ());
        assert!(matches!(error, Err(EngineError::Interrupted)));
    }
}
