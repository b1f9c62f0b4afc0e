//! Statistics of one model.

use rayon::prelude::*;

use super::measure::{Block, Operand, measure};
use super::{Accumulate, Groups, InspectError, MeasureOptions, Measured, Model};
use crate::kernels::summary::Summary;

/// Statistics of a part of a model.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct InspectedPart {
    /// Number of tensors.
    pub tensors: u64,
    /// Bytes as stored.
    pub bytes: u64,
    /// Statistics of the elements.
    pub summary: Summary,
}

impl Accumulate for InspectedPart {
    fn add(&mut self, other: &Self) {
        self.tensors += other.tensors;
        self.bytes += other.bytes;
        self.summary.add(&other.summary);
    }
}

impl Accumulate for Summary {
    fn add(&mut self, other: &Self) {
        Self::add(self, other);
    }
}

/// Statistics of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// Every stored tensor, in model order.
    pub tensors: Vec<Measured<InspectedPart>>,
    /// The same by layer and kind.
    pub groups: Groups<InspectedPart>,
}

impl Inspection {
    /// Reads every tensor of `model` once.
    ///
    /// `progress` is told, from many threads, how many more bytes have been read; in the end they add
    /// up to [`Inspection::bytes`].
    pub fn measure(
        model: &Model,
        options: &MeasureOptions,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Self, InspectError> {
        let tensors: Vec<_> = model.tensors().iter().collect();
        let measured: Result<Vec<_>, InspectError> = options.pool()?.install(|| {
            let tensors = tensors.par_iter().with_max_len(1);
            let measured = tensors.map(|&(name, tensor)| {
                let info = model.info(tensor);
                let operands = [Operand::new(model, tensor)];
                let summary =
                    measure(&operands, info.elements(), options, progress, |block| match block {
                        Block::Narrow(values) => Summary::of(&values[0]),
                        Block::Wide(values) => Summary::of(&values[0]),
                    })?;
                let part = InspectedPart { tensors: 1, bytes: info.bytes() as u64, summary };
                Ok(Measured {
                    name: name.clone(),
                    place: tensor.place.clone(),
                    shape: info.shape.clone(),
                    dtypes: vec![info.dtype],
                    part,
                })
            });
            measured.collect()
        });
        let tensors = measured?;
        Ok(Self { groups: Groups::of(&tensors), tensors })
    }

    /// Bytes that [`Inspection::measure`] reads.
    pub fn bytes(model: &Model) -> u64 {
        model.tensors().values().map(|tensor| model.info(tensor).bytes() as u64).sum()
    }
}

#[cfg(test)]
mod tests;
