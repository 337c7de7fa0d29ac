//! Policy: what each tier does on a breach, and who said so.
//!
//! The document is a TOML file that people write; this is its one typed form. Every automatic act
//! names a clause of it, so that nobody has to guess afterwards why something happened.

mod check;
mod clause;
mod exception;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Reason, Tier};

pub use check::InvalidPolicy;
pub use clause::{AutomaticAction, BreachClause, MAX_WINDOW_CONNECTIONS};
pub use exception::{Backing, PolicyException};

/// The policy of one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Rises by one with each change; written into events and reports.
    pub version: u64,
    /// The tier of a plugin for which nobody chose one.
    pub default_tier: Tier,
    /// What each tier does. A tier that is absent does nothing on its own.
    #[serde(default)]
    pub tiers: BTreeMap<Tier, TierPolicy>,
    /// What is let pass for a time, and who said so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<PolicyException>,
}

/// What one tier does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierPolicy {
    /// `low` alone: the operators' list, as entries of the egress grammar. A connection of this tier
    /// is allowed where both this list and the manifest cover it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Whom a refused plugin's owner may ask; named in every denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Whether the load gate asks for the platform's approval before anything of this tier is loaded.
    #[serde(default, skip_serializing_if = "is_false")]
    pub approval_required: bool,
    /// The clause `tiers.<tier>.on_breach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_breach: Option<BreachClause>,
    /// Further clauses `tiers.<tier>.clauses.<name>`. Of all that speak about an artifact, the one that
    /// does most is applied.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clauses: BTreeMap<String, BreachClause>,
}

impl Policy {
    /// What `bailiwick init` starts with: medium quarantines on corroborated breaches, every other
    /// tier leaves the decision to a person.
    pub fn initial(enabled_by: &str) -> Self {
        let tier = |action| TierPolicy {
            on_breach: Some(BreachClause::initial(action, enabled_by)),
            ..TierPolicy::default()
        };
        Self {
            version: 1,
            default_tier: Tier::Low,
            tiers: [
                (Tier::High, tier(AutomaticAction::Alert)),
                (Tier::Medium, tier(AutomaticAction::Quarantine)),
                (Tier::Low, tier(AutomaticAction::Alert)),
            ]
            .into(),
            exceptions: Vec::new(),
        }
    }

    /// The breach clause of `tier` and its full name, if the tier has one.
    pub fn on_breach(&self, tier: Tier) -> Option<(String, &BreachClause)> {
        let clause = self.tiers.get(&tier)?.on_breach.as_ref()?;
        Some((format!("tiers.{tier}.on_breach"), clause))
    }

    /// The clauses of `tier` by their full names, `on_breach` first.
    pub fn clauses_of(&self, tier: Tier) -> impl Iterator<Item = (String, &BreachClause)> {
        let own = self.tiers.get(&tier);
        let first = own.and_then(|own| own.on_breach.as_ref());
        let further = own.into_iter().flat_map(|own| &own.clauses);
        let first = first.map(move |clause| (format!("tiers.{tier}.on_breach"), clause));
        first
            .into_iter()
            .chain(further.map(move |(name, clause)| (format!("tiers.{tier}.clauses.{name}"), clause)))
    }

    /// Every clause by its full name.
    pub fn clauses(&self) -> impl Iterator<Item = (Tier, String, &BreachClause)> {
        self.tiers.keys().flat_map(|&tier| {
            self.clauses_of(tier)
                .map(move |(name, clause)| (tier, name, clause))
        })
    }

    /// Whether the load gate asks for an approval in `tier`.
    pub fn approval_required(&self, tier: Tier) -> bool {
        self.tiers.get(&tier).is_some_and(|own| own.approval_required)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The reasons that a connection by itself can show.
const ON_THE_WIRE: [Reason; 5] = [
    Reason::UndeclaredHost,
    Reason::UndeclaredPort,
    Reason::UndeclaredScheme,
    Reason::IpLiteral,
    Reason::PrivateResolution,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_policy_quarantines_in_the_medium_tier_alone() {
        let policy = Policy::initial("ops");
        assert_eq!(policy.check(), Ok(()));
        let (name, clause) = policy.on_breach(Tier::Medium).unwrap();
        assert_eq!(name, "tiers.medium.on_breach");
        assert_eq!(clause.action, AutomaticAction::Quarantine);
        assert_eq!(
            policy.on_breach(Tier::High).unwrap().1.action,
            AutomaticAction::Alert
        );
        assert_eq!(policy.on_breach(Tier::Legacy), None);
    }

    #[test]
    fn clauses_come_by_their_full_names_on_breach_first() {
        let mut policy = Policy::initial("ops");
        let medium = policy.tiers.get_mut(&Tier::Medium).unwrap();
        let drift = BreachClause {
            reasons: [Reason::SdkDrift].into(),
            ..BreachClause::initial(AutomaticAction::Watch, "ops")
        };
        medium.clauses.insert("drift".into(), drift);
        let names: Vec<String> = policy.clauses_of(Tier::Medium).map(|(name, _)| name).collect();
        assert_eq!(names, ["tiers.medium.on_breach", "tiers.medium.clauses.drift"]);
        assert_eq!(policy.clauses().count(), 4);
        // With no `on_breach`, a further clause is not taken for it.
        policy.tiers.get_mut(&Tier::Medium).unwrap().on_breach = None;
        assert_eq!(policy.on_breach(Tier::Medium), None);
    }
}
