//! Another model's vocabulary for a model: the body stays, the tokenizer and its ids come from a donor.
//!
//! ```text
//! tokenizers ─► token ─► matching ──► rows that are copied ─────────────────────┐
//!                          ▲     └──► tokens that are new ─► approximate ─► rows ─► output
//! matrices ──► magikarp ───┘                                   ▲
//!     └──────► rows, in blocks ────────────────────────────────┘
//! ```
//!
//! [`Surgeon::plan`] decides what each token of the donor gets, and finds what is wrong with models and
//! options; [`Surgeon::write`] writes the model. Matrices stay in their files: rows are read block by block,
//! and the result is written as it comes.

mod approximate;
mod embeddings;
mod error;
mod linear;
mod magikarp;
mod matching;
mod options;
mod product;
mod rows;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod token;
mod warning;
mod work;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::plan::InputModel;
use crate::tokenizer::TokenizerError;

pub use error::SurgeonError;
pub use matching::Counts;
pub use options::{Matching, Method, Role, SubwordMethod, SurgeonOptions, WeightScheme};
pub use warning::SurgeonWarning;
pub use work::Observer;
pub use write::TransplantFiles;

use approximate::{Side, Task};
use embeddings::Embeddings;
use matching::{Matches, Trained, Vocabularies};
use rows::Matrix;
use token::Tokens;
use work::Work;

/// Plans and makes transplants, on threads of its own.
pub struct Surgeon {
    pool: ThreadPool,
    cancelled: Arc<AtomicBool>,
}

impl Surgeon {
    /// A surgeon with `threads` threads, or one for each core. Once `cancelled` is true, what it does
    /// stops with [`SurgeonError::Interrupted`].
    pub fn new(threads: Option<usize>, cancelled: Arc<AtomicBool>) -> Result<Self, SurgeonError> {
        let name = |index| format!("surgeon-{index}");
        let builder = ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).thread_name(name);
        Ok(Self { pool: builder.build()?, cancelled })
    }

    /// Decides what each token of `donor` gets in `model`. Reads tokenizers and headers, and with
    /// [`magikarp`](SurgeonOptions::magikarp) all rows.
    pub fn plan(
        &self,
        model: &Arc<InputModel>,
        donor: &Arc<InputModel>,
        options: SurgeonOptions,
        observer: &dyn Observer,
    ) -> Result<Transplant, SurgeonError> {
        let (model, donor) = (Arc::clone(model), Arc::clone(donor));
        let work = Work { observer, cancelled: &self.cancelled, scratch: Path::new("") };
        self.pool.install(|| Transplant::plan(model, donor, options, &work))
    }

    /// Writes the model with its new vocabulary into the directory `out`, which appears complete or not at
    /// all.
    pub fn write(
        &self,
        transplant: &Transplant,
        out: &Path,
        files: &TransplantFiles,
        observer: &dyn Observer,
    ) -> Result<(), SurgeonError> {
        self.pool.install(|| write::write(transplant, out, files, observer, &self.cancelled))
    }
}

/// A model and what its vocabulary will be.
pub struct Transplant {
    model: Patient,
    donor: Patient,
    options: SurgeonOptions,
    /// Makes pieces of texts, for the method that needs them.
    tokenizer: Option<tokenizers::Tokenizer>,
    trained: Option<Trained>,
    matrices: Vec<Planned>,
}

/// One of the two models.
struct Patient {
    input: Arc<InputModel>,
    tokens: Tokens,
    embeddings: Embeddings,
}

/// A matrix and where its rows come from.
struct Planned {
    role: Role,
    matches: Matches,
}

