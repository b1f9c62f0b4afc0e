//! Decoders against themselves, since whatever is asked along with a request, its answer must not
//! change; and what they refuse. What the answers should be is in lm_families.rs.

#[path = "support/decoders.rs"]
mod decoders;

use std::collections::HashSet;

use candle_core::{DType, Tensor};
use decoders::{Golden, goldens, never, request, tensors};
use indexmap::IndexMap;
use mergekit::lm::{
    Decoder, DecoderOptions, DecoderSkeleton, GenerateRequest, LanguageModel, LmError, Sampling,
    Score, ScoreRequest, StoredTensor,
};
use serde_json::{Value, json};

fn golden(name: &str) -> Golden {
    let mut goldens = goldens::<Golden>().into_iter();
    goldens.find(|golden| golden.name == name).expect("golden data has the variant")
}

fn decoder(golden: &Golden, options: &DecoderOptions) -> Decoder {
    Decoder::new(&golden.config, tensors(golden), options)
        .unwrap_or_else(|error| panic!("{}: {error}", golden.name))
}

/// Whatever lengths models were trained on.
fn long() -> DecoderOptions {
    DecoderOptions { max_length: Some(128), ..DecoderOptions::default() }
}

/// Requests with shared contexts, nested contexts, repeated requests and different lengths.
fn mixed_requests(text: &[u32]) -> Vec<ScoreRequest> {
    let mut requests = Vec::new();
    for start in [0, 0, 3, 7, 20] {
        for end in [start + 5, start + 6, start + 17] {
            requests.push(request(&text[start..end], &text[end..end + 1]));
            requests.push(request(&text[start..end], &text[end..end + 4]));
            requests.push(request(&text[start..end], &[1, 2, 3]));
            requests.push(request(&text[start..end], &[1, 2, 9, 9, 9]));
        }
    }
    // All of them behind one header.
    for index in 0..requests.len() {
        let mut headed = requests[index].clone();
        headed.context.splice(0..0, text[30..48].iter().copied());
        requests.push(headed);
    }
    requests
}

#[test]
fn scores_do_not_depend_on_company() {
    for name in [
        "llama_grouped_heads",
        "llama_head_dim",
        "llama_dynamic_rope",
        "qwen2_window",
        "mistral_window",
        "gemma3",
        "phi3_longrope",
        "falcon_rw",
        "qwen2_moe",
        "deepseek_v2",
    ] {
        let golden = golden(name);
        let requests = mixed_requests(&golden.texts[0]);
        let model = decoder(&golden, &long());
        let alone: Vec<Score> = requests
            .iter()
            .map(|request| model.score(std::slice::from_ref(request)).expect("valid")[0])
            .collect();
        let rows = [1, 2, 13, 64, 10_000];
        let of_rows = rows.map(|rows| DecoderOptions { batch_rows: Some(rows), ..long() });
        let apart = DecoderOptions { share_prefixes: false, ..long() };
        let little = DecoderOptions { memory_limit: Some(1), ..long() };
        for options in of_rows.into_iter().chain([apart, little]) {
            let model = decoder(&golden, &options);
            assert_eq!(model.score(&requests).expect("valid"), alone, "{name}, {options:?}");
            // A header that all share is computed before the batches.
            let headed = requests.len() / 2;
            assert_eq!(model.score(&requests[headed..]).expect("valid"), alone[headed..]);
        }
        let reversed: Vec<_> = requests.iter().rev().cloned().collect();
        let mut scores = model.score(&reversed).expect("valid");
        scores.reverse();
        assert_eq!(scores, alone, "{name}, reversed");
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let scores = pool.expect("threads can be started").install(|| model.score(&requests));
            assert_eq!(scores.expect("valid"), alone, "{name}, {threads} threads");
        }
    }
}

