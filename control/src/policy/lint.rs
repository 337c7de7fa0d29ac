//! Lints of a policy: what is allowed in one and yet should be looked at twice.

use std::collections::BTreeMap;

use base::{AutomaticAction, Backing, BreachClause, Policy, Reason, ShownBy, Tier, Timestamp, text_enum};
use manifests::lint::Severity;

/// Within this time before it runs out, an exception is remarked on.
const SOON_S: i64 = 14 * 24 * 3600;

text_enum! {
    /// What a lint of a policy looks for.
    pub enum PolicyRule as "rule for policies" {
        /// A clause of the high tier that would stop something: there, a person decides.
        HighTierStops = "high-tier-stops",
        /// A clause that revokes, which is final.
        AutomaticRevocation = "automatic-revocation",
        /// A clause that acts on a single connection or a single run.
        SingleWitness = "single-witness",
        /// A clause that may stop very many running plugins without asking.
        WideBlastRadius = "wide-blast-radius",
        /// The medium tier does nothing by itself.
        MediumDoesNothing = "medium-does-nothing",
        /// A clause counts a reason that no connection shows, so it never acts on its account.
        ReasonNeverCounts = "reason-never-counts",
        /// Events are judged as they arrive, and some of what the clause counts shows at night alone.
        LiveInPart = "live-in-part",
        /// Events are judged as they arrive, and then nothing is done before the grace is over.
        LiveWithGrace = "live-with-grace",
        /// The low tier lists nothing, so nothing of it may connect.
        EmptyList = "empty-list",
        /// An exception that the two whom it names did not sign.
        ExceptionUnsigned = "exception-unsigned",
        /// An exception ran out.
        ExceptionExpired = "exception-expired",
        /// An exception runs out soon.
        ExceptionEnding = "exception-ending",
        /// An exception that lets everything of its kind pass.
        ExceptionAnywhere = "exception-anywhere",
    }
}

/// One remark about a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLint {
    /// What was looked for.
    pub rule: PolicyRule,
    /// How much it matters.
    pub severity: Severity,
    /// The full name of what it is about.
    pub field: String,
    /// Why it matters, and what to do.
    pub why: String,
}

/// Looks at a policy at the moment `now`. It was checked before.
pub fn lint(policy: &Policy, now: Timestamp) -> Vec<PolicyLint> {
    let mut lints = Vec::new();
    for (tier, name, clause) in policy.clauses() {
        lints.extend(about_clause(tier, &name, clause));
    }
    if policy.clauses_of(Tier::Medium).next().is_none() {
        lints.push(remark(
            PolicyRule::MediumDoesNothing,
            Severity::Warning,
            "tiers.medium",
            "no clause speaks for the medium tier, so a breach there is reported and nothing is done"
                .to_owned(),
        ));
    }
    if policy.default_tier == Tier::Low
        && policy
            .tiers
            .get(&Tier::Low)
            .is_none_or(|low| low.allow.is_empty())
    {
        lints.push(remark(
            PolicyRule::EmptyList,
            Severity::Note,
            "tiers.low.allow",
            "the list is empty and the default tier is low, so a plugin without a tier connects nowhere"
                .to_owned(),
        ));
    }
    for (at, exception) in policy.exceptions.iter().enumerate() {
        let field = format!("exceptions[{at}]");
        let until = exception.until;
        if let Backing::Lacking { what } = &exception.backing {
            let why =
                format!("it lets nothing pass: {what}; sign it with: bailiwick policy sign-exception {at}");
            lints.push(remark(
                PolicyRule::ExceptionUnsigned,
                Severity::Warning,
                &field,
                why,
            ));
        }
        if !exception.stands(now) {
            let why = format!("it ran out at {until}; remove it, or have two people sign it anew");
            lints.push(remark(
                PolicyRule::ExceptionExpired,
                Severity::Warning,
                &field,
                why,
            ));
        } else if !exception.stands(now.plus_seconds(SOON_S)) {
            let why = format!("it runs out at {until}; then its findings stand again");
            lints.push(remark(PolicyRule::ExceptionEnding, Severity::Note, &field, why));
        }
        if exception.to.is_none() {
            let why = "it lets every destination pass; name one in \"to\"".to_owned();
            lints.push(remark(
                PolicyRule::ExceptionAnywhere,
                Severity::Warning,
                &field,
                why,
            ));
        }
    }
    lints
}

