//! JSON that means one thing: a strict reader (RFC 8259 narrowed to I-JSON, RFC 7493) and the
//! canonical writer (RFC 8785).
//!
//! Two readers that take different values for a repeated key are how signed documents come to say
//! different things to different people, so repeated keys are refused, and so is whatever else
//! RFC 8785 cannot write back: integers beyond 2⁵³−1 lose digits there.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::Serialize;
use serde_json::{Map, Number, Value};

/// The largest document read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// The deepest nesting of arrays and objects read.
pub const MAX_DEPTH: usize = 64;
/// The largest integer that every JSON reader keeps exactly (RFC 7493 §2.2).
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Why a document was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Larger than [`MAX_BYTES`].
    #[error("the document has {bytes} bytes, more than the {MAX_BYTES} allowed")]
    TooLarge {
        /// Bytes found.
        bytes: usize,
    },
    /// Starts with a byte order mark.
    #[error("the document starts with a byte order mark; save it as plain UTF-8")]
    ByteOrderMark,
    /// A key appears twice in one object.
    #[error("the key {key:?} appears twice in one object")]
    DuplicateKey {
        /// The repeated key.
        key: String,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the document is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// An integer beyond 2⁵³−1.
    #[error("the number {number} is beyond 2^53-1 and would lose digits; write it as a string")]
    Integer {
        /// The number as read.
        number: String,
    },
    /// Not JSON.
    #[error("not JSON: {message}")]
    Syntax {
        /// What the reader met, with line and column.
        message: String,
    },
}

/// Reads one JSON document strictly.
///
/// # Errors
/// [`JsonError`]; the first problem met.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    if bytes.len() > MAX_BYTES {
        return Err(JsonError::TooLarge { bytes: bytes.len() });
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(JsonError::ByteOrderMark);
    }
    let refused = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let result = Strict {
        depth: 0,
        refused: &refused,
    }
    .deserialize(&mut reader)
    .and_then(|value| reader.end().map(|()| value));
    result.map_err(|error| {
        refused.take().unwrap_or_else(|| JsonError::Syntax {
            message: error.to_string(),
        })
    })
}

/// The canonical bytes of a value (RFC 8785).
///
/// # Errors
/// [`JsonError::Integer`] or [`JsonError::Syntax`] where the value has no canonical form: an integer
/// beyond 2⁵³−1, a number that is not finite, a map whose keys are not strings.
pub fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, JsonError> {
    let syntax = |error: serde_json::Error| JsonError::Syntax {
        message: error.to_string(),
    };
    let value = serde_json::to_value(value).map_err(syntax)?;
    check_integers(&value)?;
    serde_json_canonicalizer::to_vec(&value).map_err(syntax)
}

fn check_integers(value: &Value) -> Result<(), JsonError> {
    match value {
        Value::Number(number) => check_integer(number),
        Value::Array(items) => items.iter().try_for_each(check_integers),
        Value::Object(fields) => fields.values().try_for_each(check_integers),
        _ => Ok(()),
    }
}

fn check_integer(number: &Number) -> Result<(), JsonError> {
    let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    match magnitude {
        Some(magnitude) if magnitude > MAX_INTEGER => Err(JsonError::Integer {
            number: number.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Reads any value, counting depth and refusing repeated keys.
#[derive(Clone, Copy)]
struct Strict<'r> {
    depth: usize,
    refused: &'r RefCell<Option<JsonError>>,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.refuse(JsonError::TooDeep));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }

    fn refuse<E: serde::de::Error>(self, error: JsonError) -> E {
        let message = error.to_string();
        *self.refused.borrow_mut() = Some(error);
        E::custom(message)
    }

    fn number<E: serde::de::Error>(self, number: Number) -> Result<Value, E> {
        check_integer(&number).map_err(|error| self.refuse(error))?;
        Ok(Value::Number(number))
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
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.number(value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.number(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        // An integer too long for 64 bits arrives here; it has lost digits already.
        if value.abs() > MAX_INTEGER as f64 && value.fract() == 0.0 && value.abs() < 1e21 {
            return Err(self.refuse(JsonError::Integer {
                number: value.to_string(),
            }));
        }
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            if values.contains_key(&key) {
                return Err(self.refuse(JsonError::DuplicateKey { key }));
            }
            let value = fields.next_value_seed(inner)?;
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn ordinary_documents_are_read() {
        let text = br#"{"b":[1,-2,0.5,true,null],"a":"\u00e4"}"#;
        assert_eq!(parse(text).unwrap(), json!({"b":[1,-2,0.5,true,null],"a":"ä"}));
    }

    #[test]
    fn each_way_to_be_ambiguous_has_its_own_error() {
        assert_eq!(
            parse(br#"{"a":1,"a":1}"#),
            Err(JsonError::DuplicateKey { key: "a".into() })
        );
        assert_eq!(
            parse(br#"{"x":{"a":1,"\u0061":2}}"#),
            Err(JsonError::DuplicateKey { key: "a".into() })
        );
        assert_eq!(parse(b"\xef\xbb\xbf{}"), Err(JsonError::ByteOrderMark));
        assert!(matches!(
            parse(b"9007199254740992"),
            Err(JsonError::Integer { .. })
        ));
        assert!(matches!(
            parse(b"-9007199254740993"),
            Err(JsonError::Integer { .. })
        ));
        assert!(matches!(
            parse(b"123456789012345678901"),
            Err(JsonError::Integer { .. }) | Err(JsonError::Syntax { .. })
        ));
        assert!(matches!(parse(b"{} {}"), Err(JsonError::Syntax { .. })));
        assert!(matches!(parse(b"{'a':1}"), Err(JsonError::Syntax { .. })));
        assert!(matches!(parse(b"\"\xff\""), Err(JsonError::Syntax { .. })));
        assert!(matches!(parse(b""), Err(JsonError::Syntax { .. })));
        let large = vec![b' '; MAX_BYTES + 1];
        assert_eq!(parse(&large), Err(JsonError::TooLarge { bytes: MAX_BYTES + 1 }));
    }

    #[test]
    fn nesting_is_read_up_to_the_limit_and_no_further() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(parse(nested(MAX_DEPTH + 1).as_bytes()), Err(JsonError::TooDeep));
    }

    #[test]
    fn canonical_bytes_sort_keys_and_write_numbers_as_ecmascript_does() {
        let value = json!({"b": 1.0, "a": [1e21, 1e-7, -0.0], "\u{20ac}": "€\n"});
        assert_eq!(
            String::from_utf8(canonical(&value).unwrap()).unwrap(),
            "{\"a\":[1e+21,1e-7,0],\"b\":1,\"€\":\"€\\n\"}"
        );
        assert!(canonical(&json!(u64::MAX)).is_err());
    }

    proptest! {
        #[test]
        fn canonical_bytes_read_back_and_stay_the_same(keys in proptest::collection::btree_map("\\PC{0,8}", -1_000_000i64..1_000_000, 0..8)) {
            let bytes = canonical(&keys).unwrap();
            let value = parse(&bytes).unwrap();
            prop_assert_eq!(canonical(&value).unwrap(), bytes);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
