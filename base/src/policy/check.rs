//! What types alone cannot hold: a policy that contradicts itself is no policy.

use super::{BreachClause, MAX_WINDOW_CONNECTIONS, Policy, PolicyException};
use crate::{AutomaticAction, Tier};

/// Why a policy is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// A number that must be at least one is zero.
    #[error("{field} must be at least 1")]
    Zero {
        /// The field's full name.
        field: String,
    },
    /// A number beyond what can be counted in a window.
    #[error("{field} is {found}, and within a window at most {MAX_WINDOW_CONNECTIONS} are counted")]
    WindowSize {
        /// The field's full name.
        field: String,
        /// What it says.
        found: u64,
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
    /// A final act on the word of one connection or one run.
    #[error(
        "{clause} revokes, which is final, on the word of a single connection or run; set min_connections and min_runs to 2 or more"
    )]
    FinalUncorroborated {
        /// The clause's full name.
        clause: String,
    },
    /// A clause whose name cannot be part of its full name.
    #[error("{clause}: a clause is named with a-z, 0-9, _ and -, at most 64 of them")]
    ClauseName {
        /// The clause's full name.
        clause: String,
    },
    /// One person is not two.
    #[error("{exception}.signed_by needs the names of two different people")]
    OneSigner {
        /// The exception's full name.
        exception: String,
    },
    /// Nobody knows why, or of what.
    #[error("{exception}.{field} is empty; {what}")]
    EmptyException {
        /// The exception's full name.
        exception: String,
        /// The field.
        field: &'static str,
        /// What to write.
        what: &'static str,
    },
}

impl Policy {
    /// Checks what types alone cannot.
    ///
    /// # Errors
    /// [`InvalidPolicy`], naming the field.
    pub fn check(&self) -> Result<(), InvalidPolicy> {
        at_least_one(self.version, || "version".to_owned())?;
        for (&tier, own) in &self.tiers {
            if tier != Tier::Low && !own.allow.is_empty() {
                return Err(InvalidPolicy::AllowListUnused { tier });
            }
            for name in own.clauses.keys() {
                let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
                if !(1..=64).contains(&name.len()) || !name.bytes().all(plain) {
                    let name = crate::escape_untrusted(name.as_bytes(), 80);
                    let clause = format!("tiers.{tier}.clauses.{name}");
                    return Err(InvalidPolicy::ClauseName { clause });
                }
            }
        }
        for (_, name, clause) in self.clauses() {
            check_clause(&name, clause)?;
        }
        let mut exceptions = self.exceptions.iter().enumerate();
        exceptions.try_for_each(|(at, exception)| check_exception(format!("exceptions[{at}]"), exception))
    }
}

fn at_least_one(number: u64, field: impl Fn() -> String) -> Result<(), InvalidPolicy> {
    if number == 0 {
        Err(InvalidPolicy::Zero { field: field() })
    } else {
        Ok(())
    }
}

fn check_clause(name: &str, clause: &BreachClause) -> Result<(), InvalidPolicy> {
    let numbers = [
        ("min_connections", Some(clause.min_connections)),
        ("min_runs", Some(clause.min_runs)),
        ("within_s", clause.within_s),
        ("max_blast_radius", Some(clause.max_blast_radius)),
        ("approval_expires_s", clause.approval_expires_s),
    ];
    for (field, number) in numbers {
        at_least_one(number.unwrap_or(1), || format!("{name}.{field}"))?;
    }
    if clause.within_s.is_some() && clause.min_connections > MAX_WINDOW_CONNECTIONS {
        return Err(InvalidPolicy::WindowSize {
            field: format!("{name}.min_connections"),
            found: clause.min_connections,
        });
    }
    let clause_name = || name.to_owned();
    if clause.reasons.is_empty() {
        return Err(InvalidPolicy::NoReasons {
            clause: clause_name(),
        });
    }
    if clause.enabled_by.trim().is_empty() {
        return Err(InvalidPolicy::NobodyEnabled {
            clause: clause_name(),
        });
    }
    let single = clause.min_connections < 2 || clause.min_runs < 2;
    if clause.action == AutomaticAction::Revoke && single {
        return Err(InvalidPolicy::FinalUncorroborated {
            clause: clause_name(),
        });
    }
    Ok(())
}

