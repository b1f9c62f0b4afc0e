//! The search: propose, merge, evaluate, tell, and write everything down.
//!
//! ```text
//! optimizer ─ask─► genotype ─► merge config ─► merge in memory ─► scores ─► journal
//!     ▲                                                                        │
//!     └───────────────────────────────── tell ◄────────────────────────────────┘
//! ```
//!
//! The journal is the truth. A search that was stopped, by whatever means, is continued by running it
//! again: what the journal holds is taken from there, and the finished history is that of a search
//! that was never stopped.

mod bootstrap;
mod closing;
mod error;
mod evolution;
mod identity;
mod journal;
mod model_scorer;
mod objective;
mod open_search;
mod optimizers;
mod prepared;
mod record;
mod results;
mod scorer;
mod split;
#[cfg(test)]
mod testing;
mod workers;

pub use bootstrap::{Aggregate, Bootstrap};
pub use error::SearchError;
pub use evolution::{Budget, Event, Interrupt, best};
pub use identity::{model_digest, text_digest};
pub use journal::{JOURNAL_FILE, Journal};
pub use objective::{Objective, find_metric};
pub use open_search::{Closing, Comparison, OpenSearch, Run, SEARCH_FILE_COPY, Search};
pub use prepared::{PrepareOptions, PreparedSearch};
pub use record::{
    Ending, Estimate, Evaluation, FORMAT, Finish, Header, ItemValues, Record, Reference, Role, Row,
    Scores, SplitIdentity, Status, TaskIdentity, TaskResult, Term,
};
pub use results::Results;
pub use scorer::{CandidateScorer, ItemSets, Measurement, Proposal, ScoreFailure};
pub use split::ItemSplit;
