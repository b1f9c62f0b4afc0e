//! Every method of the registry with parameters and inputs in memory.

use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use indexmap::IndexMap;
use mergekit::kernels::dtype::{DType, round_to};
use mergekit::kernels::random::TensorKey;
use mergekit::methods::{
    BaseRole, Chunk, InMemory, MethodDefinition, MethodError, ParameterDefault,
    ParameterDefinition, ParameterScope, ParameterValue, Parameters, ReadInput, TensorInputs,
    TensorMethod,
};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

/// Rows and columns of the tensor, as in a model: samples and blocks are a small part of it.
pub(crate) const SHAPE: [usize; 2] = [1024, 1024];

/// Normal numbers around 0.
pub(crate) fn normal(seed: u64, length: usize, deviation: f32) -> Vec<f32> {
    let normal = Normal::new(0.0, deviation).expect("a deviation above zero");
    normal.sample_iter(ChaCha8Rng::seed_from_u64(seed)).take(length).collect()
}

/// A base and its fine-tunes, rounded to bfloat16.
fn models() -> Vec<Vec<f32>> {
    let length = SHAPE.iter().product();
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

/// Inputs that count what is read of them. Nothing is remembered, so that every round computes anew.
pub(crate) struct Counted {
    pub(crate) base: Option<Vec<f32>>,
    pub(crate) inputs: Vec<Vec<f32>>,
    /// Elements that were asked for so far, of all inputs together.
    pub(crate) read: AtomicUsize,
}

impl ReadInput for Counted {
    fn visit(
        &self,
        which: &[usize],
        elements: Range<usize>,
        block: usize,
        visit: &mut dyn FnMut(&Chunk<'_>),
    ) -> Result<(), MethodError> {
        let n_read = which.len() + usize::from(self.base.is_some());
        self.read.fetch_add(n_read * elements.len(), Ordering::Relaxed);
        let inputs: Vec<&[f32]> = self.inputs.iter().map(Vec::as_slice).collect();
        let reader = InMemory { base: self.base.as_deref(), inputs: &inputs };
        reader.visit(which, elements, block, visit)
    }
}

/// A method with its inputs.
pub(crate) struct Setting {
    pub(crate) reader: Counted,
    keys: Vec<TensorKey>,
    pub(crate) method: Box<dyn TensorMethod>,
}

impl Setting {
    /// The base where the method takes one, and as many fine-tunes as it takes, at most three.
    pub(crate) fn new(definition: &MethodDefinition) -> Self {
        let has_base = definition.base != BaseRole::Ignored;
        let is_counted = definition.base == BaseRole::Required;
        let most = if has_base { 3 } else { 4 };
        // Of unlimited inputs as many as there are.
        let n_inputs = definition.inputs.1.saturating_sub(usize::from(is_counted)).min(most);
        static MODELS: LazyLock<Vec<Vec<f32>>> = LazyLock::new(models);
        let mut models = MODELS.clone();
        let base = models.remove(0);
        let mut inputs = models;
        if !has_base {
            inputs.push(base.clone());
        }
        inputs.truncate(n_inputs);
        let keys = (0..n_inputs).map(|input| TensorKey::new(0, "weight", input)).collect();
        let method = (definition.bind)(&parameters(definition, n_inputs));
        let method = method.expect("the parameters are in range");
        Self {
            reader: Counted { base: has_base.then_some(base), inputs, read: AtomicUsize::new(0) },
            keys,
            method,
        }
    }

    pub(crate) fn whole(&self) -> TensorInputs<'_> {
        TensorInputs {
            shape: &SHAPE,
            n_inputs: self.reader.inputs.len(),
            has_base: self.reader.base.is_some(),
            keys: &self.keys,
            reader: &self.reader,
        }
    }

    /// Number of inputs, a base included.
    pub(crate) fn operands(&self) -> usize {
        self.reader.inputs.len() + usize::from(self.reader.base.is_some())
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
