//! Clauses: from charges to what the policy does about them, and in whose name.
//!
//! What this allows is the least of it. It acts on nothing but breaches that events prove, never where
//! the evidence has a gap, never on failed lookups alone, never in the high tier, never against an owner
//! who has just been proven right, and never on more running plugins at once than somebody signed for:
//! many breaches in one night are more likely one mistake of ours.

use std::collections::{BTreeMap, BTreeSet};

use base::{
    ArtifactDigest, ArtifactState, AutomaticAction, BreachClause, PluginId, Policy, Reason, Tier, Timestamp,
};

use crate::charge::{Charge, Corroboration};
use crate::moment::{Corroborator, Moment};

/// What a clause asks for on account of one artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact.
    pub artifact_digest: ArtifactDigest,
    /// The clause, by its full name.
    pub clause: String,
    /// Who switched it on.
    pub enabled_by: String,
    /// The reasons found that the clause counts.
    pub reasons: BTreeSet<Reason>,
    /// What is to be done.
    pub measure: Measure,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Tell owner and security; a person decides.
    Alert(Restraint),
    /// Let it run, in the state `watch`.
    Watch,
    /// Put the digest on the revocation list with action `hold`.
    Quarantine,
    /// Put the digest on the revocation list with action `revoke`.
    Revoke,
    /// The same, by itself, once the clause's grace is over, unless a person says otherwise.
    Announce {
        /// What will be done.
        action: AutomaticAction,
        /// When.
        due: Timestamp,
    },
    /// The same, once a second person approved: too many running plugins would stop.
    AwaitApproval {
        /// What waits.
        action: AutomaticAction,
        /// Plugins that this night's acts under the clause would stop.
        would_stop: u64,
        /// How many the clause allows.
        allowed: u64,
        /// When the question lapses.
        until: Timestamp,
    },
}

impl Measure {
    /// The word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert(_) => "alert",
            Self::Watch => "watch",
            Self::Quarantine => "quarantine",
            Self::Revoke => "revoke",
            Self::Announce { .. } => "announce",
            Self::AwaitApproval { .. } => "await_approval",
        }
    }

    /// What it does to the artifact in the end.
    pub const fn action(self) -> AutomaticAction {
        match self {
            Self::Alert(_) => AutomaticAction::Alert,
            Self::Watch => AutomaticAction::Watch,
            Self::Quarantine => AutomaticAction::Quarantine,
            Self::Revoke => AutomaticAction::Revoke,
            Self::Announce { action, .. } | Self::AwaitApproval { action, .. } => action,
        }
    }

    /// Whether it stops something at once.
    const fn stops(self) -> bool {
        matches!(self, Self::Quarantine | Self::Revoke)
    }
}

/// Why nothing more than an alert is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restraint {
    /// The clause asks for no more.
    Clause,
    /// In the high tier a person decides, whatever a clause says.
    HighTier,
    /// Too few connections and too few runs.
    NotCorroborated,
    /// The evidence is not whole.
    Doubt,
    /// The owner won an appeal a short while ago.
    Protected,
    /// Somebody is looking already.
    Watched,
}

impl Restraint {
    /// Why, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clause => "the clause asks for an alert only",
            Self::HighTier => "in the high tier a person decides",
            Self::NotCorroborated => "too few connections and runs corroborate it",
            Self::Doubt => "the evidence is not whole",
            Self::Protected => "the owner won an appeal; until its protection ends a person decides",
            Self::Watched => "it is in the state watch already",
        }
    }
}

/// An artifact that charges are brought against.
#[derive(Clone, Copy, Debug)]
pub struct Accused<'a> {
    /// The plugin.
    pub plugin_id: &'a PluginId,
    /// The artifact.
    pub artifact_digest: &'a ArtifactDigest,
    /// The plugin's tier.
    pub tier: Tier,
    /// Where the artifact stands.
    pub state: ArtifactState,
    /// The charges.
    pub charges: &'a [Charge],
    /// When promises were broken; asked by clauses that count within a window or act during the day.
    pub moments: &'a [Moment],
    /// Whether a doubt concerns the evidence.
    pub doubtful: bool,
    /// Until this moment nothing is done without a person.
    pub protected_until: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
}

