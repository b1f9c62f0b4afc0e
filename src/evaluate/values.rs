//! Values of a metric on single items.

use std::ops::Range;

/// Values of one metric, item by item: all that its figure is computed from.
///
/// Each item has a row of as many numbers as the metric needs: one for what is averaged, such as a
/// right or wrong answer; for others the numbers that add up or are compared over all items, such as
/// a log-likelihood and the number of words that it is of.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricValues {
    width: usize,
    numbers: Vec<f64>,
}

impl MetricValues {
    /// No items yet, with rows of `width` numbers (at least 1).
    pub fn new(width: usize) -> MetricValues {
        MetricValues { width: width.max(1), numbers: Vec::new() }
    }

    /// One number for each item.
    pub fn single(numbers: Vec<f64>) -> MetricValues {
        MetricValues { width: 1, numbers }
    }

    /// Numbers in each row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of items.
    pub fn n_items(&self) -> usize {
        self.numbers.len() / self.width
    }

    /// The numbers of one item.
    ///
    /// # Panics
    ///
    /// If there is no such item.
    pub fn row(&self, item: usize) -> &[f64] {
        &self.numbers[item * self.width..][..self.width]
    }

    /// The numbers of every item in order.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.numbers.chunks_exact(self.width)
    }

    /// All rows end to end.
    pub fn numbers(&self) -> &[f64] {
        &self.numbers
    }

    /// Adds an item.
    ///
    /// # Panics
    ///
    /// If the row has another length than [`MetricValues::width`].
    pub fn push(&mut self, row: &[f64]) {
        assert_eq!(row.len(), self.width, "all rows are of one width");
        self.numbers.extend_from_slice(row);
    }

    /// The items of a range.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[must_use]
    pub fn slice(&self, items: Range<usize>) -> MetricValues {
        let numbers = self.numbers[items.start * self.width..items.end * self.width].to_vec();
        MetricValues { width: self.width, numbers }
    }

    /// Replaces all items by the given ones of `other`, in that order.
    ///
    /// # Panics
    ///
    /// If `other` lacks one of them.
    pub fn assign(&mut self, other: &MetricValues, items: &[usize]) {
        self.width = other.width;
        self.numbers.clear();
        self.numbers.extend(items.iter().flat_map(|&item| other.row(item)));
    }
}

/// Rows with one number for each item.
impl FromIterator<f64> for MetricValues {
    fn from_iter<I: IntoIterator<Item = f64>>(numbers: I) -> MetricValues {
        MetricValues::single(numbers.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_width() {
        let mut values = MetricValues::new(2);
        for row in [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]] {
            values.push(&row);
        }
        assert_eq!((values.width(), values.n_items()), (2, 3));
        assert_eq!(values.slice(1..3).numbers(), [3.0, 4.0, 5.0, 6.0]);
        let mut drawn = MetricValues::single(vec![0.0]);
        drawn.assign(&values, &[2, 2]);
        assert_eq!(drawn.rows().collect::<Vec<_>>(), [[5.0, 6.0], [5.0, 6.0]]);
    }
}
