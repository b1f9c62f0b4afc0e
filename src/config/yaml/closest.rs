//! Names that a mistyped one may have meant.

/// The candidate nearest to `name`, when it is near enough to be what was meant: at most one edit
/// in four characters (insertion, deletion, replacement, or a swap of neighbours), case aside.
///
/// The first of several equally near ones.
pub fn closest<'a, S: AsRef<str> + ?Sized + 'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a S>,
) -> Option<&'a str> {
    let name: Vec<char> = name.to_lowercase().chars().collect();
    let mut best = None;
    for candidate in candidates {
        let candidate = candidate.as_ref();
        let letters: Vec<char> = candidate.to_lowercase().chars().collect();
        let allowed = (name.len().max(letters.len()) / 4).max(1);
        // A name of one or two letters is one edit from too many others.
        if name.len().abs_diff(letters.len()) > allowed || name.len() < 2 || letters.len() < 2 {
            continue;
        }
        let distance = edits(&name, &letters);
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Number of edits between two words (optimal string alignment).
fn edits(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            let mut least = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_find_their_word() {
        let names = ["weight", "density", "gamma", "t"];
        assert_eq!(closest("wieght", &names), Some("weight"));
        assert_eq!(closest("Densty", &names), Some("density"));
        assert_eq!(closest("gama", &names), Some("gamma"));
        assert_eq!(closest("height_of_it", &names), None);
        assert_eq!(closest("x", &names), None);
        assert_eq!(closest("", &names), None);
    }

    #[test]
    fn distances_count_edits() {
        let edits = |a: &str, b: &str| {
            edits(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>())
        };
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("ab", "ba"), 1);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", ""), 3);
    }
}
