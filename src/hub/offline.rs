//! What takes the place of downloads in a program that was built without them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::files::Kind;
use super::name::RepoName;
use super::settings::Settings;
use super::{Hub, HubError, Observer, Snapshot};
use crate::checkpoint::Beginnings;

/// Asks nobody.
pub(super) struct Client;

impl Client {
    pub(super) fn new(
        _: &Settings,
        _: Arc<dyn Observer>,
        _: Arc<AtomicBool>,
    ) -> Result<Self, HubError> {
        Ok(Self)
    }
}

impl Hub {
    /// Asks the cache.
    pub(super) fn find(
        &self,
        name: &RepoName,
        revision: Option<&str>,
        kind: Kind,
    ) -> Result<Snapshot, HubError> {
        self.cached(name, revision, kind)
    }

    /// The headers of the weights of `snapshot` that are not here: none, for all weights are.
    pub fn beginnings(&self, _snapshot: &Snapshot) -> Result<Beginnings, HubError> {
        Ok(Beginnings::new())
    }

    /// Fetches the weights of several models, which are all here.
    pub fn fetch(&self, _snapshots: &[Arc<Snapshot>]) -> Result<(), HubError> {
        Ok(())
    }
}
