//! Plugin ids: the name of a third party's product.

use std::fmt;
use std::str::FromStr;

use crate::text_enum::serde_as_text;

/// A plugin's name: `[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?`, so 1 to 128 bytes of ASCII.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginId(Box<str>);

/// Why a text is not a plugin id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPluginId {
    /// Empty, or longer than 128 bytes.
    #[error("a plugin id has 1 to 128 characters, this has {length}")]
    Length {
        /// Bytes found.
        length: usize,
    },
    /// A character outside the alphabet.
    #[error(
        "a plugin id uses only a-z 0-9 . _ - (and starts and ends with a letter or digit); byte {at} does not fit"
    )]
    Character {
        /// Offset of the first offending byte.
        at: usize,
    },
}

impl PluginId {
    /// The longest plugin id, in bytes.
    pub const MAX_LEN: usize = 128;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PluginId {
    type Err = InvalidPluginId;

    fn from_str(text: &str) -> Result<Self, InvalidPluginId> {
        let bytes = text.as_bytes();
        if bytes.is_empty() || bytes.len() > Self::MAX_LEN {
            return Err(InvalidPluginId::Length { length: bytes.len() });
        }
        let last = bytes.len() - 1;
        let misfit = bytes.iter().enumerate().position(|(at, byte)| match byte {
            b'a'..=b'z' | b'0'..=b'9' => false,
            b'.' | b'_' | b'-' => at == 0 || at == last,
            _ => true,
        });
        match misfit {
            Some(at) => Err(InvalidPluginId::Character { at }),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

serde_as_text!(PluginId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_plugin_ids() {
        for good in ["a", "0", "azure_openai_embeddings", "acme.weather", "a-b", "a..b"] {
            assert_eq!(good.parse::<PluginId>().unwrap().as_str(), good);
        }
        assert!("a".repeat(128).parse::<PluginId>().is_ok());
    }

    #[test]
    fn names_outside_the_alphabet_are_refused() {
        for bad in ["", "A", ".a", "a.", "-", "a b", "a/b", "ä", "../a", "a\0", "a\n"] {
            assert!(bad.parse::<PluginId>().is_err(), "{bad:?}");
        }
        assert_eq!(
            "a".repeat(129).parse::<PluginId>(),
            Err(InvalidPluginId::Length { length: 129 })
        );
    }
}