#[test]
fn answers_do_not_depend_on_company() {
    for name in [
        "llama_biases",
        "llama_dynamic_rope",
        "qwen3_window",
        "phi3_longrope",
        "falcon_rw",
        "mixtral",
    ] {
        let golden = golden(name);
        let requests: Vec<GenerateRequest> = (0..150)
            .map(|index| GenerateRequest {
                prompt: golden.texts[0][..3 + index % 40].to_vec(),
                max_new_tokens: index % 70,
                end_tokens: vec![7, 12],
                sampling: match index % 3 {
                    0 => Sampling { temperature: 0.7, seed: index as u64, ..Sampling::default() },
                    1 => Sampling { repetition_penalty: 1.3, ..Sampling::default() },
                    _ => Sampling::default(),
                },
            })
            .collect();
        let stop = |request: usize, answer: &[u32]| answer.len() == 2 + request % 90;
        let model = decoder(&golden, &long());
        let alone: Vec<Vec<u32>> = (0..requests.len())
            .map(|index| {
                let stop = |_: usize, answer: &[u32]| stop(index, answer);
                let answers = model.generate(&requests[index..=index], &stop).expect("valid");
                answers.into_iter().next().expect("one answer per request")
            })
            .collect();
        assert!(alone.iter().any(|answer| answer.len() > 20), "nothing crosses a page");
        let of_rows = [1, 13, 1000].map(|rows| DecoderOptions { batch_rows: Some(rows), ..long() });
        let little = DecoderOptions { memory_limit: Some(1), ..long() };
        for options in of_rows.into_iter().chain([little]) {
            let model = decoder(&golden, &options);
            let answers = model.generate(&requests, &stop).expect("valid");
            assert_eq!(answers, alone, "{name}, {options:?}");
        }
    }
}

#[test]
fn weights_are_exchanged_without_a_trace() {
    let names = ["llama_grouped_heads", "mixtral"];
    for golden in names.map(golden) {
        let requests = mixed_requests(&golden.texts[0]);
        let stored = |factor: f64| -> IndexMap<String, StoredTensor> {
            let scaled = |(name, tensor): (String, Tensor)| {
                let tensor = (tensor * factor).expect("numbers can be multiplied");
                (name, StoredTensor::new(tensor))
            };
            tensors(&golden).into_iter().map(scaled).collect()
        };
        let load = |skeleton: DecoderSkeleton, factor| {
            skeleton.load(stored(factor)).expect("the model has all tensors")
        };
        let skeleton = || DecoderSkeleton::new(&golden.config, &long()).expect("it is known");
        let first = load(skeleton(), 1.0);
        let scores = first.score(&requests).expect("valid");
        let second = load(first.unload(), 0.5);
        let fresh = load(skeleton(), 0.5).score(&requests).expect("valid");
        assert_eq!(second.score(&requests).expect("valid"), fresh);
        assert_ne!(fresh, scores);
        let again = load(second.unload(), 1.0);
        assert_eq!(again.score(&requests).expect("valid"), scores);
    }
}

#[test]
fn sequences_end_as_asked() {
    let golden = golden("llama_grouped_heads");
    let model = decoder(&golden, &DecoderOptions::default());
    let prompt = golden.prompt.clone();
    let answer = &golden.answer;
    let request = |max_new_tokens, end_tokens: &[u32]| GenerateRequest {
        prompt: prompt.clone(),
        max_new_tokens,
        end_tokens: end_tokens.to_vec(),
        sampling: Sampling::default(),
    };
    let third = answer[2..].iter().position(|token| !answer[..2].contains(token)).expect("some");
    let requests = [
        request(0, &[]),
        request(5, &[]),
        request(30, &[answer[2 + third]]),
        request(30, &[]),
        request(30, &[answer[0]]),
    ];
    let stop = |index: usize, produced: &[u32]| index == 3 && produced.len() == 4;
    let answers = model.generate(&requests, &stop).expect("requests are valid");
    let lengths: Vec<usize> = answers.iter().map(Vec::len).collect();
    assert_eq!(lengths, [0, 5, 2 + third, 4, 0]);
    assert!(answers.iter().all(|produced| answer.starts_with(produced)));
    assert_eq!(model.generate(&[], &never).expect("nothing to do"), Vec::<Vec<u32>>::new());
}

