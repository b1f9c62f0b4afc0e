//! Every mistake of a document: what is wrong is noted and taken away, and the rest is read again.

use std::path::PathBuf;

use super::ProblemKind;
use crate::config::yaml::{FieldPath, Place, Step, YamlError};
use crate::evaluate::EvaluateError;
use crate::evaluate::document::TaskDocument;

/// Without it there is nowhere to look for documents.
const DATASET: &str = "dataset_path";

/// Fields that cannot be judged once another one was taken away.
const DEPENDENT: [(&str, &[&str]); 2] =
    [("output_type", &["metric_list", "filter_list"]), ("custom_dataset", &[DATASET])];

/// Every error that `read` gives for a document, in the order in which it finds them, and what is left of
/// the document.
///
/// What an error is about is hidden before the next attempt, so that there are no more attempts than
/// values. An error that only comes of what was hidden before is not given.
pub(super) fn every_error(
    document: &TaskDocument,
    read: impl Fn(&TaskDocument) -> Result<(), EvaluateError>,
) -> (Vec<EvaluateError>, TaskDocument) {
    let mut rest = Rest { document: document.clone(), hidden: Vec::new() };
    let mut errors = Vec::new();
    while let Err(error) = read(&rest.document) {
        let (is_consequence, goes_on) = rest.take_away(&error);
        if !is_consequence {
            errors.push(error);
        }
        if !goes_on {
            break;
        }
    }
    (errors, rest.document)
}

/// What is left of a document.
struct Rest {
    document: TaskDocument,
    /// What is not there any more, by file and path.
    hidden: Vec<(Option<PathBuf>, FieldPath)>,
}

impl Rest {
    /// Hides what an error is about. Gives whether the error comes of what was hidden before, and whether
    /// reading again makes sense.
    fn take_away(&mut self, error: &EvaluateError) -> (bool, bool) {
        // Documents are looked for when all else is read.
        if ProblemKind::of(error) == ProblemKind::NoData {
            return (false, false);
        }
        let Some(place) = error.at() else { return (false, false) };
        let Some(path) = FieldPath::parse(&place.field) else { return (false, false) };
        if let EvaluateError::Yaml(problem) = error
            && let YamlError::MissingField { name, .. } = &**problem
        {
            return self.do_without(place, &path, name);
        }
        let is_consequence = self
            .hidden
            .iter()
            .any(|(file, hidden)| *file == place.file && hidden.0.starts_with(&path.0));
        let goes_on = self.hide(place, &path);
        let (last, parents) =
            (path.0.last(), FieldPath(path.0[..path.0.len().max(1) - 1].to_vec()));
        let dependent =
            DEPENDENT.iter().filter(|(field, _)| last == Some(&Step::Key((*field).to_owned())));
        for field in dependent.flat_map(|(_, fields)| *fields) {
            let found = self.document.get(field).map(|node| (node.place(), node.path().clone()));
            let (place, path) = found.unwrap_or_else(|| (place.clone(), parents.key(field)));
            self.hide(&place, &path);
        }
        (is_consequence, goes_on)
    }

    /// Goes on after a field of the mapping at `path` was missed: without the mapping, or with an empty
    /// text in the field if the mapping is the whole document.
    fn do_without(&mut self, place: &Place, path: &FieldPath, name: &str) -> (bool, bool) {
        let is_task = *place == self.document.place();
        let wanted = path.key(name);
        let is_consequence = self.hidden.iter().any(|(file, hidden)| match is_task {
            // A field of the task may be from any of its files.
            true => hidden.0.last() == wanted.0.last() && hidden.0.len() == wanted.0.len(),
            false => *file == place.file && *hidden == wanted,
        });
        let goes_on = match is_task {
            true if name == DATASET => false,
            true => self.document.stand_in(name),
            false => self.hide(place, path),
        };
        (is_consequence, goes_on)
    }

