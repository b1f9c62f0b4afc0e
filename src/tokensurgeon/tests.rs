//! Transplants between small models, where it is known what should come out.

use super::testing::{
    EMBEDDING, HEAD, Toy, names, noise, toy, toy_of, transplanted, transplanted_on,
};
use super::*;
use serde_json::json;

const ALL: [Method; 10] = [
    Method::CommonInterpolation,
    Method::Subword,
    Method::Mean,
    Method::Zero,
    Method::Randn,
    Method::JohnHewitt,
    Method::Omp,
    Method::LandmarkPca,
    Method::Stb,
    Method::MpRope,
];

fn options(method: Method, k: usize) -> SurgeonOptions {
    SurgeonOptions { method, k, ..Default::default() }
}

/// Rows `first ..` of the new embedding.
fn new_rows(model: &Toy, donor: &Toy, options: SurgeonOptions, first: usize) -> Vec<f32> {
    let outcome = transplanted(model, donor, options).unwrap();
    let width = outcome.checkpoint_width();
    outcome.values(EMBEDDING)[first * width..].to_vec()
}

impl testing::Outcome {
    fn checkpoint_width(&self) -> usize {
        use crate::checkpoint::TensorSource;
        self.checkpoint.tensors()[EMBEDDING].shape[1]
    }
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "[{index}]: {found} instead of {expected}");
    }
}

#[test]
fn threads_and_batches_change_no_byte() {
    let (shared, new) = (700, 45);
    let model = toy(&names(0..shared + 9), 24, |row, col| noise(1, row, col));
    let mut tokens = names(0..shared);
    tokens.extend(names(2000..2000 + new));
    let donor = toy(&tokens, 16, |row, col| noise(2, row, col));
    for method in ALL {
        let options = SurgeonOptions { noise: 0.01, scale: 1.5, ..options(method, 5) };
        let first = transplanted_on(1, &model, &donor, options).unwrap().values(EMBEDDING);
        for (threads, batch_size) in [(3, Some(1)), (2, Some(7)), (1, Some(44))] {
            let options = SurgeonOptions { batch_size, ..options };
            let again = transplanted_on(threads, &model, &donor, options).unwrap();
            assert_eq!(again.values(EMBEDDING), first, "{method}, {threads}, {batch_size:?}");
        }
    }
}

