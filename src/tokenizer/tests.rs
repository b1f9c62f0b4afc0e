use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn added(id: u32, content: &str, special: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": !special, "special": special})
}

fn parse(fields: &Value) -> Result<TokenizerFile, TokenizerError> {
    TokenizerFile::parse(fields.to_string().as_bytes(), PathBuf::from("tokenizer.json"))
}

/// A BPE tokenizer of letters and pairs.
fn letters() -> Value {
    json!({
        "version": "1.0",
        "added_tokens": [added(6, "<pad>", true), added(0, "<s>", true)],
        "normalizer": null,
        "model": {
            "type": "BPE",
            "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3, "c": 4, "abc": 5},
            "merges": [["a", "b"], ["ab", "c"]],
        },
    })
}

fn tokens(file: &TokenizerFile) -> Vec<(&str, u32)> {
    file.vocabulary().iter().map(|(token, id)| (token.as_str(), *id)).collect()
}

#[test]
fn tokens_are_those_of_the_model_and_the_added_ones() {
    let file = parse(&letters()).unwrap();
    let expected = [("<s>", 0), ("a", 1), ("b", 2), ("ab", 3), ("c", 4), ("abc", 5), ("<pad>", 6)];
    assert_eq!(tokens(&file), expected);
    assert_eq!(file.added().keys().collect::<Vec<_>>(), ["<s>", "<pad>"]);
    assert_eq!(file.end(), 7);
    let pieces = json!({"model": {"type": "Unigram", "vocab": [["<unk>", 0.0], ["▁a", -1.5]]}});
    assert_eq!(tokens(&parse(&pieces).unwrap()), [("<unk>", 0), ("▁a", 1)]);
}

#[test]
fn stripping_takes_merges_along() {
    for older in [false, true] {
        let mut fields = letters();
        if older {
            fields["model"]["merges"] = json!(["a b", "ab c"]);
        }
        let mut file = parse(&fields).unwrap();
        assert!(file.strip(7).is_empty() && !file.is_changed());
        assert_eq!(file.strip(5), ["abc", "<pad>"]);
        assert!(file.is_changed());
        let written: Value = serde_json::from_str(&file.to_json().unwrap()).unwrap();
        assert_eq!(written["model"]["vocab"], json!({"<s>": 0, "a": 1, "b": 2, "ab": 3, "c": 4}));
        assert_eq!(written["model"]["merges"].as_array().unwrap().len(), 1);
        assert_eq!(written["added_tokens"], json!([added(0, "<s>", true)]));
    }
}

#[test]
fn merges_of_continuing_pieces_are_kept() {
    let fields = json!({"model": {"type": "BPE", "continuing_subword_prefix": "##",
        "vocab": {"a": 0, "##b": 1, "ab": 2, "c": 3}, "merges": [["a", "##b"]]}});
    let mut file = parse(&fields).unwrap();
    file.strip(3);
    let written: Value = serde_json::from_str(&file.to_json().unwrap()).unwrap();
    assert_eq!(written["model"]["merges"], json!([["a", "##b"]]));
}

#[test]
fn new_tokens_go_behind_all_others_and_known_ones_stay() {
    let mut file = parse(&letters()).unwrap();
    assert_eq!(file.add("<s>", TokenFlags::ORDINARY), 0);
    assert!(!file.is_changed());
    assert_eq!(file.add("ab", TokenFlags::ORDINARY), 3);
    assert_eq!(file.add("new", TokenFlags::ORDINARY), 7);
    assert_eq!(file.add("newer", TokenFlags::ORDINARY), 8);
    let written: Value = serde_json::from_str(&file.to_json().unwrap()).unwrap();
    let expected = json!([
        added(0, "<s>", true),
        added(3, "ab", false),
        added(6, "<pad>", true),
        added(7, "new", false),
        added(8, "newer", false),
    ]);
    assert_eq!(written["added_tokens"], expected);
    assert_eq!(written.as_object().unwrap().keys().next().unwrap(), "version");
}

