//! Acts that wait for a second person.

use base::{ArtifactDigest, PluginId, Reason, Timestamp};
use serde::{Deserialize, Serialize};

use crate::store::WaitingAct;
use crate::words::{Action, WaitingState};

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