/// What the policy asks for; `None` where no clause speaks, or the artifact is stopped already. Of all
/// clauses that speak, the one that does most now; of equals, the first.
pub fn propose(policy: &Policy, accused: &Accused<'_>) -> Option<Proposal> {
    if !accused.state.may_run() {
        return None;
    }
    let mut best: Option<Proposal> = None;
    for (name, clause) in policy.clauses_of(accused.tier) {
        let Some(proposal) = proposal(name, clause, accused) else {
            continue;
        };
        let more = best
            .as_ref()
            .is_none_or(|best| weight(proposal.measure) > weight(best.measure));
        if more {
            best = Some(proposal);
        }
    }
    best
}

/// What is done at once outweighs what is announced, and that what is only told.
fn weight(measure: Measure) -> (AutomaticAction, bool) {
    (measure.action(), !matches!(measure, Measure::Announce { .. }))
}

/// The reasons that a clause counts, if any were found.
pub(crate) fn reasons(clause: &BreachClause, accused: &Accused<'_>) -> BTreeSet<Reason> {
    Corroboration::of(accused.charges, &clause.reasons).reasons
}

fn proposal(name: String, clause: &BreachClause, accused: &Accused<'_>) -> Option<Proposal> {
    let corroboration = Corroboration::of(accused.charges, &clause.reasons);
    if corroboration.reasons.is_empty() {
        return None;
    }
    let corroborated = if clause.live || clause.within_s.is_some() {
        Corroborator::of(clause, accused.moments).reached().is_some()
    } else {
        corroboration.connections >= clause.min_connections
            || corroboration.runs.len() as u64 >= clause.min_runs
    };
    Some(Proposal {
        plugin_id: accused.plugin_id.clone(),
        artifact_digest: *accused.artifact_digest,
        clause: name,
        enabled_by: clause.enabled_by.clone(),
        measure: measure(clause, accused, corroborated),
        reasons: corroboration.reasons,
    })
}

/// What a clause comes to, given whether its conditions hold.
pub(crate) fn measure(clause: &BreachClause, accused: &Accused<'_>, corroborated: bool) -> Measure {
    let protected = accused.protected_until.is_some_and(|until| accused.now < until);
    match clause.action {
        AutomaticAction::Alert => Measure::Alert(Restraint::Clause),
        action if action.stops() && accused.tier == Tier::High => Measure::Alert(Restraint::HighTier),
        _ if accused.doubtful => Measure::Alert(Restraint::Doubt),
        _ if protected => Measure::Alert(Restraint::Protected),
        _ if !corroborated => Measure::Alert(Restraint::NotCorroborated),
        AutomaticAction::Watch if accused.state == ArtifactState::Watch => Measure::Alert(Restraint::Watched),
        AutomaticAction::Watch => Measure::Watch,
        action => match (clause.grace_s(), action) {
            (Some(grace_s), action) => Measure::Announce {
                action,
                due: accused.now.plus_seconds(grace_s),
            },
            (None, AutomaticAction::Revoke) => Measure::Revoke,
            (None, _) => Measure::Quarantine,
        },
    }
}

