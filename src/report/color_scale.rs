//! Colours for numbers, and the marks beside a colour bar.
//!
//! Both palettes are told apart by people with any colour vision: one gets steadily lighter, the other
//! goes from blue over white to red.

use super::quantity::{Form, significant};

type Rgb = [u8; 3];

/// From dark to light.
const SEQUENTIAL: [Rgb; 9] = [
    [0x44, 0x01, 0x54],
    [0x47, 0x2D, 0x7B],
    [0x3B, 0x52, 0x8B],
    [0x2C, 0x72, 0x8E],
    [0x21, 0x91, 0x8C],
    [0x28, 0xAE, 0x80],
    [0x5E, 0xC9, 0x62],
    [0xAD, 0xDC, 0x30],
    [0xFD, 0xE7, 0x25],
];

/// From one side to the other.
const DIVERGING: [Rgb; 7] = [
    [0x1B, 0x4F, 0x8F],
    [0x4A, 0x8F, 0xC4],
    [0xB2, 0xD2, 0xE8],
    [0xF7, 0xF7, 0xF7],
    [0xF6, 0xC4, 0xAE],
    [0xDB, 0x6F, 0x58],
    [0x9E, 0x17, 0x2D],
];

/// From which ratio of the largest to the least value on the scale is logarithmic.
const LOGARITHMIC_FROM: f64 = 10.0;

/// Most marks on a scale.
const MOST_MARKS: f64 = 6.0;

/// Which colour stands for which value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ColorScale {
    low: f64,
    high: f64,
    is_logarithmic: bool,
    palette: &'static [Rgb],
}

