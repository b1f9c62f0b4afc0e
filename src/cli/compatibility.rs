//! Options of mergekit-yaml that mean nothing here.
//!
//! Most say how Python and CUDA are to go about a merge. They are accepted, so that scripts go on
//! working, and answered by a note. What would ask for another result than the one that is written is
//! refused. `docs/flags.md` has the table; a test keeps it true.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::{Failure, Talk};

/// An option that means nothing here.
struct Option {
    /// Its long name.
    name: &'static str,
    kind: Kind,
    /// Why it has no effect, as the end of a sentence.
    reason: &'static str,
}

/// The form of an option, and when it has something to say.
enum Kind {
    /// `--x`, which is noted, and this name for its opposite.
    Switch(&'static str),
    /// `--x` alone, which is noted.
    Single,
    /// `--x VALUE`, which is noted unless the value is one of these.
    Value(&'static [&'static str]),
}

const ON_CPU: &str = "merging runs on the CPU";
const STREAMED: &str = "tensors are read and written piece by piece, and never held whole";
const NO_ADAPTERS: &str = "LoRA adapters are not merged in";

/// Options that are accepted without effect.
const IGNORED: [Option; 15] = [
    Option { name: "cuda", kind: Kind::Switch("no-cuda"), reason: ON_CPU },
    Option { name: "device", kind: Kind::Value(&["cpu", "auto"]), reason: ON_CPU },
    Option { name: "gpu-rich", kind: Kind::Single, reason: ON_CPU },
    Option { name: "multi-gpu", kind: Kind::Switch("no-multi-gpu"), reason: ON_CPU },
    Option { name: "read-to-gpu", kind: Kind::Switch("no-read-to-gpu"), reason: ON_CPU },
    Option { name: "low-cpu-memory", kind: Kind::Switch("no-low-cpu-memory"), reason: STREAMED },
    Option { name: "clone-tensors", kind: Kind::Switch("no-clone-tensors"), reason: STREAMED },
    Option {
        name: "lazy-unpickle",
        kind: Kind::Switch("no-lazy-unpickle"),
        reason: "only safetensors files are read",
    },
    Option {
        name: "async-write",
        kind: Kind::Switch("no-async-write"),
        reason: "all threads of `--threads` write as soon as they have something",
    },
    Option {
        name: "write-threads",
        kind: Kind::Value(&[]),
        reason: "all threads of `--threads` write as soon as they have something",
    },
    Option {
        name: "trust-remote-code",
        kind: Kind::Switch("no-trust-remote-code"),
        reason: "code that comes with a model is never run",
    },
    Option {
        name: "transformers-cache",
        kind: Kind::Value(&[]),
        reason: "models are local directories, and nothing is downloaded",
    },
    Option { name: "lora-merge-cache", kind: Kind::Value(&[]), reason: NO_ADAPTERS },
    Option { name: "lora-merge-dtype", kind: Kind::Value(&[]), reason: NO_ADAPTERS },
    // Not ignored but taken for granted; its opposite is refused.
    Option { name: "safe-serialization", kind: Kind::Switch(UNSAFE), reason: "" },
];

const UNSAFE: &str = "no-safe-serialization";

/// What was given of the options that mean nothing here.
#[derive(Debug, Clone, Default)]
pub(super) struct Compatibility {
    /// A line for each that asks for something.
    notes: Vec<String>,
    pickled: bool,
}

impl Compatibility {
    /// Says what has no effect, and refuses what would have to have one.
    pub(super) fn answer(&self, talk: Talk) -> Result<(), Failure> {
        for note in &self.notes {
            talk.say(&format_args!("note: {note}"));
        }
        match self.pickled {
            true => Err(Failure::usage(
                "`--no-safe-serialization` asks for PyTorch `.bin` files, which are not written here"
                    .to_owned(),
                "leave it out: every loader of these models reads safetensors".to_owned(),
            )),
            false => Ok(()),
        }
    }

    fn read(matches: &ArgMatches) -> Self {
        let is_on = |name: &str| matches.get_flag(name);
        let mut notes = Vec::new();
        for Option { name, kind, reason } in &IGNORED {
            let given = match kind {
                Kind::Switch(_) | Kind::Single => is_on(name).then(|| format!("`--{name}`")),
                Kind::Value(usual) => matches
                    .get_one::<String>(name)
                    .filter(|value| !usual.contains(&value.as_str()))
                    .map(|value| format!("`--{name} {value}`")),
            };
            if let Some(given) = given.filter(|_| !reason.is_empty()) {
                notes.push(format!("{given} has no effect: {reason}"));
            }
        }
        Self { notes, pickled: is_on(UNSAFE) }
    }
}

impl Args for Compatibility {
    fn augment_args(command: Command) -> Command {
        IGNORED.iter().fold(command, |command, Option { name, kind, .. }| {
            let option = |name: &'static str| Arg::new(name).long(name).hide(true);
            let switch = |name: &'static str| option(name).action(ArgAction::SetTrue);
            match *kind {
                Kind::Value(_) => command.arg(option(name).value_name("VALUE")),
                Kind::Single => command.arg(switch(name)),
                Kind::Switch(no) => {
                    let yes = switch(name).overrides_with(no);
                    command.arg(yes).arg(switch(no).overrides_with(name))
                }
            }
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Compatibility {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::read(matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::read(matches);
        Ok(())
    }
}
