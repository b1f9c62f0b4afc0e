//! `mergekit generate`: a model continues a text or answers a message.

use std::fs;
use std::io::{IsTerminal, Read, Write, stdin, stdout};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::interrupt::end_on_ctrl_c;
use super::model::{ModelArguments, PreparedModel};
use super::terminal::print;
use super::{Failure, Talk, Verbosity};
use crate::evaluate::{Message, Role, TextStream, Tokenizer, TokenizerSource};
use crate::lm::{GenerateRequest, LanguageModel, Sampling};
use crate::report::count;

/// Let a model continue a text, or answer as in a chat
///
/// What the model writes goes to standard output while it is written; how fast that went, to standard
/// error. Without --temperature the most probable token is taken each time. Tokens that are drawn depend on
/// --seed, so the same command gets the same text.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mergekit generate model --prompt 'Once upon a time'
      continue a text
  mergekit generate model --chat --prompt 'What is a model merge?' --system-instruction 'Be brief.'
      answer a message, framed by the model's chat template
  mergekit generate model --prompt 'Once upon a time' --temperature 0.8 --top-p 0.95 --seed 1
      draw tokens instead of always taking the most probable one
  mergekit generate merge.yml --prompt-file story.txt --max-new-tokens 50 --stop '.'
      what a merge would write that is only made in memory, to the end of a sentence
  echo 'Q: 2+2? A:' | mergekit generate model --json
      the prompt from standard input; text, tokens and times as JSON")]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// What is continued or, with --chat, said to the model; if not given, standard input
    #[arg(short, long, value_name = "TEXT")]
    prompt: Option<String>,

    /// A file with the prompt
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    prompt_file: Option<PathBuf>,

    /// Frame the prompt as a message, as the model's chat template does
    #[arg(long, visible_alias = "apply-chat-template")]
    chat: bool,

    /// What the model is told before the message
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system_instruction: Option<String>,

    /// Most tokens to write
    #[arg(short = 'n', long, value_name = "N", default_value_t = 256)]
    max_new_tokens: usize,

    /// Draw tokens with their logits divided by this; with 0 the most probable one is taken
    #[arg(short, long, value_name = "X", default_value_t = 0.0, value_parser = not_negative)]
    temperature: f64,

    /// Draw from the N most probable tokens only; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    top_k: usize,

    /// Draw from the most probable tokens that together have this probability only
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = probability)]
    top_p: f64,

    /// Make tokens that were there before less probable, by this factor on their logits
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = positive)]
    repetition_penalty: f64,

    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// End before this text; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,

    /// Print text, tokens and times as JSON when all is written
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    verbosity: Verbosity,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let talk = Talk::new(arguments.verbosity);
    let said = arguments.said()?;
    let model = arguments.model.prepare(talk)?;
    let prompt = arguments.prompt(&model, said)?;
    let tokenizer = model.tokenizer.tokenizer()?;
    let tokens = tokenizer.encode_prompt(&prompt);
    if tokens.is_empty() {
        return Err(Failure::refused(
            "the prompt has no tokens, so there is nothing to continue",
            "give a text, such as `--prompt 'Once upon a time'`",
        ));
    }
    let candidate = model.candidate();
    let decoder = model.load(&candidate, talk)?;
    let max_length = decoder.max_length();
    let room = max_length.saturating_sub(arguments.max_new_tokens);
    if tokens.len() > room && room > 0 {
        let cut = count(tokens.len() - room, "token");
        let text = format_args!(
            "the prompt loses its first {cut}: {} and {} to write do not fit into a context of \
             {max_length}",
            count(tokens.len(), "token"),
            arguments.max_new_tokens,
        );
        talk.warn(&text, Some("lower `--max-new-tokens`".to_owned()));
    }

    let stops: Vec<String> =
        arguments.stop.iter().filter(|stop| !stop.is_empty()).cloned().collect();
    let mut end_tokens = tokenizer.end_tokens().to_vec();
    // Special tokens have no text of their own in what is written.
    end_tokens.extend(stops.iter().filter_map(|stop| tokenizer.special_token(stop)));
    let n_prompt = tokens.len();
    let request = GenerateRequest {
        prompt: tokens,
        max_new_tokens: arguments.max_new_tokens,
        end_tokens,
        sampling: Sampling {
            temperature: arguments.temperature,
            top_k: arguments.top_k,
            top_p: arguments.top_p,
            repetition_penalty: arguments.repetition_penalty,
            seed: arguments.seed,
        },
    };
    end_on_ctrl_c();
    let writer = Mutex::new(Writer::new(tokenizer, &stops, !arguments.json));
    let watch = |_: usize, tokens: &[u32]| {
        writer.lock().unwrap_or_else(PoisonError::into_inner).take(tokens)
    };
    let started = Instant::now();
    let produced = model.threads.install(|| decoder.generate(&[request], &watch));
    let took = started.elapsed();
    let produced = produced?.into_iter().next().unwrap_or_default();
    let mut writer = writer.into_inner().unwrap_or_else(PoisonError::into_inner);
    writer.finish();

    let is_finished = writer.has_stopped || produced.len() < arguments.max_new_tokens;
    let speed = writer.speed(produced.len());
    if arguments.json {
        let answer = json!({
            "prompt": prompt,
            "text": writer.shown(),
            "tokens": produced,
            "n_prompt_tokens": n_prompt,
            "finish_reason": if is_finished { "stop" } else { "length" },
            "seconds": took.as_secs_f64(),
            "tokens_per_second": speed,
        });
        return print(&format!("{answer:#}\n"));
    }
    print("\n")?;
    let to_first = writer.first.map_or(took, |first| first.duration_since(started));
    let speed = speed.map(|speed| format!(", then {speed:.1} tokens/s")).unwrap_or_default();
    talk.say(&format_args!(
        "{} after {} in {:.2} s: the first after {:.2} s{speed}",
        count(produced.len(), "token"),
        count(n_prompt, "token"),
        took.as_secs_f64(),
        to_first.as_secs_f64(),
    ));
    Ok(())
}

