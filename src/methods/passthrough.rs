//! Passthrough: tensors of one model, copied or scaled. The way frankenmerges are stacked.
//!
//! ```text
//! out = (scale or 1) · model
//! ```

use super::coefficients::LinearCombination;
use super::{
    Apply, BaseRole, Incomplete, MethodDefinition, MethodError, ParameterDefault,
    ParameterDefinition, ParameterScope, TensorInputs, TensorMethod,
};

/// The registry's entry.
pub(super) static PASSTHROUGH: MethodDefinition = MethodDefinition {
    name: "passthrough",
    base: BaseRole::Ignored,
    inputs: (1, 1),
    incomplete: Incomplete::Check,
    parameters: &[ParameterDefinition {
        name: "scale",
        scope: ParameterScope::PerInput,
        default: ParameterDefault::Absent,
        help: "factor; without it the tensor is copied",
    }],
    bind: |parameters| {
        let scale = parameters.inputs[0].get("scale").map(|scale| scale.as_float() as f32);
        Ok(Box::new(Passthrough { scale }))
    },
    reference: "https://arxiv.org/abs/2312.15166",
};

struct Passthrough {
    scale: Option<f32>,
}

impl TensorMethod for Passthrough {
    fn copied_input(&self) -> Option<usize> {
        self.scale.is_none().then_some(0)
    }

    fn prepare(&self, _: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        let inputs = vec![self.scale.unwrap_or(1.0)];
        Ok(Box::new(LinearCombination { base: 0.0, inputs }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{X1, assert_close, merge};

    #[test]
    fn scale_multiplies_and_its_absence_copies() {
        assert_eq!(merge("passthrough", None, &[&X1], &[&[]], &[]), X1);
        let half = merge("passthrough", None, &[&X1], &[&[("scale", 0.5)]], &[]);
        assert_close(&half, &[0.12, -0.08, 0.05, 0.185, 0.41, -0.505]);
    }
}