fn about_clause(tier: Tier, name: &str, clause: &BreachClause) -> Vec<PolicyLint> {
    let mut lints = Vec::new();
    let mut say = |rule, severity, why: String| lints.push(remark(rule, severity, name, why));
    let acts = clause.action != AutomaticAction::Alert;
    if tier == Tier::High && clause.action.stops() {
        let why = "in the high tier a person decides, so this clause only alerts; write action = \"alert\"";
        say(PolicyRule::HighTierStops, Severity::Warning, why.to_owned());
    }
    if clause.action == AutomaticAction::Revoke {
        let why = "a revocation is final and nothing lifts it; quarantine stops just as well".to_owned();
        say(PolicyRule::AutomaticRevocation, Severity::Warning, why);
    }
    if acts && (clause.min_connections < 2 || clause.min_runs < 2) {
        let why = "one connection, or one run, is no corroboration; ask for two".to_owned();
        say(PolicyRule::SingleWitness, Severity::Warning, why);
    }
    if clause.action.stops() && clause.max_blast_radius > 100 {
        let why = format!(
            "{} running plugins may be stopped in one night without asking anybody",
            clause.max_blast_radius
        );
        say(PolicyRule::WideBlastRadius, Severity::Warning, why);
    }
    for (what, reasons) in never_counting(clause) {
        let when = if clause.live {
            "neither as events arrive nor at night"
        } else {
            "at no time"
        };
        let reasons = reasons.join(", ");
        let why = format!("{reasons} can be counted {when}: {what}; take it out of \"reasons\"");
        say(PolicyRule::ReasonNeverCounts, Severity::Warning, why);
    }
    let by_usage = |reason: &Reason| reason.shown_by() == ShownBy::Usage;
    if clause.live && clause.reasons.iter().any(by_usage) {
        let why = "of limit_exceeded only a part shows as events arrive: bytes when a connection ends, and the \
                   length of a run when it connects once more; bytes of tunnels that still stand are counted at night";
        say(PolicyRule::LiveInPart, Severity::Note, why.to_owned());
    }
    if clause.live && clause.grace_s().is_some() {
        let why = "it is judged at once and done only after the grace; one of the two is enough".to_owned();
        say(PolicyRule::LiveWithGrace, Severity::Note, why);
    }
    lints
}

/// The reasons of a clause that no connection shows, by why that is so.
fn never_counting(clause: &BreachClause) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for reason in &clause.reasons {
        let why = match reason.shown_by() {
            ShownBy::Connection | ShownBy::Usage => continue,
            ShownBy::Doubt => "it makes the evidence doubtful, and nothing is done on doubtful evidence",
            ShownBy::Note => "it is worth knowing and stands against nobody",
            ShownBy::Gate => "the load gate refuses the load, and nothing of it ever connects",
            ShownBy::Person => "a person states it, and no event shows it",
        };
        all.entry(why).or_default().push(reason.as_str());
    }
    all
}

