//! Stop strings in an answer that grows token by token.

use crate::evaluate::Tokenizer;
use crate::evaluate::tokenizer::TextStream;

/// What precedes the first stop string; each stop in turn cuts what the ones before left.
pub(super) fn cut(text: &str, stops: &[String]) -> String {
    let mut text = text;
    for stop in stops {
        text = text.split_once(stop).map_or(text, |(before, _)| before);
    }
    text.to_owned()
}

/// Watches the text of one growing answer for stop strings.
pub(super) struct StopWatch<'a> {
    stream: TextStream<'a>,
    text: String,
}

impl<'a> StopWatch<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> StopWatch<'a> {
        StopWatch { stream: tokenizer.decode_stream(), text: String::new() }
    }

    /// Whether a stop string appears in what the new tokens add, or reaches into it.
    pub(super) fn sees_a_stop(&mut self, tokens: &[u32], stops: &[String]) -> bool {
        let seen = self.text.len();
        self.stream.advance(tokens, &mut self.text);
        let longest = stops.iter().map(String::len).max().unwrap_or(0);
        let mut start = seen.min(self.text.len()).saturating_sub(longest);
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        stops.iter().any(|stop| self.text[start..].contains(stop.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn stops_cut_in_their_order() {
        let cut = |stops: &[&str], text| {
            let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
            super::cut(text, &stops)
        };
        assert_eq!(cut(&["\n", "b\nQ:"], "ab\nQ:"), "ab");
        assert_eq!(cut(&["b\nQ:", "\n"], "ab\nQ:"), "a");
        assert_eq!(cut(&["x"], "ab"), "ab");
    }

    #[test]
    fn a_stop_is_seen_when_its_last_token_comes() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/evaluate/model");
        let tokenizer = Tokenizer::open(&model).expect("a tokenizer");
        let stops = ["のQ:".to_owned(), "<|end|>".to_owned()];
        for text in ["the のこ のQ: and", "then <|end|> more"] {
            let tokens = tokenizer.encode(text);
            let mut watch = StopWatch::new(&tokenizer);
            let stopped = (1..=tokens.len()).find(|&n| watch.sees_a_stop(&tokens[..n], &stops));
            let complete = (1..=tokens.len()).find(|&n| {
                let text = tokenizer.decode_all(&tokens[..n]);
                stops.iter().any(|stop| text.contains(stop.as_str()))
            });
            assert_eq!(stopped, complete, "{text}");
            assert!(stopped.is_some(), "{text}");
        }
    }
}
