//! Identity: whose run a connection belongs to, as far as somebody proved it.
//!
//! The gateway never works an identity out by itself. It hands what was presented to [`Runs`] and
//! takes the answer; headers in which a client names itself are not even shown to it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use base::{ArtifactDigest, Attribution, PluginId, RefusalReason, RunId, Timestamp};

/// Answers whose run a connection belongs to.
pub trait Runs: Send + Sync + 'static {
    /// Whose run is it that presents this?
    ///
    /// Asked on every request, on the thread that relays: it must answer from memory.
    ///
    /// # Errors
    /// [`IdentityRefusal`]; `Missing` where nothing that could prove anything was presented.
    fn whose(&self, presented: &Presented<'_>, now: Timestamp) -> Result<Arc<Identity>, IdentityRefusal>;
}

/// What a connection presented to prove whose it is.
#[derive(Clone, Debug)]
pub struct Presented<'a> {
    /// User and password: Basic proxy credentials, or SOCKS5 (RFC 1929).
    pub credentials: Option<Credentials<'a>>,
    /// Where the connection came from, if from a network. Never sufficient by itself, unless it was
    /// registered.
    pub source: Option<SocketAddr>,
    /// Whose run's own listener the connection came in on, if it is one.
    pub listener: Option<&'a Arc<Identity>>,
    /// Whose run the verified client certificate names, if one was presented.
    pub certificate: Option<&'a Arc<Identity>>,
}

/// User and password as they stood on the wire.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The user: a run id.
    pub user: &'a [u8],
    /// The password: the run's token.
    pub password: &'a [u8],
}

/// Whose connection it is, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact that runs.
    pub artifact_digest: ArtifactDigest,
    /// The run.
    pub run_id: RunId,
    /// How it was proved.
    pub attribution: Attribution,
}

/// Why what was presented proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityRefusal {
    /// Nothing was presented. The site's setting decides whether the connection may go on unnamed.
    #[error("no credentials were presented; use the proxy settings that bailiwick run hands out")]
    Missing,
    /// Something was presented that no run key vouches for.
    #[error("the credentials are not those of a run that this gateway knows")]
    Invalid,
    /// The credentials were genuine, and their time is over.
    #[error("the credentials of run {run_id} have expired; start a new run")]
    Expired {
        /// Whose they were; verified.
        run_id: RunId,
    },
    /// The credentials are genuine, and their run is over.
    #[error("run {run_id} has ended; start a new run")]
    Ended {
        /// Whose they are; verified.
        run_id: RunId,
    },
    /// Two proofs name different runs.
    #[error("the connection presents two identities that disagree")]
    Conflict,
}

impl fmt::Debug for Credentials<'_> {
    /// The password is left out: a token in a log is a token given away.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &base::escape_untrusted(self.user, 64))
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Whether both name the same run of the same artifact of the same plugin, however proved.
    pub fn is_same_run(&self, other: &Self) -> bool {
        self.run_id == other.run_id
            && self.artifact_digest == other.artifact_digest
            && self.plugin_id == other.plugin_id
    }
}

impl IdentityRefusal {
    /// The word for it in events and answers.
    pub const fn reason(&self) -> RefusalReason {
        match self {
            Self::Missing => RefusalReason::CredentialsMissing,
            Self::Invalid => RefusalReason::CredentialsInvalid,
            Self::Expired { .. } => RefusalReason::CredentialsExpired,
            Self::Ended { .. } => RefusalReason::RunEnded,
            Self::Conflict => RefusalReason::CredentialsConflict,
        }
    }

    /// The run whose genuine but dead credentials were presented.
    pub const fn run_id(&self) -> Option<RunId> {
        match self {
            Self::Expired { run_id } | Self::Ended { run_id } => Some(*run_id),
            Self::Missing | Self::Invalid | Self::Conflict => None,
        }
    }
}