    fn hide(&mut self, place: &Place, path: &FieldPath) -> bool {
        self.hidden.push((place.file.clone(), path.clone()));
        self.document.hide(place.file.as_deref(), path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::task::TaskConfig;

    /// Every mistake of a task file, without the names of files.
    fn mistakes(files: &[(&str, &str)]) -> Vec<String> {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("written");
        }
        let document = TaskDocument::read(&directory.path().join(files[0].0)).expect("a document");
        let (errors, _) =
            every_error(&document, |document| TaskConfig::parse(document, None).map(drop));
        let folder = format!("{}/", directory.path().display());
        errors.iter().map(|error| error.to_string().replace(&folder, "")).collect()
    }

    const REST: &str = "task: t\ntest_split: test\ndataset_path: json\ndoc_to_text: a\ndoc_to_target: b\n\
                        dataset_kwargs: {data_files: t.json}\n";

    #[test]
    fn every_mistake_is_found_once_and_nothing_that_comes_of_it() {
        let text = format!(
            "{REST}foo: 1\nnum_fewshot: x\ndescription: '{{{{'\nprocess_docs: !function u.f\n\
             generation_kwargs: {{until: [1], do_sample: true, temperature: 0, max_gen_toks: y}}\n\
             filter_list:\n  - name: p\n    filter:\n      - {{function: foo}}\n      \
             - {{function: regex, regex_pattern: '('}}\n      - {{function: take_first}}\n  \
             - name: q\n    filter: [{{function: !function u.G}}, {{function: take_first}}]\n\
             metric_list: [{{metric: acc}}, {{metric: exact_match, ignore_case: z}}, {{}}]\n"
        );
        let found = mistakes(&[("t.yaml", &text), ("t.json", "[]")]);
        let shown: Vec<&str> =
            found.iter().map(|text| text.split_once(": ").map_or("", |(_, rest)| rest)).collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        process_docs: task `t` needs the Python function `u.f`, which cannot be run and has no substitute
        filter_list[1].filter[0].function: task `t` needs the Python function `u.G`, which cannot be run and has no substitute
        foo: unknown field `foo`
        description: not a valid template: syntax error: unexpected end of input, expected expression
        num_fewshot: expected a whole number that is not negative, found `x`
        generation_kwargs.until[0]: expected text, found `1`
        generation_kwargs.max_gen_toks: expected a whole number that is not negative, found `y`
        generation_kwargs.temperature: expected a number above 0 where `do_sample` is `true`, found `0`
        metric_list[0].metric: metric `acc` is not supported
        metric_list[1].ignore_case: expected `true` or `false`, found `z`
        metric_list[2]: field `metric` is missing
        filter_list[0].filter[0].function: filter `foo` is not supported
        filter_list[0].filter[1].regex_pattern: not a valid regular expression: Parsing error at position 1: Opening parenthesis without closing parenthesis
        ");
    }

    #[test]
    fn missing_fields_are_all_named_and_data_come_last() {
        let found = mistakes(&[("t.yaml", "task: t\noutput_type: multiple_choice\n")]);
        let missing = |name: &str| format!("t.yaml:1:1: field `{name}` is missing");
        let fields =
            ["doc_to_text", "doc_to_target", "doc_to_choice", "test_split", "dataset_path"];
        assert_eq!(found, fields.map(missing));
        let found = mistakes(&[("t.yaml", REST)]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("there is no data file `t.json`"), "{}", found[0]);
    }

    #[test]
    fn what_depends_on_a_mistake_is_not_judged() {
        let text = format!("{REST}output_type: choice\nmetric_list: [{{metric: acc}}]\n");
        let found = mistakes(&[("t.yaml", &text), ("t.json", "[]")]);
        assert_eq!(found, ["t.yaml:7:14: output_type: output type `choice` is not supported"]);
        let text = "include: c.inc\ntask: t\ntest_split: test\ndoc_to_text: a\n";
        let included = "doc_to_target: !function u.t\ncustom_dataset: !function u.d\n";
        let found = mistakes(&[("t.yaml", text), ("c.inc", included)]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("c.inc:1:16: doc_to_target: task `t` needs"), "{found:?}");
    }
}
