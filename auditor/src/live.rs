//! Live: events judged as they arrive, for tiers that ask for it.
//!
//! Only entries under a signed checkpoint are judged, each proven against it: what is done on account of
//! an event can be shown by that event for ever after. Checkpoints follow one another within a fraction
//! of a second, so little time is lost by that.
//!
//! The night stays the signed record. It corroborates by the same count of the same moments, cites what
//! was done during the day and does not do it again. What only a night can see (limits, libraries,
//! evidence of other gateways that is missing) is left to it.

use std::collections::{BTreeSet, HashMap};

use base::{AutomaticAction, PluginId, Policy, Timestamp};
use evidence::{Event, EventKind};

use crate::clause::{Accused, Measure, Proposal, hold_back, measure};
use crate::connection::{Connection, Settled, who};
use crate::moment::{Corroborator, Moment};
use crate::observation::Who;
use crate::site::{Artifact, Run};
use crate::tally::Cited;
use crate::terms::{InvalidException, Rulebook};

/// Connections that are followed at one time; of more, the oldest are judged by the night alone.
const MAX_OPEN: usize = 200_000;

/// What a live watch judges by, as it stands at one moment.
pub struct LiveGround<'a> {
    policy: &'a Policy,
    artifacts: &'a [Artifact],
    book: Rulebook<'a>,
}

impl<'a> LiveGround<'a> {
    /// The ground of `artifacts` and `runs` under `policy`.
    ///
    /// # Errors
    /// [`InvalidException`]; nothing is done in the name of such a policy.
    pub fn new(
        policy: &'a Policy,
        artifacts: &'a [Artifact],
        runs: &'a [Run],
    ) -> Result<Self, InvalidException> {
        Ok(Self {
            policy,
            artifacts,
            book: Rulebook::new(artifacts, runs, policy, None)?,
        })
    }

    /// Whether the run of an event, and its artifact, are on record. Where not, it pays to look again.
    pub fn knows(&self, event: &Event) -> bool {
        who(event).is_none_or(|who| self.book.build(&who).is_some() && self.book.run(who.run_id).is_some())
    }

    fn artifact(&self, who: &Who) -> Option<&'a Artifact> {
        let own = |artifact: &&Artifact| {
            artifact.artifact_digest == who.artifact_digest && artifact.plugin_id == who.plugin_id
        };
        self.artifacts.iter().find(own)
    }
}

/// Whether any clause of the policy is judged as events arrive.
pub fn is_live(policy: &Policy) -> bool {
    policy.clauses().any(|(_, _, clause)| clause.live)
}

/// Judges events of one period as they arrive, and says what clauses ask for.
#[derive(Debug)]
pub struct Live {
    from: Timestamp,
    open: HashMap<(usize, String), Open>,
    counts: HashMap<(Who, String), Corroborator>,
    /// What was proposed, and not taken back because it could not be done.
    proposed: BTreeSet<(Who, String)>,
    stopped: BTreeSet<(String, PluginId)>,
    gaps: BTreeSet<Option<PluginId>>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    counted: bool,
}

impl Live {
    /// A watch of the period that began at `from`.
    pub fn new(from: Timestamp) -> Self {
        Self {
            from,
            open: HashMap::new(),
            counts: HashMap::new(),
            proposed: BTreeSet::new(),
            stopped: BTreeSet::new(),
            gaps: BTreeSet::new(),
        }
    }

    /// When the period began.
    pub const fn from(&self) -> Timestamp {
        self.from
    }

    /// Nothing is done any more before the next night: a log was tampered with.
    pub fn doubt_everything(&mut self) {
        self.gaps.insert(None);
    }

    /// Takes the next entry of log `log`, which is proven, and gives what a clause now asks for: never
    /// merely an alert, which is the night's to write, and each thing once.
    pub fn handle_entry(
        &mut self,
        ground: &LiveGround<'_>,
        log: usize,
        index: u64,
        event: &Event,
        now: Timestamp,
    ) -> Option<Proposal> {
        if matches!(event.kind, EventKind::Start | EventKind::Stop | EventKind::Gap) {
            let ended = |(of, id): &(usize, String)| *of == log && event.ends(id);
            if event.kind == EventKind::Gap && event.scope.is_some() {
                // What a process took with it concerns those whose connections it had.
                let cut_short = self.open.iter().filter(|(key, _)| ended(key));
                let plugins = cut_short.filter_map(|(_, open)| open.connection.who());
                self.gaps.extend(plugins.map(|who| Some(who.plugin_id.clone())));
            } else if event.kind == EventKind::Gap {
                self.gaps.insert(event.plugin_id.clone());
            }
            self.open.retain(|key, _| !ended(key));
            return None;
        }
        let (who, moment) = self.moment(ground, log, index, event)?;
        let artifact = ground.artifact(&who)?;
        if !artifact.state.may_run() {
            return None;
        }
        self.count(ground, artifact, &who, &moment, now)
    }

