//! A decoder with the machine it runs on.

use super::backend::Backend;
use super::network::Network;

/// A model that answers requests.
#[derive(Debug)]
pub(super) struct Runner<B: Backend> {
    pub(super) network: Network<B>,
    machine: B,
}

impl<B: Backend> Runner<B> {
    pub(super) fn new(network: Network<B>, machine: B) -> Self {
        Self { network, machine }
    }

    /// What a pass runs on when `passes` run at the same time.
    pub(super) fn backend(&self, passes: usize) -> B {
        self.machine.share(passes)
    }
}
