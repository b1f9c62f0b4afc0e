//! The one right reply to an instruction, found from its text alone.

use serde_json::json;

/// What an instruction says: what to do, and with what.
struct Instruction<'a> {
    how: &'a str,
    given: &'a str,
}

/// The right reply to an instruction of a kind.
pub(crate) fn reply(kind: &str, instruction: &str) -> String {
    let (how, given) = instruction.split_once(": ").unwrap();
    let it = Instruction { how, given };
    match kind {
        "upper" => given.to_uppercase(),
        "lower" => given.to_lowercase(),
        "repeat" => vec![given; it.number()].join(" "),
        "alphabetical" => it.alphabetical(),
        "descending" => it.descending(),
        "bullets" => it.lines(|_, word| format!("- {word}")),
        "numbered" => it.lines(|place, word| format!("{}. {word}", place + 1)),
        "as_json" => it.json(),
        "yes_or_no" => if it.holds() { "yes" } else { "no" }.to_string(),
        "initials" => it.words().iter().map(|word| &word[..1]).collect(),
        "last_word" => it.words().pop().unwrap().to_string(),
        "count_words" => it.words().len().to_string(),
        "backwards" => it.words().into_iter().rev().collect::<Vec<_>>().join(" "),
        "replace" => it.replaced(),
        "brackets" => format!("{}{given}{}", quoted(how)[0], quoted(how)[1]),
        "first_words" => it.words()[..it.number()].join(" "),
        "join" => it.words().join(quoted(how)[0]),
        "leave_out" => it.without(quoted(how)[0]),
        other => panic!("`{other}` is no kind of instruction"),
    }
}

/// What stands between double quotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

impl<'a> Instruction<'a> {
    fn words(&self) -> Vec<&'a str> {
        self.given.split(' ').collect()
    }

    fn list(&self) -> Vec<&'a str> {
        self.given.split(", ").collect()
    }

    /// The first number in what to do.
    fn number(&self) -> usize {
        self.how.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
    }

    fn alphabetical(&self) -> String {
        let mut list = self.list();
        list.sort_unstable();
        list.join(", ")
    }

    fn descending(&self) -> String {
        let mut list = self.list();
        list.sort_by_key(|number| std::cmp::Reverse(number.parse::<i64>().unwrap()));
        list.join(", ")
    }

    fn lines(&self, line: impl Fn(usize, &str) -> String) -> String {
        let lines: Vec<_> =
            self.list().iter().enumerate().map(|(place, word)| line(place, word)).collect();
        lines.join("\n")
    }

    fn json(&self) -> String {
        let (keys, values) = (quoted(self.how), self.list());
        format!("{{{}: {}, {}: {}}}", json!(keys[0]), json!(values[0]), json!(keys[1]), values[1])
    }

    fn holds(&self) -> bool {
        if let [word, letter] = quoted(self.given)[..] {
            return word.contains(letter);
        }
        let numbers: Vec<i64> = self
            .words()
            .iter()
            .filter_map(|word| word.trim_end_matches('?').parse().ok())
            .collect();
        numbers[0] > numbers[1]
    }

    fn replaced(&self) -> String {
        let [new, old] = quoted(self.how)[..] else {
            panic!("`{}` does not quote two words", self.how)
        };
        let words = self.words();
        assert_eq!(words.iter().filter(|word| **word == old).count(), 1, "{}", self.given);
        words.iter().map(|word| if *word == old { new } else { word }).collect::<Vec<_>>().join(" ")
    }

    fn without(&self, gone: &str) -> String {
        self.list().into_iter().filter(|word| *word != gone).collect::<Vec<_>>().join(", ")
    }
}
