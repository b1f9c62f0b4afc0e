//! Tasks against lm-evaluation-harness: prompts, tokens, log-likelihoods, answers and figures; and
//! what a person is told about a task that is wrong.

#[path = "evaluate/harness.rs"]
mod harness;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use mergekit::evaluate::{
    ChatOptions, ChatTemplate, EvaluateError, Evaluator, Limit, RequestRecord, TaskLibrary,
    TaskOptions, Tokenizer,
};
use mergekit::lm::{
    Decoder, DecoderOptions, GenerateRequest, LanguageModel, LmError, Score, ScoreRequest, StopRule,
};
use proptest::prelude::*;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/evaluate")
}

fn decoder(max_length: Option<usize>) -> Decoder {
    let model = golden().join("model");
    let config = std::fs::read(model.join("config.json")).expect("the model has a config");
    let config = serde_json::from_slice(&config).expect("the config is JSON");
    let tensors = candle_core::safetensors::load(model.join("model.safetensors"), &Device::Cpu);
    let tensors = tensors.expect("the model has weights").into_iter().collect();
    let options = DecoderOptions { max_length, ..DecoderOptions::default() };
    Decoder::new(&config, tensors, &options).expect("the model is a Llama")
}

#[test]
fn a_part_of_the_items_has_the_scores_it_has_in_the_whole() {
    let tokenizer = Tokenizer::open(&golden().join("model")).expect("a tokenizer");
    let library = TaskLibrary::new(&[golden()]).expect("the tasks are there");
    let model = decoder(None);
    for name in ["ge_mc_letters", "ge_rolling", "ge_gen_rewrite"] {
        let task = library.load(name, &tokenizer, &TaskOptions::default()).expect("a task");
        let all: Vec<usize> = (0..task.n_items()).collect();
        let whole = task.evaluate(&model, &all).expect("scores");
        let part = task.evaluate(&model, &[7, 3]).expect("scores");
        for (metric, values) in &whole.values {
            let rows: Vec<_> = part.values[metric].rows().collect();
            assert_eq!(rows, [values.row(7), values.row(3)]);
        }
    }
}

/// A directory with a task file `t.yaml` and its data.
struct TaskFile {
    directory: tempfile::TempDir,
}

impl TaskFile {
    fn new(text: &str) -> TaskFile {
        let file = TaskFile { directory: tempfile::tempdir().expect("a directory") };
        file.write("t.yaml", text.as_bytes());
        file.write("t.jsonl", b"{\"q\": \"1+1=\", \"a\": \"2\", \"c\": [\"1\", \"2\"]}\n");
        file
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.directory.path().join(name), bytes).expect("written");
    }

    fn load(&self) -> Result<Box<dyn Evaluator>, EvaluateError> {
        self.load_with(&TaskOptions::default())
    }

    fn load_with(&self, options: &TaskOptions) -> Result<Box<dyn Evaluator>, EvaluateError> {
        let tokenizer = Tokenizer::open(&golden().join("model")).expect("a tokenizer");
        let library = TaskLibrary::new(&[self.directory.path().to_owned()])?;
        library.load("t", &tokenizer, options)
    }

    /// Loads the task for conversations framed by a template of its own.
    fn load_for_chat(&self, template: &str, multiturn: bool) -> Box<dyn Evaluator> {
        self.write("chat_template.jinja", template.as_bytes());
        let template = ChatTemplate::of_model(self.directory.path()).expect("a valid template");
        let template = Arc::new(template.expect("a template"));
        let options = TaskOptions {
            chat: Some(ChatOptions { template, multiturn }),
            system_instruction: Some("Be brief.".to_owned()),
            records: true,
            ..TaskOptions::default()
        };
        self.load_with(&options).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The message without the directory, which differs from run to run.
    fn message(&self) -> String {
        match self.load() {
            Ok(_) => panic!("the task has a mistake"),
            Err(error) => {
                assert!(error.is_users_mistake(), "{error}");
                let directory = format!("{}/", self.directory.path().display());
                error.to_string().replace(&directory, "")
            }
        }
    }
}

