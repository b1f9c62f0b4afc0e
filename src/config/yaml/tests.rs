use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Document, YamlError> {
    Document::parse(text, Path::new("file.yml"))
}

fn message(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn typed_access_says_where_and_what() {
    let document = parse("a: [1, x]\nb:\n  c: deep\nd: 1.5\ne: -1\nf: null\n").unwrap();
    let fields = document.root().fields().unwrap();
    let b = fields.get("b").unwrap().fields().unwrap();
    let errors = [
        fields.get("a").unwrap().items().unwrap()[1].number().unwrap_err(),
        b.require("name").unwrap_err(),
        b.only(&["cc", "name"]).unwrap_err(),
        fields.get("d").unwrap().whole().unwrap_err(),
        fields.get("e").unwrap().count().unwrap_err(),
        fields.get("b").unwrap().items().unwrap_err(),
        fields.get("a").unwrap().text().unwrap_err(),
        fields.require("f").unwrap_err(),
    ];
    let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "file.yml:1:8: a[1]: expected a number, found `x`",
            "file.yml:3:3: b: field `name` is missing",
            "file.yml:3:3: b.c: unknown field `c`",
            "file.yml:4:4: d: expected a whole number, found `1.5`",
            "file.yml:5:4: e: expected a whole number that is not negative, found `-1`",
            "file.yml:3:3: b: expected a list, found a mapping",
            "file.yml:1:4: a: expected text, found `[1, x]`",
            "file.yml:1:1: field `f` is missing",
        ]
    );
    assert_eq!(errors[2].hint().unwrap(), "possible are `cc` and `name`");
    assert!(errors.iter().all(YamlError::is_users_mistake));
}

#[test]
fn words_of_yaml_1_1_are_read_where_their_type_is_expected() {
    let document = parse("[yes, Off, 'true', 1e-5, '0.25', 4.0, maybe, .nan]").unwrap();
    let items = document.root().items().unwrap();
    let booleans: Vec<Option<bool>> = items.iter().map(|item| item.boolean().ok()).collect();
    assert_eq!(booleans[..4], [Some(true), Some(false), Some(true), None]);
    assert_eq!(booleans[6], None);
    assert_eq!(items[3].number().unwrap(), 1e-5);
    assert_eq!(items[4].number().unwrap(), 0.25);
    assert_eq!(items[5].whole().unwrap(), 4);
    assert!(items[7].number().is_err());
}

#[test]
fn syntax_errors_have_a_position() {
    assert_eq!(
        message("a: [1\nb: 2\n"),
        "file.yml:2:2: not valid YAML: did not find expected ',' or ']'"
    );
    assert_eq!(
        message("a:\n\t- b\n"),
        "file.yml:2:1: not valid YAML: found character that cannot start any token"
    );
    assert_eq!(message("a: *b\n"), "file.yml:1:4: not valid YAML: unknown anchor");
}

#[test]
fn repeated_keys_are_refused_at_the_second() {
    assert_eq!(
        message("a:\n  b: 1\n  b: 2\n"),
        "file.yml:3:3: `b` is given twice in the same mapping"
    );
}

#[test]
fn merge_keys_keep_the_order_and_the_mappings_own_values() {
    let text = "p: &p {a: 1, b: 2}\nq: {c: 3, <<: *p, a: 4}\nr: {<<: [{a: 5}, *p]}\n";
    let document = parse(text).unwrap();
    let keys = |name: &str| -> Vec<(String, i64)> {
        let fields = document.root().fields().unwrap().get(name).unwrap().fields().unwrap();
        let all = fields.all().unwrap();
        all.iter().map(|(key, node)| ((*key).to_owned(), node.whole().unwrap())).collect()
    };
    let expected = |pairs: &[(&str, i64)]| -> Vec<(String, i64)> {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value)).collect()
    };
    assert_eq!(keys("q"), expected(&[("c", 3), ("a", 4), ("b", 2)]));
    assert_eq!(keys("r"), expected(&[("a", 5), ("b", 2)]));
    assert_eq!(
        message("a:\n  <<: 5\n"),
        "file.yml:2:7: a.<<: expected a mapping to merge, or a list of mappings, found `5`"
    );
}

#[test]
fn deep_and_swollen_documents_are_refused() {
    assert!(parse(&"[".repeat(100_000)).is_err());
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let last = level - 1;
        bomb += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{last}"); 10].join(", "));
    }
    assert!(parse(&bomb).is_err());
}

