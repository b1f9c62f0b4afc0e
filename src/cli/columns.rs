//! Tables for a terminal: aligned columns, without lines.

/// To which side a column's cells lean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Lines of cells under a heading.
pub(super) struct Columns {
    sides: Vec<Side>,
    lines: Vec<Vec<String>>,
}

impl Columns {
    /// A table with a heading for each column.
    pub(super) fn new(headings: &[(&str, Side)]) -> Self {
        let sides = headings.iter().map(|(_, side)| *side).collect();
        let heading = headings.iter().map(|(text, _)| (*text).to_owned()).collect();
        Self { sides, lines: vec![heading] }
    }

    /// Adds a line; it may have fewer cells than there are columns.
    pub(super) fn line<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.lines.push(cells.into_iter().map(Into::into).collect());
    }

    /// The table, two spaces from the edge and between columns. Columns without any entry below
    /// their heading are left out.
    pub(super) fn render(&self) -> String {
        let cells = |column: usize| {
            self.lines.iter().filter_map(move |line| line.get(column)).map(String::as_str)
        };
        let used: Vec<usize> = (0..self.sides.len())
            .filter(|&column| cells(column).skip(1).any(|cell| !cell.is_empty()))
            .collect();
        let width = |&column: &usize| cells(column).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = used.iter().map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for line in &self.lines {
            let mut rendered = String::new();
            for (&column, &width) in used.iter().zip(&widths) {
                let cell = line.get(column).map_or("", String::as_str);
                rendered.push_str("  ");
                rendered.push_str(&match self.sides[column] {
                    Side::Left => format!("{cell:<width$}"),
                    Side::Right => format!("{cell:>width$}"),
                });
            }
            text.push_str(rendered.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let mut table =
            Columns::new(&[("name", Side::Left), ("none", Side::Left), ("n", Side::Right)]);
        table.line(["a", "", "100"]);
        table.line(["longer", "", "7"]);
        table.line(["last"]);
        assert_eq!(table.render(), "  name      n\n  a       100\n  longer    7\n  last\n");
    }
}
