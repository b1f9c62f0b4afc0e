//! What every room that touches files agrees on.

use std::io;
use std::path::Path;

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
