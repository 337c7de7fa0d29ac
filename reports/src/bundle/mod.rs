//! The evidence bundle: what a stranger needs to check what was said about a plugin, asking nobody.
//!
//! A `tar.zst` whose bytes follow from its contents: names in order, no times, no owners. There are
//! two: the one that a report rests on, which the report binds by its digest and which therefore does
//! not hold the report; and one about everything a plugin did in some time, with the reports about
//! it. Only what the caller hands in goes in, and never another plugin's events.

mod about;
mod exceptions;
mod inspect;
mod layout;
mod papers;
mod read;
mod verify_md;
mod write;

use base::ArtifactDigest;
use evidence::{InvalidEvent, InvalidProof};
use seal::PublicKey;
use seal::cosignature::CosignatureVerifier;
use seal::exception::SignedException;
use seal::note::NoteVerifier;
use seal::trust::Role;

use crate::predicate::{ConformanceReport, EventReference};

pub use about::{About, InvalidAbout};
pub use exceptions::ExceptionUse;
pub use inspect::{Finding, Inspection, Item, inspect};
pub use papers::{Paper, signers};
pub use read::{MAX_BUNDLE_BYTES, MAX_CONTENT_BYTES, MAX_ENTRIES, ReadBundleError, read_bundle};
pub use write::{WriteBundleError, write_bundle, write_period_bundle};

/// What goes into a bundle. Whatever is empty or absent is left out.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The builds concerned, with what was signed about them.
    pub builds: Vec<Build>,
    /// The events that findings cite, or all of the plugin's.
    pub events: Vec<CitedEvent>,
    /// The signed checkpoints, by origin.
    pub checkpoints: Vec<(String, String)>,
    /// The newest checkpoints that witnesses cosigned, with their cosignatures, by origin.
    pub cosigned: Vec<(String, String)>,
    /// The keys of these witnesses.
    pub witnesses: Vec<CosignatureVerifier>,
    /// Signed reports, in the order in which they are to be read.
    pub reports: Vec<Vec<u8>>,
    /// The head of the revocation list in force.
    pub crl_head: Vec<u8>,
    /// Its body.
    pub crl_body: Vec<u8>,
    /// The trust root.
    pub trust_root: Vec<u8>,
    /// The keys that signed what is in here, and the auditor's.
    pub keys: Vec<NamedKey>,
    /// The keys of the logs.
    pub log_keys: Vec<NoteVerifier>,
    /// The policy in force, canonical.
    pub policy: Vec<u8>,
    /// The certifier's signature of it, where it is signed.
    pub policy_signature: Vec<u8>,
    /// The exceptions of the policy that were relied on, with what two people signed.
    pub exceptions: Vec<SignedException>,
    /// What the auditor had before it when it judged.
    pub report_inputs: Vec<u8>,
    /// Who was told what and when, one JSON object per line.
    pub notifications: Vec<u8>,
}

/// One build of the plugin, and what was signed about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The exact bytes.
    pub artifact_digest: ArtifactDigest,
    /// Their file's name, for the commands in `VERIFY.md`.
    pub artifact_name: String,
    /// The manifest's signed bundle.
    pub manifest: Vec<u8>,
    /// The signed bundles of manifests that were in force before that one, where the report names them.
    pub earlier: Vec<Vec<u8>>,
    /// The platform's approvals.
    pub approvals: Vec<Vec<u8>>,
}

/// An event that a finding cites, as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CitedEvent {
    /// Where it stands.
    pub reference: EventReference,
    /// The entry's exact bytes.
    pub entry: Vec<u8>,
    /// Its proof (C2SP tlog-proof); absent where the log does not verify.
    pub proof: Option<String>,
}

/// A public key and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedKey {
    /// What it signs.
    pub role: Role,
    /// Its holder, for the file's name.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

/// Why an event does not belong into a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// The bytes are no event.
    #[error(transparent)]
    Event(#[from] InvalidEvent),
    /// The event names another plugin or build.
    #[error("it belongs to another plugin or build")]
    Foreign,
    /// The entry says that it stands somewhere else.
    #[error("it says that its index is {seq}")]
    Index {
        /// What it says.
        seq: u64,
    },
    /// The proof does not lead from the entry to a checkpoint of its log.
    #[error("its proof does not hold: {0}")]
    Proof(#[from] InvalidProof),
}

/// What the evidence bundle of `report` is called: the day, the plugin, the build, the run.
pub fn bundle_name(report: &ConformanceReport) -> String {
    let run = report.run_id.map_or(String::new(), |run| format!("-{run}"));
    format!(
        "evidence-{}-{}-{}{run}.tar.zst",
        report.period.from.utc_day(),
        report.plugin_id,
        report.artifact_digest.short()
    )
}

#[cfg(test)]
mod tests;
