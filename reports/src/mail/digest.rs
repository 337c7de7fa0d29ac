//! The digest of a night: one letter for the security team, whatever the night brought.
//!
//! It is sent on quiet nights too, because silence cannot be told from a broken mail server.

use base::Verdict;

use super::letter::{Group, Letter, automatic};
use super::security::plain;
use super::{Address, Attachment, Mail, identity};
use crate::context::Context;
use crate::escape::{short, visible};
use crate::night::{self, Week, is_stopped};
use crate::predicate::{ConformanceReport, Period};
use crate::words;

/// Lines per group; the reports hold the rest.
const MAX_LINES: usize = 100;
/// Weeks that the digest compares.
const MAX_WEEKS: usize = 4;

/// One night's reports, and what the night itself has to say.
#[derive(Clone, Debug)]
pub struct Night<'a> {
    /// The site's name.
    pub site: &'a str,
    /// The time that was audited.
    pub period: Period,
    /// The reports about artifacts, each with its surroundings.
    pub reports: Vec<(&'a ConformanceReport, &'a Context)>,
    /// What concerns the site rather than a plugin: connections without identity, a stale list, a
    /// night that was caught up, an owner who cannot be reached.
    pub notices: Vec<String>,
    /// This week and those before it, the latest first; none where nobody counted.
    pub weeks: Vec<Week>,
}

impl Night<'_> {
    fn of(&self, verdict: Verdict) -> Vec<&(&ConformanceReport, &Context)> {
        let mut found: Vec<_> = self
            .reports
            .iter()
            .filter(|(report, _)| report.verdict == verdict)
            .collect();
        found.sort_by_key(|(report, _)| (&report.plugin_id, &report.artifact_digest, &report.run_id));
        found
    }
}

/// The digest of `night` for the security team.
pub fn night_digest(night: &Night<'_>, from: &Address, to: &[Address], attachments: Vec<Attachment>) -> Mail {
    let breaches = night.of(Verdict::NonConforming);
    let unclear = night.of(Verdict::Inconclusive);
    let quiet = night.of(Verdict::NoTraffic);
    let good = night.of(Verdict::Conforming);
    let counts = night.verdicts();
    let period = words::period(night.period);
    let subject = format!("[{}] night of {period}: {counts}", night.site);
    let (tone, headline) = match (breaches.len(), unclear.len()) {
        (0, 0) if night.reports.is_empty() => ("quiet", "No plugin was audited this night.".to_owned()),
        (0, 0) => ("good", "Every plugin kept its word this night.".to_owned()),
        (0, _) => (
            "doubt",
            "Nothing undeclared was seen, and not everything was seen.".to_owned(),
        ),
        (1, _) => ("bad", "One plugin did not keep its word this night.".to_owned()),
        (many, _) => (
            "bad",
            format!("{many} plugins did not keep their word this night."),
        ),
    };
    let mut groups = Vec::new();
    let mut group = |heading: &str, lines: Vec<String>| {
        if lines.is_empty() {
            return;
        }
        let further = lines.len().saturating_sub(MAX_LINES);
        let mut items: Vec<_> = lines.into_iter().take(MAX_LINES).map(plain).collect();
        if further > 0 {
            items.push(plain(format!("and {further} more; see bailiwick report list")));
        }
        groups.push(Group::new(heading, items));
    };
    let lines = |needs: Vec<night::Need>| needs.iter().map(night::Need::line).collect();
    group("What needs you", lines(night::needs(night)));
    group(
        "What was done automatically",
        night::done(night).iter().map(night::Done::line).collect(),
    );
    group(
        "What changed since the night before",
        night::changed(night)
            .iter()
            .flat_map(night::NightChange::lines)
            .collect(),
    );
    group(
        "About the site",
        night.notices.iter().map(|notice| short(notice, 400)).collect(),
    );
    group(
        "Week by week",
        night
            .weeks
            .iter()
            .take(MAX_WEEKS)
            .map(night::Week::line)
            .collect(),
    );
    group("Conforming", good.iter().map(|entry| name(entry)).collect());
    group("No traffic", quiet.iter().map(|entry| name(entry)).collect());
    let letter = Letter {
        site: visible(night.site),
        tone,
        mark: "Night digest".to_owned(),
        headline,
        opening: vec![format!("Period {period}: {counts}.")],
        findings: Vec::new(),
        further: 0,
        actions: Vec::new(),
        groups,
        bars: Vec::new(),
        strips: Vec::new(),
        pictures: Vec::new(),
        check: Vec::new(),
        closing: vec!["Each report is signed; check one with: bailiwick report verify".to_owned()],
    };
    letter.post(
        identity::digest_id(night.period, night.site, from, to),
        &subject,
        (from, to),
        automatic(night.site, from),
        attachments,
    )
}

type Entry<'a> = (&'a ConformanceReport, &'a Context);

fn name((report, context): &Entry<'_>) -> String {
    night::build(&report.plugin_id, &context.artifact_name, report.run_id)
}

/// What a person has to look at first: smaller is sooner. A breach that still runs, then one that was
/// stopped, then what nobody can tell, then the rest.
pub fn urgency(report: &ConformanceReport) -> u8 {
    match report.verdict {
        Verdict::NonConforming if !is_stopped(report) => 0,
        Verdict::NonConforming => 1,
        Verdict::Inconclusive => 2,
        Verdict::Conforming | Verdict::NoTraffic => 3,
    }
}
