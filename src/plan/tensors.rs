//! The tensors of one module: which there are, what goes into each, and what comes out.

use std::sync::Arc;

use crate::architecture::{Location, Module, TensorNames, TensorTemplate};
use crate::checkpoint::TensorInfo;
use crate::kernels::dtype::DType;
use crate::methods::{Incomplete, MethodDefinition};

use super::layer_kinds::kinds_of_layer;
use super::parameters::{self, Place, ResolvedParameters};
use super::recipe::{ModuleRecipe, Scope, Slice, Source};
use super::usage::{Usage, ZeroSums};
use super::vocabulary::Vocabulary;
use super::{Action, Operand, PlanError, PlanWarning, PlannedTensor};

/// Collects the output's tensors, module by module.
pub(super) struct Planner<'p> {
    pub(super) method: &'static MethodDefinition,
    pub(super) top: &'p Scope<'p>,
    /// The type that the config has inputs rounded to.
    pub(super) dtype: Option<DType>,
    /// The type that the config asks for.
    pub(super) out_dtype: Option<DType>,
    pub(super) truncate_embeddings: bool,
    /// Tokens that vocabulary tensors are aligned to.
    pub(super) vocabulary: Option<Vocabulary<'p>>,
    pub(super) planned: Vec<PlannedTensor>,
    pub(super) warnings: Vec<PlanWarning>,
    /// Tensors that are written, though some model replaces them by one that it is tied to.
    pub(super) written_despite_tie: Vec<String>,
    /// Rows of vocabulary tensors, when some were cut.
    pub(super) vocabulary_size: Option<usize>,
    /// Which settings took part so far.
    pub(super) usage: Usage,
    /// Tensors whose weights cancel out.
    pub(super) zero_sums: ZeroSums,
}

/// One tensor of one slice, before it is known whether it is in the output.
struct Candidate<'p, 'c> {
    name: String,
    template: &'p TensorTemplate,
    slice: &'p Slice<'c>,
    scopes: &'p [&'p Scope<'c>],
    position: f64,
    /// Layers of the slice; none for a tensor outside of layers.
    slice_layers: Option<usize>,
    /// Position in the slice of each source that has the tensor, and what it has.
    found: Vec<(usize, Operand)>,
}

