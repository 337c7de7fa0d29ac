//! Declarations: an egress entry and the terms under which it was promised.

use std::fmt;
use std::str::FromStr;

use base::{ObservedScheme, Target, Timestamp};
use serde_json::{Map, Value};

use crate::egress::Entry;
use crate::manifest::fields::{self, Fields};
use crate::manifest::{DataClass, ManifestError};

const FIELDS: &[&str] = &["to", "purpose", "methods", "data_classes", "expires"];

/// One destination promised, with its terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// The destination.
    pub entry: Entry,
    /// What the destination is used for.
    pub purpose: Option<String>,
    /// HTTP methods used; `None` for any. Visible on plain HTTP only.
    pub methods: Option<Vec<Method>>,
    /// Classes of data that go there; `None` for whatever the manifest as a whole declares.
    pub data_classes: Option<Vec<DataClass>>,
    /// From this moment on the declaration covers nothing.
    pub expires: Option<Timestamp>,
}

/// An HTTP method (RFC 9110 §9), in capitals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(Box<str>);

/// A text that is not an HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an HTTP method is written in capitals, such as GET or POST")]
pub struct InvalidMethod;

impl Method {
    /// The method as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Method {
    type Err = InvalidMethod;

    fn from_str(text: &str) -> Result<Self, InvalidMethod> {
        let shaped = matches!(text.len(), 1..=32)
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        if shaped {
            Ok(Self(text.into()))
        } else {
            Err(InvalidMethod)
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Declaration {
    /// A declaration without terms.
    pub const fn of(entry: Entry) -> Self {
        Self {
            entry,
            purpose: None,
            methods: None,
            data_classes: None,
            expires: None,
        }
    }

    /// Whether the declaration still stands at the moment `at`.
    pub fn stands(&self, at: Timestamp) -> bool {
        self.expires.is_none_or(|end| at < end)
    }

    /// Whether the declaration, at the moment `at`, covers a connection to `target`.
    pub fn covers(&self, target: &Target, observed: Option<ObservedScheme>, at: Timestamp) -> bool {
        self.stands(at) && self.entry.covers(target, observed)
    }

    /// Reads a text, or an object with its terms.
    pub(crate) fn from_value(path: &str, value: &Value) -> Result<Self, ManifestError> {
        let entry = |path: &str, text: &str| {
            text.parse::<Entry>().map_err(|source| ManifestError::Egress {
                field: path.to_owned(),
                source,
            })
        };
        if let Value::String(text) = value {
            return Ok(Self::of(entry(path, text)?));
        }
        let Value::Object(_) = value else {
            return Err(ManifestError::wrong_type(
                path,
                "a text or an object with \"to\"",
                value,
            ));
        };
        let fields = Fields::of(path, value, FIELDS)?;
        let to = fields.at("to");
        let methods: Option<Vec<Method>> = fields.list("methods")?;
        if methods.as_ref().is_some_and(Vec::is_empty) {
            return Err(ManifestError::value(
                fields.at("methods"),
                "an empty list would promise no method at all; leave it out for any method",
            ));
        }
        Ok(Self {
            entry: entry(&to, fields::text(&to, fields.required("to")?)?)?,
            purpose: fields.phrase("purpose")?,
            methods,
            data_classes: fields.list("data_classes")?,
            expires: fields.parsed("expires")?,
        })
    }

    /// A text where there are no terms, else an object.
    pub(crate) fn to_value(&self) -> Value {
        let to = Value::String(self.entry.to_string());
        let mut terms = Map::new();
        if let Some(purpose) = &self.purpose {
            terms.insert("purpose".to_owned(), Value::from(purpose.as_str()));
        }
        if let Some(methods) = &self.methods {
            terms.insert("methods".to_owned(), fields::texts(methods));
        }
        if let Some(classes) = &self.data_classes {
            terms.insert("data_classes".to_owned(), fields::texts(classes));
        }
        if let Some(expires) = &self.expires {
            terms.insert("expires".to_owned(), Value::from(expires.to_string()));
        }
        if terms.is_empty() {
            return to;
        }
        terms.insert("to".to_owned(), to);
        Value::Object(terms)
    }
}

impl fmt::Display for Declaration {
    /// The entry in canonical form; how reports and events name a declaration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.entry, f)
    }
}