#[test]
fn known_tokens_keep_their_rows_and_the_donor_decides_their_ids() {
    let model = toy(&names(0..40), 6, |row, col| noise(1, row, col));
    let tokens: Vec<String> = names(5..30).into_iter().rev().collect();
    let donor = toy(&tokens, 4, |row, col| noise(2, row, col));
    let outcome = transplanted(&model, &donor, options(Method::Omp, 64)).unwrap();
    let expected: Vec<f32> =
        (5..30).rev().flat_map(|row| (0..6).map(move |col| noise(1, row, col))).collect();
    assert_eq!(outcome.values(EMBEDDING), expected);
    assert_eq!(outcome.values("model.norm.weight"), [0.5; 6]);
    let config = std::fs::read(outcome.directory.path().join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!((&config["vocab_size"], &config["eos_token_id"]), (&json!(25), &json!(7)));
}

/// What a rotation in the first two columns and a shift make of a row.
fn moved(row: &[f32]) -> Vec<f32> {
    let mut moved: Vec<f32> = row.iter().map(|value| value + 0.25).collect();
    (moved[0], moved[1]) = (0.6 * row[0] - 0.8 * row[1] + 2.0, 0.8 * row[0] + 0.6 * row[1] - 1.0);
    moved
}

/// A model that is the donor's space moved, and the rows of three new tokens in it.
fn moved_pair(width: usize, shared: usize) -> (Toy, Toy, Vec<f32>) {
    let in_donor = move |row: usize| (0..width).map(|col| noise(2, row, col)).collect::<Vec<_>>();
    let mut tokens = names(0..shared);
    tokens.extend(names(900..903));
    let donor = toy(&tokens, width, |row, col| noise(2, row, col));
    let model = toy(&names(0..shared), width, |row, col| moved(&in_donor(row))[col]);
    let expected = (shared..shared + 3).flat_map(|row| moved(&in_donor(row))).collect();
    (model, donor, expected)
}

#[test]
fn landmarks_find_a_rotation_and_a_shift() {
    let (model, donor, expected) = moved_pair(8, 60);
    assert_close(&new_rows(&model, &donor, options(Method::LandmarkPca, 64), 60), &expected, 1e-4);
}

#[test]
fn landmarks_find_the_way_between_spaces_of_different_widths() {
    // The wide space is the narrow one, turned, in four of six directions.
    let narrow = |row: usize, col: usize| noise(2, row, col);
    let wide = |row: usize, col: usize| match col {
        0 => 0.6 * narrow(row, 0) - 0.8 * narrow(row, 3),
        1 => 0.8 * narrow(row, 0) + 0.6 * narrow(row, 3),
        4 => narrow(row, 1),
        5 => -narrow(row, 2) + 3.0,
        _ => 0.0,
    };
    let (shared, mut tokens) = (names(0..50), names(0..50));
    tokens.extend(names(900..903));
    let options = options(Method::LandmarkPca, 64);
    let found = new_rows(&toy(&shared, 6, wide), &toy(&tokens, 4, narrow), options, 50);
    let expected: Vec<f32> =
        (50..53).flat_map(|row| (0..6).map(move |col| wide(row, col))).collect();
    assert_close(&found, &expected, 1e-4);
    let found = new_rows(&toy(&shared, 4, narrow), &toy(&tokens, 6, wide), options, 50);
    let expected: Vec<f32> =
        (50..53).flat_map(|row| (0..4).map(move |col| narrow(row, col))).collect();
    assert_close(&found, &expected, 1e-4);
}

#[test]
fn a_basis_of_shared_tokens_carries_any_linear_map() {
    // With as many tokens as there are dimensions every basis is exact.
    let (model, donor, expected) = moved_pair(8, 60);
    assert_close(&new_rows(&model, &donor, options(Method::Stb, 8), 60), &expected, 1e-3);
}

#[test]
fn rotated_rows_are_found_and_rotated_alike() {
    // New tokens are shared ones, turned by a position. Rows lie far apart, so that turned ones are nearest to
    // themselves.
    let (width, shared) = (8, 4);
    let position = |row: usize| [0.3f32, -0.2, 0.1][row - shared];
    // Heads of four: pairs (0, 2) and (1, 3), with the frequencies 1 and 1/100.
    let turned = |row: &[f32; 8], position: f32| -> Vec<f32> {
        let mut turned = row.to_vec();
        for (i, frequency) in [(0, 1.0), (1, 0.01), (4, 1.0), (5, 0.01)] {
            let (sine, cosine) = (position * frequency).sin_cos();
            turned[i] = row[i] * cosine - row[i + 2] * sine;
            turned[i + 2] = row[i + 2] * cosine + row[i] * sine;
        }
        turned
    };
    let plain = |seed: u64, row: usize| -> [f32; 8] {
        std::array::from_fn(|col| if col / 2 == row { 2.0 } else { 0.1 * noise(seed, row, col) })
    };
    let value = |seed: u64, row: usize, col: usize| match row < shared {
        true => plain(seed, row)[col],
        false => 1.5 * turned(&plain(seed, row - shared), position(row))[col],
    };
    let mut tokens = names(0..shared);
    tokens.extend(names(900..903));
    let donor = toy(&tokens, width, |row, col| value(2, row, col));
    let model = toy(&names(0..shared), width, |row, col| value(1, row, col));
    let found = new_rows(&model, &donor, options(Method::MpRope, 1), shared);
    let expected: Vec<f32> = (shared..shared + 3)
        .flat_map(|row| (0..width).map(move |col| (row, col)))
        .map(|(row, col)| value(1, row, col))
        .collect();
    assert_close(&found, &expected, 1e-4);
}

#[test]
fn random_rows_are_like_the_others() {
    let (shared, new) = (200, 4000);
    let correlated = |row: usize, col: usize| {
        3.0 + noise(1, row, 0) + 0.5 * noise(1, row, col + 1) * (col as f32 + 1.0)
    };
    let model = toy(&names(0..shared), 3, correlated);
    let mut tokens = names(0..shared);
    tokens.extend(names(5000..5000 + new));
    let donor = toy(&tokens, 4, |row, col| noise(2, row, col));
    let covariance = |rows: &[f32]| {
        let n = rows.len() / 3;
        let mean = |col: usize| rows.iter().skip(col).step_by(3).sum::<f32>() / n as f32;
        let means = [mean(0), mean(1), mean(2)];
        let product = |(a, b): (usize, usize)| {
            let products =
                rows.chunks_exact(3).map(|row| (row[a] - means[a]) * (row[b] - means[b]));
            products.sum::<f32>() / n as f32
        };
        let pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)];
        (means, pairs.map(product))
    };
    let options = options(Method::JohnHewitt, 64);
    let found = new_rows(&model, &donor, options, shared);
    let all: Vec<f32> = (0..shared * 3).map(|at| correlated(at / 3, at % 3)).collect();
    let ((means, products), (expected_means, expected_products)) =
        (covariance(&found), covariance(&all));
    assert_close(&means, &expected_means, 0.08);
    assert_close(&products, &expected_products, 0.08);
    assert_eq!(new_rows(&model, &donor, options, shared), found);
    let other = SurgeonOptions { seed: 1, ..options };
    assert_ne!(new_rows(&model, &donor, other, shared), found);
}

