//! How every command reports what went wrong.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

use super::terminal::error_line;
use crate::config::yaml::Place;
use crate::config::{ConfigError, ConfigFile};
use crate::engine::{EngineError, LockError};
use crate::evaluate::EvaluateError;
use crate::hub::HubError;
use crate::inspect::InspectError;
use crate::lm::LmError;
use crate::plan::{PlanError, PlanWarning};
use crate::report::OutputError;
use crate::search::SearchError;
use crate::space::SpaceError;
use crate::tokensurgeon::SurgeonError;

/// What went wrong, as a person sees it.
#[derive(Debug)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
}

/// Exit code when something that was given has to be changed.
const USERS_MISTAKE: u8 = 2;
/// Exit code when the machine failed.
const MACHINE: u8 = 1;
/// Exit code when a check found something.
const FOUND: u8 = 1;
/// Exit code after Ctrl-C, as shells expect it: 128 and the signal's number.
pub(super) const INTERRUPTED: u8 = 130;

impl Failure {
    /// A failure from its parts. Causes of `error` are added to the sentence.
    pub fn new(error: &dyn Error, hint: Option<String>, is_users_mistake: bool) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some errors repeat their cause in their own sentence.
            if !message.ends_with(&text) {
                write!(message, ": {text}").expect("writing to a string does not fail");
            }
            cause = error.source();
        }
        Self { message, hint, code: if is_users_mistake { USERS_MISTAKE } else { MACHINE } }
    }

    /// What is wrong with the merge that `file` asks for, with the place in the file where it stands.
    pub fn in_config(error: PlanError, file: &ConfigFile) -> Self {
        let field = error.field().filter(|_| !error.is_interruption());
        let place = field.and_then(|field| line_of(field, file));
        let mut failure = Self::from(error);
        if let Some(place) = place {
            failure.message = format!("{place}: {}", failure.message);
        }
        failure
    }

    /// Work that Ctrl-C stopped in good order, with what to do to go on.
    pub fn interrupted(message: String, hint: String) -> Self {
        Self { message, hint: Some(hint), code: INTERRUPTED }
    }

    /// What was asked for and cannot be done, with what to do instead.
    pub(super) fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()), code: USERS_MISTAKE }
    }

    /// What a check has found, all of which was shown.
    pub(super) fn found(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: FOUND }
    }

    /// The sentence, with its causes.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Results that could not be printed.
    pub(super) fn standard_output(error: std::io::Error) -> Self {
        let message = format!("cannot write to standard output: {error}");
        Self { message, hint: None, code: MACHINE }
    }

    /// Prints `error: …` and, when something would fix it, a blank line and `hint: …`.
    pub fn print(&self) {
        error_line(format_args!("error: {}", self.message));
        if let Some(hint) = &self.hint {
            error_line(format_args!("\nhint: {hint}"));
        }
    }

    /// What the process should return.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

/// What a plan warns of, behind the line of the config that it is about.
pub(super) fn in_config(warning: &PlanWarning, file: &ConfigFile) -> String {
    match warning.field().and_then(|field| line_of(field, file)) {
        Some(place) => format!("{place}: {warning}"),
        None => warning.to_string(),
    }
}

/// Where a field is, as `merge.yml:5:12`; nothing where that is not known.
pub(super) fn line_of(field: &str, file: &ConfigFile) -> Option<String> {
    let Place { file: Some(path), line: Some(line), column, .. } = file.place_of(field) else {
        return None;
    };
    let column = column.map(|column| format!(":{column}")).unwrap_or_default();
    Some(format!("{}:{line}{column}", path.display()))
}

/// For error types with `hint` and `is_users_mistake`.
macro_rules! failure_from {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new(&error, error.hint(), error.is_users_mistake())
            }
        }
    )*};
}

failure_from!(ConfigError, LmError, LockError, OutputError, SearchError, SpaceError);

impl From<EvaluateError> for Failure {
    fn from(error: EvaluateError) -> Self {
        match error {
            EvaluateError::Engine(error) => Self::from(*error),
            error => Self::new(&error, error.hint(), error.is_users_mistake()),
        }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        PlanError::from(error).into()
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        let failure = Self::new(&error, error.hint(), error.is_users_mistake());
        match error.is_interruption() {
            true => Self { code: INTERRUPTED, ..failure },
            false => failure,
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let failure = Self::new(&error, error.hint(), error.is_users_mistake());
        match error {
            EngineError::Interrupted => Self { code: INTERRUPTED, ..failure },
            _ => failure,
        }
    }
}

impl From<SurgeonError> for Failure {
    fn from(error: SurgeonError) -> Self {
        let failure = Self::new(&error, error.hint(), error.is_users_mistake());
        match error {
            SurgeonError::Interrupted => Self { code: INTERRUPTED, ..failure },
            _ => failure,
        }
    }
}

impl From<InspectError> for Failure {
    fn from(error: InspectError) -> Self {
        let failure = Self::new(&error, error.hint(), error.is_users_mistake());
        match error {
            InspectError::Interrupted => Self { code: INTERRUPTED, ..failure },
            _ => failure,
        }
    }
}
