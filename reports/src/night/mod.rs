//! The night's summary: what one night came to for the whole site, signed, so that next year's reader
//! knows which reports there were and that none has gone since.
//!
//! It says what needs a person, what was done without one and by which clause, what changed since the
//! night before, and how the weeks compare. Its subject is `reports.sha256`, the list of all reports
//! of the night in the form of `sha256sum`, so two stock commands check all of it.

mod render;
mod seal;
#[cfg(test)]
mod tests;

use base::{ArtifactDigest, PluginId, RunId, Sha256Digest, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::escape::{short, visible};
use crate::mail::Night;
use crate::predicate::{ActionKind, ActionTaken, Auditor, ConformanceReport, DigestSet, Period};
use crate::words;

pub use render::{html, text};
pub use seal::{NightSealError, OpenNightError, open_night, seal_night};

/// The list of the night's reports, as a file.
pub const REPORTS_FILE: &str = "reports.sha256";
/// The signed summary, as a file.
pub const NIGHT_FILE: &str = "night.sigstore.json";

/// Lines per list; the reports hold the rest.
const MAX_LINES: usize = 500;

/// What one night came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NightSummary {
    /// The site.
    pub site: String,
    /// The time that was audited.
    pub period: Period,
    /// The program that judged.
    pub auditor: Auditor,
    /// Reports about artifacts, by verdict.
    pub verdicts: Verdicts,
    /// What a person has to look at, the most urgent first.
    pub needs_you: Vec<Need>,
    /// What was done without a person, and in whose name.
    pub done: Vec<Done>,
    /// What is otherwise than the night before.
    pub changed: Vec<NightChange>,
    /// What concerns the site rather than a plugin.
    pub notices: Vec<String>,
    /// The list of all reports of the night, single runs' too.
    pub reports: ReportsFile,
    /// This week and those before it, the latest first.
    pub weeks: Vec<Week>,
    /// Lines left out of the lists above.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u64,
}

/// How many reports came to which verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdicts {
    /// `conforming`.
    pub conforming: u64,
    /// `non_conforming`.
    pub non_conforming: u64,
    /// `inconclusive`.
    pub inconclusive: u64,
    /// `no_traffic`.
    pub no_traffic: u64,
}

/// Something that a person has to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The build.
    pub artifact_digest: ArtifactDigest,
    /// What the build's file is called.
    pub artifact: String,
    /// Why.
    pub why: String,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// The build broke its word and still runs: decide.
    Decide,
    /// The build is on hold: confirm or lift.
    Confirm,
    /// Nobody can tell: find out what is missing.
    Find,
}

/// Something that was done without a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// The plugin.
    pub plugin_id: PluginId,
    /// What.
    pub action: ActionKind,
    /// The policy clause that asked for it.
    pub clause: String,
    /// Who switched that clause on.
    pub enabled_by: String,
    /// The revocation list that carries it.
    pub crl_number: Option<u64>,
    /// When, where it was done before the night.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// What changed about one build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NightChange {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The build.
    pub artifact_digest: ArtifactDigest,
    /// What the build's file is called.
    pub artifact: String,
    /// The verdict before.
    pub before: Verdict,
    /// The verdict now.
    pub now: Verdict,
    /// Findings that are new.
    pub new: Vec<String>,
    /// Findings that are no longer there.
    pub gone: Vec<String>,
    /// Destinations not seen before.
    pub new_destinations: Vec<String>,
}

/// The list of reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportsFile {
    /// [`REPORTS_FILE`].
    pub name: String,
    /// Its digest.
    pub digest: DigestSet,
    /// How many reports are in the files that it lists.
    pub reports: u64,
}

/// One week of nights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Week {
    /// Its first moment, a Monday in UTC.
    pub from: Timestamp,
    /// Reports about artifacts whose period ended in it, by verdict.
    pub verdicts: Verdicts,
    /// Different builds that broke their word in it.
    pub builds_not_conforming: u64,
}