fn check_exception(name: String, exception: &PolicyException) -> Result<(), InvalidPolicy> {
    let empty = |field, what| {
        Err(InvalidPolicy::EmptyException {
            exception: name.clone(),
            field,
            what,
        })
    };
    let [first, second] = &exception.signed_by;
    let same = first.trim().eq_ignore_ascii_case(second.trim());
    if same || first.trim().is_empty() || second.trim().is_empty() {
        return Err(InvalidPolicy::OneSigner { exception: name });
    }
    if exception.reasons.is_empty() {
        return empty("reasons", "name the findings that it lets pass");
    }
    if exception.why.trim().is_empty() {
        return empty("why", "say what it is for");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;

    fn broken(change: fn(&mut BreachClause)) -> String {
        let mut policy = Policy::initial("ops");
        let medium = policy.tiers.get_mut(&Tier::Medium).unwrap();
        change(medium.on_breach.as_mut().unwrap());
        policy.check().unwrap_err().to_string()
    }

    #[test]
    fn a_clause_needs_reasons_numbers_and_somebody_behind_it() {
        assert!(broken(|c| c.reasons.clear()).starts_with("tiers.medium.on_breach.reasons is empty"));
        assert!(broken(|c| c.min_connections = 0).contains("min_connections must be at least 1"));
        assert!(broken(|c| c.within_s = Some(0)).contains("within_s must be at least 1"));
        assert!(broken(|c| c.enabled_by = " ".into()).contains("enabled_by is empty"));
    }

    #[test]
    fn what_is_final_needs_more_than_one_word() {
        let final_on_one = |c: &mut BreachClause| {
            c.action = AutomaticAction::Revoke;
            c.min_runs = 1;
        };
        assert!(broken(final_on_one).contains("which is final"));
    }

    #[test]
    fn a_window_counts_only_so_many() {
        let wide = |c: &mut BreachClause| {
            c.within_s = Some(60);
            c.min_connections = MAX_WINDOW_CONNECTIONS + 1;
        };
        assert!(broken(wide).contains("at most 10000"));
    }

    #[test]
    fn a_clauses_name_is_part_of_a_citation() {
        let mut policy = Policy::initial("ops");
        let medium = policy.tiers.get_mut(&Tier::Medium).unwrap();
        let clause = BreachClause::initial(AutomaticAction::Alert, "ops");
        medium.clauses.insert("a.b".into(), clause);
        assert!(policy.check().unwrap_err().to_string().contains("clauses.a.b"));
    }

    #[test]
    fn an_exception_is_signed_by_two_and_says_why() {
        let exception = PolicyException {
            plugin_id: "ocr".parse().unwrap(),
            artifact_digest: None,
            reasons: [Reason::UndeclaredHost].into(),
            to: Some("paste.example".into()),
            why: "until 2.0 ships".into(),
            signed_by: ["ada".into(), "bob".into()],
            until: "2026-12-01T00:00:00Z".parse().unwrap(),
            backing: crate::Backing::Unknown,
        };
        let check = |change: fn(&mut PolicyException)| {
            let mut exception = exception.clone();
            change(&mut exception);
            let policy = Policy {
                exceptions: vec![exception],
                ..Policy::initial("ops")
            };
            policy.check().map_err(|error| error.to_string())
        };
        assert_eq!(check(|_| {}), Ok(()));
        assert!(
            check(|e| e.signed_by[1] = "Ada ".into())
                .unwrap_err()
                .contains("two different")
        );
        assert!(
            check(|e| e.why.clear())
                .unwrap_err()
                .starts_with("exceptions[0].why")
        );
        assert!(
            check(|e| e.reasons.clear())
                .unwrap_err()
                .contains("exceptions[0].reasons")
        );
    }
}
