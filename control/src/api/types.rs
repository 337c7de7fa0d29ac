//! What is said over `/v1`: the same types for the server, for the command line and for the office.
//!
//! Requests refuse unknown fields, because a misspelt field is a wish that would be ignored. Answers
//! may gain fields.

use std::net::IpAddr;

use base::{
    ArtifactDigest, ArtifactState, Host, ObservedScheme, PluginId, Port, Reason, RunId, Severity,
    Sha256Digest, Tier, Timestamp, Verdict,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reports::predicate::FindingId;
use seal::Fingerprint;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::store::{
    AppealRecord, ArtifactRecord, ContactRecord, Counts, MailRecord, NightRecord, RemediationRecord,
    ReportRecord, RunRecord, WaitingAct,
};
use crate::words::{Action, AppealOutcome, AppealReason, Lane, ListenerKind, MailState, WaitingState};

pub use crate::store::{Act, ComponentRecord};

/// Bytes that travel as padded base64 in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base64Bytes(pub Vec<u8>);

impl Serialize for Base64Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD
            .decode(text)
            .map(Self)
            .map_err(|_| serde::de::Error::custom("not padded base64"))
    }
}

/// Every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The one field.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For programs; stable.
    pub code: String,
    /// For people; one line.
    pub message: String,
    /// What to try next; empty where the message says it.
    pub hint: String,
}

/// `POST /v1/admissions`. Size and digest are the caller's, computed from the very file it has open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmitRequest {
    /// The artifact's file name, without folders.
    pub file_name: String,
    /// The artifact's size.
    pub size_bytes: u64,
    /// The artifact's digest.
    pub artifact_digest: ArtifactDigest,
    /// `PLUGIN_MANIFEST.sigstore.json`; absent where there is none, which the gate refuses by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_bundle: Option<Base64Bytes>,
    /// `PLUGIN_MANIFEST.json`, if it lies beside the bundle: it must say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_json: Option<Base64Bytes>,
    /// `PLUGIN_APPROVAL.sigstore.json`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_bundle: Option<Base64Bytes>,
    /// The digest of the SBOM that lies beside the artifact, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom_digest: Option<Sha256Digest>,
    /// Libraries inside, as the SBOM beside the artifact or its own metadata says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<ComponentRecord>,
    /// The plugin's tier from now on; absent leaves it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Whether the plugin's other artifacts stop being runnable. Without it they stay admitted: two
    /// versions side by side are ordinary, and taking one away is a decision of its own.
    #[serde(default)]
    pub supersede: bool,
    /// The finding that this build mends, if it mends one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mends: Option<FindingId>,
    /// Who asks.
    pub who: String,
}

/// The answer to [`AdmitRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// The artifact as it stands now.
    pub artifact: ArtifactView,
    /// Artifacts that became `superseded`.
    pub superseded: Vec<ArtifactDigest>,
    /// What people should know although it was no reason to refuse.
    pub notices: Vec<String>,
    /// What it mends, and what changed for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mends: Option<MendsView>,
}

/// What a build mends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MendsView {
    /// The finding.
    pub finding_id: String,
    /// The finding in one line.
    pub finding: String,
    /// The build that was found.
    pub mends_digest: ArtifactDigest,
    /// How it came in.
    pub lane: Lane,
    /// Whether the new manifest declares the destination; where it does not, the build must have stopped
    /// going there.
    pub declares_it: bool,
    /// The difference of permissions, in words.
    pub difference: String,
}

/// One artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactView {
    /// Its digest.
    pub artifact_digest: ArtifactDigest,
    /// The plugin it is a build of.
    pub plugin_id: PluginId,
    /// Its version, if stated.
    pub version: Option<String>,
    /// Where it stands.
    pub state: ArtifactState,
    /// The tier in force for its plugin.
    pub tier: Tier,
    /// What the file was called.
    pub file_name: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was first admitted.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// When it last passed the gate.
    pub admitted_at: Timestamp,
    /// Who let it.
    pub admitted_by: String,
    /// Who signed its manifest.
    pub signer: Fingerprint,
    /// The name of its manifest: SHA-256 of the signed payload.
    pub manifest_digest: Sha256Digest,
}

