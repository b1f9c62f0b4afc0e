//! Days of the Gregorian calendar.

/// A day of the Gregorian calendar, as it counts before its beginning, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) year: i64,
    /// 1 to 12.
    pub(super) month: i64,
    /// From 1.
    pub(super) day: i64,
    /// From 1.
    pub(super) day_of_year: i64,
    /// 0 for Sunday.
    pub(super) weekday: i64,
}

impl Date {
    /// The day that is `days` after the first of 1970, which was a Thursday.
    pub(super) fn of(days: i64) -> Date {
        // Years begin in March here, so that leap days end them; 400 of them have the same number of
        // days.
        const DAYS_OF_400_YEARS: i64 = 146_097;
        const DAYS_FROM_YEAR_0: i64 = 719_468;
        const FROM_MARCH_TO_JANUARY: i64 = 306;
        let weekday = (days + 4).rem_euclid(7);
        let days = days + DAYS_FROM_YEAR_0;
        let (era, day) = (days.div_euclid(DAYS_OF_400_YEARS), days.rem_euclid(DAYS_OF_400_YEARS));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let from_march = day - (365 * year + year / 4 - year / 100);
        let month = (5 * from_march + 2) / 153;
        let day = from_march - (153 * month + 2) / 5 + 1;
        let is_next_year = from_march >= FROM_MARCH_TO_JANUARY;
        let month = if is_next_year { month - 9 } else { month + 3 };
        let year = era * 400 + year + i64::from(is_next_year);
        let day_of_year = match is_next_year {
            true => from_march - FROM_MARCH_TO_JANUARY + 1,
            false => from_march + 31 + 28 + i64::from(is_leap(year)) + 1,
        };
        Date { year, month, day, day_of_year, weekday }
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_follow_each_other() {
        let mut before = Date::of(-200_000);
        for days in -199_999..200_000 {
            let date = Date::of(days);
            assert_eq!(date.weekday, (before.weekday + 1) % 7, "{date:?}");
            match (date.day, date.day_of_year) {
                (1, 1) => {
                    assert_eq!((before.month, before.day), (12, 31), "{date:?}");
                    assert_eq!(before.day_of_year, 365 + i64::from(is_leap(before.year)));
                    assert_eq!((date.year, date.month), (before.year + 1, 1));
                }
                (1, day_of_year) => {
                    assert_eq!(day_of_year, before.day_of_year + 1);
                    assert_eq!((date.year, date.month), (before.year, before.month + 1));
                }
                (day, day_of_year) => {
                    let expected = Date {
                        day: before.day + 1,
                        day_of_year: before.day_of_year + 1,
                        weekday: date.weekday,
                        ..before
                    };
                    assert_eq!((day, day_of_year), (expected.day, expected.day_of_year));
                    assert_eq!(date, expected);
                }
            }
            before = date;
        }
        assert_eq!(Date::of(0), Date { year: 1970, month: 1, day: 1, day_of_year: 1, weekday: 4 });
    }
}
