//! Any bytes as the data of a task, in any format, are read or refused with a message, and so is what
//! says where data are and what stands for functions.

use std::path::Path;

use mergekit::evaluate::{TaskLibrary, TaskOptions, Tokenizer};

/// A task with rows of `prompt` and `answer`; `source` says where they are.
fn task(source: &str) -> String {
    format!(
        "task: fuzz\n{source}\ntest_split: test\noutput_type: generate_until\n\
         doc_to_text: '{{{{prompt}}}}'\ndoc_to_target: '{{{{answer}}}}'\nmetric_list: [{{metric: exact_match}}]\n"
    )
}

/// Loads a task beside which `name` holds `bytes`.
fn load(task: &str, name: &str, bytes: &[u8]) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The targets are a crate of their own.
    let model =
        model.ancestors().map(|above| above.join("examples/demo/base")).find(|m| m.is_dir());
    let tokenizer =
        Tokenizer::open(&model.expect("the demo is there")).expect("the demo's tokenizer is sound");
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(directory.path().join(name), bytes).expect("a file can be written");
    };
    write("task.yaml", task.as_bytes());
    write("rows.jsonl", b"{\"prompt\": \"1+1=\", \"answer\": \"2\"}\n");
    write(name, bytes);
    let library = TaskLibrary::new(&[directory.path().to_owned()]).expect("one sound task");
    if let Err(error) = library.load("fuzz", &tokenizer, &TaskOptions::default()) {
        assert!(!error.to_string().is_empty());
    }
}

/// Checks bytes as data in the format that the ending of `name` says, such as `data.csv`.
pub(crate) fn check_data(name: &str, bytes: &[u8]) {
    let format = match name.split('.').nth(1) {
        Some("csv") => "csv",
        Some("parquet") => "parquet",
        _ => "json",
    };
    let source =
        format!("dataset_path: {format}\ndataset_kwargs: {{data_files: {{test: {name}}}}}");
    load(&task(&source), name, bytes);
}

/// Checks bytes as a mapping of data sets.
pub(crate) fn check_mapping(bytes: &[u8]) {
    load(&task("dataset_path: org/name"), "datasets.yaml", bytes);
}

/// Checks bytes as substitutes for functions.
pub(crate) fn check_functions(bytes: &[u8]) {
    let source = "dataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\n\
                  process_docs: !function utils.process";
    load(&task(source), "functions.yaml", bytes);
}
