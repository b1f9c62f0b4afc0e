//! `mergekit tokensurgeon`: a model with another model's vocabulary.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::compatibility::Compatibility;
use super::hub::hub;
use super::options::{float_type, thread_count, useful_threads};
use super::{Failure, Talk, Verbosity, cancelled_by_ctrl_c};
use crate::checkpoint::{ShardSize, WeightFormat};
use crate::config::ModelReference;
use crate::kernels::dtype::DType;
use crate::plan::{InputModel, ModelStore};
use crate::report::count;
use crate::tokensurgeon::{
    Counts, Matching, Method, Observer, SubwordMethod, Surgeon, SurgeonOptions, Transplant,
    TransplantFiles, WeightScheme,
};

/// Give a model the vocabulary of another one
#[derive(Debug, Args)]
#[command(after_help = "\
Tokens that both know keep MODEL's rows; rows of other tokens are approximated from what DONOR knows of
them. The page docs/tokensurgeon.md of the project says what each method does and costs.

Examples:
  mergekit tokensurgeon llama qwen transplanted
      llama with the tokenizer of qwen; new tokens are sparse combinations of shared ones
  mergekit tokensurgeon small large draft --k 128
      a draft model for speculative decoding, from a small model and the tokenizer of a large one
  mergekit tokensurgeon model donor out --approximation-method subword --prefix-match embed
      without arithmetic on the donor's rows: from the pieces that MODEL's tokenizer makes of a token
  mergekit tokensurgeon model donor out -a common_interpolation --k 8 --cosine-similarity --magikarp
      from the 8 nearest tokens by angle, leaving out those that training hardly touched")]
pub(super) struct Arguments {
    /// The model whose layers are kept: a directory or a model of the Hub, with `+ADAPTER` for an adapter
    model: String,

    /// The model whose tokenizer is taken
    donor: String,

    /// The directory to write the new model to
    out: PathBuf,

    /// How rows of tokens are made that MODEL does not know
    #[arg(short = 'a', long, value_enum, value_name = "METHOD", default_value = "omp")]
    approximation_method: Method,

    /// Shared tokens that one new row is made of, for omp, common_interpolation, stb and mp_rope
    #[arg(short, long, value_name = "N", default_value = "64", value_parser = at_least_one)]
    k: NonZeroUsize,

    /// Take the nearest tokens by angle, not by distance, for common_interpolation
    #[arg(short, long, overrides_with = "no_cosine_similarity")]
    cosine_similarity: bool,

    #[arg(long, hide = true)]
    no_cosine_similarity: bool,

    /// How the nearest tokens are weighted, for common_interpolation
    #[arg(short, long, value_enum, value_name = "SCHEME", default_value = "distance_proportional")]
    weight_scheme: WeightScheme,

    /// How the pieces of a token are combined, for subword
    #[arg(short, long, value_enum, value_name = "METHOD", default_value = "mean")]
    subword_method: SubwordMethod,

    /// Take the row of the longest known beginning of a token, in these matrices
    #[arg(long, value_enum, value_name = "WHERE", default_value = "no")]
    prefix_match: Matching,

    /// Take characters and byte tokens such as <0x61> for one another, in these matrices
    #[arg(long, value_enum, value_name = "WHERE", default_value = "no")]
    byte_match: Matching,

    /// Leave out tokens that training hardly touched, in either model
    #[arg(long, overrides_with = "no_magikarp")]
    magikarp: bool,

    #[arg(long, hide = true)]
    no_magikarp: bool,

