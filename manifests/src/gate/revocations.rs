//! What the load gate asks of a revocation list. The list itself is another room's; whoever wires
//! the two together answers these questions.

use base::{ArtifactDigest, PluginId, Reason, Sha256Digest, Timestamp};
use seal::Fingerprint;

/// What may stand on the list about a load.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The artifact.
    pub artifact: &'a ArtifactDigest,
    /// SHA-256 of the manifest's payload bytes.
    pub manifest: &'a Sha256Digest,
    /// The key that signed the manifest.
    pub signer: Fingerprint,
    /// The plugin.
    pub plugin: &'a PluginId,
}

/// What an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// The artifact.
    Artifact,
    /// The key that signed the manifest.
    Signer,
    /// The manifest.
    Manifest,
    /// The plugin, every build of it.
    Plugin,
}

/// How old the list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// There is no list.
    Missing,
    /// The list is in force.
    Fresh {
        /// Its number.
        crl_number: u64,
    },
    /// The list is past its `next_update`, and a newer one was not seen.
    Stale {
        /// Its number.
        crl_number: u64,
        /// When a newer one was due.
        next_update: Timestamp,
    },
}

/// What the list says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Silent,
    /// Quarantine.
    Held {
        /// What is held.
        listed: Listed,
        /// Why.
        reason: Option<Reason>,
        /// Since when.
        since: Timestamp,
    },
    /// Revoked for good.
    Revoked {
        /// What is revoked.
        listed: Listed,
        /// Why.
        reason: Option<Reason>,
        /// Since when.
        since: Timestamp,
    },
    /// The kill switch is active for this plugin, or for all.
    Killed,
}

/// A revocation list, as far as the load gate is concerned.
pub trait Revocations {
    /// How old the list is.
    fn freshness(&self, now: Timestamp) -> Freshness;
    /// What the list says about a load. Never asked where there is no list.
    fn standing(&self, question: &Question<'_>) -> Standing;
}

impl Listed {
    /// The thing, for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Artifact => "artifact",
            Self::Signer => "signer",
            Self::Manifest => "manifest",
            Self::Plugin => "plugin",
        }
    }
}

impl std::fmt::Display for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