#[test]
fn noise_and_scale_change_approximated_rows_only() {
    let model = toy(&names(0..40), 50, |row, col| noise(1, row, col));
    let mut tokens = names(0..40);
    tokens.extend(names(900..920));
    let donor = toy(&tokens, 4, |row, col| noise(2, row, col));
    let options = SurgeonOptions { noise: 0.5, scale: 2.0, ..options(Method::Zero, 64) };
    let values = transplanted(&model, &donor, options).unwrap().values(EMBEDDING);
    let expected: Vec<f32> = (0..40 * 50).map(|at| noise(1, at / 50, at % 50)).collect();
    assert_eq!(values[..40 * 50], expected);
    let variance = values[40 * 50..].iter().map(|x| x * x).sum::<f32>() / 1000.0;
    assert!((variance - 1.0).abs() < 0.25, "{variance}");
}

/// A model with the tokens `t0` to `t399` and `extra`, whose row 3 is like those of the latter.
fn partly_trained(seed: u64, extra: &[&str]) -> Toy {
    let tokens = names(0..400).into_iter().chain(extra.iter().map(|&token| token.to_owned()));
    let vocabulary: serde_json::Map<_, _> =
        tokens.zip(0..).map(|(token, id)| (token, json!(id))).collect();
    let rows = vocabulary.len();
    let tokenizer = json!({"model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "t0"}});
    let matrices = [(EMBEDDING, rows), (HEAD, rows)];
    toy_of(&tokenizer, &json!({}), &matrices, 8, |name, row, col| {
        let seed = seed + u64::from(name == HEAD);
        match row == 3 || row >= 400 {
            true => 0.01 * noise(seed, row, col) + 1.0,
            false => noise(seed, row, col),
        }
    })
}

#[test]
fn hardly_trained_tokens_are_left_out() {
    const RESERVED: &str = "reserved_special_token_9";
    let (model, donor) = (partly_trained(10, &[RESERVED]), partly_trained(20, &[RESERVED, "new"]));
    let options = SurgeonOptions { magikarp: true, ..options(Method::Zero, 64) };
    let surgeon = Surgeon::new(Some(1), Arc::default()).unwrap();
    let planned = |options| surgeon.plan(&model.input, &donor.input, options, &()).unwrap();
    let transplant = planned(options);
    let [embedding, head] = &transplant.matrices[..] else { panic!("two matrices") };
    assert_eq!(embedding.matches, head.matches);
    // Known by its name, or like what is known by it.
    for id in [3, 400, 401] {
        assert_eq!(embedding.matches.origins[id], matching::Origin::Nothing, "{id}");
    }
    // In each model the hundredth part with the smallest norms is out too, and little else.
    let exact = embedding.matches.counts.exact;
    assert!((380..398).contains(&exact), "{exact}");
    let transplant = planned(SurgeonOptions { magikarp: false, ..options });
    assert_eq!(transplant.matrices[0].matches.counts.exact, 401);
}

/// A tokenizer with the tokens of `texts`, of which `added` are added later.
fn tokenizer(texts: &[&str], added: &[&str], is_byte_level: bool) -> serde_json::Value {
    let vocabulary: serde_json::Map<_, _> =
        texts.iter().zip(0..).map(|(text, id)| ((*text).to_owned(), json!(id))).collect();
    let added: Vec<_> = added
        .iter()
        .zip(texts.len()..)
        .map(|(content, id)| json!({"id": id, "content": content, "special": true}))
        .collect();
    let decoder = if is_byte_level { "ByteLevel" } else { "Metaspace" };
    json!({
        "added_tokens": added,
        "decoder": {"type": "Sequence", "decoders": [{"type": decoder}]},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    })
}

#[test]
fn tokens_are_compared_by_what_they_stand_for() {
    let model = toy_of(
        &tokenizer(&["▁the", "é", "▁", "▁▁", "<0x0A>", "<0xC3>", "pre", "▁pre"], &["</s>"], false),
        &json!({"eos_token": {"content": "</s>"}}),
        &[(EMBEDDING, 9)],
        2,
        |_, row, _| row as f32,
    );
    let texts = ["Ġthe", "Ã©", "Ġ", "ĠĠ", "Ċ", "Ã", "prefix", "Ġprefix", "the", "Ġp"];
    let donor = toy_of(
        &tokenizer(&texts, &["<|end|>", "Ġthe>"], true),
        &json!({"eos_token": "<|end|>"}),
        &[(EMBEDDING, 12)],
        2,
        |_, row, _| row as f32,
    );
    let rows = |byte_match, prefix_match| -> Vec<Option<u32>> {
        let options = SurgeonOptions { byte_match, prefix_match, ..options(Method::Zero, 64) };
        let surgeon = Surgeon::new(Some(1), Arc::default()).unwrap();
        let transplant = surgeon.plan(&model.input, &donor.input, options, &()).unwrap();
        let origins = transplant.matrices[0].matches.origins.iter();
        let rows = origins.map(|origin| match origin {
            matching::Origin::Copied(id) => Some(*id),
            _ => None,
        });
        rows.collect()
    };
    let exact = [Some(0), Some(1), Some(2), Some(3), None, None];
    let found = rows(Matching::No, Matching::LmHead);
    assert_eq!(found[..6], exact);
    assert_eq!(found[6..], [None, None, None, None, Some(8), None]);
    let found = rows(Matching::Yes, Matching::Embed);
    assert_eq!(found[..6], [Some(0), Some(1), Some(2), Some(3), Some(4), Some(5)]);
    assert_eq!(found[6..], [Some(6), Some(7), None, None, Some(8), None]);
}

#[test]
fn tokens_without_a_row_are_zero_and_warned_of() {
    let tokenizer = tokenizer(&["a", "b", "c"], &["<x>"], true);
    let value = |_: &str, row: usize, _: usize| row as f32 + 1.0;
    let short = toy_of(&tokenizer, &json!({}), &[(EMBEDDING, 2)], 2, value);
    let long = toy_of(&tokenizer, &json!({}), &[(EMBEDDING, 4)], 2, value);
    let outcome = transplanted(&long, &short, options(Method::Mean, 64)).unwrap();
    assert_eq!(outcome.values(EMBEDDING), [1.0, 1.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
    let outcome = transplanted(&short, &long, options(Method::Mean, 64)).unwrap();
    assert_eq!(outcome.values(EMBEDDING), [1.0, 1.0, 2.0, 2.0, 1.5, 1.5, 1.5, 1.5]);
    let surgeon = Surgeon::new(Some(1), Arc::default()).unwrap();
    let options = options(Method::Mean, 64);
    let transplant = surgeon.plan(&short.input, &long.input, options, &()).unwrap();
    let warnings: Vec<String> = transplant.warnings().iter().map(ToString::to_string).collect();
    let expected = format!(
        "2 tokens of `{}` have ids beyond the 2 rows of `{EMBEDDING}`, and are left out there",
        short.input.label(),
    );
    assert_eq!(warnings, [expected]);
}

#[test]
fn a_run_that_is_no_longer_wanted_leaves_nothing() {
    let model = toy(&names(0..40), 6, |row, col| noise(1, row, col));
    let donor = toy(&names(0..50), 4, |row, col| noise(2, row, col));
    let cancelled = Arc::new(AtomicBool::new(false));
    let surgeon = Surgeon::new(Some(1), Arc::clone(&cancelled)).unwrap();
    let options = options(Method::Omp, 4);
    let transplant = surgeon.plan(&model.input, &donor.input, options, &()).unwrap();
    cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
    let parent = tempfile::tempdir().unwrap();
    let result =
        surgeon.write(&transplant, &parent.path().join("out"), &TransplantFiles::default(), &());
    assert!(matches!(result, Err(SurgeonError::Interrupted)));
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}