#[test]
fn deep_documents_are_refused_before_they_are_parsed() {
    // The parser's own limit would take a time that grows with the square of the depth.
    for opening in ["[", "{a: "] {
        let error = parse(&opening.repeat(50_000)).unwrap_err();
        assert!(matches!(error, YamlError::TooDeep { limit: DEEPEST, .. }), "{error}");
    }
    for opening in ["- ", "? ", "&a "] {
        let error = parse(&opening.repeat(50_000)).unwrap_err();
        assert!(error.is_users_mistake(), "{error}");
    }
    let text = format!("a: 1\né: {}", "{b: ".repeat(50_000));
    assert_eq!(
        message(&text),
        "file.yml:2:4004: more than 1000 brackets and braces are open at once"
    );
    assert!(parse(&"- [{a: 1}]\n".repeat(2000)).is_ok());
}

#[test]
fn numbers_that_are_too_large_are_called_so() {
    let document = parse("[18446744073709551615, 1e300, -1e300, -0.5]").unwrap();
    let items = document.root().items().unwrap();
    let wrong = |result: Result<String, YamlError>| result.unwrap_err().to_string();
    let messages = [
        wrong(items[0].count().map(|n| n.to_string())),
        wrong(items[1].whole().map(|n| n.to_string())),
        wrong(items[2].whole().map(|n| n.to_string())),
        wrong(items[3].count().map(|n| n.to_string())),
    ];
    let expected = [
        "file.yml:1:2: [0]: expected a smaller whole number, found `18446744073709551615`",
        "file.yml:1:24: [1]: expected a smaller whole number, found `1e300`",
        "file.yml:1:31: [2]: expected a larger whole number, found `-1e300`",
        "file.yml:1:39: [3]: expected a whole number that is not negative, found `-0.5`",
    ];
    assert_eq!(messages, expected);
    for number in ["99999999999999999999", "-99999999999999999999"] {
        let error = parse(&format!("a: {number}\n")).unwrap_err();
        assert!(error.to_string().contains(&format!("the number `{number}` is too large")));
    }
}

#[test]
fn many_places_are_found_in_one_reading() {
    let document = parse(&"- {a: 1}\n".repeat(2000)).unwrap();
    let first: *const Positions = document.positions();
    for (index, item) in document.root().items().unwrap().iter().enumerate() {
        assert_eq!(item.place().line, u32::try_from(index + 1).ok());
    }
    assert!(std::ptr::eq(first, document.positions()));
}

#[test]
fn documents_without_text_have_fields_only() {
    let document = Document::from_value(serde_yaml::from_str("a: {b: x}").unwrap());
    let b = document.root().fields().unwrap().get("a").unwrap().fields().unwrap();
    let error = b.get("b").unwrap().number().unwrap_err();
    assert_eq!(error.to_string(), "a.b: expected a number, found `x`");
}

#[test]
fn files_that_are_missing_or_not_text_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yml");
    let error = Document::read(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read `{}`", path.display()));
    assert!(error.is_users_mistake());
    let error = Document::read(folder.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("`{}` is a directory, not a file", folder.path().display())
    );
    std::fs::write(&path, [b'a', 0xff]).unwrap();
    let error = Document::read(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("`{}` is not UTF-8 text", path.display()));
}

/// Text made of the pieces that YAML gives a meaning to.
fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b: ", "- ", "\n", "  ", "[", "]", "{", "}", ", ", "&x ", "*x", "<<: ", "!t ", "'",
        "\"", "|", ">", "# ", "---\n", "...", "%", "? ", ": ", "\t", "1e5", "\u{feff}", "é",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Visits every node with every accessor.
fn visit(node: &Node<'_>) {
    let _ = (node.place(), node.key_place(), node.number(), node.whole(), node.boolean());
    for item in node.items().unwrap_or_default() {
        visit(&item);
    }
    if let Ok(fields) = node.fields() {
        for (name, child) in fields.all().unwrap_or_default() {
            assert_eq!(FieldPath::parse(&child.path().to_string()).as_ref(), Some(child.path()));
            let _ = fields.require(name);
            visit(&child);
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in prop_oneof![any::<String>(), yaml_like()]) {
        match parse(&text) {
            Ok(document) => visit(&document.root()),
            Err(error) => drop(error.to_string()),
        }
    }
}