impl ArtifactView {
    /// The view of `record` in a plugin of `tier`.
    pub fn new(record: &ArtifactRecord, tier: Tier) -> Self {
        Self {
            artifact_digest: record.artifact_digest,
            plugin_id: record.plugin_id.clone(),
            version: record.version.clone(),
            state: record.state,
            tier,
            file_name: record.file_name.clone(),
            size_bytes: record.size_bytes,
            created_at: record.created_at,
            changed_at: record.changed_at,
            admitted_at: record.admission.admitted_at,
            admitted_by: record.admission.admitted_by.clone(),
            signer: record.admission.signer,
            manifest_digest: record.admission.manifest_payload_sha256,
        }
    }
}

/// `GET /v1/artifacts/{digest}`: an artifact with its manifest and what the list says about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArtifactDetail {
    /// The artifact.
    pub artifact: ArtifactView,
    /// The manifest in force.
    pub manifest: Value,
    /// The bundle in force, as it was handed in.
    pub manifest_bundle: Base64Bytes,
    /// The approval, if there is one.
    pub approval_bundle: Option<Base64Bytes>,
    /// Runs that are live now.
    pub live_runs: Vec<RunView>,
}

/// One plugin of `GET /v1/plugins`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginView {
    /// Its name.
    pub plugin_id: PluginId,
    /// The tier in force.
    pub tier: Tier,
    /// Whether somebody chose that tier, or the policy's default holds.
    pub tier_chosen: bool,
    /// The owner's name.
    pub owner_name: Option<String>,
    /// The owner's address.
    pub owner_email: Option<String>,
    /// When it was first admitted.
    pub created_at: Timestamp,
    /// Its artifacts, the latest first.
    pub artifacts: Vec<ArtifactView>,
}

/// The answer to `GET /v1/plugins`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginList {
    /// By name.
    pub plugins: Vec<PluginView>,
}

/// `POST /v1/tiers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetTierRequest {
    /// The plugin.
    pub plugin_id: PluginId,
    /// Its tier from now on.
    pub tier: Tier,
    /// Who asks.
    pub who: String,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// `POST /v1/runs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartRunRequest {
    /// The artifact about to run, by the digest of the bytes that will.
    pub artifact_digest: ArtifactDigest,
    /// How long the run's token is valid; absent takes the site's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_for_s: Option<u32>,
    /// The run's public key in PEM, where it asks for a client certificate as well. The private half
    /// stays with the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<String>,
    /// Listeners that the run gets for itself: whoever comes in there needs no credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<ListenerKind>,
    /// The one user who may open the run's Unix socket; absent takes the gateway's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Addresses that are this run's: whoever comes from there needs no credentials, as long as no
    /// other live run has the same address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<IpAddr>,
    /// Whether loopback may be among the sources: then every process of the gateway's machine is
    /// taken for this run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub loopback_sources: bool,
    /// The class of data that the run handles; the night holds it against what each destination is
    /// declared for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_class: Option<String>,
    /// Who asks.
    pub who: String,
}

/// The answer to [`StartRunRequest`]: what the run's environment is made of.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The run: the user name of its proxy credentials.
    pub run_id: RunId,
    /// Its plugin.
    pub plugin_id: PluginId,
    /// Its artifact.
    pub artifact_digest: ArtifactDigest,
    /// The password of its proxy credentials. Never logged; whoever has it is the run.
    pub token: String,
    /// The certificate for the key that was sent, in PEM: it names the run, and expires with the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// From when on the token is refused.
    pub expires_at: Timestamp,
    /// The tier in force.
    pub tier: Tier,
    /// The run's own listeners: `unix:PATH` or `address:port`, in the order asked for.
    pub listeners: Vec<String>,
    /// Sources that another live run has too, so that they prove nothing for either.
    pub shared_sources: Vec<IpAddr>,
    /// The gateways that will let it out.
    pub gateways: Vec<GatewayView>,
}

impl std::fmt::Debug for RunStarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the token: debug output ends up in logs.
        f.debug_struct("RunStarted")
            .field("run_id", &self.run_id)
            .field("plugin_id", &self.plugin_id)
            .field("artifact_digest", &self.artifact_digest)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// `POST /v1/runs/{run_id}/end`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndRunRequest {
    /// The command's exit status, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// Its id.
    pub run_id: RunId,
    /// Its artifact.
    pub artifact_digest: ArtifactDigest,
    /// Its plugin.
    pub plugin_id: PluginId,
    /// Since when.
    pub started_at: Timestamp,
    /// From when on its token is refused.
    pub expires_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub exit_status: Option<i32>,
    /// Who registered it.
    pub started_by: String,
    /// Its own listeners, which are open while it is live.
    pub listeners: Vec<String>,
    /// The addresses that are its own while it is live.
    pub sources: Vec<IpAddr>,
    /// The class of data that it handles, if somebody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_class: Option<String>,
    /// Whether it is neither over nor expired.
    pub live: bool,
}

