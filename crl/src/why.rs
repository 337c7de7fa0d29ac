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
