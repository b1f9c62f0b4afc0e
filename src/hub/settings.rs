//! Where the Hub is, where its cache is, and who asks, as the environment says.
//!
//! The variables are those of Python's `huggingface_hub`, so that both share one cache and one login.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The public Hub.
const ENDPOINT: &str = "https://huggingface.co";

/// What decides how models of the Hub are found.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address of the Hub, without a `/` at the end.
    pub endpoint: String,
    /// The folder with a folder for each model.
    pub cache: PathBuf,
    /// What private and gated models are asked for with.
    pub token: Option<Token>,
    /// Nothing is asked for: models come from the cache or not at all.
    pub offline: bool,
    /// A file with the certificates to trust, in PEM, instead of those of Mozilla.
    pub certificates: Option<PathBuf>,
    /// How trouble on the way is met.
    pub patience: Patience,
}

/// How often and after which time a request is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Most requests in a row that bring nothing.
    pub tries: u32,
    /// Time before the second try; it doubles with every further one.
    pub first_wait: Duration,
    /// Most time that the Hub may ask to wait for.
    pub longest_wait: Duration,
    /// Time after which a connection that brings nothing is given up.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 6,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(300),
            silence: Duration::from_secs(30),
        }
    }
}

/// A user access token. It is not shown by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token in `text`, which may stand between white space; `None` when nothing else is there.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.replace(['\r', '\n'], "");
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The token itself.
    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Settings {
    /// What the environment of this process says.
    pub fn from_environment() -> Self {
        Self::from_variables(|name| env::var_os(name))
    }

    /// What the variables that `get` looks up say. Empty ones count as absent.
    ///
    /// | variable | meaning |
    /// | --- | --- |
    /// | `HF_ENDPOINT` | address of the Hub |
    /// | `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE` | the cache; `$HF_HOME/hub` if not given |
    /// | `HF_HOME` | `$XDG_CACHE_HOME/huggingface` or `~/.cache/huggingface` if not given |
    /// | `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN` | the token |
    /// | `HF_TOKEN_PATH` | the file with the token of a login; `$HF_HOME/token` if not given |
    /// | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | when true, that file is not read |
    /// | `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE` | when true, nothing is downloaded |
    /// | `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` | certificates to trust |
    pub fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let text = |name: &str| get(name).and_then(|value| value.into_string().ok());
        let is_true = |name: &str| {
            let value = text(name).unwrap_or_default().to_uppercase();
            matches!(value.as_str(), "1" | "ON" | "YES" | "TRUE")
        };
        let user = get("HOME").or_else(|| get("USERPROFILE")).map(PathBuf::from);
        let path = |name: &str| {
            let path = PathBuf::from(get(name)?);
            match (path.strip_prefix("~"), &user) {
                (Ok(rest), Some(user)) => Some(user.join(rest)),
                _ => Some(path),
            }
        };
        let home = path("HF_HOME").unwrap_or_else(|| {
            let cache = path("XDG_CACHE_HOME");
            let cache = cache.or_else(|| Some(user.as_ref()?.join(".cache")));
            // Where not even the user's home is known, the current directory serves.
            cache.unwrap_or_else(|| ".cache".into()).join("huggingface")
        });
        let login = || {
            let path = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
            let is_welcome = !is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN");
            is_welcome.then(|| fs::read_to_string(path).ok()).flatten()
        };
        let token = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN"));
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let is_offline = match text("HF_HUB_OFFLINE") {
            Some(_) => is_true("HF_HUB_OFFLINE"),
            None => is_true("TRANSFORMERS_OFFLINE"),
        };
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache: cache.unwrap_or_else(|| home.join("hub")),
            token: token.or_else(login).as_deref().and_then(Token::new),
            offline: is_offline,
            certificates: ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
                .into_iter()
                .find_map(path),
            patience: Patience::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        Settings::from_variables(|name| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_cache_is_where_huggingface_hub_has_it() {
        let cache = |variables: &[(&str, &str)]| settings(variables).cache;
        let home = ("HOME", "/me");
        assert_eq!(cache(&[home]), PathBuf::from("/me/.cache/huggingface/hub"));
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/x")]), PathBuf::from("/x/huggingface/hub"));
        assert_eq!(cache(&[home, ("HF_HOME", "~/hf")]), PathBuf::from("/me/hf/hub"));
        assert_eq!(cache(&[("HF_HOME", "/a"), ("HF_HUB_CACHE", "/b")]), PathBuf::from("/b"));
        assert_eq!(
            cache(&[("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", "/c")]),
            PathBuf::from("/c")
        );
    }

    #[test]
    fn the_token_of_the_environment_comes_before_that_of_the_login() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("token"), "from-login\n").unwrap();
        let home = ("HF_HOME", home.path().to_str().unwrap());
        let token = |variables: &[(&str, &str)]| settings(variables).token;
        assert_eq!(token(&[home]), Token::new("from-login"));
        assert_eq!(token(&[home, ("HF_TOKEN", " given ")]), Token::new("given"));
        assert_eq!(token(&[home, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        assert_eq!(token(&[home, ("HF_TOKEN_PATH", "/nowhere")]), None);
        assert_eq!(format!("{:?}", Token::new("secret").unwrap()), "Token(…)");
    }

    #[test]
    fn offline_and_the_endpoint_are_read() {
        assert!(!settings(&[]).offline && !settings(&[("HF_HUB_OFFLINE", "0")]).offline);
        assert!(settings(&[("HF_HUB_OFFLINE", "True")]).offline);
        assert!(settings(&[("TRANSFORMERS_OFFLINE", "1")]).offline);
        assert_eq!(settings(&[]).endpoint, ENDPOINT);
        assert_eq!(settings(&[("HF_ENDPOINT", "http://mirror/")]).endpoint, "http://mirror");
        let certificates = settings(&[("REQUESTS_CA_BUNDLE", "/ca.pem")]).certificates;
        assert_eq!(certificates, Some("/ca.pem".into()));
    }
}
