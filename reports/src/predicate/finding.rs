//! Findings: what no declaration covers, or what makes the evidence doubtful.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use base::{
    ArtifactDigest, Host, ObservedScheme, PluginId, Port, Reason, RunId, Severity, Sha256Digest, Timestamp,
    json,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::parts::{Period, is_zero, nullable};

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Its name; follows from what it says, see [`FindingKey`].
    pub id: FindingId,
    /// Why it exists.
    pub reason: Reason,
    /// How grave it is.
    pub severity: Severity,
    /// The host, where a destination is concerned.
    #[serde(deserialize_with = "nullable")]
    pub host: Option<Host>,
    /// The port, where a destination is concerned.
    #[serde(deserialize_with = "nullable")]
    pub port: Option<Port>,
    /// What was spoken, where somebody spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<ObservedScheme>,
    /// The log, where evidence rather than a destination is concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Runs that it was seen in: all of them, or the first
    /// [`MAX_RUNS_PER_FINDING`](super::MAX_RUNS_PER_FINDING).
    pub runs: Vec<RunId>,
    /// When it was first seen in the period.
    pub first: Timestamp,
    /// When it was last seen in the period.
    pub last: Timestamp,
    /// Connections concerned.
    pub connections: u64,
    /// Those of them that the gateway refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// The declaration that comes closest, in canonical form.
    #[serde(deserialize_with = "nullable")]
    pub nearest_declared: Option<String>,
    /// The one-line fix.
    pub fix: String,
    /// Log entries that show it.
    pub events: Vec<EventReference>,
}

/// One entry of one log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventReference {
    /// The log.
    pub origin: String,
    /// The entry's index in it.
    pub index: u64,
}

/// What a finding means for the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// Worth knowing; changes no verdict.
    Note,
    /// The evidence is not whole: nobody can say that the owner kept their word.
    Doubt,
    /// The owner did not keep their word.
    Breach,
}

impl Finding {
    /// What the finding means for the verdict. Severity `info` never changes one.
    pub fn weight(&self) -> Weight {
        match (self.severity, self.reason) {
            // An exception that ran out asks people to tidy up. To run on without the approval that the site
            // asks for is graver, and stands against the build.
            (Severity::Info, _)
            | (Severity::Low, Reason::PolicyExpired)
            | (
                _,
                Reason::OwnerRequest
                | Reason::Superseded
                | Reason::FalsePositive
                | Reason::IdentityHeaderForged
                | Reason::CredentialsReplayed
                | Reason::CredentialsConflict
                | Reason::AfterRevocation,
            ) => Weight::Note,
            (_, Reason::NoCoverage | Reason::EvidenceGap | Reason::TamperedEvidence) => Weight::Doubt,
            _ => Weight::Breach,
        }
    }

    /// What the finding's id is made of, beside the report's scope.
    pub fn key(&self) -> FindingKey<'_> {
        FindingKey {
            reason: self.reason,
            host: self.host.as_ref(),
            port: self.port,
            scheme: self.scheme,
            origin: self.origin.as_deref(),
        }
    }

    /// Gravest first; then by what it is about.
    pub(super) fn order(&self) -> impl Ord + '_ {
        let key = self.key();
        (
            Reverse(self.weight()),
            Reverse(self.severity),
            (key.reason, key.host, key.port, key.scheme, key.origin),
            &self.id,
        )
    }
}

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The plugin.
    pub plugin_id: &'a PluginId,
    /// The build.
    pub artifact_digest: &'a ArtifactDigest,
    /// The run, where there is a single one.
    pub run_id: Option<&'a RunId>,
    /// The time.
    pub period: Period,
}

/// What tells two findings of one report apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FindingKey<'a> {
    /// Why it exists.
    pub reason: Reason,
    /// The destination's host.
    pub host: Option<&'a Host>,
    /// The destination's port.
    pub port: Option<Port>,
    /// What was spoken.
    pub scheme: Option<ObservedScheme>,
    /// The log, where evidence is concerned.
    pub origin: Option<&'a str>,
}

/// A finding's name: 32 lower-case hex digits that follow from what it is about, so that auditing
/// the same evidence again finds the same finding rather than a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingId([u8; 16]);

/// A text that is not a finding id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a finding id is 32 lower-case hex digits")]
pub struct InvalidFindingId;

impl FindingId {
    /// The id of the finding `key` in a report about `scope`.
    pub fn of(scope: &Scope<'_>, key: &FindingKey<'_>) -> Self {
        // Canonical JSON, because it keeps apart what concatenation would run together.
        let words = (
            "bailiwick finding v1",
            (scope.plugin_id, scope.artifact_digest, scope.run_id),
            (scope.period.from, scope.period.to),
            (key.reason, key.host, key.port, key.scheme, key.origin),
        );
        let bytes = json::canonical(&words).expect("strings and one small number have a canonical form");
        let digest = Sha256Digest::of(&bytes);
        let mut id = [0; 16];
        id.copy_from_slice(&digest.as_bytes()[..16]);
        Self(id)
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl FromStr for FindingId {
    type Err = InvalidFindingId;

    fn from_str(text: &str) -> Result<Self, InvalidFindingId> {
        let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let mut id = [0; 16];
        if !lower || hex::decode_to_slice(text, &mut id).is_err() {
            return Err(InvalidFindingId);
        }
        Ok(Self(id))
    }
}

impl Serialize for FindingId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FindingId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
