//! Models on the Hugging Face Hub: found in the cache that Python's `huggingface_hub` keeps, and fetched
//! into it.
//!
//! A [`Hub`] finds a model's files in two steps. [`Hub::locate`] fetches what is small (config,
//! tokenizer, the index of the weights), so that a merge can be planned: the headers of weights that are
//! not here are read with [`Hub::beginnings`], a few kilobytes of each file. [`Hub::fetch`] then fetches
//! the weights. A directory of the same name always comes first.
//!
//! Without the feature `hub`, models come from the cache or not at all.

#![cfg_attr(not(feature = "hub"), allow(dead_code, reason = "what describes downloads is idle"))]

mod cache;
mod datasets;
mod error;
mod files;
mod name;
mod observer;
#[cfg(not(feature = "hub"))]
mod offline;
#[cfg(feature = "hub")]
mod online;
mod settings;
mod wanted;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use datasets::cached_dataset;
pub use error::{HubError, LooksLike, Offline};
pub use files::Kind;
pub use name::RepoName;
pub use observer::{Observer, Unobserved};
pub use settings::{Patience, Settings, Token};

use cache::RepoCache;
use error::nearest_directory;
#[cfg(not(feature = "hub"))]
use offline::Client;
#[cfg(feature = "hub")]
use online::Client;
use wanted::Wanted;

/// The branch that is meant where no revision is given.
const MAIN: &str = "main";

/// Finds and fetches models.
pub struct Hub {
    settings: Settings,
    observer: Arc<dyn Observer>,
    client: Client,
    /// What has been found, so that a name means the same commit throughout a run.
    found: Mutex<HashMap<(RepoName, String, Kind), Arc<Snapshot>>>,
}

/// Where a model is.
#[derive(Debug, Clone)]
pub enum Place {
    /// In this directory.
    Local(PathBuf),
    /// In the cache, its weights perhaps not yet.
    Cached(Arc<Snapshot>),
}

/// A commit of a model, of which all small files are in the cache.
#[derive(Debug)]
pub struct Snapshot {
    name: RepoName,
    commit: String,
    cache: RepoCache,
    /// Files with weights that may have to be fetched.
    weights: Vec<Wanted>,
}

impl Snapshot {
    /// The directory that its files are in.
    pub fn directory(&self) -> PathBuf {
        self.cache.snapshot(&self.commit)
    }

    /// The model's name.
    pub fn name(&self) -> &RepoName {
        &self.name
    }

    /// The hash of the commit.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// Whether all weights are here.
    pub fn is_complete(&self) -> bool {
        self.weights.iter().all(Wanted::is_here)
    }
}

impl Place {
    /// The directory with the model's files.
    pub fn directory(&self) -> PathBuf {
        match self {
            Self::Local(directory) => directory.clone(),
            Self::Cached(snapshot) => snapshot.directory(),
        }
    }

    /// The commit of the Hub that it is, where it is one.
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        match self {
            Self::Local(_) => None,
            Self::Cached(snapshot) => Some(snapshot),
        }
    }
}

impl Hub {
    /// A hub that is asked as `settings` say. `observer` follows downloads, and `cancelled` stops them
    /// when it becomes true.
    pub fn new(
        settings: Settings,
        observer: Arc<dyn Observer>,
        cancelled: Arc<AtomicBool>,
    ) -> Result<Self, HubError> {
        Ok(Self {
            client: Client::new(&settings, Arc::clone(&observer), cancelled)?,
            settings,
            observer,
            found: Mutex::default(),
        })
    }

    /// Finds the model that `path` and `revision` name: a directory or file of that name, or else a
    /// model of the Hub, of which the small files are fetched, as far as they are not in the cache.
    ///
    /// What cannot be a name on the Hub is taken for a path, whether it is there or not.
    pub fn locate(
        &self,
        path: &str,
        revision: Option<&str>,
        kind: Kind,
    ) -> Result<Place, HubError> {
        let local = Path::new(path);
        if local.symlink_metadata().is_ok() {
            return Ok(Place::Local(local.to_owned()));
        }
        let Some(name) = RepoName::parse(path) else {
            return match revision {
                None => Ok(Place::Local(local.to_owned())),
                Some(revision) => Err(HubError::NotAName { text: format!("{path}@{revision}") }),
            };
        };
        if let Some(revision) = revision.filter(|revision| !name::is_revision(revision)) {
            let (name, revision) = (name.to_string(), revision.to_owned());
            return Err(HubError::NotARevision { name, revision });
        }
        let known = (name, revision.unwrap_or(MAIN).to_owned(), kind);
        // A snapshot is put in complete or not at all, so a panic elsewhere leaves nothing to repair.
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = found.get(&known) {
            return Ok(Place::Cached(Arc::clone(snapshot)));
        }
        let snapshot = Arc::new(self.find(&known.0, revision, kind)?);
        found.insert(known, Arc::clone(&snapshot));
        Ok(Place::Cached(snapshot))
    }

    /// A model that is in the cache with all its weights.
    fn cached(
        &self,
        name: &RepoName,
        revision: Option<&str>,
        kind: Kind,
    ) -> Result<Snapshot, HubError> {
        let offline = if cfg!(feature = "hub") { Offline::Asked } else { Offline::NotBuilt };
        let cache = RepoCache::new(&self.settings.cache, name);
        let Some(commit) = cache.commit(revision.unwrap_or(MAIN)) else {
            return Err(HubError::NotCached {
                nearest: nearest_directory(name.as_str()),
                name: name.to_string(),
                revision: revision.map(str::to_owned),
                cache: self.settings.cache.clone(),
                offline,
            });
        };
        let incomplete = |file: &str| HubError::Incomplete {
            name: name.to_string(),
            file: file.to_owned(),
            offline,
        };
        let is_here = |file: &str| cache.has(&commit, file, None);
        // A link to nowhere is a file that should be here.
        let is_named = |file: &str| cache.snapshot(&commit).join(file).symlink_metadata().is_ok();
        if !is_here(kind.config_file()) {
            return Err(incomplete(kind.config_file()));
        }
        if let Some(weights) = kind.weights_file(is_named) {
            if !is_here(weights.name) {
                return Err(incomplete(weights.name));
            }
            let shards = files::shards(&weights, &cache.snapshot(&commit))?;
            if let Some(file) = shards.iter().find(|file| !is_here(file)) {
                return Err(incomplete(file));
            }
        } else if kind.has_weights() {
            return Err(incomplete("model.safetensors"));
        }
        Ok(Snapshot { name: name.clone(), commit, cache, weights: Vec::new() })
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("settings", &self.settings).finish_non_exhaustive()
    }
}
