//! Entries: one digest, what is done to it, why and since when, in 40 bytes.
//!
//! `digest[32] ‖ kind u8 ‖ action u8 ‖ reason u8 ‖ flags u8 ‖ u32be revoked_at`. The fixed width is
//! what lets a body be sorted, searched, cut into shards and hashed without parsing it first.

use std::fmt;

use base::{Sha256Digest, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ReasonCode;

/// The length of one entry.
pub const ENTRY_BYTES: usize = 40;

/// What an entry's digest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A build: its artifact digest.
    Artifact = 1,
    /// A signing key: the SHA-256 of its SSH wire form.
    Signer = 2,
    /// A manifest: the SHA-256 of its payload.
    Manifest = 3,
    /// A plugin: the SHA-256 of its id.
    Plugin = 4,
}

/// What is done to whatever an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Quarantine: stopped until released.
    Hold = 1,
    /// Stopped for good.
    Revoke = 2,
    /// A hold was lifted. The entry stays, so that caches which hold it learn of it.
    Release = 3,
}

/// When an entry was made: whole seconds since 1970, up to the year 2106.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevokedAt {
    unix_s: u32,
}

/// A moment that an entry cannot carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{moment} does not fit an entry, which counts whole seconds from 1970 to 2106; check the clock")]
pub struct InvalidRevokedAt {
    moment: Timestamp,
}

/// One entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What is meant; see [`Kind`].
    pub digest: Sha256Digest,
    /// What the digest names.
    pub kind: Kind,
    /// What is done to it.
    pub action: Action,
    /// Why.
    pub reason: ReasonCode,
    /// No bit has a meaning yet: written as 0, kept and ignored when read.
    pub flags: u8,
    /// When this was decided; for a release, when the hold was lifted.
    pub revoked_at: RevokedAt,
}

/// Why 40 bytes are not an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEntry {
    /// A kind that this version does not know, and so could not enforce.
    #[error("kind {found} is unknown (known are 1 to 4)")]
    Kind {
        /// The byte found.
        found: u8,
    },
    /// An action that this version does not know, and so could not enforce.
    #[error("action {found} is unknown (known are 1 to 3)")]
    Action {
        /// The byte found.
        found: u8,
    },
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Artifact, Self::Signer, Self::Manifest, Self::Plugin];

    /// The kind's one spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Artifact => "artifact",
            Self::Signer => "signer",
            Self::Manifest => "manifest",
            Self::Plugin => "plugin",
        }
    }
}

impl Action {
    /// Every action, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Hold, Self::Revoke, Self::Release];

    /// The action's one spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Revoke => "revoke",
            Self::Release => "release",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl RevokedAt {
    /// The moment.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_unix_us(i64::from(self.unix_s) * 1_000_000)
    }
}

impl TryFrom<Timestamp> for RevokedAt {
    type Error = InvalidRevokedAt;

    /// Cuts off the fraction of a second.
    fn try_from(moment: Timestamp) -> Result<Self, InvalidRevokedAt> {
        u32::try_from(moment.unix_s())
            .map(|unix_s| Self { unix_s })
            .map_err(|_| InvalidRevokedAt { moment })
    }
}

impl fmt::Display for RevokedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.timestamp(), f)
    }
}

impl fmt::Debug for RevokedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for RevokedAt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.timestamp().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RevokedAt {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let moment = Timestamp::deserialize(deserializer)?;
        let read = Self::try_from(moment).map_err(serde::de::Error::custom)?;
        if read.timestamp() == moment {
            Ok(read)
        } else {
            Err(serde::de::Error::custom("revoked_at is in whole seconds"))
        }
    }
}

impl Entry {
    /// What entries are sorted by, and what may occur only once.
    pub fn key(&self) -> (Sha256Digest, Kind) {
        (self.digest, self.kind)
    }

