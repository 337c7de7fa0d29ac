//! What the store holds, as plain values: no row, column or engine shows through.

use std::net::IpAddr;

use base::{ArtifactDigest, ArtifactState, PluginId, Reason, RunId, Sha256Digest, Tier, Timestamp, Verdict};
use seal::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::words::{Action, AppealOutcome, AppealReason, Lane, MailState, WaitingState};

/// One plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginRecord {
    /// Its name.
    pub plugin_id: PluginId,
    /// The tier that somebody chose; `None` where the policy's default holds.
    pub tier: Option<Tier>,
    /// The owner's name, from the latest manifest that had one.
    pub owner_name: Option<String>,
    /// The owner's address, from the latest manifest that had one.
    pub owner_email: Option<String>,
    /// When it was first admitted.
    pub created_at: Timestamp,
}

/// One artifact, with the manifest now in force for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactRecord {
    /// Its digest.
    pub artifact_digest: ArtifactDigest,
    /// The plugin it is a build of.
    pub plugin_id: PluginId,
    /// Its version, if the manifest states one.
    pub version: Option<String>,
    /// Where it stands.
    pub state: ArtifactState,
    /// What the file was called, for people.
    pub file_name: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was first admitted.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// The latest passage through the load gate.
    pub admission: AdmissionRecord,
}

/// Everything by which a revocation list could name an artifact, and its manifest: what is needed of
/// all artifacts at once, without their bundles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactNames {
    /// Its digest.
    pub artifact_digest: ArtifactDigest,
    /// Its plugin.
    pub plugin_id: PluginId,
    /// Where it stands.
    pub state: ArtifactState,
    /// The SHA-256 of its manifest's payload.
    pub manifest_payload_sha256: Sha256Digest,
    /// Who signed the manifest.
    pub signer: Fingerprint,
    /// The manifest, as canonical JSON.
    pub manifest_json: String,
}

/// One passage through the load gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionRecord {
    /// The manifest: the verified predicate, as canonical JSON.
    pub manifest_json: String,
    /// The SHA-256 of the payload bytes that were verified; what a revocation list names it by.
    pub manifest_payload_sha256: Sha256Digest,
    /// The bundle as handed in.
    pub manifest_bundle: Vec<u8>,
    /// The platform's approval, if there was one.
    pub approval_bundle: Option<Vec<u8>>,
    /// The digest of the SBOM that was handed in.
    pub sbom_sha256: Option<Sha256Digest>,
    /// Libraries inside, as the SBOM or the artifact's own metadata says.
    pub components: Vec<ComponentRecord>,
    /// Who signed the manifest.
    pub signer: Fingerprint,
    /// When.
    pub admitted_at: Timestamp,
    /// By whom.
    pub admitted_by: String,
}

/// One library inside an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentRecord {
    /// Its name, as the document spells it.
    pub name: String,
    /// Its version, as the document spells it.
    pub version: String,
}

/// An act that a clause of the policy asked for and that was not done at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWaitingAct {
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
    /// When it is done by itself; `None` where a second person must approve.
    pub due_at: Option<Timestamp>,
    /// When the question lapses.
    pub expires_at: Timestamp,
}

/// The same, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingAct {
    /// Its number.
    pub waiting_id: i64,
    /// What was asked.
    pub asked: NewWaitingAct,
    /// When.
    pub asked_at: Timestamp,
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

/// How a waiting act was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingDecision {
    /// How it stands from now on.
    pub state: WaitingState,
    /// Who decided.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, in words.
    pub note: Option<String>,
    /// The revocation list that carries it.
    pub crl_number: Option<u64>,
}

/// What is written when an artifact passes the load gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAdmission {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The tier, if one was chosen with the admission.
    pub tier: Option<Tier>,
    /// The owner's name, if the manifest states one.
    pub owner_name: Option<String>,
    /// The owner's address, if the manifest states one.
    pub owner_email: Option<String>,
    /// The artifact.
    pub artifact_digest: ArtifactDigest,
    /// Its version, if the manifest states one.
    pub version: Option<String>,
    /// The file's name.
    pub file_name: String,
    /// The file's size.
    pub size_bytes: u64,
    /// Whether the plugin's other artifacts that may run become `superseded`.
    pub supersede: bool,
    /// The passage itself.
    pub admission: AdmissionRecord,
}

