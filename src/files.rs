//! What every room that touches files agrees on.

use std::io;
use std::path::Path;

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
