//! The digest of a night: one letter for the security team, whatever the night brought.
//!
//! It is sent on quiet nights too, because silence cannot be told from a broken mail server.

use base::Verdict;

use super::letter::{Group, Letter, automatic};
use super::security::plain;
use super::{Address, Attachment, Mail, identity};
use crate::context::Context;
use crate::escape::{short, visible};
use crate::predicate::{ActionKind, ConformanceReport, Period};
use crate::words;

/// Lines per group; the reports hold the rest.
const MAX_LINES: usize = 100;

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
    let counts = format!(
        "{} not conforming, {} inconclusive, {} conforming, {} without traffic",
        breaches.len(),
        unclear.len(),
        good.len(),
        quiet.len()
    );
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
    group("What needs you", needs_you(&breaches, &unclear));
    group("What was done automatically", done(night));
    group("What changed since the night before", changed(night));
    group(
        "About the site",
        night.notices.iter().map(|notice| short(notice, 400)).collect(),
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
        check: Vec::new(),
        closing: vec!["Each report is signed; check one with: bailiwick report verify".to_owned()],
    };
    letter.post(
        identity::digest_id(night.period, night.site, from, to),
        &subject,
        (from, to),
        automatic(),
        attachments,
    )
}

type Entry<'a> = (&'a ConformanceReport, &'a Context);

fn name((report, context): &Entry<'_>) -> String {
    let run = report.run_id.map_or(String::new(), |run| format!(", run {run}"));
    format!(
        "{} ({}{run})",
        report.plugin_id,
        short(&context.artifact_name, 80)
    )
}

fn is_stopped(report: &ConformanceReport) -> bool {
    report
        .actions
        .iter()
        .any(|taken| matches!(taken.action, ActionKind::Quarantine | ActionKind::Revoke))
}

fn needs_you(breaches: &[&Entry<'_>], unclear: &[&Entry<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    // What still runs comes before what was stopped.
    for stopped in [false, true] {
        for entry in breaches
            .iter()
            .filter(|(report, _)| is_stopped(report) == stopped)
        {
            let act = if stopped {
                "on hold: confirm or lift"
            } else {
                "still running: decide"
            };
            lines.push(format!(
                "{}: {} [{act}]",
                name(entry),
                super::owner::what(entry.0)
            ));
        }
    }
    for entry in unclear {
        let why = entry.0.coverage.gaps.first().map_or_else(
            || "evidence is missing".to_owned(),
            |gap| format!("{}: {}", visible(&gap.origin), short(&gap.cause, 200)),
        );
        lines.push(format!("{}: no verdict, {why}", name(entry)));
    }
    lines
}

fn done(night: &Night<'_>) -> Vec<String> {
    let mut lines: Vec<_> = night
        .reports
        .iter()
        .flat_map(|(report, _)| report.actions.iter().map(move |taken| (report, taken)))
        .filter(|(_, taken)| taken.action != ActionKind::Alert)
        .map(|(report, taken)| {
            format!(
                "{}: {}, by clause {}, enabled by {}",
                report.plugin_id,
                words::action(taken),
                short(&taken.clause, 100),
                short(&taken.enabled_by, 100)
            )
        })
        .collect();
    lines.sort();
    lines
}

fn changed(night: &Night<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in &night.reports {
        let Some(changes) = &entry.1.changes else {
            continue;
        };
        if changes.verdict_before != entry.0.verdict {
            lines.push(format!(
                "{}: {} before, {} now",
                name(entry),
                words::verdict(changes.verdict_before),
                words::verdict(entry.0.verdict)
            ));
        }
        if !changes.gone.is_empty() {
            lines.push(format!("{}: gone: {}", name(entry), changes.gone.join("; ")));
        }
        if !changes.new_destinations.is_empty() {
            lines.push(format!(
                "{}: not seen before: {}",
                name(entry),
                short(&changes.new_destinations.join("; "), 300)
            ));
        }
    }
    lines.sort();
    lines
}
