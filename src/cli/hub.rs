//! The Hub as commands ask it: as the environment says, with a progress bar, until Ctrl-C.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{DecimalBytes, ProgressBar};

use super::{Failure, Talk};
use crate::hub::{Hub, Kind, Observer, Settings};
use crate::report::count;

/// The Hub, with its cache in `cache` or, where that is not given, where the environment says.
pub(super) fn hub(
    cache: Option<&Path>,
    talk: Talk,
    cancelled: Arc<AtomicBool>,
) -> Result<Arc<Hub>, Failure> {
    let mut settings = Settings::from_environment();
    if let Some(cache) = cache {
        settings.cache = cache.to_owned();
    }
    let progress = Progress { talk, bar: Mutex::default() };
    Ok(Arc::new(Hub::new(settings, Arc::new(progress), cancelled)?))
}

/// The directory or file that `path`, a path or `organisation/name@revision`, stands for, with all
/// weights.
pub(super) fn locate_whole(
    hub: &Hub,
    path: &Path,
    kind: Kind,
    talk: Talk,
) -> Result<PathBuf, Failure> {
    // What is no text is no name either; and a file may have an `@` in its name.
    let Some(text) = path.to_str().filter(|_| path.symlink_metadata().is_err()) else {
        return Ok(path.to_owned());
    };
    let (name, revision) = match text.split_once('@') {
        Some((name, revision)) => (name, Some(revision).filter(|revision| !revision.is_empty())),
        None => (text, None),
    };
    let place = hub.locate(name, revision, kind)?;
    if revision.is_some() && place.snapshot().is_none() {
        talk.warn(&format_args!("`{name}` is a local directory, which has no revisions"), None);
    }
    hub.fetch(place.snapshot().map(std::slice::from_ref).unwrap_or_default())?;
    Ok(place.directory())
}

/// Shows how downloads go.
struct Progress {
    talk: Talk,
    bar: Mutex<Option<ProgressBar>>,
}

impl Progress {
    fn bar(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        // Nothing is ever half done to a bar.
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Progress {
    fn begin(&self, what: &str, files: usize, bytes: u64) {
        let (files, size) = (count(files, "file"), DecimalBytes(bytes));
        self.talk.say(&format_args!("fetching {what}: {files}, {size}"));
        *self.bar() = Some(self.talk.fetch_progress(bytes));
    }

    fn advance(&self, bytes: i64) {
        if let Some(bar) = &*self.bar() {
            match bytes < 0 {
                true => bar.dec(bytes.unsigned_abs()),
                false => bar.inc(bytes.unsigned_abs()),
            }
        }
    }

    fn end(&self) {
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
    }

    fn note(&self, text: &dyn Display) {
        let say = || self.talk.say(&format_args!("note: {text}"));
        match &*self.bar() {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }
}
