//! Exceptions: what is let pass for a time, and who said so.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{ArtifactDigest, PluginId, Reason, Timestamp};

/// Whether the two whom an exception names stand behind it. No document says so of itself: whoever reads
/// the policy holds their signatures against the trust root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Backing {
    /// Nobody looked. Then it counts for nothing.
    #[default]
    Unknown,
    /// A signature is missing; who has to do what. Then it counts for nothing either.
    Lacking {
        /// What is missing, in a sentence.
        what: String,
    },
    /// Both signed these very words, each with a key of their own.
    Signed,
}

/// Something that is let pass for a time, where the two whom it names signed it. The finding is still
/// written; until the exception runs out it stands against nobody and nothing is done on its account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyException {
    /// The plugin.
    pub plugin_id: PluginId,
    /// One build of it; absent means every build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_digest: Option<ArtifactDigest>,
    /// Which findings.
    pub reasons: BTreeSet<Reason>,
    /// Where to, as an entry of the egress grammar; absent means anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why, in words.
    pub why: String,
    /// The two who sign it, by the names under which the trust root has their keys.
    pub signed_by: [String; 2],
    /// The first moment at which it no longer counts.
    pub until: Timestamp,
    /// Whether they did.
    #[serde(skip)]
    pub backing: Backing,
}

impl PolicyException {
    /// Whether the exception is about this build, at whatever time.
    pub fn is_about(&self, plugin_id: &PluginId, artifact_digest: &ArtifactDigest) -> bool {
        self.plugin_id == *plugin_id && self.artifact_digest.is_none_or(|only| only == *artifact_digest)
    }

    /// Whether it still counts at `moment`.
    pub fn stands(&self, moment: Timestamp) -> bool {
        moment < self.until
    }

    /// Whether two people stand behind it.
    pub fn is_signed(&self) -> bool {
        self.backing == Backing::Signed
    }

    /// Those who signed, for a sentence.
    pub fn signers(&self) -> String {
        self.signed_by.join(" and ")
    }
}
