//! Reason codes: why an entry exists, in one byte.
//!
//! Numbers below 128 are those of RFC 5280 §5.3.1 and mean the same here; 128 and up are ours, in
//! the order in which they were added, and are never given to another reason. The whole table is
//! the golden file `tests/vectors/crl/reasons.tsv`.
//!
//! | code | here | RFC 5280 |
//! |---|---|---|
//! | 1 | `key_compromise` | keyCompromise |
//! | 4 | `superseded` | superseded |
//! | 5 | `owner_request` | cessationOfOperation |
//! | 9 | `policy_expired` | privilegeWithdrawn |
//! | 0, 2, 3, 6, 8, 10 | read, never written | unspecified, cACompromise, affiliationChanged, certificateHold, removeFromCRL, aACompromise |
//! | 128 to 147 | every other reason of ours | |
//!
//! A hold is not written as certificateHold: the action says that already, and the reason says why.
//! A code that this reader does not know is kept and shown as a number. Refusing the list over it
//! would leave older gateways without the newest revocations, for want of a word.

use std::fmt;
use std::str::FromStr;

use base::Reason;

/// The reason byte of an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReasonCode(u8);

/// A text that is not a reason code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a reason of a revocation list entry; known are the reasons of findings")]
pub struct InvalidReasonCode {
    text: String,
}

/// RFC 5280 §5.3.1, the numbers that fit none of our reasons.
const FOREIGN: [(u8, &str); 6] = [
    (0, "unspecified"),
    (2, "ca_compromise"),
    (3, "affiliation_changed"),
    (6, "certificate_hold"),
    (8, "remove_from_crl"),
    (10, "aa_compromise"),
];

impl ReasonCode {
    /// The code as it stands in an entry.
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// The byte.
    pub const fn as_byte(self) -> u8 {
        self.0
    }

    /// The reason, if the code stands for one of ours.
    pub fn reason(self) -> Option<Reason> {
        Reason::ALL
            .iter()
            .copied()
            .find(|reason| Self::from(*reason) == self)
    }
}

impl From<Reason> for ReasonCode {
    fn from(reason: Reason) -> Self {
        Self(match reason {
            Reason::KeyCompromise => 1,
            Reason::Superseded => 4,
            Reason::OwnerRequest => 5,
            Reason::PolicyExpired => 9,
            Reason::UndeclaredHost => 128,
            Reason::UndeclaredPort => 129,
            Reason::UndeclaredScheme => 130,
            Reason::IpLiteral => 131,
            Reason::PrivateResolution => 132,
            Reason::SniMismatch => 133,
            Reason::NoCoverage => 134,
            Reason::EvidenceGap => 135,
            Reason::TamperedEvidence => 136,
            Reason::SignatureInvalid => 137,
            Reason::DigestMismatch => 138,
            Reason::Downgrade => 139,
            Reason::SignerChanged => 140,
            Reason::SbomMismatch => 141,
            Reason::SdkDrift => 142,
            Reason::DataClassBreach => 143,
            Reason::LimitExceeded => 144,
            Reason::Vulnerability => 145,
            Reason::Malware => 146,
            Reason::FalsePositive => 147,
            Reason::IdentityHeaderForged => 148,
            Reason::CredentialsReplayed => 149,
            Reason::CredentialsConflict => 150,
            Reason::AfterRevocation => 151,
        })
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = self.reason() {
            return fmt::Display::fmt(&reason, f);
        }
        match FOREIGN.iter().find(|(code, _)| *code == self.0) {
            Some((_, name)) => f.pad(name),
            None => f.pad(&format!("code_{}", self.0)),
        }
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ReasonCode {
    type Err = InvalidReasonCode;

    fn from_str(text: &str) -> Result<Self, InvalidReasonCode> {
        (0..=u8::MAX)
            .map(Self)
            .find(|code| code.to_string() == text)
            .ok_or_else(|| InvalidReasonCode {
                text: text.chars().take(64).collect(),
            })
    }
}

impl serde::Serialize for ReasonCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ReasonCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::fixture::golden;

    #[test]
    fn every_reason_has_a_code_of_its_own_that_reads_back() {
        let mut codes = BTreeSet::new();
        for &reason in Reason::ALL {
            let code = ReasonCode::from(reason);
            assert_eq!(code.reason(), Some(reason));
            assert_eq!(code.to_string(), reason.to_string());
            assert!(codes.insert(code), "{reason} shares code {}", code.as_byte());
        }
    }

    #[test]
    fn every_byte_has_one_text_that_reads_back() {
        let mut texts = BTreeSet::new();
        for byte in 0..=u8::MAX {
            let code = ReasonCode::from_byte(byte);
            assert_eq!(code.to_string().parse(), Ok(code));
            assert!(texts.insert(code.to_string()));
        }
        assert!("code_128".parse::<ReasonCode>().is_err());
        assert!("code_0200".parse::<ReasonCode>().is_err());
        assert!("".parse::<ReasonCode>().is_err());
    }

    #[test]
    fn the_table_is_the_published_one() {
        let mut table = String::from("code\treason\tbelongs to\n");
        for byte in 0..=u8::MAX {
            let code = ReasonCode::from_byte(byte);
            let owner = match (code.reason(), byte) {
                (Some(_), 0..128) => "RFC 5280 and Bailiwick",
                (Some(_), _) => "Bailiwick",
                (None, _) if FOREIGN.iter().any(|(known, _)| *known == byte) => "RFC 5280",
                (None, _) => continue,
            };
            table.push_str(&format!("{byte}\t{code}\t{owner}\n"));
        }
        golden("reasons.tsv", table.as_bytes());
    }
}
