//! Speed of scoring and generation, beside the matrix products they consist of.
//!
//! `cargo bench --bench lm`. For each model size: time on the clock; tokens that pass through the
//! layers and arithmetic done per second of processor time; and, in the same run, candle's rate at
//! products of the same shapes (512 rows). Contexts are random, so requests share nothing.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use indexmap::IndexMap;
use mergekit::lm::{
    Decoder, DecoderOptions, GenerateRequest, LanguageModel, Sampling, ScoreRequest,
};
use serde_json::json;

struct Size {
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocabulary: usize,
    requests: usize,
}

const SIZES: [Size; 3] = [
    Size {
        hidden: 128,
        intermediate: 384,
        layers: 4,
        heads: 4,
        kv_heads: 2,
        vocabulary: 96,
        requests: 400,
    },
    Size {
        hidden: 256,
        intermediate: 768,
        layers: 6,
        heads: 8,
        kv_heads: 4,
        vocabulary: 256,
        requests: 100,
    },
    Size {
        hidden: 1024,
        intermediate: 2816,
        layers: 4,
        heads: 16,
        kv_heads: 8,
        vocabulary: 16384,
        requests: 16,
    },
];

impl Size {
    fn kv_width(&self) -> usize {
        self.hidden / self.heads * self.kv_heads
    }

    /// Weights `[outputs, inputs]` of a layer.
    fn products(&self) -> [(&'static str, usize, usize); 7] {
        [
            ("self_attn.q_proj", self.hidden, self.hidden),
            ("self_attn.k_proj", self.kv_width(), self.hidden),
            ("self_attn.v_proj", self.kv_width(), self.hidden),
            ("self_attn.o_proj", self.hidden, self.hidden),
            ("mlp.gate_proj", self.intermediate, self.hidden),
            ("mlp.up_proj", self.intermediate, self.hidden),
            ("mlp.down_proj", self.hidden, self.intermediate),
        ]
    }

    fn decoder(&self) -> candle_core::Result<Decoder> {
        let mut tensors = IndexMap::new();
        let mut add = |name: String, shape: &[usize]| {
            let tensor = match shape {
                [_] => Tensor::ones(shape, DType::F32, &Device::Cpu)?,
                _ => Tensor::randn(0.0_f32, 0.05, shape, &Device::Cpu)?,
            };
            tensors.insert(name, tensor);
            Ok::<_, candle_core::Error>(())
        };
        add("model.embed_tokens.weight".to_owned(), &[self.vocabulary, self.hidden])?;
        add("model.norm.weight".to_owned(), &[self.hidden])?;
        for layer in 0..self.layers {
            let at = format!("model.layers.{layer}");
            for (name, outputs, inputs) in self.products() {
                add(format!("{at}.{name}.weight"), &[outputs, inputs])?;
            }
            add(format!("{at}.input_layernorm.weight"), &[self.hidden])?;
            add(format!("{at}.post_attention_layernorm.weight"), &[self.hidden])?;
        }
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "vocab_size": self.vocabulary,
            "hidden_size": self.hidden, "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "tie_word_embeddings": true,
            "max_position_embeddings": 512,
        });
        Ok(Decoder::new(&config, tensors, &DecoderOptions::default()).expect("config is complete"))
    }

    /// Multiply-adds of all layers' products for `rows` tokens, of which the last layer completes
    /// `wanted`, and of the head.
    fn multiply_adds(&self, rows: usize, wanted: usize) -> usize {
        let layer: usize = self.products().iter().map(|(_, m, n)| m * n).sum();
        let keys = 2 * self.kv_width() * self.hidden;
        let last = rows * keys + wanted * (layer - keys);
        (self.layers - 1) * rows * layer + last + wanted * self.hidden * self.vocabulary
    }
}

/// Time on the clock and time that processors spent, in seconds.
#[derive(Clone, Copy)]
struct Cost {
    clock: f64,
    /// On a machine shared with others this is what can be compared.
    processors: f64,
}

