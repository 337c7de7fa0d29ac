//! The list as people and scripts look at it: what `bailiwick crl show --format json` prints.

use base::{Sha256Digest, Timestamp};
use serde::Serialize;

use crate::{Accepted, Action, Entry, Freshness, KillSwitch, Kind, ReasonCode};

/// One list, written out. Stable: fields may be added, and none changes its meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListView {
    /// Who issued it.
    pub issuer: String,
    /// Its number.
    pub crl_number: u64,
    /// The trust root under which it was issued.
    pub root_version: u64,
    /// When it was issued.
    pub this_update: Timestamp,
    /// When the next one is due.
    pub next_update: Timestamp,
    /// Whether that is past.
    #[serde(flatten)]
    pub freshness: Freshness,
    /// The SHA-256 of the head's payload.
    pub head_digest: Sha256Digest,
    /// The SHA-256 of the body.
    pub body_digest: Sha256Digest,
    /// The key that signed.
    pub signer: String,
    /// What is stopped before any lookup.
    pub kill_switch: KillSwitch,
    /// How many entries of each action there are.
    pub counts: Counts,
    /// The entries, in the order of the body.
    pub entries: Vec<EntryView>,
}

/// How many entries of each action a list has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Quarantined.
    pub hold: usize,
    /// Revoked.
    pub revoke: usize,
    /// Released.
    pub release: usize,
}

/// One entry, written out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryView {
    /// What the digest names.
    pub kind: Kind,
    /// A key's fingerprint, or the digest.
    pub name: String,
    /// The digest.
    pub digest: Sha256Digest,
    /// What is done.
    pub action: Action,
    /// Why.
    pub reason: ReasonCode,
    /// Since when.
    pub since: Timestamp,
}

impl ListView {
    /// Writes out a list as it stands at `now`.
    pub fn new(accepted: &Accepted, now: Timestamp) -> Self {
        let list = accepted.list();
        let head = list.head();
        Self {
            issuer: head.issuer.clone(),
            crl_number: head.crl_number,
            root_version: head.root_version,
            this_update: head.this_update,
            next_update: head.next_update,
            freshness: list.freshness(now),
            head_digest: list.head_sha256(),
            body_digest: head.body_sha256(),
            signer: accepted.signer().to_string(),
            kill_switch: head.kill_switch.clone(),
            counts: Counts::of(list.entries().iter()),
            entries: list.entries().iter().map(EntryView::from).collect(),
        }
    }
}

impl Counts {
    fn of<'e>(entries: impl Iterator<Item = &'e Entry>) -> Self {
        let mut counts = Self::default();
        for entry in entries {
            *match entry.action {
                Action::Hold => &mut counts.hold,
                Action::Revoke => &mut counts.revoke,
                Action::Release => &mut counts.release,
            } += 1;
        }
        counts
    }
}

impl From<&Entry> for EntryView {
    fn from(entry: &Entry) -> Self {
        Self {
            kind: entry.kind,
            name: entry.named(),
            digest: entry.digest,
            action: entry.action,
            reason: entry.reason,
            since: entry.revoked_at.timestamp(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixture::{Desk, at};

    #[test]
    fn the_view_says_everything_that_the_list_says() {
        let mut desk = Desk::new();
        desk.hold(1);
        desk.revoke(2);
        let view = ListView::new(desk.newest(), at("2030-01-01T00:00:00Z"));
        let json = serde_json::to_value(&view).unwrap();
        assert_eq!(json["crl_number"], json!(2));
        assert_eq!(json["freshness"], json!("stale"));
        assert_eq!(json["since"], json["next_update"]);
        assert_eq!(json["counts"], json!({"hold": 1, "revoke": 1, "release": 0}));
        assert_eq!(json["entries"].as_array().unwrap().len(), 2);
        assert_eq!(json["kill_switch"], json!({"active": false, "scope": []}));
        let actions: Vec<_> = view.entries.iter().map(|entry| entry.action).collect();
        assert!(actions.contains(&Action::Hold) && actions.contains(&Action::Revoke));
    }
}
