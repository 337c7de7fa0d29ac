//! Lints of a policy: what is allowed in one and yet should be looked at twice.

use base::{AutomaticAction, BreachClause, Policy, Tier, Timestamp, text_enum};
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
        /// Events are judged as they arrive, and then nothing is done before the grace is over.
        LiveWithGrace = "live-with-grace",
        /// The low tier lists nothing, so nothing of it may connect.
        EmptyList = "empty-list",
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
    if clause.live && clause.grace_s().is_some() {
        let why = "it is judged at once and done only after the grace; one of the two is enough".to_owned();
        say(PolicyRule::LiveWithGrace, Severity::Note, why);
    }
    lints
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
    use base::{PolicyException, Reason};

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
    }
}
