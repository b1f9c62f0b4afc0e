//! How a search says where it stands.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Talk;
use crate::report::duration_words;
use crate::search::{Evaluation, Event, Results};
use crate::space::Budget;

/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The longest time left that is shown: a year.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A bar on a terminal, lines now and then elsewhere.
pub(super) struct SearchProgress {
    talk: Talk,
    bar: ProgressBar,
    is_terminal: bool,
    evaluations: u64,
    /// Of the wall-clock budget, what earlier runs left.
    time_left: Option<Duration>,
    /// Names of what is searched over.
    variables: Vec<String>,
    comparisons: usize,
    compared: usize,
    done: u64,
    /// Done in this run, for the speed.
    scored: u64,
    failed: u64,
    best: Option<f64>,
    started: Instant,
    /// When the first candidate of this run was started.
    searching_since: Option<Instant>,
    last_line: Instant,
}

impl SearchProgress {
    /// Says nothing yet. `before` is what earlier runs of the search left.
    pub(super) fn new(talk: Talk, budget: &Budget, comparisons: usize, before: &Results) -> Self {
        let elapsed = Duration::try_from_secs_f64(before.elapsed_seconds()).unwrap_or_default();
        let is_terminal = stderr().is_terminal();
        let target = match talk.is_quiet() || !is_terminal {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr_with_hz(10),
        };
        let bar = ProgressBar::with_draw_target(Some(budget.evaluations), target);
        let template = "{bar:16} {pos}/{len}  {wide_msg}";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        bar.enable_steady_tick(Duration::from_millis(250));
        Self {
            talk,
            bar,
            is_terminal,
            evaluations: budget.evaluations,
            time_left: budget.wall_clock.map(|limit| limit.saturating_sub(elapsed)),
            variables: before.header.variables.clone(),
            comparisons,
            compared: 0,
            done: 0,
            scored: 0,
            failed: 0,
            best: None,
            started: Instant::now(),
            searching_since: None,
            last_line: Instant::now(),
        }
    }

    /// Takes in what happened, and shows it.
    pub(super) fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Reference(reference) => {
                self.compared += 1;
                if let Some(scores) = &reference.search {
                    self.detail(&format!("{}: score {:.4}", reference.name, scores.score));
                }
                self.bar.set_message(self.message());
            }
            Event::Replayed(evaluation) => self.count(evaluation),
            Event::Evaluated(evaluation) => {
                self.searching_since.get_or_insert(Instant::now());
                self.count(evaluation);
                self.scored += 1;
                self.detail(&describe(evaluation));
                let values = self.variables.iter().zip(&evaluation.values);
                let values: Vec<_> =
                    values.map(|(name, value)| format!("{name} {value}")).collect();
                self.bar
                    .suspend(|| self.talk.fine_detail(&format_args!("  {}", values.join(", "))));
                if self.last_line.elapsed() >= LINE_INTERVAL || self.done == self.evaluations {
                    self.line();
                }
            }
            Event::Winner(evaluation) => {
                let index = evaluation.index;
                self.bar.set_message(format!("scoring winner {index} on validation items"));
            }
            _ => {}
        }
    }

    /// Says something from another thread, above the bar.
    pub(super) fn notice(&self) -> impl Fn(&str) + Send + 'static + use<> {
        let (bar, talk) = (self.bar.clone(), self.talk);
        move |text| bar.suspend(|| talk.say(&text))
    }

    /// Removes the bar.
    pub(super) fn close(&self) {
        self.bar.finish_and_clear();
    }

    fn count(&mut self, evaluation: &Evaluation) {
        self.done += 1;
        match evaluation.score() {
            Some(score) => self.best = Some(self.best.map_or(score, |best| best.max(score))),
            None => self.failed += 1,
        }
        self.bar.set_position(self.done);
        self.bar.set_message(self.message());
    }

    fn message(&self) -> String {
        if self.done == 0 {
            return format!("scoring models to compare: {}/{}", self.compared, self.comparisons);
        }
        let best = self.best.map_or("none".to_owned(), |best| format!("{best:.4}"));
        let mut message = format!("best {best}");
        if self.failed > 0 {
            message.push_str(&format!("  {} failed", self.failed));
        }
        if let Some(rate) = self.rate() {
            message.push_str(&format!("  {:.1}/min", 60.0 * rate));
            let mut left = self.evaluations.saturating_sub(self.done) as f64 / rate;
            if let Some(time_left) = self.time_left {
                left = left.min(time_left.saturating_sub(self.started.elapsed()).as_secs_f64());
            }
            if let Some(words) = time_words(left) {
                message.push_str(&format!("  {words} left"));
            }
        }
        message
    }

    /// Candidates per second in this run, once there is something to measure.
    fn rate(&self) -> Option<f64> {
        let seconds = self.searching_since?.elapsed().as_secs_f64();
        (self.scored > 1 && seconds > 0.0).then(|| (self.scored - 1) as f64 / seconds)
    }

    /// One line where there is no bar.
    fn line(&mut self) {
        self.last_line = Instant::now();
        if !self.is_terminal {
            let (done, all) = (self.done, self.evaluations);
            self.talk.say(&format_args!("evaluation {done}/{all}  {}", self.message()));
        }
    }

    fn detail(&self, text: &str) {
        self.bar.suspend(|| self.talk.detail(&text));
    }
}

/// A time to wait in words; none where it is longer than anybody waits.
fn time_words(seconds: f64) -> Option<String> {
    let time = Duration::try_from_secs_f64(seconds).ok()?;
    (time <= LONGEST_WAIT).then(|| duration_words(time))
}

/// An evaluation in one line.
fn describe(evaluation: &Evaluation) -> String {
    let outcome = match (evaluation.score(), &evaluation.error) {
        (Some(score), _) => format!("score {score:.4}"),
        (None, Some(error)) => format!("{}: {error}", evaluation.status.name()),
        (None, None) => evaluation.status.name().to_owned(),
    };
    let same = evaluation.same_as.map_or(String::new(), |index| format!(", equal to {index}"));
    let (index, seconds) =
        (evaluation.index, evaluation.merge_seconds + evaluation.evaluation_seconds);
    format!("evaluation {index}: {outcome}{same} ({seconds:.2} s)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_beyond_a_year_are_not_shown() {
        assert_eq!(time_words(185.0).unwrap(), "3 min 05 s");
        for seconds in [4e7, 1e300, f64::INFINITY, f64::NAN, -1.0] {
            assert_eq!(time_words(seconds), None);
        }
    }
}