/// One execution of one artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// Its id.
    pub run_id: RunId,
    /// What runs.
    pub artifact_digest: ArtifactDigest,
    /// Whose it is.
    pub plugin_id: PluginId,
    /// Since when.
    pub started_at: Timestamp,
    /// From when on its token is refused.
    pub expires_at: Timestamp,
    /// When it ended, if it was told to have.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub exit_status: Option<i32>,
    /// Who registered it.
    pub started_by: String,
    /// Its own listeners, `unix:PATH` or `address:port`.
    pub listeners: Vec<String>,
    /// The one user who may open its Unix socket, where it has one.
    pub socket_uid: Option<u32>,
    /// The addresses that are its own.
    pub sources: Vec<IpAddr>,
    /// The class of data that it handles, if somebody said.
    pub data_class: Option<String>,
}

impl RunRecord {
    /// Whether the run is neither over nor expired.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && now < self.expires_at
    }
}

/// One signed report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRecord {
    /// The SHA-256 of its bundle.
    pub report_id: Sha256Digest,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact; `None` for connections that nobody could attribute.
    pub artifact_digest: Option<ArtifactDigest>,
    /// The run, where the report is about one.
    pub run_id: Option<RunId>,
    /// The period's first moment.
    pub from: Timestamp,
    /// The first moment after the period.
    pub to: Timestamp,
    /// The verdict.
    pub verdict: Verdict,
    /// The folder with `report.sigstore.json` and its renderings, or with the file that has its line.
    pub folder: String,
    /// Where in the folder's file of reports about runs it stands; `None` for a file of its own.
    pub line: Option<Line>,
    /// When it was written.
    pub created_at: Timestamp,
}

/// A report's place in a file of many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Line {
    /// Its first byte.
    pub at: u64,
    /// How many bytes it has, without the line's end.
    pub bytes: u64,
}

/// One week of reports about artifacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeekRecord {
    /// Its first moment, a Monday in UTC.
    pub from: Timestamp,
    /// Reports that said `conforming`.
    pub conforming: u64,
    /// Reports that said `non_conforming`.
    pub non_conforming: u64,
    /// Reports that said `inconclusive`.
    pub inconclusive: u64,
    /// Reports that said `no_traffic`.
    pub no_traffic: u64,
    /// Different artifacts with a report that said `non_conforming`.
    pub artifacts_not_conforming: u64,
}

/// One audit, scheduled or by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NightRecord {
    /// Its number.
    pub night_id: i64,
    /// The moment it was due; `None` by hand.
    pub scheduled_for: Option<Timestamp>,
    /// The period's first moment.
    pub from: Timestamp,
    /// The first moment after the period.
    pub to: Timestamp,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was done; `None` while it runs, or if it never finished.
    pub finished_at: Option<Timestamp>,
    /// What came of it, in one line.
    pub outcome: Option<String>,
}

/// A letter to one recipient, about to be queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMail {
    /// The Message-ID: queueing it twice for one recipient is queueing it once.
    pub message_id: String,
    /// The envelope's recipient.
    pub recipient: String,
    /// The envelope's sender.
    pub sender: String,
    /// The subject, for listings.
    pub subject: String,
    /// What it is about, where a second letter about the same must not follow too soon.
    pub topic: Option<String>,
    /// The RFC 5322 bytes.
    pub raw: Vec<u8>,
}

/// A letter in the outbox, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailRecord {
    /// Its number.
    pub mail_id: i64,
    /// Its Message-ID.
    pub message_id: String,
    /// The envelope's recipient.
    pub recipient: String,
    /// The subject.
    pub subject: String,
    /// How it stands.
    pub state: MailState,
    /// How often a server was asked to take it.
    pub attempts: u32,
    /// When it is tried next, while queued.
    pub next_attempt_at: Timestamp,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When the server took it.
    pub sent_at: Option<Timestamp>,
}

/// A letter handed to the postman, for as long as the lease lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedMail {
    /// Its number.
    pub mail_id: i64,
    /// Its Message-ID.
    pub message_id: String,
    /// The envelope's recipient.
    pub recipient: String,
    /// The envelope's sender.
    pub sender: String,
    /// The RFC 5322 bytes.
    pub raw: Vec<u8>,
    /// How often a server was asked before.
    pub attempts: u32,
}

/// How one attempt at delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailFate {
    /// The server answered 250.
    Sent,
    /// Try again at this moment.
    Later {
        /// When.
        at: Timestamp,
        /// Why.
        error: String,
        /// Whether the server was asked to take this letter: an attempt that counts.
        asked: bool,
    },
    /// Given up.
    Dead {
        /// Why.
        error: String,
        /// Whether the server said that nobody reads mail at this address.
        unreachable: bool,
    },
}