impl RunView {
    /// The view of `record` at `now`.
    pub fn new(record: &RunRecord, now: Timestamp) -> Self {
        Self {
            run_id: record.run_id,
            artifact_digest: record.artifact_digest,
            plugin_id: record.plugin_id.clone(),
            started_at: record.started_at,
            expires_at: record.expires_at,
            ended_at: record.ended_at,
            exit_status: record.exit_status,
            started_by: record.started_by.clone(),
            listeners: record.listeners.clone(),
            sources: record.sources.clone(),
            data_class: record.data_class.clone(),
            live: record.is_live(now),
        }
    }
}

/// The answer to `GET /v1/runs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunList {
    /// The latest first.
    pub runs: Vec<RunView>,
}

/// The query of `GET /v1/runs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunQuery {
    /// One plugin's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_id: Option<PluginId>,
    /// Live ones only.
    #[serde(default)]
    pub live: bool,
    /// At most this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

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

/// `POST /v1/waiting/{waiting_id}/decide`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecideRequest {
    /// Whether it is to be done.
    pub approve: bool,
    /// Who decides: another person than the one who switched the clause on.
    pub who: String,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// An act that a clause of the policy asked for and that was not done at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingView {
    /// Its number.
    pub waiting_id: i64,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact.
    pub artifact_digest: ArtifactDigest,
    /// What waits: `quarantine` or `revoke`.
    pub action: Action,
    /// The gravest reason found.
    pub reason: Reason,
    /// The clause, by its full name.
    pub clause: String,
    /// Who switched it on.
    pub enabled_by: String,
    /// Why it waits, in words.
    pub why: String,
    /// Since when.
    pub asked_at: Timestamp,
    /// When it is done by itself; absent where a second person must approve.
    pub due_at: Option<Timestamp>,
    /// When the question lapses.
    pub expires_at: Timestamp,
    /// How it stands.
    pub state: WaitingState,
    /// Who decided.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at: Option<Timestamp>,
    /// Why, in words.
    pub note: Option<String>,
    /// The revocation list that carries it.
    pub crl_number: Option<u64>,
}

impl From<WaitingAct> for WaitingView {
    fn from(act: WaitingAct) -> Self {
        let asked = act.asked;
        Self {
            waiting_id: act.waiting_id,
            plugin_id: asked.plugin_id,
            artifact_digest: asked.artifact_digest,
            action: asked.action,
            reason: asked.reason,
            clause: asked.clause,
            enabled_by: asked.enabled_by,
            why: asked.why,
            asked_at: act.asked_at,
            due_at: asked.due_at,
            expires_at: asked.expires_at,
            state: act.state,
            decided_by: act.decided_by,
            decided_at: act.decided_at,
            note: act.note,
            crl_number: act.crl_number,
        }
    }
}

/// The answer to `GET /v1/waiting`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingList {
    /// The latest first.
    pub waiting: Vec<WaitingView>,
}

/// The query of `GET /v1/waiting`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitingQuery {
    /// Acts in this state only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<WaitingState>,
    /// At most this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
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

/// `POST /v1/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// Who asks.
    pub who: String,
}

/// `POST /v1/archive`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveRequest {
    /// Everything that is signed, and not only hours that are over.
    #[serde(default)]
    pub all: bool,
    /// Who asks.
    pub who: String,
}

/// What was archived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedView {
    /// The log, `<site>/<gateway>`.
    pub origin: String,
    /// The folder or the bucket.
    pub archive: String,
    /// The files, in order; empty where nothing was due.
    pub files: Vec<ArchivedFile>,
}

/// One file of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedFile {
    /// Its name, below the archive.
    pub file: String,
    /// What it hashes to, in hex.
    pub sha256: String,
    /// The first entry in it.
    pub entries_from: u64,
    /// One past the last.
    pub entries_to: u64,
    /// Its size.
    pub bytes: Option<u64>,
}

/// `POST /v1/archive/prune`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// For how many seconds entries stay.
    pub keep_s: u32,
    /// Say what would go, and let nothing go.
    #[serde(default)]
    pub dry_run: bool,
    /// Who asks.
    pub who: String,
}

