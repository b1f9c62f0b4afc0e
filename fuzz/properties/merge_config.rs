//! A merge config either is refused with a message or survives being written and read back.

use std::path::Path;

use mergekit::config::MergeConfig;

/// Fails when that is not so for `text`.
pub(crate) fn check(text: &str) {
    match MergeConfig::parse(text, Path::new("merge.yml")) {
        Ok(config) => {
            let written = config.to_yaml();
            let back = MergeConfig::parse(&written, Path::new("merge.yml"));
            assert_eq!(back.expect("what is written can be read"), config);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
