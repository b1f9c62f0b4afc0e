//! The text skills of the demo models: what an item looks like, and which pool it belongs to.
//!
//! An item is a prompt and its one right answer. What makes two items the same question is their
//! *key* (27+35 and 35+27 share one; so do two orders of the same letters to sort). A hash of the
//! key, not a draw, decides whether an item may be trained on or is kept for evaluation. So no
//! training run, however long, can meet an evaluation item or a twin of it.

use std::collections::HashSet;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};
use sha2::{Digest, Sha256};

/// Share of all keys kept for evaluation, in 256ths.
const EVALUATION_SHARE: u8 = 32;
/// Seed from which evaluation items are drawn.
const EVALUATION_SEED: u64 = 20;

const LETTERS: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// One kind of question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Skill {
    /// `27+35=` → `62`: two numbers of two digits.
    Addition,
    /// `sort qdbqxa=` → `abdqqx`: six letters in alphabetical order.
    Sorting,
    /// `reverse kdbeaxy=` → `yxaebdk`: seven letters backwards.
    Reversal,
    /// `7 mar 1986=` → `03/07/86`: a date in digits, month first.
    Dates,
}

/// How hard an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// What the base model practises: fewer letters, one-digit summands, dates of twenty years.
    Easy,
    /// What specialists practise and evaluation asks.
    Full,
}

/// Where an item may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pool {
    /// Models are trained on it.
    Training,
    /// Models are only asked it: search and validation items.
    Evaluation,
}

/// A question with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// What the model is given.
    pub(crate) prompt: String,
    /// What it should write next, before a line feed.
    pub(crate) answer: String,
    /// What makes two items the same question, with the skill's name in front.
    pub(crate) key: String,
}

impl Item {
    /// The pool, by a hash of the key.
    pub(crate) fn pool(&self) -> Pool {
        if Sha256::digest(self.key.as_bytes())[0] < EVALUATION_SHARE {
            Pool::Evaluation
        } else {
            Pool::Training
        }
    }
}

impl Skill {
    /// All skills, in the order of tables.
    pub(crate) const ALL: [Skill; 4] =
        [Skill::Addition, Skill::Sorting, Skill::Reversal, Skill::Dates];

    /// Name of the skill and of its task.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Skill::Addition => "addition",
            Skill::Sorting => "sorting",
            Skill::Reversal => "reversal",
            Skill::Dates => "dates",
        }
    }

    /// Four answers to choose from and the place of the right one, for additions.
    ///
    /// The wrong ones are what slips look like: one or ten too many or too few.
    pub(crate) fn choices(self, item: &Item) -> Option<(Vec<String>, usize)> {
        if self != Skill::Addition {
            return None;
        }
        let sum: i32 = item.answer.parse().expect("a sum is a number");
        let hash = Sha256::digest(item.prompt.as_bytes());
        let right = usize::from(hash[1] % 4);
        let mut choices: Vec<String> = match hash[2] % 2 {
            0 => [sum - 1, sum + 1, sum + 10],
            _ => [sum - 10, sum - 1, sum + 10],
        }
        .iter()
        .map(i32::to_string)
        .collect();
        choices.insert(right, item.answer.clone());
        Some((choices, right))
    }

    /// Draws an item from the training pool.
    pub(crate) fn training_item(self, level: Level, rng: &mut impl Rng) -> Item {
        self.item_from(Pool::Training, level, rng)
    }

    /// The first `count` evaluation items: always the same ones, no key twice.
    pub(crate) fn evaluation_items(self, count: usize) -> Vec<Item> {
        let mut rng = ChaCha8Rng::seed_from_u64(EVALUATION_SEED);
        let mut keys = HashSet::new();
        let mut items = Vec::with_capacity(count);
        while items.len() < count {
            let item = self.item_from(Pool::Evaluation, Level::Full, &mut rng);
            if keys.insert(item.key.clone()) {
                items.push(item);
            }
        }
        items
    }

    fn item_from(self, pool: Pool, level: Level, rng: &mut impl Rng) -> Item {
        loop {
            let item = self.any_item(level, rng);
            if item.pool() == pool {
                return item;
            }
        }
    }

    fn any_item(self, level: Level, rng: &mut impl Rng) -> Item {
        let easy = level == Level::Easy;
        let (prompt, answer, key) = match self {
            Skill::Addition => {
                let (mut a, mut b) = (rng.random_range(10..100), rng.random_range(10..100));
                if easy {
                    b /= 10;
                    if rng.random() {
                        std::mem::swap(&mut a, &mut b);
                    }
                }
                let key = format!("{}+{}", a.min(b), a.max(b));
                (format!("{a}+{b}="), format!("{}", a + b), key)
            }
            Skill::Sorting => {
                let count = if easy { rng.random_range(2..6) } else { 6 };
                let letters = letters(count, rng);
                let mut sorted: Vec<char> = letters.chars().collect();
                sorted.sort_unstable();
                let sorted = String::from_iter(sorted);
                (format!("sort {letters}="), sorted.clone(), sorted)
            }
            Skill::Reversal => {
                let count = if easy { rng.random_range(2..7) } else { 7 };
                let letters = letters(count, rng);
                let reversed: String = letters.chars().rev().collect();
                (format!("reverse {letters}="), reversed, letters)
            }
            Skill::Dates => {
                let day = rng.random_range(1..=31);
                let month = rng.random_range(0..12);
                let years = if easy { 1980..2000 } else { 1950..2050 };
                let year = rng.random_range(years);
                let prompt = format!("{day} {} {year}=", MONTHS[month]);
                let answer = format!("{:02}/{day:02}/{:02}", month + 1, year % 100);
                (prompt.clone(), answer, prompt)
            }
        };
        Item { prompt, answer, key: format!("{} {key}", self.name()) }
    }
}

fn letters(count: usize, rng: &mut impl Rng) -> String {
    (0..count).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])).collect()
}