/// One file with reports of the night, as the list names it: one report about an artifact, or all of those
/// about its runs, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its path, as seen from the list.
    pub path: String,
    /// The SHA-256 of that file.
    pub digest: Sha256Digest,
}

/// The list of `reports` in the form of `sha256sum`, in the order of their paths.
pub fn reports_file(reports: &[Listed]) -> String {
    let mut lines: Vec<String> = reports
        .iter()
        .map(|report| format!("{}  {}\n", report.digest.to_hex(), report.path))
        .collect();
    lines.sort_by(|a, b| a[64..].cmp(&b[64..]));
    lines.concat()
}

impl NightSummary {
    /// Sums `night` up; in the files that are `listed` are all of its reports, so many as `all`.
    pub fn of(night: &Night<'_>, auditor: Auditor, listed: &[Listed], all: u64, weeks: Vec<Week>) -> Self {
        let mut omitted = 0;
        let mut cut = |found: usize| omitted += found.saturating_sub(MAX_LINES) as u64;
        let mut needs_you = needs(night);
        cut(needs_you.len());
        needs_you.truncate(MAX_LINES);
        let mut done = done(night);
        cut(done.len());
        done.truncate(MAX_LINES);
        let mut changed = changed(night);
        cut(changed.len());
        changed.truncate(MAX_LINES);
        cut(night.notices.len());
        let notices = night
            .notices
            .iter()
            .take(MAX_LINES)
            .map(|notice| short(notice, 400));
        Self {
            site: night.site.to_owned(),
            period: night.period,
            auditor,
            verdicts: night.verdicts(),
            needs_you,
            done,
            changed,
            notices: notices.collect(),
            reports: ReportsFile {
                name: REPORTS_FILE.to_owned(),
                digest: DigestSet {
                    sha256: Sha256Digest::of(reports_file(listed).as_bytes()),
                },
                reports: all,
            },
            weeks,
            omitted,
        }
    }
}

impl Night<'_> {
    /// How many reports came to which verdict.
    pub fn verdicts(&self) -> Verdicts {
        let mut counts = Verdicts::default();
        for (report, _) in &self.reports {
            *match report.verdict {
                Verdict::Conforming => &mut counts.conforming,
                Verdict::NonConforming => &mut counts.non_conforming,
                Verdict::Inconclusive => &mut counts.inconclusive,
                Verdict::NoTraffic => &mut counts.no_traffic,
            } += 1;
        }
        counts
    }
}

impl std::fmt::Display for Verdicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} not conforming, {} inconclusive, {} conforming, {} without traffic",
            self.non_conforming, self.inconclusive, self.conforming, self.no_traffic
        )
    }
}

/// A build by name: plugin, file, run.
pub(crate) fn build(plugin_id: &PluginId, artifact: &str, run_id: Option<RunId>) -> String {
    let run = run_id.map_or(String::new(), |run| format!(", run {run}"));
    format!("{plugin_id} ({}{run})", short(artifact, 80))
}

/// What a person has to look at.
pub(crate) fn needs(night: &Night<'_>) -> Vec<Need> {
    let mut needs: Vec<Need> = night.reports.iter().filter_map(need).collect();
    needs.sort_by(|a, b| {
        (a.ask, &a.plugin_id, &a.artifact_digest).cmp(&(b.ask, &b.plugin_id, &b.artifact_digest))
    });
    needs
}

fn need((report, context): &(&ConformanceReport, &Context)) -> Option<Need> {
    let (ask, why) = match report.verdict {
        Verdict::Conforming | Verdict::NoTraffic => return None,
        Verdict::NonConforming => {
            let ask = if is_stopped(report) {
                Ask::Confirm
            } else {
                Ask::Decide
            };
            (ask, crate::mail::what(report))
        }
        Verdict::Inconclusive => {
            let gap = report.coverage.gaps.first();
            let why = gap.map_or_else(
                || "evidence is missing".to_owned(),
                |gap| format!("{}: {}", visible(&gap.origin), short(&gap.cause, 200)),
            );
            (Ask::Find, why)
        }
    };
    Some(Need {
        plugin_id: report.plugin_id.clone(),
        artifact_digest: report.artifact_digest,
        artifact: build(&report.plugin_id, &context.artifact_name, report.run_id),
        why,
        ask,
    })
}

