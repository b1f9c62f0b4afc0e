//! Requests that brought nothing, and whether the same one may succeed.

use std::io;
use std::time::Duration;

use ureq::http::HeaderMap;

use crate::hub::HubError;

/// A request that brought nothing.
pub(super) struct Trouble {
    pub(super) error: HubError,
    pub(super) remedy: Remedy,
}

/// Whether the same request may succeed.
pub(super) enum Remedy {
    None,
    /// After a while.
    Again,
    /// After this time, as the Hub says.
    AgainAfter(Duration),
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Self {
        Self { error, remedy: Remedy::None }
    }
}

/// A connection that ended in the middle of an answer.
pub(super) fn cut_off(url: &str, error: io::Error) -> Trouble {
    let error = HubError::Unreachable { url: url.to_owned(), source: Box::new(error) };
    Trouble { error, remedy: Remedy::Again }
}

/// An answer that is not understood.
pub(super) fn bad_answer(url: &str, what: impl Into<String>) -> HubError {
    HubError::Answer { url: url.to_owned(), what: what.into() }
}

/// Whether what kept a request from being answered may pass: an answer that was cut off, or a silence.
/// Who cannot be found, does not listen or cannot be trusted is not asked again.
pub(super) fn is_passing(error: &ureq::Error) -> bool {
    use io::ErrorKind;
    match error {
        ureq::Error::Timeout(what) => {
            !matches!(what, ureq::Timeout::Connect | ureq::Timeout::Resolve)
        }
        ureq::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof
                | ErrorKind::TimedOut
                | ErrorKind::Interrupted
        ),
        ureq::Error::Protocol(_) => true,
        _ => false,
    }
}

/// How long the Hub asks to wait: `Retry-After` in seconds, or the `t` of `RateLimit`, as in
/// `"resolvers";r=0;t=120`.
pub(super) fn time_to_wait(headers: &HeaderMap) -> Option<Duration> {
    let retry_after = text(headers, "retry-after").and_then(|text| text.trim().parse().ok());
    let rate_limit = || {
        let mut fields = text(headers, "ratelimit")?.split(';').map(str::trim);
        fields.find_map(|field| field.strip_prefix("t=")?.trim().parse().ok())
    };
    retry_after.or_else(rate_limit).map(Duration::from_secs)
}

/// The value of a header, where it is text.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_wait_is_read_from_either_header() {
        let wait = |header: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header, value.parse().unwrap());
            time_to_wait(&headers).map(|time| time.as_secs())
        };
        assert_eq!(wait("retry-after", "120"), Some(120));
        assert_eq!(wait("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert_eq!(wait("ratelimit", "\"resolvers\";r=0;t=45"), Some(45));
        assert_eq!(wait("date", "1"), None);
    }
}
