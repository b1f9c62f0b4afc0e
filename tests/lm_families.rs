//! Decoders of every family against transformers: texts that are scored together, and greedy answers.

#[path = "support/decoders.rs"]
mod decoders;

use decoders::{Golden, goldens, never, request, tensors};
use mergekit::lm::{
    Decoder, DecoderOptions, GenerateRequest, LanguageModel, Sampling, ScoreRequest,
};
use serde::Deserialize;
use serde_json::Value;

/// What transformers made of a model.
#[derive(Deserialize)]
struct Reference {
    #[serde(flatten)]
    golden: Golden,
    /// The config as transformers saves it, unless it does not know the family.
    saved_config: Option<Value>,
    /// Whether RoPE turns differently in longer texts, so that beginnings of texts are not shared.
    depends_on_length: bool,
    /// Of each text's tokens from the second on, given those before them.
    log_probabilities: Vec<Vec<f64>>,
    /// Of the answer's tokens, as the run with a cache saw them.
    answer_log_probabilities: Vec<f64>,
}

/// Largest difference of a log-probability.
const TOLERANCE: f64 = 1e-4;

/// Texts are longer than some models were trained on.
fn long() -> DecoderOptions {
    DecoderOptions { max_length: Some(128), ..DecoderOptions::default() }
}

/// Runs a check on every model and reports all that fail, with what the check says of each.
fn check_all(check: impl Fn(&Reference, &Decoder) -> Result<String, String>) {
    let mut failures = Vec::new();
    let references = goldens::<Reference>();
    for reference in &references {
        let golden = &reference.golden;
        // A panic in one family should not hide what the others do.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let model = Decoder::new(&golden.config, tensors(golden), &long());
            check(reference, &model.map_err(|error| error.to_string())?)
        }));
        match result.unwrap_or_else(|_| Err("panicked".to_owned())) {
            Ok(report) => println!("{}: {report}", golden.name),
            Err(problem) => failures.push(format!("{}: {problem}", golden.name)),
        }
    }
    let count = failures.len();
    assert!(failures.is_empty(), "{count} of {}:\n{}", references.len(), failures.join("\n"));
}

/// Every end of a text after its beginning. All of them feed the same tokens, so that each token's
/// log-probability is the difference of two neighbours, whatever RoPE makes of the text's length.
fn ends(text: &[u32]) -> impl Iterator<Item = ScoreRequest> {
    (1..text.len()).map(|start| request(&text[..start], &text[start..]))
}

/// Log-probabilities of tokens from sums over the ends of their text.
fn differences(sums: &[f64]) -> impl Iterator<Item = f64> {
    sums.iter().enumerate().map(|(index, sum)| sum - sums.get(index + 1).unwrap_or(&0.0))
}

fn largest_difference(found: impl Iterator<Item = f64>, expected: &[f64]) -> f64 {
    found.zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max)
}

fn within_tolerance(worst: f64) -> Result<String, String> {
    let report = format!("log-probabilities differ by {worst:.1e} at most");
    if worst < TOLERANCE { Ok(report) } else { Err(report) }
}

#[test]
fn texts_of_different_lengths_score_together_as_each_alone() {
    check_all(|reference, model| {
        let requests: Vec<_> = reference.golden.texts.iter().flat_map(|text| ends(text)).collect();
        let scores = model.score(&requests).map_err(|error| error.to_string())?;
        let sums: Vec<f64> = scores.iter().map(|score| score.log_likelihood).collect();
        let mut worst = 0.0_f64;
        let mut sums = sums.as_slice();
        for expected in &reference.log_probabilities {
            let (of_text, others) = sums.split_at(expected.len());
            worst = worst.max(largest_difference(differences(of_text), expected));
            sums = others;
        }
        within_tolerance(worst)
    });
}

#[test]
fn tokens_score_after_any_beginning_as_in_the_whole_text() {
    check_all(|reference, model| {
        if reference.depends_on_length {
            return Ok("looks at the length of texts".to_owned());
        }
        let text = &reference.golden.texts[0];
        let mut requests: Vec<_> =
            (1..text.len()).map(|end| request(&text[..end], &text[end..=end])).collect();
        requests.push(request(&text[..1], &text[1..]));
        let mut scores = model.score(&requests).map_err(|error| error.to_string())?;
        let whole = scores.pop().expect("one score per request");
        let sum: f64 = scores.iter().map(|score| score.log_likelihood).sum();
        if (whole.log_likelihood - sum).abs() > 1e-9 {
            return Err(format!("the whole has {}, its parts {sum}", whole.log_likelihood));
        }
        if whole.greedy != scores.iter().all(|score| score.greedy) {
            return Err("the whole is greedy, but a part is not, or the reverse".to_owned());
        }
        let found = scores.iter().map(|score| score.log_likelihood);
        within_tolerance(largest_difference(found, &reference.log_probabilities[0]))
    });
}

#[test]
fn configs_that_transformers_saves_mean_the_same() {
    check_all(|reference, model| {
        let Some(config) = &reference.saved_config else {
            return Ok("not known to transformers".to_owned());
        };
        let golden = &reference.golden;
        let saved = Decoder::new(config, tensors(golden), &long());
        let saved = saved.map_err(|error| error.to_string())?;
        let whole = |text: &Vec<u32>| request(&text[..1], &text[1..]);
        let requests: Vec<_> = golden.texts.iter().map(whole).collect();
        match (model.score(&requests), saved.score(&requests)) {
            (Ok(scores), Ok(of_saved)) if scores == of_saved => {
                Ok("scores are the same".to_owned())
            }
            (scores, of_saved) => Err(format!("{scores:?} became {of_saved:?}")),
        }
    });
}

#[test]
fn greedy_answers_are_those_of_a_run_with_a_cache() {
    check_all(|reference, model| {
        let request = |prompt: &[u32], max_new_tokens| GenerateRequest {
            prompt: prompt.to_vec(),
            max_new_tokens,
            end_tokens: Vec::new(),
            sampling: Sampling::default(),
        };
        let (prompt, answer) = (&reference.golden.prompt, &reference.golden.answer);
        let requests = [
            request(&reference.golden.texts[1], 3),
            request(prompt, answer.len()),
            request(&prompt[..4], 20),
            request(prompt, 7),
        ];
        let answers = model.generate(&requests, &never).map_err(|error| error.to_string())?;
        if answers[1] != *answer {
            return Err(format!("answers {:?} instead of {answer:?}", answers[1]));
        }
        if answers[3] != answer[..7] {
            return Err("a shorter answer begins differently".to_owned());
        }
        if reference.depends_on_length {
            return Ok("looks at the length of texts".to_owned());
        }
        let whole = [prompt.as_slice(), answer].concat();
        let requests: Vec<_> = ends(&whole).skip(prompt.len() - 1).collect();
        let scores = model.score(&requests).map_err(|error| error.to_string())?;
        if !scores.iter().all(|score| score.greedy) {
            return Err("its own answer is not greedy".to_owned());
        }
        let sums: Vec<f64> = scores.iter().map(|score| score.log_likelihood).collect();
        within_tolerance(largest_difference(
            differences(&sums),
            &reference.answer_log_probabilities,
        ))
    });
}
