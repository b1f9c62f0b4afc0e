//! Files on their way into the cache.
//!
//! Contents arrive in `blobs/<etag>.incomplete`, under the lock of their tag. When a connection is cut,
//! or the program was, they go on from there. What has arrived whole is checked against its tag, synced
//! and renamed, so that whatever has its final name is right.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::StatusCode;

use super::checksum::Checksum;
use super::client::Subject;
use super::store::{create_parent, write_error};
use super::trouble::{Remedy, Trouble, cut_off};
use crate::hub::wanted::{Contents, Wanted};
use crate::hub::{Hub, HubError};

/// Files that arrive at the same time.
const WORKERS: usize = 4;

/// Bytes read at a time.
const PIECE: usize = 256 << 10;

/// A try that brings less than this counts as one that brings nothing, so that a connection which is cut
/// again and again ends.
const ENOUGH: u64 = 1 << 20;

/// Between two looks whether another process is done.
const GLANCE: Duration = Duration::from_millis(200);

/// Time after which another process that gets nowhere is not waited for any longer.
const STALLED: Duration = Duration::from_secs(600);

impl Wanted {
    fn subject(&self) -> Subject<'_> {
        Subject { name: &self.name, revision: &self.commit, file: Some(&self.file) }
    }

    fn damaged(&self, what: String) -> HubError {
        HubError::Damaged { name: self.name.to_string(), file: self.file.clone(), what }
    }
}

/// Contents that arrive: a file, where in it the next byte belongs, and the checksum of those before.
struct Arriving<'w> {
    wanted: &'w Wanted,
    file: File,
    bytes: u64,
    checksum: Checksum,
}

impl Hub {
    /// Fetches what of `wanted` is not here, several files at a time. The first failure ends it.
    pub(super) fn fetch_files(&self, wanted: &[Wanted]) -> Result<(), HubError> {
        let absent = wanted.iter().filter(|file| !file.is_here());
        let mut seen = HashSet::new();
        let (absent, same): (Vec<&Wanted>, Vec<&Wanted>) =
            absent.partition(|file| seen.insert((file.name.as_str(), &file.contents.etag)));
        let Some(first) = absent.first() else { return Ok(()) };
        let bytes = absent.iter().map(|file| file.contents.bytes - bytes_here(file)).sum();
        self.check_space(&first.cache.root, bytes)?;
        let mut names: Vec<&str> = absent.iter().map(|file| file.name.as_str()).collect();
        names.dedup();
        let what = match names.as_slice() {
            [name] => (*name).to_owned(),
            names => format!("{} models", names.len()),
        };
        self.observer.begin(&what, absent.len(), bytes);
        let result = in_parallel(&absent, |file| self.fetch_file(file));
        self.observer.end();
        result?;
        // Files with the contents of another one of the same model.
        let mut same = same.into_iter().filter(|file| !file.is_here());
        same.try_for_each(|file| file.cache.link(&file.commit, &file.file, &file.contents.etag))
    }

    /// Refuses downloads that the disk has no room for, where the system says how much it has.
    fn check_space(&self, cache: &Path, needed: u64) -> Result<(), HubError> {
        fs::create_dir_all(cache).map_err(write_error(cache))?;
        match free_space(cache) {
            Some(free) if free < needed => {
                Err(HubError::NoSpace { needed, free, path: cache.to_owned() })
            }
            _ => Ok(()),
        }
    }

    fn fetch_file(&self, wanted: &Wanted) -> Result<(), HubError> {
        let Wanted { cache, commit, file, contents: Contents { bytes, etag }, .. } = wanted;
        let blob = cache.blob(etag);
        create_parent(&blob)?;
        let _lock = self.lock(wanted)?;
        // Another process, or another model with the same file, may have been here.
        if wanted.is_here() {
            self.observer.advance(*bytes as i64);
            return Ok(());
        }
        if fs::metadata(&blob).is_ok_and(|found| found.len() == *bytes) {
            self.observer.advance(*bytes as i64);
            return cache.link(commit, file, etag);
        }
        let partial = cache.partial(etag);
        let mut arriving = self.resume(wanted, &partial)?;
        let (mut failures, mut farthest) = (0, arriving.bytes);
        while arriving.bytes < *bytes {
            if let Err(trouble) = self.receive(&mut arriving) {
                let is_progress = arriving.bytes >= farthest.saturating_add(ENOUGH);
                failures = if is_progress { 1 } else { failures + 1 };
                farthest = farthest.max(arriving.bytes);
                self.client.wait(trouble, failures)?;
            }
        }
        let Arriving { file: written, checksum, .. } = arriving;
        written.sync_all().map_err(write_error(&partial))?;
        drop(written);
        if let Some(what) = checksum.mismatch(etag) {
            fs::remove_file(&partial).map_err(write_error(&partial))?;
            return Err(wanted.damaged(what));
        }
        fs::rename(&partial, &blob).map_err(write_error(&blob))?;
        cache.link(commit, file, etag)
    }