/// An appeal, before it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAppeal {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The build that the finding is about.
    pub artifact_digest: ArtifactDigest,
    /// The finding.
    pub finding_id: String,
    /// The report that has it.
    pub report_id: Sha256Digest,
    /// The finding in one line, as its report says it.
    pub finding: String,
    /// Why it is said to be wrong.
    pub reason: AppealReason,
    /// The owner's own words.
    pub statement: Option<String>,
    /// Who opened it.
    pub opened_by: String,
    /// Until when somebody promised to have read it.
    pub acknowledge_by: Timestamp,
    /// Until when somebody promised to answer.
    pub respond_by: Timestamp,
    /// Until when somebody promised to decide.
    pub decide_by: Timestamp,
}

/// One step of an open appeal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppealStep {
    /// Somebody read it.
    Acknowledged,
    /// Somebody answered.
    Responded {
        /// What.
        response: String,
    },
    /// Somebody decided.
    Decided {
        /// How.
        outcome: AppealOutcome,
        /// Why.
        decision: String,
        /// Who.
        decided_by: String,
        /// Until when nothing automatic is done to the plugin.
        protected_until: Option<Timestamp>,
        /// The list that lifted the hold, where there was one.
        crl_number: Option<u64>,
    },
}

/// One appeal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppealRecord {
    /// Its number.
    pub appeal_id: i64,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The build that the finding is about.
    pub artifact_digest: ArtifactDigest,
    /// The finding.
    pub finding_id: String,
    /// The report that has it.
    pub report_id: Sha256Digest,
    /// The finding in one line.
    pub finding: String,
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

/// A build that mends a finding, about to be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRemediation {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The finding.
    pub finding_id: String,
    /// The report that has it.
    pub report_id: Sha256Digest,
    /// The finding in one line.
    pub finding: String,
    /// What the finding is about, as JSON.
    pub finding_key: String,
    /// The build that was found.
    pub mends_digest: ArtifactDigest,
    /// The build that mends it.
    pub artifact_digest: ArtifactDigest,
    /// How it came in.
    pub lane: Lane,
    /// The difference of permissions, in words.
    pub difference: String,
}

/// One remediation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemediationRecord {
    /// Its number.
    pub remediation_id: i64,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The finding.
    pub finding_id: String,
    /// The report that has it.
    pub report_id: Sha256Digest,
    /// The finding in one line.
    pub finding: String,
    /// What the finding is about, as JSON.
    pub finding_key: String,
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

/// What is known of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactRecord {
    /// The address.
    pub address: String,
    /// When its reader was last asked to send a token back.
    pub asked_at: Option<Timestamp>,
    /// When a token came back.
    pub verified_at: Option<Timestamp>,
    /// When mail to it last came back, unless later mail was taken.
    pub bounced_at: Option<Timestamp>,
    /// What the server said then.
    pub bounce: Option<String>,
}

/// What a webhook is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookRecord {
    /// Its number.
    pub hook_id: i64,
    /// By which the receiver recognises a repetition.
    pub delivery_id: String,
    /// The JSON document.
    pub body: Vec<u8>,
    /// How often the receiver was asked before.
    pub attempts: u32,
}

/// What somebody did: written once, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// When.
    pub at: Timestamp,
    /// Who: an operator's name, or `policy` for an automatic act.
    pub who: String,
    /// What.
    pub action: Action,
    /// To what: a digest, a plugin id, `*`.
    pub target: String,
    /// Why, from the closed list.
    pub reason: Option<Reason>,
    /// Why, in words.
    pub note: Option<String>,
    /// The clause of the policy behind an automatic act.
    pub clause: Option<String>,
    /// Who enabled that clause.
    pub enabled_by: Option<String>,
    /// The revocation list that carries it.
    pub crl_number: Option<u64>,
}

/// What of one kind of thing to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// One plugin's only.
    pub plugin_id: Option<PluginId>,
    /// One artifact's only.
    pub artifact_digest: Option<ArtifactDigest>,
    /// Those that were live at some moment from here on.
    pub live_from: Option<Timestamp>,
    /// Those that started before.
    pub started_before: Option<Timestamp>,
    /// At most this many, the latest first; `None` lists all.
    pub limit: Option<u32>,
}

/// How many of what there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Plugins registered.
    pub plugins: u64,
    /// Artifacts by state.
    pub artifacts: Vec<(ArtifactState, u64)>,
    /// Runs that are neither over nor expired.
    pub live_runs: u64,
    /// Reports written.
    pub reports: u64,
    /// Letters waiting.
    pub mails_queued: u64,
    /// Letters given up.
    pub mails_dead: u64,
}
