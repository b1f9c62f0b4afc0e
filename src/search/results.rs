//! What a journal says about its search, put in order.

use std::path::Path;

use super::SearchError;
use super::identity::text_digest;
use super::journal::Journal;
use super::open_search::check_unchanged;
use super::record::{Evaluation, Finish, Header, Record, Reference, Role};

/// The records of a journal by kind: all that reports are made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// What is searched.
    pub header: Header,
    /// What the winner is compared with, and the winner once there is one, in the order of the
    /// closing table.
    pub references: Vec<Reference>,
    /// The candidates, by index. While a search runs, or after it was killed, some may be missing.
    pub history: Vec<Evaluation>,
    /// Present when the search is over.
    pub finish: Option<Finish>,
}

impl Results {
    /// Sorts records; `None` when there is no header, so nothing at all.
    pub fn from_records(records: Vec<Record>) -> Option<Self> {
        let mut records = records.into_iter();
        let Some(Record::Header(header)) = records.next() else { return None };
        let (mut references, mut history, mut finish) = (Vec::new(), Vec::new(), None);
        for record in records {
            match record {
                Record::Reference(reference) => references.push(*reference),
                Record::Evaluation(evaluation) => history.push(*evaluation),
                Record::Finish(record) => finish = Some(*record),
                Record::Header(_) => {}
            }
        }
        Some(Self::new(*header, references, history, finish))
    }

    /// Puts parts in order: evaluations by index; parents as the header has them, then the average,
    /// then the winner, the last one noted should there be several.
    pub fn new(
        header: Header,
        mut references: Vec<Reference>,
        mut history: Vec<Evaluation>,
        finish: Option<Finish>,
    ) -> Self {
        history.sort_by_key(|evaluation| evaluation.index);
        references.sort_by_key(|reference| match reference.role {
            Role::Parent => (0, header.models.get_index_of(&reference.name)),
            Role::UniformAverage => (1, None),
            Role::Winner => (2, None),
        });
        let is_winner = |reference: &Reference| reference.role == Role::Winner;
        if let Some(first) = references.iter().position(is_winner) {
            references.drain(first..references.len() - 1);
        }
        Self { header, references, history, finish }
    }

    /// Reads the journal in `directory` without changing it, also while a search writes it. `None`
    /// when there is no journal, or an empty one.
    pub fn read(directory: &Path) -> Result<Option<Self>, SearchError> {
        match Journal::read(directory) {
            Ok(records) => Ok(Self::from_records(records)),
            Err(SearchError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Refuses when the search file's text, the seed or the number of evaluations are not those that
    /// the search in `directory` was begun with. Cheap: models and tasks are not looked at.
    pub fn check(
        &self,
        directory: &Path,
        search_file: &str,
        seed: u64,
        evaluations: u64,
    ) -> Result<(), SearchError> {
        let search_file_digest = text_digest(search_file);
        let now =
            Header { search_file: search_file_digest, seed, evaluations, ..self.header.clone() };
        check_unchanged(&self.header, &now, directory, search_file)
    }

    /// The reference with the given role; the first parent for [`Role::Parent`].
    pub fn reference(&self, role: Role) -> Option<&Reference> {
        self.references.iter().find(|reference| reference.role == role)
    }

    /// Seconds that the search had run when its last record was written.
    pub fn elapsed_seconds(&self) -> f64 {
        let references = self.references.iter().map(|reference| reference.elapsed_seconds);
        let history = self.history.iter().map(|evaluation| evaluation.elapsed_seconds);
        references.chain(history).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn only_the_last_winner_counts() {
        let reference = |role, evaluation| Reference {
            role,
            name: "a".to_owned(),
            config: String::new(),
            evaluation,
            status: super::super::record::Status::Ok,
            search: None,
            validation: None,
            error: None,
            merge_seconds: 0.0,
            evaluation_seconds: 0.0,
            elapsed_seconds: 0.0,
        };
        let references = vec![
            reference(Role::Winner, Some(3)),
            reference(Role::UniformAverage, None),
            reference(Role::Winner, Some(8)),
        ];
        let results = Results::new(testing::header(), references, Vec::new(), None);
        let kept: Vec<_> = results.references.iter().map(|r| (r.role, r.evaluation)).collect();
        assert_eq!(kept, [(Role::UniformAverage, None), (Role::Winner, Some(8))]);
    }
}
