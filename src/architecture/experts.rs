//! A checkpoint in another layout: its experts in one tensor instead of a tensor for each, or the
//! other way round. Nothing is copied, since in both layouts the elements have the same order.

use std::any::Any;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use super::{ArchitectureDefinition, Location, Module, NameTemplate};
use crate::checkpoint::{CheckpointError, Holding, TensorInfo, TensorSource};

/// A checkpoint whose tensors are made of pieces of another one's.
pub(super) struct Relaid {
    source: Arc<dyn TensorSource>,
    tensors: IndexMap<String, TensorInfo>,
    /// Parallel to `tensors`: what each consists of, in order.
    pieces: Vec<Vec<Piece>>,
}

/// Elements of a tensor in the checkpoint behind a [`Relaid`].
struct Piece {
    tensor: String,
    start: usize,
    n_elements: usize,
}

/// A tensor of one layout, and those that it consists of in another.
struct Fused {
    name: String,
    /// Expert by expert, or just another name.
    parts: Vec<String>,
    /// Experts along the first axis; none for a tensor that only has another name.
    n_experts: Option<usize>,
}

impl Relaid {
    /// `source`, a model of `definition` with these layer counts and experts, with all fused tensors
    /// split and all tensors of experts fused, as far as it has all that goes into one.
    pub(super) fn new(
        definition: &ArchitectureDefinition,
        n_layers: &[usize],
        n_experts: usize,
        source: Arc<dyn TensorSource>,
    ) -> Self {
        let (tensors, pieces) = (IndexMap::new(), Vec::new());
        let mut relaid = Self { source: Arc::clone(&source), tensors, pieces };
        let mut used = HashSet::new();
        for (module, &n_layers) in definition.modules.values().zip(n_layers) {
            for fused in fused_tensors(module, n_layers, n_experts, &*source) {
                if source.tensors().contains_key(&fused.name) {
                    if relaid.split(&fused) {
                        used.insert(fused.name);
                    }
                } else if relaid.fuse(&fused) {
                    used.extend(fused.parts);
                }
            }
        }
        for (name, info) in source.tensors().iter().filter(|(name, _)| !used.contains(*name)) {
            let piece = Piece { tensor: name.clone(), start: 0, n_elements: info.elements() };
            relaid.add(name, info.clone(), vec![piece]);
        }
        relaid
    }

    fn add(&mut self, name: &str, info: TensorInfo, pieces: Vec<Piece>) {
        if self.tensors.insert(name.to_owned(), info).is_none() {
            self.pieces.push(pieces);
        }
    }

    /// Adds every part of `fused`, unless its shape is not that of such parts.
    fn split(&mut self, fused: &Fused) -> bool {
        let info = &self.source.tensors()[&fused.name];
        let shape = match (fused.n_experts, info.shape.as_slice()) {
            (None, shape) => shape.to_vec(),
            (Some(n_experts), [experts, rows, rest @ ..]) if *experts == n_experts => {
                let per_expert = fused.parts.len() / n_experts;
                if !rows.is_multiple_of(per_expert) {
                    return false;
                }
                [&[rows / per_expert], rest].concat()
            }
            _ => return false,
        };
        let part = TensorInfo { dtype: info.dtype, shape };
        let n_elements = part.elements();
        for (index, name) in fused.parts.iter().enumerate() {
            let (tensor, start) = (fused.name.clone(), index * n_elements);
            self.add(name, part.clone(), vec![Piece { tensor, start, n_elements }]);
        }
        true
    }

    /// Adds `fused`, unless some of its parts are missing or of different shapes.
    fn fuse(&mut self, fused: &Fused) -> bool {
        let infos: Option<Vec<&TensorInfo>> =
            fused.parts.iter().map(|part| self.source.tensors().get(part)).collect();
        let Some((&first, others)) = infos.as_deref().and_then(<[_]>::split_first) else {
            return false;
        };
        if others.iter().any(|info| *info != first) {
            return false;
        }
        let shape = match (fused.n_experts, first.shape.as_slice()) {
            (None, shape) => shape.to_vec(),
            (Some(n_experts), [rows, rest @ ..]) => {
                [&[n_experts, rows * (fused.parts.len() / n_experts)], rest].concat()
            }
            (Some(_), []) => return false,
        };
        let (info, n_elements) = (TensorInfo { dtype: first.dtype, shape }, first.elements());
        let piece = |part: &String| Piece { tensor: part.clone(), start: 0, n_elements };
        self.add(&fused.name, info, fused.parts.iter().map(piece).collect());
        true
    }

