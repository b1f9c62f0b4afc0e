//! Texts in which nothing is invisible.

/// Stands for a space that could be overlooked.
const SPACE: char = '·';
/// Stands at the end of a line that has one.
const LINE_END: char = '↵';
/// Stands for a tab.
const TAB: char = '→';

/// A text on one line, with all of its white space to be seen: a space at an end, or beside another
/// space, is `·`, the end of a line `↵`, a tab `→`. Other characters that are no ink, and these signs
/// themselves, are written as `\u{a0}`. A single space between words stays.
pub(super) fn visible(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let is_ink = |index: Option<usize>| {
        index.and_then(|index| characters.get(index)).is_some_and(|c| !c.is_whitespace())
    };
    let mut shown = String::new();
    for (index, &c) in characters.iter().enumerate() {
        match c {
            ' ' if is_ink(index.checked_sub(1)) && is_ink(Some(index + 1)) => shown.push(' '),
            ' ' => shown.push(SPACE),
            '\n' => shown.push(LINE_END),
            '\t' => shown.push(TAB),
            SPACE | LINE_END | TAB => shown.extend(c.escape_unicode()),
            c if c.is_whitespace() || c.is_control() || is_invisible(c) => {
                shown.extend(c.escape_unicode());
            }
            c => shown.push(c),
        }
    }
    shown
}

/// The same, with a line for each line of the text.
pub(super) fn visible_lines(text: &str) -> Vec<String> {
    let shown = visible(text);
    shown.split_inclusive(LINE_END).map(str::to_owned).collect()
}

/// Marks of direction, joiners and the like.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_to_be_seen() {
        assert_eq!(visible(" two words  here \n\tx\n"), "·two words··here·↵→x↵");
        assert_eq!(visible("a\u{a0}b·\r\u{200b}"), "a\\u{a0}b\\u{b7}\\u{d}\\u{200b}");
        assert_eq!(visible_lines("a\n\nb "), ["a↵", "↵", "b·"]);
        assert!(visible_lines("").is_empty());
    }
}
