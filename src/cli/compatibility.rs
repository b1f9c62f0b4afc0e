//! Options of mergekit-yaml that mean nothing here.
//!
//! They say how Python and CUDA are to go about a merge. They are accepted, so that scripts go on working,
//! and answered by a note. `docs/flags.md` has the table; a test keeps it true.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::Talk;

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

/// Options that are accepted without effect.
const IGNORED: [Option; 12] = [
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
        reason: "tensors of `.bin` files are always read one by one",
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
        name: "lora-merge-cache",
        kind: Kind::Value(&[]),
        reason: "adapters are combined with their models while these are read",
    },
];

/// What was given of the options that mean nothing here.
#[derive(Debug, Clone, Default)]
pub(super) struct Compatibility {
    /// A line for each that asks for something.
    notes: Vec<String>,
}

impl Compatibility {
    /// Says what has no effect.
    pub(super) fn answer(&self, talk: Talk) {
        for note in &self.notes {
            talk.say(&format_args!("note: {note}"));
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
            if let Some(given) = given {
                notes.push(format!("{given} has no effect: {reason}"));
            }
        }
        Self { notes }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::YamlArguments;

    /// The flags of mergekit-yaml; those that begin with `no-` are opposites.
    const REFERENCE: &str = "allow-crimes no-allow-crimes unsafe-truncate-embeddings \
        no-unsafe-truncate-embeddings transformers-cache lora-merge-cache lora-merge-dtype cuda \
        no-cuda device low-cpu-memory no-low-cpu-memory out-shard-size copy-tokenizer \
        no-copy-tokenizer clone-tensors no-clone-tensors trust-remote-code no-trust-remote-code \
        random-seed lazy-unpickle no-lazy-unpickle write-model-card no-write-model-card \
        safe-serialization no-safe-serialization verbose quiet no-quiet read-to-gpu no-read-to-gpu \
        multi-gpu no-multi-gpu num-threads gpu-rich async-write no-async-write write-threads";

    /// A flag of the table with its value, and what the table says about it.
    fn table() -> Vec<(Vec<String>, String)> {
        let page = include_str!("../../docs/flags.md");
        let mut flags = Vec::new();
        for row in page.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            for flag in cells[1].split(", ") {
                let words = flag.trim_matches('`').split(' ').map(|word| match word {
                    "SIZE" | "N" => "1".to_owned(),
                    "DTYPE" => "bfloat16".to_owned(),
                    "NAME" | "PATH" => "some".to_owned(),
                    word => word.to_owned(),
                });
                flags.push((words.collect(), cells[2].to_owned()));
            }
        }
        flags
    }

    #[test]
    fn the_table_of_flags_is_complete() {
        let listed: BTreeSet<String> =
            table().iter().map(|(words, _)| words[0].trim_start_matches('-').to_owned()).collect();
        for flag in REFERENCE.split(' ') {
            assert!(listed.contains(flag), "docs/flags.md lacks `--{flag}`");
        }
        for argument in YamlArguments::command().get_arguments() {
            let names = argument.get_long_and_visible_aliases().unwrap_or_default();
            for name in names.into_iter().filter(|name| !matches!(*name, "help" | "version")) {
                assert!(listed.contains(name), "docs/flags.md lacks `--{name}`");
            }
        }
    }

    #[test]
    fn the_table_of_flags_is_true() {
        for (words, status) in table() {
            let flag = words.join(" ");
            let line = ["mergekit-yaml", "config.yml", "out"].map(str::to_owned);
            let parsed = YamlArguments::try_parse_from(line.into_iter().chain(words));
            let parsed = parsed.unwrap_or_else(|error| panic!("{flag}: {error}"));
            let Compatibility { notes } = parsed.arguments.compatibility;
            let is_noted = status == "ignored" && !flag.starts_with("--no-");
            assert_eq!(notes.len(), usize::from(is_noted), "{flag}: {notes:?}");
            assert!(matches!(status.as_str(), "same" | "own" | "ignored"), "{status}");
        }
    }

    #[test]
    fn the_last_of_two_opposites_counts() {
        let compatibility = |flags: &[&str]| {
            let line = ["mergekit-yaml", "config.yml", "out"].iter().chain(flags);
            YamlArguments::try_parse_from(line).unwrap().arguments.compatibility
        };
        assert!(compatibility(&["--cuda", "--no-cuda"]).notes.is_empty());
        assert_eq!(compatibility(&["--no-cuda", "--cuda"]).notes.len(), 1);
        assert!(compatibility(&["--device", "cpu"]).notes.is_empty());
    }
}