impl Transplant {
    fn plan(
        model: Arc<InputModel>,
        donor: Arc<InputModel>,
        options: SurgeonOptions,
        work: &Work<'_>,
    ) -> Result<Self, SurgeonError> {
        let embeddings = (Embeddings::of(&model, false)?, Embeddings::of(&donor, true)?);
        if let (Some(head), None) = (&embeddings.0.head, &embeddings.1.head) {
            return Err(SurgeonError::NoDonorHead {
                model: model.label(),
                donor: donor.label(),
                head: head.name().to_owned(),
            });
        }
        let patient = |input: Arc<InputModel>, embeddings| {
            let tokens = Tokens::read(&input.directory, &input.label())?;
            Ok::<_, SurgeonError>(Patient { input, tokens, embeddings })
        };
        let model = patient(model, embeddings.0)?;
        let donor = patient(donor, embeddings.1)?;
        let tokenizer = match options.method {
            Method::Subword => Some(splitter(&model.input.directory)?),
            _ => None,
        };
        let trained = match options.magikarp {
            true => {
                let sides = [&model, &donor].map(|side| (&side.tokens, &side.embeddings));
                Some(magikarp::trained(sides[0], sides[1], work)?)
            }
            false => None,
        };
        let mut transplant =
            Self { model, donor, options, tokenizer, trained, matrices: Vec::new() };
        for role in [Role::Embedding, Role::Head] {
            let Some((of_model, of_donor)) = transplant.pair(role) else { continue };
            let matches = transplant
                .vocabularies(of_model.rows(), of_donor.rows())
                .matches(options.prefix_match.includes(role), options.byte_match.includes(role));
            transplant.matrices.push(Planned { role, matches });
        }
        for planned in transplant.matrices.iter().filter(|planned| planned.matches.counts.new > 0) {
            approximate::check(&transplant.task(planned))?;
        }
        Ok(transplant)
    }

    /// The matrices of model and donor with a role.
    fn pair(&self, role: Role) -> Option<(&Matrix, &Matrix)> {
        Some((self.model.embeddings.get(role)?, self.donor.embeddings.get(role)?))
    }

    fn vocabularies(&self, model_rows: usize, donor_rows: usize) -> Vocabularies<'_> {
        Vocabularies {
            model: &self.model.tokens,
            donor: &self.donor.tokens,
            model_rows,
            donor_rows,
            trained: self.trained.as_ref(),
        }
    }

    fn task<'t>(&'t self, planned: &'t Planned) -> Task<'t> {
        let (of_model, of_donor) =
            self.pair(planned.role).expect("only matrices that both have are planned");
        let side = |patient: &'t Patient, matrix| Side {
            input: &patient.input,
            tokens: &patient.tokens,
            matrix,
        };
        Task {
            options: &self.options,
            role: planned.role,
            model: side(&self.model, of_model),
            donor: side(&self.donor, of_donor),
            matches: &planned.matches,
            tokenizer: self.tokenizer.as_ref(),
        }
    }

    /// Rows of the new matrices: one more than the donor's largest id.
    pub fn vocabulary_size(&self) -> usize {
        self.donor.tokens.n_rows()
    }

    /// For each new matrix its name, and how many tokens get what.
    pub fn matrices(&self) -> impl Iterator<Item = (&str, Counts)> {
        self.matrices.iter().map(|planned| {
            let (matrix, _) = self.pair(planned.role).expect("as in `task`");
            (matrix.name(), planned.matches.counts)
        })
    }

    /// What deserves attention.
    pub fn warnings(&self) -> Vec<SurgeonWarning> {
        let mut warnings = Vec::new();
        for planned in &self.matrices {
            for side in [self.task(planned).model, self.task(planned).donor] {
                warnings.extend(SurgeonWarning::beyond(&side));
            }
        }
        warnings
    }
}

/// What makes pieces of texts as the model in `directory` reads them.
fn splitter(directory: &Path) -> Result<tokenizers::Tokenizer, SurgeonError> {
    let path = directory.join("tokenizer.json");
    let malformed = |problem| TokenizerError::Malformed { path: path.clone(), problem };
    Ok(tokenizers::Tokenizer::from_file(&path).map_err(|error| malformed(error.to_string()))?)
}
