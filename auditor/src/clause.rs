//! Clauses: from charges to what the policy does about them, and in whose name.
//!
//! What this allows is the least of it. It acts on nothing but breaches that events prove, never where
//! the evidence has a gap, never on failed lookups alone, never in the high tier, and never on more
//! running plugins at once than somebody signed for: many breaches in one night are more likely one
//! mistake of ours.

use std::collections::{BTreeMap, BTreeSet};

use base::{ArtifactDigest, ArtifactState, AutomaticAction, BreachClause, PluginId, Policy, Reason, Tier};

use crate::charge::{Charge, Corroboration};

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
    /// Put the digest on the revocation list with action `hold`.
    Quarantine,
    /// The same, once a second person approved: too many running plugins would stop.
    AwaitApproval {
        /// Plugins that this night's acts under the clause would stop.
        would_stop: u64,
        /// How many the clause allows.
        allowed: u64,
    },
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
}

impl Restraint {
    /// Why, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clause => "the clause asks for an alert only",
            Self::HighTier => "in the high tier a person decides",
            Self::NotCorroborated => "too few connections and runs corroborate it",
            Self::Doubt => "the evidence is not whole",
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
    /// Whether a doubt concerns the evidence.
    pub doubtful: bool,
}

/// What the policy asks for; `None` where no clause speaks, or the artifact is stopped already.
pub fn propose(policy: &Policy, accused: &Accused<'_>) -> Option<Proposal> {
    let (name, clause) = policy.on_breach(accused.tier)?;
    let corroboration = Corroboration::of(accused.charges, &clause.reasons);
    if corroboration.reasons.is_empty() || !accused.state.may_run() {
        return None;
    }
    Some(Proposal {
        plugin_id: accused.plugin_id.clone(),
        artifact_digest: *accused.artifact_digest,
        clause: name,
        enabled_by: clause.enabled_by.clone(),
        measure: measure(clause, accused, &corroboration),
        reasons: corroboration.reasons,
    })
}

fn measure(clause: &BreachClause, accused: &Accused<'_>, corroboration: &Corroboration) -> Measure {
    let corroborated = corroboration.connections >= clause.min_connections
        || corroboration.runs.len() as u64 >= clause.min_runs;
    match clause.action {
        AutomaticAction::Alert => Measure::Alert(Restraint::Clause),
        AutomaticAction::Quarantine if accused.tier == Tier::High => Measure::Alert(Restraint::HighTier),
        AutomaticAction::Quarantine if accused.doubtful => Measure::Alert(Restraint::Doubt),
        AutomaticAction::Quarantine if !corroborated => Measure::Alert(Restraint::NotCorroborated),
        AutomaticAction::Quarantine => Measure::Quarantine,
    }
}

/// Holds back the quarantines of every clause that would stop more running plugins than it may. All
/// of them, because nobody could say which of them were the right ones to do without asking.
pub fn hold_back(policy: &Policy, proposals: &mut [Proposal], is_running: impl Fn(&ArtifactDigest) -> bool) {
    let mut stopped: BTreeMap<String, BTreeSet<PluginId>> = BTreeMap::new();
    for proposal in proposals.iter() {
        if proposal.measure == Measure::Quarantine && is_running(&proposal.artifact_digest) {
            let plugins = stopped.entry(proposal.clause.clone()).or_default();
            plugins.insert(proposal.plugin_id.clone());
        }
    }
    let allowed: BTreeMap<String, u64> = Tier::ALL
        .iter()
        .filter_map(|&tier| policy.on_breach(tier))
        .map(|(name, clause)| (name, clause.max_blast_radius))
        .collect();
    for proposal in proposals {
        let would_stop = stopped
            .get(&proposal.clause)
            .map_or(0, |plugins| plugins.len() as u64);
        let allowed = allowed.get(&proposal.clause).copied().unwrap_or(0);
        if proposal.measure == Measure::Quarantine && would_stop > allowed {
            proposal.measure = Measure::AwaitApproval { would_stop, allowed };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{artifact, run};

    fn charge(number: u8, reason: Reason, established: u64) -> Charge {
        Charge {
            run_id: run("ocr", number),
            established: [(reason, established)].into(),
            beyond_lookup: [reason].into(),
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
            plugin_id: &"ocr".parse().unwrap(),
            artifact_digest: &artifact("ocr"),
            tier,
            state: ArtifactState::Admitted,
            charges,
            doubtful,
        };
        propose(&Policy::initial("ops"), &accused).map(|proposal| proposal.measure)
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
            plugin_id: &"ocr".parse().unwrap(),
            artifact_digest: &artifact("ocr"),
            tier: Tier::High,
            state: ArtifactState::Admitted,
            charges: &proven,
            doubtful: false,
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
        hold_back(&policy, &mut few, |_| true);
        assert!(few.iter().all(|proposal| proposal.measure == Measure::Quarantine));

        let mut many = proposals(11);
        hold_back(&policy, &mut many, |_| true);
        let held = Measure::AwaitApproval {
            would_stop: 11,
            allowed: 10,
        };
        assert!(many.iter().all(|proposal| proposal.measure == held));

        let mut idle = proposals(11);
        hold_back(&policy, &mut idle, |_| false);
        assert!(
            idle.iter()
                .all(|proposal| proposal.measure == Measure::Quarantine)
        );
    }
}
