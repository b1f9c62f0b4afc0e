//! A search file either is refused with a message or decodes every corner of its space.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mergekit::space::{SearchFile, SearchSpace};

fuzz_target!(|text: &str| {
    let Ok(file) = SearchFile::parse(text, Path::new("search.yml")) else { return };
    let Ok(space) = SearchSpace::new(&file, 4) else { return };
    for share in [0.0, 0.5, 1.0] {
        let point = vec![share; space.dimension()];
        if let Ok(config) = space.decode(&point) {
            assert!(!config.to_yaml().is_empty());
        }
    }
});
