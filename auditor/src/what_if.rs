//! What if: how connections that were seen would have fared under another manifest, policy or tier.
//!
//! Two rules are asked twice, as things stand and as they are imagined: whether the owner's word covers a
//! connection, and whether the tier lets it pass. Only where an answer differs is there something to say.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base::{ArtifactDigest, ObservedScheme, PluginId, Policy, RunId, Target, Tier, Timestamp};
use manifests::egress::{Entry, InvalidEntry};
use manifests::{ByTier, DataClass, Manifest};

use crate::departure::Fared;
use crate::docket::Docket;
use crate::gather::Evidence;
use crate::night::NightError;
use crate::observation::{Destination, Observation, Visited, Who};
use crate::site::Artifact;
use crate::terms::{Rulebook, Terms};

/// What is imagined; whatever is absent stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Hypothesis {
    /// The plugin's manifest. Only the artifacts of its plugin are judged.
    pub manifest: Option<Manifest>,
    /// The site's policy.
    pub policy: Option<Policy>,
    /// The tier of every plugin concerned.
    pub tier: Option<Tier>,
}

impl Hypothesis {
    /// Whether anything is imagined.
    pub const fn is_any(&self) -> bool {
        self.manifest.is_some() || self.policy.is_some() || self.tier.is_some()
    }
}

/// Connections of one artifact to one destination that would have fared otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact.
    pub artifact_digest: ArtifactDigest,
    /// Where to.
    pub target: Target,
    /// What was spoken.
    pub scheme: Option<ObservedScheme>,
    /// How they would have fared.
    pub would: Would,
    /// By which entry or clause, and why.
    pub by: String,
    /// How many.
    pub connections: u64,
    /// In which runs.
    pub runs: BTreeSet<RunId>,
    /// When the first was first seen.
    pub first: Timestamp,
    /// When the last was last seen.
    pub last: Timestamp,
}

/// How connections would have fared that fared otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Would {
    /// They would have broken a promise.
    Breach,
    /// They would have broken none.
    NoBreach,
    /// The gateway would have refused them.
    Denied,
    /// The gateway would have let them pass.
    Allowed,
}

impl Would {
    /// The word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Breach => "breach",
            Self::NoBreach => "no_breach",
            Self::Denied => "denied",
            Self::Allowed => "allowed",
        }
    }
}

/// A destination, by where it stands, and the class of data of the run that went there.
type Asked<'a> = (*const Visited, Option<&'a DataClass>);

/// One side of the comparison.
pub(crate) struct World<'a> {
    pub(crate) book: &'a Rulebook<'a>,
    pub(crate) operators_list: Vec<Entry>,
    pub(crate) tiers: BTreeMap<ArtifactDigest, Tier>,
}

impl<'a> World<'a> {
    pub(crate) fn new(
        book: &'a Rulebook<'a>,
        policy: &Policy,
        artifacts: impl Iterator<Item = (ArtifactDigest, Tier)>,
    ) -> Result<Self, InvalidEntry> {
        let low = policy.tiers.get(&Tier::Low);
        let list = low.into_iter().flat_map(|low| &low.allow);
        Ok(Self {
            book,
            operators_list: list.map(|text| text.parse()).collect::<Result<_, _>>()?,
            tiers: artifacts.collect(),
        })
    }

    /// Why the tier refuses the destination, or by which entry it lets it pass.
    fn ruling(&self, artifact: &Artifact, terms: &Terms<'_>, target: &Target) -> Result<String, String> {
        let tier = self
            .tiers
            .get(&artifact.artifact_digest)
            .copied()
            .unwrap_or(artifact.tier);
        let asked = ByTier::ask(Some(terms.manifest), &self.operators_list, target, terms.at);
        match asked.denial(tier) {
            Some(why) => Err(why),
            None => Ok(match asked.matched {
                Some(entry) if tier == Tier::Low => {
                    format!("tier low: \"{entry}\" and the operators' list cover it")
                }
                _ => format!("tier {tier} records and lets pass"),
            }),
        }
    }
}

