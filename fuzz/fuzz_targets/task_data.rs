//! Any bytes as the data of a task are read or refused, with a real tokenizer and prompts.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mergekit::evaluate::{TaskLibrary, TaskOptions, Tokenizer};

const TASK: &str = "
task: fuzz
dataset_path: json
dataset_kwargs: {data_files: {test: data.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: '{{prompt}}'
doc_to_target: '{{answer}}'
metric_list: [{metric: exact_match}]
";

fuzz_target!(|bytes: &[u8]| {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/demo/base");
    let tokenizer = Tokenizer::open(&model).expect("the demo's tokenizer is sound");
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::write(directory.path().join("task.yaml"), TASK).expect("a file can be written");
    std::fs::write(directory.path().join("data.jsonl"), bytes).expect("a file can be written");
    let library = TaskLibrary::new(&[directory.path().to_owned()]).expect("one sound task");
    let _ = library.load("fuzz", &tokenizer, &TaskOptions::default());
});
