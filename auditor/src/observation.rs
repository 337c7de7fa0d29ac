//! Observations: events folded by who went where.

use std::collections::{BTreeMap, BTreeSet};

use base::{ArtifactDigest, Host, ObservedScheme, PluginId, RefusalReason, RunId, Target, Timestamp};

use crate::moment::Moment;
use crate::tally::{Cited, Tally};
use crate::turns::Passage;
use crate::usage::Usage;

/// Who connected: one run of one artifact of one plugin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Who {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact.
    pub artifact_digest: ArtifactDigest,
    /// The run.
    pub run_id: RunId,
}

impl Who {
    /// Whether this is a run of the artifact.
    pub fn is_of(&self, plugin_id: &PluginId, artifact_digest: &ArtifactDigest) -> bool {
        self.plugin_id == *plugin_id && self.artifact_digest == *artifact_digest
    }
}

/// Where to: the target asked for, and what was spoken there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// Host and port.
    pub target: Target,
    /// What was spoken; `None` while nobody spoke.
    pub scheme: Option<ObservedScheme>,
}

/// What one observation counts together: connections to one destination, judged by one measure.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Visited {
    /// Where to.
    pub destination: Destination,
    /// Between which changes of what is in force.
    pub passage: Passage,
}

/// What connections of one run to one destination have in common. There are as many of these as a day has
/// destinations of runs, so what few have stands elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// All of them. `None` only before the first was added.
    all: Option<Tally>,
    /// What few connections show; most have nothing of it.
    pub odd: Option<Box<Oddities>>,
    /// Still open when the period ended.
    pub alive_at_end: u64,
}

/// What only few connections to a destination show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    /// By the name found inside the connection where it is another than the one asked for: in the
    /// ClientHello, or in the Host header of plain HTTP. Each name is matched as well.
    pub inner_names: BTreeMap<InnerName, Tally>,
    /// TLS to a name, without a readable name inside.
    pub unnamed_tls: Option<Box<Tally>>,
    /// TLS whose name may be hidden, with the names beside it that may be cover.
    pub hidden_names: Option<Box<Named>>,
    /// Requests in the clear to be taken on from there, with where to.
    pub proxied: Option<Box<Named>>,
    /// Requests with headers in which the client claimed an identity, with the headers' names.
    pub forged_headers: Option<Box<Named>>,
    /// Refused because the name led below the floor.
    pub floor: Option<Box<Tally>>,
    /// Relayed to a public address although the name also resolved to others.
    pub mixed_answers: Option<Box<Tally>>,
    /// Refused because the artifact was revoked or on hold.
    pub after_revocation: Option<Box<Tally>>,
}

/// How much was seen of something, and under which names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// How much.
    pub tally: Tally,
    /// The first few names in their order, escaped.
    pub names: BTreeSet<String>,
}

/// Names that are kept of one thing; a report spells out fewer.
const MAX_NAMES: usize = 8;

impl Named {
    pub(crate) fn add<'n>(
        named: &mut Option<Box<Self>>,
        tally: &Tally,
        names: impl IntoIterator<Item = &'n String>,
    ) {
        let named = match named {
            Some(known) => {
                known.tally.merge(tally);
                known
            }
            None => named.insert(Box::new(Self {
                tally: tally.clone(),
                names: BTreeSet::new(),
            })),
        };
        named.names.extend(names.into_iter().cloned());
        while named.names.len() > MAX_NAMES {
            named.names.pop_last();
        }
    }
}

/// A name found inside a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InnerName {
    /// A host, to be matched.
    Host(Host),
    /// Text that is no host, escaped.
    Unreadable(String),
    /// One of more names than are told apart.
    Other,
}

impl std::fmt::Display for InnerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(host) => std::fmt::Display::fmt(host, f),
            Self::Unreadable(text) => f.write_str(text),
            Self::Other => f.write_str("further names"),
        }
    }
}

impl Observation {
    /// All connections.
    pub fn tally(&self) -> &Tally {
        self.all
            .as_ref()
            .expect("an observation is made by adding its first connection")
    }

    pub(crate) fn all_mut(&mut self) -> &mut Option<Tally> {
        &mut self.all
    }

    /// An observation of which this much is known, and nothing odd.
    pub(crate) const fn plain(all: Tally, alive_at_end: u64) -> Self {
        Self {
            all: Some(all),
            odd: None,
            alive_at_end,
        }
    }

    pub(crate) fn odd_mut(&mut self) -> &mut Oddities {
        self.odd.get_or_insert_default()
    }
}