#[test]
fn a_union_has_ordinary_tokens_first_and_the_first_models_flags() {
    let base = parse(&letters()).unwrap();
    let mut other = letters();
    other["model"]["vocab"] = json!({"x": 1, "a": 0, "<s>": 2, "beyond": 9});
    other["model"]["merges"] = json!([]);
    other["added_tokens"] =
        json!([added(2, "<s>", false), added(3, "<end>", true), added(8, "c", true)]);
    let other = parse(&other).unwrap();
    let mut united = base.clone();
    let models =
        [ModelTokens { tokenizer: &base, end: 7 }, ModelTokens { tokenizer: &other, end: 9 }];
    let expected = United { conflicts: vec!["<s>".to_owned()], ordinary: vec!["x".to_owned()] };
    assert_eq!(unite(&mut united, &models), expected);
    let mut expected = tokens(&base);
    expected.extend([("x", 7), ("<end>", 8)]);
    assert_eq!(tokens(&united), expected);
    assert!(united.added()["<s>"].flags.special && united.added()["c"].flags.special);
    assert!(!united.added()["x"].flags.special && united.added()["x"].flags.normalized);
}

#[test]
fn broken_files_are_refused() {
    let message = |fields: Value| parse(&fields).unwrap_err().to_string();
    let cannot = "`tokenizer.json` cannot be understood: ";
    assert_eq!(message(json!([])), "`tokenizer.json` is no JSON object");
    assert_eq!(message(json!({})), format!("{cannot}`model.vocab` is missing"));
    for (vocabulary, problem) in [
        (json!({"a": -1}), "invalid value: integer `-1`, expected u32"),
        (json!([["a", 0.0], 3]), "invalid type: integer `3`, expected a tuple of size 2"),
        (json!("a"), "expected tokens with their ids, or a list of pieces with their scores"),
    ] {
        let message = message(json!({"model": {"vocab": vocabulary}}));
        assert!(message.starts_with(cannot) && message.contains(problem), "{message}");
    }
    assert_eq!(
        message(json!({"model": {"vocab": {"a": 4_000_000_000_u32}}})),
        format!("{cannot}token \"a\" has id 4000000000, but there are 1 tokens")
    );
    let error = message(json!({"model": {"vocab": {}}, "added_tokens": [{"id": 3}]}));
    assert!(error.starts_with(&format!("{cannot}missing field `content`")), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_make_parsing_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = TokenizerFile::parse(&text, PathBuf::new());
    }
}

mod rows {
    use std::sync::Arc;

    use super::super::*;
    use crate::checkpoint::{MemoryCheckpoint, TensorInfo, TensorSource};
    use crate::kernels::dtype::{DType, narrow};

    fn source(dtype: DType, rows: usize, first: f32) -> RowSource {
        let values: Vec<f32> = (0..rows * 3).map(|index| first + index as f32).collect();
        let info = TensorInfo { dtype, shape: vec![rows, 3] };
        let mut bytes = vec![0; info.bytes()];
        narrow(dtype, &values, &mut bytes);
        let mut checkpoint = MemoryCheckpoint::default();
        checkpoint.insert_bytes("e", info, bytes).unwrap();
        RowSource { source: Arc::new(checkpoint), tensor: "e".to_owned() }
    }

    #[test]
    fn every_part_of_every_kind_of_row_is_read() {
        for (dtype, other) in [(DType::F32, DType::F32), (DType::BF16, DType::F32)] {
            let from = vec![source(dtype, 4, 0.0), source(other, 2, 100.0)];
            let stored = |from, row| Row::Stored { from, row };
            let rows = vec![
                stored(0, 1),
                stored(0, 2),
                stored(1, 0),
                Row::Zero,
                Row::Padding,
                Row::Mean(0),
                stored(0, 0),
            ];
            let means = vec![vec![(0, 3), (1, 1)]];
            let aligned = AlignedRows::new("e", DType::F32, from, rows, means);
            let mut expected = vec![3., 4., 5., 6., 7., 8., 100., 101., 102., 0., 0., 0.];
            let mean = [56., 57., 58.];
            let sums = (0..3).map(|col| {
                [0, 3, 6, 9].iter().map(|row| expected[row + col]).sum::<f32>()
                    + mean[col]
                    + col as f32
            });
            let padding: Vec<f32> = sums.map(|sum| (f64::from(sum) / 6.0) as f32).collect();
            expected.extend(padding);
            expected.extend(mean);
            expected.extend([0., 1., 2.]);
            for start in 0..expected.len() {
                for end in start..=expected.len() {
                    let mut values = vec![0.0; end - start];
                    aligned.read_into("e", start, &mut values).unwrap();
                    assert_eq!(values, expected[start..end], "{start}..{end} of {dtype}");
                }
            }
            assert!(aligned.read_into("e", 20, &mut [0.0; 2]).is_err());
        }
    }
}