/// What went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunedView {
    /// The log, `<site>/<gateway>`.
    pub origin: String,
    /// The folder or the bucket that has it.
    pub archive: String,
    /// Whether nothing went, because only a word was asked for.
    pub dry_run: bool,
    /// The first entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries_from: Option<u64>,
    /// One past the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries_to: Option<u64>,
    /// Files of entries that were removed, also those that an interrupted round had left.
    pub bundles_removed: u64,
}

/// What a reload came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadView {
    /// The configuration file that was read.
    pub path: String,
    /// Keys whose new values are in force now.
    pub changed: Vec<String>,
    /// Keys whose new values wait for a restart.
    pub needs_restart: Vec<String>,
}

/// `POST /v1/audits`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRequest {
    /// The first moment; absent takes up where the last audit ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// The first moment after; absent is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// One plugin's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_id: Option<PluginId>,
    /// One run's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// A draft manifest to judge by instead: "what if". Implies a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Value>,
    /// A draft policy, as TOML, to act by instead: "what if". Implies a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// A tier to put every plugin concerned into: "what if". Implies a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Whether the answer lists every destination that each run went to.
    #[serde(default)]
    pub observed: bool,
    /// Judge and answer, but write, send and do nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Who asks.
    #[serde(default)]
    pub who: String,
}

/// How far an audit is: the answer to `GET /v1/audits`, with everything absent where none is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditProgress {
    /// What is being done, for people.
    pub doing: Option<String>,
    /// How much of that is done.
    pub done: u64,
    /// How much there is in all.
    pub of: u64,
}

/// The answer to [`AuditRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditSummary {
    /// The period's first moment.
    pub from: Timestamp,
    /// The first moment after the period.
    pub to: Timestamp,
    /// Whether nothing was written, sent or done.
    pub dry_run: bool,
    /// One line per report.
    pub reports: Vec<AuditedReport>,
    /// What the tiers did about it.
    pub acts: Vec<Act>,
    /// Message-IDs of the letters that were queued.
    pub mails: Vec<String>,
    /// What keeps somebody from being sure; empty where the evidence is whole.
    pub doubts: Vec<String>,
    /// What concerns the site rather than a plugin, such as connections without identity.
    #[serde(default)]
    pub notices: Vec<String>,
    /// What clauses of the policy came to, acts that were not done at once and dry runs included.
    #[serde(default)]
    pub proposals: Vec<ProposalLine>,
    /// "What if": connections that would have fared otherwise.
    #[serde(default)]
    pub changes: Vec<ChangeLine>,
}

/// What one clause of the policy came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalLine {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact.
    pub artifact_digest: ArtifactDigest,
    /// What the clause comes to: `alert`, `watch`, `quarantine`, `revoke`, `announce` or
    /// `await_approval`.
    pub measure: String,
    /// Why it is no more than that, or what it waits for; absent where it is done at once.
    pub why: Option<String>,
    /// The clause, by its full name.
    pub clause: String,
    /// Who switched it on.
    pub enabled_by: String,
    /// The reasons found.
    pub reasons: Vec<Reason>,
    /// What became of it.
    pub result: String,
}

/// Connections of one artifact to one destination that would have fared otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeLine {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact.
    pub artifact_digest: ArtifactDigest,
    /// Where to, escaped for print.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What was spoken.
    pub scheme: Option<ObservedScheme>,
    /// How many connections.
    pub connections: u64,
    /// In how many runs.
    pub runs: u64,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
    /// How they would have fared: `breach`, `no_breach`, `denied` or `allowed`.
    pub would: String,
    /// By which entry, or which clause, and why.
    pub by: String,
}

impl AuditSummary {
    /// The gravest of all verdicts: a broken promise before doubt, doubt before a clean night.
    pub fn verdict(&self) -> Verdict {
        let has = |verdict| self.reports.iter().any(|report| report.verdict == verdict);
        if has(Verdict::NonConforming) {
            Verdict::NonConforming
        } else if has(Verdict::Inconclusive) || !self.doubts.is_empty() {
            Verdict::Inconclusive
        } else if has(Verdict::Conforming) {
            Verdict::Conforming
        } else {
            Verdict::NoTraffic
        }
    }
}

/// One report of an audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditedReport {
    /// The SHA-256 of its bundle; absent in a dry run.
    pub report_id: Option<Sha256Digest>,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact.
    pub artifact_digest: Option<ArtifactDigest>,
    /// The run, where the report is about one.
    pub run_id: Option<RunId>,
    /// The verdict.
    pub verdict: Verdict,
    /// The folder it was written to; absent in a dry run.
    pub folder: Option<String>,
    /// Its findings.
    pub findings: Vec<FindingLine>,
    /// Every destination, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<ObservedLine>,
}

