//! Reading fields out of JSON objects: every refusal names the full path of the field.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::ManifestError;
use crate::nearest::nearest_word;

/// The longest free text, in characters.
const MAX_PHRASE: usize = 500;

/// An object all of whose fields are known.
pub(crate) struct Fields<'v> {
    path: &'v str,
    values: &'v Map<String, Value>,
}

impl<'v> Fields<'v> {
    /// Takes `value` for an object; a field that is not in `known` is refused.
    pub(crate) fn of(path: &'v str, value: &'v Value, known: &[&str]) -> Result<Self, ManifestError> {
        let Value::Object(values) = value else {
            let path = if path.is_empty() { "the manifest" } else { path };
            return Err(ManifestError::wrong_type(path, "an object", value));
        };
        let fields = Self { path, values };
        match values.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(ManifestError::UnknownField {
                field: fields.at(name),
                nearest: nearest_word(name, known).map(str::to_owned),
            }),
            None => Ok(fields),
        }
    }

    /// The full path of a field.
    pub(crate) fn at(&self, name: &str) -> String {
        let name: String = name.chars().take(80).collect();
        if self.path.is_empty() {
            name
        } else {
            format!("{}.{name}", self.path)
        }
    }

    pub(crate) fn optional(&self, name: &str) -> Option<&'v Value> {
        self.values.get(name)
    }

    pub(crate) fn required(&self, name: &str) -> Result<&'v Value, ManifestError> {
        self.optional(name)
            .ok_or_else(|| ManifestError::Missing { field: self.at(name) })
    }

    /// A text that is parsed into a type.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, ManifestError> {
        let path = self.at(name);
        self.optional(name).map(|value| parsed(&path, value)).transpose()
    }

    /// A list of texts that are parsed into a type.
    pub(crate) fn list<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<Vec<T>>, ManifestError> {
        let path = self.at(name);
        self.optional(name).map(|value| list(&path, value)).transpose()
    }

    /// A short text for people.
    pub(crate) fn phrase(&self, name: &str) -> Result<Option<String>, ManifestError> {
        let path = self.at(name);
        self.optional(name).map(|value| phrase(&path, value)).transpose()
    }

    /// A whole number from 1 on.
    pub(crate) fn count(&self, name: &str) -> Result<Option<u64>, ManifestError> {
        let Some(value) = self.optional(name) else {
            return Ok(None);
        };
        match value.as_u64() {
            Some(number) if number > 0 => Ok(Some(number)),
            _ => Err(ManifestError::wrong_type(
                &self.at(name),
                "a whole number from 1 on",
                value,
            )),
        }
    }
}

pub(crate) fn text<'v>(path: &str, value: &'v Value) -> Result<&'v str, ManifestError> {
    value
        .as_str()
        .ok_or_else(|| ManifestError::wrong_type(path, "a text", value))
}

pub(crate) fn parsed<T: FromStr<Err: Display>>(path: &str, value: &Value) -> Result<T, ManifestError> {
    text(path, value)?
        .parse()
        .map_err(|error| ManifestError::value(path.to_owned(), error))
}

pub(crate) fn items<'v>(path: &str, value: &'v Value) -> Result<&'v [Value], ManifestError> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(ManifestError::wrong_type(path, "a list", other)),
    }
}

pub(crate) fn list<T: FromStr<Err: Display>>(path: &str, value: &Value) -> Result<Vec<T>, ManifestError> {
    items(path, value)?
        .iter()
        .enumerate()
        .map(|(index, item)| parsed(&format!("{path}[{index}]"), item))
        .collect()
}

/// Free text ends up in mails, reports and terminals, so it is one printable line.
pub(crate) fn phrase(path: &str, value: &Value) -> Result<String, ManifestError> {
    let text = text(path, value)?;
    let fits = !text.trim().is_empty() && text.chars().count() <= MAX_PHRASE;
    if fits && !text.chars().any(is_unprintable) {
        Ok(text.to_owned())
    } else {
        Err(ManifestError::value(
            path.to_owned(),
            format_args!("write 1 to {MAX_PHRASE} printable characters on one line"),
        ))
    }
}

/// Control characters, and the marks that make text read in another order than it is stored.
fn is_unprintable(character: char) -> bool {
    let reorders = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    );
    character.is_control() || reorders
}

/// A list of texts as JSON.
pub(crate) fn texts<T: Display>(items: &[T]) -> Value {
    items.iter().map(ToString::to_string).collect()
}