const GENERATION: &str = "task: t
dataset_path: json
dataset_kwargs: {data_files: {test: t.jsonl}}
test_split: test
doc_to_text: '{{q}}'
doc_to_target: a
";

#[test]
fn a_minimal_task_loads() {
    let task = TaskFile::new(GENERATION).load().expect("a task");
    assert_eq!(task.prompt(0), "1+1=");
    let metrics: Vec<_> = task.metrics().into_iter().collect();
    assert_eq!(metrics, [("exact_match,none".to_owned(), true)]);
}

#[test]
fn data_is_found_from_anywhere() {
    let file = TaskFile::new("");
    std::fs::create_dir_all(file.directory.path().join("deep/er")).expect("a directory");
    file.write("deep/er/u.yaml", GENERATION.replace("task: t", "task: u").as_bytes());
    let tokenizer = Tokenizer::open(&golden().join("model")).expect("a tokenizer");
    let library = TaskLibrary::new(&[file.directory.path().to_owned()]).expect("tasks");
    assert_eq!(library.names(), ["u"]);
    let task = library.load("u", &tokenizer, &TaskOptions::default()).expect("a task");
    assert_eq!(task.n_items(), 1);
}

#[test]
fn data_may_be_a_folder_or_match_a_pattern() {
    let text = GENERATION.replace("dataset_kwargs: {data_files: {test: t.jsonl}}\n", "");
    let file = TaskFile::new(&text.replace("path: json", "path: org/name\ndataset_name: one"));
    std::fs::create_dir_all(file.directory.path().join("org/name/one/data")).expect("a directory");
    file.write("org/name/one/README.md", b"Data.");
    file.write("org/name/one/data/train-0.csv", b"q,a\n2+2=,4\n");
    file.write("org/name/one/data/test-1.csv", b"q,a\n2+3=,5\n");
    file.write("org/name/one/data/test-0.csv", b"q,a\n1+2=,3\n");
    let task = file.load().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!([task.prompt(0), task.prompt(1)], ["1+2=", "2+3="]);
    assert_eq!(task.n_items(), 2);

    let options =
        "dataset_kwargs: {data_files: {test: one/data/train-0.csv}, header: null, names: [a, q]}";
    let file_text = text.replace("path: json", &format!("path: org/name\n{options}"));
    file.write("t.yaml", file_text.as_bytes());
    let task = file.load().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!([task.prompt(0), task.prompt(1)], ["a", "4"]);

    let file = TaskFile::new(&GENERATION.replace("t.jsonl", "'[t]?.*'"));
    assert_eq!(
        file.message(),
        "t.yaml:3:37: dataset_kwargs.data_files.test: there is no data file `[t]?.*`"
    );
    let file = TaskFile::new(&GENERATION.replace("t.jsonl", "'*.jsonl'"));
    file.write("a.jsonl", b"{\"q\": \"0+1=\", \"a\": \"1\"}\n");
    let task = file.load().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!([task.prompt(0), task.prompt(1)], ["0+1=", "1+1="]);
}

#[test]
fn examples_may_look_different_from_the_question() {
    let config = "num_fewshot: 1
description: \"D\\n\"
gen_prefix: So
fewshot_config:
  sampler: first_n
  samples: [{q: Q1, a: A1}]
  doc_to_text: 'Ex: {{q}}'
  target_delimiter: '=>'
  fewshot_delimiter: '--'
";
    let prompt = |config: &str| {
        let task = TaskFile::new(&format!("{GENERATION}{config}")).load();
        task.unwrap_or_else(|error| panic!("{error}")).prompt(0).to_owned()
    };
    assert_eq!(prompt(config), "D\nEx: Q1=>So A1--1+1= So");
    // An example without an answer ends with what the answer starts with.
    assert_eq!(prompt(&config.replace("a: A1", "a: ''")), "D\nEx: Q1=>So1+1= So");
    assert_eq!(prompt(&config.replace("gen_prefix: So", "")), "D\nEx: Q1=>A1--1+1=");
}

