//! The site: what a night must know, and what it may do.
//!
//! The auditor owns this trait, so that it depends on no registry and no socket, and a test is a site
//! as good as any. Everything that a site tells is an input of the report: the same answers give the
//! same bytes.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use base::{
    ArtifactDigest, ArtifactState, AutomaticAction, PluginId, Policy, RunId, Sha256Digest, Tier, Timestamp,
};
use evidence::archive::Store;
use manifests::{DataClass, Manifest};
use reports::EvidenceFile;
use reports::predicate::{ConformanceReport, Period};
use seal::cosignature::CosignatureVerifier;
use seal::exception::SignedException;
use seal::note::NoteVerifier;

use crate::clause::Proposal;
use crate::outcome::Reported;
use crate::publication::Publication;

/// What a site says when it cannot answer or do something.
pub type SiteError = Box<dyn std::error::Error + Send + Sync>;

/// What a night must know, and what it may do.
pub trait Site {
    /// Every artifact that could have run in the period, whatever its state now.
    ///
    /// # Errors
    /// Whatever the registry says; the night does not begin.
    fn artifacts(&self, period: Period) -> Result<Vec<Artifact>, SiteError>;

    /// Every run that was under way at some moment of the period.
    ///
    /// # Errors
    /// Whatever the registry says; the night does not begin.
    fn runs(&self, period: Period) -> Result<Vec<Run>, SiteError>;

    /// Every gateway that should have kept a log in the period.
    ///
    /// # Errors
    /// Whatever the registry says; the night does not begin.
    fn gateways(&self, period: Period) -> Result<Vec<Gateway>, SiteError>;

    /// The policy in force.
    ///
    /// # Errors
    /// Whatever reading it says; the night does not begin.
    fn policy(&self) -> Result<PolicyOnFile, SiteError>;

    /// The revocation list in force.
    ///
    /// # Errors
    /// Whatever reading it says; the night does not begin.
    fn crl(&self) -> Result<CrlOnFile, SiteError>;

    /// Hears which artifact is reported on next, and which of its runs, before it is asked about their
    /// earlier reports: it can look all of them up at once. What goes wrong is told when it is asked.
    fn turn_to(&self, _artifact: &Artifact, _runs: &[RunId], _period: Period) {}

    /// The report before, about the same artifact or the same run.
    ///
    /// # Errors
    /// Whatever reading it says; this one report is not made.
    fn previous_report(
        &self,
        artifact: &Artifact,
        run_id: Option<RunId>,
        period: Period,
    ) -> Result<Option<PreviousReport>, SiteError>;

    /// Puts the artifact on the revocation list, with action `hold` or `revoke` as the proposal's
    /// measure says, durably, and gives the list's number. Asked twice for the same artifact it gives
    /// the same number.
    ///
    /// # Errors
    /// Whatever the list says; the report then records an alert, and the outcome the failure.
    fn stop(&self, proposal: &Proposal) -> Result<u64, SiteError>;

    /// Puts the artifact into the state `watch`; it goes on running.
    ///
    /// # Errors
    /// Whatever the registry says; the report then records an alert, and the outcome the failure.
    fn watch(&self, proposal: &Proposal) -> Result<(), SiteError>;

    /// Puts the proposal off: before a second person, or until the clause's grace is over. Asked again
    /// while the same waits, it changes nothing.
    ///
    /// # Errors
    /// Whatever the registry says; the outcome records the failure.
    fn put_off(&self, proposal: &Proposal) -> Result<(), SiteError>;

    /// What this very night had published about the artifact or the run before it was interrupted: it
    /// is not written a second time.
    ///
    /// # Errors
    /// Whatever reading it says; this one report is not made.
    fn published(
        &self,
        _artifact: &Artifact,
        _run_id: Option<RunId>,
        _period: Period,
    ) -> Result<Option<PublishedBefore>, SiteError> {
        Ok(None)
    }

    /// Writes a sealed report and gives the folder where people find it. A loss of power may still take it,
    /// until [`Self::keep`] was asked.
    ///
    /// # Errors
    /// Whatever the disk says; the night goes on with the other reports and says so at the end.
    fn publish(&self, publication: &Publication) -> Result<String, SiteError>;

    /// Keeps everything that was published since this was last asked, for good. A disk takes as long for
    /// many reports as for one.
    ///
    /// # Errors
    /// Whatever the disk says; then none of these is kept, and the night says so at the end.
    fn keep(&self) -> Result<(), SiteError> {
        Ok(())
    }

    /// A new, empty file that nobody else opens, for what the night has no room for in memory; it is gone
    /// once it is closed. `None` where everything is to be kept in memory.
    fn scratch(&self) -> Option<File> {
        None
    }

    /// Hears how far the night is. May be shown, never needs to be kept.
    fn note(&self, _progress: Progress<'_>) {}
}

/// One artifact on record.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The exact build.
    pub artifact_digest: ArtifactDigest,
    /// What its file is called.
    pub file_name: String,
    /// The plugin's tier.
    pub tier: Tier,
    /// Where the artifact stands.
    pub state: ArtifactState,
    /// Whether a run of it is under way now.
    pub is_running: bool,
    /// The manifest that was admitted.
    pub manifest: Manifest,
    /// The digest of the manifest's signed payload.
    pub manifest_payload: Sha256Digest,
    /// The manifest's signed bundle, verbatim.
    pub manifest_bundle: Vec<u8>,
    /// The approval's signed bundle, verbatim, where there is one.
    pub approval_bundle: Option<Vec<u8>>,
    /// The first moment at which that approval no longer counts, where it has an end.
    pub approved_until: Option<Timestamp>,
    /// Manifests that were in force for it before, the earliest first.
    pub earlier: Vec<EarlierManifest>,
    /// Libraries inside, as its bill of materials or its metadata said when it was admitted.
    pub components: Vec<Component>,
    /// What clauses of the policy did about it since the period began, the earliest first.
    pub acts: Vec<PastAct>,
    /// Until this moment nothing is done about it without a person: its owner won an appeal.
    pub protected_until: Option<Timestamp>,
}

