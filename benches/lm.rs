//! Speed of scoring and generation, beside the matrix products they consist of.
//!
//! `cargo bench --bench lm`. For each model size: time on the clock; tokens that pass through the
//! layers and arithmetic done per second of processor time; and, in the same run, the rates of candle
//! and faer at products of the same shapes (512 rows). Contexts are random, so requests share nothing.
//! The last size, of 0.11 billion parameters, also scores choices after long prompts that share their
//! beginning, with and without computing that once, and continues prompts in a batch of 16.
//!
//! Arithmetic is counted once for each multiplication with its addition, attention included: of each
//! token that passes with the keys it sees.

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

const SIZES: [Size; 4] = [
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
    Size {
        hidden: 768,
        intermediate: 2048,
        layers: 12,
        heads: 12,
        kv_heads: 12,
        vocabulary: 32000,
        requests: 16,
    },
];

/// Of the prompts of [`long_prompts`]: tokens that all share, tokens of each question, and tokens of
/// each of its four choices.
const LONG: (usize, usize, usize) = (800, 196, 4);
const QUESTIONS: usize = 2;
const CHOICES: usize = 4;

/// Prompts that are continued together, their tokens, and the tokens that each is continued by.
const CONTINUED: (usize, usize, usize) = (16, 128, 64);

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

    fn decoder(&self, share_prefixes: bool) -> candle_core::Result<Decoder> {
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
            "max_position_embeddings": 2048,
        });
        let options = DecoderOptions { share_prefixes, ..DecoderOptions::default() };
        Ok(Decoder::new(&config, tensors, &options).expect("config is complete"))
    }

    /// Multiply-adds of attention, if tokens see as many keys in all as these, and those whose last
    /// layer is wanted see `wanted_keys`.
    fn attention_multiply_adds(&self, keys: usize, wanted_keys: usize) -> usize {
        2 * self.hidden * ((self.layers - 1) * keys + wanted_keys)
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

/// The cheapest of five runs.
fn cost(run: impl FnMut()) -> Cost {
    cheapest(5, run)
}

/// The cheapest of several runs after one more.
fn cheapest(runs: usize, mut run: impl FnMut()) -> Cost {
    run();
    let mut best = Cost { clock: f64::INFINITY, processors: f64::INFINITY };
    for _ in 0..runs {
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

/// Gigaflops per second and core of products in the shapes of a layer: candle's and faer's.
fn plain_rates(size: &Size) -> candle_core::Result<(f64, f64)> {
    let rows = 512;
    let mut operands = Vec::new();
    for (_, outputs, inputs) in size.products() {
        let input = Tensor::randn(0.0_f32, 1.0, (rows, inputs), &Device::Cpu)?;
        let weight = Tensor::randn(0.0_f32, 1.0, (outputs, inputs), &Device::Cpu)?;
        operands.push((input, weight));
    }
    let multiply_adds: usize = size.products().iter().map(|(_, m, n)| rows * m * n).sum();
    // Long enough for the system's accounting of processor time.
    let repeats = 20_000_000_000_usize.div_ceil(multiply_adds);
    let rate = |cost: Cost| 2e-9 * (repeats * multiply_adds) as f64 / cost.processors;
    let candle = cost(|| {
        for (input, weight) in operands.iter().cycle().take(repeats * operands.len()) {
            let product = weight.t().and_then(|weight| input.matmul(&weight));
            std::hint::black_box(product.expect("shapes agree"));
        }
    });
    let slices = operands
        .iter()
        .map(|(input, weight)| {
            Ok((input.flatten_all()?.to_vec1::<f32>()?, weight.flatten_all()?.to_vec1::<f32>()?))
        })
        .collect::<candle_core::Result<Vec<_>>>()?;
    let mut output = vec![0.0; rows * size.hidden.max(size.intermediate)];
    let threads = faer::Par::rayon(0);
    let faer = cost(|| {
        for (input, weight) in slices.iter().cycle().take(repeats * slices.len()) {
            let inputs = input.len() / rows;
            let outputs = weight.len() / inputs;
            faer::linalg::matmul::matmul(
                faer::MatMut::from_row_major_slice_mut(
                    &mut output[..rows * outputs],
                    rows,
                    outputs,
                ),
                faer::Accum::Replace,
                faer::MatRef::from_row_major_slice(input, rows, inputs),
                faer::MatRef::from_row_major_slice(weight, outputs, inputs).transpose(),
                1.0,
                threads,
            );
        }
    });
    Ok((rate(candle), rate(faer)))
}

/// Tokens that pass through a model, in a row's terms.
#[derive(Default)]
struct Work {
    rows: usize,
    /// Rows that are completed.
    wanted: usize,
    /// Keys that all rows see.
    keys: usize,
    /// Keys that completed rows see.
    wanted_keys: usize,
}

impl Work {
    /// A sequence of which all tokens but the first `before` pass, and those from `first` on are
    /// completed.
    fn add(&mut self, before: usize, first: usize, end: usize) {
        self.rows += end - before;
        self.wanted += end - first;
        self.keys += (before + 1..=end).sum::<usize>();
        self.wanted_keys += (first + 1..=end).sum::<usize>();
    }

    fn gigaflops(&self, size: &Size) -> f64 {
        let attention = size.attention_multiply_adds(self.keys, self.wanted_keys);
        2e-9 * (size.multiply_adds(self.rows, self.wanted) + attention) as f64
    }
}

fn report(what: &str, work: &Work, cost: Cost, size: &Size, plain: f64) {
    let rate = work.gigaflops(size) / cost.processors;
    println!(
        "  {what}: {} tokens in {:.1} ms; per core {:.0} tokens/s, {rate:.1} GFLOP/s, {:.0} % of plain products",
        work.rows,
        1e3 * cost.clock,
        work.rows as f64 / cost.processors,
        100.0 * rate / plain,
    );
}

/// A generator of token ids below a bound.
struct Tokens {
    state: u32,
    vocabulary: usize,
}

impl Tokens {
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.state >> 8) as usize % bound
    }

    fn draw(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.below(self.vocabulary) as u32).collect()
    }
}