/// One destination and what went there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedLine {
    /// The host asked for.
    pub host: Host,
    /// The port asked for.
    pub port: Port,
    /// What was spoken; absent where nobody spoke.
    pub scheme: Option<ObservedScheme>,
    /// Connections asked for.
    pub connections: u64,
    /// The declaration that covers it.
    pub matched: Option<String>,
}

/// A finding in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingLine {
    /// Why it is one.
    pub reason: Reason,
    /// How grave it is.
    pub severity: Severity,
    /// Where to, escaped for print; absent where the finding is about the evidence itself.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// How many connections.
    pub connections: u64,
    /// How to mend it.
    pub fix: String,
}

/// One report of `GET /v1/reports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportView {
    /// The SHA-256 of its bundle.
    pub report_id: Sha256Digest,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact.
    pub artifact_digest: Option<ArtifactDigest>,
    /// The run, where the report is about one.
    pub run_id: Option<RunId>,
    /// The period's first moment.
    pub from: Timestamp,
    /// The first moment after the period.
    pub to: Timestamp,
    /// The verdict.
    pub verdict: Verdict,
    /// The folder with all its forms.
    pub folder: String,
    /// When it was written.
    pub created_at: Timestamp,
}

impl From<&ReportRecord> for ReportView {
    fn from(record: &ReportRecord) -> Self {
        Self {
            report_id: record.report_id,
            plugin_id: record.plugin_id.clone(),
            artifact_digest: record.artifact_digest,
            run_id: record.run_id,
            from: record.from,
            to: record.to,
            verdict: record.verdict,
            folder: record.folder.clone(),
            created_at: record.created_at,
        }
    }
}

/// The answer to `GET /v1/reports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportList {
    /// The latest first.
    pub reports: Vec<ReportView>,
}

/// The query of `GET /v1/reports`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportQuery {
    /// One plugin's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_id: Option<PluginId>,
    /// At most this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The answer to `GET /v1/reports/{report_id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportDetail {
    /// Where it lies and what it says.
    pub report: ReportView,
    /// `report.sigstore.json`, checked against the id.
    pub bundle: Value,
}

/// `POST /v1/reports/{report_id}/send` and `POST /v1/mails/{mail_id}/again`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    /// Who asks.
    pub who: String,
}

/// The answer to `POST /v1/reports/{report_id}/send`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Message-IDs of the letters in the outbox.
    pub mails: Vec<String>,
}

/// One letter of `GET /v1/mails`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailView {
    /// Its number.
    pub mail_id: i64,
    /// Its Message-ID.
    pub message_id: String,
    /// The recipient.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// How it stands.
    pub state: MailState,
    /// How often a server was asked to take it.
    pub attempts: u32,
    /// When it is tried next, while queued.
    pub next_attempt_at: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When the server took it.
    pub sent_at: Option<Timestamp>,
}

impl From<MailRecord> for MailView {
    fn from(record: MailRecord) -> Self {
        Self {
            mail_id: record.mail_id,
            message_id: record.message_id,
            to: record.recipient,
            subject: record.subject,
            state: record.state,
            attempts: record.attempts,
            next_attempt_at: (record.state == MailState::Queued).then_some(record.next_attempt_at),
            last_error: record.last_error,
            created_at: record.created_at,
            sent_at: record.sent_at,
        }
    }
}

/// The answer to `GET /v1/mails`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailList {
    /// The latest first.
    pub mails: Vec<MailView>,
}

/// The query of `GET /v1/mails`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailQuery {
    /// Letters in this state only; `dead` lists what was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<MailState>,
    /// At most this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// One address of `GET /v1/contacts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactView {
    /// The address.
    pub address: String,
    /// When its reader was last asked to send a token back.
    pub asked_at: Option<Timestamp>,
    /// When a token came back.
    pub verified_at: Option<Timestamp>,
    /// When mail to it last came back, unless later mail was taken.
    pub bounced_at: Option<Timestamp>,
    /// What was said then.
    pub bounce: Option<String>,
}

impl From<ContactRecord> for ContactView {
    fn from(record: ContactRecord) -> Self {
        Self {
            address: record.address,
            asked_at: record.asked_at,
            verified_at: record.verified_at,
            bounced_at: record.bounced_at,
            bounce: record.bounce,
        }
    }
}

