//! `strftime_now`, which some templates tell the model the date with.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::evaluate::calendar::Date;

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

const SECONDS_OF_A_DAY: i64 = 86_400;

/// The present time, of UTC, in a format of `strftime`; the error names what of it is not known.
pub(super) fn strftime_now(format: &str) -> Result<String, String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    strftime(format, since.as_secs().cast_signed())
}

/// A time in seconds since 1970 in a format of `strftime`.
fn strftime(format: &str, seconds: i64) -> Result<String, String> {
    let date = Date::of(seconds.div_euclid(SECONDS_OF_A_DAY));
    let of_day = seconds.rem_euclid(SECONDS_OF_A_DAY);
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
        let number = |value: i64, width: usize| match is_bare {
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