impl ColorScale {
    /// A scale for `values`; to either side of `center`, where there is one.
    pub(super) fn for_values(
        values: impl Iterator<Item = f64>,
        form: Form,
        center: Option<f64>,
    ) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if let Some(center) = center {
            let reach = (high - center).abs().max((center - low).abs());
            let reach = if reach.is_finite() && reach > 0.0 { reach } else { center.max(1.0) };
            let (low, high) = (center - reach, center + reach);
            return Self { low, high, is_logarithmic: false, palette: &DIVERGING };
        }
        let (low, high) = match () {
            _ if low > high => (0.0, 1.0),
            _ if low == high && low == 0.0 => (0.0, 1.0),
            _ if low == high => (low.min(0.0), low.max(0.0)),
            _ => (low, high),
        };
        let is_logarithmic = matches!(form, Form::Number | Form::Count)
            && low > 0.0
            && high / low >= LOGARITHMIC_FROM;
        Self { low, high, is_logarithmic, palette: &SEQUENTIAL }
    }

    pub(super) fn is_logarithmic(&self) -> bool {
        self.is_logarithmic
    }

    /// The largest magnitude on the scale.
    pub(super) fn largest(&self) -> f64 {
        self.low.abs().max(self.high.abs())
    }

    /// Where `value` is between the ends of the scale, from 0 to 1. Values outside are at an end.
    pub(super) fn position(&self, value: f64) -> f64 {
        let place = match self.is_logarithmic {
            true => (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln()),
            false => (value - self.low) / (self.high - self.low),
        };
        if place.is_nan() { 0.0 } else { place.clamp(0.0, 1.0) }
    }

    /// The colour at a position from 0 to 1, as `#RRGGBB`.
    fn color_at(&self, position: f64) -> String {
        let [r, g, b] = self.rgb(position);
        format!("#{r:02X}{g:02X}{b:02X}")
    }

    /// The colours that make up the scale, with their positions; others lie between their neighbours.
    pub(super) fn stops(&self) -> impl Iterator<Item = (f64, String)> {
        let last = (self.palette.len() - 1) as f64;
        let positions = (0..self.palette.len()).map(move |index| index as f64 / last);
        positions.map(|position| (position, self.color_at(position)))
    }

    /// The colour of `value`, and whether text on it should be white.
    pub(super) fn color(&self, value: f64) -> (String, bool) {
        let position = self.position(value);
        let [r, g, b] = self.rgb(position).map(f64::from);
        let luma = 0.299 * r + 0.587 * g + 0.114 * b;
        (self.color_at(position), luma < 140.0)
    }

    fn rgb(&self, position: f64) -> Rgb {
        let place = position * (self.palette.len() - 1) as f64;
        let index = (place.floor() as usize).min(self.palette.len() - 2);
        let (from, to) = (self.palette[index], self.palette[index + 1]);
        let share = place - index as f64;
        std::array::from_fn(|channel| {
            let (from, to) = (f64::from(from[channel]), f64::from(to[channel]));
            (from + share * (to - from)).round() as u8
        })
    }

    /// Values to mark beside the colour bar, with their texts, in rising order.
    pub(super) fn marks(&self, form: Form) -> Vec<(f64, String)> {
        if self.is_logarithmic {
            return self.logarithmic_marks();
        }
        let unit = if form == Form::Share { 100.0 } else { 1.0 };
        let (low, high) = (self.low * unit, self.high * unit);
        let least_step = (high - low) / MOST_MARKS;
        if !(least_step.is_finite() && least_step > 0.0) {
            return Vec::new();
        }
        let power = 10f64.powf(least_step.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = step.into_iter().find(|&step| step >= least_step).unwrap_or(10.0 * power);
        let exponent = step.log10().floor() as i32;
        let text = |value: f64| match exponent {
            -4..6 => format!("{value:.*}", (-exponent).max(0) as usize),
            _ => format!("{value:.2e}"),
        };
        let first = (low / step - 1e-9).ceil() as i64;
        (first..first + 10)
            .map(|index| index as f64 * step)
            .take_while(|&value| value <= high + 1e-9 * step)
            .map(|value| (value / unit, text(if value == 0.0 { 0.0 } else { value })))
            .collect()
    }

    fn logarithmic_marks(&self) -> Vec<(f64, String)> {
        let decades = self.high.log10() - self.low.log10();
        let factors: &[f64] = match decades {
            ..2.0 => &[1.0, 2.0, 5.0],
            ..4.0 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let every = (decades / MOST_MARKS).ceil().max(1.0) as i32;
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        let powers = (first..=last).filter(|power| power.rem_euclid(every) == 0);
        let values = powers.flat_map(|power| factors.iter().map(move |f| f * 10f64.powi(power)));
        values
            .filter(|value| (self.low..=self.high).contains(value))
            .map(|value| (value, significant(value, 1)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(values: &[f64], form: Form, center: Option<f64>) -> ColorScale {
        ColorScale::for_values(values.iter().copied(), form, center)
    }

    fn marks(scale: &ColorScale, form: Form) -> Vec<String> {
        scale.marks(form).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn a_scale_reaches_from_the_least_to_the_largest_value() {
        let scale = scale(&[0.3, 0.1, f64::NAN], Form::Number, None);
        assert_eq!(scale.color_at(scale.position(0.1)), "#440154");
        assert_eq!(scale.color(0.3), ("#FDE725".to_owned(), false));
        assert_eq!(scale.color(-7.0), ("#440154".to_owned(), true));
        assert_eq!(marks(&scale, Form::Number), ["0.10", "0.15", "0.20", "0.25", "0.30"]);
        assert_eq!(marks(&scale, Form::Share), ["10", "15", "20", "25", "30"]);
    }

    #[test]
    fn far_apart_magnitudes_get_a_logarithmic_scale() {
        let scale = scale(&[0.002, 20.0], Form::Number, None);
        assert!(scale.is_logarithmic());
        assert!((scale.position(0.2) - 0.5).abs() < 1e-9);
        assert_eq!(marks(&scale, Form::Number), ["0.01", "0.1", "1", "10"]);
    }

    #[test]
    fn the_center_is_white_and_both_sides_are_equally_far() {
        let scale = scale(&[-0.1, 0.4], Form::Cosine, Some(0.0));
        assert_eq!(scale.color(0.0), ("#F7F7F7".to_owned(), false));
        assert_eq!(marks(&scale, Form::Cosine), ["-0.4", "-0.2", "0.0", "0.2", "0.4"]);
    }

    #[test]
    fn nothing_zero_and_a_single_value_have_scales() {
        for values in [&[][..], &[0.0], &[5.0], &[-5.0], &[f64::INFINITY], &[1e-300, 1e300]] {
            for center in [None, Some(0.0), Some(0.5)] {
                let scale = scale(values, Form::Number, center);
                let marks = scale.marks(Form::Number);
                assert!(marks.len() >= 2 && marks.len() <= 20, "{values:?} {center:?} {marks:?}");
                for value in [f64::NAN, f64::INFINITY, 0.0, -1.0, 1.0] {
                    assert_eq!(scale.color(value).0.len(), 7);
                }
            }
        }
    }
}
