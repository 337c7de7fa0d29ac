//! Identity: whose run a connection belongs to, as far as somebody proved it.
//!
//! The gateway never works an identity out by itself. It hands everything that was presented to
//! [`Runs`] and takes the answer; headers in which a client names itself are not even shown to it.
//!
//! There are four ways to prove a run, and [`agree`] is the rule for when several are there: all of
//! them must name one run, by plugin, build and run id, or nobody is believed. The event then names
//! the strongest of them, in this order: a client certificate (its key was used on this very
//! connection), a token (the secret was sent), the run's own listener (that door was found, and a
//! Unix socket's peer was who it should be), a registered source address (somebody at that address).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use base::{ArtifactDigest, Attribution, PluginId, RefusalReason, RunId, Timestamp};
use evidence::Claim;

/// Claims that an event lists at most; an entry has a largest size.
const MAX_CLAIMS: usize = 6;

/// Answers whose run a connection belongs to.
pub trait Runs: Send + Sync + 'static {
    /// Whose run is it that presents this?
    ///
    /// Asked on every request, on the thread that relays: it must answer from memory.
    ///
    /// # Errors
    /// [`IdentityRefusal`]; `Missing` where nothing that could prove anything was presented.
    fn whose(&self, presented: &Presented<'_>, now: Timestamp) -> Result<Arc<Identity>, IdentityRefusal>;

    /// Whether the run is known to be over. Asked once more when a connection can be cut: a run that
    /// ended between the proof and that moment keeps nothing open.
    fn has_ended(&self, run_id: RunId) -> bool;
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityRefusal {
    /// Nothing was presented. The site's setting decides whether the connection may go on unnamed.
    #[error("no credentials were presented; use the proxy settings that bailiwick run hands out")]
    Missing,
    /// Nothing was presented, and more than one run is registered for where it comes from. That is
    /// as good as nothing: which of them it was is not guessed.
    #[error("several runs are registered for this source address; present credentials as well")]
    Ambiguous {
        /// The runs that it could be.
        claims: Vec<Claim>,
    },
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
    Conflict {
        /// What each of them says.
        claims: Vec<Claim>,
    },
}

/// The one run that all of `proofs` name, by the strongest of them; `None` of no proof.
///
/// # Errors
/// [`IdentityRefusal::Conflict`] where they name more than one.
pub fn agree(proofs: &[Arc<Identity>]) -> Result<Option<Arc<Identity>>, IdentityRefusal> {
    let Some(strongest) = proofs.iter().min_by_key(|proof| rank(proof.attribution)) else {
        return Ok(None);
    };
    if proofs.iter().all(|proof| proof.is_same_run(strongest)) {
        Ok(Some(Arc::clone(strongest)))
    } else {
        Err(IdentityRefusal::Conflict {
            claims: claims(proofs),
        })
    }
}

/// What each of `proofs` says.
pub fn claims(proofs: &[Arc<Identity>]) -> Vec<Claim> {
    let claims = proofs.iter().map(|proof| proof.claim());
    claims.take(MAX_CLAIMS).collect()
}

/// The strongest proof first.
const fn rank(attribution: Attribution) -> u8 {
    match attribution {
        Attribution::Mtls => 0,
        Attribution::Token => 1,
        Attribution::Listener => 2,
        Attribution::Source => 3,
        Attribution::None => 4,
    }
}

impl Identity {
    /// Whether both are one run of one build of one plugin, however that was proved.
    pub fn is_same_run(&self, other: &Self) -> bool {
        self.run_id == other.run_id
            && self.artifact_digest == other.artifact_digest
            && self.plugin_id == other.plugin_id
    }

    /// The same run, proved in another way.
    #[must_use]
    pub fn by(&self, attribution: Attribution) -> Self {
        Self {
            attribution,
            ..self.clone()
        }
    }

    /// What this says, for the record of a disagreement.
    pub const fn claim(&self) -> Claim {
        Claim {
            artifact_digest: self.artifact_digest,
            attribution: self.attribution,
            run_id: self.run_id,
        }
    }
}

impl fmt::Debug for Credentials<'_> {
    /// The password is left out: a token in a log is a token given away.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &base::escape_untrusted(self.user, 64))
            .finish_non_exhaustive()
    }
}

impl IdentityRefusal {
    /// The word for it in events and answers.
    pub const fn reason(&self) -> RefusalReason {
        match self {
            Self::Missing | Self::Ambiguous { .. } => RefusalReason::CredentialsMissing,
            Self::Invalid => RefusalReason::CredentialsInvalid,
            Self::Expired { .. } => RefusalReason::CredentialsExpired,
            Self::Ended { .. } => RefusalReason::RunEnded,
            Self::Conflict { .. } => RefusalReason::CredentialsConflict,
        }
    }

    /// The run whose genuine but dead credentials were presented.
    pub const fn run_id(&self) -> Option<RunId> {
        match self {
            Self::Expired { run_id } | Self::Ended { run_id } => Some(*run_id),
            Self::Missing | Self::Ambiguous { .. } | Self::Invalid | Self::Conflict { .. } => None,
        }
    }

    /// What the proofs say that do not name one run together.
    pub fn claims(&self) -> &[Claim] {
        match self {
            Self::Ambiguous { claims } | Self::Conflict { claims } => claims,
            Self::Missing | Self::Invalid | Self::Expired { .. } | Self::Ended { .. } => &[],
        }
    }

    /// Whether nothing at all was proved, so that the site's setting decides.
    pub const fn proves_nothing(&self) -> bool {
        matches!(self, Self::Missing | Self::Ambiguous { .. })
    }
}

#[cfg(test)]
mod tests {
    use base::Sha256Digest;

    use super::*;

    fn proof(attribution: Attribution, plugin: &str, build: u8, run: u8) -> Arc<Identity> {
        Arc::new(Identity {
            plugin_id: plugin.parse().unwrap(),
            artifact_digest: ArtifactDigest::new(Sha256Digest::of(&[build])),
            run_id: RunId::from_parts(1, [run; 10]),
            attribution,
        })
    }

    const ALL: [Attribution; 4] = [
        Attribution::Source,
        Attribution::Listener,
        Attribution::Token,
        Attribution::Mtls,
    ];

    #[test]
    fn proofs_that_agree_are_named_by_the_strongest() {
        assert_eq!(agree(&[]), Ok(None));
        for end in 1..=ALL.len() {
            let proofs: Vec<_> = ALL[..end].iter().map(|by| proof(*by, "a", 1, 1)).collect();
            let named = agree(&proofs).unwrap().unwrap();
            assert_eq!(named.attribution, ALL[end - 1]);
        }
    }

    #[test]
    fn one_proof_of_another_plugin_build_or_run_and_nobody_is_believed() {
        for by in ALL {
            for other in ALL {
                for odd in [
                    proof(other, "b", 1, 1),
                    proof(other, "a", 2, 1),
                    proof(other, "a", 1, 2),
                ] {
                    let proofs = [proof(by, "a", 1, 1), odd];
                    let refusal = agree(&proofs).unwrap_err();
                    assert_eq!(refusal.reason(), RefusalReason::CredentialsConflict);
                    assert_eq!(refusal.claims(), [proofs[0].claim(), proofs[1].claim()]);
                    assert_eq!(refusal.run_id(), None);
                }
            }
        }
    }
}
