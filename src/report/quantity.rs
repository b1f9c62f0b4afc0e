//! What is measured of models, by name: one list for tables, CSV, JSON and heat maps.

use serde_json::Value;

use crate::inspect::{ComparedPart, InspectedPart};
use crate::kernels::compare::TaskVectors;

/// How a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A whole number.
    Count,
    /// A number of any size.
    Number,
    /// A number from 0 to 1, shown in percent.
    Share,
    /// A number from −1 to 1.
    Cosine,
}

/// A quantity that is measured of parts `T` of models.
#[derive(Debug)]
pub struct Quantity<T: 'static> {
    /// Its name on the command line, in CSV and in JSON.
    pub key: &'static str,
    /// Its name in tables.
    pub heading: &'static str,
    /// Its name in full.
    pub title: &'static str,
    /// How it is written.
    pub form: Form,
    /// The value that means nothing special, from which others are told apart to either side.
    pub center: Option<f64>,
    /// Whether parts taken together have more of it, so that they do not compare with single ones.
    pub is_additive: bool,
    /// Its value; `None` where it is not defined.
    pub value: fn(&T) -> Option<f64>,
}

impl<T> Quantity<T> {
    const fn new(
        key: &'static str,
        heading: &'static str,
        title: &'static str,
        form: Form,
        value: fn(&T) -> Option<f64>,
    ) -> Self {
        Self { key, heading, title, form, center: None, is_additive: false, value }
    }

    const fn additive(self) -> Self {
        Self { is_additive: true, ..self }
    }

    const fn centered(self, center: f64) -> Self {
        Self { center: Some(center), ..self }
    }

    /// The value of `part` for people, `–` where there is none.
    pub fn text(&self, part: &T) -> String {
        (self.value)(part).map_or_else(|| "–".to_owned(), |value| self.form.text(value))
    }

    /// The value of `part` as it stands in CSV, empty where there is none.
    pub fn exact(&self, part: &T) -> String {
        (self.value)(part).map(|value| value.to_string()).unwrap_or_default()
    }

    /// The value of `part` as JSON, null where there is none.
    pub fn json(&self, part: &T) -> Value {
        match ((self.value)(part), self.form) {
            (None, _) => Value::Null,
            (Some(value), Form::Count) => Value::from(value as u64),
            (Some(value), _) => Value::from(value),
        }
    }
}

impl Form {
    /// `value` for people, with as many digits as they can use.
    pub fn text(self, value: f64) -> String {
        match self {
            Self::Count => grouped(value as u64),
            Self::Number => significant(value, 4),
            Self::Share => percent(value),
            Self::Cosine => without_negative_zero(&format!("{value:.5}")),
        }
    }

    /// `value` in few characters, beside others that are at most `largest` in magnitude.
    pub fn short_text(self, value: f64, largest: f64) -> String {
        match self {
            Self::Count | Self::Number => significant(value, 3),
            Self::Share if value == 0.0 || value >= 0.9995 => format!("{:.0} %", 100.0 * value),
            Self::Share => format!("{:.1} %", 100.0 * value),
            Self::Cosine => {
                // Two digits of the largest, as far as a cell has room for them.
                let exponent = if largest > 0.0 { largest.log10().floor() as i32 } else { 0 };
                without_negative_zero(&format!("{value:.*}", (1 - exponent).clamp(3, 5) as usize))
            }
        }
    }
}

/// `0.000` for `-0.000`.
fn without_negative_zero(number: &str) -> String {
    match number.strip_prefix('-') {
        Some(positive) if positive.chars().all(|one| matches!(one, '0' | '.')) => positive,
        _ => number,
    }
    .to_owned()
}

/// A share in percent. Neither "none" nor "all" is said of what only comes near.
fn percent(share: f64) -> String {
    match 100.0 * share {
        some if some > 0.0 && some < 0.01 => "<0.01 %".to_owned(),
        some if some < 100.0 && some > 99.99 => ">99.99 %".to_owned(),
        percent => format!("{percent:.2} %"),
    }
}

