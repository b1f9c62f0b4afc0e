//! What every room that touches files agrees on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

/// How the names of files begin that [`write_atomically`] has not finished.
pub(crate) const UNFINISHED: &str = ".mergekit-tmp-";

/// Replaces a file as a whole: it has its old contents or its new ones at any moment.
pub(crate) fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let directory = parent.unwrap_or(Path::new("."));
    let mut file = builder.tempfile_in(directory).map_err(without_temporary_name)?;
    io::Write::write_all(&mut file, contents)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// What the system said about a temporary file or directory, whose name means nothing to people.
pub(crate) fn without_temporary_name(error: io::Error) -> io::Error {
    // The library puts the name behind the cause, and gives no other way to the cause.
    match error.to_string().rsplit_once(" at path \"") {
        Some((cause, _)) => io::Error::new(error.kind(), cause),
        None => error,
    }
}

/// Whether another path would help, as opposed to another machine.
pub(crate) fn is_users_mistake(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
    )
}

/// Temporary directories that are there.
static TEMPORARY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A directory for temporary files, which is removed with this value or by [`remove_temporary`].
#[derive(Debug)]
pub(crate) struct Temporary(TempDir);

impl Temporary {
    /// A new directory where the system keeps temporary files, whose name begins with `prefix`.
    pub(crate) fn new(prefix: &str) -> io::Result<Temporary> {
        let directory = tempfile::Builder::new().prefix(prefix).tempdir()?;
        let path = directory.path().to_owned();
        TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner).push(path);
        Ok(Temporary(directory))
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut known = TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|path| path != self.0.path());
    }
}

/// Removes the temporary directories that are there; for when the process is about to end without
/// dropping anything.
pub(crate) fn remove_temporary() {
    for path in TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let _ = std::fs::remove_dir_all(path);
    }
}

/// A name without what cannot be in the name of a file.
pub(crate) fn file_name_of(name: &str) -> String {
    let mut out = String::new();
    let mut replaced = false;
    for c in name.chars() {
        let is_special = "\"<>:/|\\?*[]".contains(c);
        match (is_special, replaced) {
            (true, false) => out.push_str("__"),
            (true, true) => {}
            (false, _) => out.push(c),
        }
        replaced = is_special;
    }
    out
}

/// Waits until the disk knows which files are in `directory`.
#[cfg(unix)]
pub(crate) fn flush_directory(directory: &Path) -> io::Result<()> {
    std::fs::File::open(directory)?.sync_all()
}

/// Elsewhere directories cannot be opened like files, and renames are the file system's business.
#[cfg(not(unix))]
pub(crate) fn flush_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_do_not_have_names_that_nobody_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent").join("file.txt");
        let error = write_atomically(&path, b"").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!error.to_string().contains(UNFINISHED), "{error}");
    }
}
