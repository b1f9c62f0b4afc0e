//! Values that a sound model does not have: what a merge says about them, and that it goes on.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::kernels::dtype::DType;

/// The first value of a tensor that is no finite number, or stops being one.
///
/// A merge goes on with it as IEEE 754 has it, and the result is as damaged as its input: worth a
/// warning, or an error for whoever asks for strictness.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Anomaly {
    /// An input has a weight that is no number.
    #[error("model `{model}`: tensor `{tensor}` has the value {value} at element {element}")]
    NotFinite {
        /// The model.
        model: String,
        /// The tensor's name in that model.
        tensor: String,
        /// Index of the first such element found, flattened row-major.
        element: usize,
        /// NaN or an infinity.
        value: f32,
    },

    /// An input is larger than the config's `dtype` can hold.
    #[error(
        "model `{model}`: tensor `{tensor}` has {value} at element {element}, which `dtype: {dtype}` \
         cannot hold"
    )]
    LoadOverflow {
        /// The model.
        model: String,
        /// The tensor's name in that model.
        tensor: String,
        /// Index of the first such element found, flattened row-major.
        element: usize,
        /// The value as stored.
        value: f32,
        /// What it was to be rounded to.
        dtype: DType,
    },

    /// The method's result is no number, or larger than the output's type can hold.
    #[error(
        "merging tensor `{tensor}` gives {value} at element {element}, which {dtype} cannot hold"
    )]
    Overflow {
        /// The output tensor.
        tensor: String,
        /// Index of the first such element found, flattened row-major.
        element: usize,
        /// The result, before it was rounded.
        value: f32,
        /// The output's type.
        dtype: DType,
    },
}

impl Anomaly {
    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotFinite { .. } => {
                "the model is damaged, or its training diverged: use another checkpoint of it"
            }
            Self::LoadOverflow { dtype: DType::F16 | DType::F8E4M3 | DType::F8E5M2, .. } => {
                "write `dtype: bfloat16`, which reaches further, or `dtype: float32`"
            }
            Self::LoadOverflow { .. } => "write `dtype: float32`",
            Self::Overflow { dtype: DType::F16 | DType::F8E4M3 | DType::F8E5M2, .. } => {
                "choose smaller weights, or `out_dtype: bfloat16`, which reaches further"
            }
            Self::Overflow { .. } => "choose smaller weights",
        }
    }

    fn element(&self) -> usize {
        match self {
            Self::NotFinite { element, .. }
            | Self::LoadOverflow { element, .. }
            | Self::Overflow { element, .. } => *element,
        }
    }
}

/// The anomalies of one run, from all threads.
#[derive(Debug, Default)]
pub(super) struct Anomalies {
    /// Whether the first one ends the run.
    strict: bool,
    /// By the index of the output tensor, then that of the operand, the result being the last.
    found: Mutex<BTreeMap<(usize, usize), Anomaly>>,
}

/// Stands for the result where operands are numbered.
pub(super) const RESULT: usize = usize::MAX;

impl Anomalies {
    pub(super) fn new(strict: bool) -> Self {
        Self { strict, ..Self::default() }
    }

    /// Notes that `anomaly` was met in an operand of the output tensor at `tensor`, or in its
    /// [`RESULT`]; the one with the lowest index counts.
    pub(super) fn meet(
        &self,
        tensor: usize,
        operand: usize,
        anomaly: Anomaly,
    ) -> Result<(), Anomaly> {
        if self.strict {
            return Err(anomaly);
        }
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let first = found.entry((tensor, operand)).or_insert_with(|| anomaly.clone());
        if anomaly.element() < first.element() {
            *first = anomaly;
        }
        Ok(())
    }

    /// One anomaly for each input, and for each result that is bad though its inputs were not.
    pub(super) fn into_warnings(self) -> Vec<Anomaly> {
        let mut warnings = Vec::new();
        let mut explained = None;
        for ((tensor, operand), anomaly) in
            self.found.into_inner().unwrap_or_else(PoisonError::into_inner)
        {
            if operand != RESULT || explained != Some(tensor) {
                warnings.push(anomaly);
            }
            explained = Some(tensor);
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overflow(element: usize) -> Anomaly {
        Anomaly::Overflow { tensor: "w".to_owned(), element, value: 1e9, dtype: DType::F16 }
    }

    #[test]
    fn the_first_element_counts_and_bad_inputs_explain_bad_results() {
        let anomalies = Anomalies::new(false);
        let input = Anomaly::NotFinite {
            model: "m".to_owned(),
            tensor: "w".to_owned(),
            element: 3,
            value: f32::NAN,
        };
        for element in [7, 2, 5] {
            anomalies.meet(1, RESULT, overflow(element)).unwrap();
            anomalies.meet(0, RESULT, overflow(element)).unwrap();
        }
        anomalies.meet(0, 1, input.clone()).unwrap();
        let warnings: Vec<_> =
            anomalies.into_warnings().iter().map(|anomaly| anomaly.to_string()).collect();
        assert_eq!(warnings, [input.to_string(), overflow(2).to_string()]);
    }

    #[test]
    fn strictness_makes_an_error_of_the_first() {
        assert_eq!(Anomalies::new(true).meet(0, 0, overflow(1)), Err(overflow(1)));
    }
}