#[test]
fn long_requests_lose_the_beginning_of_their_context() {
    let golden = golden("llama_grouped_heads");
    let options = DecoderOptions { max_length: Some(10), ..DecoderOptions::default() };
    let model = decoder(&golden, &options);
    let text = &golden.texts[0];
    // Ten tokens are fed: the last eleven without the final one.
    for (context, continuation, kept) in [(20, 3, 8), (20, 10, 1), (20, 1, 10), (8, 3, 8)] {
        let whole = request(&text[..context], &text[context..context + continuation]);
        let mut cut = whole.clone();
        cut.context.drain(..context - kept);
        let scores = model.score(&[whole, cut]).expect("valid");
        assert_eq!(scores[0], scores[1]);
    }
    let error = model.score(&[request(&text[..5], &text[..11])]).expect_err("too long");
    assert_eq!(error.to_string(), "request 0 asks for 11 tokens, but the model's context holds 10");

    let generate = |prompt: &[u32], max_new_tokens| {
        let prompt = prompt.to_vec();
        model.generate(
            &[GenerateRequest {
                prompt,
                max_new_tokens,
                end_tokens: vec![],
                sampling: Sampling::default(),
            }],
            &never,
        )
    };
    let whole = generate(&text[..20], 4).expect("valid");
    assert_eq!(whole, generate(&text[14..20], 4).expect("valid"));
    assert!(matches!(generate(&text[..5], 10), Err(LmError::RequestTooLong { .. })));
}

#[test]
fn other_dtypes_and_layouts_are_converted() {
    let golden = golden("llama_grouped_heads");
    let halves: IndexMap<String, Tensor> = tensors(&golden)
        .into_iter()
        .map(|(name, tensor)| (name, tensor.to_dtype(DType::BF16).expect("bf16 can hold it")))
        .collect();
    let widened = halves
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.to_dtype(DType::F32).expect("f32 holds it")))
        .collect();
    let requests = mixed_requests(&golden.texts[0]);
    let options = DecoderOptions::default();
    let of_halves = Decoder::new(&golden.config, halves, &options).expect("bf16 is accepted");
    let of_floats = Decoder::new(&golden.config, widened, &options).expect("f32 is accepted");
    assert_eq!(
        of_halves.score(&requests).expect("valid"),
        of_floats.score(&requests).expect("valid")
    );

    // Transposed twice in memory: right values, wrong layout.
    let mut strided = tensors(&golden);
    for tensor in strided.values_mut().filter(|tensor| tensor.rank() == 2) {
        *tensor = tensor.t().and_then(|t| t.contiguous()).and_then(|t| t.t()).expect("2-D");
    }
    let strided = Decoder::new(&golden.config, strided, &options).expect("strides are accepted");
    let plain = decoder(&golden, &options);
    assert_eq!(strided.score(&requests).expect("valid"), plain.score(&requests).expect("valid"));
}

#[test]
fn bad_requests_are_refused() {
    let golden = golden("llama_grouped_heads");
    let model = decoder(&golden, &DecoderOptions::default());
    let message = |context: &[u32], continuation: &[u32]| {
        let requests = [request(&[1], &[1]), request(context, continuation)];
        model.score(&requests).expect_err("the second request is bad").to_string()
    };
    assert_eq!(message(&[], &[1]), "request 1 has no tokens before what the model should say");
    assert_eq!(message(&[1], &[]), "request 1 has no tokens to score");
    assert_eq!(message(&[1], &[50]), "request 1 holds token 50, but the model knows 50 tokens");
}

#[test]
fn weights_that_are_no_numbers_are_reported() {
    let golden = golden("llama_grouped_heads");
    let mut tensors = tensors(&golden);
    let name = "model.layers.1.mlp.up_proj.weight";
    tensors[name] = (&tensors[name] * f64::NAN).expect("arithmetic works");
    let model = Decoder::new(&golden.config, tensors, &DecoderOptions::default()).expect("builds");
    let error = model.score(&[request(&[1, 2], &[3])]).expect_err("nothing is a number");
    assert!(matches!(error, LmError::NotFinite { request: 0 }), "{error}");
    let prompt = GenerateRequest {
        prompt: vec![1],
        max_new_tokens: 2,
        end_tokens: vec![],
        sampling: Sampling::default(),
    };
    let error = model.generate(&[prompt], &never).expect_err("nothing is a number");
    assert!(matches!(error, LmError::NotFinite { request: 0 }), "{error}");
}