const TURNS: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}\
                     {% if add_generation_prompt %}<assistant>{% endif %}";

#[test]
fn conversations_have_examples_as_turns_and_answers_that_are_begun() {
    let config = "num_fewshot: 1
description: \"Add.\"
fewshot_config: {sampler: first_n, samples: [{q: Q1, a: A1}]}
";
    let prompt = |config: &str, multiturn| {
        let task = TaskFile::new(&format!("{GENERATION}{config}")).load_for_chat(TURNS, multiturn);
        assert!(task.warnings().is_empty(), "{:?}", task.warnings());
        task.prompt(0).to_owned()
    };
    let system = "<system>Be brief.\n\nAdd.</>";
    let turns = "<user>Q1</><assistant>A1</><user>1+1=</>";
    assert_eq!(prompt(config, true), format!("{system}{turns}<assistant>"));
    let one = "<user>Q1 A1\n\n1+1=</>";
    assert_eq!(prompt(config, false), format!("{system}{one}<assistant>"));
    let begun = format!("{config}gen_prefix: So\n");
    let turns = "<user>Q1</><assistant>So A1</><user>1+1=</>";
    assert_eq!(prompt(&begun, true), format!("{system}{turns}<assistant>So"));
    let one = "<user>Q1So A1\n\n1+1=</>".replace("Q1So", "Q1 So");
    assert_eq!(prompt(&begun, false), format!("{system}{one}<assistant>So"));
}

