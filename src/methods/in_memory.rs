//! Inputs that are in memory already.

use std::ops::Range;

use super::{Chunk, MethodError, ReadInput};

/// Inputs of one output tensor that are in memory already, flattened row-major and all equally long.
/// Nothing about them is remembered.
pub struct InMemory<'a> {
    /// The base, when there is one that is treated apart.
    pub base: Option<&'a [f32]>,
    /// The other inputs.
    pub inputs: &'a [&'a [f32]],
}

impl ReadInput for InMemory<'_> {
    fn visit(
        &self,
        which: &[usize],
        elements: Range<usize>,
        block: usize,
        visit: &mut dyn FnMut(&Chunk<'_>),
    ) -> Result<(), MethodError> {
        for start in elements.clone().step_by(block.max(1)) {
            let part = start..elements.end.min(start + block);
            let inputs: Vec<_> =
                which.iter().map(|&index| &self.inputs[index][part.clone()]).collect();
            visit(&Chunk { start, base: self.base.map(|base| &base[part]), inputs: &inputs });
        }
        Ok(())
    }
}