/// A manifest that was in force once.
#[derive(Clone, Debug)]
pub struct EarlierManifest {
    /// The first moment at which another was.
    pub until: Timestamp,
    /// The manifest.
    pub manifest: Manifest,
    /// The digest of its signed payload.
    pub payload: Sha256Digest,
    /// Its signed bundle, verbatim.
    pub bundle: Vec<u8>,
    /// The approval's signed bundle, verbatim, where there was one.
    pub approval_bundle: Option<Vec<u8>>,
    /// The first moment at which that approval no longer counted, where it had an end.
    pub approved_until: Option<Timestamp>,
}

/// One library inside an artifact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Component {
    /// Its name, as the document spells it.
    pub name: String,
    /// Its version, as the document spells it.
    pub version: String,
}

/// What a clause of the policy did before the night.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastAct {
    /// When.
    pub at: Timestamp,
    /// What.
    pub action: AutomaticAction,
    /// The clause, by its full name.
    pub clause: String,
    /// Who had switched it on.
    pub enabled_by: String,
    /// The revocation list that carries it, where one does.
    pub crl_number: Option<u64>,
}

impl Artifact {
    /// The manifest that was in force at `moment`, and the digest of its payload.
    pub fn manifest_at(&self, moment: Timestamp) -> (&Manifest, Sha256Digest) {
        let earlier = self.earlier.iter().find(|earlier| moment < earlier.until);
        match earlier {
            Some(earlier) => (&earlier.manifest, earlier.payload),
            None => (&self.manifest, self.manifest_payload),
        }
    }
}

/// One run on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The run.
    pub run_id: RunId,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact.
    pub artifact_digest: ArtifactDigest,
    /// When it was registered.
    pub started: Timestamp,
    /// When it ended, if it has.
    pub ended: Option<Timestamp>,
    /// The class of data that it was registered to handle, if somebody said.
    pub data_class: Option<DataClass>,
    /// Bytes that it moved before the period, by the last report on it. Asked only where a limit on them
    /// is declared ([`crate::carry`]).
    pub bytes_before: u64,
}

impl Run {
    /// Runs of one artifact stand together in this order.
    pub(crate) fn order(&self) -> (&PluginId, &ArtifactDigest) {
        (&self.plugin_id, &self.artifact_digest)
    }
}

/// One gateway whose log is expected.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// The folder of its log.
    pub folder: PathBuf,
    /// The key that signs its checkpoints, under the log's origin.
    pub verifier: NoteVerifier,
    /// The newest signed checkpoint that was seen elsewhere: by a witness, or by the night before. A
    /// log that does not reach it was cut.
    pub known_checkpoint: Option<String>,
    /// The signed checkpoint up to which an earlier night verified every entry of the log: this one begins
    /// there. `None` verifies the log whole.
    pub verified: Option<String>,
    /// Those who may have cosigned its checkpoints: a stranger will want to ask them.
    pub witnesses: Vec<CosignatureVerifier>,
    /// One past the last entry that the night before read ([`crate::NightOutcome::logs`]); `None`
    /// where periods do not adjoin, as in an audit by hand.
    pub audited_to: Option<u64>,
    /// Where closed stretches of the log are archived. Files that the log binds are read in the place of
    /// its entries; without an archive, or where it lacks one, every entry is read.
    pub archive: Option<Arc<dyn Store>>,
}

/// The policy in force, with what was signed of it.
#[derive(Clone, Debug)]
pub struct PolicyOnFile {
    /// What it says.
    pub policy: Policy,
    /// The certifier's signature, verbatim, where it is signed.
    pub signature: Option<Vec<u8>>,
    /// Its exceptions that two people signed, verbatim.
    pub exceptions: Vec<SignedException>,
}

impl From<Policy> for PolicyOnFile {
    /// A policy that nobody signed.
    fn from(policy: Policy) -> Self {
        Self {
            policy,
            signature: None,
            exceptions: Vec::new(),
        }
    }
}

/// The revocation list in force.
#[derive(Clone, Debug)]
pub struct CrlOnFile {
    /// Its number.
    pub crl_number: u64,
    /// The digest of its head's signed payload.
    pub head_payload: Sha256Digest,
    /// Its head's signed bundle, verbatim.
    pub head_bundle: Vec<u8>,
    /// Its full body, verbatim.
    pub body: Vec<u8>,
}

/// The report before this one.
#[derive(Clone, Debug)]
pub struct PreviousReport {
    /// The digest of its signed payload.
    pub payload: Sha256Digest,
    /// What it says.
    pub report: ConformanceReport,
}

/// A report that this very night had published before it was interrupted.
#[derive(Clone, Debug)]
pub struct PublishedBefore {
    /// What it says, in brief.
    pub line: Reported,
    /// The evidence bundle that it names.
    pub evidence: Option<EvidenceFile>,
}

/// How far a night is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// A log is being verified.
    Verifying {
        /// The log.
        origin: &'a str,
        /// Entries verified so far.
        entries: u64,
        /// Entries in all.
        of: u64,
    },
    /// Artifacts and runs are being judged and reported on.
    Reporting {
        /// Reports done.
        done: usize,
        /// Reports in all.
        of: usize,
    },
}
