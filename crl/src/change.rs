//! Changes: what an operator or a policy does to a list, and what may not be done.
//!
//! Revocation is final, so that nobody can be talked into taking it back; the way back is a new
//! build. A hold can be lifted, and the entry then stays as a release. Doing what is already done is
//! no error and changes nothing: the first act keeps its date and its reason.

use std::collections::BTreeMap;
use std::fmt;

use base::{ArtifactDigest, PluginId, Reason, Sha256Digest};
use seal::Fingerprint;

use crate::kill_switch::MAX_KILLED_PLUGINS;
use crate::{Action, Entries, Entry, KillScope, KillSwitch, Kind, List, RevokedAt};

/// What a change is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// One build.
    Artifact(ArtifactDigest),
    /// A key, and with it whatever it signed.
    Signer(Fingerprint),
    /// A manifest, by the SHA-256 of its payload.
    Manifest(Sha256Digest),
    /// A plugin with all its builds, those to come included.
    Plugin(PluginId),
}

/// One change to a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An entry is added or replaced.
    Entry {
        /// What is done.
        action: Action,
        /// To what.
        listed: Listed,
        /// Why.
        reason: Reason,
    },
    /// The kill switch is turned on for a scope, besides what it is on for already.
    KillOn(KillScope),
    /// The kill switch is turned off for a scope. Off for everything is off, whatever it was on for.
    KillOff(KillScope),
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The list now says so.
    Changed,
    /// The list said so already.
    Unchanged {
        /// The entry that said so, with its own date and reason; the kill switch has none.
        entry: Option<Entry>,
    },
}

/// Why a change is not made. None of the changes handed in with it are made either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// It was revoked.
    #[error(
        "cannot {action} {listed}: it was revoked at {} for {}, and revocation is final; admit a new build instead",
        entry.revoked_at, entry.reason
    )]
    Final {
        /// What was asked for.
        action: Action,
        /// Of what.
        listed: Listed,
        /// The entry that stands in the way.
        entry: Entry,
    },
    /// There is no hold to lift.
    #[error(
        "cannot release {listed}: it is not on the list, so nothing holds it; check the digest with: bailiwick crl show"
    )]
    NotHeld {
        /// What was to be released.
        listed: Listed,
    },
    /// The switch is on for everything, and some plugins were to be let go.
    #[error(
        "cannot turn the kill switch off for {scope} alone while it is on for everything; turn it off for everything, then on for those that must stay stopped"
    )]
    OnForEverything {
        /// What was asked for.
        scope: KillScope,
    },
    /// A kill switch for no plugin at all, or for too many to name.
    #[error(
        "a kill switch names 1 to {MAX_KILLED_PLUGINS} plugins, not {plugins}; for more, stop everything"
    )]
    ScopeSize {
        /// Plugins named.
        plugins: usize,
    },
}

impl Listed {
    /// What kind of entry names it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Artifact(_) => Kind::Artifact,
            Self::Signer(_) => Kind::Signer,
            Self::Manifest(_) => Kind::Manifest,
            Self::Plugin(_) => Kind::Plugin,
        }
    }

    /// The digest that names it in an entry.
    pub fn digest(&self) -> Sha256Digest {
        match self {
            Self::Artifact(artifact) => *artifact.sha256(),
            Self::Signer(key) => *key.sha256(),
            Self::Manifest(payload) => *payload,
            Self::Plugin(plugin) => plugin_digest(plugin),
        }
    }
}

/// The digest by which entries name a plugin.
pub(crate) fn plugin_digest(plugin: &PluginId) -> Sha256Digest {
    Sha256Digest::of(plugin.as_str().as_bytes())
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::Artifact(artifact) => write!(f, "{kind} {artifact}"),
            Self::Signer(key) => write!(f, "{kind} {key}"),
            Self::Manifest(payload) => write!(f, "{kind} {payload}"),
            Self::Plugin(plugin) => write!(f, "{kind} {plugin}"),
        }
    }
}

