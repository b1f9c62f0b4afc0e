//! A `mergekit` of one's own, with one more kind of evaluator: by how much a model finds the right
//! answer likelier than the wrong one. A file for it, with rows of `question`, `right` and `wrong`:
//!
//! ```yaml
//! task: my_margin
//! evaluator: margin
//! files: questions.jsonl
//! ```
//!
//! `cargo run --release --example custom_evaluator score MODEL --tasks my_margin.yaml`; searches take it too.

use std::process::ExitCode;

use indexmap::IndexMap;
use mergekit::evaluate::{
    Candidate, EvaluateError, Evaluator, EvaluatorFile, EvaluatorKinds, TaskScores,
};
use mergekit::lm::ScoreRequest;

/// The right and the wrong answer to each question, as tokens.
struct Margin {
    name: String,
    questions: Vec<[ScoreRequest; 2]>,
}

/// Loads a file of this kind.
pub(crate) fn load(file: &EvaluatorFile<'_>) -> Result<Box<dyn Evaluator>, EvaluateError> {
    let tokenizer = file.tokenizer()?;
    let questions = file.rows()?.into_iter().map(|row| {
        let text = |column| row.get(column).and_then(|value| value.as_str()).unwrap_or_default();
        let request =
            |answer| tokenizer.encode_pair(text("question"), &format!(" {}", text(answer)));
        let (Ok(right), Ok(wrong)) = (request("right"), request("wrong")) else {
            return Err(file.refuse("files", "has a row without `question`, `right` or `wrong`"));
        };
        Ok([right.into(), wrong.into()])
    });
    Ok(Box::new(Margin { name: file.name()?, questions: questions.collect::<Result<_, _>>()? }))
}

impl Evaluator for Margin {
    fn name(&self) -> &str {
        &self.name
    }

    fn n_items(&self) -> usize {
        self.questions.len()
    }

    fn metrics(&self) -> IndexMap<String, bool> {
        IndexMap::from([("margin,none".to_owned(), true)])
    }

    fn evaluate(
        &self,
        candidate: &dyn Candidate,
        items: &[usize],
    ) -> Result<TaskScores, EvaluateError> {
        let asked: Vec<_> = items.iter().flat_map(|&item| self.questions[item].clone()).collect();
        let answers = candidate.model()?.score(&asked)?;
        let margins = answers.chunks(2).map(|pair| pair[0].log_likelihood - pair[1].log_likelihood);
        Ok(TaskScores::single("margin,none", margins.collect()))
    }
}

fn main() -> ExitCode {
    let mut kinds = EvaluatorKinds::default();
    kinds.add("margin", load);
    mergekit::cli::main_with(kinds)
}