#[test]
fn choices_follow_a_template_without_a_delimiter_unless_the_answer_is_begun() {
    let text = GENERATION.replace("doc_to_target: a", "doc_to_target: 1\ndoc_to_choice: c");
    let text = format!("{text}output_type: multiple_choice\n");
    let continuation = |more: &str| {
        let task = TaskFile::new(&format!("{text}{more}")).load_for_chat(TURNS, true);
        match &task.record(0).expect("records are kept").requests[0] {
            RequestRecord::LogLikelihood { continuation, .. } => continuation.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(continuation(""), "1");
    assert_eq!(continuation("gen_prefix: So\n"), " 1");
    assert_eq!(continuation("gen_prefix: 'So '\n"), "1");
}

#[test]
fn a_template_that_refuses_system_messages_goes_without_and_says_so() {
    let template = TURNS.replacen(
        "<{{",
        "{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}<{{",
        1,
    );
    let task = TaskFile::new(GENERATION).load_for_chat(&template, true);
    assert_eq!(task.prompt(0), "<user>1+1=</><assistant>");
    let [warning] = task.warnings() else { panic!("{:?}", task.warnings()) };
    assert!(warning.contains("the chat template refuses system messages"), "{warning}");
}

/// A model that writes the same text whatever it is asked, until it is stopped.
struct Writer(Vec<u32>);

impl LanguageModel for Writer {
    fn score(&self, _requests: &[ScoreRequest]) -> Result<Vec<Score>, LmError> {
        Ok(Vec::new())
    }

    fn generate(
        &self,
        requests: &[GenerateRequest],
        stop: StopRule<'_>,
    ) -> Result<Vec<Vec<u32>>, LmError> {
        let answer = |index: usize, request: &GenerateRequest| {
            let most = self.0.len().min(request.max_new_tokens);
            let length = (1..=most).find(|&length| stop(index, &self.0[..length])).unwrap_or(most);
            self.0[..length].to_vec()
        };
        Ok(requests.iter().enumerate().map(|(index, request)| answer(index, request)).collect())
    }

    fn max_length(&self) -> usize {
        512
    }
}

#[test]
fn answers_are_cut_filtered_and_compared() {
    let config = "generation_kwargs: {until: [stop]}
repeats: 2
metric_list: [{metric: exact_match, ignore_case: true}]
filter_list:
- name: whole
  filter: [{function: remove_whitespace}, {function: take_first}]
- name: number
  filter: [{function: regex, regex_pattern: '([0-9]+)', group_select: -1}, {function: majority_vote}, {function: take_first}]
";
    let tokenizer = Tokenizer::open(&golden().join("model")).expect("a tokenizer");
    let model = Writer(tokenizer.encode(" It is 1, no 2 stop 3"));
    let values = |target: &str| {
        let text = GENERATION.replace("doc_to_target: a", &format!("doc_to_target: {target}"));
        let task = TaskFile::new(&format!("{text}{config}")).load();
        let task = task.unwrap_or_else(|error| panic!("{error}"));
        let scores = task.evaluate(&model, &[0]).expect("scores");
        ["exact_match,whole", "exact_match,number"].map(|key| scores.values[key].numbers()[0])
    };
    assert_eq!(values("a"), [0.0, 1.0]);
    assert_eq!(values("it is 1, NO 2"), [1.0, 0.0]);
    // Of several right answers one is enough; the data's values count as Python prints them.
    assert_eq!(values("['it is 1, no 2', 2]"), [1.0, 1.0]);
    assert_eq!(values("c"), [0.0, 1.0]);
}

#[test]
fn answers_are_drawn_anew_each_time_but_not_in_each_run() {
    let config = "generation_kwargs: {until: [], temperature: 1.5, max_gen_toks: 8}\nrepeats: 3\n";
    let file = TaskFile::new(&format!("{GENERATION}{config}"));
    file.write("t.jsonl", b"{\"q\": \"1+1=\", \"a\": \"2\"}\n{\"q\": \"1+1=\", \"a\": \"2\"}\n");
    let tokenizer = Tokenizer::open(&golden().join("model")).expect("a tokenizer");
    let model = decoder(None);
    let said = |seed: u64, items: &[usize]| {
        let library = TaskLibrary::new(&[file.directory.path().to_owned()]).expect("tasks");
        let options = TaskOptions { records: true, sampling_seed: seed, ..TaskOptions::default() };
        let task = library.load("t", &tokenizer, &options).expect("a task");
        let responses = task.evaluate(&model, items).expect("scores").responses;
        let texts = responses.into_iter().flat_map(|item| item.responses.into_iter().flatten());
        texts.map(|response| format!("{response:?}")).collect::<Vec<_>>()
    };
    let all = said(1, &[0, 1]);
    assert_eq!(all.len(), 6);
    let different: std::collections::HashSet<&String> = all.iter().collect();
    assert_eq!(different.len(), 6, "{all:?}");
    assert_eq!(said(1, &[1]), all[3..]);
    assert_ne!(said(2, &[1]), all[3..]);
}

#[test]
fn what_makes_figures_doubtful_is_said() {
    let text = GENERATION.replace("test_split", "fewshot_split: test\nvalidation_split");
    let task = TaskFile::new(&format!("{text}num_fewshot: 1\n")).load().expect("a task");
    let [warning] = task.warnings() else { panic!("{:?}", task.warnings()) };
    let start = "t.yaml:4:16: fewshot_split: examples come from the evaluated split `test`, so";
    assert!(warning.contains(start), "{warning}");
    assert!(warning.contains("can be too good; a `training_split`"), "{warning}");
    assert!(
        warning.ends_with("may even be among its own examples, as in the harness"),
        "{warning}"
    );
    assert!(TaskFile::new(&text).load().expect("a task").warnings().is_empty());

    // Without a training split, too, examples are other evaluated documents.
    let shots = format!("{GENERATION}num_fewshot: 1\n");
    let task = TaskFile::new(&shots).load().expect("a task");
    let [warning] = task.warnings() else { panic!("{:?}", task.warnings()) };
    assert!(warning.contains("can be too good"), "{warning}");
    assert_eq!(TaskFile::new(GENERATION).load().expect("a task").warnings().len(), 0);
}

#[test]
fn mistakes_say_where_they_are() {
    let with = |line: &str| TaskFile::new(&format!("{GENERATION}{line}\n")).message();
    let without = |line: &str| TaskFile::new(&GENERATION.replace(line, "")).message();
    assert_eq!(without("doc_to_target: a\n"), "t.yaml:1:1: field `doc_to_target` is missing");
    assert_eq!(without("test_split: test\n"), "t.yaml:1:1: field `test_split` is missing");
    assert_eq!(with("doc_to_txt: q"), "t.yaml:7:1: doc_to_txt: unknown field `doc_to_txt`");
    assert_eq!(
        with("process_docs: !function utils.process"),
        "t.yaml:7:15: process_docs: task `t` needs the Python function `utils.process`, which \
         cannot be run and has no substitute"
    );
    assert_eq!(
        with("output_type: likelihood"),
        "t.yaml:7:14: output_type: output type `likelihood` is not supported"
    );
    assert_eq!(
        with("metric_list: [{metric: acc}]"),
        "t.yaml:7:24: metric_list[0].metric: metric `acc` is not supported"
    );
    assert_eq!(
        with("generation_kwargs: {num_beams: 2}"),
        "t.yaml:7:32: generation_kwargs.num_beams: option `num_beams` is not supported"
    );
    assert_eq!(
        with("fewshot_split: train"),
        "t.yaml:7:16: fewshot_split: there is no split `train` in `data_files`"
    );
    assert_eq!(
        with("num_fewshot: 3"),
        "t.yaml:7:14: num_fewshot: 3 examples are needed, but there are only 1"
    );
    assert_eq!(
        with("include: absent.yaml"),
        "t.yaml:7:10: include: there is no file `absent.yaml` to include"
    );
    assert_eq!(with("include: t.yaml"), "t.yaml:7:10: include: `t.yaml` includes itself");
    assert_eq!(
        with("output_type: multiple_choice"),
        "t.yaml:1:1: field `doc_to_choice` is missing"
    );
    assert!(
        with("description: '{{ q'").starts_with("t.yaml:7:14: description: not a valid template: ")
    );
    assert_eq!(
        TaskFile::new(&GENERATION.replace("{{q}}", "{{question}}")).message(),
        "t.yaml:5:14: doc_to_text: the template fails on item 0: undefined value: \
         there is no column `question`"
    );
    assert_eq!(
        TaskFile::new(&GENERATION.replace("t.jsonl", "absent.jsonl")).message(),
        "t.yaml:3:37: dataset_kwargs.data_files.test: there is no data file `absent.jsonl`"
    );
    assert_eq!(
        TaskFile::new(&GENERATION.replace("path: json", "path: org/name")).message(),
        "t.yaml:2:15: dataset_path: the data set `org/name` is neither in a folder nor in the Hub's \
         cache, and none is downloaded"
    );
}

#[test]
fn mistakes_of_included_files_name_these() {
    let file = TaskFile::new(&format!("include: base.inc\n{GENERATION}"));
    file.write("base.inc", b"# shared\nrepeats: x\n");
    assert_eq!(
        file.message(),
        "base.inc:2:10: repeats: expected a whole number that is not negative, found `x`"
    );
}

#[test]
fn broken_data_names_file_and_line() {
    let file = TaskFile::new(GENERATION);
    file.write("t.jsonl", b"{\"q\": \"x\", \"a\": \"y\"}\n{\"q\": \"x\", \"a\" \"y\"}\n");
    assert_eq!(file.message(), "t.jsonl:2:16: not valid data: expected `:`");
    file.write("t.jsonl", b"");
    assert_eq!(file.message(), "`t.jsonl` has no documents");
    file.write("t.jsonl", b"\xff\n");
    assert_eq!(file.message(), "`t.jsonl` is not UTF-8 text");
}

#[test]
fn a_task_that_does_not_exist_has_the_closest_name_as_a_hint() {
    let library = TaskLibrary::new(&[golden()]).expect("the tasks are there");
    let tokenizer = Tokenizer::open(&golden().join("model")).expect("a tokenizer");
    let load = |name| library.load(name, &tokenizer, &TaskOptions::default()).err();
    let error = load("ge_mc_word").expect("no such task");
    assert_eq!(error.hint().as_deref(), Some("did you mean `ge_mc_words`?"));

    let file = TaskFile::new("task: [\n");
    let error = file.load().err().expect("the file is not YAML");
    let hint = error.hint().expect("a hint");
    assert!(hint.starts_with("a task file could not be read: "), "{hint}");

    let file = TaskFile::new("group: t\ntask: [a, {task: b}]\n");
    assert_eq!(file.message(), "t.yaml:1:8: group: `t` is a group, not a task");
    assert_eq!(
        file.load().err().and_then(|error| error.hint()).as_deref(),
        Some("its members are `a`, `b`")
    );
}

/// A model whose every score is the same.
struct Constant(f64);

impl LanguageModel for Constant {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<Score>, LmError> {
        Ok(vec![Score { log_likelihood: self.0, greedy: false }; requests.len()])
    }

    fn generate(
        &self,
        requests: &[GenerateRequest],
        _stop: StopRule<'_>,
    ) -> Result<Vec<Vec<u32>>, LmError> {
        Ok(vec![Vec::new(); requests.len()])
    }

    fn max_length(&self) -> usize {
        8
    }
}

#[test]
fn a_score_that_is_no_number_is_an_error() {
    let library = TaskLibrary::new(&[golden()]).expect("the tasks are there");
    let tokenizer = Tokenizer::open(&golden().join("model")).expect("a tokenizer");
    let options = TaskOptions { limit: Some(Limit::Items(3)), ..TaskOptions::default() };
    let task = library.load("ge_which_context", &tokenizer, &options).expect("a task");
    let error = task.evaluate(&Constant(f64::NAN), &[1]).expect_err("not a number");
    assert!(matches!(error, EvaluateError::TooLong { .. }), "{error}");
    let task = library.load("ge_mc_letters", &tokenizer, &options).expect("a task");
    let error = task.evaluate(&Constant(f64::NAN), &[1]).expect_err("not a number");
    assert_eq!(error.to_string(), "task `ge_mc_letters`: the score of item 1 is not a number");
    let scores = task.evaluate(&Constant(f64::NEG_INFINITY), &[1]).expect("a number");
    assert_eq!(scores.values["acc,none"].numbers(), [0.0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_task_files_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let file = TaskFile::new("");
        file.write("t.yaml", &bytes);
        let _ = file.load();
    }

    #[test]
    fn arbitrary_values_in_task_files_do_not_panic(
        line in 1_usize..12,
        value in "[\\[\\]{}:,'\"!&*a-z0-9. -]{0,16}",
    ) {
        let text = "task: t\ndataset_path: json\ndataset_kwargs: {data_files: {test: t.jsonl}}\n\
                    test_split: test\ndoc_to_text: q\ndoc_to_target: a\ndoc_to_choice: c\n\
                    output_type: multiple_choice\nmetric_list: [{metric: acc}]\n\
                    fewshot_config: {sampler: first_n}\nfilter_list: []\nnum_fewshot: 0\n";
        let changed = text.lines().enumerate().map(|(index, old)| {
            let key = old.split(':').next().unwrap_or_default();
            if index == line { format!("{key}: {value}\n") } else { format!("{old}\n") }
        });
        let _ = TaskFile::new(&changed.collect::<String>()).load();
    }

    #[test]
    fn arbitrary_data_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let file = TaskFile::new(GENERATION);
        file.write("t.jsonl", &bytes);
        let _ = file.load();
    }
}
