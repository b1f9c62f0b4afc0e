//! Digests that earlier merges have found, so that merging the same models again costs no hashing.
//!
//! A file of a few bytes for each, in a cache directory of the user. Its name is a digest of what the
//! system says of the hashed file: device, number, size, and the times of its last changes. Whoever
//! changes a file changes the last of these, which no program can set.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::hex;
use crate::files::write_atomically;

/// Smaller files are hashed faster than they are looked up.
const SMALLEST_BYTES: u64 = 16 << 20;

/// A file that was changed more recently could be changed again without another time of change.
const SETTLED: Duration = Duration::from_secs(2);

/// Hexadecimal digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;

/// Where the digest of a file is kept, as long as the file stays as it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    place: PathBuf,
}

impl Known {
    /// The place in `directory` for the digest of the file at `path`; `None` for a file whose digest is
    /// not kept, because it is small or new, or because the system does not say enough.
    pub(super) fn of(path: &Path, directory: &Path) -> Option<Self> {
        Self::at(SystemTime::now(), path, directory)
    }

    fn at(now: SystemTime, path: &Path, directory: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let Identity { name, changed } = Identity::of(&metadata)?;
        let is_settled = now.duration_since(changed).is_ok_and(|age| age > SETTLED);
        let is_large = metadata.len() >= SMALLEST_BYTES;
        (is_large && is_settled).then(|| Self { place: directory.join(hex(&Sha256::digest(name))) })
    }

    /// Where it is kept.
    pub(super) fn directory(&self) -> Option<&Path> {
        self.place.parent()
    }

    /// The digest, when it is known.
    pub(super) fn digest(&self) -> Option<String> {
        let text = fs::read_to_string(&self.place).ok()?;
        let digest = text.trim_end();
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_whole = digest.len() == DIGEST_DIGITS && digest.bytes().all(is_digit);
        is_whole.then(|| digest.to_owned())
    }

    /// Keeps the digest. Where that fails, it will be computed again.
    pub(super) fn remember(&self, digest: &str) {
        if let Some(directory) = self.directory()
            && fs::create_dir_all(directory).is_ok()
        {
            let _ = write_atomically(&self.place, format!("{digest}\n").as_bytes());
        }
    }
}

/// What only a file that nobody has changed still has.
struct Identity {
    name: String,
    /// When it was changed last, be it only in its times.
    changed: SystemTime,
}

impl Identity {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let (device, number, bytes) = (metadata.dev(), metadata.ino(), metadata.len());
        let modified =
            Duration::new(metadata.mtime().try_into().ok()?, metadata.mtime_nsec() as u32);
        let changed =
            Duration::new(metadata.ctime().try_into().ok()?, metadata.ctime_nsec() as u32);
        let name = format!("{device} {number} {bytes} {modified:?} {changed:?}");
        Some(Self { name, changed: SystemTime::UNIX_EPOCH + changed })
    }

    /// Elsewhere programs can set all times.
    #[cfg(not(unix))]
    fn of(_metadata: &Metadata) -> Option<Self> {
        None
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::File;

    use super::*;

    /// A file of this size, which takes no room on the disk.
    fn file(directory: &Path, bytes: u64) -> PathBuf {
        let path = directory.join("model.safetensors");
        File::create(&path).unwrap().set_len(bytes).unwrap();
        path
    }

    /// As it will be in a while.
    fn known(path: &Path, directory: &Path) -> Option<Known> {
        Known::at(SystemTime::now() + 2 * SETTLED, path, directory)
    }

    #[test]
    fn a_digest_is_known_until_the_file_changes() {
        let (models, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = file(models.path(), SMALLEST_BYTES);
        let known = |path: &Path| known(path, &cache.path().join("digests")).unwrap();
        assert_eq!(known(&path).digest(), None);
        let digest = "0123456789abcdef".repeat(4);
        known(&path).remember(&digest);
        assert_eq!(known(&path).digest(), Some(digest.clone()));
        // Another name is the same file, another content with the same size and time is not.
        let other = models.path().join("other");
        std::os::unix::fs::symlink(&path, &other).unwrap();
        assert_eq!(known(&other).digest(), Some(digest));
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let mut opened = File::options().write(true).open(&path).unwrap();
        // The clock of a file system may tick every few milliseconds.
        std::thread::sleep(Duration::from_millis(50));
        std::io::Write::write_all(&mut opened, b"x").unwrap();
        opened.set_modified(time).unwrap();
        assert_eq!(known(&path).digest(), None);
    }

    #[test]
    fn small_and_new_files_are_hashed_every_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), SMALLEST_BYTES - 1);
        assert_eq!(known(&path, directory.path()), None);
        let path = file(directory.path(), SMALLEST_BYTES);
        assert!(known(&path, directory.path()).is_some());
        assert_eq!(Known::of(&path, directory.path()), None);
    }

    #[test]
    fn what_is_no_digest_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), SMALLEST_BYTES);
        let known = known(&path, directory.path()).unwrap();
        for text in ["", "0123", &"g".repeat(64), &"0".repeat(65)] {
            known.remember(text);
            assert_eq!(known.digest(), None, "{text}");
        }
    }
}
