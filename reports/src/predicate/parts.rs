//! The parts of a report that are neither findings nor the whole.

use base::{Host, ObservedScheme, Port, Sha256Digest, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};

/// A field that may be `null` and may not be absent.
pub(super) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// From one moment up to, and without, another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// The first moment covered.
    pub from: Timestamp,
    /// The first moment no longer covered.
    pub to: Timestamp,
}

/// The program that judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auditor {
    /// Its name at this site.
    pub id: String,
    /// Its version.
    pub version: String,
}

/// Digests by algorithm, as in-toto writes them; SHA-256 alone is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestSet {
    /// 64 lower-case hex digits.
    #[serde(with = "plain_hex")]
    pub sha256: Sha256Digest,
}

/// Another signed document, named by the SHA-256 of its payload bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentReference {
    /// The payload's digest.
    pub digest: DigestSet,
}

/// A manifest, and for how long it was the measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestInForce {
    /// The digest of its payload.
    pub digest: DigestSet,
    /// The first moment at which it was.
    pub from: Timestamp,
    /// The first moment at which it no longer was.
    pub to: Timestamp,
}

/// The policy in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyReference {
    /// Its version.
    pub version: u64,
    /// The digest of its canonical form.
    pub digest: DigestSet,
}

/// A revocation list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrlReference {
    /// Its number.
    pub crl_number: u64,
    /// The digest of its head's payload.
    pub digest: DigestSet,
}

impl DocumentReference {
    /// Names the document whose payload hashes to `payload`.
    pub const fn new(payload: Sha256Digest) -> Self {
        Self {
            digest: DigestSet { sha256: payload },
        }
    }
}

/// What a gateway can see at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CoverageScope {
    /// Connections that went through the gateway. A plugin that goes around it, by UDP or from
    /// another network, is not seen; a report never claims otherwise.
    #[serde(rename = "proxied-only")]
    ProxiedOnly,
}

/// How much was looked at, and what was not to be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// What kind of traffic this evidence can speak about.
    pub scope: CoverageScope,
    /// Runs active in the period.
    pub runs: u64,
    /// Log entries about this artifact or run that were folded.
    pub events: u64,
    /// Gateways that should have handed in a log.
    pub gateways_expected: u64,
    /// Gateways whose log was read and verified.
    pub gateways_seen: u64,
    /// What is missing.
    pub gaps: Vec<Gap>,
}

/// Evidence that is missing or cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// The log concerned.
    pub origin: String,
    /// What happened, in words of ours.
    pub cause: String,
    /// The entry that says so, or the first that cannot be believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Since when something is missing, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Until when, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// How many entries, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<u64>,
}

/// A stretch of one gateway's log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogReference {
    /// `<site>/<gateway>`.
    pub origin: String,
    /// The first entry read.
    pub from: u64,
    /// One past the last entry read; never beyond the checkpoint's size.
    pub to: u64,
    /// The signed checkpoint that the log was verified against, whole.
    pub checkpoint: String,
}

/// One destination and what went there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// The host asked for.
    pub host: Host,
    /// The port asked for.
    pub port: Port,
    /// What was spoken; `null` where nobody spoke.
    #[serde(deserialize_with = "nullable")]
    pub scheme: Option<ObservedScheme>,
    /// Connections asked for.
    pub connections: u64,
    /// Those of them that the gateway refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// Bytes from the plugin to the destination.
    pub bytes_out: u64,
    /// Bytes from the destination to the plugin.
    pub bytes_in: u64,
    /// The declaration that covers it, in canonical form; `null` where none does.
    #[serde(deserialize_with = "nullable")]
    pub matched: Option<String>,
    /// In how many of the runs it was seen, in a report about several.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub runs: u64,
    /// Connections that were still open when the period ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub alive_at_end: u64,
}

impl Observed {
    /// What makes a row a row of its own.
    pub fn key(&self) -> (&Host, Port, Option<ObservedScheme>) {
        (&self.host, self.port, self.scheme)
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// Mail to owner and security.
    Alert,
    /// The artifact goes on running, and somebody looks.
    Watch,
    /// The digest went on the revocation list with action `hold`.
    Quarantine,
    /// The digest went on the revocation list with action `revoke`.
    Revoke,
    /// The clause asked for more than it may do alone; a second person decides.
    AwaitApproval,
    /// It will be done by itself once the clause's grace is over, unless a person says otherwise.
    Announce,
}

impl ActionKind {
    /// The one spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Watch => "watch",
            Self::Quarantine => "quarantine",
            Self::Revoke => "revoke",
            Self::AwaitApproval => "await_approval",
            Self::Announce => "announce",
        }
    }
}

/// One thing that was done without a person, and in whose name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionTaken {
    /// What was done.
    pub action: ActionKind,
    /// The policy clause that asked for it, by its full name.
    pub clause: String,
    /// Who switched that clause on.
    pub enabled_by: String,
    /// The revocation list that carries it; `null` where none does.
    #[serde(deserialize_with = "nullable")]
    pub crl_number: Option<u64>,
    /// When, where it was done before the report was made: events were judged as they arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// What was left out of the lists, so that no reader takes a shortened report for a complete one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Omitted {
    /// Findings, the least grave ones.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub findings: u64,
    /// Rows of `observed`: covered ones before uncovered ones.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub observed: u64,
    /// Unused declarations.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unused: u64,
    /// Gaps.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gaps: u64,
    /// Logs that were read and verified as well and hold nothing of the run that the report is about. The
    /// report about its artifact names them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub logs: u64,
    /// Bytes moved to the destinations that were left out, in both directions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes: u64,
}

impl Omitted {
    /// Whether the report is complete.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
pub(super) fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// In-toto writes digests without the algorithm's name.
mod plain_hex {
    use std::borrow::Cow;

    use base::Sha256Digest;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(digest: &Sha256Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&digest.to_hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sha256Digest, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Sha256Digest::from_hex(&text).map_err(D::Error::custom)
    }
}
