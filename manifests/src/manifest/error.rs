//! Why a manifest is refused.

use base::json::JsonError;
use serde_json::Value;

use crate::egress::InvalidEntry;

/// Why a document is not a manifest. Every variant but the first names the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not strict JSON.
    #[error("the manifest cannot be read: {0}")]
    Json(#[from] JsonError),
    /// A field that a manifest does not have. A misspelt limit must not pass as no limit.
    #[error("the manifest has an unknown field {field:?}{}", match nearest {
        Some(name) => format!("; did you mean {name:?}?"),
        None => "; remove it".to_owned(),
    })]
    UnknownField {
        /// Full path of the field.
        field: String,
        /// The known field that comes nearest.
        nearest: Option<String>,
    },
    /// A required field is absent.
    #[error("the manifest lacks {field:?}{}", match field.as_str() {
        "allowed_egress" => "; write [] to declare that nothing is connected to",
        "artifact_digest" => "; sign it (bailiwick sign), which fills it in",
        _ => "; add it",
    })]
    Missing {
        /// Full path of the field.
        field: String,
    },
    /// A field has another JSON type.
    #[error("{field}: expected {expected}, found {found}")]
    Type {
        /// Full path of the field.
        field: String,
        /// What is read there.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// A field has the right type and a value that it cannot have.
    #[error("{field}: {why}")]
    Value {
        /// Full path of the field.
        field: String,
        /// What is wrong and what to write.
        why: String,
    },
    /// An egress entry is refused.
    #[error("{field}: {source}")]
    Egress {
        /// Full path of the entry.
        field: String,
        /// What is wrong and what to write.
        source: InvalidEntry,
    },
    /// A manifest of a later format, or with a grammar that this version cannot judge.
    #[error("{field} is {found}, and only {known} is known here; upgrade bailiwick or write {known}")]
    Unsupported {
        /// The field that states the version.
        field: &'static str,
        /// The version stated.
        found: String,
        /// The version known.
        known: &'static str,
    },
}

impl ManifestError {
    pub(crate) fn wrong_type(field: &str, expected: &'static str, found: &Value) -> Self {
        Self::Type {
            field: field.to_owned(),
            expected,
            found: match found {
                Value::Null => "null",
                Value::Bool(_) => "true or false",
                Value::Number(_) => "a number",
                Value::String(_) => "a text",
                Value::Array(_) => "a list",
                Value::Object(_) => "an object",
            },
        }
    }

    pub(crate) fn value(field: String, why: impl std::fmt::Display) -> Self {
        Self::Value {
            field,
            why: why.to_string(),
        }
    }

    /// A stable name for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Json(JsonError::TooLarge { .. }) => "manifest_too_large",
            Self::Json(JsonError::ByteOrderMark) => "manifest_byte_order_mark",
            Self::Json(JsonError::DuplicateKey { .. }) => "manifest_duplicate_key",
            Self::Json(JsonError::TooDeep) => "manifest_too_deep",
            Self::Json(JsonError::Integer { .. }) => "manifest_number_too_large",
            Self::Json(JsonError::Syntax { .. }) => "manifest_not_json",
            Self::UnknownField { .. } => "manifest_unknown_field",
            Self::Missing { .. } => "manifest_field_missing",
            Self::Type { .. } => "manifest_field_type",
            Self::Value { .. } => "manifest_field_value",
            Self::Egress { .. } => "manifest_egress",
            Self::Unsupported { .. } => "manifest_version_unsupported",
        }
    }
}