impl Change {
    /// Quarantines.
    pub const fn hold(listed: Listed, reason: Reason) -> Self {
        Self::entry(Action::Hold, listed, reason)
    }

    /// Revokes for good.
    pub const fn revoke(listed: Listed, reason: Reason) -> Self {
        Self::entry(Action::Revoke, listed, reason)
    }

    /// Lifts a hold.
    pub const fn release(listed: Listed, reason: Reason) -> Self {
        Self::entry(Action::Release, listed, reason)
    }

    const fn entry(action: Action, listed: Listed, reason: Reason) -> Self {
        Self::Entry {
            action,
            listed,
            reason,
        }
    }
}

/// What a series of changes makes of a list.
pub(crate) struct Draft<'l> {
    base: Option<&'l List>,
    changed: BTreeMap<(Sha256Digest, Kind), Entry>,
    pub(crate) kill_switch: KillSwitch,
    /// Every change of an entry, in the order in which they were made.
    pub(crate) made: Vec<Entry>,
    pub(crate) effects: Vec<Effect>,
}

impl<'l> Draft<'l> {
    pub(crate) fn new(base: Option<&'l List>) -> Self {
        Self {
            base,
            changed: BTreeMap::new(),
            kill_switch: base.map(|list| list.kill_switch().clone()).unwrap_or_default(),
            made: Vec::new(),
            effects: Vec::new(),
        }
    }

    pub(crate) fn apply(&mut self, change: &Change, moment: RevokedAt) -> Result<(), ChangeRefused> {
        let effect = match change {
            Change::Entry {
                action,
                listed,
                reason,
            } => self.list(*action, listed, *reason, moment)?,
            Change::KillOn(scope) => {
                check_size(scope)?;
                let switched = self.kill_switch.turned_on(scope);
                check_room(&switched)?;
                self.switch(switched)
            }
            Change::KillOff(scope) => {
                check_size(scope)?;
                let switched = self.kill_switch.turned_off(scope);
                self.switch(switched.ok_or_else(|| ChangeRefused::OnForEverything { scope: scope.clone() })?)
            }
        };
        self.effects.push(effect);
        Ok(())
    }

    fn list(
        &mut self,
        action: Action,
        listed: &Listed,
        reason: Reason,
        moment: RevokedAt,
    ) -> Result<Effect, ChangeRefused> {
        let known = self.find(listed);
        match (known.map(|entry| entry.action), action) {
            (Some(is), wanted) if is == wanted => return Ok(Effect::Unchanged { entry: known }),
            (Some(Action::Revoke), _) => {
                return Err(ChangeRefused::Final {
                    action,
                    listed: listed.clone(),
                    entry: known.expect("just matched"),
                });
            }
            (None, Action::Release) => {
                return Err(ChangeRefused::NotHeld {
                    listed: listed.clone(),
                });
            }
            _ => {}
        }
        let entry = Entry {
            digest: listed.digest(),
            kind: listed.kind(),
            action,
            reason: reason.into(),
            flags: 0,
            revoked_at: moment,
        };
        self.changed.insert(entry.key(), entry);
        self.made.push(entry);
        Ok(Effect::Changed)
    }

    fn find(&self, listed: &Listed) -> Option<Entry> {
        let changed = self.changed.get(&(listed.digest(), listed.kind()));
        changed
            .or_else(|| self.base.and_then(|list| list.entry(listed)))
            .copied()
    }

    fn switch(&mut self, switched: KillSwitch) -> Effect {
        if switched == self.kill_switch {
            return Effect::Unchanged { entry: None };
        }
        self.kill_switch = switched;
        Effect::Changed
    }

    /// The entries that differ from the base.
    pub(crate) fn delta(&self) -> Entries {
        self.changed.values().copied().collect()
    }
}

