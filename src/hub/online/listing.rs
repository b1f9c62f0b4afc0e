//! Which files a commit of a model has.
//!
//! ```text
//! GET /api/models/{name}/revision/{revision}?blobs=true
//! {"sha": "<commit>", "siblings": [
//!   {"rfilename": "config.json", "size": 650, "blobId": "<Git hash>"},
//!   {"rfilename": "model.safetensors", "size": 988097824, "blobId": "…", "lfs": {"sha256": "…", …}}, …]}
//! HEAD /{name}/resolve/{commit}/{file}
//! X-Linked-Etag or ETag, X-Linked-Size or Content-Length
//! ```
//!
//! Mirrors may list names only; then the headers of a file say the rest. <https://huggingface.co/docs/hub/api>

use indexmap::IndexMap;
use serde::Deserialize;
use ureq::http::HeaderMap;

use super::client::{Client, Subject};
use super::trouble::{bad_answer, text};
use crate::hub::HubError;
use crate::hub::name::{RepoName, is_commit, is_plain_path};
use crate::hub::wanted::Contents;

/// A commit and its files.
pub(super) struct Listing {
    pub(super) commit: String,
    files: IndexMap<String, Option<Contents>>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Listing {
    /// Whether there is a file of that name.
    pub(super) fn has(&self, file: &str) -> bool {
        self.files.contains_key(file)
    }

    /// The names of all files.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    fn parse(url: &str, text: &[u8]) -> Result<Self, HubError> {
        let answer: Answer = serde_json::from_slice(text)
            .map_err(|error| bad_answer(url, format!("is no listing of a model: {error}")))?;
        if !is_commit(&answer.sha) {
            return Err(bad_answer(url, "names no commit"));
        }
        let files = answer.siblings.into_iter().filter(|file| is_plain_path(&file.rfilename));
        let files = files.map(|Sibling { rfilename, size, blob_id, lfs }| {
            let (etag, bytes) = match lfs {
                Some(lfs) => (lfs.sha256, lfs.size.or(size)),
                None => (blob_id, size),
            };
            let contents = etag.filter(|etag| is_tag(etag)).zip(bytes);
            (rfilename, contents.map(|(etag, bytes)| Contents { bytes, etag }))
        });
        Ok(Self { commit: answer.sha, files: files.collect() })
    }
}

impl Client {
    /// Asks which commit a revision is, and which files that has.
    pub(super) fn listing(&self, name: &RepoName, revision: &str) -> Result<Listing, HubError> {
        let revision_part = encode(revision, "");
        let endpoint = &self.endpoint;
        let url = format!("{endpoint}/api/models/{name}/revision/{revision_part}?blobs=true");
        let text = self.text(&url, Subject { name, revision, file: None })?;
        Listing::parse(&url, &text)
    }

    /// What the contents of a file of a listing are, asking where the listing does not say.
    pub(super) fn contents(
        &self,
        name: &RepoName,
        listing: &Listing,
        file: &str,
    ) -> Result<Contents, HubError> {
        let subject = Subject { name, revision: &listing.commit, file: Some(file) };
        match listing.files.get(file) {
            Some(Some(contents)) => Ok(contents.clone()),
            Some(None) => {
                let url = self.file_url(name, &listing.commit, file);
                let headers = self.headers(&url, subject)?;
                contents_of(&headers)
                    .ok_or_else(|| bad_answer(&url, "says neither a tag nor a length of the file"))
            }
            None => Err(HubError::NoFile {
                name: name.to_string(),
                file: file.to_owned(),
                in_index: true,
            }),
        }
    }

    /// Where a file of a commit is.
    pub(super) fn file_url(&self, name: &RepoName, commit: &str, file: &str) -> String {
        format!("{}/{name}/resolve/{commit}/{}", self.endpoint, encode(file, "/"))
    }
}

/// What headers say about a file. Those that begin with `X-Linked` are about the contents where others
/// are about the way to them.
fn contents_of(headers: &HeaderMap) -> Option<Contents> {
    let text = |name: &str| text(headers, name);
    let etag = text("x-linked-etag").or_else(|| text("etag"))?;
    let etag = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
    let bytes = text("x-linked-size").or_else(|| text("content-length"))?.trim().parse().ok()?;
    is_tag(etag).then(|| Contents { bytes, etag: etag.to_owned() })
}

/// Whether a tag can be the name of a file.
fn is_tag(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.len() <= 128 && text.chars().all(plain) && !text.starts_with('.')
}

/// `text` as a part of an address, in which the characters in `kept` mean what they mean there.
fn encode(text: &str, kept: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        match c.is_ascii_alphanumeric() || "-_.~".contains(c) || kept.contains(c) {
            true => encoded.push(c),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_knows_contents_where_the_hub_says_them() {
        let (commit, sha256) = ("0123456789".repeat(4), "ab".repeat(32));
        let text = format!(
            r#"{{"sha": "{commit}", "siblings": [
                {{"rfilename": "config.json", "size": 7, "blobId": "{commit}"}},
                {{"rfilename": "model.safetensors", "size": 9, "blobId": "x",
                  "lfs": {{"sha256": "{sha256}", "size": 9, "pointerSize": 130}}}},
                {{"rfilename": "merges.txt"}},
                {{"rfilename": "../../outside", "size": 1, "blobId": "x"}},
                {{"rfilename": "odd", "size": 1, "blobId": "../x"}}
            ]}}"#
        );
        let listing = Listing::parse("url", text.as_bytes()).unwrap();
        assert_eq!(listing.commit, commit);
        let names: Vec<&str> = listing.names().collect();
        assert_eq!(names, ["config.json", "model.safetensors", "merges.txt", "odd"]);
        let known = |file: &str| listing.files[file].clone();
        assert_eq!(known("config.json"), Some(Contents { bytes: 7, etag: commit.clone() }));
        assert_eq!(known("model.safetensors"), Some(Contents { bytes: 9, etag: sha256 }));
        assert_eq!((known("merges.txt"), known("odd")), (None, None));
        for text in ["{}", "<html>", r#"{"sha": "main", "siblings": []}"#] {
            assert!(Listing::parse("url", text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn headers_about_contents_come_first() {
        let of = |headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().unwrap());
            }
            contents_of(&map).map(|contents| (contents.etag, contents.bytes))
        };
        let plain = [("etag", "W/\"abc\""), ("content-length", "12")];
        assert_eq!(of(&plain), Some(("abc".to_owned(), 12)));
        let linked = [("x-linked-etag", "\"def\""), ("x-linked-size", "99"), plain[0], plain[1]];
        assert_eq!(of(&linked), Some(("def".to_owned(), 99)));
        assert_eq!(of(&[("etag", "\"../x\""), plain[1]]), None);
    }

    #[test]
    fn addresses_hold_any_name() {
        assert_eq!(encode("refs/pr/1", ""), "refs%2Fpr%2F1");
        assert_eq!(encode("a b/ü.json", "/"), "a%20b/%C3%BC.json");
    }
}