/// `value` with `digits` significant digits.
pub(super) fn significant(value: f64, digits: i32) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let exponent = value.abs().log10().floor() as i32;
    match exponent {
        -4..6 => format!("{value:.*}", (digits - 1 - exponent).max(0) as usize),
        _ => format!("{value:.*e}", (digits - 1) as usize),
    }
}

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What is measured of one model.
pub static INSPECTED: [Quantity<InspectedPart>; 9] = [
    Quantity::new(
        "parameters",
        "parameters",
        "Number of parameters",
        Form::Count,
        |part: &InspectedPart| Some(part.summary.elements() as f64),
    )
    .additive(),
    Quantity::new("bytes", "bytes", "Size in bytes", Form::Count, |part: &InspectedPart| {
        Some(part.bytes as f64)
    })
    .additive(),
    Quantity::new("norm", "norm", "L2 norm", Form::Number, |part: &InspectedPart| {
        Some(part.summary.norm())
    })
    .additive(),
    Quantity::new("rms", "rms", "Root mean square", Form::Number, |part: &InspectedPart| {
        part.summary.rms()
    }),
    Quantity::new("min", "min", "Least value", Form::Number, |part: &InspectedPart| {
        (part.summary.finite > 0).then_some(part.summary.least)
    }),
    Quantity::new("max", "max", "Largest value", Form::Number, |part: &InspectedPart| {
        (part.summary.finite > 0).then_some(part.summary.largest)
    }),
    Quantity::new("zeros", "zeros", "Share of zeros", Form::Share, |part: &InspectedPart| {
        let elements = part.summary.elements();
        (elements > 0).then(|| part.summary.zeros as f64 / elements as f64)
    }),
    Quantity::new("nan", "NaN", "Number of NaN", Form::Count, |part: &InspectedPart| {
        Some(part.summary.nan as f64)
    })
    .additive(),
    Quantity::new(
        "inf",
        "infinite",
        "Number of infinities",
        Form::Count,
        |part: &InspectedPart| Some(part.summary.infinite as f64),
    )
    .additive(),
];

/// What is measured of two models, and of their task vectors.
pub static COMPARED: [Quantity<ComparedPart>; 16] = [
    Quantity::new(
        "parameters",
        "parameters",
        "Number of parameters",
        Form::Count,
        |part: &ComparedPart| Some((part.comparison.compared + part.comparison.skipped) as f64),
    )
    .additive(),
    Quantity::new("norm_a", "norm A", "L2 norm of A", Form::Number, |part: &ComparedPart| {
        Some(part.comparison.a_squares.sqrt())
    })
    .additive(),
    Quantity::new("norm_b", "norm B", "L2 norm of B", Form::Number, |part: &ComparedPart| {
        Some(part.comparison.b_squares.sqrt())
    })
    .additive(),
    Quantity::new(
        "difference",
        "difference",
        "L2 norm of the difference, ‖B − A‖",
        Form::Number,
        |part: &ComparedPart| Some(part.comparison.difference()),
    )
    .additive(),
    Quantity::new(
        "relative",
        "relative",
        "Relative difference, ‖B − A‖ / ‖A‖",
        Form::Number,
        |part: &ComparedPart| part.comparison.relative(),
    ),
    Quantity::new(
        "max_difference",
        "largest",
        "Largest difference, max |B − A|",
        Form::Number,
        |part: &ComparedPart| {
            (part.comparison.compared > 0).then_some(part.comparison.largest_difference)
        },
    ),
    Quantity::new(
        "changed",
        "changed",
        "Share of elements that differ",
        Form::Share,
        |part: &ComparedPart| part.comparison.changed_share(),
    ),
    Quantity::new("cosine", "cosine", "Cosine of A and B", Form::Cosine, |part: &ComparedPart| {
        part.comparison.cosine()
    }),
    Quantity::new(
        "not_finite",
        "not finite",
        "Number of elements that are NaN or infinite in A or B",
        Form::Count,
        |part: &ComparedPart| Some(part.comparison.skipped as f64),
    )
    .additive(),
    Quantity::new(
        "task_norm_a",
        "task A",
        "Length of A's task vector, ‖A − base‖",
        Form::Number,
        |part: &ComparedPart| of_task(part, |vectors| Some(vectors.norms()[0])),
    )
    .additive(),
    Quantity::new(
        "task_norm_b",
        "task B",
        "Length of B's task vector, ‖B − base‖",
        Form::Number,
        |part: &ComparedPart| of_task(part, |vectors| Some(vectors.norms()[1])),
    )
    .additive(),
    Quantity::new(
        "task_cosine",
        "task cosine",
        "Cosine of the task vectors A − base and B − base",
        Form::Cosine,
        |part: &ComparedPart| of_task(part, TaskVectors::cosine),
    )
    .centered(0.0),
    Quantity::new(
        "sign_agreement",
        "same sign",
        "Sign agreement: share of equal signs where both moved",
        Form::Share,
        |part: &ComparedPart| of_task(part, TaskVectors::sign_agreement),
    )
    .centered(0.5),
    Quantity::new(
        "moved_both",
        "both moved",
        "Share of elements that both models moved",
        Form::Share,
        |part: &ComparedPart| of_task(part, TaskVectors::moved_by_both_share),
    ),
    Quantity::new(
        "moved_only_a",
        "only A",
        "Share of elements that only A moved",
        Form::Share,
        |part: &ComparedPart| of_task(part, |vectors| vectors.moved_by_one_shares()[0]),
    ),
    Quantity::new(
        "moved_only_b",
        "only B",
        "Share of elements that only B moved",
        Form::Share,
        |part: &ComparedPart| of_task(part, |vectors| vectors.moved_by_one_shares()[1]),
    ),
];