/// The answer to `GET /v1/contacts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactList {
    /// In the order of their addresses.
    pub contacts: Vec<ContactView>,
}

/// `POST /v1/contacts/ask`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskRequest {
    /// Whom to mail a token.
    pub address: String,
    /// Who asks.
    pub who: String,
}

/// `POST /v1/contacts/confirm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmRequest {
    /// The token that came back.
    pub token: String,
    /// Who received it.
    pub who: String,
}

/// `POST /v1/contacts/bounced`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BounceRequest {
    /// The address that mail came back from.
    pub address: String,
    /// What the message about it said, in one line.
    pub why: String,
    /// Who received it.
    pub who: String,
}

/// `POST /v1/mails/again`: every dead letter and every webhook that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentAgain {
    /// Letters back in the outbox.
    pub mails: u64,
    /// Webhooks back in the queue.
    pub webhooks: u64,
}

/// `POST /v1/appeals`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAppealRequest {
    /// The finding that is said to be wrong.
    pub finding_id: FindingId,
    /// Why.
    pub reason: AppealReason,
    /// The owner's own words, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// Who opens it.
    pub who: String,
}

/// `POST /v1/appeals/{appeal_id}/respond`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RespondRequest {
    /// The answer, in one line.
    pub response: String,
    /// Who answers.
    pub who: String,
}

/// `POST /v1/appeals/{appeal_id}/decide`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecideAppealRequest {
    /// How.
    pub outcome: AppealOutcome,
    /// Why, in one line.
    pub decision: String,
    /// Who decides.
    pub who: String,
}

/// One appeal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppealView {
    /// Its number.
    pub appeal_id: i64,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The build that the finding is about.
    pub artifact_digest: ArtifactDigest,
    /// The finding.
    pub finding_id: String,
    /// The finding in one line.
    pub finding: String,
    /// The report that has it.
    pub report_id: Sha256Digest,
    /// Why it is said to be wrong.
    pub reason: AppealReason,
    /// The owner's own words.
    pub statement: Option<String>,
    /// Who opened it.
    pub opened_by: String,
    /// When.
    pub opened_at: Timestamp,
    /// Until when somebody promised to have read it.
    pub acknowledge_by: Timestamp,
    /// Until when somebody promised to answer.
    pub respond_by: Timestamp,
    /// Until when somebody promised to decide.
    pub decide_by: Timestamp,
    /// Which promises are broken by now.
    pub overdue: Vec<String>,
    /// When somebody had read it.
    pub acknowledged_at: Option<Timestamp>,
    /// When somebody answered.
    pub responded_at: Option<Timestamp>,
    /// What was answered.
    pub response: Option<String>,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// Who decided.
    pub decided_by: Option<String>,
    /// How.
    pub outcome: Option<AppealOutcome>,
    /// Why.
    pub decision: Option<String>,
    /// Until when nothing automatic is done to the plugin.
    pub protected_until: Option<Timestamp>,
    /// The list that lifted the hold, where there was one.
    pub crl_number: Option<u64>,
}

impl AppealView {
    /// The appeal as it stands at `now`.
    pub fn new(record: AppealRecord, now: Timestamp) -> Self {
        let open = record.decided_at.is_none();
        let clocks = [
            ("acknowledge", record.acknowledge_by, record.acknowledged_at),
            ("respond", record.respond_by, record.responded_at),
            ("decide", record.decide_by, record.decided_at),
        ];
        let overdue = clocks
            .into_iter()
            .filter(|(_, by, done)| open && done.is_none() && *by < now)
            .map(|(what, _, _)| what.to_owned());
        Self {
            overdue: overdue.collect(),
            appeal_id: record.appeal_id,
            plugin_id: record.plugin_id,
            artifact_digest: record.artifact_digest,
            finding_id: record.finding_id,
            finding: record.finding,
            report_id: record.report_id,
            reason: record.reason,
            statement: record.statement,
            opened_by: record.opened_by,
            opened_at: record.opened_at,
            acknowledge_by: record.acknowledge_by,
            respond_by: record.respond_by,
            decide_by: record.decide_by,
            acknowledged_at: record.acknowledged_at,
            responded_at: record.responded_at,
            response: record.response,
            decided_at: record.decided_at,
            decided_by: record.decided_by,
            outcome: record.outcome,
            decision: record.decision,
            protected_until: record.protected_until,
            crl_number: record.crl_number,
        }
    }
}

