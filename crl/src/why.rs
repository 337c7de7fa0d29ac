//! Why: which entry decides about something, in words.

use std::fmt;

use base::{PluginId, Sha256Digest};
use serde::Serialize;

use crate::change::plugin_digest;
use crate::head::Recent;
use crate::view::EntryView;
use crate::{Action, Entry, KillSwitch, Kind, List, Question, Standing};

/// An explanation. Its `Display` form is for people, its JSON form for scripts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    /// Who issued the list.
    pub issuer: String,
    /// The list.
    pub crl_number: u64,
    /// What was asked about.
    pub about: String,
    /// What decides.
    pub deciding: Deciding,
    /// Every entry that names it, whether it decides or not.
    pub entries: Vec<EntryView>,
    /// How the entries came to be, as far back as the head remembers, oldest first.
    pub history: Vec<Recent>,
    /// The kill switch, which may stop the plugin that a digest belongs to.
    pub kill_switch: KillSwitch,
}

/// What decides about something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Deciding {
    /// The kill switch.
    KillSwitch,
    /// An entry.
    Entry(EntryView),
    /// Nothing: the list is silent, or says only that a hold was lifted.
    Nothing,
}

impl List {
    /// What decides about whatever `digest` names.
    pub fn why(&self, digest: &Sha256Digest) -> Why {
        let stopped = *self.kill_switch() == KillSwitch::Everything;
        self.explain(
            digest.to_string(),
            stopped,
            self.entries().naming(digest).to_vec(),
        )
    }

    /// What decides about a plugin as such.
    pub fn why_plugin(&self, plugin: &PluginId) -> Why {
        let entry = self.entries().get(Kind::Plugin, &plugin_digest(plugin)).copied();
        let stopped = self.kill_switch().stops(plugin);
        self.explain(format!("plugin {plugin}"), stopped, entry.into_iter().collect())
    }

    /// What decides about one build, with everything that is known of it: the answer is the one that
    /// [`List::standing`] gives.
    pub fn why_question(&self, question: &Question<'_>) -> Why {
        let named = |(kind, digest): (Kind, Sha256Digest)| self.entries().get(kind, &digest).copied();
        let entries = question.names().filter_map(named).collect();
        let stopped = matches!(self.standing(question), Standing::Killed { .. });
        self.explain(
            format!("artifact {} of plugin {}", question.artifact, question.plugin),
            stopped,
            entries,
        )
    }

    /// `entries` come narrowest first.
    fn explain(&self, about: String, stopped: bool, entries: Vec<Entry>) -> Why {
        let first = |action| entries.iter().find(|entry| entry.action == action);
        let deciding = match first(Action::Revoke).or_else(|| first(Action::Hold)) {
            _ if stopped => Deciding::KillSwitch,
            Some(entry) => Deciding::Entry(entry.into()),
            None => Deciding::Nothing,
        };
        let concerns = |recent: &&Recent| entries.iter().any(|entry| entry.key() == recent.entry.key());
        Why {
            issuer: self.issuer().to_owned(),
            crl_number: self.crl_number(),
            about,
            deciding,
            history: self.head().inline.iter().filter(concerns).copied().collect(),
            entries: entries.iter().map(EntryView::from).collect(),
            kill_switch: self.kill_switch().clone(),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.about)?;
        match &self.deciding {
            Deciding::KillSwitch => write!(f, "stopped by the kill switch, which is {}", self.kill_switch)?,
            Deciding::Entry(entry) => write!(f, "{}", Sentence(entry))?,
            Deciding::Nothing if self.entries.is_empty() => {
                f.write_str("not on the list; nothing is held against it")?
            }
            Deciding::Nothing => f.write_str("a hold was lifted; nothing is held against it")?,
        }
        writeln!(f, " (revocation list {} of {})", self.crl_number, self.issuer)?;
        for entry in &self.entries {
            let decides = matches!(&self.deciding, Deciding::Entry(deciding) if deciding == entry);
            if !decides {
                writeln!(f, "  also listed, without deciding: {}", Sentence(entry))?;
            }
        }
        for recent in &self.history {
            let EntryView {
                action,
                reason,
                since,
                kind,
                ..
            } = EntryView::from(&recent.entry);
            writeln!(
                f,
                "  list {}: {action} of the {kind} at {since} for {reason}",
                recent.crl_number
            )?;
        }
        if self.kill_switch.is_active() && self.deciding != Deciding::KillSwitch {
            writeln!(f, "  the kill switch is {}", self.kill_switch)?;
        }
        Ok(())
    }
}