impl Planner<'_> {
    pub(super) fn plan_module(
        &mut self,
        module: &ModuleRecipe<'_>,
        tensors: &Module,
    ) -> Result<(), PlanError> {
        let n_layers = module.slices.iter().map(|slice| slice.sources[0].layers.len()).sum();
        let (Some(first), Some(last)) = (module.slices.first(), module.slices.last()) else {
            return Err(PlanError::NoTensors);
        };
        for template in &tensors.pre {
            self.plan_tensor(module, first, template, Location::Pre, 0, n_layers)?;
        }
        let mut output_layer = 0;
        for slice in &module.slices {
            for index in 0..slice.sources[0].layers.len() {
                let location = Location::Layer(output_layer);
                let kinds = kinds_of_layer(slice, tensors, index)?;
                for template in tensors.tensors_of_layer(&kinds) {
                    self.plan_tensor(module, slice, template, location, index, n_layers)?;
                }
                output_layer += 1;
            }
        }
        for template in &tensors.post {
            self.plan_tensor(module, last, template, Location::Post, 0, n_layers)?;
        }
        Ok(())
    }

    /// `index` counts layers within the slice.
    fn plan_tensor(
        &mut self,
        module: &ModuleRecipe<'_>,
        slice: &Slice<'_>,
        template: &TensorTemplate,
        location: Location,
        index: usize,
        n_layers: usize,
    ) -> Result<(), PlanError> {
        let Some(mut found) = find(slice, template, location, index, self.dtype)? else {
            return Ok(());
        };
        let name = template.name_for(location, n_layers);
        if let Some(vocabulary) = &mut self.vocabulary
            && template.vocabulary_axis == Some(0)
        {
            vocabulary.align(&name, &mut found)?;
            self.vocabulary_size = Some(vocabulary.rows());
        }
        let scopes: Vec<&Scope<'_>> =
            slice.scope.iter().chain(&module.scope).chain(std::iter::once(self.top)).collect();
        let slice_layers = match location {
            Location::Layer(_) => Some(slice.sources[0].layers.len()),
            Location::Pre | Location::Post => None,
        };
        let candidate = Candidate {
            name,
            template,
            slice,
            scopes: &scopes,
            position: match slice_layers {
                None => 0.0,
                Some(1) => 1.0,
                Some(length) => index as f64 / (length - 1) as f64,
            },
            slice_layers,
            found,
        };
        let Some((action, parameters)) = self.action(&candidate)? else {
            self.warnings.push(PlanWarning::SkippedTensor { tensor: candidate.name });
            return Ok(());
        };
        let shape = self.shape(&candidate)?;
        if !template.tied.is_empty() && candidate.slice.sources.iter().any(|s| !s.model.is_tied()) {
            self.written_despite_tie.push(candidate.name.clone());
        }
        let dtype = self.output_dtype(&candidate, &action);
        let info = TensorInfo { dtype, shape };
        self.planned.push(PlannedTensor { name: candidate.name, info, action, parameters });
        Ok(())
    }

    /// What happens to the tensor, or `None` when it is left out.
    fn action(
        &mut self,
        candidate: &Candidate<'_, '_>,
    ) -> Result<Option<(Action, ResolvedParameters)>, PlanError> {
        let Candidate { name, slice, found, .. } = candidate;
        let operand = |index: usize| found[index].1.clone();
        let base = slice.base.and_then(|base| found.iter().position(|(source, _)| *source == base));
        let copied = |index: usize| (copy(operand(index)), ResolvedParameters::default());
        if let Some(equals) = whole_numbers(candidate)? {
            let action = Action::Copy { from: operand(0), equals };
            return Ok(Some((action, ResolvedParameters::default())));
        }
        if found.len() < slice.sources.len() {
            let is_single = found.len() == 1;
            let is_base = is_single && base == Some(0);
            let (least, most) = self.method.inputs;
            match self.method.incomplete {
                Incomplete::CopySingle if is_single => return Ok(Some(copied(0))),
                Incomplete::CopyBase | Incomplete::CopyBaseOrSkip if is_base => {
                    return Ok(Some(copied(0)));
                }
                Incomplete::CopyBaseOrSkip if found.len() < least => return Ok(None),
                _ => {}
            }
            if let (Some(missing), None) = (slice.base, base) {
                return Err(PlanError::MissingFromBase {
                    field: slice.sources[missing].model_field(),
                    base: slice.sources[missing].model.label(),
                    tensor: name.clone(),
                    model: operand(0).model.label(),
                });
            }
            let counted = self.method.n_counted(found.len(), base.is_some());
            if !(least..=most).contains(&counted) {
                let (field, method, beside_base) =
                    (name.clone(), self.method.name, counted < found.len());
                let found = counted;
                return Err(PlanError::InputCount {
                    field,
                    method,
                    found,
                    least,
                    most,
                    beside_base,
                });
            }
        }
        let inputs: Vec<usize> = (0..found.len()).filter(|index| Some(*index) != base).collect();
        let own: Vec<(&Source<'_>, &str)> = inputs
            .iter()
            .map(|&index| {
                let (source, operand) = &found[index];
                (&slice.sources[*source], operand.canonical.as_str())
            })
            .collect();
        let place = Place {
            tensor: name,
            position: candidate.position,
            slice_layers: candidate.slice_layers,
            scopes: candidate.scopes,
            inputs: &own,
        };
        let (method, parameters) = parameters::bind(self.method, &place, &mut self.usage)?;
        self.zero_sums.note(self.method, &*method, name, &parameters);
        let action = match method.copied_input() {
            Some(copied) => copy(operand(inputs[copied])),
            None => {
                let inputs = inputs.into_iter().map(operand).collect();
                Action::Merge { method, base: base.map(operand), inputs }
            }
        };
        Ok(Some((action, parameters)))
    }

    /// The shape that all inputs have, or the rows that all have.
    fn shape(&mut self, candidate: &Candidate<'_, '_>) -> Result<Vec<usize>, PlanError> {
        let (_, first) = &candidate.found[0];
        let expected = first.stored_shape();
        let mut shape = expected.clone();
        for (source, operand) in &candidate.found[1..] {
            let found = operand.stored_shape();
            if found == expected {
                continue;
            }
            let is_vocabulary = candidate.template.vocabulary_axis == Some(0)
                && found.len() == expected.len()
                && found[1..] == expected[1..];
            if !(is_vocabulary && self.truncate_embeddings) {
                let error = PlanError::Shapes {
                    tensor: candidate.name.clone(),
                    first: first.model.label(),
                    expected,
                    model: operand.model.label(),
                    found,
                    is_vocabulary,
                };
                return Err(error.of_model(candidate.slice.sources[*source].model_field()));
            }
            shape[0] = shape[0].min(found[0]);
            self.vocabulary_size = Some(shape[0]);
        }
        Ok(shape)
    }

    fn output_dtype(&self, candidate: &Candidate<'_, '_>, action: &Action) -> DType {
        let stored = match action {
            Action::Copy { from, .. } => from.loaded_as,
            Action::Merge { .. } => candidate
                .found
                .iter()
                .map(|(_, operand)| operand.loaded_as)
                .reduce(promote)
                .expect("a candidate has inputs"),
        };
        let wanted = candidate.template.forced_dtype.or(self.out_dtype);
        wanted.filter(|_| stored.is_float()).unwrap_or(stored)
    }
}