fn remark(rule: PolicyRule, severity: Severity, field: &str, why: String) -> PolicyLint {
    PolicyLint {
        rule,
        severity,
        field: field.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use base::PolicyException;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_us(1_795_000_000_000_000);

    fn rules(change: impl FnOnce(&mut Policy)) -> Vec<PolicyRule> {
        let mut policy = Policy::initial("ops");
        policy.tiers.get_mut(&Tier::Low).unwrap().allow = vec!["a.example".into()];
        change(&mut policy);
        assert_eq!(policy.check(), Ok(()));
        lint(&policy, NOW).into_iter().map(|lint| lint.rule).collect()
    }

    fn clause(policy: &mut Policy, tier: Tier) -> &mut BreachClause {
        policy.tiers.get_mut(&tier).unwrap().on_breach.as_mut().unwrap()
    }

    fn exception(until: Timestamp) -> PolicyException {
        PolicyException {
            plugin_id: "ocr".parse().unwrap(),
            artifact_digest: None,
            reasons: [Reason::UndeclaredHost].into(),
            to: Some("a.example".into()),
            why: "x".into(),
            signed_by: ["ada".into(), "bob".into()],
            until,
            backing: Backing::Signed,
        }
    }

    #[test]
    fn the_shipped_policy_has_nothing_to_remark_beyond_its_empty_list() {
        assert_eq!(rules(|_| {}), []);
        let shipped = lint(&Policy::initial("ops"), NOW);
        assert_eq!(shipped.len(), 1);
        assert_eq!(shipped[0].rule, PolicyRule::EmptyList);
    }

    #[test]
    fn each_rule_finds_what_it_looks_for() {
        use PolicyRule as R;
        let stop_high = |p: &mut Policy| clause(p, Tier::High).action = AutomaticAction::Quarantine;
        assert_eq!(rules(stop_high), [R::HighTierStops]);
        let revoke = |p: &mut Policy| clause(p, Tier::Medium).action = AutomaticAction::Revoke;
        assert_eq!(rules(revoke), [R::AutomaticRevocation]);
        assert_eq!(
            rules(|p| clause(p, Tier::Medium).min_runs = 1),
            [R::SingleWitness]
        );
        let wide = |p: &mut Policy| clause(p, Tier::Medium).max_blast_radius = 101;
        assert_eq!(rules(wide), [R::WideBlastRadius]);
        let live = |p: &mut Policy| {
            let clause = clause(p, Tier::Medium);
            clause.live = true;
            clause
                .reasons
                .extend([Reason::SdkDrift, Reason::DataClassBreach, Reason::SniMismatch]);
        };
        assert_eq!(rules(live), []);
        let in_part = |p: &mut Policy| {
            live(p);
            clause(p, Tier::Medium).reasons.insert(Reason::LimitExceeded);
        };
        assert_eq!(rules(in_part), [R::LiveInPart]);
        let both = |p: &mut Policy| {
            let clause = clause(p, Tier::Medium);
            (clause.live, clause.grace_s) = (true, Some(60));
        };
        assert_eq!(rules(both), [R::LiveWithGrace]);
        assert_eq!(
            rules(|p| drop(p.tiers.remove(&Tier::Medium))),
            [R::MediumDoesNothing]
        );
        assert_eq!(
            rules(|p| p.exceptions.push(exception(NOW))),
            [R::ExceptionExpired]
        );
        let soon = |p: &mut Policy| p.exceptions.push(exception(NOW.plus_seconds(3600)));
        assert_eq!(rules(soon), [R::ExceptionEnding]);
        let anywhere = |p: &mut Policy| {
            p.exceptions.push(PolicyException {
                to: None,
                ..exception(NOW.plus_seconds(100 * 24 * 3600))
            });
        };
        assert_eq!(rules(anywhere), [R::ExceptionAnywhere]);
        let unsigned = |p: &mut Policy| {
            let what = "only ada signed it, and bob has to".to_owned();
            p.exceptions.push(PolicyException {
                backing: Backing::Lacking { what },
                ..exception(NOW.plus_seconds(100 * 24 * 3600))
            });
        };
        assert_eq!(rules(unsigned), [R::ExceptionUnsigned]);
    }
    #[test]
    fn every_reason_counts_or_it_is_said_why_not() {
        for &reason in Reason::ALL {
            for live in [false, true] {
                let mut policy = Policy::initial("ops");
                let own = clause(&mut policy, Tier::Medium);
                (own.live, own.reasons) = (live, [reason].into());
                let lints = lint(&policy, NOW);
                let said = lints
                    .iter()
                    .find(|lint| lint.rule == PolicyRule::ReasonNeverCounts);
                let counts = matches!(reason.shown_by(), ShownBy::Connection | ShownBy::Usage);
                assert_eq!(said.is_none(), counts, "{reason}");
                if let Some(said) = said {
                    assert!(said.why.starts_with(reason.as_str()), "{}", said.why);
                    assert_eq!(said.why.contains("as events arrive"), live, "{}", said.why);
                }
            }
        }
    }
}
