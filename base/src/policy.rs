//! Policy: what each tier does on a breach, and who said so.
//!
//! The document is a TOML file that people write; this is its one typed form. Every automatic act
//! names a clause of it, so that nobody has to guess afterwards why something happened.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::text_enum::text_enum;
use crate::{Reason, Tier};

text_enum! {
    /// What a clause does on its own.
    pub enum AutomaticAction as "automatic action" {
        /// Mail to owner and security; nothing else.
        Alert = "alert",
        /// Mail, and the digest goes on the revocation list with action `hold`.
        Quarantine = "quarantine",
    }
}

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
    /// The clause `tiers.<tier>.on_breach`.
    #[serde(default)]
    pub on_breach: Option<BreachClause>,
}

/// When and how a tier acts on findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreachClause {
    /// What is done.
    pub action: AutomaticAction,
    /// Which findings count.
    pub reasons: BTreeSet<Reason>,
    /// Connections that must corroborate before anything is done; at least 1.
    pub min_connections: u64,
    /// Runs that corroborate just as well; whichever of the two is reached first counts.
    pub min_runs: u64,
    /// Running plugins that one night may stop without a second approver.
    pub max_blast_radius: u64,
    /// Who switched this clause on.
    pub enabled_by: String,
}

/// Why a policy is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// A number that must be at least one is zero.
    #[error("{field} must be at least 1")]
    Zero {
        /// The field's full name.
        field: String,
    },
    /// A clause acts for no reason.
    #[error("{clause}.reasons is empty, so the clause could never act; remove it or name reasons")]
    NoReasons {
        /// The clause's full name.
        clause: String,
    },
    /// A list that no tier of this kind asks.
    #[error("tiers.{tier}.allow is set, and only the low tier asks such a list; remove it")]
    AllowListUnused {
        /// The tier.
        tier: Tier,
    },
    /// Nobody stands behind the clause.
    #[error("{clause}.enabled_by is empty; write who answers for this clause")]
    NobodyEnabled {
        /// The clause's full name.
        clause: String,
    },
}

impl Policy {
    /// What `bailiwick init` starts with: medium quarantines on corroborated breaches, every other
    /// tier leaves the decision to a person.
    pub fn initial(enabled_by: &str) -> Self {
        let clause = |action| BreachClause {
            action,
            reasons: [
                Reason::UndeclaredHost,
                Reason::UndeclaredPort,
                Reason::UndeclaredScheme,
                Reason::IpLiteral,
                Reason::PrivateResolution,
            ]
            .into(),
            min_connections: 2,
            min_runs: 2,
            max_blast_radius: 10,
            enabled_by: enabled_by.to_owned(),
        };
        let tier = |action| TierPolicy {
            on_breach: Some(clause(action)),
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
        }
    }

    /// The breach clause of `tier` and its full name, if the tier has one.
    pub fn on_breach(&self, tier: Tier) -> Option<(String, &BreachClause)> {
        let clause = self.tiers.get(&tier)?.on_breach.as_ref()?;
        Some((format!("tiers.{tier}.on_breach"), clause))
    }

    /// Checks what types alone cannot.
    ///
    /// # Errors
    /// [`InvalidPolicy`], naming the field.
    pub fn check(&self) -> Result<(), InvalidPolicy> {
        let at_least_one = |number: u64, field: String| {
            if number == 0 {
                Err(InvalidPolicy::Zero { field })
            } else {
                Ok(())
            }
        };
        at_least_one(self.version, "version".to_owned())?;
        for (&tier, own) in &self.tiers {
            if tier != Tier::Low && !own.allow.is_empty() {
                return Err(InvalidPolicy::AllowListUnused { tier });
            }
            let Some((name, clause)) = self.on_breach(tier) else {
                continue;
            };
            at_least_one(clause.min_connections, format!("{name}.min_connections"))?;
            at_least_one(clause.min_runs, format!("{name}.min_runs"))?;
            at_least_one(clause.max_blast_radius, format!("{name}.max_blast_radius"))?;
            if clause.reasons.is_empty() {
                return Err(InvalidPolicy::NoReasons { clause: name });
            }
            if clause.enabled_by.trim().is_empty() {
                return Err(InvalidPolicy::NobodyEnabled { clause: name });
            }
        }
        Ok(())
    }
}

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
    fn a_clause_needs_reasons_numbers_and_somebody_behind_it() {
        let broken = |change: fn(&mut BreachClause)| {
            let mut policy = Policy::initial("ops");
            change(
                policy
                    .tiers
                    .get_mut(&Tier::Medium)
                    .unwrap()
                    .on_breach
                    .as_mut()
                    .unwrap(),
            );
            policy.check().unwrap_err().to_string()
        };
        assert!(broken(|c| c.reasons.clear()).starts_with("tiers.medium.on_breach.reasons is empty"));
        assert!(broken(|c| c.min_connections = 0).contains("min_connections must be at least 1"));
        assert!(broken(|c| c.enabled_by = " ".into()).contains("enabled_by is empty"));
    }
}
