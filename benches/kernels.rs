//! Kernels and the inner loops of merge methods, on data that lies in the cache.
//!
//! `cargo bench --bench kernels`. Throughput counts the bytes of every input and output as they lie in
//! memory: `f32` for what methods work on, the stored type for conversions. `copy` is the machine's own
//! rate. `apply` and `statistics` run every method of the registry over bfloat16-like values.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use indexmap::IndexMap;
use mergekit::kernels::dtype::{DType, narrow, round_to, widen};
use mergekit::kernels::random::TensorKey;
use mergekit::kernels::reduce::inner_products;
use mergekit::methods::{
    BaseRole, Chunk, METHODS, MethodDefinition, MethodError, ParameterDefault, ParameterDefinition,
    ParameterScope, ParameterValue, Parameters, ReadInput, Statistic, TensorInputs, TensorMethod,
};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

/// Elements of a block that the engine hands to a method: all inputs stay in the nearest cache.
const BLOCK: usize = 1 << 12;

/// Elements of the tensor whose statistics are taken, as rows and columns.
const SHAPE: [usize; 2] = [64, 1024];

fn normal(seed: u64, length: usize, deviation: f32) -> Vec<f32> {
    let normal = Normal::new(0.0, deviation).expect("a deviation above zero");
    normal.sample_iter(ChaCha8Rng::seed_from_u64(seed)).take(length).collect()
}

/// A base and its fine-tunes, rounded to bfloat16.
fn models(length: usize) -> Vec<Vec<f32>> {
    let base = normal(0, length, 0.02);
    let mut models = vec![base.clone()];
    for seed in 1..=3 {
        let delta = normal(seed, length, 1.5e-4);
        models.push(base.iter().zip(delta).map(|(base, delta)| base + delta).collect());
    }
    for model in &mut models {
        round_to(DType::BF16, model);
    }
    models
}

fn conversions(criterion: &mut Criterion) {
    let values = normal(0, BLOCK, 0.02);
    for dtype in [DType::BF16, DType::F16, DType::F32, DType::F64] {
        let mut group = criterion.benchmark_group(dtype.to_string());
        group.throughput(Throughput::Bytes((BLOCK * (4 + dtype.size())) as u64));
        let mut stored = vec![0; BLOCK * dtype.size()];
        group.bench_function("narrow", |bencher| {
            bencher.iter(|| narrow(dtype, black_box(&values), black_box(&mut stored)));
        });
        let mut widened = vec![0.0; BLOCK];
        group.bench_function("widen", |bencher| {
            bencher.iter(|| widen(dtype, black_box(&stored), black_box(&mut widened)));
        });
        group.finish();
    }
}

fn reductions(criterion: &mut Criterion) {
    let [a, b] = [1, 2].map(|seed| normal(seed, BLOCK, 0.02));
    let mut group = criterion.benchmark_group("f32");
    group.throughput(Throughput::Bytes((2 * BLOCK * 4) as u64));
    let mut products = [0.0; 3];
    group.bench_function("inner products", |bencher| {
        bencher.iter(|| inner_products(None, black_box(&[&a, &b]), 0..BLOCK, &mut products));
    });
    let mut copy = vec![0.0; BLOCK];
    group.bench_function("copy", |bencher| {
        bencher.iter(|| black_box(&mut copy).copy_from_slice(black_box(&a)));
    });
    group.finish();
}

/// Inputs that are in memory already. Nothing is remembered, so that every round computes anew.
struct InMemory {
    base: Vec<f32>,
    inputs: Vec<Vec<f32>>,
}

impl ReadInput for InMemory {
    fn read_base(&self, start: usize, out: &mut [f32]) -> Result<(), MethodError> {
        out.copy_from_slice(&self.base[start..start + out.len()]);
        Ok(())
    }

    fn read(&self, index: usize, start: usize, out: &mut [f32]) -> Result<(), MethodError> {
        out.copy_from_slice(&self.inputs[index][start..start + out.len()]);
        Ok(())
    }

