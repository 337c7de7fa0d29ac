//! Changes of the revocation list, the kill switch, and what holds of a build.

use base::{ArtifactDigest, ArtifactState, PluginId, Reason, Sha256Digest, Timestamp};
use seal::Fingerprint;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// What is done about something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListAct {
    /// Put on hold; reversible.
    Quarantine,
    /// Revoke; final.
    Revoke,
    /// Lift a hold.
    Reinstate,
}

/// What the act is about. In text: a digest (`sha256:…`), a key fingerprint (`SHA256:…`), a
/// manifest's payload digest (`manifest:sha256:…`), or a plugin id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// One build.
    Artifact(ArtifactDigest),
    /// Everything that a key signed.
    Signer(Fingerprint),
    /// One signed manifest.
    Manifest(Sha256Digest),
    /// Every build of a plugin.
    Plugin(PluginId),
}

/// A text that names nothing that a list could hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a target is an artifact (sha256:…), a signer (SHA256:…), a manifest (manifest:sha256:…) or a plugin id"
)]
pub struct InvalidTarget;

impl std::str::FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        if let Some(digest) = text.strip_prefix("manifest:") {
            return digest.parse().map(Self::Manifest).map_err(|_| InvalidTarget);
        }
        if text.starts_with("SHA256:") {
            return text.parse().map(Self::Signer).map_err(|_| InvalidTarget);
        }
        // A plugin id holds no colon, so the two cannot be mistaken for each other.
        if text.contains(':') {
            return text.parse().map(Self::Artifact).map_err(|_| InvalidTarget);
        }
        text.parse().map(Self::Plugin).map_err(|_| InvalidTarget)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Artifact(digest) => digest.fmt(f),
            Self::Signer(fingerprint) => fingerprint.fmt(f),
            Self::Manifest(digest) => write!(f, "manifest:{digest}"),
            Self::Plugin(plugin_id) => plugin_id.fmt(f),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// One change of the revocation list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListChange {
    /// What is done.
    pub action: ListAct,
    /// To what.
    pub target: Target,
    /// Why.
    pub reason: Reason,
}

/// `POST /v1/crl/changes`: all of them go out in one list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    /// At least one.
    pub changes: Vec<ListChange>,
    /// Who asks.
    pub who: String,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The clause of the policy, for an automatic act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clause: Option<String>,
    /// Who enabled that clause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled_by: Option<String>,
}

/// `POST /v1/kill`: the switch that is looked at before any lookup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillRequest {
    /// What stops: `*` for everything, a plugin id, or a digest (which goes on hold).
    pub target: KillTarget,
    /// `true` releases the switch again. A digest is released by reinstating it.
    #[serde(default)]
    pub lift: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Who asks.
    pub who: String,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a kill stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KillTarget {
    /// Every plugin.
    All,
    /// Every build of one plugin.
    Plugin(PluginId),
    /// One build.
    Artifact(ArtifactDigest),
}

impl std::str::FromStr for KillTarget {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        if text == "*" {
            return Ok(Self::All);
        }
        match text.parse()? {
            Target::Artifact(digest) => Ok(Self::Artifact(digest)),
            Target::Plugin(plugin_id) => Ok(Self::Plugin(plugin_id)),
            Target::Signer(_) | Target::Manifest(_) => Err(InvalidTarget),
        }
    }
}

impl std::fmt::Display for KillTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Plugin(plugin_id) => plugin_id.fmt(f),
            Self::Artifact(digest) => digest.fmt(f),
        }
    }
}

impl Serialize for KillTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KillTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The answer to a change of the list: what is in force, and what it cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListPublished {
    /// The list's number.
    pub crl_number: u64,
    /// When it was issued.
    pub this_update: Timestamp,
    /// Artifacts whose state followed, with the state they have now.
    pub artifacts: Vec<StateView>,
    /// What each gateway cut.
    pub gateways: Vec<KillView>,
    /// All tunnels cut.
    pub tunnels: u64,
    /// The slowest gateway's time from signed list to closed sockets.
    pub ms: f64,
}

/// An artifact and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateView {
    /// The artifact.
    pub artifact_digest: ArtifactDigest,
    /// Its state.
    pub state: ArtifactState,
}

/// What one gateway cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KillView {
    /// The gateway.
    pub gateway: String,
    /// Tunnels closed.
    pub tunnels: u64,
    /// Milliseconds from signed list to closed sockets.
    pub ms: f64,
    /// What went wrong, if it did not get there.
    pub error: Option<String>,
}

/// The answer to `GET /v1/crl/why/{target}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyView {
    /// The explanation for people, with line breaks.
    pub text: String,
    /// The same for programs: which entry decides, all entries that name the target, their history.
    pub why: Value,
}

/// `POST /v1/safe-mode`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SafeModeRequest {
    /// Whether the load gate refuses everything from now on.
    pub on: bool,
    /// Who asks.
    pub who: String,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
