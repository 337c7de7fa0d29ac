//! The desk: where reports are written, sealed and handed to the site, one after the other.

use std::sync::Arc;

use base::{AutomaticAction, RunId};
use reports::predicate::{ActionKind, ActionTaken, ConformanceReport};
use seal::trust::TrustRoot;

use crate::clause::Measure;
use crate::docket::{Docket, Opened};
use crate::exhibits::Exhibits;
use crate::gather::Evidence;
use crate::judge::{Case, Judgement};
use crate::night::{Grounds, Night};
use crate::outcome::{Act, ActResult, Reported};
use crate::publication::{Publication, Sealing, SharedEvidence};
use crate::records::Records;
use crate::report::{self, Letterhead, Particulars};
use crate::site::{Artifact, PreviousReport, Progress, PublishedBefore, Site};

/// Where reports are written, one after the other.
pub(crate) struct Desk<'n> {
    night: &'n Night<'n>,
    site: &'n dyn Site,
    records: &'n Records,
    evidence: &'n Evidence,
    letterhead: Letterhead,
    trust: Option<TrustRoot>,
    /// The most bytes that the logs of a report take.
    logs_bytes: usize,
    /// Reports that there will be.
    of: usize,
    /// Reports made.
    pub(crate) reports: Vec<Reported>,
    /// Reports not made or not kept, and why.
    pub(crate) troubles: Vec<String>,
    /// Reports that were published and are not yet kept, by their places among the reports.
    unkept: Vec<usize>,
    /// The evidence bundle of the report about the artifact at hand, and the folder of its reports.
    shared: Option<SharedEvidence>,
    folder: Option<Arc<str>>,
}

/// Reports that are kept together. A crash costs their signatures, no more.
const KEPT_TOGETHER: usize = 512;

impl<'n> Desk<'n> {
    pub(crate) fn new(
        night: &'n Night<'n>,
        site: &'n dyn Site,
        records: &'n Records,
        evidence: &'n Evidence,
        dockets: &[Docket<'_>],
    ) -> Self {
        let reports_on = |docket: &Docket<'_>| {
            if night.run_id.is_some() {
                1
            } else {
                1 + docket.runs().len()
            }
        };
        Self {
            night,
            site,
            records,
            evidence,
            letterhead: records.letterhead(night.auditor),
            // A root that does not read is the reader's to find out; it goes into the bundle as it is.
            trust: TrustRoot::parse(&night.auditor.trust_root).ok(),
            logs_bytes: report::logs_bytes(evidence),
            of: dockets.iter().map(reports_on).sum(),
            reports: Vec::new(),
            troubles: Vec::new(),
            unkept: Vec::new(),
            shared: None,
            folder: None,
        }
    }

    /// The artifact's report, then one per run. With a run chosen, that run's alone.
    pub(crate) fn report_on(&mut self, docket: &Docket<'_>, opened: &Opened<'_>, acts: &[Act]) {
        (self.shared, self.folder) = (None, None);
        let runs: Vec<RunId> = docket
            .runs()
            .filter(|run| self.night.run_id.is_none_or(|only| only == *run))
            .collect();
        self.site.turn_to(docket.artifact, &runs, self.night.period);
        for case in self.cases(docket, opened) {
            let actions = match case.run_id {
                None => actions(docket.artifact, acts),
                Some(_) => Vec::new(),
            };
            self.write(docket, &case, &case.judge(), actions);
        }
    }

    /// Tells what these reports would say, without writing them. Gives what clauses may rely on.
    pub(crate) fn tell_of(&mut self, docket: &Docket<'_>, opened: &Opened<'_>) -> Grounds {
        let mut grounds = None;
        for case in self.cases(docket, opened) {
            let judgement = self.tell(docket, &case);
            if case.run_id.is_none() {
                grounds = Some(judgement);
            }
        }
        let all = || docket.case(None, self.night.period, self.evidence, opened);
        grounds.unwrap_or_else(|| all().judge_briefly()).into()
    }

