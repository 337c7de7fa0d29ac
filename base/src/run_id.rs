//! Run ids: the name of one execution of one artifact.

use std::fmt;
use std::str::FromStr;

use crate::text_enum::serde_as_text;

/// One execution of one artifact: a UUIDv7 (RFC 9562 §5.7) in lower-case hyphenated form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(uuid::Uuid);

/// A text that is not a lower-case, hyphenated UUIDv7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a run id is a lower-case, hyphenated UUIDv7")]
pub struct InvalidRunId;

impl RunId {
    /// A run id from the time and ten random bytes; both are the caller's, so that tests can fix them.
    pub fn from_parts(unix_ms: u64, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
    }

    /// The 16 raw bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        let uuid = uuid::Uuid::try_parse(text).map_err(|_| InvalidRunId)?;
        let id = Self(uuid);
        let is_v7 = uuid.get_version() == Some(uuid::Version::SortRand)
            && uuid.get_variant() == uuid::Variant::RFC4122;
        if is_v7 && id.to_string() == text {
            Ok(id)
        } else {
            Err(InvalidRunId)
        }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_hyphenated())
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

serde_as_text!(RunId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_round_trips_and_sorts_by_time() {
        let early = RunId::from_parts(1_700_000_000_000, [7; 10]);
        let late = RunId::from_parts(1_700_000_000_001, [0; 10]);
        assert_eq!(early.to_string().parse(), Ok(early));
        assert!(early < late && early.to_string() < late.to_string());
    }

    #[test]
    fn other_spellings_and_versions_are_refused() {
        let good = RunId::from_parts(1_700_000_000_000, [7; 10]).to_string();
        for bad in [
            good.to_uppercase(),
            good.replace('-', ""),
            format!("{{{good}}}"),
            format!("urn:uuid:{good}"),
            "f47ac10b-58cc-4372-a567-0e02b2c3d479".to_owned(),
            "../../etc/passwd".to_owned(),
            String::new(),
            "a".repeat(1 << 20),
        ] {
            assert_eq!(bad.parse::<RunId>(), Err(InvalidRunId));
        }
    }
}
