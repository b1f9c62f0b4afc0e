use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::checkpoint::{MemoryCheckpoint, TensorInfo};
use crate::kernels::dtype::DType;

fn inspect(source: MemoryCheckpoint, threads: usize) -> Inspection {
    let (model, _) = Model::new("model".to_owned(), Arc::new(source), None);
    let options = MeasureOptions { threads: Some(threads), ..MeasureOptions::default() };
    let read = AtomicU64::new(0);
    let progress = |bytes| {
        read.fetch_add(bytes, Ordering::Relaxed);
    };
    let inspection = Inspection::measure(&model, &options, &progress).unwrap();
    assert_eq!(read.into_inner(), Inspection::bytes(&model));
    inspection
}

fn insert<const N: usize>(
    source: &mut MemoryCheckpoint,
    name: &str,
    dtype: DType,
    shape: &[usize],
    elements: &[[u8; N]],
) {
    let info = TensorInfo { dtype, shape: shape.to_vec() };
    source.insert_bytes(name, info, elements.concat()).unwrap();
}

#[test]
fn tensors_of_every_type_and_shape_are_measured() {
    let mut source = MemoryCheckpoint::new();
    let whole = [i64::MAX, i64::MIN, 0, 1 << 40].map(i64::to_le_bytes);
    insert(&mut source, "a.0.ids", DType::I64, &[4], &whole);
    insert(&mut source, "a.0.few", DType::I32, &[2], &[7i32, 16_777_217].map(i32::to_le_bytes));
    insert(&mut source, "a.0.wide", DType::F64, &[2], &[1e300, -2e300].map(f64::to_le_bytes));
    insert(&mut source, "a.1.mask", DType::Bool, &[3], &[[0], [1], [1]]);
    insert(&mut source, "a.1.bytes", DType::U8, &[2], &[[200], [0]]);
    source.insert("a.1.scalar", &[], &[3.0]).unwrap();
    source.insert("a.1.empty", &[0, 5], &[]).unwrap();
    source.insert("a.1.bad", &[4], &[f32::NAN, 1.0, f32::INFINITY, 0.0]).unwrap();
    let inspection = inspect(source, 2);
    let summary = |name: &str| {
        let mut tensors = inspection.tensors.iter();
        tensors.find(|tensor| tensor.name == name).unwrap().part.summary
    };
    let ids = summary("a.0.ids");
    assert_eq!((ids.least, ids.largest, ids.zeros), (-(2f64.powi(63)), 2f64.powi(63), 1));
    assert_eq!(summary("a.0.few").largest, 16_777_217.0);
    assert_eq!((summary("a.0.wide").least, summary("a.0.wide").largest), (-2e300, 1e300));
    assert_eq!((summary("a.1.mask").squares, summary("a.1.bytes").largest), (2.0, 200.0));
    assert_eq!((summary("a.1.scalar").elements(), summary("a.1.scalar").norm()), (1, 3.0));
    assert_eq!(summary("a.1.empty"), Summary::default());
    let bad = summary("a.1.bad");
    assert_eq!((bad.nan, bad.infinite, bad.zeros, bad.squares), (1, 1, 1, 1.0));

    let groups = &inspection.groups;
    assert_eq!(groups.total.tensors, 8);
    assert_eq!(groups.total.bytes, 32 + 8 + 16 + 3 + 2 + 4 + 16);
    assert_eq!(groups.total.summary.elements(), 4 + 2 + 2 + 3 + 2 + 1 + 4);
    assert_eq!((groups.layers.len(), groups.kinds.len(), groups.cells.len()), (2, 8, 8));
}

#[test]
fn threads_do_not_change_a_bit() {
    let n = 300_001;
    let values = |seed: usize| -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed) % 10_007) as f32 * 1e-3 - 4.0).collect()
    };
    let of = |threads| {
        let mut source = MemoryCheckpoint::new();
        source.insert("h.0.w", &[n], &values(1)).unwrap();
        source.insert("h.1.w", &[n], &values(2)).unwrap();
        inspect(source, threads)
    };
    let one = of(1);
    for threads in [2, 7] {
        assert_eq!(of(threads), one);
    }
    let expected: f64 = values(1).iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let found = one.tensors[0].part.summary.squares;
    assert!((found - expected).abs() < 1e-10 * expected);
}

#[test]
fn groups_add_up_experts_and_stacks() {
    let mut source = MemoryCheckpoint::new();
    for name in ["m.0.experts.0.w", "m.0.experts.1.w", "v.0.experts.0.w", "emb", "out"] {
        source.insert(name, &[2], &[3.0, 4.0]).unwrap();
    }
    let groups = inspect(source, 1).groups;
    assert!(groups.has_several_stacks());
    let layers: Vec<_> = groups.layers.keys().map(|layer| groups.layer_name(layer)).collect();
    assert_eq!(layers, ["m.0", "v.0"]);
    assert_eq!(groups.kinds["experts.*.w"].tensors, 3);
    assert_eq!(groups.cells[&(0, 0)].summary.squares, 50.0);
    let kinds: Vec<_> = groups.by_kind().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["emb", "experts.*.w", "out"]);
    assert_eq!(groups.by_kind().map(|(_, part)| part.tensors).sum::<u64>(), groups.total.tensors);
}

#[test]
fn a_run_can_be_stopped() {
    let mut source = MemoryCheckpoint::new();
    source.insert("w", &[1], &[1.0]).unwrap();
    let (model, _) = Model::new("model".to_owned(), Arc::new(source), None);
    let cancelled = std::sync::Arc::new(AtomicBool::new(true));
    let options = MeasureOptions { threads: Some(1), cancelled };
    let error = Inspection::measure(&model, &options, &|_| {}).unwrap_err();
    assert!(matches!(error, InspectError::Interrupted) && !error.is_users_mistake());
}
