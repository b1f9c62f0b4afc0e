//! Values of the expressions in items: whole numbers, `+ - * /` and parentheses.

/// The value of an expression, where every step is a whole number.
pub(crate) fn value(text: &str) -> i64 {
    let tokens: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let mut reader = Reader { tokens: &tokens };
    let value = reader.sum();
    assert!(reader.tokens.is_empty(), "`{text}` goes on behind its end");
    value
}

struct Reader<'a> {
    tokens: &'a [char],
}

impl Reader<'_> {
    fn take(&mut self, among: &[char]) -> Option<char> {
        let (first, rest) = self.tokens.split_first()?;
        among.contains(first).then(|| self.tokens = rest)?;
        Some(*first)
    }

    fn sum(&mut self) -> i64 {
        let mut value = self.product();
        while let Some(sign) = self.take(&['+', '-']) {
            let other = self.product();
            value = if sign == '+' { value + other } else { value - other };
        }
        value
    }

    fn product(&mut self) -> i64 {
        let mut value = self.factor();
        while let Some(sign) = self.take(&['*', '/']) {
            let other = self.factor();
            assert!(sign == '*' || value % other == 0, "{value} / {other} leaves a remainder");
            value = if sign == '*' { value * other } else { value / other };
        }
        value
    }

    fn factor(&mut self) -> i64 {
        if self.take(&['(']).is_some() {
            let value = self.sum();
            assert!(self.take(&[')']).is_some(), "a parenthesis is not closed");
            return value;
        }
        let digits = self.tokens.iter().take_while(|c| c.is_ascii_digit()).count();
        let (number, rest) = self.tokens.split_at(digits);
        self.tokens = rest;
        number.iter().collect::<String>().parse().unwrap()
    }
}
