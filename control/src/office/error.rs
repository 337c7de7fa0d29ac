//! Why the office did not do what it was asked to.

use base::ArtifactState;
use crl::{ChangeRefused, PublishError};
use manifests::gate::GateRefusal;
use seal::certificate::IssueError;
use seal::token::MintError;
use seal::trust::NotAuthorised;

use crate::archives::ArchiveFailure;
use crate::configuration::ReloadFailure;
use crate::gateways::GatewayFailure;
use crate::nights::NightFailure;
use crate::outbox::QueueError;
use crate::policy::PolicyFileError;
use crate::store::StoreError;
use crate::trust::TrustFileError;

/// Why the office did not do what it was asked to. Each has a stable code for programs.
#[derive(Debug, thiserror::Error)]
pub enum OfficeError {
    /// The request cannot mean anything. Mend it.
    #[error("{what}")]
    Request {
        /// What is wrong with it.
        what: String,
    },
    /// There is no such thing here.
    #[error("there is no {what} {name} here; list what there is with: bailiwick {command}")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        name: String,
        /// The command that lists them.
        command: &'static str,
    },
    /// The load gate refused.
    #[error(transparent)]
    Gate(#[from] GateRefusal),
    /// The artifact stands where nothing runs from.
    #[error("artifact state is {state}, and from there nothing runs; {}", next_step(*state))]
    State {
        /// Where it stands.
        state: ArtifactState,
    },
    /// What was decided stays decided.
    #[error(
        "waiting act {waiting_id} waits no more, it is {state}; list what waits with: bailiwick approve-act --list"
    )]
    Decided {
        /// The act.
        waiting_id: i64,
        /// How it stands.
        state: crate::words::WaitingState,
    },
    /// One person is not two.
    #[error("{who} switched the clause on, and another person has to approve what it asks for")]
    SamePerson {
        /// Who asked.
        who: String,
    },
    /// One build cannot be two products.
    #[error(
        "these bytes were admitted as plugin {admitted}, and the manifest now says {found}; ask the owner"
    )]
    OtherPlugin {
        /// The plugin it was admitted as.
        admitted: base::PluginId,
        /// The plugin that the manifest names.
        found: base::PluginId,
    },
    /// The list does not take the change.
    #[error(transparent)]
    Change(#[from] ChangeRefused),
    /// The list is in force and durable, and the registry could not write down who did it. That is
    /// made up for with the next act or start; nothing has to be repeated.
    #[error(
        "revocation list {crl_number} is in force, but the registry could not record the act; it will be recorded with the next act or start"
    )]
    InForceUnrecorded {
        /// The list.
        crl_number: u64,
        /// What kept the registry from it.
        source: StoreError,
    },
    /// The next list cannot be issued.
    #[error(transparent)]
    Publish(PublishError),
    /// The next list cannot be made durable; it is not in force.
    #[error(transparent)]
    Save(#[from] crl::store::SaveError),
    /// The folder of the list cannot be used.
    #[error(transparent)]
    ListFolder(#[from] crl::store::OpenError),
    /// The list in the folder is not acceptable.
    #[error(transparent)]
    ListLoad(#[from] crl::store::LoadError),
    /// The trust root is not used.
    #[error(transparent)]
    Trust(#[from] TrustFileError),
    /// A key of this office may not sign what it would have to.
    #[error(transparent)]
    Key(NotAuthorised),
    /// The policy is not used.
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    /// The registry failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No token could be minted.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// No client certificate could be issued.
    #[error(transparent)]
    Certificate(#[from] IssueError),
    /// A letter could not be queued.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A gateway did not do its part.
    #[error(transparent)]
    Gateway(#[from] GatewayFailure),
    /// The audit did not come about.
    #[error(transparent)]
    Night(#[from] NightFailure),
    /// The configuration was not read again.
    #[error(transparent)]
    Reload(#[from] ReloadFailure),
    /// Nothing, or not all, was archived or let go.
    #[error(transparent)]
    Archive(#[from] ArchiveFailure),
    /// A file of a report is gone or was changed.
    #[error("the report in {folder} cannot be used: {what}; restore it from a backup")]
    Report {
        /// Its folder.
        folder: String,
        /// What is wrong.
        what: String,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes; nothing was registered, repeat in a moment")]
    Randomness,
    /// The process is going down, or a bug ended the work.
    #[error("the work was interrupted; look at the status before repeating it")]
    Interrupted,
}

impl OfficeError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Request { .. } => "bad_request",
            Self::Unknown { .. } => "not_found",
            Self::Gate(refusal) => refusal.code(),
            Self::State { state } => match state {
                ArtifactState::Quarantined => "artifact_held",
                ArtifactState::Revoked => "artifact_revoked",
                ArtifactState::Superseded => "artifact_superseded",
                ArtifactState::Expired => "artifact_expired",
                _ => "artifact_not_admitted",
            },
            Self::Decided { .. } => "already_decided",
            Self::SamePerson { .. } => "same_person",
            Self::OtherPlugin { .. } => "artifact_of_other_plugin",
            Self::Change(ChangeRefused::Final { .. }) => "revocation_is_final",
            Self::Change(ChangeRefused::NotHeld { .. }) => "not_held",
            Self::Change(ChangeRefused::OnForEverything { .. }) => "killed_for_everything",
            Self::Change(ChangeRefused::ScopeSize { .. }) => "kill_scope_size",
            Self::InForceUnrecorded { .. } => "in_force_unrecorded",
            Self::Publish(_) => "list_not_issued",
            Self::Save(_) => "list_not_saved",
            Self::ListFolder(_) | Self::ListLoad(_) => "list_unusable",
            Self::Trust(_) => "trust_root_unusable",
            Self::Key(_) => "key_not_authorised",
            Self::Policy(_) => "policy_unusable",
            Self::Store(StoreError::Full { .. }) => "disk_full",
            Self::Store(StoreError::Busy { .. }) => "registry_busy",
            Self::Store(_) => "registry_failed",
            Self::Mint(_) => "token_not_minted",
            Self::Certificate(_) => "certificate_not_issued",
            Self::Queue(_) => "mail_not_queued",
            Self::Gateway(_) => "gateway_failed",
            Self::Night(NightFailure::Absent) => "no_auditor",
            Self::Night(NightFailure::Busy) => "audit_busy",
            Self::Night(NightFailure::Request { .. }) => "bad_request",
            Self::Night(NightFailure::Failed { .. }) => "audit_failed",
            Self::Archive(ArchiveFailure::Absent) => "no_gateway",
            Self::Archive(ArchiveFailure::Failed { .. }) => "archive_failed",
            Self::Reload(ReloadFailure::Absent) => "nothing_to_reload",
            Self::Reload(ReloadFailure::Refused { .. }) => "configuration_refused",
            Self::Reload(ReloadFailure::Failed { .. }) => "reload_failed",
            Self::Report { .. } => "report_unusable",
            Self::Randomness => "no_randomness",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<PublishError> for OfficeError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Change(refused) => Self::Change(refused),
            other => Self::Publish(other),
        }
    }
}

fn next_step(state: ArtifactState) -> &'static str {
    match state {
        ArtifactState::Quarantined => {
            "`bailiwick crl why` says who held it and why; a new, re-signed build is not held"
        }
        ArtifactState::Revoked => "ship a new, re-signed build",
        ArtifactState::Superseded => "run the newer build, or admit this one again",
        _ => "admit it with: bailiwick admit ARTIFACT",
    }
}
