//! The configs and search files that users start from work as they are.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use mergekit::methods::METHODS;
use mergekit::space::{SearchFile, SearchSpace};

fn files(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_method_has_a_config_that_runs_without_warnings() {
    let out = tempfile::tempdir().unwrap();
    let mut shown = Vec::new();
    for file in files("configs") {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(&format!("merge_method: {name}\n")), "{name} shows another method");
        let output = Command::cargo_bin("mergekit")
            .unwrap()
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["merge", "--quiet"])
            .arg(&file)
            .arg(out.path().join(&name))
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && stderr.is_empty(), "{name}:\n{stderr}");
        shown.push(name);
    }
    let mut methods: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
    methods.sort_unstable();
    assert_eq!(shown, methods);
}

#[test]
fn every_search_file_is_read_without_warnings() {
    // Models are named from the project's directory, where tests run.
    for path in files("search-spaces") {
        let file = SearchFile::read(&path).unwrap();
        let warnings: Vec<String> = file.warnings.iter().map(ToString::to_string).collect();
        assert!(warnings.is_empty(), "{}: {warnings:?}", path.display());
        let space = SearchSpace::new(&file, 4).unwrap();
        space.decode(&space.initial()).unwrap();
    }
}
