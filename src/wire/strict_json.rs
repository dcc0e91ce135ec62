//! JSON as it must be where a signature hangs on it: one object, one reading.
//!
//! RFC 8259 §4 leaves open what a member that stands twice means, and parsers differ: what one part checks, another
//! does not see. Here it is an error, at any depth, as RFC 7515 §4 and RFC 8725 §2.4 ask. Nothing a message says is
//! quoted in an error.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Greatest depth of arrays and objects in each other; the outermost object is the first.
pub const DEPTH_MAX: u8 = 16;

/// Why a text is not one unambiguous JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StrictJsonError {
    #[error("it is not JSON (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    #[error("it is JSON, but not an object")]
    NotObject,
    #[error("a member stands twice in one object")]
    Duplicate,
    #[error("it is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

/// The one object that `bytes` are.
///
/// # Errors
/// [`StrictJsonError`].
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, StrictJsonError> {
    let fault = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = Strict { depth: 0, fault: &fault }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    match parsed {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(StrictJsonError::NotObject),
        Err(error) => {
            Err(fault.get().unwrap_or(StrictJsonError::NotJson { line: error.line(), column: error.column() }))
        }
    }
}

/// Builds a value while it watches depth and names. `fault` carries the reason past serde's error type.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: u8,
    fault: &'a Cell<Option<StrictJsonError>>,
}

impl Strict<'_> {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(self.fail(StrictJsonError::TooDeep));
        }
        Ok(Self { depth: self.depth + 1, fault: self.fault })
    }

    fn fail<E: serde::de::Error>(self, fault: StrictJsonError) -> E {
        self.fault.set(Some(fault));
        E::custom(fault)
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut members = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inner)?;
            if members.insert(name, value).is_some() {
                return Err(self.fail(StrictJsonError::Duplicate));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_comes_back_as_serde_json_reads_it() {
        let text = r#"{"a":[1,-2,2.5,null,true,"\u00e4"],"b":{"a":{}},"c":18446744073709551615}"#;
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(Value::Object(parse_object(text.as_bytes()).unwrap()), expected);
    }

    #[test]
    fn a_member_that_stands_twice_is_refused_wherever_and_however_it_is_spelt() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"b":2,"a":3}}"#,
            r#"{"x":[[{"a":1,"a":null}]]}"#,
        ] {
            assert_eq!(parse_object(text.as_bytes()), Err(StrictJsonError::Duplicate), "{text}");
        }
    }

    #[test]
    fn depth_has_a_limit_that_holds_for_both_kinds() {
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert!(parse_object(nested(16).as_bytes()).is_ok());
        assert_eq!(parse_object(nested(17).as_bytes()), Err(StrictJsonError::TooDeep));
        assert_eq!(parse_object(nested(100_000).as_bytes()), Err(StrictJsonError::TooDeep));
        let objects = format!("{}1{}", "{\"a\":".repeat(17), "}".repeat(17));
        assert_eq!(parse_object(objects.as_bytes()), Err(StrictJsonError::TooDeep));
    }

    #[test]
    fn everything_else_is_refused_without_a_panic() {
        for text in ["", "{", "{}{}", "{} x", "{\"a\":1e999}", "{\"a\":\"\\ud800\"}", "\u{feff}{}", "{'a':1}"] {
            assert!(matches!(parse_object(text.as_bytes()), Err(StrictJsonError::NotJson { .. })), "{text:?}");
        }
        assert!(matches!(parse_object(b"{\"a\":\"\xff\"}"), Err(StrictJsonError::NotJson { .. })));
        for text in ["[]", "1", "null", "\"a\""] {
            assert_eq!(parse_object(text.as_bytes()), Err(StrictJsonError::NotObject), "{text}");
        }
    }
}
