//! Decoders on candle's devices, tried on candle's processor: they compute what the decoders on slices
//! compute, though not the same bits.

#[path = "support/decoders.rs"]
mod decoders;

use candle_core::Device;
use decoders::{Golden, goldens, never, request, tensors};
use indexmap::IndexMap;
use mergekit::lm::{
    Decoder, DecoderOptions, DecoderSkeleton, GenerateRequest, LanguageModel, Sampling,
    ScoreRequest, Storage, StoredTensor,
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

/// Largest difference of a log-probability from what transformers computes, relative where it is beyond
/// 1.
const TOLERANCE: f64 = 1e-4;

/// Largest difference that company makes, likewise.
const COMPANY: f64 = 1e-5;

/// Texts are longer than some models were trained on.
fn options() -> DecoderOptions {
    DecoderOptions { max_length: Some(128), ..DecoderOptions::default() }
}

fn on_device(golden: &Golden, options: &DecoderOptions) -> Result<Decoder, String> {
    Decoder::on_device(&golden.config, tensors(golden), options, Device::Cpu)
        .map_err(|error| error.to_string())
}

/// Runs a check on every model and reports all that fail.
fn check_all(check: impl Fn(&Reference) -> Result<(), String> + Sync) {
    let references = goldens::<Reference>();
    // For models as small as these, threads wait for each other longer than they compute.
    let threads = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("one thread");
    let problem = |reference: &Reference| {
        // A panic in one family should not hide what the others do.
        let check = || threads.install(|| check(reference));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
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
    found.iter().zip(expected).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f64::max)
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
        let mut found = found.as_slice();
        let mut worst = 0.0_f64;
        for expected in &reference.log_probabilities {
            let (of_text, others) = found.split_at(expected.len());
            // Each token's log-probability is the difference of two neighbours.
            let next = of_text[1..].iter().chain(&[0.0]);
            let each: Vec<f64> = of_text.iter().zip(next).map(|(sum, next)| sum - next).collect();
            worst = worst.max(largest_difference(&each, expected));
            found = others;
        }
        within("log-probabilities", worst, TOLERANCE)
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

#[test]
fn company_changes_the_last_digits_only() {
    check_all(|reference| {
        let texts = &reference.golden.texts;
        let mut requests: Vec<_> =
            texts.iter().flat_map(|text| (1..text.len()).map(|at| one_token(text, at))).collect();
        requests.push(request(&texts[0][..3], &texts[1][..4]));
        let together = sums(&on_device(&reference.golden, &options())?, &requests)?;
        let narrow = DecoderOptions { batch_rows: Some(7), ..options() };
        let few = sums(&on_device(&reference.golden, &narrow)?, &requests)?;
        let apart = DecoderOptions { share_prefixes: false, ..options() };
        let some: Vec<_> = requests.iter().step_by(9).cloned().collect();
        let alone = sums(&on_device(&reference.golden, &apart)?, &some)?;
        let of_some: Vec<f64> = together.iter().step_by(9).copied().collect();
        within("small batches", largest_difference(&few, &together), COMPANY)?;
        within("requests alone", largest_difference(&alone, &of_some), COMPANY)
    });
}

fn one_token(text: &[u32], at: usize) -> ScoreRequest {
    request(&text[..at], &text[at..=at])
}

#[test]
fn weights_in_other_forms_score_as_on_the_processor() {
    // Rows that are multiples of blocks, transposed ones, packed experts, and stacked projections.
    let names =
        ["llama_tied_head", "gpt2", "qwen3_moe_fused", "phi3", "gpt_neox", "deepseek_v3", "cohere"];
    let references = goldens::<Reference>();
    for name in names {
        let reference = references.iter().find(|reference| reference.golden.name == name);
        let Some(Reference { golden, .. }) = reference else { panic!("no {name}") };
        let requests: Vec<_> = golden.texts.iter().flat_map(|text| ends(text)).collect();
        let exact = sums(&on_device(golden, &options()).expect("builds"), &requests);
        let exact = exact.expect("scores");
        for storage in [Storage::F16, Storage::Q8_0, Storage::Q4_0] {
            let tensors: IndexMap<_, _> = tensors(golden)
                .into_iter()
                .map(|(name, tensor)| {
                    let stored = StoredTensor::convert(&name, &tensor, storage);
                    (name, stored.expect("floats can be converted"))
                })
                .collect();
            let here = DecoderSkeleton::new(&golden.config, &options()).expect("known");
            let here = here.load(tensors.clone()).expect("all tensors");
            let there = DecoderSkeleton::on_device(&golden.config, &options(), Device::Cpu);
            let there = there.expect("known").load(tensors).expect("all tensors");
            let expected = sums(&here, &requests).expect("scores");
            let found = sums(&there, &requests).expect("scores");
            let worst = largest_difference(&found, &expected);
            let rounded = largest_difference(&found, &exact);
            println!("{name} {storage:?}: {worst:.1e}, from f32 {rounded:.1e}");
            assert!(worst < COMPANY, "{name} {storage:?}: {worst}");
            assert!(rounded > worst, "{name} {storage:?} is not rounded");
        }
    }
}
