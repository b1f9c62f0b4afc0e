//! Requests to the Hub: who asks, what answers mean, and when to ask again.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, RANGE, RETRY_AFTER};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::hub::error::nearest_directory;
use crate::hub::name::RepoName;
use crate::hub::settings::{Patience, Settings};
use crate::hub::{HubError, Observer};

/// Most time for a connection to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// Pieces that waiting is divided into, to see whether it is still wanted.
const NAP: Duration = Duration::from_millis(50);

/// Most bytes of an answer that is no file. A listing of ten thousand files has three million.
const LONGEST_ANSWER: u64 = 64 << 20;

/// Asks the Hub.
pub(in crate::hub) struct Client {
    agent: Agent,
    pub(super) endpoint: String,
    authorization: Option<String>,
    patience: Patience,
    observer: Arc<dyn Observer>,
    cancelled: Arc<AtomicBool>,
}

/// What a request is about, for messages.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) name: &'a RepoName,
    pub(super) revision: &'a str,
    /// The file, or none where the model as a whole is asked for.
    pub(super) file: Option<&'a str>,
}

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

impl Client {
    pub(in crate::hub) fn new(
        settings: &Settings,
        observer: Arc<dyn Observer>,
        cancelled: Arc<AtomicBool>,
    ) -> Result<Self, HubError> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // A token is for the Hub, not for where it keeps its files.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            // Packed on the way, a file has another length, and parts of it are parts of the packing.
            .accept_encoding("identity")
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(settings.patience.silence))
            .timeout_per_read(Some(settings.patience.silence));
        if let Some(path) = &settings.certificates {
            let roots = certificates(path)?;
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(Self {
            agent: config.build().into(),
            endpoint: settings.endpoint.clone(),
            authorization: settings
                .token
                .as_ref()
                .map(|token| format!("Bearer {}", token.secret())),
            patience: settings.patience,
            observer,
            cancelled,
        })
    }

    /// The answer to a request for a text, whole.
    pub(super) fn text(&self, url: &str, subject: Subject<'_>) -> Result<Vec<u8>, HubError> {
        self.patiently(|| {
            let answer = self.get(url, None, subject)?;
            let body = answer.into_body();
            let mut text = Vec::new();
            let mut reader = body.into_reader().take(LONGEST_ANSWER + 1);
            reader.read_to_end(&mut text).map_err(|error| cut_off(url, error))?;
            match text.len() as u64 > LONGEST_ANSWER {
                true => Err(bad_answer(url, "is too long").into()),
                false => Ok(text),
            }
        })
    }

    /// Bytes `start .. end` of a file, or as many of them as it has.
    pub(super) fn part(
        &self,
        url: &str,
        start: u64,
        end: u64,
        subject: Subject<'_>,
    ) -> Result<Vec<u8>, HubError> {
        if start >= end {
            return Ok(Vec::new());
        }
        self.patiently(|| {
            let answer = self.get(url, Some(format!("bytes={start}-{}", end - 1)), subject)?;
            // Who does not know of ranges sends everything.
            let is_part = answer.status() == StatusCode::PARTIAL_CONTENT;
            let skipped = if is_part { 0 } else { start };
            let mut reader = answer.into_body().into_reader();
            let mut part = Vec::new();
            std::io::copy(&mut reader.by_ref().take(skipped), &mut std::io::sink())
                .and_then(|_| reader.take(end - start).read_to_end(&mut part))
                .map_err(|error| cut_off(url, error))?;
            Ok(part)
        })
    }

    /// The headers of a file as the Hub itself gives them, not the place where it keeps the contents.
    pub(super) fn headers(&self, url: &str, subject: Subject<'_>) -> Result<HeaderMap, HubError> {
        const MOST_REDIRECTS: usize = 5;
        let mut url = url.to_owned();
        for _ in 0..MOST_REDIRECTS {
            let answer = self.patiently(|| {
                let mut request = self.agent.head(&url).config().max_redirects(0);
                request = request.max_redirects_will_error(false);
                let mut request = request.build();
                if let Some(authorization) = &self.authorization {
                    request = request.header(AUTHORIZATION, authorization);
                }
                self.judge(request.call(), &url, subject)
            })?;
            let location = answer.headers().get("location").and_then(|value| value.to_str().ok());
            let path = location.map(|to| to.strip_prefix(&self.endpoint).unwrap_or(to));
            match path {
                // A model that has been renamed: the same file, at its new name.
                Some(path) if path.starts_with('/') && !path.starts_with("//") => {
                    url = format!("{}{path}", self.endpoint);
                }
                _ => {
                    let is_elsewhere = answer.status().is_redirection();
                    let mut headers = answer.into_parts().0.headers;
                    if is_elsewhere {
                        // That of the page which says where the file is.
                        headers.remove(CONTENT_LENGTH);
                    }
                    return Ok(headers);
                }
            }
        }
        Err(bad_answer(&url, "leads in a circle"))
    }

    /// Begins to receive a file, or the part of it that `range` asks for.
    pub(super) fn get(
        &self,
        url: &str,
        range: Option<String>,
        subject: Subject<'_>,
    ) -> Result<Response<ureq::Body>, Trouble> {
        let mut request = self.agent.get(url);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        self.judge(request.call(), url, subject)
    }

    /// Makes a request until it succeeds, as long as there is hope.
    pub(super) fn patiently<T>(
        &self,
        mut request: impl FnMut() -> Result<T, Trouble>,
    ) -> Result<T, HubError> {
        for failures in 1.. {
            self.check_cancelled()?;
            match request() {
                Ok(answer) => return Ok(answer),
                Err(trouble) => self.wait(trouble, failures)?,
            }
        }
        unreachable!("waiting ends with an error after a number of failures")
    }

    /// Waits as `trouble`, the last of `failures`, demands, or gives up.
    pub(super) fn wait(&self, trouble: Trouble, failures: u32) -> Result<(), HubError> {
        // Requests that are ended on purpose fail like others.
        self.check_cancelled()?;
        if failures >= self.patience.tries {
            return Err(trouble.error);
        }
        let time = match trouble.remedy {
            Remedy::None => return Err(trouble.error),
            Remedy::Again => self.patience.first_wait * 2u32.saturating_pow(failures - 1),
            Remedy::AgainAfter(time) if time <= self.patience.longest_wait => {
                self.observer.note(&format_args!(
                    "the Hub asks to wait for {} s before the next request",
                    time.as_secs()
                ));
                time
            }
            Remedy::AgainAfter(_) => return Err(trouble.error),
        };
        self.sleep(time.min(self.patience.longest_wait))
    }

    /// Waits, unless the run is asked to stop.
    pub(super) fn sleep(&self, time: Duration) -> Result<(), HubError> {
        let mut left = time;
        while !left.is_zero() {
            self.check_cancelled()?;
            let nap = left.min(NAP);
            thread::sleep(nap);
            left -= nap;
        }
        Ok(())
    }

    /// Does `work`, and ends its requests when the run is asked to stop, however long their answers
    /// would take.
    pub(super) fn interruptibly<R>(&self, work: impl FnOnce() -> R) -> R {
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            let watch = scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    if self.cancelled.load(Ordering::Relaxed) {
                        return self.agent.clone().shutdown();
                    }
                    thread::park_timeout(NAP);
                }
            });
            let result = work();
            is_done.store(true, Ordering::Relaxed);
            watch.thread().unpark();
            result
        })
    }

    pub(super) fn check_cancelled(&self) -> Result<(), HubError> {
        match self.cancelled.load(Ordering::Relaxed) {
            true => Err(HubError::Interrupted),
            false => Ok(()),
        }
    }

    /// What an answer means.
    fn judge(
        &self,
        answer: Result<Response<ureq::Body>, ureq::Error>,
        url: &str,
        subject: Subject<'_>,
    ) -> Result<Response<ureq::Body>, Trouble> {
        let answer = answer.map_err(|error| {
            let remedy = if is_passing(&error) { Remedy::Again } else { Remedy::None };
            let error = HubError::Unreachable { url: url.to_owned(), source: Box::new(error) };
            Trouble { error, remedy }
        })?;
        let status = answer.status();
        // With redirects left alone, one is an answer too.
        if status.is_success() || status.is_redirection() {
            return Ok(answer);
        }
        let after = time_to_wait(answer.headers());
        let error = self.refusal(status, answer.headers(), url, subject);
        let remedy = match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                after.map_or(Remedy::Again, Remedy::AgainAfter)
            }
            StatusCode::REQUEST_TIMEOUT => Remedy::Again,
            status if status.is_server_error() => Remedy::Again,
            _ => Remedy::None,
        };
        Err(Trouble { error, remedy })
    }

    /// Why a request was refused. The Hub says so in `X-Error-Code`; to who has no token it says 401 of
    /// private models and of those that do not exist alike.
    fn refusal(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        url: &str,
        Subject { name: repo, revision, file }: Subject<'_>,
    ) -> HubError {
        let name = repo.to_string();
        let with_token = self.authorization.is_some();
        let text = |header: &str| headers.get(header).and_then(|value| value.to_str().ok());
        let code = text("x-error-code").unwrap_or_default();
        let no_model = |name: String| {
            let nearest = nearest_directory(&name);
            HubError::NoModel { name, with_token, nearest }
        };
        match (status.as_u16(), code, file) {
            (_, "GatedRepo", _) | (403, _, _) => {
                HubError::NoAccess { page: format!("{}/{name}", self.endpoint), name, with_token }
            }
            (_, "RevisionNotFound", _) => {
                HubError::NoRevision { name, revision: revision.to_owned() }
            }
            (401, code, _) if with_token && code != "RepoNotFound" => {
                HubError::TokenRefused { name }
            }
            (_, "RepoNotFound", _) | (401, _, _) => no_model(name),
            (404, _, Some(file)) => {
                HubError::NoFile { name, file: file.to_owned(), in_index: false }
            }
            (404, _, None) => no_model(name),
            (429, _, _) => HubError::TooManyRequests { name, after: time_to_wait(headers) },
            (status, _, _) => HubError::Status { url: url.to_owned(), status },
        }
    }
}

