//! Text in columns.

use std::fmt::Write;

/// How the cells of a column stand below each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// At their beginning.
    Left,
    /// At their end.
    Right,
    /// At the decimal point, or where it would be. The heading stands at the end.
    Point,
}

/// Lines of equally many cells, the first of them headings, as a table with a rule below the
/// headings. Columns behind the last of `aligns` are aligned as that is.
pub(super) fn table(lines: &[Vec<String>], aligns: &[Align]) -> String {
    let n_columns = lines.first().map_or(0, Vec::len);
    let align =
        |column: usize| aligns.get(column).or(aligns.last()).copied().unwrap_or(Align::Left);
    let columns: Vec<Vec<String>> = (0..n_columns)
        .map(|column| {
            let cells: Vec<&str> = lines.iter().map(|line| line[column].as_str()).collect();
            aligned(&cells, align(column))
        })
        .collect();
    let mut text = String::new();
    for number in 0..lines.len() {
        let cells: Vec<&str> = columns.iter().map(|column| column[number].as_str()).collect();
        let _ = writeln!(text, "  {}", cells.join("   ").trim_end());
        if number == 0 {
            let _ = writeln!(text, "  {}", "-".repeat(cells.join("   ").chars().count()));
        }
    }
    text
}

/// Lines of cells under headings, without a rule.
pub(crate) struct Columns {
    aligns: Vec<Align>,
    lines: Vec<Vec<String>>,
}

impl Columns {
    /// A table with a heading for each column.
    pub(crate) fn new(headings: &[(&str, Align)]) -> Self {
        let aligns = headings.iter().map(|(_, align)| *align).collect();
        let heading = headings.iter().map(|(text, _)| (*text).to_owned()).collect();
        Self { aligns, lines: vec![heading] }
    }

    /// Adds a line; it may have fewer cells than there are columns.
    pub(crate) fn line<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.lines.push(cells.into_iter().map(Into::into).collect());
    }

    /// The table, two spaces from the edge and between columns. Columns without any entry below
    /// their heading are left out.
    pub(crate) fn render(&self) -> String {
        let cells = |column: usize| -> Vec<&str> {
            self.lines.iter().map(|line| line.get(column).map_or("", String::as_str)).collect()
        };
        let columns: Vec<Vec<String>> = (self.aligns.iter().enumerate())
            .map(|(column, &align)| (cells(column), align))
            .filter(|(cells, _)| cells.iter().skip(1).any(|cell| !cell.is_empty()))
            .map(|(cells, align)| aligned(&cells, align))
            .collect();
        let mut text = String::new();
        for number in 0..self.lines.len() {
            let cells: Vec<&str> = columns.iter().map(|column| column[number].as_str()).collect();
            let _ = writeln!(text, "  {}", cells.join("  ").trim_end());
        }
        text
    }
}

/// The cells of a column, equally wide.
fn aligned(cells: &[&str], align: Align) -> Vec<String> {
    let width = |text: &str| text.chars().count();
    let with_tails: Vec<String> = match (align, cells) {
        (Align::Point, [heading, rest @ ..]) => {
            let longest = rest.iter().map(|cell| width(tail(cell))).max().unwrap_or(0);
            let pad = |cell: &&str| {
                let missing = if cell.is_empty() { 0 } else { longest - width(tail(cell)) };
                format!("{cell}{}", " ".repeat(missing))
            };
            std::iter::once((*heading).to_owned()).chain(rest.iter().map(pad)).collect()
        }
        _ => cells.iter().map(|&cell| cell.to_owned()).collect(),
    };
    let total = with_tails.iter().map(|cell| width(cell)).max().unwrap_or(0);
    let pad = |cell: String| match align {
        Align::Left => format!("{cell:<total$}"),
        Align::Right | Align::Point => format!("{cell:>total$}"),
    };
    with_tails.into_iter().map(pad).collect()
}

/// What of a number stands behind its whole part.
fn tail(cell: &str) -> &str {
    let end = cell.find('.').or_else(|| {
        let last_digit = cell.rfind(|c: char| c.is_ascii_digit())?;
        Some(last_digit + 1)
    });
    &cell[end.unwrap_or(cell.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_with_their_points_below_each_other() {
        let lines = [
            ["layer", "rms", "changed"],
            ["0", "12.5", "100.00 %"],
            ["embed", "0.001234", "0.10 %"],
            ["10", "7", "–"],
        ];
        let lines: Vec<Vec<String>> =
            lines.iter().map(|line| line.iter().map(|&cell| cell.to_owned()).collect()).collect();
        let expected = [
            "  layer         rms    changed",
            "  ----------------------------",
            "  0       12.5        100.00 %",
            "  embed    0.001234     0.10 %",
            "  10       7            –",
            "",
        ];
        assert_eq!(table(&lines, &[Align::Left, Align::Point]), expected.join("\n"));
    }

    #[test]
    fn no_lines_are_no_table() {
        assert_eq!(table(&[], &[Align::Left]), "");
    }

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let mut table =
            Columns::new(&[("name", Align::Left), ("none", Align::Left), ("n", Align::Right)]);
        table.line(["a", "", "100"]);
        table.line(["longer", "", "7"]);
        table.line(["last"]);
        assert_eq!(table.render(), "  name      n\n  a       100\n  longer    7\n  last\n");
    }
}
