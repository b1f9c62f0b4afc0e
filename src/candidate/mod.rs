//! A merge as something to score: in memory or in a directory, made when an evaluator asks for it.

mod form;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use form::ModelForm;

use crate::engine::{Engine, WriteOptions};
use crate::evaluate::{Candidate, EvaluateError};
use crate::files::Temporary;
use crate::lm::{Decoder, LanguageModel};
use crate::plan::MergePlan;

/// A directory with a model, which is removed with this value.
struct Files {
    path: PathBuf,
    _parent: Temporary,
}

/// A merge to score.
pub struct MergedCandidate<'a> {
    plan: &'a MergePlan,
    config: &'a str,
    engine: &'a Engine,
    form: &'a ModelForm,
    decoder: OnceLock<Decoder>,
    files: OnceLock<Files>,
    /// How long making all of it took; held by who makes a part.
    making: Mutex<Duration>,
}

impl<'a> MergedCandidate<'a> {
    /// The merge that `plan` plans from `config`, a merge config as YAML. In memory it has the given form.
    pub fn new(
        plan: &'a MergePlan,
        config: &'a str,
        engine: &'a Engine,
        form: &'a ModelForm,
    ) -> MergedCandidate<'a> {
        MergedCandidate {
            plan,
            config,
            engine,
            form,
            decoder: OnceLock::new(),
            files: OnceLock::new(),
            making: Mutex::default(),
        }
    }

    /// The merged model in memory.
    ///
    /// # Errors
    ///
    /// As of [`Candidate::model`].
    pub fn decoder(&self) -> Result<&Decoder, EvaluateError> {
        self.made(&self.decoder, || {
            Ok(self.form.merge(self.engine, self.plan).map_err(Box::new)??)
        })
    }

    /// The time that making the model took, in all forms that were asked for.
    pub fn merge_time(&self) -> Duration {
        *self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the model in memory back, so that the next one is made faster.
    pub fn recycle(self) {
        if let Some(decoder) = self.decoder.into_inner() {
            self.form.recycle(self.plan, decoder);
        }
    }

    /// What a cell holds, made by whoever comes first.
    fn made<'c, T>(
        &self,
        cell: &'c OnceLock<T>,
        make: impl FnOnce() -> Result<T, EvaluateError>,
    ) -> Result<&'c T, EvaluateError> {
        let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = cell.get() {
            return Ok(made);
        }
        let started = Instant::now();
        let made = make()?;
        *making += started.elapsed();
        Ok(cell.get_or_init(|| made))
    }
}

impl Candidate for MergedCandidate<'_> {
    fn model(&self) -> Result<&dyn LanguageModel, EvaluateError> {
        Ok(self.decoder()?)
    }

    fn directory(&self) -> Result<&Path, EvaluateError> {
        let files = self.made(&self.files, || {
            let parent = Temporary::new("mergekit-candidate-")
                .map_err(|source| EvaluateError::Temporary { source })?;
            let path = parent.path().join("model");
            let options = WriteOptions {
                config_text: Some(self.config.to_owned()),
                strict: true,
                ..WriteOptions::default()
            };
            self.engine
                .merge_to_directory(self.plan, &path, &options, &|_| {})
                .map_err(Box::new)?;
            Ok(Files { path, _parent: parent })
        })?;
        Ok(&files.path)
    }

    fn config(&self) -> Result<&str, EvaluateError> {
        Ok(self.config)
    }
}
