//! Judging: observations held against a manifest.
//!
//! Two answers are kept apart. The *decision* was the gateway's, per connection: allowed or denied.
//! The *verdict* is about the owner's word: a denied attempt at an undeclared host is still an attempt
//! that nobody declared, and a declared host that was denied for other reasons is still declared.
//! So decisions play no part here; they are counted and shown.

use std::collections::{BTreeMap, BTreeSet};

use base::{ArtifactDigest, PluginId, Reason, RunId, Severity};
use manifests::Manifest;
use reports::predicate::{EventReference, Finding, FindingId, FindingKey, Observed, Period, Scope};

use crate::charge::Charge;
use crate::credentials::Misuse;
use crate::departure::Fared;
use crate::doubt::Doubt;
use crate::draft::{About, Draft, Drafts};
use crate::moment::Moment;
use crate::observation::{Destination, Observations, Who};
use crate::promised::{Covered, Promised, Rows};
use crate::relied::Relied;
use crate::seen::SeenRuns;
use crate::tally::Cited;
use crate::terms::Rulebook;

/// What one report is about, and what there is to say about it.
pub struct Case<'a> {
    /// The plugin.
    pub plugin_id: &'a PluginId,
    /// The artifact.
    pub artifact_digest: &'a ArtifactDigest,
    /// The run, if the report is about a single one.
    pub run_id: Option<RunId>,
    /// The time.
    pub period: Period,
    /// The manifest that the report names; whatever was done is judged by the one in force when it was.
    pub manifest: &'a Manifest,
    /// What each run is judged by.
    pub(crate) book: &'a Rulebook<'a>,
    /// What was seen, but for what runs did where; only the case's own runs are looked at.
    pub observations: &'a Observations,
    /// What the runs of the build did where.
    pub(crate) seen: &'a SeenRuns<'a>,
    /// What of it is as promised.
    pub(crate) promised: &'a Promised,
    /// What stands in the way of certainty, whomever it concerns.
    pub doubts: &'a [Doubt],
    /// Every run of the case in the period.
    pub(crate) all_runs: Vec<RunId>,
    /// Runs of the case that were over or ran all the time, and of which there is no event.
    pub silent_runs: BTreeSet<RunId>,
    /// Refused credentials of the case's runs.
    pub misuses: Vec<Misuse<'a>>,
}

/// What observations and manifest together say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Every destination seen.
    pub observed: Vec<Observed>,
    /// Declarations that no connection used.
    pub unused: Vec<String>,
    /// What no declaration covers, and what makes the evidence doubtful.
    pub findings: Vec<Finding>,
    /// What automation may rely on.
    pub charges: Vec<Charge>,
    /// Connections beyond a limit, for clauses that count by moments.
    pub moments: Vec<Moment>,
    /// The exceptions by which something was let pass, or that a finding names.
    pub relied: Relied,
    /// Whether a doubt concerns this case.
    pub doubtful: bool,
    /// Whether the lists that only a written report has were left out.
    pub(crate) is_brief: bool,
}

