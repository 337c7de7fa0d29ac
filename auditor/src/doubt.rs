//! Doubts: why the evidence of a period may not be the whole truth.
//!
//! A doubt never says anything about a plugin. It says that nobody can tell, which is why no verdict
//! is `conforming` while one stands and nothing is ever done automatically on its account.

use base::{PluginId, Reason, Timestamp};

use evidence::Expiry;

use crate::observation::{Gap, Observations};
use crate::tally::Cited;

/// Evidence that is missing or cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// `evidence_gap` or `tampered_evidence`.
    pub reason: Reason,
    /// The log concerned.
    pub origin: String,
    /// What happened.
    pub cause: String,
    /// The entry that says so, if it can be cited.
    pub cited: Option<Cited>,
    /// The entry that says so, or the first that cannot be believed.
    pub index: Option<u64>,
    /// Since when something is missing, where that is known.
    pub from: Option<Timestamp>,
    /// Until when, where that is known.
    pub to: Option<Timestamp>,
    /// How many events, where that is known.
    pub missing: Option<u64>,
    /// The one plugin concerned; `None` concerns all.
    pub plugin_id: Option<PluginId>,
}

impl Doubt {
    /// What the gateway itself says is missing.
    pub fn gap(gap: &Gap, observations: &Observations) -> Self {
        Self {
            reason: Reason::EvidenceGap,
            origin: observations.logs[gap.cited.log].origin.clone(),
            cause: if gap.cause.is_empty() {
                "the gateway lost events and does not say why".to_owned()
            } else {
                gap.cause.clone()
            },
            cited: Some(gap.cited),
            index: Some(gap.cited.index),
            from: Some(gap.from),
            to: Some(gap.to),
            missing: gap.count,
            plugin_id: gap.plugin_id.clone(),
        }
    }

    /// A gateway whose log is not there, or cannot be read.
    pub fn missing_log(origin: &str, cause: String) -> Self {
        Self::about_log(Reason::EvidenceGap, origin, cause, None)
    }

    /// A log whose beginning the site let expire, and of which everything from `whole_from` on is there.
    pub fn expired(origin: &str, expiry: Expiry, whole_from: Option<Timestamp>) -> Self {
        let cause = format!(
            "entries 0 to {} expired by the site's retention, as entry {} declares, and may be of this period",
            expiry.end.saturating_sub(1),
            expiry.declared_by
        );
        Self {
            to: whole_from,
            ..Self::about_log(Reason::EvidenceGap, origin, cause, Some(expiry.declared_by))
        }
    }

    /// A log that was changed. Nothing from it is believed.
    pub fn tampered_log(origin: &str, cause: String, first_bad: Option<u64>) -> Self {
        Self::about_log(Reason::TamperedEvidence, origin, cause, first_bad)
    }

    fn about_log(reason: Reason, origin: &str, cause: String, index: Option<u64>) -> Self {
        Self {
            reason,
            origin: origin.to_owned(),
            cause,
            cited: None,
            index,
            from: None,
            to: None,
            missing: None,
            plugin_id: None,
        }
    }

    /// Whether the doubt concerns what is said about `plugin`.
    pub fn concerns(&self, plugin: &PluginId) -> bool {
        self.plugin_id.as_ref().is_none_or(|only| only == plugin)
    }

    /// The one line that says what to do.
    pub(crate) fn fix(&self) -> String {
        let origin = &self.origin;
        match self.reason {
            Reason::TamperedEvidence => format!(
                "keep a copy of the log of {origin} as it is, run bailiwick evidence verify, and find out who could change it"
            ),
            _ if self.cited.is_some() => format!(
                "nothing for the owner to do; look at disk and process of {origin} at that time, and tell the owner what was lost"
            ),
            _ if self.index.is_some() => format!(
                "nothing for the owner to do; audit a later period, or one of a copy of the archive of {origin} from before"
            ),
            _ => format!("bring the log of {origin} back and run bailiwick audit again for this period"),
        }
    }
}
