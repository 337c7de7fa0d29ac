//! Fingerprints: the short name of a public key.

use std::fmt;

use base::Sha256Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// A key's SSH fingerprint, as `ssh-keygen -lf` prints it: `SHA256:` and the unpadded base64 of the
/// SHA-256 of the key in SSH wire form. It names a key; trust follows the key that verified.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(Sha256Digest);

impl Fingerprint {
    pub(crate) fn of_ssh_wire(wire: &[u8]) -> Self {
        Self(Sha256Digest::of(wire))
    }

    /// The fingerprint whose digest is `digest`, for example one that a revocation list names.
    pub const fn from_sha256(digest: Sha256Digest) -> Self {
        Self(digest)
    }

    /// The SHA-256 of the key's SSH wire form: what a revocation list names a signer by.
    pub const fn sha256(&self) -> &Sha256Digest {
        &self.0
    }
}

/// A text that is not a key fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key fingerprint is \"SHA256:\" and 43 characters of base64, as ssh-keygen -lf prints it")]
pub struct InvalidFingerprint;

impl std::str::FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let encoded = text.strip_prefix("SHA256:").ok_or(InvalidFingerprint)?;
        let bytes = STANDARD_NO_PAD.decode(encoded).map_err(|_| InvalidFingerprint)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| InvalidFingerprint)?;
        Ok(Self(Sha256Digest::from_bytes(bytes)))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", STANDARD_NO_PAD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