/// Choices after questions that have examples in common.
fn long_prompts(tokens: &mut Tokens) -> Vec<ScoreRequest> {
    let (shared, own, choice) = LONG;
    let examples = tokens.draw(shared);
    let mut requests = Vec::new();
    for _ in 0..QUESTIONS {
        let context = [examples.clone(), tokens.draw(own)].concat();
        for _ in 0..CHOICES {
            let continuation = tokens.draw(choice);
            requests.push(ScoreRequest { context: context.clone(), continuation });
        }
    }
    requests
}

/// Long prompts and a batch of answers, for a model large enough.
fn measure_long(size: &Size, plain: f64) -> candle_core::Result<()> {
    let mut tokens = Tokens { state: 2, vocabulary: size.vocabulary };
    let requests = long_prompts(&mut tokens);
    let (shared, own, choice) = LONG;
    let context = shared + own;
    let end = context + choice - 1;
    let mut work = Work::default();
    for _ in &requests {
        work.add(0, context - 1, end);
    }
    let model = size.decoder(false)?;
    let apart = cheapest(2, || drop(model.score(&requests).expect("requests are valid")));
    report(
        &format!("score {} long requests, nothing shared", requests.len()),
        &work,
        apart,
        size,
        plain,
    );
    drop(model);

    let mut work = Work::default();
    work.add(0, shared, shared);
    for _ in 0..QUESTIONS {
        work.add(shared, context - 1, context);
        (0..CHOICES).for_each(|_| work.add(context, context, end));
    }
    let model = size.decoder(true)?;
    let together = cheapest(3, || drop(model.score(&requests).expect("requests are valid")));
    report("score the same with shared beginnings", &work, together, size, plain);
    println!("  sharing is worth a factor of {:.1}", apart.clock / together.clock);

    let (count, prompt, answer) = CONTINUED;
    let prompts: Vec<GenerateRequest> =
        (0..count).map(|_| continued(tokens.draw(prompt), answer)).collect();
    let spent = cheapest(2, || drop(model.generate(&prompts, &|_, _| false).expect("valid")));
    println!(
        "  generate {} tokens, 16 at a time: {:.1} tokens/s",
        count * answer,
        (count * answer) as f64 / spent.clock
    );
    Ok(())
}

fn continued(prompt: Vec<u32>, max_new_tokens: usize) -> GenerateRequest {
    let sampling = Sampling::default();
    GenerateRequest { prompt, max_new_tokens, end_tokens: Vec::new(), sampling }
}

fn main() -> candle_core::Result<()> {
    // A model's width, to measure that one only.
    let only = std::env::args().find_map(|argument| argument.parse::<usize>().ok());
    println!("{} threads", rayon::current_num_threads());
    for size in SIZES.iter().filter(|size| only.is_none_or(|width| width == size.hidden)) {
        let (candle, faer) = plain_rates(size)?;
        let plain = candle.max(faer);
        println!(
            "hidden {}, {} layers, vocabulary {}; plain products, GFLOP/s per core: candle {candle:.1}, faer {faer:.1}",
            size.hidden, size.layers, size.vocabulary
        );
        measure_short(size, plain)?;
        if size.layers * size.hidden * size.hidden > 5_000_000 {
            measure_long(size, plain)?;
        }
    }
    Ok(())
}

/// Short requests of different lengths, and answers of different lengths.
fn measure_short(size: &Size, plain: f64) -> candle_core::Result<()> {
    let model = size.decoder(true)?;
    let mut tokens = Tokens { state: 1, vocabulary: size.vocabulary };
    let mut drawn = |least: usize, most: usize| {
        let count = least + tokens.below(most - least + 1);
        tokens.draw(count)
    };
    let scored: Vec<ScoreRequest> = (0..size.requests)
        .map(|_| ScoreRequest { context: drawn(10, 40), continuation: drawn(1, 12) })
        .collect();
    let prompts: Vec<GenerateRequest> = scored
        .iter()
        .map(|request| continued(request.context.clone(), request.continuation.len()))
        .collect();
    let mut work = Work::default();
    for ScoreRequest { context, continuation } in &scored {
        work.add(0, context.len() - 1, context.len() + continuation.len() - 1);
    }
    let spent = cost(|| drop(model.score(&scored).expect("requests are valid")));
    report(&format!("score {} requests", scored.len()), &work, spent, size, plain);

    // As much work: every produced token but the last of each answer passes, and is completed.
    let produced: usize = scored.iter().map(|request| request.continuation.len()).sum();
    let spent = cost(|| drop(model.generate(&prompts, &|_, _| false).expect("valid")));
    report(&format!("generate {produced} tokens"), &work, spent, size, plain);
    Ok(())
}
