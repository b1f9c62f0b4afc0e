//! Rows for tokens that a model does not know: one file per family of methods.
//!
//! A method prepares once for a matrix, then makes rows for tokens in batches. What it reads stays in
//! the models' files; what each holds is in its file. Threads and batches change nothing.

mod affine;
mod basis;
mod constant;
mod landmarks;
mod neighbours;
mod omp;
mod random;
mod rope;
mod sparse;
mod subword;

use std::ops::Range;

use crate::plan::InputModel;

use super::matching::Matches;
use super::rows::{Matrix, Rows};
use super::token::Tokens;
use super::work::Work;
use super::{Method, Role, SurgeonError, SurgeonOptions};

pub(super) use random::add_noise;

/// What rows are made for.
#[derive(Clone, Copy)]
pub(super) struct Task<'t> {
    pub(super) options: &'t SurgeonOptions,
    pub(super) role: Role,
    pub(super) model: Side<'t>,
    pub(super) donor: Side<'t>,
    pub(super) matches: &'t Matches,
    /// Makes pieces of texts as the model reads them, for the method that needs them.
    pub(super) tokenizer: Option<&'t tokenizers::Tokenizer>,
}

/// One of the two models.
#[derive(Clone, Copy)]
pub(super) struct Side<'t> {
    pub(super) input: &'t InputModel,
    pub(super) tokens: &'t Tokens,
    pub(super) matrix: &'t Matrix,
}

impl Task<'_> {
    /// The donor's rows of the tokens that both know.
    fn donor_shared(&self) -> Rows {
        let ids = self.matches.shared.iter().map(|(donor, _)| *donor).collect();
        Rows::new(self.donor.matrix.clone(), ids)
    }

    /// The model's rows of the tokens that both know, in the same order.
    fn model_shared(&self) -> Rows {
        let ids = self.matches.shared.iter().map(|(_, model)| *model).collect();
        Rows::new(self.model.matrix.clone(), ids)
    }

    /// The donor's rows of the tokens to approximate.
    fn donor_new(&self) -> Rows {
        Rows::new(self.donor.matrix.clone(), self.matches.new.clone())
    }

    fn decomposition(&self) -> SurgeonError {
        SurgeonError::Decomposition { tensor: self.model.matrix.name().to_owned() }
    }
}

/// A method that is ready to make rows.
pub(super) trait Approximation: Sync {
    /// Writes the rows of tokens `tokens` of those to approximate into `out`, one after the other, and tells
    /// the observer of each token.
    fn rows(
        &self,
        tokens: Range<usize>,
        out: &mut [f32],
        work: &Work<'_>,
    ) -> Result<(), SurgeonError>;
}

/// Prepares the method that the options ask for.
pub(super) fn prepare(
    task: &Task<'_>,
    work: &Work<'_>,
) -> Result<Box<dyn Approximation>, SurgeonError> {
    Ok(match task.options.method {
        Method::Zero => Box::new(constant::Constant::zero(task)),
        Method::Mean => Box::new(constant::Constant::mean(task, work)?),
        Method::Randn => Box::new(random::StandardNormal::new(task)),
        Method::JohnHewitt => Box::new(random::LikeTheOthers::new(task, work)?),
        Method::Subword => Box::new(subword::Subword::new(task)),
        Method::CommonInterpolation => Box::new(neighbours::Neighbours::new(task)),
        Method::Omp => Box::new(omp::Omp::new(task, work)?),
        Method::MpRope => Box::new(rope::RotatedPursuit::new(task)?),
        Method::LandmarkPca => Box::new(landmarks::rotation(task, work)?),
        Method::Stb => Box::new(basis::change_of_basis(task, work)?),
    })
}

/// Refuses what the method cannot do with these models, before anything is computed.
pub(super) fn check(task: &Task<'_>) -> Result<(), SurgeonError> {
    let Task { options: SurgeonOptions { method, k, .. }, model, donor, matches, .. } = *task;
    let (model, donor) = (model.input.label(), donor.input.label());
    let shared = matches.shared.len();
    let least = match method {
        Method::Mean | Method::Zero | Method::Randn | Method::JohnHewitt | Method::Subword => 0,
        Method::LandmarkPca => 1,
        Method::CommonInterpolation | Method::Omp | Method::Stb | Method::MpRope => *k,
    };
    if *method == Method::MpRope {
        rope::RotatedPursuit::new(task)?;
    }
    match shared {
        _ if shared >= least => Ok(()),
        0 => Err(SurgeonError::NothingShared { model, donor, method: *method }),
        _ => Err(SurgeonError::TooFewShared { k: *k, model, donor, shared }),
    }
}