    /// The entry's 40 bytes.
    pub fn to_bytes(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..32].copy_from_slice(self.digest.as_bytes());
        bytes[32] = self.kind as u8;
        bytes[33] = self.action as u8;
        bytes[34] = self.reason.as_byte();
        bytes[35] = self.flags;
        bytes[36..].copy_from_slice(&self.revoked_at.unix_s.to_be_bytes());
        bytes
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// [`InvalidEntry`].
    pub fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Result<Self, InvalidEntry> {
        let [digest @ .., kind_byte, action_byte, reason, flags, s0, s1, s2, s3] = *bytes;
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == kind_byte);
        let action = Action::ALL
            .into_iter()
            .find(|action| *action as u8 == action_byte);
        Ok(Self {
            digest: Sha256Digest::from_bytes(digest),
            kind: kind.ok_or(InvalidEntry::Kind { found: kind_byte })?,
            action: action.ok_or(InvalidEntry::Action { found: action_byte })?,
            reason: ReasonCode::from_byte(reason),
            flags,
            revoked_at: RevokedAt {
                unix_s: u32::from_be_bytes([s0, s1, s2, s3]),
            },
        })
    }

    /// How people know what the entry names: a key by its fingerprint, anything else by its digest.
    pub fn named(&self) -> String {
        match self.kind {
            Kind::Signer => seal::Fingerprint::from_sha256(self.digest).to_string(),
            _ => self.digest.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Reason;
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::any_entry;

    #[test]
    fn an_entry_has_its_published_layout() {
        let entry = Entry {
            digest: Sha256Digest::from_bytes([0xab; 32]),
            kind: Kind::Manifest,
            action: Action::Revoke,
            reason: Reason::KeyCompromise.into(),
            flags: 0,
            revoked_at: RevokedAt { unix_s: 0x0102_0304 },
        };
        let expected = format!("{}{}", "ab".repeat(32), "0302010001020304");
        assert_eq!(hex::encode(entry.to_bytes()), expected);
    }

    #[test]
    fn unknown_kinds_and_actions_are_refused_and_unknown_reasons_and_flags_are_kept() {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[32..36].copy_from_slice(&[1, 1, 200, 0x80]);
        let kept = Entry::from_bytes(&bytes).unwrap();
        assert_eq!(kept.to_bytes(), bytes);
        assert_eq!(kept.reason.reason(), None);
        for found in [0, 5, 255] {
            let mut bad = bytes;
            bad[32] = found;
            assert_eq!(Entry::from_bytes(&bad), Err(InvalidEntry::Kind { found }));
        }
        for found in [0, 4, 255] {
            let mut bad = bytes;
            bad[33] = found;
            assert_eq!(Entry::from_bytes(&bad), Err(InvalidEntry::Action { found }));
        }
    }

    #[test]
    fn a_moment_that_32_bits_cannot_count_is_refused() {
        for moment in ["1969-12-31T23:59:59Z", "2106-02-07T06:28:16Z"] {
            assert!(RevokedAt::try_from(moment.parse::<Timestamp>().unwrap()).is_err());
        }
        for moment in ["1970-01-01T00:00:00Z", "2106-02-07T06:28:15Z"] {
            let moment: Timestamp = moment.parse().unwrap();
            assert_eq!(RevokedAt::try_from(moment).unwrap().timestamp(), moment);
        }
        assert!(serde_json::from_str::<RevokedAt>("\"2026-11-21T00:00:00.5Z\"").is_err());
    }

    proptest! {
        #[test]
        fn an_entry_round_trips_through_bytes_and_json(entry in any_entry()) {
            prop_assert_eq!(Entry::from_bytes(&entry.to_bytes()), Ok(entry));
            let json = serde_json::to_string(&entry).unwrap();
            prop_assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry);
        }

        #[test]
        fn bytes_that_read_are_written_back_the_same(bytes in prop::array::uniform32(any::<u8>()), tail in prop::array::uniform8(any::<u8>())) {
            let mut whole = [0; ENTRY_BYTES];
            whole[..32].copy_from_slice(&bytes);
            whole[32..].copy_from_slice(&tail);
            if let Ok(entry) = Entry::from_bytes(&whole) {
                prop_assert_eq!(entry.to_bytes(), whole);
            }
        }
    }
}
