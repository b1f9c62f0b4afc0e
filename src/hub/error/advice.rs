//! What to do about a model of the Hub that cannot be had.

use std::io;
use std::path::Path;

use super::{HubError, LooksLike, Offline};
use crate::files;

impl HubError {
    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Checkpoint(error) => return error.hint(),
            Self::NoAnswer { source, nearest: None, .. } => return source.hint(),
            Self::NotAName { .. } => {
                "models of the Hub are written `organisation/name@revision`; local directories have \
                 no revisions"
                    .to_owned()
            }
            Self::NotARevision { .. } => "leave it out for the branch `main`".to_owned(),
            Self::NotCached { nearest: Some(nearest), .. }
            | Self::NoModel { nearest: Some(nearest), .. }
            | Self::NoAnswer { nearest: Some(nearest), .. } => {
                format!("there is a directory `{nearest}`")
            }
            Self::NotCached { name, offline, .. } => format!(
                "relative paths begin at the current directory; {}",
                offline.hint(name)
            ),
            Self::Incomplete { name, offline, .. } => offline.hint(name),
            Self::NoModel { with_token: false, .. } => {
                "relative paths begin at the current directory; a private model needs a token, in \
                 HF_TOKEN or from `hf auth login`"
                    .to_owned()
            }
            Self::NoModel { .. } => "relative paths begin at the current directory".to_owned(),
            Self::NoRevision { .. } => {
                "a revision is a branch, a tag or the hash of a commit".to_owned()
            }
            Self::TokenRefused { .. } => {
                "it comes from HF_TOKEN or from `hf auth login`, and may have expired; models that \
                 anyone may read need none"
                    .to_owned()
            }
            Self::NoAccess { page, with_token: true, .. } => {
                format!("accept the model's terms at {page}, as the user whose token it is")
            }
            Self::NoAccess { page, .. } => format!(
                "accept the model's terms at {page}, then set HF_TOKEN or run `hf auth login`"
            ),
            Self::NotAModel { name, looks_like: Some(looks_like), .. } => match looks_like {
                LooksLike::Adapter => {
                    format!("it is a LoRA adapter: write it behind its base model, `BASE+{name}`")
                }
                LooksLike::Model => "it is a whole model, which stands alone".to_owned(),
                LooksLike::Gguf => {
                    "it holds GGUF files, which are already quantized: name the model that they were \
                     made from"
                        .to_owned()
                }
            },
            Self::TooManyRequests { after: Some(after), .. } => {
                format!("it will again in {} s; with a token it takes more", after.as_secs())
            }
            Self::TooManyRequests { .. } => {
                "try again in a few minutes; with a token, in HF_TOKEN, it takes more".to_owned()
            }
            // The libraries below have no common form for it.
            Self::Unreachable { source, .. } if source.to_string().contains("certificate") => {
                "where connections are opened on the way, SSL_CERT_FILE names the file with the \
                 certificates to trust"
                    .to_owned()
            }
            Self::Unreachable { .. } => {
                "the same command goes on where it stopped; HF_HUB_OFFLINE=1 uses what is in the \
                 cache, HF_ENDPOINT another address"
                    .to_owned()
            }
            Self::Damaged { .. } => {
                "the same command fetches it again; if that does not help, something on the way \
                 changes files, such as a proxy"
                    .to_owned()
            }
            Self::NoSpace { .. } => {
                "HF_HUB_CACHE names another place; `hf cache` lists and deletes what is there"
                    .to_owned()
            }
            Self::Locked { path } => {
                format!("stop that process, or delete `{}` if there is none", path.display())
            }
            Self::NoCertificates { .. } => {
                "SSL_CERT_FILE, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names it".to_owned()
            }
            Self::Write { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "HF_HUB_CACHE names another place for downloads".to_owned()
            }
            _ => return None,
        };
        Some(hint)
    }

    /// Whether another name, token or path would help, as opposed to another network or machine.
    pub fn is_users_mistake(&self) -> bool {
        match self {
            Self::Checkpoint(error) => error.is_users_mistake(),
            Self::Read { source, .. } | Self::Write { source, .. } => {
                files::is_users_mistake(source)
            }
            Self::NoAnswer { nearest, .. } => nearest.is_some(),
            Self::TooManyRequests { .. }
            | Self::Status { .. }
            | Self::Answer { .. }
            | Self::Unreachable { .. }
            | Self::Damaged { .. }
            | Self::NoSpace { .. }
            | Self::Locked { .. }
            | Self::Interrupted => false,
            _ => true,
        }
    }

    /// Whether nothing is known about the model because the Hub could not be asked.
    pub(in crate::hub) fn is_no_answer(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TooManyRequests { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }
}

impl Offline {
    fn hint(self, name: &str) -> String {
        match self {
            Self::Asked => "HF_HUB_OFFLINE is set, so that nothing is downloaded".to_owned(),
            Self::NotBuilt => {
                format!("this program was built without downloads: run `hf download {name}` first")
            }
        }
    }
}

/// A directory here whose name is nearly `name`.
pub(in crate::hub) fn nearest_directory(name: &str) -> Option<String> {
    let path = Path::new(name);
    let (parent, last) = (path.parent()?, path.file_name()?.to_str()?);
    let beside = |parent: &Path, name: &str| {
        let shown = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let entries = std::fs::read_dir(shown).ok()?.flatten();
        let directories = entries.filter(|entry| entry.path().join("config.json").is_file());
        let names: Vec<String> =
            directories.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let nearest = crate::config::yaml::closest(name, &names)?;
        Some(parent.join(nearest).display().to_string())
    };
    beside(parent, last).or_else(|| beside(Path::new(""), last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_directories_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("models/llama-base");
        std::fs::create_dir_all(&model).unwrap();
        let asked = folder.path().join("models/lama-base").display().to_string();
        assert_eq!(nearest_directory(&asked), None, "it is no model");
        std::fs::write(model.join("config.json"), "{}").unwrap();
        assert_eq!(nearest_directory(&asked), Some(model.display().to_string()));
        assert_eq!(nearest_directory("no/such/directory"), None);
    }
}