/// Where in [`COMPARED`] the quantities begin that need a base model.
const FIRST_OF_TASKS: usize = 9;

/// Those of [`COMPARED`] that need no base model, or all.
pub fn compared(with_base: bool) -> &'static [Quantity<ComparedPart>] {
    if with_base { &COMPARED } else { &COMPARED[..FIRST_OF_TASKS] }
}

fn of_task(part: &ComparedPart, value: impl Fn(&TaskVectors) -> Option<f64>) -> Option<f64> {
    part.task_vectors.as_ref().and_then(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_people_can_use() {
        for (value, expected) in [
            (0.0, "0"),
            (0.000_123_45, "0.0001234"),
            (-1.0, "-1.000"),
            (123_456.7, "123457"),
            (1e6, "1.000e6"),
            (0.000_012_345, "1.234e-5"),
        ] {
            assert_eq!(Form::Number.text(value), expected);
        }
        assert_eq!(Form::Count.text(1_234_567.0), "1,234,567");
        assert_eq!(Form::Count.text(999.0), "999");
        let shares = [0.0, 1e-9, 0.5, 0.999_999, 1.0].map(|share| Form::Share.text(share));
        assert_eq!(shares, ["0.00 %", "<0.01 %", "50.00 %", ">99.99 %", "100.00 %"]);
        assert_eq!(Form::Cosine.text(-0.25), "-0.25000");
        assert_eq!(Form::Cosine.text(-1e-9), "0.00000");
        let cosines = [(-0.25, 1.0), (-1e-4, 1.0), (-1e-4, 2e-3), (0.0, 0.0), (-1e-4, f64::NAN)];
        let cosines = cosines.map(|(value, largest)| Form::Cosine.short_text(value, largest));
        assert_eq!(cosines, ["-0.250", "0.000", "-0.0001", "0.000", "0.000"]);
    }

    #[test]
    fn keys_are_unique_and_task_vectors_come_last() {
        for (index, quantity) in COMPARED.iter().enumerate() {
            let value = (quantity.value)(&ComparedPart {
                task_vectors: Some(TaskVectors::default()),
                ..ComparedPart::default()
            });
            let without = (quantity.value)(&ComparedPart::default());
            assert!(index < FIRST_OF_TASKS || without.is_none(), "{}", quantity.key);
            assert!(value.is_none_or(f64::is_finite), "{}", quantity.key);
            assert!(COMPARED[..index].iter().all(|other| other.key != quantity.key));
        }
        assert_eq!(COMPARED[FIRST_OF_TASKS].key, "task_norm_a");
    }
}