    /// Standard deviation of normal noise that is added to approximated rows
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = finite)]
    #[arg(allow_negative_numbers = true)]
    new_vocab_noise: f32,

    /// Factor of approximated rows; 0 for none
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = finite)]
    #[arg(allow_negative_numbers = true)]
    new_vocab_scale: f32,

    /// Most tokens approximated at once, 0 or less for as many as is best; does not change the result
    #[arg(long, value_name = "N", default_value = "512", allow_negative_numbers = true)]
    batch_size: i64,

    /// Key of random numbers: the same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 0)]
    random_seed: u64,

    /// Replace the output directory if it has something in it
    #[arg(long)]
    overwrite: bool,

    /// Write safetensors (the default)
    #[arg(long, overrides_with = "no_safe_serialization", hide = true)]
    safe_serialization: bool,

    /// Write weights as PyTorch pickles, pytorch_model.bin
    #[arg(long)]
    no_safe_serialization: bool,

    /// Most bytes per weight file, with k, m or b for 10^3, 10^6 or 10^9; 0 for one file
    #[arg(long, value_name = "SIZE", default_value_t)]
    out_shard_size: ShardSize,

    /// Element type that a model with an adapter is converted to before the two are combined; the model's
    /// own if not given
    #[arg(long, value_name = "DTYPE", value_parser = float_type)]
    lora_merge_dtype: Option<DType>,

    /// Cache for models of the Hub; if not given, as HF_HUB_CACHE and HF_HOME say
    #[arg(long, value_name = "PATH")]
    transformers_cache: Option<PathBuf>,

    /// Threads to use; all cores if not given
    #[arg(short = 'j', long, visible_alias = "num-threads", value_name = "N")]
    #[arg(value_parser = thread_count)]
    threads: Option<NonZeroUsize>,

    #[command(flatten)]
    verbosity: Verbosity,

    #[command(flatten)]
    compatibility: Compatibility,

    #[command(flatten)]
    merges_only: MergesOnly,
}

/// Options of merges that mergekit accepts here too, where they mean nothing.
#[derive(Debug, Args)]
struct MergesOnly {
    #[arg(long, hide = true)]
    allow_crimes: bool,
    #[arg(long, hide = true)]
    no_allow_crimes: bool,
    #[arg(long, hide = true)]
    unsafe_truncate_embeddings: bool,
    #[arg(long, hide = true)]
    no_unsafe_truncate_embeddings: bool,
    #[arg(long, hide = true)]
    copy_tokenizer: bool,
    #[arg(long, hide = true)]
    no_copy_tokenizer: bool,
    #[arg(long, hide = true)]
    write_model_card: bool,
    #[arg(long, hide = true)]
    no_write_model_card: bool,
}

/// mergekit's abbreviations of more than one letter, and what they stand for.
const ABBREVIATIONS: [(&str, &str); 5] = [
    ("-nc", "--no-cosine-similarity"),
    ("-pm", "--prefix-match"),
    ("-bm", "--byte-match"),
    ("-nvn", "--new-vocab-noise"),
    ("-nvs", "--new-vocab-scale"),
];

/// A command line with mergekit's [`ABBREVIATIONS`] written out, if it is one of this command.
pub(super) fn spelled_out(line: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut line: Vec<OsString> = line.into_iter().collect();
    if line.get(1).is_some_and(|command| command == "tokensurgeon") {
        for word in &mut line {
            if let Some((_, long)) =
                ABBREVIATIONS.iter().find(|(short, _)| word == OsStr::new(short))
            {
                *word = OsString::from(long);
            }
        }
    }
    line
}

impl Arguments {
    fn options(&self) -> SurgeonOptions {
        SurgeonOptions {
            method: self.approximation_method,
            k: self.k.get(),
            cosine_similarity: self.cosine_similarity,
            weight_scheme: self.weight_scheme,
            subword_method: self.subword_method,
            batch_size: usize::try_from(self.batch_size).ok().filter(|&size| size > 0),
            prefix_match: self.prefix_match,
            byte_match: self.byte_match,
            magikarp: self.magikarp,
            noise: self.new_vocab_noise,
            // As in mergekit, no scale and a scale of 0 are the same.
            scale: if self.new_vocab_scale == 0.0 { 1.0 } else { self.new_vocab_scale },
            seed: self.random_seed,
        }
    }
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let started = Instant::now();
    let talk = Talk::new(arguments.verbosity);
    arguments.compatibility.answer(talk);
    if arguments.merges_only.no_copy_tokenizer {
        return Err(Failure::refused(
            "`--no-copy-tokenizer` would leave out the tokenizer that this command is about",
            "leave the flag out, or delete the tokenizer's files afterwards",
        ));
    }
    let threads = arguments.threads.map(|threads| useful_threads(threads, talk).get());
    let surgeon = Surgeon::new(threads, cancelled_by_ctrl_c())?;
    let bar = Bar::new(talk);
    let transplant = plan(arguments, &surgeon, &bar, talk)?;
    for warning in transplant.warnings() {
        talk.warn(&warning, None);
    }
    for (tensor, counts) in transplant.matrices() {
        talk.say(&format_args!("{tensor}: {}", sentence(counts)));
    }

