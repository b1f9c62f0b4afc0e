//! Keys that JSON has twice, of which parsers keep one without a word.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// The first key that an object in `text`, which is valid JSON, has twice.
pub(super) fn repeated_key(text: &[u8]) -> Option<String> {
    let mut found = None;
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Scan { found: &mut found }.deserialize(&mut deserializer).ok()?;
    found
}

/// Looks through one value.
struct Scan<'s> {
    found: &'s mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Scan<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scan<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if let Some(repeated) = seen.replace(key) {
                self.found.get_or_insert(repeated);
            }
            map.next_value_seed(Scan { found: self.found })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Scan { found: self.found })?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_repeated_key_of_any_object_is_found() {
        let found = |text: &str| repeated_key(text.as_bytes());
        assert_eq!(found(r#"{"a": {"b": [1, -2, 0.5, null, true, "a"]}, "b": {"a": 1}}"#), None);
        assert_eq!(found(r#"{"a": [{"x": 1, "x": 2}], "a": 3}"#).as_deref(), Some("x"));
        assert_eq!(found(r#"{"a": 1, "b": 2, "\u0061": 3}"#).as_deref(), Some("a"));
    }
}