/// A connection that ended in the middle of an answer.
pub(super) fn cut_off(url: &str, error: std::io::Error) -> Trouble {
    let error = HubError::Unreachable { url: url.to_owned(), source: Box::new(error) };
    Trouble { error, remedy: Remedy::Again }
}

/// An answer that is not understood.
pub(super) fn bad_answer(url: &str, what: impl Into<String>) -> HubError {
    HubError::Answer { url: url.to_owned(), what: what.into() }
}

/// Whether what kept a request from being answered may pass: an answer that was cut off, or a silence.
/// Who cannot be found or does not listen is not asked again.
fn is_passing(error: &ureq::Error) -> bool {
    use std::io::ErrorKind;
    match error {
        ureq::Error::Timeout(what) => {
            !matches!(what, ureq::Timeout::Connect | ureq::Timeout::Resolve)
        }
        ureq::Error::Io(error) => {
            !matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound)
        }
        ureq::Error::Protocol(_) => true,
        _ => false,
    }
}

/// How long the Hub asks to wait: `Retry-After` in seconds, or the `t` of `RateLimit`, as in
/// `"resolvers";r=0;t=120`.
fn time_to_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |header: &str| headers.get(header).and_then(|value| value.to_str().ok());
    let retry_after = text(RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok());
    let rate_limit = || {
        let mut fields = text("ratelimit")?.split(';').map(str::trim);
        fields.find_map(|field| field.strip_prefix("t=")?.trim().parse().ok())
    };
    retry_after.or_else(rate_limit).map(Duration::from_secs)
}

/// The certificates of a file in PEM form.
fn certificates(path: &Path) -> Result<RootCerts, HubError> {
    let text = fs::read(path).map_err(|source| HubError::Read { path: path.to_owned(), source })?;
    let certificates = parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<_> = certificates.collect();
    match certificates.is_empty() {
        true => Err(HubError::NoCertificates { path: path.to_owned() }),
        false => Ok(RootCerts::Specific(Arc::new(certificates))),
    }
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