/// Whether something stopped the build.
pub(crate) fn is_stopped(report: &ConformanceReport) -> bool {
    report
        .actions
        .iter()
        .any(|taken| matches!(taken.action, ActionKind::Quarantine | ActionKind::Revoke))
}

impl Need {
    /// The need in one line.
    pub(crate) fn line(&self) -> String {
        match self.ask {
            Ask::Decide => format!("{}: {} [still running: decide]", self.artifact, self.why),
            Ask::Confirm => format!("{}: {} [on hold: confirm or lift]", self.artifact, self.why),
            Ask::Find => format!("{}: no verdict, {}", self.artifact, self.why),
        }
    }
}

/// What was done without a person.
pub(crate) fn done(night: &Night<'_>) -> Vec<Done> {
    let mut done: Vec<Done> = night
        .reports
        .iter()
        .flat_map(|(report, _)| {
            report.actions.iter().map(|taken| Done {
                plugin_id: report.plugin_id.clone(),
                action: taken.action,
                clause: taken.clause.clone(),
                enabled_by: taken.enabled_by.clone(),
                crl_number: taken.crl_number,
                at: taken.at,
            })
        })
        .filter(|done| done.action != ActionKind::Alert)
        .collect();
    done.sort_by_key(Done::line);
    done
}

impl Done {
    /// The act in one line.
    pub(crate) fn line(&self) -> String {
        format!(
            "{}: {}, by clause {}, enabled by {}",
            self.plugin_id,
            words::action(&ActionTaken {
                action: self.action,
                clause: self.clause.clone(),
                enabled_by: self.enabled_by.clone(),
                crl_number: self.crl_number,
                at: self.at,
            }),
            short(&self.clause, 100),
            short(&self.enabled_by, 100)
        )
    }
}

/// What is otherwise than before.
pub(crate) fn changed(night: &Night<'_>) -> Vec<NightChange> {
    let mut changed: Vec<NightChange> = night
        .reports
        .iter()
        .filter_map(|(report, context)| {
            let changes = context.changes.as_ref()?;
            let change = NightChange {
                plugin_id: report.plugin_id.clone(),
                artifact_digest: report.artifact_digest,
                artifact: build(&report.plugin_id, &context.artifact_name, report.run_id),
                before: changes.verdict_before,
                now: report.verdict,
                new: changes.new.clone(),
                gone: changes.gone.clone(),
                new_destinations: changes.new_destinations.clone(),
            };
            (!change.lines().is_empty()).then_some(change)
        })
        .collect();
    changed.sort_by(|a, b| (&a.plugin_id, &a.artifact_digest).cmp(&(&b.plugin_id, &b.artifact_digest)));
    changed
}

impl NightChange {
    /// The change in lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let name = &self.artifact;
        let mut lines = Vec::new();
        if self.before != self.now {
            lines.push(format!(
                "{name}: {} before, {} now",
                words::verdict(self.before),
                words::verdict(self.now)
            ));
        }
        for (label, items) in [("gone", &self.gone), ("not seen before", &self.new_destinations)] {
            if !items.is_empty() {
                lines.push(format!("{name}: {label}: {}", short(&items.join("; "), 300)));
            }
        }
        lines
    }
}

impl Week {
    /// The week in one line.
    pub(crate) fn line(&self) -> String {
        format!(
            "week of {}: {} broke their word; reports: {}",
            self.from.utc_day(),
            words::count(self.builds_not_conforming, "build"),
            self.verdicts
        )
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
