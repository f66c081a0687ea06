//! JSON in which no object names a field twice.
//!
//! RFC 8259 §4 leaves it to each reader which of the two counts. Whoever looks through a request on its way here may take the
//! one, and we the other; a plugin may read the claims of a token again (RFC 7519 §4). Nobody sends such a thing in good faith, so it
//! is refused.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads one JSON value and nothing after it. Values are nested at most 128 deep, the parser's own bound. The error says what is
/// wrong, and where.
pub fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Strict>(bytes).map(|strict| strict.0)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let Strict(value) = entries.next_value()?;
            if map.contains_key(&name) {
                let name: String = name.chars().take(80).collect();
                return Err(A::Error::custom(format!("the field {name:?} is given twice")));
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_read_as_they_are() {
        for text in [
            "null",
            " [true, false, 0, -1, 18446744073709551615, -9223372036854775808, 1.5, 1e300] ",
            r#"{"b": {"a": ""}, "a": [{"b": "\u00e9\ud83d\ude00"}, {"b": "\u0000"}]}"#,
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let twice: [&[u8]; 3] =
            [br#"{"a": 1, "a": 1}"#, br#"[{"b": {"a": 1, "c": 2, "\u0061": 3}}]"#, b"{\"\":1,\"\":2}"];
        let broken: [&[u8]; 8] =
            [b"", b"{} {}", b"1e400", b"\xef\xbb\xbf{}", b"\"\\ud800\"", b"\"\xff\"", b"NaN", deep.as_bytes()];
        for text in twice.into_iter().chain(broken) {
            let shown = String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned();
            assert!(parse(text).is_err(), "{shown}");
        }
        assert!(parse(twice[0]).unwrap_err().to_string().contains("\"a\" is given twice"));
    }
}
