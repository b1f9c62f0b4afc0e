//! Dates and times as Python prints them.

use crate::evaluate::calendar::Date;

/// Units of a second in which times are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    fn per_second(self) -> i64 {
        match self {
            Self::Millis => 1_000,
            Self::Micros => 1_000_000,
            Self::Nanos => 1_000_000_000,
        }
    }
}

const SECONDS_OF_A_DAY: i64 = 86_400;

/// A date so many days after 1970-01-01, in the Gregorian calendar.
pub(super) fn date(days: i64) -> String {
    let Date { year, month, day, .. } = Date::of(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A time of day, `count` units after midnight; parts of a second are left out when there are none.
pub(super) fn time(count: i64, unit: Unit) -> String {
    let (seconds, parts) =
        (count.div_euclid(unit.per_second()), count.rem_euclid(unit.per_second()));
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let nanos = parts * (Unit::Nanos.per_second() / unit.per_second());
    let parts = match (nanos, nanos % 1_000) {
        (0, _) => String::new(),
        (_, 0) => format!(".{:06}", nanos / 1_000),
        _ => format!(".{nanos:09}"),
    };
    format!("{hour:02}:{minute:02}:{second:02}{parts}")
}

/// A moment, `count` units after the beginning of 1970.
pub(super) fn moment(count: i64, unit: Unit) -> String {
    let of_a_day = SECONDS_OF_A_DAY * unit.per_second();
    let (days, rest) = (count.div_euclid(of_a_day), count.rem_euclid(of_a_day));
    format!("{} {}", date(days), time(rest, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_print_as_in_python() {
        assert_eq!([date(0), date(-1), date(19_724)], ["1970-01-01", "1969-12-31", "2024-01-02"]);
        assert_eq!(
            [date(11_016), date(11_017), date(-25_509)],
            ["2000-02-29", "2000-03-01", "1900-02-28"]
        );
        assert_eq!(time(11_045_006, Unit::Millis), "03:04:05.006000");
        assert_eq!(moment(1_704_164_645_000_000_123, Unit::Nanos), "2024-01-02 03:04:05.000000123");
        assert_eq!(moment(-1, Unit::Micros), "1969-12-31 23:59:59.999999");
        assert_eq!(moment(0, Unit::Nanos), "1970-01-01 00:00:00");
        assert!(moment(i64::MIN, Unit::Millis).starts_with('-'));
    }
}