    let files = TransplantFiles {
        format: match arguments.no_safe_serialization {
            true => WeightFormat::Pickle,
            false => WeightFormat::Safetensors,
        },
        shard_size: arguments.out_shard_size,
        overwrite: arguments.overwrite,
    };
    let result = surgeon.write(&transplant, &arguments.out, &files, &bar);
    bar.0.finish_and_clear();
    result?;
    talk.say(&format_args!(
        "wrote `{}` with the vocabulary of `{}`, {} rows, in {:.1} s",
        arguments.out.display(),
        arguments.donor,
        transplant.vocabulary_size(),
        started.elapsed().as_secs_f64(),
    ));
    Ok(())
}

/// Opens the models, and decides what tokens get. For models of the Hub, what is wrong with them is said
/// before their weights are fetched.
fn plan(
    arguments: &Arguments,
    surgeon: &Surgeon,
    bar: &Bar,
    talk: Talk,
) -> Result<Transplant, Failure> {
    let hub = hub(arguments.transformers_cache.as_deref(), talk, cancelled_by_ctrl_c())?;
    let store = ModelStore::with_adapted_as(arguments.lora_merge_dtype).with_hub(hub);
    let reference = |text: &str| {
        text.parse::<ModelReference>().map_err(|problem| {
            Failure::refused(format!("model `{text}` {problem}"), problem.hint())
        })
    };
    let (model, donor) = (reference(&arguments.model)?, reference(&arguments.donor)?);
    let options = arguments.options();
    let has_weights = |model: &InputModel| model.snapshot.as_ref().is_none_or(|s| s.is_complete());
    let opened = (store.open(&model)?, store.open(&donor)?);
    if !(has_weights(&opened.0) && has_weights(&opened.1)) {
        let from_headers = SurgeonOptions { magikarp: false, ..options };
        surgeon.plan(&opened.0, &opened.1, from_headers, &())?;
        store.fetch_weights()?;
    }
    Ok(surgeon.plan(&store.open(&model)?, &store.open(&donor)?, options, bar)?)
}

/// What tokens get, as a list.
fn sentence(counts: Counts) -> String {
    let Counts { exact, byte, prefix, new, junk } = counts;
    let parts = [
        (exact, "shared token"),
        (byte, "byte token"),
        (prefix, "token known by its beginning"),
        (new, "approximated token"),
        (junk, "token left at zero"),
    ];
    let parts = parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| match what {
        "token known by its beginning" if n > 1 => format!("{n} tokens known by their beginnings"),
        "token left at zero" if n > 1 => format!("{n} tokens left at zero"),
        what => count(n, what),
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// A progress bar that begins anew with each stage; invisible with `--quiet` and without a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new(talk: Talk) -> Self {
        let target = match talk.is_quiet() {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr_with_hz(10),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        let template = "{msg} {bar:16} {percent} %  {eta} left";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        Self(bar)
    }
}

impl Observer for Bar {
    fn begin(&self, stage: &str, total: u64) {
        self.0.reset();
        self.0.set_length(total);
        self.0.set_message(stage.to_owned());
        self.0.enable_steady_tick(Duration::from_millis(200));
    }

    fn advance(&self, steps: u64) {
        self.0.inc(steps);
    }
}

/// Reads how many tokens to combine.
fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    text.trim().parse().map_err(|_| "write a whole number, 1 or more".to_owned())
}

/// Reads a number.
fn finite(text: &str) -> Result<f32, String> {
    let number: Option<f32> = text.trim().parse().ok();
    number.filter(|number| number.is_finite()).ok_or_else(|| "write a number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abbreviations_of_mergekit_are_written_out() {
        let line = |words: &[&str]| spelled_out(words.iter().map(OsString::from));
        let words =
            ["mergekit", "tokensurgeon", "a", "b", "out", "-pm", "yes", "-nvs", "-2", "-nc"];
        let expected = [
            "mergekit",
            "tokensurgeon",
            "a",
            "b",
            "out",
            "--prefix-match",
            "yes",
            "--new-vocab-scale",
            "-2",
            "--no-cosine-similarity",
        ];
        assert_eq!(line(&words), expected);
        assert_eq!(line(&["mergekit", "merge", "-pm"]), ["mergekit", "merge", "-pm"]);
    }

    #[test]
    fn counts_are_a_list() {
        let counts = Counts { exact: 2, byte: 1, prefix: 1, new: 0, junk: 3 };
        let text =
            "2 shared tokens, 1 byte token, 1 token known by its beginning, 3 tokens left at zero";
        assert_eq!(sentence(counts), text);
    }
}