    /// Calls `read` for every stretch of `source` that elements `start .. start + n_elements` of
    /// `name` come from: tensor, first element there, first element and number of elements here.
    fn for_pieces(
        &self,
        name: &str,
        start: usize,
        n_elements: usize,
        mut read: impl FnMut(&str, usize, usize, usize) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let (index, _, info) = self.tensors.get_full(name).ok_or_else(|| self.unknown(name))?;
        let end = match start.checked_add(n_elements) {
            Some(end) if end <= info.elements() => end,
            _ => {
                let (tensor, elements) = (name.to_owned(), info.elements());
                return Err(CheckpointError::ReadOutOfRange {
                    tensor,
                    start,
                    n_elements,
                    elements,
                });
            }
        };
        let mut before = 0;
        for piece in &self.pieces[index] {
            let (first, last) = (start.max(before), end.min(before + piece.n_elements));
            if first < last {
                let there = piece.start + first - before;
                read(&piece.tensor, there, first - start, last - first)?;
            }
            before += piece.n_elements;
        }
        Ok(())
    }

    /// What `name` consists of; nothing if there is no such tensor.
    fn pieces_of(&self, name: &str) -> impl Iterator<Item = &Piece> {
        self.tensors.get_index_of(name).into_iter().flat_map(|index| &self.pieces[index])
    }

    /// What the checkpoint behind says of a tensor that it does not have either.
    fn unknown(&self, name: &str) -> CheckpointError {
        let error = self.source.read_into(name, 0, &mut []).err();
        error.unwrap_or_else(|| CheckpointError::ReadOutOfRange {
            tensor: name.to_owned(),
            start: 0,
            n_elements: 0,
            elements: 0,
        })
    }
}

impl TensorSource for Relaid {
    fn tensors(&self) -> &IndexMap<String, TensorInfo> {
        &self.tensors
    }

    fn read_into(&self, name: &str, start: usize, out: &mut [f32]) -> Result<(), CheckpointError> {
        self.for_pieces(name, start, out.len(), |tensor, there, here, n| {
            self.source.read_into(tensor, there, &mut out[here..here + n])
        })
    }

    fn copy_bytes(&self, name: &str, start: usize, out: &mut [u8]) -> Result<(), CheckpointError> {
        let info = self.tensors.get(name).ok_or_else(|| self.unknown(name))?;
        let size = info.dtype.size();
        let bytes = out.len();
        if !bytes.is_multiple_of(size) {
            let (tensor, element_bytes) = (name.to_owned(), size);
            return Err(CheckpointError::PartialElement { tensor, element_bytes, bytes });
        }
        self.for_pieces(name, start, bytes / size, |tensor, there, here, n| {
            self.source.copy_bytes(tensor, there, &mut out[here * size..(here + n) * size])
        })
    }

    fn files(&self) -> Vec<&Path> {
        self.source.files()
    }

    fn hold(&self, name: &str) -> Result<Option<Arc<dyn Any + Send + Sync>>, CheckpointError> {
        let held: Result<Vec<_>, _> =
            self.pieces_of(name).map(|piece| self.source.hold(&piece.tensor)).collect();
        let held: Vec<_> = held?.into_iter().flatten().collect();
        Ok((!held.is_empty()).then(|| Arc::new(held) as _))
    }

    fn holding(&self, name: &str) -> Holding {
        self.pieces_of(name).fold(Holding::default(), |total, piece| {
            let holding = self.source.holding(&piece.tensor);
            Holding {
                bytes_read: total.bytes_read + holding.bytes_read,
                memory: total.memory + holding.memory,
            }
        })
    }
}

/// Every tensor of `module` that other layouts have in parts, as far as `source` has that tensor, or
/// else its first part.
fn fused_tensors(
    module: &Module,
    n_layers: usize,
    n_experts: usize,
    source: &dyn TensorSource,
) -> impl Iterator<Item = Fused> {
    let templates = module.layer_variants.values().flatten().filter(|t| !t.parts.is_empty());
    templates.flat_map(move |template| {
        let of_experts = template.parts.iter().all(|part| part.has_expert_index());
        let fused = move |layer: usize| {
            let location = Location::Layer(layer);
            let name_of = |part: &NameTemplate, expert: usize| {
                part.clone().with_expert(expert).name_for(location, n_layers)
            };
            let name = template.name_for(location, n_layers);
            // Nothing is done for each expert that a config claims before a tensor bears it out.
            let is_stored = match source.tensors().get(&name) {
                Some(info) => !of_experts || (info.elements() > 0 && info.shape[0] == n_experts),
                None => source.tensors().contains_key(&name_of(&template.parts[0], 0)),
            };
            if !is_stored {
                return None;
            }
            let experts = if of_experts { n_experts } else { 1 };
            let parts = (0..experts)
                .flat_map(|expert| template.parts.iter().map(move |part| name_of(part, expert)));
            let parts = parts.collect();
            Some(Fused {
                name,
                parts,
                n_experts: (of_experts && n_experts > 0).then_some(n_experts),
            })
        };
        (0..n_layers).filter_map(fused)
    })
}
