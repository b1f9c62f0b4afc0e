//! Translation edit rate (Snover et al. 2006) as Tercom and sacrebleu compute it by default:
//! insertions, deletions, replacements and shifts of blocks of words, found greedily.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::python::is_whitespace;

/// Most words of a block that is shifted.
const LONGEST_SHIFT: usize = 10;

/// How far from its place in the right text a block may stand.
const FARTHEST_SHIFT: usize = 50;

/// Cells of the distance matrix on each side of its diagonal that are looked at.
const BEAM: usize = 25;

/// Shifts of one text that are tried before the search is given up.
const MOST_CANDIDATES: usize = 1000;

/// A right text.
#[derive(Debug, Clone)]
pub(super) struct Reference(Vec<String>);

impl Reference {
    pub(super) fn new(text: &str) -> Reference {
        Reference(words(text))
    }

    /// Edits that an answer needs, and number of words of the right text.
    pub(super) fn row(&self, answer: &str) -> [f64; 2] {
        let mut numbers = HashMap::new();
        let mut number = |word: &String| {
            let next = numbers.len();
            *numbers.entry(word.clone()).or_insert(next)
        };
        let wanted: Vec<usize> = self.0.iter().map(&mut number).collect();
        let answer: Vec<usize> = words(answer).iter().map(&mut number).collect();
        [edits(answer, &wanted) as f64, wanted.len() as f64]
    }
}

fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    text.split(is_whitespace).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Shifts blocks while that helps; every shift is an edit, as is what is different in the end.
fn edits(mut answer: Vec<usize>, wanted: &[usize]) -> usize {
    if wanted.is_empty() {
        return answer.len();
    }
    let (mut shifts, mut candidates) = (0, 0);
    loop {
        let alignment = Alignment::new(&answer, wanted);
        let shifted = best_shift(&answer, wanted, &alignment, &mut candidates);
        match shifted {
            Some(shifted) if candidates < MOST_CANDIDATES => {
                answer = shifted;
                shifts += 1;
            }
            _ => return shifts + alignment.distance,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    /// The words are equal.
    Keep,
    Replace,
    /// A word of the answer is too much.
    Drop,
    /// A word of the right text is missing.
    Add,
}

/// How the words of an answer correspond to those of the right text.
struct Alignment {
    /// Number of edits.
    distance: usize,
    /// For each word of the right text the number of words of the answer up to its counterpart.
    ends: Vec<usize>,
    /// Which words of the right text are not in their place in the answer.
    missed: Vec<bool>,
    /// Which words of the answer are not in their place.
    wrong: Vec<bool>,
}

impl Alignment {
    fn new(answer: &[usize], wanted: &[usize]) -> Alignment {
        let rows = distances(answer, wanted);
        let (mut i, mut j) = (answer.len(), wanted.len());
        let mut alignment = Alignment {
            distance: rows[i][j].map_or(0, |(cost, _)| cost),
            ends: vec![0; wanted.len()],
            missed: vec![false; wanted.len()],
            wrong: vec![false; answer.len()],
        };
        while let Some((_, edit)) = rows[i][j].filter(|_| i > 0 || j > 0) {
            if edit != Edit::Drop {
                j -= 1;
                alignment.ends[j] = i;
                alignment.missed[j] = edit != Edit::Keep;
            }
            if edit != Edit::Add {
                i -= 1;
                alignment.wrong[i] = edit != Edit::Keep;
            }
        }
        alignment
    }
}

/// Cost of a beginning of the answer and one of the right text, and its last edit; nothing outside of
/// the beam.
type Cell = Option<(usize, Edit)>;

/// The matrix of edit distances near its diagonal, a row for each beginning of the answer.
fn distances(answer: &[usize], wanted: &[usize]) -> Vec<Vec<Cell>> {
    let width = wanted.len() + 1;
    let ratio = match answer.len() {
        0 => 1.0,
        length => wanted.len() as f64 / length as f64,
    };
    // So wide that neighbouring rows always overlap.
    let beam = match ratio / 2.0 {
        half if half > BEAM as f64 => (half + BEAM as f64).ceil() as usize,
        _ => BEAM,
    };
    let mut rows = vec![(0..width).map(|cost| Some((cost, Edit::Add))).collect::<Vec<Cell>>()];
    for (i, word) in answer.iter().enumerate() {
        let diagonal = ((i + 1) as f64 * ratio).floor() as usize;
        let is_last = i + 1 == answer.len();
        let end = if is_last { width } else { width.min(diagonal + beam) };
        let above = &rows[i];
        let mut row: Vec<Cell> = vec![None; width];
        for j in diagonal.saturating_sub(beam)..end {
            let left = j.checked_sub(1);
            let replaced = left.and_then(|left| {
                let (cost, _) = above[left]?;
                let equal = *word == wanted[left];
                Some(if equal { (cost, Edit::Keep) } else { (cost + 1, Edit::Replace) })
            });
            let dropped = above[j].map(|(cost, _)| (cost + 1, Edit::Drop));
            let added = left.and_then(|left| row[left]).map(|(cost, _)| (cost + 1, Edit::Add));
            // Of equal costs the first counts.
            row[j] = [replaced, dropped, added].into_iter().flatten().min_by_key(|(cost, _)| *cost);
        }
        rows.push(row);
    }
    rows
}

/// How good a shift is: edits that it saves, the block's length, where it is from and where it goes.
type Rank = (isize, usize, Reverse<usize>, Reverse<usize>);

/// The answer after the shift that helps most; `None` if none helps. Of equally good ones the longest
/// block counts, then the one that stands first, then the nearest to the beginning that it goes to.
fn best_shift(
    answer: &[usize],
    wanted: &[usize],
    alignment: &Alignment,
    candidates: &mut usize,
) -> Option<Vec<usize>> {
    let mut best: Option<(Rank, Vec<usize>)> = None;
    for (from, to, length) in blocks(answer, wanted) {
        let is_right =
            |errors: &[bool], start: usize| !errors[start..start + length].contains(&true);
        if is_right(&alignment.wrong, from) || is_right(&alignment.missed, to) {
            continue;
        }
        // Not to a place in the block itself.
        if (from + 1..from + length + 1).contains(&alignment.ends[to]) {
            continue;
        }
        // In front of everything, or behind a counterpart of the words before or in the block.
        let before = to.checked_sub(1).map_or(0, |before| alignment.ends[before]);
        let mut targets: Vec<usize> = vec![before];
        targets.extend_from_slice(&alignment.ends[to..to + length]);
        targets.dedup();
        for target in targets {
            let shifted = shift(answer, from, length, target);
            let distance = distances(&shifted, wanted)[shifted.len()][wanted.len()];
            let distance = distance.map_or(0, |(cost, _)| cost);
            let gain = alignment.distance as isize - distance as isize;
            let rank = (gain, length, Reverse(from), Reverse(target));
            *candidates += 1;
            if best.as_ref().is_none_or(|(best, _)| rank > *best) {
                best = Some((rank, shifted));
            }
        }
        if *candidates >= MOST_CANDIDATES {
            break;
        }
    }
    best.filter(|((gain, ..), _)| *gain > 0).map(|(_, shifted)| shifted)
}

/// Blocks of words that are in both: where in the answer, where in the right text, and how long.
fn blocks(answer: &[usize], wanted: &[usize]) -> impl Iterator<Item = (usize, usize, usize)> {
    let starts = (0..answer.len()).flat_map(|from| (0..wanted.len()).map(move |to| (from, to)));
    let near = starts.filter(|(from, to)| from.abs_diff(*to) <= FARTHEST_SHIFT);
    near.flat_map(|(from, to)| {
        let equal = answer[from..].iter().zip(&wanted[to..]).take(LONGEST_SHIFT);
        let longest = equal.take_while(|(a, b)| a == b).count();
        (1..=longest).map(move |length| (from, to, length))
    })
}

/// Moves a block so that it stands behind the first `target` words, its own among them.
fn shift(words: &[usize], from: usize, length: usize, target: usize) -> Vec<usize> {
    let (block, end) = (&words[from..from + length], from + length);
    if target < from {
        return [&words[..target], block, &words[target..from], &words[end..]].concat();
    }
    if target > end {
        return [&words[..from], &words[end..target], block, &words[target..]].concat();
    }
    let behind = (length + target).min(words.len());
    [&words[..from], &words[end..behind], block, &words[behind..]].concat()
}

#[cfg(test)]
mod tests {
    use super::super::ngrams::check_with_sacrebleu;
    use super::*;

    fn edits(right: &str, answer: &str) -> f64 {
        Reference::new(right).row(answer)[0]
    }

    #[test]
    fn a_shift_is_one_edit() {
        assert_eq!(edits("a b c d e f", "d e f a b c"), 1.0);
        assert_eq!(edits("a b c", "A  B"), 1.0);
        assert_eq!(edits("", "a b"), 2.0);
        assert_eq!(edits("a b", ""), 2.0);
    }

    #[test]
    fn scores_are_those_of_sacrebleu() {
        check_with_sacrebleu("ter", |pairs| {
            let rows = pairs.iter().map(|(right, answer)| Reference::new(right).row(answer));
            let [edits, words] = rows.fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
            100.0 * edits / words
        });
    }
}
