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