impl Arguments {
    /// What is given as the prompt.
    fn said(&self) -> Result<String, Failure> {
        if let Some(prompt) = &self.prompt {
            return Ok(prompt.clone());
        }
        let (read, from) = match &self.prompt_file {
            Some(path) => (fs::read(path), format!("`{}`", path.display())),
            None if stdin().is_terminal() => {
                return Err(Failure::refused(
                    "there is no prompt",
                    "give one with `--prompt TEXT` or `--prompt-file FILE`, or pipe one in",
                ));
            }
            None => {
                let mut bytes = Vec::new();
                let read = stdin().lock().read_to_end(&mut bytes);
                (read.map(|_| bytes), "standard input".to_owned())
            }
        };
        let bytes = read.map_err(|error| {
            Failure::refused(format!("cannot read {from}: {error}"), "give a file with text")
        })?;
        let text = String::from_utf8(bytes).map_err(|_| {
            Failure::refused(format!("{from} is not UTF-8 text"), "give a prompt in UTF-8")
        })?;
        // The line end that editors and `echo` put behind a text is none of it.
        Ok(text.strip_suffix('\n').map_or(text.as_str(), |text| text).to_owned())
    }

    /// The text that the model continues.
    fn prompt(&self, model: &PreparedModel, said: String) -> Result<String, Failure> {
        if !self.chat {
            return Ok(said);
        }
        let system = self.system_instruction.iter().map(|text| Message::new(Role::System, text));
        let messages: Vec<Message> = system.chain([Message::new(Role::User, said)]).collect();
        Ok(model.chat_template()?.conversation(&messages)?)
    }
}

/// Reads a finite number that `is_valid`.
fn number(text: &str, is_valid: impl Fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim().parse().ok();
    let valid = number.filter(|&number| number.is_finite() && is_valid(number));
    valid.ok_or_else(|| format!("write {expected}"))
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text, |number| number >= 0.0, "a number, 0 or more")
}

fn positive(text: &str) -> Result<f64, String> {
    number(text, |number| number > 0.0, "a number above 0")
}

fn probability(text: &str) -> Result<f64, String> {
    number(text, |number| number > 0.0 && number <= 1.0, "a number above 0, at most 1")
}

/// Shows a text while it grows, up to the first stop string.
struct Writer<'a> {
    stream: TextStream<'a>,
    stops: &'a [String],
    /// All of it, a stop string included.
    text: String,
    /// Bytes that are certain not to belong to a stop string.
    certain: usize,
    written: usize,
    is_shown: bool,
    has_stopped: bool,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl<'a> Writer<'a> {
    fn new(tokenizer: &'a Tokenizer, stops: &'a [String], is_shown: bool) -> Self {
        Self {
            stream: tokenizer.text_stream(),
            stops,
            text: String::new(),
            certain: 0,
            written: 0,
            is_shown,
            has_stopped: false,
            first: None,
            last: None,
        }
    }

    /// Takes in the tokens so far; returns whether nothing more is wanted.
    fn take(&mut self, tokens: &[u32]) -> bool {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.stream.advance(tokens, &mut self.text);
        let found = self.stops.iter().filter_map(|stop| self.text.find(stop.as_str())).min();
        match found {
            Some(start) => {
                self.certain = start;
                self.has_stopped = true;
            }
            None => self.certain = self.text.len() - begun(&self.text, self.stops),
        }
        let reader_left = !self.write();
        self.has_stopped || reader_left
    }

    /// What was held back because a stop string might have come.
    fn finish(&mut self) {
        if !self.has_stopped {
            self.certain = self.text.len();
        }
        self.write();
    }

    /// Writes what is certain; false if nobody reads it any more.
    fn write(&mut self) -> bool {
        // A decoder that rewrites earlier text may make it shorter than what has been shown.
        let Some(more) = self.text.get(self.written..self.certain) else { return true };
        if !self.is_shown || more.is_empty() {
            return true;
        }
        self.written = self.certain;
        let mut out = stdout().lock();
        out.write_all(more.as_bytes()).and_then(|()| out.flush()).is_ok()
    }

    fn shown(&self) -> &str {
        self.text.get(..self.certain).unwrap_or(&self.text)
    }

    /// Tokens per second behind the first one.
    fn speed(&self, n_tokens: usize) -> Option<f64> {
        let time: Duration = self.last?.duration_since(self.first?);
        (n_tokens > 1 && !time.is_zero()).then(|| (n_tokens - 1) as f64 / time.as_secs_f64())
    }
}

/// Bytes at the end of a text with which a stop string may begin.
fn begun(text: &str, stops: &[String]) -> usize {
    let starts = |stop: &String| {
        let ends = stop.char_indices().map(|(end, _)| end).skip(1);
        ends.filter(|&end| text.ends_with(&stop[..end])).max().unwrap_or(0)
    };
    stops.iter().map(starts).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_stop_string_is_held_back() {
        let stops = ["\n\nQ".to_owned(), "end".to_owned()];
        assert_eq!(begun("text\n", &stops), 1);
        assert_eq!(begun("text\n\n", &stops), 2);
        assert_eq!(begun("the en", &stops), 2);
        assert_eq!(begun("the", &stops), 1);
        assert_eq!(begun("text", &stops), 0);
        assert_eq!(begun("", &stops), 0);
    }
}