    /// The artifact's case, then one per run. With a run chosen, that run's alone.
    fn cases<'c>(
        &self,
        docket: &'c Docket<'_>,
        opened: &'c Opened<'c>,
    ) -> impl Iterator<Item = Case<'c>> + use<'c, 'n>
    where
        'n: 'c,
    {
        let (only, period, evidence) = (self.night.run_id, self.night.period, self.evidence);
        let runs = docket
            .runs()
            .filter(move |run| only.is_none_or(|only| only == *run));
        let all = only.is_none().then_some(None);
        all.into_iter()
            .chain(runs.map(Some))
            .map(move |run| docket.case(run, period, evidence, opened))
    }

    fn tell(&mut self, docket: &Docket<'_>, case: &Case<'_>) -> Judgement {
        let lists = self.night.lists_observed;
        // There are few artifacts, and what is said of one may be long.
        let is_brief = !lists && case.run_id.is_some();
        let mut judgement = match is_brief {
            true => case.judge_briefly(),
            false => case.judge(),
        };
        let (letterhead, evidence) = (&self.letterhead, self.evidence);
        let particulars = || self.particulars(docket, case, None, Vec::new());
        let outline = report::outline(
            letterhead,
            case,
            evidence,
            &judgement,
            particulars(),
            self.logs_bytes,
        );
        let report = outline.unwrap_or_else(|| {
            if is_brief {
                judgement = case.judge();
            }
            report::write(letterhead, case, evidence, &judgement, particulars())
        });
        self.done(line(&report, lists));
        judgement
    }

    fn particulars(
        &self,
        docket: &Docket<'_>,
        case: &Case<'_>,
        before: Option<&PreviousReport>,
        actions: Vec<ActionTaken>,
    ) -> Particulars {
        Particulars {
            manifest: docket.at_end(case.run_id, case.period).1,
            manifests: docket.manifests(case.run_id, case.period),
            bytes_before: match (case.run_id, before) {
                (Some(_), Some(before)) => before.report.bytes_so_far(),
                _ => 0,
            },
            previous: before.map(|before| before.payload),
            runs: case.run_id.map_or(docket.runs().len() as u64, |_| 1),
            actions,
        }
    }

    fn write(
        &mut self,
        docket: &Docket<'_>,
        case: &Case<'_>,
        judgement: &Judgement,
        actions: Vec<ActionTaken>,
    ) {
        let published = self
            .site
            .published(docket.artifact, case.run_id, self.night.period);
        match published {
            Ok(None) => {}
            // What the night had published before it was interrupted stays as it is.
            Ok(Some(PublishedBefore { line, evidence })) => {
                if case.run_id.is_none() {
                    self.shared = evidence.map(|file| SharedEvidence::new(file, &line.findings));
                }
                return self.done(line);
            }
            Err(error) => self.troubles.push(format!(
                "what was published about {} before the night was interrupted cannot be read: {error}",
                case.plugin_id
            )),
        }
        let previous = self
            .site
            .previous_report(docket.artifact, case.run_id, self.night.period);
        let before = previous.as_ref().ok().and_then(Option::as_ref);
        let particulars = self.particulars(docket, case, before, actions);
        let report = report::write(&self.letterhead, case, self.evidence, judgement, particulars);
        let mut line = line(&report, self.night.lists_observed);
        let kept = match &previous {
            Ok(before) => self.publish(docket, report, judgement, before.as_ref()),
            // A report without the one before it would be a break in the chain.
            Err(error) => Err(format!("the report before it could not be read: {error}")),
        };
        match kept {
            Ok(publication) => {
                line.report_id = Some(publication.report_id);
                line.payload = Some(publication.payload);
                line.place.clone_from(&self.folder);
                self.unkept.push(self.reports.len());
            }
            Err(why) => self.trouble(&line, &why),
        }
        self.done(line);
        if self.unkept.len() >= KEPT_TOGETHER {
            self.keep();
        }
    }

    /// Has everything kept that was published.
    pub(crate) fn keep(&mut self) {
        let unkept = std::mem::take(&mut self.unkept);
        let Err(error) = self.site.keep() else {
            return;
        };
        for at in unkept {
            let line = &mut self.reports[at];
            (line.report_id, line.payload, line.place) = (None, None, None);
            let line = line.clone();
            self.trouble(&line, &error.to_string());
        }
    }

    fn done(&mut self, line: Reported) {
        self.reports.push(line);
        self.site.note(Progress::Reporting {
            done: self.reports.len(),
            of: self.of,
        });
    }

    fn publish(
        &mut self,
        docket: &Docket<'_>,
        report: ConformanceReport,
        judgement: &Judgement,
        previous: Option<&PreviousReport>,
    ) -> Result<Publication, String> {
        let exhibits = Exhibits {
            auditor: self.night.auditor,
            artifact: docket.artifact,
            runs: docket.runs_on_record(report.run_id),
            records: self.records,
            relied: &judgement.relied,
            evidence: self.evidence,
            trust: self.trust.as_ref(),
        };
        let sealing = Sealing {
            auditor: self.night.auditor,
            artifact: docket.artifact,
            exhibits: &exhibits,
            previous,
            shared: report.run_id.and(self.shared.as_ref()),
        };
        let publication = sealing.seal(report).map_err(|error| error.to_string())?;
        let folder = self
            .site
            .publish(&publication)
            .map_err(|error| error.to_string())?;
        if self.folder.as_deref() != Some(&*folder) {
            self.folder = Some(folder.into());
        }
        if let (None, Some(file)) = (publication.report.run_id, &publication.context.evidence) {
            self.shared = Some(SharedEvidence::new(file.clone(), &publication.report.findings));
        }
        Ok(publication)
    }

    fn trouble(&mut self, line: &Reported, why: &str) {
        let of_run = line.run_id.map(|run| format!(", run {run}")).unwrap_or_default();
        self.troubles
            .push(format!("no report on {}{of_run}: {why}", line.plugin_id));
    }
}