impl Case<'_> {
    /// Holds what was seen against what was declared.
    pub fn judge(&self) -> Judgement {
        self.judge_with(true)
    }

    /// The same without the lists that only a written report has: destinations seen, and declarations
    /// that nothing used.
    pub(crate) fn judge_briefly(&self) -> Judgement {
        self.judge_with(false)
    }

    fn judge_with(&self, lists: bool) -> Judgement {
        let mut rows = Rows::default();
        let mut drafts = Drafts::default();
        let mut charges = Vec::new();
        let mut relied = Relied::default();
        for run in self.seen.of(self.run_id) {
            let who = &run.who;
            let class = self.promised.class(self.book, who.run_id);
            let mut counted: Option<&Destination> = None;
            for (visited, observation) in &run.sights {
                let destination = &visited.destination;
                // The observations that a run has of one destination stand together.
                let is_new = self.run_id.is_none() && counted.replace(destination) != Some(destination);
                let promised = self.promised.ask(self.book, who, class, visited, observation);
                if let Some(covered) = promised {
                    if lists {
                        rows.add(destination, observation, &covered, is_new);
                    }
                    continue;
                }
                let fared = Fared::of(self.book, who, destination, observation);
                if lists {
                    rows.add(destination, observation, &Covered::by(&fared), is_new);
                }
                charges.extend(Charge::of(who.run_id, observation, &fared));
                for departure in fared.departures {
                    departure.excused.iter().for_each(|used| relied.note(used));
                    drafts.add(who.run_id, destination, departure);
                }
            }
        }
        let mut findings = self.findings(drafts);
        findings.extend(self.doubt_findings());
        findings.extend(self.silence());
        let excesses = self.excesses();
        let crowds = self.crowds();
        // A limit that was exceeded says more than that there were many names.
        let noted =
            |finding: &Finding| excesses.findings.is_empty() || finding.reason != Reason::LimitExceeded;
        findings.extend(crowds.into_iter().filter(noted));
        findings.extend(excesses.findings);
        charges.extend(excesses.charges);
        excesses.excused.iter().for_each(|used| relied.note(used));
        findings.extend(self.misused_credentials());
        if let Some((drift, excused)) = self.drift() {
            excused.iter().for_each(|used| relied.note(used));
            // A run that connected nowhere is a reason to tell people.
            if drift.severity != Severity::Info {
                let runs = drift.runs.iter();
                charges.extend(runs.map(|run| Charge::beside_connections(*run, Reason::SdkDrift)));
            }
            findings.push(drift);
        }
        findings.extend(self.lapsed(&mut relied));
        let (observed, used) = rows.finish();
        Judgement {
            observed,
            unused: match lists {
                true => self.unused(&used),
                false => Vec::new(),
            },
            findings,
            charges,
            moments: excesses.moments,
            relied,
            doubtful: self.own_doubts().next().is_some(),
            is_brief: !lists,
        }
    }

    /// The runs of the case.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Who> {
        self.all_runs.iter().map(|run_id| Who {
            plugin_id: self.plugin_id.clone(),
            artifact_digest: *self.artifact_digest,
            run_id: *run_id,
        })
    }

    /// A breach at a destination says all that a note with the same reason would say.
    fn findings(&self, mut drafts: Drafts) -> Vec<Finding> {
        drafts
            .notes
            .retain(|about, _| !drafts.breaches.contains_key(about));
        let breaches = drafts.breaches.iter().map(|(about, draft)| {
            let (reason, _) = about;
            self.finding(about, draft, breach_severity(*reason))
        });
        let notes = drafts
            .notes
            .iter()
            .map(|(about, draft)| self.finding(about, draft, note_severity(about.0)));
        breaches.chain(notes).collect()
    }

    fn finding(&self, (reason, destination): &About, draft: &Draft, severity: Severity) -> Finding {
        let tally = draft.tally();
        let shown = Destination {
            target: destination.target.clone(),
            scheme: draft.scheme(),
        };
        let mut finding = self.bare_finding(*reason, Some(&shown), None, severity);
        finding.runs = draft.runs.iter().copied().collect();
        finding.first = tally.first;
        finding.last = tally.last;
        finding.connections = tally.connections;
        finding.refused = tally.denied;
        finding.nearest_declared.clone_from(&draft.nearest);
        finding.fix = draft.fix();
        finding.events = self.references(tally.cited());
        finding
    }

    pub(crate) fn own_doubts(&self) -> impl Iterator<Item = &Doubt> {
        self.doubts.iter().filter(|doubt| doubt.concerns(self.plugin_id))
    }

    fn doubt_findings(&self) -> Vec<Finding> {
        let mut by_log: BTreeMap<(Reason, &str), Vec<&Doubt>> = BTreeMap::new();
        for doubt in self.own_doubts() {
            by_log
                .entry((doubt.reason, &doubt.origin))
                .or_default()
                .push(doubt);
        }
        by_log
            .into_iter()
            .map(|((reason, origin), doubts)| {
                let mut finding = self.bare_finding(reason, None, Some(origin), reason.severity());
                finding.first = doubts
                    .iter()
                    .filter_map(|doubt| doubt.from)
                    .min()
                    .unwrap_or(finding.first);
                finding.last = doubts
                    .iter()
                    .filter_map(|doubt| doubt.to)
                    .max()
                    .unwrap_or(finding.last);
                finding.fix = doubts[0].fix();
                finding.events = self.references(doubts.iter().filter_map(|doubt| doubt.cited).collect());
                finding
            })
            .collect()
    }

    /// Traffic that was promised and not seen is worth knowing and proves nothing: a run may have had
    /// no work to do.
    fn silence(&self) -> Option<Finding> {
        if self.silent_runs.is_empty() || self.manifest.allowed_egress.is_empty() {
            return None;
        }
        let mut finding = self.bare_finding(Reason::NoCoverage, None, None, Severity::Info);
        finding.runs = self.silent_runs.iter().copied().collect();
        finding.fix = "if the run had work to do, see that it uses the proxy settings it was given; \
                       what goes around the gateway is not seen"
            .to_owned();
        Some(finding)
    }

    pub(crate) fn bare_finding(
        &self,
        reason: Reason,
        destination: Option<&Destination>,
        origin: Option<&str>,
        severity: Severity,
    ) -> Finding {
        let key = FindingKey {
            reason,
            host: destination.map(|to| &to.target.host),
            port: destination.map(|to| to.target.port),
            scheme: destination.and_then(|to| to.scheme),
            origin,
        };
        Finding {
            id: FindingId::of(&self.scope(), &key),
            reason,
            severity,
            host: key.host.cloned(),
            port: key.port,
            scheme: key.scheme,
            origin: origin.map(str::to_owned),
            runs: Vec::new(),
            first: self.period.from,
            last: self.period.to,
            connections: 0,
            refused: 0,
            nearest_declared: None,
            fix: String::new(),
            events: Vec::new(),
        }
    }

    fn unused(&self, used: &BTreeSet<String>) -> Vec<String> {
        let declared = self.manifest.allowed_egress.iter().map(ToString::to_string);
        let unused: BTreeSet<String> = declared.filter(|entry| !used.contains(entry)).collect();
        unused.into_iter().collect()
    }

    pub(crate) fn references(&self, cited: Vec<Cited>) -> Vec<EventReference> {
        let reference = |cited: Cited| EventReference {
            origin: self.observations.logs[cited.log].origin.clone(),
            index: cited.index,
        };
        cited.into_iter().map(reference).collect()
    }

    fn scope(&self) -> Scope<'_> {
        Scope {
            plugin_id: self.plugin_id,
            artifact_digest: self.artifact_digest,
            run_id: self.run_id.as_ref(),
            period: self.period,
        }
    }
}

/// To run on where the site asks for an approval is graver than an exception that nobody tidied up.
const fn breach_severity(reason: Reason) -> Severity {
    match reason {
        Reason::PolicyExpired => Severity::Medium,
        _ => reason.severity(),
    }
}

/// A note is information, unless somebody should mend it.
const fn note_severity(reason: Reason) -> Severity {
    match reason {
        Reason::IdentityHeaderForged => reason.severity(),
        _ => Severity::Info,
    }
}