/// Traffic that nobody could be named for, and requests too broken to have a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stray {
    /// Who, where that much is known.
    pub who: Option<Who>,
    /// Where to, where that much could be read.
    pub target: Option<Target>,
    /// Why it was refused; `None` if it was relayed.
    pub refusal: Option<RefusalReason>,
    /// The run that refused credentials name, where that much was proved.
    pub run_id: Option<RunId>,
    /// The fingerprint of refused credentials.
    pub credential: Option<String>,
}

/// A stretch of one log in which something is missing, by the gateway's own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The entry that says so.
    pub cited: Cited,
    /// The last moment for which the log is known to be whole.
    pub from: Timestamp,
    /// When the entry was written.
    pub to: Timestamp,
    /// What happened, in the gateway's words.
    pub cause: String,
    /// Events known to be missing, where a number is known.
    pub count: Option<u64>,
    /// The one plugin whose events are missing, where only one is concerned.
    pub plugin_id: Option<PluginId>,
}

/// The entries of one log that belong to the period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The log's origin.
    pub origin: String,
    /// Its first entry.
    pub from: u64,
    /// The first entry after it.
    pub to: u64,
}

/// How many events there are about one run, and which logs hold them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// How many.
    pub events: u64,
    /// The logs, in the order in which [`Cited::log`] counts.
    pub logs: Vec<u32>,
}

/// Everything that one period's events say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observations {
    /// Who went where.
    pub seen: BTreeMap<Who, BTreeMap<Visited, Observation>>,
    /// What runs did beyond the destinations that are told apart.
    pub beyond: BTreeMap<Who, Tally>,
    /// What could not be ascribed to a run or to a target.
    pub strays: BTreeMap<Stray, Tally>,
    /// What is missing.
    pub gaps: Vec<Gap>,
    /// When promises were broken, for clauses that count within a window.
    pub moments: BTreeMap<ArtifactDigest, Vec<Moment>>,
    /// What connections took, of runs that promised to take no more than so much.
    pub usages: BTreeMap<Who, Usage>,
    /// Events per run, connections or not.
    pub events: BTreeMap<Who, Heard>,
    /// What was read, in the order in which [`Cited::log`] counts.
    pub logs: Vec<Stretch>,
}

impl Observations {
    /// The runs of an artifact that there are events about.
    pub fn runs_of<'a>(
        &'a self,
        plugin_id: &'a PluginId,
        artifact_digest: &'a ArtifactDigest,
    ) -> impl Iterator<Item = RunId> + 'a {
        runs_of(&self.events, plugin_id, artifact_digest, None).map(|(who, _)| who.run_id)
    }

    /// How many events there are about one run of an artifact, or about all of its runs.
    pub fn events_of(
        &self,
        plugin_id: &PluginId,
        artifact_digest: &ArtifactDigest,
        run_id: Option<RunId>,
    ) -> u64 {
        runs_of(&self.events, plugin_id, artifact_digest, run_id)
            .map(|(_, heard)| heard.events)
            .sum()
    }

    /// The logs that hold events about one run.
    pub(crate) fn logs_of(&self, who: &Who) -> &[u32] {
        self.events.get(who).map_or(&[], |heard| &heard.logs)
    }

    /// Counts so many events about `who` in the log that is being folded.
    pub(crate) fn count_events(&mut self, who: &Who, count: u64) {
        let log = u32::try_from(self.logs.len()).expect("there are fewer logs than that");
        let heard = match self.events.get_mut(who) {
            Some(heard) => heard,
            None => self.events.entry(who.clone()).or_default(),
        };
        heard.events += count;
        if heard.logs.last() != Some(&log) {
            heard.logs.push(log);
        }
    }
}

/// Runs of one artifact stand together, so finding them does not mean looking at all others.
fn runs_of<'a, T>(
    map: &'a BTreeMap<Who, T>,
    plugin_id: &'a PluginId,
    artifact_digest: &'a ArtifactDigest,
    run_id: Option<RunId>,
) -> impl Iterator<Item = (&'a Who, &'a T)> {
    let first = Who {
        plugin_id: plugin_id.clone(),
        artifact_digest: *artifact_digest,
        run_id: run_id.unwrap_or_else(|| RunId::from_parts(0, [0; 10])),
    };
    map.range(first..).take_while(move |(who, _)| {
        who.is_of(plugin_id, artifact_digest) && run_id.is_none_or(|run| who.run_id == run)
    })
}