/// Holds back the quarantines of every clause that would stop more running plugins than it may. All
/// of them, because nobody could say which of them were the right ones to do without asking.
/// `stopped_before` names the plugins that a clause stopped since the period began.
pub fn hold_back(
    policy: &Policy,
    proposals: &mut [Proposal],
    now: Timestamp,
    is_running: impl Fn(&ArtifactDigest) -> bool,
    stopped_before: impl Fn(&str) -> BTreeSet<PluginId>,
) {
    let mut stopped: BTreeMap<String, BTreeSet<PluginId>> = BTreeMap::new();
    for proposal in proposals.iter() {
        if proposal.measure.stops() && is_running(&proposal.artifact_digest) {
            let plugins = stopped
                .entry(proposal.clause.clone())
                .or_insert_with(|| stopped_before(&proposal.clause));
            plugins.insert(proposal.plugin_id.clone());
        }
    }
    let clauses: BTreeMap<String, &BreachClause> =
        policy.clauses().map(|(_, name, clause)| (name, clause)).collect();
    for proposal in proposals {
        let (Some(plugins), Some(clause)) = (stopped.get(&proposal.clause), clauses.get(&proposal.clause))
        else {
            continue;
        };
        let (would_stop, allowed) = (plugins.len() as u64, clause.max_blast_radius);
        if proposal.measure.stops() && would_stop > allowed {
            proposal.measure = Measure::AwaitApproval {
                action: proposal.measure.action(),
                would_stop,
                allowed,
                until: now.plus_seconds(clause.approval_expires_s()),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{artifact, at, run};

    fn charge(number: u8, reason: Reason, established: u64) -> Charge {
        Charge {
            run_id: run("ocr", number),
            established: [(reason, established)].into(),
            beyond_lookup: [reason].into(),
            before: crate::Reasons::default(),
        }
    }

    fn only_lookups(number: u8) -> Charge {
        Charge {
            beyond_lookup: BTreeSet::new(),
            ..charge(number, Reason::UndeclaredHost, 0)
        }
    }

    fn measure_of(tier: Tier, charges: &[Charge], doubtful: bool) -> Option<Measure> {
        let accused = Accused {
            tier,
            charges,
            doubtful,
            ..nobody()
        };
        propose(&Policy::initial("ops"), &accused).map(|proposal| proposal.measure)
    }

    fn nobody() -> Accused<'static> {
        static ACCUSED: std::sync::LazyLock<(PluginId, ArtifactDigest)> =
            std::sync::LazyLock::new(|| ("ocr".parse().unwrap(), artifact("ocr")));
        Accused {
            plugin_id: &ACCUSED.0,
            artifact_digest: &ACCUSED.1,
            tier: Tier::Medium,
            state: ArtifactState::Admitted,
            charges: &[],
            moments: &[],
            doubtful: false,
            protected_until: None,
            now: at(0),
        }
    }

    #[test]
    fn one_connection_is_not_enough_and_two_connections_or_two_runs_are() {
        let host = Reason::UndeclaredHost;
        let medium = |charges: &[Charge]| measure_of(Tier::Medium, charges, false);
        assert_eq!(medium(&[]), None);
        assert_eq!(
            medium(&[charge(1, host, 1)]),
            Some(Measure::Alert(Restraint::NotCorroborated))
        );
        assert_eq!(medium(&[charge(1, host, 2)]), Some(Measure::Quarantine));
        assert_eq!(
            medium(&[charge(1, host, 0), charge(2, host, 0)]),
            Some(Measure::Quarantine)
        );
    }

    #[test]
    fn failed_lookups_never_corroborate_however_many() {
        let many: Vec<Charge> = (0..100).map(only_lookups).collect();
        assert_eq!(
            measure_of(Tier::Medium, &many, false),
            Some(Measure::Alert(Restraint::NotCorroborated))
        );
    }

    #[test]
    fn one_connection_is_one_connection_under_however_many_reasons_it_stands() {
        let mut twice = charge(1, Reason::UndeclaredHost, 1);
        twice.established.insert(Reason::UndeclaredPort, 1);
        assert_eq!(
            measure_of(Tier::Medium, &[twice], false),
            Some(Measure::Alert(Restraint::NotCorroborated))
        );
    }

    #[test]
    fn only_reasons_of_the_clause_count() {
        assert_eq!(
            measure_of(Tier::Medium, &[charge(1, Reason::SniMismatch, 9)], false),
            None
        );
    }

    #[test]
    fn doubt_and_the_high_tier_leave_the_act_to_a_person() {
        let proven = [charge(1, Reason::UndeclaredHost, 9)];
        assert_eq!(
            measure_of(Tier::Medium, &proven, true),
            Some(Measure::Alert(Restraint::Doubt))
        );
        assert_eq!(
            measure_of(Tier::High, &proven, false),
            Some(Measure::Alert(Restraint::Clause))
        );
        assert_eq!(
            measure_of(Tier::Low, &proven, false),
            Some(Measure::Alert(Restraint::Clause))
        );
        assert_eq!(measure_of(Tier::Legacy, &proven, false), None);

        let mut policy = Policy::initial("ops");
        let zealous = policy.tiers[&Tier::Medium].clone();
        policy.tiers.insert(Tier::High, zealous);
        let accused = Accused {
            tier: Tier::High,
            charges: &proven,
            ..nobody()
        };
        assert_eq!(
            propose(&policy, &accused).unwrap().measure,
            Measure::Alert(Restraint::HighTier)
        );
        let stopped = Accused {
            state: ArtifactState::Quarantined,
            ..accused
        };
        assert_eq!(propose(&policy, &stopped), None);
    }

    #[test]
    fn more_running_plugins_than_allowed_wait_for_a_second_person_all_of_them() {
        let policy = Policy::initial("ops");
        let proposals = |count: u64| -> Vec<Proposal> {
            (0..count)
                .map(|number| Proposal {
                    plugin_id: format!("plugin-{number}").parse().unwrap(),
                    artifact_digest: artifact(&format!("plugin-{number}")),
                    clause: "tiers.medium.on_breach".to_owned(),
                    enabled_by: "ops".to_owned(),
                    reasons: [Reason::UndeclaredHost].into(),
                    measure: Measure::Quarantine,
                })
                .collect()
        };
        let mut few = proposals(10);
        hold_back(&policy, &mut few, at(0), |_| true, |_| BTreeSet::new());
        assert!(few.iter().all(|proposal| proposal.measure == Measure::Quarantine));

        let mut many = proposals(11);
        hold_back(&policy, &mut many, at(0), |_| true, |_| BTreeSet::new());
        let held = Measure::AwaitApproval {
            action: AutomaticAction::Quarantine,
            would_stop: 11,
            allowed: 10,
            until: at(7 * 24 * 3600),
        };
        assert!(many.iter().all(|proposal| proposal.measure == held));

        let mut idle = proposals(11);
        hold_back(&policy, &mut idle, at(0), |_| false, |_| BTreeSet::new());
        assert!(
            idle.iter()
                .all(|proposal| proposal.measure == Measure::Quarantine)
        );
    }

    #[test]
    fn what_was_stopped_during_the_day_counts_towards_what_may_be_stopped() {
        let policy = Policy::initial("ops");
        let mut one = vec![Proposal {
            plugin_id: "plugin".parse().unwrap(),
            artifact_digest: artifact("plugin"),
            clause: "tiers.medium.on_breach".to_owned(),
            enabled_by: "ops".to_owned(),
            reasons: [Reason::UndeclaredHost].into(),
            measure: Measure::Quarantine,
        }];
        let ten = || (0..10).map(|n| format!("earlier-{n}").parse().unwrap()).collect();
        hold_back(&policy, &mut one, at(0), |_| true, |_| ten());
        assert!(matches!(
            one[0].measure,
            Measure::AwaitApproval { would_stop: 11, .. }
        ));
    }

    fn by(clause: BreachClause, accused: &Accused<'_>) -> Measure {
        let mut policy = Policy::initial("ops");
        policy.tiers.get_mut(&Tier::Medium).unwrap().on_breach = Some(clause);
        propose(&policy, accused).unwrap().measure
    }

    #[test]
    fn an_owner_who_won_an_appeal_is_left_to_a_person_until_the_protection_ends() {
        let proven = [charge(1, Reason::UndeclaredHost, 9)];
        let accused = |now| Accused {
            charges: &proven,
            protected_until: Some(at(100)),
            now,
            ..nobody()
        };
        let clause = || BreachClause::initial(AutomaticAction::Quarantine, "ops");
        assert_eq!(
            by(clause(), &accused(at(99))),
            Measure::Alert(Restraint::Protected)
        );
        assert_eq!(by(clause(), &accused(at(100))), Measure::Quarantine);
    }

    #[test]
    fn grace_puts_the_act_off_and_names_the_moment() {
        let proven = [charge(1, Reason::UndeclaredHost, 9)];
        let accused = Accused {
            charges: &proven,
            ..nobody()
        };
        let clause = BreachClause {
            grace_s: Some(3600),
            ..BreachClause::initial(AutomaticAction::Quarantine, "ops")
        };
        let announced = Measure::Announce {
            action: AutomaticAction::Quarantine,
            due: at(3600),
        };
        assert_eq!(by(clause, &accused), announced);
    }

    #[test]
    fn of_several_clauses_the_one_that_does_most_is_applied() {
        let mut policy = Policy::initial("ops");
        let medium = policy.tiers.get_mut(&Tier::Medium).unwrap();
        let hosts = |action, min_connections| BreachClause {
            min_connections,
            min_runs: 99,
            ..BreachClause::initial(action, "ops")
        };
        medium.on_breach = Some(hosts(AutomaticAction::Watch, 2));
        medium
            .clauses
            .insert("many".into(), hosts(AutomaticAction::Revoke, 5));
        let measure = |connections| {
            let charges = [charge(1, Reason::UndeclaredHost, connections)];
            let accused = Accused {
                charges: &charges,
                ..nobody()
            };
            let proposal = propose(&policy, &accused).unwrap();
            (proposal.clause, proposal.measure)
        };
        let (watch, revoke) = ("tiers.medium.on_breach", "tiers.medium.clauses.many");
        assert_eq!(
            measure(1),
            (watch.to_owned(), Measure::Alert(Restraint::NotCorroborated))
        );
        assert_eq!(measure(2), (watch.to_owned(), Measure::Watch));
        assert_eq!(measure(5), (revoke.to_owned(), Measure::Revoke));
    }
}