/// The answer to `GET /v1/appeals`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppealList {
    /// The latest first.
    pub appeals: Vec<AppealView>,
}

/// The query of `GET /v1/appeals` and `GET /v1/remediations`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenQuery {
    /// Only those that nothing has settled yet.
    #[serde(default)]
    pub open: bool,
}

/// One remediation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemediationView {
    /// Its number.
    pub remediation_id: i64,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The finding.
    pub finding_id: String,
    /// The finding in one line.
    pub finding: String,
    /// The report that has it.
    pub report_id: Sha256Digest,
    /// The build that was found.
    pub mends_digest: ArtifactDigest,
    /// The build that mends it.
    pub artifact_digest: ArtifactDigest,
    /// How it came in.
    pub lane: Lane,
    /// The difference of permissions, in words.
    pub difference: String,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// By whom.
    pub admitted_by: String,
    /// When a night found the finding gone.
    pub closed_at: Option<Timestamp>,
    /// The report that shows it.
    pub closed_by: Option<Sha256Digest>,
    /// The folder of the closing report.
    pub folder: Option<String>,
}

impl From<RemediationRecord> for RemediationView {
    fn from(record: RemediationRecord) -> Self {
        Self {
            remediation_id: record.remediation_id,
            plugin_id: record.plugin_id,
            finding_id: record.finding_id,
            finding: record.finding,
            report_id: record.report_id,
            mends_digest: record.mends_digest,
            artifact_digest: record.artifact_digest,
            lane: record.lane,
            difference: record.difference,
            admitted_at: record.admitted_at,
            admitted_by: record.admitted_by,
            closed_at: record.closed_at,
            closed_by: record.closed_by,
            folder: record.folder,
        }
    }
}

/// The answer to `GET /v1/remediations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemediationList {
    /// The latest first.
    pub remediations: Vec<RemediationView>,
}

/// The query of `GET /v1/acts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActQuery {
    /// At most this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The answer to `GET /v1/acts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActList {
    /// The latest first.
    pub acts: Vec<Act>,
}

/// The answer to `GET /v1/status`: what is running and how old everything is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// The site's name.
    pub site: String,
    /// The control plane's time.
    pub now: Timestamp,
    /// Whether the load gate refuses everything.
    pub safe_mode: bool,
    /// The policy in force.
    pub policy_version: u64,
    /// The trust root in force.
    pub trust_root_version: u64,
    /// After this moment a newer trust root is due.
    pub trust_root_expires: Timestamp,
    /// The list in force.
    pub crl: CrlStatus,
    /// Plugins registered.
    pub plugins: u64,
    /// Artifacts by state.
    pub artifacts: Vec<StateCount>,
    /// Runs that are live now.
    pub live_runs: u64,
    /// Reports written.
    pub reports: u64,
    /// Letters waiting.
    pub mails_queued: u64,
    /// Letters given up.
    pub mails_dead: u64,
    /// Webhooks waiting.
    #[serde(default)]
    pub webhooks_queued: u64,
    /// Webhooks given up.
    #[serde(default)]
    pub webhooks_dead: u64,
    /// How far the audit has come.
    pub last_audited_to: Option<Timestamp>,
    /// The latest audit.
    pub last_night: Option<NightView>,
    /// The gateways that this control plane can reach.
    pub gateways: Vec<GatewayView>,
}

impl StatusView {
    /// Artifacts by state, out of the store's counts.
    pub fn states(counts: &Counts) -> Vec<StateCount> {
        counts
            .artifacts
            .iter()
            .map(|&(state, count)| StateCount { state, count })
            .collect()
    }
}

/// How many artifacts are in one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCount {
    /// The state.
    pub state: ArtifactState,
    /// How many.
    pub count: u64,
}

/// The revocation list in brief.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlStatus {
    /// Its number.
    pub crl_number: u64,
    /// When it was issued.
    pub this_update: Timestamp,
    /// When the next one is due.
    pub next_update: Timestamp,
    /// Whether that moment has passed.
    pub stale: bool,
    /// How many entries it has.
    pub entries: u64,
    /// What the kill switch stops; empty while it rests.
    pub kill_switch: Vec<String>,
}

/// One audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NightView {
    /// The moment it was due; absent by hand.
    pub scheduled_for: Option<Timestamp>,
    /// The period's first moment.
    pub from: Timestamp,
    /// The first moment after the period.
    pub to: Timestamp,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was done.
    pub finished_at: Option<Timestamp>,
    /// What came of it.
    pub outcome: Option<String>,
}