    /// Opens what has arrived before, if anything has.
    fn resume<'w>(&self, wanted: &'w Wanted, path: &Path) -> Result<Arriving<'w>, HubError> {
        let Contents { bytes, etag } = &wanted.contents;
        let open =
            || File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = open().map_err(write_error(path))?;
        let mut checksum = Checksum::new(etag, *bytes);
        if file.metadata().map_err(write_error(path))?.len() > *bytes {
            file.set_len(0).map_err(write_error(path))?;
        }
        let (mut piece, mut here) = (vec![0; PIECE], 0);
        loop {
            self.client.check_cancelled()?;
            match file.read(&mut piece) {
                Ok(0) => return Ok(Arriving { wanted, file, bytes: here, checksum }),
                Ok(length) => {
                    checksum.update(&piece[..length]);
                    here += length as u64;
                }
                Err(source) => return Err(HubError::Read { path: path.to_owned(), source }),
            }
        }
    }

    /// Receives what is still missing, or as much of it as comes.
    fn receive(&self, arriving: &mut Arriving<'_>) -> Result<(), Trouble> {
        let wanted = arriving.wanted;
        let expected = wanted.contents.bytes;
        let url = self.client.file_url(&wanted.name, &wanted.commit, &wanted.file);
        let range = (arriving.bytes > 0).then(|| format!("bytes={}-", arriving.bytes));
        let answer = self.client.get(&url, range, wanted.subject());
        // What could be reached a moment ago may be reached again.
        let answer = answer.map_err(|trouble| match trouble.error {
            HubError::Unreachable { .. } => Trouble { remedy: Remedy::Again, ..trouble },
            _ => trouble,
        })?;
        if arriving.bytes > 0 && answer.status() != StatusCode::PARTIAL_CONTENT {
            // Everything comes once more.
            self.restart(arriving)?;
        }
        let mut body = answer.into_body().into_reader();
        let mut piece = vec![0; PIECE];
        loop {
            self.client.check_cancelled()?;
            let length = body.read(&mut piece).map_err(|error| cut_off(&url, error))?;
            if length == 0 {
                break;
            }
            if length as u64 > expected - arriving.bytes {
                let partial = wanted.cache.partial(&wanted.contents.etag);
                fs::remove_file(&partial).map_err(write_error(&partial))?;
                return Err(wanted.damaged(format!("having more than {expected} bytes")).into());
            }
            arriving
                .file
                .write_all(&piece[..length])
                .map_err(|source| self.unwritten(arriving, source))?;
            arriving.checksum.update(&piece[..length]);
            arriving.bytes += length as u64;
            self.observer.advance(length as i64);
        }
        match arriving.bytes < expected {
            true => Err(cut_off(&url, io::ErrorKind::UnexpectedEof.into())),
            false => Ok(()),
        }
    }

    /// Forgets what has arrived.
    fn restart(&self, arriving: &mut Arriving<'_>) -> Result<(), HubError> {
        self.observer.advance(-(arriving.bytes as i64));
        let Contents { bytes, etag } = &arriving.wanted.contents;
        arriving.checksum = Checksum::new(etag, *bytes);
        arriving.bytes = 0;
        let back = arriving.file.seek(SeekFrom::Start(0));
        back.map(drop).map_err(|source| self.unwritten(arriving, source))
    }

    fn unwritten(&self, arriving: &Arriving<'_>, source: io::Error) -> HubError {
        let Wanted { cache, contents, .. } = arriving.wanted;
        HubError::Write { path: cache.partial(&contents.etag), source }
    }

    /// Waits until no other process downloads the same contents. The lock ends with what is returned.
    ///
    /// Where the file system has no locks, it does without: two processes then write the same bytes to
    /// the same places.
    fn lock(&self, wanted: &Wanted) -> Result<File, HubError> {
        let etag = &wanted.contents.etag;
        let path = wanted.cache.lock_file(etag);
        create_parent(&path)?;
        let open =
            || File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open().map_err(write_error(&path))?;
        let (mut seen, mut since) = (None, Instant::now());
        loop {
            match file.try_lock() {
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
            }
            let now = Some(wanted.cache.partial_bytes(etag));
            if seen.is_none() {
                self.observer.note(&format_args!(
                    "waiting for another process, which is downloading `{}` of `{}`",
                    wanted.file, wanted.name
                ));
            }
            if seen != now {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() > STALLED {
                return Err(HubError::Locked { path });
            }
            self.client.sleep(GLANCE)?;
        }
    }
}

/// Bytes of a file that have arrived before.
fn bytes_here(wanted: &Wanted) -> u64 {
    let Contents { bytes, etag } = &wanted.contents;
    match fs::metadata(wanted.cache.partial(etag)) {
        Ok(found) if found.len() <= *bytes => found.len(),
        _ => 0,
    }
}

/// Does `work` for all items, a few at a time. After a failure nothing more is begun.
pub(super) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, HubError> + Sync,
) -> Result<Vec<R>, HubError> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let run = || {
        while let Some((index, item)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            items.get(index).map(|item| (index, item))
        } {
            let result = work(item);
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..items.len().min(WORKERS) {
            scope.spawn(run);
        }
        run();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Bytes that this user may still write where `path` is.
#[cfg(unix)]
fn free_space(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    // Some file systems over the network know no sizes.
    let is_known = found.f_blocks > 0;
    is_known.then(|| found.f_bavail.saturating_mul(found.f_frsize))
}

/// Elsewhere a full disk is met when it is full.
#[cfg(not(unix))]
fn free_space(_path: &Path) -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::hub::{Settings, Unobserved};

    #[test]
    fn what_does_not_fit_is_not_begun() {
        let cache = tempfile::tempdir().unwrap();
        let settings = Settings::from_variables(|_| None);
        let hub = Hub::new(settings, Arc::new(Unobserved), Arc::default()).unwrap();
        hub.check_space(&cache.path().join("new"), 0).unwrap();
        let error = hub.check_space(cache.path(), u64::MAX).unwrap_err();
        assert!(matches!(error, HubError::NoSpace { needed: u64::MAX, .. }), "{error}");
    }
}
