//! Live: events judged as they arrive, for tiers that ask for it.
//!
//! Only entries under a signed checkpoint are judged, each proven against it: what is done on account of
//! an event can be shown by that event for ever after. Checkpoints follow one another within a fraction
//! of a second, so little time is lost by that.
//!
//! The night stays the signed record. It corroborates by the same count of the same moments, cites what
//! was done during the day and does not do it again. What only a night can see is left to it: bytes of
//! tunnels that still stand, runs that last too long and connect nowhere any more, evidence of other
//! gateways that is missing.

use std::collections::{BTreeSet, HashMap, VecDeque};

use base::{AutomaticAction, PluginId, Policy, Reason, Timestamp};
use evidence::{Event, EventKind};

use crate::clause::{Accused, Measure, Proposal, hold_back, measure};
use crate::connection::{Connection, Settled};
use crate::facts::who;
use crate::moment::{Corroborator, Moment, Reasons};
use crate::observation::Who;
use crate::site::{Artifact, Run};
use crate::tally::{Cited, Share};
use crate::terms::{InvalidException, Rulebook};
use crate::usage::{Allowance, MINUTE_US, is_late};

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
    /// What runs of limited means took so far.
    usages: HashMap<Who, UsageSoFar>,
    /// What was proposed, and not taken back because it could not be done.
    proposed: BTreeSet<(Who, String)>,
    stopped: BTreeSet<(String, PluginId)>,
    gaps: BTreeSet<Option<PluginId>>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    /// What it was counted for, once it was.
    counted: Reasons,
    /// Whether it was asked for since the watch began, and not only heard of.
    begun: bool,
    /// Whether it was asked for when no more might be, or the run had lasted too long; known once it is
    /// known whose it is.
    too_much: Option<bool>,
}

/// What a run took since the watch began.
#[derive(Debug, Default)]
struct UsageSoFar {
    /// When the connections of the last minute were asked for, in order.
    minute: VecDeque<Timestamp>,
    bytes: u64,
}

impl UsageSoFar {
    /// Notes that a connection was asked for, and gives how many were in the minute that ends with it.
    fn ask(&mut self, at: Timestamp) -> u64 {
        let place = self.minute.partition_point(|asked| *asked <= at);
        self.minute.insert(place, at);
        let newest = self.minute.back().map_or(at, |newest| (*newest).max(at));
        while self
            .minute
            .front()
            .is_some_and(|asked| newest.unix_us() - asked.unix_us() >= MINUTE_US)
        {
            self.minute.pop_front();
        }
        self.minute.partition_point(|asked| *asked <= at) as u64
    }
}

impl Live {
    /// A watch of the period that began at `from`.
    pub fn new(from: Timestamp) -> Self {
        Self {
            from,
            open: HashMap::new(),
            counts: HashMap::new(),
            usages: HashMap::new(),
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
            counted: Reasons::default(),
            begun: matches!(event.kind, EventKind::Open | EventKind::Refused),
            too_much: None,
        });
        open.connection.handle_within(entry, event);
        let settled = open.connection.clone().settle(!is_over);
        let Some(Settled::Seen {
            who,
            destination,
            addition,
        }) = settled
        else {
            if is_over {
                self.open.remove(&key);
            }
            return None;
        };
        let share = addition.share();
        let begun = open.begun;
        let too_much = *open
            .too_much
            .get_or_insert_with(|| begun && is_too_much(&ground.book, &mut self.usages, &who, share.first));
        let counted = open.counted;
        if is_over {
            self.open.remove(&key);
        }
        let too_large = is_over && begun && self.is_too_large(ground, &who, share);
        // Until it reached its destination or ended, nobody knows what it comes to.
        if !(share.established || share.denied || is_over) {
            return None;
        }
        let own = Moment::of(&ground.book, &who, &destination, &addition);
        let at = own.as_ref().map_or(share.first, |own| own.at);
        let excess: Reasons = (too_much || too_large)
            .then_some(Reason::LimitExceeded)
            .into_iter()
            .collect();
        let mut moment = own.unwrap_or(Moment {
            at,
            run_id: who.run_id,
            established: Reasons::default(),
            beyond_lookup: Reasons::default(),
            before: Reasons::default(),
        });
        if share.established {
            moment.established = moment.established.and(excess);
        }
        if !share.failed_lookup {
            moment.beyond_lookup = moment.beyond_lookup.and(excess);
        }
        moment.established = moment.established.but(counted);
        moment.beyond_lookup = moment.beyond_lookup.but(counted);
        moment.before = counted;
        let news = moment.reasons();
        if news.is_empty() {
            return None;
        }
        // Bytes count when a connection ends; whatever else it broke, it broke when it was asked for.
        if too_large && !too_much && news.but(excess).is_empty() {
            moment.at = share.last;
        }
        if let Some(open) = self.open.get_mut(&key) {
            open.counted = counted.and(news);
        }
        Some((who, moment))
    }

    /// Whether more bytes were moved than declared, now that this connection ended.
    fn is_too_large(&mut self, ground: &LiveGround<'_>, who: &Who, share: &Share) -> bool {
        let book = &ground.book;
        let bytes = share.bytes_out.saturating_add(share.bytes_in);
        if bytes == 0 || !book.build(who).is_some_and(|build| build.is_limited) {
            return false;
        }
        let usage = self.usages.entry(who.clone()).or_default();
        usage.bytes = usage.bytes.saturating_add(bytes);
        let allowed = Allowance::of(book, who).bytes_per_run(share.last);
        let moved = usage
            .bytes
            .saturating_add(Allowance::of(book, who).bytes_before());
        allowed.is_some_and(|allowed| moved > allowed)
            && book.excuse(who, Reason::LimitExceeded, share.last).is_none()
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

/// Whether a connection is asked for when no more might be, or when the run has lasted too long.
fn is_too_much(book: &Rulebook<'_>, usages: &mut HashMap<Who, UsageSoFar>, who: &Who, at: Timestamp) -> bool {
    if !book.build(who).is_some_and(|build| build.is_limited) {
        return false;
    }
    let in_the_minute = usages.entry(who.clone()).or_default().ask(at);
    let allowance = Allowance::of(book, who);
    let too_many = allowance
        .connections_per_minute(at)
        .is_some_and(|allowed| in_the_minute > allowed);
    let too_late = allowance
        .run()
        .is_some_and(|run| is_late(run.started, at, |at| allowance.wall_time_s(at)));
    (too_many || too_late) && book.excuse(who, Reason::LimitExceeded, at).is_none()
}