/// One entry as a sentence.
struct Sentence<'e>(&'e EntryView);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EntryView {
            kind,
            name,
            action,
            reason,
            since,
            ..
        } = self.0;
        let what = match action {
            Action::Hold => "is held, until it is released,",
            Action::Revoke => "is revoked for good",
            Action::Release => "is free again",
        };
        write!(f, "{kind} {name} {what} since {since} for {reason}")
    }
}

#[cfg(test)]
mod tests {
    use base::Reason;

    use super::*;
    use crate::fixture::{Desk, artifact, key, listed, plugin};
    use crate::{Change, KillScope, Listed};

    #[test]
    fn a_held_build_is_explained_with_its_history() {
        let mut desk = Desk::new();
        desk.hold(1);
        desk.release(1);
        desk.hold(1);
        let digest = artifact(1);
        assert_eq!(
            desk.list().why(digest.sha256()).to_string(),
            format!(
                "{digest}: artifact {digest} is held, until it is released, since 2026-11-21T10:03:00.000000Z for \
                 undeclared_host (revocation list 3 of acme)\n  \
                 list 1: hold of the artifact at 2026-11-21T10:01:00.000000Z for undeclared_host\n  \
                 list 2: release of the artifact at 2026-11-21T10:02:00.000000Z for false_positive\n  \
                 list 3: hold of the artifact at 2026-11-21T10:03:00.000000Z for undeclared_host\n"
            )
        );
    }

    #[test]
    fn silence_and_a_lifted_hold_are_told_apart() {
        let mut desk = Desk::new();
        desk.hold(1);
        desk.release(1);
        let words = |byte| desk.list().why(artifact(byte).sha256()).to_string();
        assert!(words(2).contains("not on the list; nothing is held against it"));
        assert!(words(1).contains("a hold was lifted; nothing is held against it"));
        assert!(words(1).contains("also listed, without deciding: artifact"));
    }

    #[test]
    fn the_entry_that_is_named_is_the_one_that_decides() {
        let mut desk = Desk::new();
        let signer = key(3).public().fingerprint();
        desk.publish(&[
            Change::hold(listed(1), Reason::UndeclaredHost),
            Change::revoke(Listed::Signer(signer), Reason::KeyCompromise),
        ]);
        let weather = plugin("acme.weather");
        let question = Question {
            artifact: artifact(1),
            manifest: None,
            signer: Some(signer),
            plugin: &weather,
        };
        let why = desk.list().why_question(&question);
        assert!(matches!(&why.deciding, Deciding::Entry(entry) if entry.kind == Kind::Signer));
        let words = why.to_string();
        // A key is named as `ssh-keygen -lf` names it.
        assert!(
            words.contains(&format!("signer {signer} is revoked for good since")),
            "{words}"
        );
        assert!(
            words.contains("also listed, without deciding: artifact"),
            "{words}"
        );
        let json = serde_json::to_value(&why).unwrap();
        assert_eq!(json["deciding"]["by"], "entry");
        assert_eq!(json["deciding"]["reason"], "key_compromise");
    }

    #[test]
    fn the_kill_switch_is_named_where_it_decides_and_mentioned_where_it_might() {
        let mut desk = Desk::new();
        desk.hold(1);
        desk.publish(&[Change::KillOn(KillScope::Plugins([plugin("a")].into()))]);
        assert_eq!(
            desk.list().why_plugin(&plugin("a")).deciding,
            Deciding::KillSwitch
        );
        assert_eq!(desk.list().why_plugin(&plugin("b")).deciding, Deciding::Nothing);
        let words = desk.list().why(artifact(1).sha256()).to_string();
        assert!(
            words.contains("is held") && words.contains("the kill switch is on for a"),
            "{words}"
        );
        desk.publish(&[Change::KillOn(KillScope::Everything)]);
        assert_eq!(
            desk.list().why(artifact(7).sha256()).to_string(),
            format!(
                "{}: stopped by the kill switch, which is on for everything (revocation list 3 of acme)\n",
                artifact(7)
            )
        );
    }
}
