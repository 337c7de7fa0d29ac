//! Digests: the names of exact bytes.
//!
//! A plugin id says who asked; an artifact digest says which build asked. Every observation carries
//! both, because a plugin that kept its word yesterday can ship a build that does not.
//!
//! The text form is `sha256:` and 64 lower-case hex digits. Each digest has exactly one spelling, so
//! text can be compared, sorted and signed without decoding it first.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::text_enum::serde_as_text;

/// The SHA-256 digest of some document: a manifest payload, a list body, a report.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256Digest([u8; 32]);

/// The SHA-256 digest of a plugin artifact, its manifest region removed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactDigest(Sha256Digest);

/// Why a text is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDigest {
    /// Another algorithm, or none named.
    #[error("a digest starts with \"sha256:\"")]
    Algorithm,
    /// Too few or too many digits.
    #[error("a sha256 digest has 64 hex digits, this has {digits}")]
    Length {
        /// Characters found after the prefix.
        digits: usize,
    },
    /// Not hex, or not lower case.
    #[error("a digest is written in lower-case hex")]
    Hex,
}

impl Sha256Digest {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A digest that was computed elsewhere, for example while streaming a file.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 lower-case hex digits without the algorithm's name, as in-toto subjects write it.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Parses 64 lower-case hex digits without the algorithm's name.
    ///
    /// # Errors
    /// [`InvalidDigest::Length`] or [`InvalidDigest::Hex`].
    pub fn from_hex(digits: &str) -> Result<Self, InvalidDigest> {
        if digits.len() != 64 {
            return Err(InvalidDigest::Length { digits: digits.len() });
        }
        if !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(InvalidDigest::Hex);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| InvalidDigest::Hex)?;
        Ok(Self(bytes))
    }
}

impl FromStr for Sha256Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        Self::from_hex(text.strip_prefix("sha256:").ok_or(InvalidDigest::Algorithm)?)
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every event has one; formatting byte by byte costs more than hashing does.
        let mut digits = [0; 64];
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str("sha256:")?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ArtifactDigest {
    /// Names the artifact whose content hashes to `digest`.
    pub const fn new(digest: Sha256Digest) -> Self {
        Self(digest)
    }

    /// The plain content digest.
    pub const fn sha256(&self) -> &Sha256Digest {
        &self.0
    }

    /// The first twelve hex digits, for people; never for comparing.
    pub fn short(&self) -> String {
        self.0.to_hex()[..12].to_owned()
    }
}

impl FromStr for ArtifactDigest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        text.parse().map(Self)
    }
}

impl fmt::Display for ArtifactDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ArtifactDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

serde_as_text!(Sha256Digest);
serde_as_text!(ArtifactDigest);

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_of_nothing_has_its_published_value() {
        assert_eq!(Sha256Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<ArtifactDigest>().unwrap().to_string(), EMPTY);
    }

    #[test]
    fn a_digest_has_exactly_one_spelling() {
        let bare = &EMPTY[7..];
        assert_eq!(bare.parse::<ArtifactDigest>(), Err(InvalidDigest::Algorithm));
        assert_eq!(
            EMPTY.to_uppercase().parse::<ArtifactDigest>(),
            Err(InvalidDigest::Algorithm)
        );
        let upper = format!("sha256:{}", bare.to_uppercase());
        assert_eq!(upper.parse::<ArtifactDigest>(), Err(InvalidDigest::Hex));
        assert_eq!(
            EMPTY[..70].parse::<ArtifactDigest>(),
            Err(InvalidDigest::Length { digits: 63 })
        );
    }
}
