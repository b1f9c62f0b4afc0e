//! Patterns of file and function names: `{name}` stands for a part that is captured, `*` for any.

/// A name with parts that are open. No part goes over a `/`, and a captured one is not empty.
#[derive(Debug, Clone)]
pub(super) struct NamePattern(Vec<Piece>);

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Capture(String),
    Any,
}

/// Captured parts by name, in the order of the pattern.
pub(super) type Captures = Vec<(String, String)>;

impl NamePattern {
    /// Reads a pattern; `None` if a brace is left open or a name is no identifier.
    pub(super) fn new(text: &str) -> Option<NamePattern> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find(['{', '}', '*']) {
            if start > 0 {
                pieces.push(Piece::Text(rest[..start].to_owned()));
            }
            let open = &rest[start..];
            if let Some(behind) = open.strip_prefix('*') {
                pieces.push(Piece::Any);
                rest = behind;
                continue;
            }
            let (name, behind) = open.strip_prefix('{')?.split_once('}')?;
            let is_identifier = name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_identifier {
                return None;
            }
            pieces.push(Piece::Capture(name.to_owned()));
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Some(NamePattern(pieces))
    }

    /// What the open parts are in `text`; `None` if it is no such name. Captured parts are as short as
    /// they can be.
    pub(super) fn captures(&self, text: &str) -> Option<Captures> {
        let mut captures = Vec::new();
        is_match(&self.0, text, &mut captures).then_some(captures)
    }

    /// The same for the end of a path, of which the pattern has the last names.
    pub(super) fn captures_of_end(&self, path: &str) -> Option<Captures> {
        let starts = path.match_indices('/').map(|(index, _)| index + 1).chain([0]);
        starts.into_iter().find_map(|start| self.captures(&path[start..]))
    }
}

fn is_match(pieces: &[Piece], text: &str, captures: &mut Captures) -> bool {
    let Some((piece, others)) = pieces.split_first() else { return text.is_empty() };
    let (name, shortest) = match piece {
        Piece::Text(wanted) => {
            let rest = text.strip_prefix(wanted.as_str());
            return rest.is_some_and(|rest| is_match(others, rest, captures));
        }
        Piece::Capture(name) => (Some(name), 1),
        Piece::Any => (None, 0),
    };
    let longest = text.find('/').unwrap_or(text.len());
    let ends = (shortest..=longest).filter(|&end| text.is_char_boundary(end));
    for end in ends {
        let known = captures.len();
        captures.extend(name.map(|name| (name.clone(), text[..end].to_owned())));
        if is_match(others, &text[end..], captures) {
            return true;
        }
        captures.truncate(known);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(pattern: &str, path: &str) -> Option<Vec<String>> {
        let captures = NamePattern::new(pattern).expect("a pattern").captures_of_end(path)?;
        Some(captures.into_iter().map(|(name, part)| format!("{name}={part}")).collect())
    }

    #[test]
    fn open_parts_are_captured() {
        let found = captured("prox/{language}/utils.py", "/tasks/prox/de/utils.py");
        assert_eq!(found, Some(vec!["language=de".to_owned()]));
        assert_eq!(captured("prox/{language}/utils.py", "/tasks/prox/a/b/utils.py"), None);
        assert_eq!(captured("prox/*/utils.py", "prox/de/utils.py"), Some(Vec::new()));
        assert_eq!(captured("utils.py", "/tasks/my_utils.py"), None);
        let pattern = NamePattern::new("{kind}_{subject}").expect("a pattern");
        let captures = pattern.captures("process_computer_science").expect("a match");
        assert_eq!(captures[1].1, "computer_science");
        assert!(pattern.captures("process_").is_none());
    }

    #[test]
    fn patterns_that_cannot_be_read() {
        for text in ["{", "a}", "{}", "{a b}", "{1}"] {
            assert!(NamePattern::new(text).is_none(), "{text}");
        }
    }
}
