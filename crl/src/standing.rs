//! Standing: what a list says about one build, its manifest, its signer and its plugin together.

use base::{ArtifactDigest, PluginId, Sha256Digest, Timestamp};
use seal::Fingerprint;
use serde::Serialize;

use crate::change::plugin_digest;
use crate::{Action, Entry, KillSwitch, Kind, ReasonCode};

/// Everything that a list can name about one run. What is unknown is left out and never guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'q> {
    /// The build.
    pub artifact: ArtifactDigest,
    /// The SHA-256 of its manifest's payload.
    pub manifest: Option<Sha256Digest>,
    /// The key that signed the manifest.
    pub signer: Option<Fingerprint>,
    /// The plugin.
    pub plugin: &'q PluginId,
}

/// The answer. Where several entries apply, revocation goes before quarantine, and among equals the
/// narrowest is named: artifact, manifest, signer, plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum Standing {
    /// The list has nothing against it.
    Silent,
    /// Quarantined.
    Held(Listing),
    /// Revoked for good.
    Revoked(Listing),
    /// Stopped by the kill switch, which was looked at before any entry.
    Killed {
        /// The list that says so.
        crl_number: u64,
        /// Whether everything is stopped, rather than this plugin.
        everything: bool,
    },
}

/// The entry that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The list that holds it.
    pub crl_number: u64,
    /// What of the question it names.
    pub kind: Kind,
    /// The digest it names.
    pub digest: Sha256Digest,
    /// Why.
    pub reason: ReasonCode,
    /// Since when.
    pub since: Timestamp,
}

impl Standing {
    /// Whether nothing stands against it.
    pub const fn is_silent(&self) -> bool {
        matches!(self, Self::Silent)
    }

    /// The entry that decided, if one did.
    pub const fn listing(&self) -> Option<&Listing> {
        match self {
            Self::Held(listing) | Self::Revoked(listing) => Some(listing),
            Self::Silent | Self::Killed { .. } => None,
        }
    }
}

/// The one decision, over whatever holds the entries.
pub(crate) fn decide(
    crl_number: u64,
    kill_switch: &KillSwitch,
    question: &Question<'_>,
    lookup: impl Fn(Kind, &Sha256Digest) -> Option<Entry>,
) -> Standing {
    if kill_switch.stops(question.plugin) {
        let everything = *kill_switch == KillSwitch::Everything;
        return Standing::Killed {
            crl_number,
            everything,
        };
    }
    let mut held = None;
    for (kind, digest) in question.names() {
        let Some(entry) = lookup(kind, &digest) else {
            continue;
        };
        match entry.action {
            Action::Revoke => return Standing::Revoked(Listing::new(crl_number, &entry)),
            Action::Hold => held = held.or(Some(entry)),
            Action::Release => {}
        }
    }
    held.map_or(Standing::Silent, |entry| {
        Standing::Held(Listing::new(crl_number, &entry))
    })
}

impl Question<'_> {
    /// What entries may name, narrowest first.
    pub(crate) fn names(&self) -> impl Iterator<Item = (Kind, Sha256Digest)> {
        [
            Some((Kind::Artifact, *self.artifact.sha256())),
            self.manifest.map(|payload| (Kind::Manifest, payload)),
            self.signer.map(|key| (Kind::Signer, *key.sha256())),
            Some((Kind::Plugin, plugin_digest(self.plugin))),
        ]
        .into_iter()
        .flatten()
    }
}

impl Listing {
    fn new(crl_number: u64, entry: &Entry) -> Self {
        Self {
            crl_number,
            kind: entry.kind,
            digest: entry.digest,
            reason: entry.reason,
            since: entry.revoked_at.timestamp(),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Reason;

    use super::*;
    use crate::fixture::{Desk, artifact, at, key, plugin};
    use crate::{Change, KillScope, Listed, RevocationSet};

    const ASKED: u8 = 1;

    fn standing_after(changes: &[Change]) -> Standing {
        let mut desk = Desk::new();
        desk.publish(changes);
        let weather = plugin("acme.weather");
        let question = Question {
            artifact: artifact(ASKED),
            manifest: Some(*artifact(2).sha256()),
            signer: Some(key(3).public().fingerprint()),
            plugin: &weather,
        };
        RevocationSet::from(desk.list()).standing(&question)
    }

    fn everything() -> [Listed; 4] {
        [
            Listed::Artifact(artifact(ASKED)),
            Listed::Manifest(*artifact(2).sha256()),
            Listed::Signer(key(3).public().fingerprint()),
            Listed::Plugin(plugin("acme.weather")),
        ]
    }

    #[test]
    fn an_entry_for_any_part_of_the_question_decides() {
        assert!(standing_after(&[]).is_silent());
        for listed in everything() {
            let held = standing_after(&[Change::hold(listed.clone(), Reason::SdkDrift)]);
            let expected = Listing {
                crl_number: 1,
                kind: listed.kind(),
                digest: listed.digest(),
                reason: Reason::SdkDrift.into(),
                since: at("2026-11-21T10:01:00Z"),
            };
            assert_eq!(held, Standing::Held(expected));
            let revoked = standing_after(&[Change::revoke(listed, Reason::SdkDrift)]);
            assert_eq!(revoked, Standing::Revoked(expected));
        }
    }

    #[test]
    fn entries_for_others_and_entries_of_another_kind_decide_nothing() {
        for listed in [
            Listed::Artifact(artifact(2)),
            Listed::Manifest(*artifact(ASKED).sha256()),
            Listed::Signer(key(4).public().fingerprint()),
            Listed::Plugin(plugin("acme.weathe")),
        ] {
            assert!(standing_after(&[Change::revoke(listed, Reason::Malware)]).is_silent());
        }
    }

    #[test]
    fn a_released_hold_is_silent() {
        let artifact = Listed::Artifact(artifact(ASKED));
        let changes = [
            Change::hold(artifact.clone(), Reason::UndeclaredHost),
            Change::release(artifact, Reason::FalsePositive),
        ];
        assert!(standing_after(&changes).is_silent());
    }

    #[test]
    fn revocation_goes_before_quarantine_and_the_narrowest_is_named() {
        let [artifact, manifest, signer, plugin] = everything();
        let standing = standing_after(&[
            Change::hold(artifact.clone(), Reason::UndeclaredHost),
            Change::revoke(plugin, Reason::Malware),
            Change::revoke(signer.clone(), Reason::KeyCompromise),
        ]);
        assert!(matches!(standing, Standing::Revoked(listing) if listing.kind == Kind::Signer));
        let standing = standing_after(&[
            Change::hold(signer, Reason::KeyCompromise),
            Change::hold(manifest, Reason::Superseded),
            Change::hold(artifact, Reason::UndeclaredHost),
        ]);
        assert!(matches!(standing, Standing::Held(listing) if listing.kind == Kind::Artifact));
    }

    #[test]
    fn the_kill_switch_goes_before_everything_and_stops_whom_it_names() {
        let revoke = Change::revoke(Listed::Artifact(artifact(ASKED)), Reason::Malware);
        let only = |id: &str| Change::KillOn(KillScope::Plugins([plugin(id)].into()));
        assert_eq!(
            standing_after(&[revoke.clone(), Change::KillOn(KillScope::Everything)]),
            Standing::Killed {
                crl_number: 1,
                everything: true
            }
        );
        assert_eq!(
            standing_after(&[revoke.clone(), only("acme.weather")]),
            Standing::Killed {
                crl_number: 1,
                everything: false
            }
        );
        assert!(matches!(
            standing_after(&[revoke, only("other")]),
            Standing::Revoked(_)
        ));
    }
}
