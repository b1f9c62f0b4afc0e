//! Asking the Hub, and fetching from it.

mod checksum;
mod client;
mod download;
mod listing;
mod store;
mod trouble;

use std::path::Path;
use std::sync::Arc;

pub(super) use client::Client;

use client::Subject;
use download::in_parallel;
use listing::Listing;

use super::cache::RepoCache;
use super::error::{LooksLike, nearest_directory};
use super::files::{self, Kind};
use super::name::RepoName;
use super::wanted::Wanted;
use super::{Hub, HubError, MAIN, Snapshot};
use crate::checkpoint::{Beginning, Beginnings, header_length};

/// Bytes of a file that are read at first to find its header. It suffices for most shards.
const FIRST: u64 = 128 << 10;

impl Hub {
    /// Asks the Hub or, where it cannot be reached, the cache.
    pub(super) fn find(
        &self,
        name: &RepoName,
        revision: Option<&str>,
        kind: Kind,
    ) -> Result<Snapshot, HubError> {
        if self.settings.offline {
            return self.cached(name, revision, kind);
        }
        let ask = || self.ask(name, revision.unwrap_or(MAIN), kind);
        let error = match self.client.interruptibly(ask) {
            Err(error) if error.is_no_answer() => error,
            answer => return answer,
        };
        let Ok(snapshot) = self.cached(name, revision, kind) else {
            return Err(HubError::NoAnswer {
                name: name.to_string(),
                nearest: nearest_directory(name.as_str()),
                source: Box::new(error),
            });
        };
        self.observer.note(&format_args!(
            "`{name}` is taken from the cache, at commit {}: {error}",
            snapshot.commit()
        ));
        Ok(snapshot)
    }

    /// Fetches the weights of several models, as far as they are not here.
    pub fn fetch(&self, snapshots: &[Arc<Snapshot>]) -> Result<(), HubError> {
        let weights = snapshots.iter().flat_map(|snapshot| snapshot.weights.iter().cloned());
        let weights: Vec<Wanted> = weights.collect();
        self.client.interruptibly(|| self.fetch_files(&weights))
    }

    /// Everything of a model but its weights, and which files these are. Weights come too where their
    /// headers cannot be read alone: those of adapters, which are small, and those that PyTorch pickled.
    fn ask(&self, name: &RepoName, revision: &str, kind: Kind) -> Result<Snapshot, HubError> {
        let cache = RepoCache::new(&self.settings.cache, name);
        let listing = self.client.listing(name, revision)?;
        let weights_file = kind.weights_file(|file| listing.has(file));
        if !listing.has(kind.config_file()) {
            return Err(not_a_model(name, kind, &listing, format!("`{}`", kind.config_file())));
        }
        if kind.has_weights() && weights_file.is_none() {
            let lacks = "weights in safetensors or PyTorch's own form".to_owned();
            return Err(not_a_model(name, kind, &listing, lacks));
        }
        let want = |file: &str| {
            Ok(Wanted {
                cache: cache.clone(),
                name: name.clone(),
                commit: listing.commit.clone(),
                file: file.to_owned(),
                contents: self.client.contents(name, &listing, file)?,
            })
        };
        let mut small = kind.small_files();
        small.extend(weights_file.iter().filter(|file| file.is_index).map(|file| file.name));
        small.retain(|file| listing.has(file));
        self.fetch_files(&in_parallel(&small, |file| want(file))?)?;
        cache.remember(revision, &listing.commit)?;

        let directory = cache.snapshot(&listing.commit);
        let shards = weights_file.as_ref().map(|file| files::shards(file, &directory));
        let weights = in_parallel(&shards.transpose()?.unwrap_or_default(), |shard| want(shard))?;
        if kind == Kind::Adapter || weights_file.is_some_and(|file| !file.is_safetensors) {
            self.fetch_files(&weights)?;
        }
        Ok(Snapshot { name: name.clone(), commit: listing.commit, cache, weights })
    }

    /// The headers of the weights of `snapshot` that are not here.
    pub fn beginnings(&self, snapshot: &Snapshot) -> Result<Beginnings, HubError> {
        let absent: Vec<&Wanted> =
            snapshot.weights.iter().filter(|wanted| !wanted.is_here()).collect();
        let beginning = |wanted: &&Wanted| {
            let Wanted { name, commit, file, contents, .. } = wanted;
            let url = self.client.file_url(name, commit, file);
            let subject = Subject { name, revision: commit, file: Some(file) };
            let part = |start, end| self.client.part(&url, start, end, subject);
            let mut head = part(0, FIRST.min(contents.bytes))?;
            let length = header_length(&head).filter(|length| *length <= contents.bytes);
            if let Some(length) = length.filter(|length| *length > head.len() as u64) {
                let rest = part(head.len() as u64, length)?;
                head.extend(rest);
            }
            Ok((file.clone(), Beginning { head, bytes: contents.bytes }))
        };
        let beginnings = self.client.interruptibly(|| in_parallel(&absent, beginning))?;
        Ok(beginnings.into_iter().collect())
    }
}

fn not_a_model(name: &RepoName, kind: Kind, listing: &Listing, lacks: String) -> HubError {
    let has_ending = |ending: &str| {
        listing.names().any(|file| Path::new(file).extension().is_some_and(|end| end == ending))
    };
    let looks_like = match kind {
        Kind::Model if listing.has(Kind::Adapter.config_file()) => Some(LooksLike::Adapter),
        Kind::Model if has_ending("gguf") => Some(LooksLike::Gguf),
        Kind::Adapter if listing.has(Kind::Model.config_file()) => Some(LooksLike::Model),
        _ => None,
    };
    HubError::NotAModel { name: name.to_string(), kind, lacks, looks_like }
}