/// Everything that would have fared otherwise in `imagined` than in `present`.
///
/// # Errors
/// What was put by cannot be read.
pub(crate) fn changes(
    present: &World<'_>,
    imagined: &World<'_>,
    dockets: &[Docket<'_>],
    evidence: &Evidence,
) -> Result<Vec<Change>, NightError> {
    let mut all: BTreeMap<(PluginId, ArtifactDigest, Destination, Would), Change> = BTreeMap::new();
    for docket in dockets {
        let artifact = docket.artifact;
        let opened = docket.open(evidence)?;
        // Of connections with nothing odd the answer is the same wherever the question is.
        let mut plain: HashMap<Asked<'_>, Vec<(Would, String)>> = HashMap::new();
        for run in opened.seen.of(None) {
            let who = &run.who;
            let on_record = present.book.run(who.run_id);
            let class = on_record.and_then(|run| run.data_class.as_ref());
            for (visited, observation) in &run.sights {
                let asked = || otherwise(present, imagined, artifact, who, visited, observation);
                let odd;
                let found = if observation.odd.is_some() {
                    odd = asked();
                    &odd
                } else {
                    plain
                        .entry((std::ptr::from_ref(*visited), class))
                        .or_insert_with(asked)
                };
                for (would, by) in found {
                    let destination = &visited.destination;
                    let key = (
                        artifact.plugin_id.clone(),
                        artifact.artifact_digest,
                        destination.clone(),
                        *would,
                    );
                    let change = all
                        .entry(key)
                        .or_insert_with(|| change(who, destination, observation, *would, by.clone()));
                    change.add(who, observation);
                }
            }
        }
    }
    Ok(all.into_values().collect())
}

/// How connections would have fared otherwise, and why.
fn otherwise(
    present: &World<'_>,
    imagined: &World<'_>,
    artifact: &Artifact,
    who: &Who,
    visited: &Visited,
    observation: &Observation,
) -> Vec<(Would, String)> {
    let destination = &visited.destination;
    // The gateway rules once, when a connection is asked for.
    let at = observation.tally().first;
    let (Some(now), Some(then)) = (present.book.terms(who, at), imagined.book.terms(who, at)) else {
        return Vec::new();
    };
    let kept = kept(present.book, imagined.book, who, destination, observation);
    let passed = match (
        present.ruling(artifact, &now, &destination.target),
        imagined.ruling(artifact, &then, &destination.target),
    ) {
        (Ok(_), Err(why)) => Some((Would::Denied, why)),
        (Err(_), Ok(by)) => Some((Would::Allowed, by)),
        _ => None,
    };
    kept.into_iter().chain(passed).collect()
}

fn change(
    who: &Who,
    destination: &Destination,
    observation: &Observation,
    would: Would,
    by: String,
) -> Change {
    let tally = observation.tally();
    Change {
        plugin_id: who.plugin_id.clone(),
        artifact_digest: who.artifact_digest,
        target: destination.target.clone(),
        scheme: destination.scheme,
        would,
        by,
        connections: 0,
        runs: BTreeSet::new(),
        first: tally.first,
        last: tally.last,
    }
}

impl Change {
    fn add(&mut self, who: &Who, observation: &Observation) {
        let tally = observation.tally();
        self.connections += tally.connections;
        self.runs.insert(who.run_id);
        self.first = self.first.min(tally.first);
        self.last = self.last.max(tally.last);
    }
}

/// Whether a promise that was kept would have been broken, or the reverse.
fn kept(
    now: &Rulebook<'_>,
    then: &Rulebook<'_>,
    who: &Who,
    destination: &Destination,
    observation: &Observation,
) -> Option<(Would, String)> {
    let (is_broken, _) = breaches(now, who, destination, observation);
    let (would_break, by) = breaches(then, who, destination, observation);
    match (is_broken, would_break) {
        (false, true) => Some((Would::Breach, by)),
        (true, false) => Some((Would::NoBreach, by)),
        _ => None,
    }
}

/// Whether a promise is broken, and by which entry: the one that covers it, or the nearest.
fn breaches(
    book: &Rulebook<'_>,
    who: &Who,
    destination: &Destination,
    observation: &Observation,
) -> (bool, String) {
    let fared = Fared::of(book, who, destination, observation);
    let broken = fared.departures.iter().find(|departure| departure.breach);
    let by = match (broken, fared.covered_by.last()) {
        (Some(departure), _) => format!("{}: {}", departure.reason, departure.fix),
        (None, Some(entry)) if fared.is_covered => format!("\"{entry}\" covers it"),
        (None, _) => "an exception of the policy lets it pass".to_owned(),
    };
    (broken.is_some(), by)
}
