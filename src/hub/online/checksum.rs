//! Whether contents are what their tag says.
//!
//! Large files are tagged with their SHA-256, 64 hexadecimal digits; small ones with the hash that Git
//! gives them, 40 digits: the SHA-1 of `blob`, a space, their length in decimal, a zero byte and their
//! bytes. Other tags, which caches between here and the Hub may make up, say nothing of the contents.

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A checksum in the making.
#[derive(Clone)]
pub(super) enum Checksum {
    Sha256(Sha256),
    Git(Sha1),
    Unknown,
}

impl Checksum {
    /// The one that the tag `etag` has of contents of `bytes` bytes.
    pub(super) fn new(etag: &str, bytes: u64) -> Self {
        let is_hex = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        match etag.len() {
            64 if is_hex => Self::Sha256(Sha256::new()),
            40 if is_hex => Self::Git(Sha1::new_with_prefix(format!("blob {bytes}\0"))),
            _ => Self::Unknown,
        }
    }

    /// Takes in the bytes that come next.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Git(hash) => hash.update(bytes),
            Self::Unknown => {}
        }
    }

    /// Why the bytes are not those of `etag`, if they are not.
    pub(super) fn mismatch(self, etag: &str) -> Option<String> {
        let (kind, found) = match self {
            Self::Sha256(hash) => ("SHA-256", hex(&hash.finalize())),
            Self::Git(hash) => ("Git hash", hex(&hash.finalize())),
            Self::Unknown => return None,
        };
        let differs = !found.eq_ignore_ascii_case(etag);
        differs.then(|| format!("its {kind} being {found} instead of {etag}"))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `git hash-object` and `sha256sum` print for a file with `hello` and a line end.
    const GIT: &str = "ce013625030ba8dba906f756967f9e9ca394464a";
    const SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

    #[test]
    fn contents_are_known_by_either_hash() {
        for etag in [GIT, SHA256, "W-made-up"] {
            let mut checksum = Checksum::new(etag, 6);
            checksum.update(b"hel");
            checksum.update(b"lo\n");
            assert_eq!(checksum.mismatch(etag), None);
        }
        for etag in [GIT, SHA256] {
            let mut checksum = Checksum::new(etag, 6);
            checksum.update(b"hullo\n");
            assert!(checksum.mismatch(etag).unwrap().ends_with(etag));
        }
    }
}