#[test]
fn unusable_models_are_refused_by_name() {
    let golden = golden("llama_grouped_heads");
    let good = &golden.config;
    let message = |field: &str, value: Value| {
        let mut config = good.clone();
        config[field] = value;
        let error = Decoder::new(&config, tensors(&golden), &DecoderOptions::default());
        error.expect_err(field).to_string()
    };
    let cases = [
        ("architectures", json!(["BloomForCausalLM"]), "architecture `BloomForCausalLM` yet"),
        ("hidden_act", json!("hardswish"), "`hidden_act` set to `hardswish` yet"),
        ("num_attention_heads", json!(0), "`num_attention_heads` in the model's config is `0`"),
        ("num_attention_heads", json!(5), "should be a divisor of the hidden size"),
        ("num_key_value_heads", json!(3), "should be a divisor of the number of attention heads"),
        ("head_dim", json!(7), "such that an even number of its elements"),
        ("head_dim", json!(268_435_456), "an even number of its elements, at most 65536"),
        ("hidden_size", json!(1u64 << 60), "should be a whole number from 1 to"),
        ("hidden_size", json!(-4), "should be a whole number from 1 to"),
        ("hidden_size", Value::Null, "has no `hidden_size`"),
        ("num_hidden_layers", json!(268_435_456), "should be at most 16384"),
        ("num_hidden_layers", json!(5), "no tensor `model.layers.2."),
        ("vocab_size", json!(51), "shape [50, 32], but the config implies [51, 32]"),
        ("intermediate_size", json!(268_435_456), "shape [48, 32], but the config implies"),
        ("rms_norm_eps", json!("small"), "should be a number above 0"),
        ("rope_theta", json!(0), "should be a number above 0"),
        ("rope_scaling", json!({"type": "mystic", "factor": 2.0}), "set to `mystic` yet"),
        ("rope_scaling", json!({"type": "linear"}), "has no `rope_scaling.factor`"),
        ("rope_scaling", json!("linear"), "`rope_scaling` set to `linear` yet"),
        ("rope_parameters", json!({"full_attention": {}}), "`rope_parameters` set to"),
        ("tie_word_embeddings", json!("yes"), "should be true or false"),
    ];
    for (field, value, expected) in cases {
        let message = message(field, value);
        assert!(message.contains(expected), "{field}: {message}");
    }
    let mut lacking = tensors(&golden);
    lacking.swap_remove("lm_head.weight");
    let error = Decoder::new(good, lacking, &DecoderOptions::default()).expect_err("no head");
    assert_eq!(error.to_string(), "the model has no tensor `lm_head.weight`");
    assert!(Decoder::new(&json!(3), IndexMap::new(), &DecoderOptions::default()).is_err());
}

#[test]
fn absurd_configs_never_panic() {
    let absurd = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(3),
        json!(0.5),
        json!(1e308),
        json!(1e-308),
        json!(268_435_456),
        json!(u64::MAX),
        json!(""),
        json!("default"),
        json!([]),
        json!([null, 1]),
        json!({}),
        json!({"rope_type": "llama3", "factor": 1e-300, "low_freq_factor": 1e300,
               "high_freq_factor": 1, "original_max_position_embeddings": 1}),
    ];
    let extra = ["rope_theta", "rope_scaling", "rope_parameters", "dtype", "n_positions"];
    let text: Vec<u32> = (0..9).collect();
    let mut families = HashSet::new();
    for golden in goldens::<Golden>() {
        // One of each family is enough.
        if !families.insert(golden.config["model_type"].to_string()) {
            continue;
        }
        let tensors = tensors(&golden);
        let own = golden.config.as_object().expect("a config is an object").keys();
        for field in own.map(String::as_str).chain(extra) {
            for value in &absurd {
                let mut config = golden.config.clone();
                config[field] = value.clone();
                let model = Decoder::new(&config, tensors.clone(), &DecoderOptions::default());
                if let Ok(model) = model {
                    // Whether it works is not the question.
                    let _ = model.score(&[request(&text[..5], &text[5..])]);
                }
            }
        }
    }
}