    /// Takes back a proposal that could not be done, so that the next event asks for it again.
    pub fn take_back(&mut self, proposal: &Proposal) {
        let same = |who: &Who, clause: &str| {
            who.is_of(&proposal.plugin_id, &proposal.artifact_digest) && clause == proposal.clause
        };
        self.proposed.retain(|(who, clause)| !same(who, clause));
        self.stopped
            .remove(&(proposal.clause.clone(), proposal.plugin_id.clone()));
    }

    /// What the event shows about its connection, if that breaks a promise and was not counted before.
    fn moment(
        &mut self,
        ground: &LiveGround<'_>,
        log: usize,
        index: u64,
        event: &Event,
    ) -> Option<(Who, Moment)> {
        let entry = Cited { log, index };
        let is_over = matches!(event.kind, EventKind::Close | EventKind::Refused);
        let key = (log, event.connection_id.clone()?);
        if !self.open.contains_key(&key) && self.open.len() >= MAX_OPEN {
            return None;
        }
        let open = self.open.entry(key.clone()).or_insert_with(|| Open {
            connection: Connection::new(entry),
            counted: false,
        });
        open.connection.handle_within(entry, event);
        let settled = open.connection.clone().settle(!is_over);
        let counted = open.counted;
        if is_over {
            self.open.remove(&key);
        }
        let Some(Settled::Seen {
            who,
            destination,
            addition,
        }) = settled
        else {
            return None;
        };
        // Until it reached its destination or ended, nobody knows what it comes to.
        let share = addition.share();
        if counted || !(share.established || share.denied || is_over) {
            return None;
        }
        let moment = Moment::of(&ground.book.terms(&who)?, who.run_id, &destination, &addition)?;
        if let Some(open) = self.open.get_mut(&key) {
            open.counted = true;
        }
        Some((who, moment))
    }

    fn count(
        &mut self,
        ground: &LiveGround<'_>,
        artifact: &Artifact,
        who: &Who,
        moment: &Moment,
        now: Timestamp,
    ) -> Option<Proposal> {
        let doubtful = self.gaps.contains(&None) || self.gaps.contains(&Some(who.plugin_id.clone()));
        let accused = Accused {
            plugin_id: &artifact.plugin_id,
            artifact_digest: &artifact.artifact_digest,
            tier: artifact.tier,
            state: artifact.state,
            charges: &[],
            moments: &[],
            doubtful,
            protected_until: artifact.protected_until,
            now,
        };
        // Of the artifact, whichever run.
        let build = Who {
            run_id: base::RunId::from_parts(0, [0; 10]),
            ..who.clone()
        };
        let mut best: Option<Proposal> = None;
        for (name, clause) in ground.policy.clauses_of(artifact.tier) {
            if !clause.live {
                continue;
            }
            let key = (build.clone(), name.clone());
            let count = self
                .counts
                .entry(key.clone())
                .or_insert_with(|| Corroborator::new(clause));
            count.handle(moment);
            let asked = measure(clause, &accused, count.reached().is_some());
            let more = best
                .as_ref()
                .is_none_or(|best| asked.action() > best.measure.action());
            // A person may have lifted it since; then the same evidence does not bring it back.
            let done = artifact
                .acts
                .iter()
                .any(|past| past.clause == name && past.at >= self.from && past.action >= asked.action());
            if matches!(asked, Measure::Alert(_)) || self.proposed.contains(&key) || done || !more {
                continue;
            }
            best = Some(Proposal {
                plugin_id: artifact.plugin_id.clone(),
                artifact_digest: artifact.artifact_digest,
                clause: name,
                enabled_by: clause.enabled_by.clone(),
                reasons: count.found(),
                measure: asked,
            });
        }
        let mut proposals = [best?];
        let before = |clause: &str| self.stopped_by(ground, clause);
        hold_back(ground.policy, &mut proposals, now, |_| true, before);
        let [proposal] = proposals;
        self.proposed.insert((build, proposal.clause.clone()));
        if matches!(proposal.measure, Measure::Quarantine | Measure::Revoke) {
            self.stopped
                .insert((proposal.clause.clone(), proposal.plugin_id.clone()));
        }
        Some(proposal)
    }

    /// The plugins that a clause stopped in the period.
    fn stopped_by(&self, ground: &LiveGround<'_>, clause: &str) -> BTreeSet<PluginId> {
        let own = self.stopped.iter().filter(|(name, _)| name == clause);
        let mut plugins: BTreeSet<PluginId> = own.map(|(_, plugin)| plugin.clone()).collect();
        let on_record = ground.artifacts.iter().filter(|artifact| {
            artifact.acts.iter().any(|past| {
                past.clause == clause && past.at >= self.from && past.action != AutomaticAction::Watch
            })
        });
        plugins.extend(on_record.map(|artifact| artifact.plugin_id.clone()));
        plugins
    }
}