/// What each source of `slice` has of a tensor, or `None` when the tensor is optional and no source
/// has it.
fn find(
    slice: &Slice<'_>,
    template: &TensorTemplate,
    location: Location,
    index: usize,
    dtype: Option<DType>,
) -> Result<Option<Vec<(usize, Operand)>>, PlanError> {
    let names = |source: &Source<'_>| names(source, template, location, index);
    let is_stored = |source: &Source<'_>| names(source).is_stored_in(&*source.model.checkpoint);
    if template.optional && !slice.sources.iter().any(is_stored) {
        return Ok(None);
    }
    let mut found = Vec::with_capacity(slice.sources.len());
    for (position, source) in slice.sources.iter().enumerate() {
        let names = names(source);
        match names.resolve(&*source.model.checkpoint) {
            Some(tensor) => {
                let tensor = tensor.to_owned();
                let stored = source.model.checkpoint.tensors()[&tensor].dtype;
                let wanted = template.forced_dtype.or(dtype).filter(|_| stored.is_float());
                let model = Arc::clone(&source.model);
                let loaded_as = wanted.unwrap_or(stored);
                let canonical = names.name;
                let source = Arc::clone(&model.checkpoint);
                let operand = Operand {
                    model,
                    source,
                    tensor,
                    canonical,
                    dtype: stored,
                    loaded_as,
                    alignment: None,
                };
                found.push((position, operand));
            }
            None if template.optional => {}
            None => {
                let (model, tensor) = (source.model.label(), names.name);
                let field = source.model_field();
                return Err(PlanError::MissingTensor { field, model, tensor });
            }
        }
    }
    Ok(Some(found))
}

/// The names of a tensor in `source`, in the layer that lies `index` layers into its part of the slice.
pub(super) fn names(
    source: &Source<'_>,
    template: &TensorTemplate,
    location: Location,
    index: usize,
) -> TensorNames {
    let location = match location {
        Location::Layer(_) => Location::Layer(source.layers.start + index),
        outside => outside,
    };
    template.names_for(location, source.n_layers)
}

/// For tensors of whole numbers, which are only copied: the inputs behind the first.
fn whole_numbers(candidate: &Candidate<'_, '_>) -> Result<Option<Vec<Operand>>, PlanError> {
    let Candidate { name, slice, found, .. } = candidate;
    let (_, first) = &found[0];
    let other = found.iter().find(|(_, operand)| {
        operand.dtype.is_float() != first.dtype.is_float()
            || (!first.dtype.is_float() && operand.dtype != first.dtype)
    });
    if let Some((source, other)) = other {
        return Err(PlanError::Kinds {
            field: slice.sources[*source].model_field(),
            tensor: name.clone(),
            first: first.model.label(),
            expected: first.dtype,
            model: other.model.label(),
            found: other.dtype,
        });
    }
    let equals = || found[1..].iter().map(|(_, operand)| operand.clone()).collect();
    Ok((!first.dtype.is_float()).then(equals))
}

fn copy(from: Operand) -> Action {
    Action::Copy { from, equals: Vec::new() }
}

/// The smallest floating type that holds the values of both.
pub(super) fn promote(a: DType, b: DType) -> DType {
    match (a, b) {
        (a, b) if a == b => a,
        (DType::F64, _) | (_, DType::F64) => DType::F64,
        _ => DType::F32,
    }
}
