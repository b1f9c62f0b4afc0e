//! Python literals as values: what `ast.literal_eval` accepts, save for complex numbers, sets and
//! bytes.

use serde_json::{Map, Number, Value};

/// Deepest nesting that is read; deeper text is no literal.
const MAX_DEPTH: usize = 64;

/// Parses a Python literal; `None` if the text is none. Tuples become arrays, keys of maps text.
pub(in crate::evaluate) fn parse_literal(text: &str) -> Option<Value> {
    let mut parser = Parser { rest: text };
    let value = parser.value(0)?;
    parser.skip_space();
    parser.rest.is_empty().then_some(value)
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn take(&mut self, wanted: char) -> bool {
        self.skip_space();
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip_space();
        match self.peek()? {
            '[' => self.sequence(']', depth).map(|(items, _)| Value::Array(items)),
            '(' => {
                let (mut items, has_comma) = self.sequence(')', depth)?;
                if items.len() == 1 && !has_comma {
                    return items.pop();
                }
                Some(Value::Array(items))
            }
            '{' => self.map(depth),
            '\'' | '"' => self.strings(),
            'N' => self.word("None", Value::Null),
            'T' => self.word("True", Value::Bool(true)),
            'F' => self.word("False", Value::Bool(false)),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(value)
    }

    /// Items up to `close`, and whether a comma stood among or behind them.
    fn sequence(&mut self, close: char, depth: usize) -> Option<(Vec<Value>, bool)> {
        self.next();
        let mut items = Vec::new();
        let mut has_comma = false;
        loop {
            if self.take(close) {
                return Some((items, has_comma));
            }
            items.push(self.value(depth + 1)?);
            if self.take(',') {
                has_comma = true;
            } else if !self.take(close) {
                return None;
            } else {
                return Some((items, has_comma));
            }
        }
    }

    fn map(&mut self, depth: usize) -> Option<Value> {
        self.next();
        let mut map = Map::new();
        loop {
            if self.take('}') {
                return Some(Value::Object(map));
            }
            let key = match self.value(depth + 1)? {
                Value::String(key) => key,
                other => other.to_string(),
            };
            if !self.take(':') {
                return None;
            }
            map.insert(key, self.value(depth + 1)?);
            if !self.take(',') {
                return self.take('}').then_some(Value::Object(map));
            }
        }
    }

    /// One or more adjacent string literals, which Python joins.
    fn strings(&mut self) -> Option<Value> {
        let mut text = String::new();
        while let Some(quote @ ('\'' | '"')) = self.peek() {
            self.next();
            self.string(quote, &mut text)?;
            self.skip_space();
        }
        Some(Value::String(text))
    }

    fn string(&mut self, quote: char, text: &mut String) -> Option<()> {
        loop {
            match self.next()? {
                c if c == quote => return Some(()),
                '\n' => return None,
                '\\' => self.escape(text)?,
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self, text: &mut String) -> Option<()> {
        let c = self.next()?;
        let digits = match c {
            'n' => return push(text, '\n'),
            't' => return push(text, '\t'),
            'r' => return push(text, '\r'),
            'a' => return push(text, '\u{7}'),
            'b' => return push(text, '\u{8}'),
            'f' => return push(text, '\u{c}'),
            'v' => return push(text, '\u{b}'),
            '\n' => return Some(()),
            '\\' | '\'' | '"' => return push(text, c),
            '0'..='7' => {
                let mut code = c.to_digit(8)?;
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
                    code = code * 8 + digit;
                    self.next();
                }
                return push(text, char::from_u32(code)?);
            }
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => {
                text.push('\\');
                return push(text, c);
            }
        };
        let mut code = 0_u32;
        for _ in 0..digits {
            code = code.checked_mul(16)?.checked_add(self.next()?.to_digit(16)?)?;
        }
        push(text, char::from_u32(code)?)
    }

    fn number(&mut self) -> Option<Value> {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '_')))
            .unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        if !text.bytes().any(|byte| byte.is_ascii_digit())
            || !text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        {
            return None;
        }
        self.rest = rest;
        match text.parse::<i64>() {
            Ok(integer) => Some(Value::from(integer)),
            Err(_) => Number::from_f64(text.parse().ok()?).map(Value::Number),
        }
    }
}

fn push(text: &mut String, c: char) -> Option<()> {
    text.push(c);
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::evaluate::python::repr;

    #[test]
    fn reads_what_python_reads() {
        for (text, value) in [
            ("['a', \"it's\"]", json!(["a", "it's"])),
            (" [1, -2.5, None, True,] ", json!([1, -2.5, null, true])),
            ("('x', 'y')", json!(["x", "y"])),
            ("('x')", json!("x")),
            ("('x',)", json!(["x"])),
            ("{'k': [1], 2: 'b'}", json!({"k": [1], "2": "b"})),
            (r"'\x41\u00e9\n\q'", json!("Aé\n\\q")),
            ("'a' 'b'", json!("ab")),
            ("[]", json!([])),
        ] {
            assert_eq!(parse_literal(text), Some(value), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_literal() {
        for text in ["", "[", "[1 2]", "foo", "['a'", "[1] x", "1+1", "'a\nb'", "{'a'}"] {
            assert_eq!(parse_literal(text), None, "{text}");
        }
        assert_eq!(parse_literal(&"[".repeat(100_000)), None);
    }

    proptest! {
        #[test]
        fn arbitrary_text_does_not_panic(text in any::<String>()) {
            let _ = parse_literal(&text);
        }

        #[test]
        fn printed_lists_are_read_back(items in prop::collection::vec(any::<String>(), 0..5)) {
            let printed = repr(&minijinja::Value::from(minijinja::value::Serde(&items)));
            prop_assert_eq!(parse_literal(&printed), Some(json!(items)));
        }
    }
}