fn check_size(scope: &KillScope) -> Result<(), ChangeRefused> {
    match scope {
        KillScope::Plugins(plugins) if !(1..=MAX_KILLED_PLUGINS).contains(&plugins.len()) => {
            Err(ChangeRefused::ScopeSize {
                plugins: plugins.len(),
            })
        }
        _ => Ok(()),
    }
}

fn check_room(switch: &KillSwitch) -> Result<(), ChangeRefused> {
    match switch {
        KillSwitch::Plugins(plugins) if plugins.len() > MAX_KILLED_PLUGINS => Err(ChangeRefused::ScopeSize {
            plugins: plugins.len(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use base::Reason;

    use super::*;
    use crate::fixture::{Desk, artifact, key, listed, plugin};
    use crate::{PublishError, preview};

    fn refused(desk: &mut Desk, change: Change) -> ChangeRefused {
        let numbers = desk.issued.len();
        match desk.try_publish(&[change]) {
            Err(PublishError::Change(refused)) => {
                assert_eq!(desk.issued.len(), numbers);
                refused
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_hold_can_be_lifted_and_laid_on_again_and_its_entry_stays() {
        let mut desk = Desk::new();
        assert_eq!(desk.hold(1), Effect::Changed);
        assert_eq!(desk.release(1), Effect::Changed);
        let entry = *desk.list().entry(&listed(1)).unwrap();
        assert_eq!(
            (entry.action, entry.reason.reason()),
            (Action::Release, Some(Reason::FalsePositive))
        );
        assert_eq!(desk.list().entries().len(), 1);
        assert_eq!(desk.hold(1), Effect::Changed);
        assert_eq!(desk.revoke(1), Effect::Changed);
    }

    #[test]
    fn revocation_is_final() {
        let mut desk = Desk::new();
        desk.revoke(1);
        for action in [Action::Hold, Action::Release] {
            let refusal = refused(&mut desk, Change::entry(action, listed(1), Reason::OwnerRequest));
            assert_eq!(
                refusal.to_string(),
                format!(
                    "cannot {action} artifact {}: it was revoked at 2026-11-21T10:01:00.000000Z for malware, and \
                     revocation is final; admit a new build instead",
                    artifact(1)
                )
            );
        }
    }

    #[test]
    fn only_a_hold_can_be_released() {
        let mut desk = Desk::new();
        desk.hold(1);
        let refusal = refused(&mut desk, Change::release(listed(2), Reason::FalsePositive));
        assert_eq!(refusal, ChangeRefused::NotHeld { listed: listed(2) });
        // The same digest as another kind is another thing.
        let manifest = Listed::Manifest(*artifact(1).sha256());
        let refusal = refused(
            &mut desk,
            Change::release(manifest.clone(), Reason::FalsePositive),
        );
        assert_eq!(refusal, ChangeRefused::NotHeld { listed: manifest });
    }

    #[test]
    fn doing_what_is_done_changes_nothing_and_names_the_first_act() {
        let mut desk = Desk::new();
        desk.hold(1);
        let first = *desk.list().entry(&listed(1)).unwrap();
        let again = desk.publish(&[Change::hold(listed(1), Reason::Malware)]);
        assert_eq!(again, [Effect::Unchanged { entry: Some(first) }]);
        assert_eq!(desk.list().entry(&listed(1)), Some(&first));
        assert_eq!(desk.newest().delta(), Some(&b""[..]));
        desk.release(1);
        assert!(matches!(desk.release(1), Effect::Unchanged { entry: Some(_) }));
        desk.revoke(1);
        assert!(matches!(desk.revoke(1), Effect::Unchanged { entry: Some(_) }));
    }

    #[test]
    fn changes_are_made_all_or_none() {
        let mut desk = Desk::new();
        desk.revoke(1);
        let before = desk.list().clone();
        let changes = [
            Change::hold(listed(2), Reason::UndeclaredHost),
            Change::release(listed(1), Reason::FalsePositive),
        ];
        assert!(matches!(
            preview(Some(desk.list()), &changes),
            Err(ChangeRefused::Final { .. })
        ));
        assert!(desk.try_publish(&changes).is_err());
        assert_eq!(desk.list(), &before);
    }

    #[test]
    fn later_changes_of_one_list_see_the_earlier_ones() {
        let mut desk = Desk::new();
        let changes = [
            Change::hold(listed(1), Reason::UndeclaredHost),
            Change::hold(listed(1), Reason::UndeclaredHost),
            Change::revoke(listed(1), Reason::Malware),
        ];
        let previewed = preview(None, &changes).unwrap();
        assert!(matches!(
            previewed[..],
            [Effect::Changed, Effect::Unchanged { .. }, Effect::Changed]
        ));
        desk.publish(&changes);
        assert_eq!(desk.list().entries().len(), 1);
        assert_eq!(desk.list().head().inline.len(), 2);
        assert!(preview(Some(desk.list()), &[Change::hold(listed(1), Reason::Malware)]).is_err());
    }

    #[test]
    fn the_kill_switch_adds_up_and_lets_nobody_slip_out_of_everything() {
        let only = |id: &str| KillScope::Plugins([plugin(id)].into());
        let mut desk = Desk::new();
        assert_eq!(
            desk.publish(&[Change::KillOff(KillScope::Everything)]),
            [Effect::Unchanged { entry: None }]
        );
        desk.publish(&[Change::KillOn(only("a")), Change::KillOn(only("b"))]);
        assert_eq!(desk.list().kill_switch().to_string(), "on for a, b");
        assert_eq!(
            desk.publish(&[Change::KillOn(only("a"))]),
            [Effect::Unchanged { entry: None }]
        );
        desk.publish(&[Change::KillOff(only("a"))]);
        assert_eq!(desk.list().kill_switch().to_string(), "on for b");
        desk.publish(&[Change::KillOn(KillScope::Everything)]);
        let refusal = refused(&mut desk, Change::KillOff(only("b")));
        assert!(
            refusal
                .to_string()
                .starts_with("cannot turn the kill switch off for b alone")
        );
        // It outlives a refresh, and goes off only when told to.
        desk.publish(&[]);
        assert_eq!(desk.list().kill_switch(), &KillSwitch::Everything);
        desk.publish(&[Change::KillOff(KillScope::Everything)]);
        assert_eq!(desk.list().kill_switch(), &KillSwitch::Off);
    }

    #[test]
    fn a_kill_switch_names_one_to_a_thousand_and_twenty_four_plugins() {
        let many = |count: usize, prefix: &str| {
            KillScope::Plugins(
                (0..count)
                    .map(|index| plugin(&format!("{prefix}{index}")))
                    .collect(),
            )
        };
        let mut desk = Desk::new();
        for count in [0, MAX_KILLED_PLUGINS + 1] {
            let refusal = refused(&mut desk, Change::KillOn(many(count, "p")));
            assert_eq!(refusal, ChangeRefused::ScopeSize { plugins: count });
        }
        desk.publish(&[Change::KillOn(many(MAX_KILLED_PLUGINS, "p"))]);
        let refusal = refused(&mut desk, Change::KillOn(many(1, "q")));
        assert_eq!(
            refusal,
            ChangeRefused::ScopeSize {
                plugins: MAX_KILLED_PLUGINS + 1
            }
        );
    }

    #[test]
    fn each_thing_is_listed_by_its_own_digest() {
        let signer = key(7).public().fingerprint();
        for (listed, kind, digest) in [
            (listed(1), Kind::Artifact, *artifact(1).sha256()),
            (Listed::Signer(signer), Kind::Signer, *signer.sha256()),
            (
                Listed::Manifest(*artifact(2).sha256()),
                Kind::Manifest,
                *artifact(2).sha256(),
            ),
            (
                Listed::Plugin(plugin("acme.weather")),
                Kind::Plugin,
                Sha256Digest::of(b"acme.weather"),
            ),
        ] {
            assert_eq!((listed.kind(), listed.digest()), (kind, digest));
        }
    }
}
