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
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, RANGE};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::trouble::{Remedy, Trouble, bad_answer, cut_off, is_passing, text, time_to_wait};
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
            let location = text(answer.headers(), "location").unwrap_or_default();
            let host = host(&self.endpoint);
            let path = location.strip_prefix(host).unwrap_or(location);
            match path.starts_with('/') && !path.starts_with("//") {
                // A model that has been renamed: the same file, at its new name.
                true => url = format!("{host}{path}"),
                false => {
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
        let mut failures = 0;
        loop {
            self.check_cancelled()?;
            match request() {
                Ok(answer) => return Ok(answer),
                Err(trouble) => {
                    failures += 1;
                    self.wait(trouble, failures)?;
                }
            }
        }
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
        let code = text(headers, "x-error-code").unwrap_or_default();
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

/// The beginning of an address, up to its path.
fn host(url: &str) -> &str {
    let start = url.find("://").map_or(0, |index| index + 3);
    let length = url[start..].find('/').unwrap_or(url.len() - start);
    &url[..start + length]
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
    fn the_host_ends_where_the_path_begins() {
        assert_eq!(host("https://mirror.org:80/api/hub"), "https://mirror.org:80");
        assert_eq!(host("http://127.0.0.1:9"), "http://127.0.0.1:9");
    }
}
