//! Kernels and the inner loops of merge methods, on data that lies in the cache.
//!
//! `cargo bench --bench kernels`. Throughput counts the bytes of every input and output as they lie in
//! memory: `f32` for what methods work on, the stored type for conversions. `copy` is the machine's own
//! rate. `apply` and `statistics` run every method of the registry over bfloat16-like values.

mod setting;

use std::hint::black_box;
use std::sync::atomic::Ordering;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mergekit::kernels::dtype::{DType, narrow, widen};
use mergekit::kernels::reduce::inner_products;
use mergekit::methods::{Chunk, METHODS};

use setting::{SHAPE, Setting, normal};

/// Elements of a block that the engine hands to a method: all inputs stay in the nearest
/// caches. Whole rows of the tensor.
const BLOCK: usize = 1 << 11;

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

fn methods(criterion: &mut Criterion) {
    for definition in METHODS.iter() {
        let setting = Setting::new(definition);
        let whole = setting.whole();
        let bytes = |elements, slices| Throughput::Bytes((slices * elements * 4) as u64);
        let mut group = criterion.benchmark_group(definition.name);
        let apply = setting.method.prepare(&whole).expect("inputs are numbers");
        // Methods without a statistics pass have nothing to measure there.
        if setting.reader.read.load(Ordering::Relaxed) > 0 {
            group.throughput(bytes(SHAPE.iter().product(), setting.operands()));
            group.bench_function("statistics", |bencher| {
                bencher.iter(|| {
                    setting.method.prepare(black_box(&whole)).expect("inputs are numbers")
                });
            });
        }
        let inputs: Vec<&[f32]> =
            setting.reader.inputs.iter().map(|input| &input[..BLOCK]).collect();
        let base = setting.reader.base.as_ref().map(|base| &base[..BLOCK]);
        let mut out = vec![0.0; BLOCK];
        group.throughput(bytes(BLOCK, setting.operands() + 1));
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
