//! Exceptions: what is let pass for a time, and who said so.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{ArtifactDigest, PluginId, Reason, Timestamp};

/// Something that is let pass for a time. The finding is still written; until the exception runs out
/// it stands against nobody and nothing is done on its account.
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
    /// The two who signed it.
    pub signed_by: [String; 2],
    /// The first moment at which it no longer counts.
    pub until: Timestamp,
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

    /// Those who signed, for a sentence.
    pub fn signers(&self) -> String {
        self.signed_by.join(" and ")
    }
}