impl From<NightRecord> for NightView {
    fn from(record: NightRecord) -> Self {
        Self {
            scheduled_for: record.scheduled_for,
            from: record.from,
            to: record.to,
            started_at: record.started_at,
            finished_at: record.finished_at,
            outcome: record.outcome,
        }
    }
}

/// One gateway, as it says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayView {
    /// Its name.
    pub name: String,
    /// Where plugins reach it, as `address:port` or `unix:PATH`.
    pub listen: Vec<String>,
    /// Listeners of single runs that are open now.
    pub run_listeners: u64,
    /// Source addresses that live runs are known by.
    pub run_sources: u64,
    /// Tunnels open now.
    pub live_tunnels: u64,
    /// Entries in its log.
    pub log_size: u64,
    /// The list it enforces.
    pub crl_number: u64,
    /// Whether it takes connections.
    pub ready: bool,
    /// What witnesses said about its log.
    pub witnessing: WitnessingView,
}

/// What witnesses said about a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessingView {
    /// Cosignatures that a checkpoint needs.
    pub needed: u64,
    /// Whether the newest cosigned checkpoint has as many.
    pub met: bool,
    /// Entries under that checkpoint; 0 where none was cosigned.
    pub size: u64,
    /// Who cosigned it.
    pub cosignatures: Vec<CosignatureView>,
    /// Who did not, and why.
    pub troubles: Vec<WitnessTrouble>,
}

/// One witness's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CosignatureView {
    /// The witness.
    pub witness: String,
    /// When it cosigned.
    pub time: Timestamp,
}

/// Why a witness did not cosign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessTrouble {
    /// The witness.
    pub witness: String,
    /// In words.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_told_apart_by_its_spelling() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let signer = format!("SHA256:{}", "A".repeat(43));
        for text in [&digest, &signer, &format!("manifest:{digest}"), "acme.weather"] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), *text);
        }
        for bad in ["", "*", "sha256:abc", "SHA512:x", "Acme", "manifest:acme", "a b"] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_kill_stops_everything_a_plugin_or_a_build() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for text in ["*", "acme.weather", &digest] {
            assert_eq!(text.parse::<KillTarget>().unwrap().to_string(), text);
        }
        assert!(
            format!("SHA256:{}", "A".repeat(43))
                .parse::<KillTarget>()
                .is_err()
        );
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        let json = r#"{"on":true,"who":"ops","notes":"x"}"#;
        assert!(serde_json::from_str::<SafeModeRequest>(json).is_err());
    }

    #[test]
    fn the_gravest_verdict_of_a_night_counts() {
        let mut summary = AuditSummary {
            from: Timestamp::from_unix_us(0),
            to: Timestamp::from_unix_us(1),
            dry_run: false,
            reports: Vec::new(),
            acts: Vec::new(),
            mails: Vec::new(),
            doubts: Vec::new(),
            notices: Vec::new(),
            proposals: Vec::new(),
            changes: Vec::new(),
        };
        assert_eq!(summary.verdict(), Verdict::NoTraffic);
        let report = |verdict| AuditedReport {
            report_id: None,
            plugin_id: "acme".parse().unwrap(),
            artifact_digest: None,
            run_id: None,
            verdict,
            folder: None,
            findings: Vec::new(),
            observed: Vec::new(),
        };
        summary.reports.push(report(Verdict::Conforming));
        assert_eq!(summary.verdict(), Verdict::Conforming);
        summary.doubts.push("a gap".into());
        assert_eq!(summary.verdict(), Verdict::Inconclusive);
        summary.reports.push(report(Verdict::NonConforming));
        assert_eq!(summary.verdict(), Verdict::NonConforming);
    }

    #[test]
    fn a_token_never_shows_in_debug_output() {
        let started = RunStarted {
            run_id: RunId::from_parts(1, [0; 10]),
            plugin_id: "acme".parse().unwrap(),
            artifact_digest: ArtifactDigest::new(Sha256Digest::of(b"x")),
            client_certificate: None,
            token: "very-secret".into(),
            expires_at: Timestamp::from_unix_us(0),
            tier: Tier::Low,
            listeners: Vec::new(),
            shared_sources: Vec::new(),
            gateways: Vec::new(),
        };
        assert!(!format!("{started:?}").contains("very-secret"));
    }
}
