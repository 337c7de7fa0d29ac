//! Clauses: when and how a tier acts on findings by itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::ON_THE_WIRE;
use crate::Reason;
use crate::text_enum::text_enum;

/// The most connections that a clause with a window may ask for.
pub const MAX_WINDOW_CONNECTIONS: u64 = 10_000;
/// How long a question to a second person stands, unless the clause says otherwise: a week.
const APPROVAL_EXPIRES_S: u64 = 7 * 24 * 3600;

text_enum! {
    /// What a clause does on its own; what comes later does more.
    pub enum AutomaticAction as "automatic action" {
        /// Mail to owner and security; nothing else.
        Alert = "alert",
        /// Mail, and the artifact's state becomes `watch`. It goes on running.
        Watch = "watch",
        /// Mail, and the digest goes on the revocation list with action `hold`.
        Quarantine = "quarantine",
        /// Mail, and the digest goes on the revocation list with action `revoke`, which is final.
        Revoke = "revoke",
    }
}

impl AutomaticAction {
    /// Whether what runs stops.
    pub const fn stops(self) -> bool {
        matches!(self, Self::Quarantine | Self::Revoke)
    }
}

/// When and how a tier acts on findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreachClause {
    /// What is done.
    pub action: AutomaticAction,
    /// Which findings count.
    pub reasons: BTreeSet<Reason>,
    /// Connections that must corroborate before anything is done; at least 1.
    pub min_connections: u64,
    /// Runs that corroborate just as well; whichever of the two is reached first counts.
    pub min_runs: u64,
    /// Seconds within which those connections, or the first attempts of those runs, must lie. Absent:
    /// the whole period audited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_s: Option<u64>,
    /// Seconds that owner and security have after the alert before the act is done by itself. A person
    /// may approve or reject it earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_s: Option<u64>,
    /// Whether events are judged as they arrive, and not by the night alone.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub live: bool,
    /// Running plugins that one night may stop without a second approver.
    pub max_blast_radius: u64,
    /// Seconds for which a question to a second person stands; absent is a week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_expires_s: Option<u64>,
    /// Who switched this clause on.
    pub enabled_by: String,
}

impl BreachClause {
    /// What `bailiwick init` starts with, for one action.
    pub fn initial(action: AutomaticAction, enabled_by: &str) -> Self {
        Self {
            action,
            reasons: ON_THE_WIRE.into(),
            min_connections: 2,
            min_runs: 2,
            within_s: None,
            grace_s: None,
            live: false,
            max_blast_radius: 10,
            approval_expires_s: None,
            enabled_by: enabled_by.to_owned(),
        }
    }

    /// Seconds for which a question to a second person stands.
    pub fn approval_expires_s(&self) -> i64 {
        seconds(self.approval_expires_s.unwrap_or(APPROVAL_EXPIRES_S))
    }

    /// Seconds between alert and act; `None` where the act is done at once.
    pub fn grace_s(&self) -> Option<i64> {
        self.grace_s.filter(|&grace| grace > 0).map(seconds)
    }
}

/// As a difference between moments.
fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
