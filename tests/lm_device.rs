//! Decoders on candle's devices, tried on candle's processor: they compute what the decoders on slices
//! compute, though not the same bits.

#[path = "support/decoders.rs"]
mod decoders;

use candle_core::Device;
use decoders::{Golden, goldens, never, request, tensors};
use indexmap::IndexMap;
use mergekit::lm::{
    Decoder, DecoderOptions, GenerateRequest, LanguageModel, Sampling, ScoreRequest, Storage,
    StoredTensor,
};
use serde::Deserialize;

/// What transformers made of a model.
#[derive(Deserialize)]
struct Reference {
    #[serde(flatten)]
    golden: Golden,
    /// Of each text's tokens from the second on, given those before them.
    log_probabilities: Vec<Vec<f64>>,
}

/// Largest difference of a log-probability from what transformers computes.
const TOLERANCE: f64 = 1e-4;

/// Largest difference that company makes.
const COMPANY: f64 = 1e-5;

/// Texts are longer than some models were trained on.
fn options() -> DecoderOptions {
    DecoderOptions { max_length: Some(128), ..DecoderOptions::default() }
}

fn stored(golden: &Golden, storage: Option<Storage>) -> IndexMap<String, StoredTensor> {
    let tensors = tensors(golden).into_iter().map(|(name, tensor)| {
        let stored = match storage {
            None => StoredTensor::new(tensor),
            Some(storage) => {
                StoredTensor::convert(&name, &tensor, storage).expect("floats can be converted")
            }
        };
        (name, stored)
    });
    tensors.collect()
}

fn on_device(golden: &Golden, options: &DecoderOptions) -> Result<Decoder, String> {
    Decoder::on_device(&golden.config, stored(golden, None), options, Device::Cpu)
        .map_err(|error| error.to_string())
}

/// Runs a check on every model and reports all that fail.
fn check_all(check: impl Fn(&Reference) -> Result<(), String>) {
    let references = goldens::<Reference>();
    let problem = |reference: &Reference| {
        // A panic in one family should not hide what the others do.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(reference)));
        let problem = result.unwrap_or_else(|_| Err("panicked".to_owned())).err()?;
        Some(format!("{}: {problem}", reference.golden.name))
    };
    let failures: Vec<String> = references.iter().filter_map(problem).collect();
    let count = failures.len();
    assert!(failures.is_empty(), "{count} of {}:\n{}", references.len(), failures.join("\n"));
}

/// Every end of a text after its beginning.
fn ends(text: &[u32]) -> Vec<ScoreRequest> {
    (1..text.len()).map(|start| request(&text[..start], &text[start..])).collect()
}

fn sums(model: &Decoder, requests: &[ScoreRequest]) -> Result<Vec<f64>, String> {
    let scores = model.score(requests).map_err(|error| error.to_string())?;
    Ok(scores.iter().map(|score| score.log_likelihood).collect())
}

fn largest_difference(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn within(what: &str, worst: f64, tolerance: f64) -> Result<(), String> {
    // Not a number is not within anything.
    match worst < tolerance {
        true => Ok(()),
        false => Err(format!("{what} differ by {worst:.1e}")),
    }
}

#[test]
fn texts_score_as_in_transformers() {
    check_all(|reference| {
        let texts = &reference.golden.texts;
        let requests: Vec<_> = texts.iter().flat_map(|text| ends(text)).collect();
        let found = sums(&on_device(&reference.golden, &options())?, &requests)?;
        let expected = reference.log_probabilities.iter().flat_map(|of_text| {
            (0..of_text.len()).map(|start| of_text[start..].iter().sum::<f64>())
        });
        let expected: Vec<f64> = expected.collect();
        // Of a sum over many tokens as much is asked as of one.
        let worst = largest_difference(&found, &expected);
        within("log-likelihoods", worst, TOLERANCE)
    });
}

#[test]
fn greedy_answers_are_those_of_transformers() {
    check_all(|reference| {
        let Golden { prompt, answer, texts, .. } = &reference.golden;
        let request = |prompt: &[u32], max_new_tokens| GenerateRequest {
            prompt: prompt.to_vec(),
            max_new_tokens,
            end_tokens: Vec::new(),
            sampling: Sampling::default(),
        };
        let requests = [request(&texts[1], 3), request(prompt, answer.len()), request(prompt, 7)];
        let model = on_device(&reference.golden, &options())?;
        let answers = model.generate(&requests, &never).map_err(|error| error.to_string())?;
        match answers[1] == *answer && answers[2] == answer[..7] {
            true => Ok(()),
            false => Err(format!("answers {:?} instead of {answer:?}", answers[1])),
        }
    });
}