    fn remember(
        &self,
        _key: &str,
        compute: &mut dyn FnMut() -> Result<Statistic, MethodError>,
    ) -> Result<Statistic, MethodError> {
        compute()
    }
}

/// A method with its inputs.
struct Setting {
    reader: InMemory,
    has_base: bool,
    keys: Vec<TensorKey>,
    method: Box<dyn TensorMethod>,
}

impl Setting {
    /// The base where the method takes one, and as many fine-tunes as it takes, at most three.
    fn new(definition: &MethodDefinition) -> Self {
        let has_base = definition.base != BaseRole::Ignored;
        let n_inputs = definition.inputs.1.min(4) - usize::from(has_base);
        let mut models = models(SHAPE.iter().product());
        let base = models.remove(0);
        let mut inputs = models;
        if !has_base {
            inputs.push(base.clone());
        }
        inputs.truncate(n_inputs);
        let keys = (0..n_inputs).map(|input| TensorKey::new(0, "weight", input)).collect();
        let method = (definition.bind)(&parameters(definition, n_inputs));
        let method = method.expect("the parameters are in range");
        Self { reader: InMemory { base, inputs }, has_base, keys, method }
    }

    fn whole(&self) -> TensorInputs<'_> {
        TensorInputs {
            shape: &SHAPE,
            n_inputs: self.reader.inputs.len(),
            has_base: self.has_base,
            keys: &self.keys,
            reader: &self.reader,
        }
    }

    fn bytes(&self, elements: usize, outputs: usize) -> Throughput {
        let operands = self.reader.inputs.len() + usize::from(self.has_base) + outputs;
        Throughput::Bytes((operands * elements * 4) as u64)
    }
}

/// Defaults, and values in range for what has none.
fn parameters(definition: &MethodDefinition, n_inputs: usize) -> Parameters {
    let mut parameters = Parameters::default();
    parameters.inputs.resize(n_inputs, IndexMap::new());
    for parameter in definition.parameters {
        let Some(value) = value(parameter) else { continue };
        match parameter.scope {
            ParameterScope::Shared => {
                parameters.shared.insert(parameter.name, value);
            }
            ParameterScope::PerInput | ParameterScope::PerNonBase => {
                for input in &mut parameters.inputs {
                    input.insert(parameter.name, value);
                }
            }
        }
    }
    parameters
}

fn value(parameter: &ParameterDefinition) -> Option<ParameterValue> {
    match (parameter.name, parameter.default) {
        // Their defaults keep everything, which would leave nothing to select.
        ("density" | "select_topk", _) => Some(ParameterValue::Float(0.5)),
        (_, ParameterDefault::Value(value)) => Some(value),
        (_, ParameterDefault::Required) => Some(ParameterValue::Float(0.4)),
        (_, ParameterDefault::Absent) => None,
    }
}

fn methods(criterion: &mut Criterion) {
    for definition in METHODS.iter() {
        let setting = Setting::new(definition);
        let whole = setting.whole();
        let mut group = criterion.benchmark_group(definition.name);
        group.throughput(setting.bytes(SHAPE.iter().product(), 0));
        group.bench_function("statistics", |bencher| {
            bencher.iter(|| setting.method.prepare(black_box(&whole)).expect("inputs are numbers"));
        });
        let apply = setting.method.prepare(&whole).expect("inputs are numbers");
        let block = BLOCK / SHAPE[1] * SHAPE[1];
        let inputs: Vec<&[f32]> =
            setting.reader.inputs.iter().map(|input| &input[..block]).collect();
        let base = setting.has_base.then_some(&setting.reader.base[..block]);
        let mut out = vec![0.0; block];
        group.throughput(setting.bytes(block, 1));
        group.bench_function("apply", |bencher| {
            let chunk = Chunk { start: 0, base, inputs: &inputs };
            bencher.iter(|| apply.apply(black_box(&chunk), black_box(&mut out)));
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .without_plots();
    targets = conversions, reductions, methods
}
criterion_main!(benches);