/// A report, in brief.
fn line(report: &ConformanceReport, lists_observed: bool) -> Reported {
    Reported {
        plugin_id: report.plugin_id.clone(),
        artifact_digest: report.artifact_digest,
        run_id: report.run_id,
        verdict: report.verdict,
        observed: match lists_observed {
            true => report.observed.clone(),
            false => Vec::new(),
        },
        findings: report.findings.clone(),
        report_id: None,
        payload: None,
        place: None,
    }
}

/// The acts about one artifact, as its report words them.
fn actions(artifact: &Artifact, acts: &[Act]) -> Vec<ActionTaken> {
    let about = acts.iter().filter(|act| {
        act.proposal.plugin_id == artifact.plugin_id
            && act.proposal.artifact_digest == artifact.artifact_digest
    });
    about
        .filter_map(|act| {
            let (action, crl_number, at) = match act.result {
                ActResult::Proposed => return None,
                // What could not be done was not done; the report says what it may: people are told.
                ActResult::Alerted | ActResult::Failed { .. } => (ActionKind::Alert, None, None),
                ActResult::Asked => (ActionKind::AwaitApproval, None, None),
                ActResult::Announced => (ActionKind::Announce, None, None),
                ActResult::Watched => (ActionKind::Watch, None, None),
                ActResult::Stopped { crl_number } => (kind(act.proposal.measure), Some(crl_number), None),
                ActResult::DoneBefore { at, crl_number } => {
                    (kind(act.proposal.measure), crl_number, Some(at))
                }
            };
            Some(ActionTaken {
                action,
                clause: act.proposal.clause.clone(),
                enabled_by: act.proposal.enabled_by.clone(),
                crl_number,
                at,
            })
        })
        .collect()
}

fn kind(measure: Measure) -> ActionKind {
    match measure.action() {
        AutomaticAction::Alert => ActionKind::Alert,
        AutomaticAction::Watch => ActionKind::Watch,
        AutomaticAction::Quarantine => ActionKind::Quarantine,
        AutomaticAction::Revoke => ActionKind::Revoke,
    }
}
