//! `strftime_now`, which some templates tell the model the date with.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const SECONDS_OF_A_DAY: u64 = 86_400;

/// The present time, of UTC, in a format of `strftime`; the error names what of it is not known.
pub(super) fn strftime_now(format: &str) -> Result<String, String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    strftime(format, since.as_secs())
}

/// A time in seconds since 1970 in a format of `strftime`.
fn strftime(format: &str, seconds: u64) -> Result<String, String> {
    let date = Date::of(seconds / SECONDS_OF_A_DAY);
    let of_day = seconds % SECONDS_OF_A_DAY;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let twelfth = (hour + 11) % 12 + 1;
    let month = MONTHS[date.month as usize - 1];
    let weekday = DAYS[date.weekday as usize];
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = rest.next();
        // A minus leaves out zeros in front.
        let is_bare = directive == Some('-');
        if is_bare {
            directive = rest.next();
        }
        let number = |value: u64, width: usize| match is_bare {
            true => value.to_string(),
            false => format!("{value:0width$}"),
        };
        out.push_str(&match directive {
            Some('Y') => date.year.to_string(),
            Some('y') => number(date.year % 100, 2),
            Some('m') => number(date.month, 2),
            Some('d') => number(date.day, 2),
            Some('e') if is_bare => date.day.to_string(),
            Some('e') => format!("{:2}", date.day),
            Some('j') => number(date.day_of_year, 3),
            Some('H') => number(hour, 2),
            Some('I') => number(twelfth, 2),
            Some('M') => number(minute, 2),
            Some('S') => number(second, 2),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('B') => month.to_owned(),
            Some('b' | 'h') => month[..3].to_owned(),
            Some('A') => weekday.to_owned(),
            Some('a') => weekday[..3].to_owned(),
            Some('F') => strftime("%Y-%m-%d", seconds)?,
            Some('T') => strftime("%H:%M:%S", seconds)?,
            Some('R') => strftime("%H:%M", seconds)?,
            Some('D') => strftime("%m/%d/%y", seconds)?,
            Some('Z') => "UTC".to_owned(),
            Some('z') => "+0000".to_owned(),
            Some('%') => "%".to_owned(),
            Some(other) => return Err(format!("strftime_now does not know `%{other}`")),
            None => return Err("strftime_now is given a format that ends in `%`".to_owned()),
        });
    }
    Ok(out)
}

/// A day of the Gregorian calendar.
struct Date {
    year: u64,
    /// 1 to 12.
    month: u64,
    /// From 1.
    day: u64,
    /// From 1.
    day_of_year: u64,
    /// 0 for Sunday.
    weekday: u64,
}

impl Date {
    /// The day that is `days` after the first of 1970, which was a Thursday.
    fn of(days: u64) -> Date {
        let weekday = (days + 4) % 7;
        let mut year = 1970;
        let mut left = days;
        while left >= 365 + u64::from(is_leap(year)) {
            left -= 365 + u64::from(is_leap(year));
            year += 1;
        }
        let day_of_year = left + 1;
        let february = 28 + u64::from(is_leap(year));
        let mut month = 1;
        for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            if left < length {
                break;
            }
            left -= length;
            month += 1;
        }
        Date { year, month, day: left + 1, day_of_year, weekday }
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_print_as_in_python() {
        // datetime(2024, 2, 29, 13, 5, 9) and datetime(2000, 12, 31), both UTC.
        let leap = |format| strftime(format, 1_709_211_909);
        assert_eq!(leap("%d %b %Y").as_deref(), Ok("29 Feb 2024"));
        assert_eq!(
            leap("%A, %B %-d, %y %I:%M:%S %p").as_deref(),
            Ok("Thursday, February 29, 24 01:05:09 PM")
        );
        assert_eq!(leap("%F %T %j%%").as_deref(), Ok("2024-02-29 13:05:09 060%"));
        assert_eq!(strftime("%a %F %j", 978_220_800).as_deref(), Ok("Sun 2000-12-31 366"));
        assert_eq!(strftime("%F %e", 0).as_deref(), Ok("1970-01-01  1"));
        assert_eq!(leap("%Q").expect_err("unknown"), "strftime_now does not know `%Q`");
        assert!(strftime_now("%Y").is_ok_and(|year| year.len() == 4));
    }
}