/// The cheapest of several runs.
fn cost(mut run: impl FnMut()) -> Cost {
    run();
    let mut best = Cost { clock: f64::INFINITY, processors: f64::INFINITY };
    for _ in 0..5 {
        let (start, before) = (Instant::now(), processor_seconds());
        run();
        let clock = start.elapsed().as_secs_f64();
        let spent = before.zip(processor_seconds()).map(|(before, after)| after - before);
        best.clock = best.clock.min(clock);
        best.processors =
            best.processors.min(spent.unwrap_or(clock * rayon::current_num_threads() as f64));
    }
    best
}

/// Time that all threads of this process have run, where the system tells.
fn processor_seconds() -> Option<f64> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let statistics = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += statistics.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 * 1e-9)
}

/// Gigaflops per second and core of candle's products in the shapes of a layer.
fn candle_rate(size: &Size) -> candle_core::Result<f64> {
    let rows = 512;
    let mut operands = Vec::new();
    for (_, outputs, inputs) in size.products() {
        let input = Tensor::randn(0.0_f32, 1.0, (rows, inputs), &Device::Cpu)?;
        let weight = Tensor::randn(0.0_f32, 1.0, (outputs, inputs), &Device::Cpu)?;
        operands.push((input, weight.t()?));
    }
    let multiply_adds: usize = size.products().iter().map(|(_, m, n)| rows * m * n).sum();
    // Long enough for the system's accounting of processor time.
    let repeats = 10_000_000_000_usize.div_ceil(multiply_adds);
    let cost = cost(|| {
        for (input, weight) in operands.iter().cycle().take(repeats * operands.len()) {
            std::hint::black_box(input.matmul(weight).expect("shapes agree"));
        }
    });
    Ok(2e-9 * (repeats * multiply_adds) as f64 / cost.processors)
}

fn main() -> candle_core::Result<()> {
    println!("{} threads", rayon::current_num_threads());
    for size in SIZES {
        let model = size.decoder()?;
        let mut state = 1_u32;
        let mut random = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % below
        };
        let mut tokens = |least: usize, most: usize| -> Vec<u32> {
            let count = least + random(most - least + 1);
            (0..count).map(|_| random(size.vocabulary) as u32).collect()
        };
        let scored: Vec<ScoreRequest> = (0..size.requests)
            .map(|_| ScoreRequest { context: tokens(10, 40), continuation: tokens(1, 12) })
            .collect();
        let prompts: Vec<GenerateRequest> = scored
            .iter()
            .map(|request| GenerateRequest {
                prompt: request.context.clone(),
                max_new_tokens: request.continuation.len(),
                end_tokens: Vec::new(),
                sampling: Sampling::default(),
            })
            .collect();
        let wanted: usize = scored.iter().map(|request| request.continuation.len()).sum();
        let context: usize = scored.iter().map(|request| request.context.len()).sum();
        let rows = context + wanted - scored.len();
        let candle = candle_rate(&size)?;
        println!(
            "hidden {}, {} layers, vocabulary {}; candle's products: {candle:.0} GFLOP/s per core",
            size.hidden, size.layers, size.vocabulary
        );
        let gigaflops = 2e-9 * size.multiply_adds(rows, wanted) as f64;
        let report = |what: &str, cost: Cost, gigaflops: f64| {
            println!(
                "  {what}: {rows} tokens in {:.1} ms; per core {:.0} tokens/s, {:.1} GFLOP/s",
                1e3 * cost.clock,
                rows as f64 / cost.processors,
                gigaflops / cost.processors,
            );
        };
        let spent = cost(|| drop(model.score(&scored).expect("requests are valid")));
        report(&format!("score {} requests", scored.len()), spent, gigaflops);
        let spent = cost(|| drop(model.generate(&prompts, &|_, _| false).expect("valid")));
        // All layers are completed for every produced token but the last of each answer.
        let produced = wanted - scored.len();
        let gigaflops = 2e-9
            * (size.multiply_adds(context, scored.len()) + size.multiply_adds(produced, produced))
                as f64;
        report(&format!("generate {wanted} tokens"), spent, gigaflops);
    }
    Ok(())
}
