//! How large a weight file may become.

use std::fmt;
use std::str::FromStr;

/// The most bytes of tensor data that share a shard.
///
/// Written as digits with an optional suffix: `k` for 10³, `m` for 10⁶, `b` for 10⁹. The default is
/// `5b`; 0 puts everything into one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardSize {
    /// 0 for no limit.
    bytes: u64,
}

impl ShardSize {
    /// Everything goes into one file.
    pub const UNLIMITED: Self = Self { bytes: 0 };

    /// At most `bytes` of data per shard, or no limit if 0.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self { bytes }
    }

    /// Most bytes of data per shard; 0 for no limit.
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    pub(super) fn is_exceeded_by(self, bytes: u64) -> bool {
        self.bytes > 0 && bytes > self.bytes
    }
}

impl Default for ShardSize {
    fn default() -> Self {
        Self { bytes: 5_000_000_000 }
    }
}

impl FromStr for ShardSize {
    type Err = ParseShardSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, factor) = match text.as_bytes().last() {
            Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
            Some(b'm' | b'M') => (&text[..text.len() - 1], 1_000_000),
            Some(b'b' | b'B') => (&text[..text.len() - 1], 1_000_000_000),
            _ => (text, 1),
        };
        let error = || ParseShardSizeError { text: text.to_owned() };
        if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(error());
        }
        let number: u64 = digits.parse().map_err(|_| error())?;
        number.checked_mul(factor).map(Self::from_bytes).ok_or_else(error)
    }
}

/// In the form that [`FromStr`] reads, with the largest suffix that loses nothing.
impl fmt::Display for ShardSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffixes = [(1_000_000_000, "b"), (1_000_000, "m"), (1_000, "k")];
        match suffixes
            .iter()
            .find(|(factor, _)| self.bytes > 0 && self.bytes.is_multiple_of(*factor))
        {
            Some((factor, suffix)) => write!(f, "{}{suffix}", self.bytes / factor),
            None => write!(f, "{}", self.bytes),
        }
    }
}

/// A shard size that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a shard size: write whole bytes, optionally with k, m or b, such as `5b`")]
pub struct ParseShardSizeError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_sizes_are_bytes_with_a_decimal_suffix() {
        for (text, bytes) in
            [("5B", 5_000_000_000), ("200m", 200_000_000), ("10k", 10_000), ("17", 17), ("0", 0)]
        {
            assert_eq!(text.parse(), Ok(ShardSize::from_bytes(bytes)), "{text}");
        }
        for text in ["", "k", "5GB", "-1", "+1", "1.5b", " 1", "99999999999b", "５", "5ｂ"] {
            let error = text.parse::<ShardSize>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is not a shard size")), "{error}");
        }
    }

    #[test]
    fn shard_sizes_print_as_they_parse() {
        for text in ["5b", "200m", "10k", "1234", "0"] {
            assert_eq!(text.parse::<ShardSize>().unwrap().to_string(), text);
        }
        assert_eq!(ShardSize::default().to_string(), "5b");
    }
}
