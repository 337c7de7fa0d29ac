//! The night: gather, verify, fold, judge, act, seal, publish; in this order, once per period.
//!
//! Acting comes before sealing, because a report says what was done and on which revocation list.
//! Whatever goes wrong with one report is a trouble of the outcome and never stops the others.

use std::collections::{BTreeMap, BTreeSet};

use base::{ArtifactDigest, InvalidPolicy, PluginId, Policy, RunId, Sha256Digest, Timestamp};
use manifests::Manifest;
use reports::predicate::{ActionKind, ActionTaken, ConformanceReport, CrlReference, Period, PolicyReference};
use seal::SigningKey;
use seal::trust::TrustRoot;

use crate::clause::{Accused, Measure, Proposal, hold_back, propose};
use crate::exhibits::Exhibits;
use crate::gather::{Evidence, gather};
use crate::judge::{Case, Judgement};
use crate::observation::Who;
use crate::outcome::{Act, ActResult, LogRead, NightOutcome, Reported};
use crate::publication::{self, Publication};
use crate::report::{self, Letterhead, Particulars, digest_set};
use crate::site::{Artifact, CrlOnFile, PreviousReport, Progress, Run, Site, SiteError};

/// Who judges and signs, and in whose name.
#[derive(Clone)]
pub struct Auditor {
    /// The site's name.
    pub site: String,
    /// The auditor's name at this site.
    pub id: String,
    /// The program's version.
    pub version: String,
    /// The key that signs reports.
    pub key: SigningKey,
    /// What the file of its public half is called.
    pub key_name: String,
    /// Whom an owner writes to.
    pub security_contact: String,
    /// The trust root, verbatim, for those who verify reports elsewhere.
    pub trust_root: Vec<u8>,
}

/// One audit.
#[derive(Clone)]
pub struct Night<'a> {
    /// Who judges.
    pub auditor: &'a Auditor,
    /// The time audited.
    pub period: Period,
    /// Now.
    pub now: Timestamp,
    /// Only this plugin's artifacts.
    pub plugin_id: Option<PluginId>,
    /// Only this run. Nothing is done on account of a part of the evidence, so no clause is applied.
    pub run_id: Option<RunId>,
    /// What if: judges the artifacts of the draft's plugin by the draft, and nothing else. Writes
    /// nothing and does nothing.
    pub draft: Option<Manifest>,
    /// Judges, and says what would be done. Writes nothing and does nothing.
    pub dry_run: bool,
}

/// Why a night did not begin, or could not judge anything.
#[derive(Debug, thiserror::Error)]
pub enum NightError {
    /// The period is empty. Name a later end.
    #[error("nothing audited: the period {from} to {to} ends before it begins")]
    Period {
        /// Its first moment.
        from: Timestamp,
        /// The first moment after it.
        to: Timestamp,
    },
    /// The site did not answer. Mend what it says and run the audit again; nothing was written.
    #[error("nothing audited: could not read {what}")]
    Site {
        /// What was asked for.
        what: &'static str,
        /// What the site said.
        source: SiteError,
    },
    /// The policy contradicts itself. Nothing is done in the name of such a policy, nor judged.
    #[error("nothing audited: the policy is not valid")]
    Policy(#[from] InvalidPolicy),
}

/// What the site knows, read once, so that a night speaks of one moment.
struct Records {
    artifacts: Vec<Artifact>,
    runs: Vec<Run>,
    policy: Policy,
    crl: CrlOnFile,
}

/// One artifact, with what the night knows about it.
struct Docket<'a> {
    artifact: &'a Artifact,
    manifest: &'a Manifest,
    manifest_payload: Sha256Digest,
    runs: BTreeMap<RunId, Option<&'a Run>>,
}

impl Night<'_> {
    /// Audits.
    ///
    /// # Errors
    /// [`NightError`]; then nothing was written and nothing done.
    pub fn run(&self, site: &dyn Site) -> Result<NightOutcome, NightError> {
        if self.period.from >= self.period.to {
            return Err(NightError::Period {
                from: self.period.from,
                to: self.period.to,
            });
        }
        let records = self.records(site)?;
        let gateways = site.gateways(self.period).map_err(asked("the gateways"))?;
        let evidence = gather(site, gateways, self.period, self.now);
        let draft_payload = self.draft.as_ref().map(draft_payload);
        let dockets = self.dockets(&records, &evidence, draft_payload);
        let judgements: Vec<Judgement> = dockets
            .iter()
            .map(|docket| self.case(docket, None, &evidence).judge())
            .collect();
        let acts = self.act(site, &records, &dockets, &judgements);
        let policy = base::json::canonical(&records.policy).expect("a policy is plain words and numbers");
        let mut desk = Desk {
            night: self,
            site,
            letterhead: self.letterhead(&records, &policy),
            crl: &records.crl,
            policy,
            // A root that does not read is the reader's to find out; it goes into the bundle as it is.
            trust: TrustRoot::parse(&self.auditor.trust_root).ok(),
            evidence: &evidence,
            reports: Vec::new(),
            troubles: troubles_of(&acts),
            done: 0,
            of: dockets.iter().map(|docket| self.reports_on(docket)).sum(),
        };
        for (docket, judgement) in dockets.iter().zip(&judgements) {
            desk.report_on(docket, judgement, &acts);
        }
        let (reports, troubles) = (desk.reports, desk.troubles);
        Ok(self.outcome(&records, evidence, reports, acts, troubles))
    }

    /// Whether nothing may be written or done.
    pub fn is_dry(&self) -> bool {
        self.dry_run || self.draft.is_some()
    }

    fn records(&self, site: &dyn Site) -> Result<Records, NightError> {
        let mut artifacts = site.artifacts(self.period).map_err(asked("the artifacts"))?;
        artifacts.sort_by(|a, b| (&a.plugin_id, a.artifact_digest).cmp(&(&b.plugin_id, b.artifact_digest)));
        let policy = site.policy().map_err(asked("the policy"))?;
        policy.check()?;
        let mut runs = site.runs(self.period).map_err(asked("the runs"))?;
        runs.sort_by(|a, b| a.order().cmp(&b.order()));
        Ok(Records {
            artifacts,
            runs,
            policy,
            crl: site.crl().map_err(asked("the revocation list"))?,
        })
    }

    fn letterhead(&self, records: &Records, policy: &[u8]) -> Letterhead {
        Letterhead {
            auditor: reports::predicate::Auditor {
                id: self.auditor.id.clone(),
                version: self.auditor.version.clone(),
            },
            policy: PolicyReference {
                version: records.policy.version,
                digest: digest_set(Sha256Digest::of(policy)),
            },
            crl: CrlReference {
                crl_number: records.crl.crl_number,
                digest: digest_set(records.crl.head_payload),
            },
        }
    }

    /// The artifacts to report on: those that may run, and those that did something, whatever they may.
    fn dockets<'a>(
        &'a self,
        records: &'a Records,
        evidence: &Evidence,
        draft_payload: Option<Sha256Digest>,
    ) -> Vec<Docket<'a>> {
        let mut dockets = Vec::new();
        for artifact in records
            .artifacts
            .iter()
            .filter(|artifact| self.concerns(artifact))
        {
            let (manifest, manifest_payload) = match (&self.draft, draft_payload) {
                (Some(draft), Some(payload)) => (draft, payload),
                _ => (&artifact.manifest, artifact.manifest_payload),
            };
            let runs = Self::runs_of(artifact, records, evidence);
            let has_run = self.run_id.is_none_or(|run| runs.contains_key(&run));
            if has_run && (artifact.state.may_run() || !runs.is_empty()) {
                dockets.push(Docket {
                    artifact,
                    manifest,
                    manifest_payload,
                    runs,
                });
            }
        }
        dockets
    }

    fn concerns(&self, artifact: &Artifact) -> bool {
        let chosen = self
            .plugin_id
            .as_ref()
            .is_none_or(|only| *only == artifact.plugin_id);
        let drafted = self
            .draft
            .as_ref()
            .is_none_or(|draft| draft.plugin_id == artifact.plugin_id);
        chosen && drafted
    }

    /// Runs on record, and runs that only the evidence knows.
    fn runs_of<'a>(
        artifact: &Artifact,
        records: &'a Records,
        evidence: &Evidence,
    ) -> BTreeMap<RunId, Option<&'a Run>> {
        let (plugin, digest) = (&artifact.plugin_id, &artifact.artifact_digest);
        let seen = evidence.observations.runs_of(plugin, digest);
        let mut runs: BTreeMap<RunId, Option<&Run>> = seen.map(|run| (run, None)).collect();
        let first = records.runs.partition_point(|run| run.order() < (plugin, digest));
        let on_record = records.runs[first..]
            .iter()
            .take_while(|run| run.order() == (plugin, digest));
        runs.extend(on_record.map(|run| (run.run_id, Some(run))));
        runs
    }

    fn case<'c>(&self, docket: &Docket<'c>, run_id: Option<RunId>, evidence: &'c Evidence) -> Case<'c> {
        let artifact = docket.artifact;
        let is_silent = |run: &Run| {
            let who = Who {
                plugin_id: artifact.plugin_id.clone(),
                artifact_digest: artifact.artifact_digest,
                run_id: run.run_id,
            };
            // A run that has only just begun may still have everything to say.
            let had_time =
                run.started <= self.period.from || run.ended.is_some_and(|end| end < self.period.to);
            had_time && !evidence.observations.events.contains_key(&who)
        };
        let on_record = |run: &RunId| docket.runs.get(run).copied().flatten();
        let candidates: Vec<&Run> = match &run_id {
            Some(run) => on_record(run).into_iter().collect(),
            None => docket.runs.values().copied().flatten().collect(),
        };
        let silent_runs = candidates
            .into_iter()
            .filter(|run| is_silent(run))
            .map(|run| run.run_id)
            .collect();
        Case {
            plugin_id: &artifact.plugin_id,
            artifact_digest: &artifact.artifact_digest,
            run_id,
            period: self.period,
            manifest: docket.manifest,
            observations: &evidence.observations,
            doubts: &evidence.doubts,
            silent_runs,
        }
    }

    fn act(
        &self,
        site: &dyn Site,
        records: &Records,
        dockets: &[Docket<'_>],
        judgements: &[Judgement],
    ) -> Vec<Act> {
        if self.run_id.is_some() {
            return Vec::new();
        }
        let mut proposals: Vec<Proposal> = dockets
            .iter()
            .zip(judgements)
            .filter_map(|(docket, judgement)| {
                let accused = Accused {
                    plugin_id: &docket.artifact.plugin_id,
                    artifact_digest: &docket.artifact.artifact_digest,
                    tier: docket.artifact.tier,
                    state: docket.artifact.state,
                    charges: &judgement.charges,
                    doubtful: judgement.doubtful,
                };
                propose(&records.policy, &accused)
            })
            .collect();
        let running: BTreeSet<ArtifactDigest> = dockets
            .iter()
            .filter(|docket| docket.artifact.is_running)
            .map(|docket| docket.artifact.artifact_digest)
            .collect();
        hold_back(&records.policy, &mut proposals, |artifact| {
            running.contains(artifact)
        });
        let carry_out = |proposal| self.carry_out(site, proposal);
        proposals.into_iter().map(carry_out).collect()
    }

    fn carry_out(&self, site: &dyn Site, proposal: Proposal) -> Act {
        let result = match proposal.measure {
            _ if self.is_dry() => Ok(ActResult::Proposed),
            Measure::Alert(_) => Ok(ActResult::Alerted),
            Measure::Quarantine => site
                .quarantine(&proposal)
                .map(|crl_number| ActResult::Quarantined { crl_number }),
            Measure::AwaitApproval { .. } => site.ask_approval(&proposal).map(|()| ActResult::Asked),
        };
        let result = result.unwrap_or_else(|error| ActResult::Failed {
            why: error.to_string(),
        });
        Act { proposal, result }
    }

    fn reports_on(&self, docket: &Docket<'_>) -> usize {
        if self.run_id.is_some() {
            1
        } else {
            1 + docket.runs.len()
        }
    }

    fn outcome(
        &self,
        records: &Records,
        evidence: Evidence,
        reports: Vec<Reported>,
        acts: Vec<Act>,
        troubles: Vec<String>,
    ) -> NightOutcome {
        let known: BTreeSet<(&PluginId, ArtifactDigest)> = records
            .artifacts
            .iter()
            .map(|artifact| (&artifact.plugin_id, artifact.artifact_digest))
            .collect();
        let chosen = |who: &&Who| {
            let plugin = self.plugin_id.as_ref().is_none_or(|only| *only == who.plugin_id);
            plugin && self.run_id.is_none_or(|only| only == who.run_id)
        };
        let unknown = evidence
            .observations
            .events
            .keys()
            .filter(|who| !known.contains(&(&who.plugin_id, who.artifact_digest)))
            .filter(chosen)
            .cloned()
            .collect();
        let logs = evidence.observations.logs.iter().zip(&evidence.logs);
        NightOutcome {
            period: self.period,
            dry_run: self.is_dry(),
            reports,
            acts,
            unknown,
            logs: logs
                .map(|(stretch, believed)| LogRead {
                    origin: stretch.origin.clone(),
                    from: stretch.from,
                    to: stretch.to,
                    checkpoint: believed.log.signed_checkpoint().to_owned(),
                })
                .collect(),
            strays: evidence.observations.strays.into_iter().collect(),
            doubts: evidence.doubts,
            troubles,
        }
    }
}

/// Where reports are written, one after the other.
struct Desk<'n> {
    night: &'n Night<'n>,
    site: &'n dyn Site,
    letterhead: Letterhead,
    crl: &'n CrlOnFile,
    /// In its canonical form.
    policy: Vec<u8>,
    trust: Option<TrustRoot>,
    evidence: &'n Evidence,
    reports: Vec<Reported>,
    troubles: Vec<String>,
    done: usize,
    of: usize,
}

impl Desk<'_> {
    /// The artifact's report, then one per run. With a run chosen, that run's alone.
    fn report_on(&mut self, docket: &Docket<'_>, judgement: &Judgement, acts: &[Act]) {
        if self.night.run_id.is_none() {
            self.write(docket, None, judgement, actions(docket.artifact, acts));
        }
        for &run in docket.runs.keys() {
            if self.night.run_id.is_none_or(|only| only == run) {
                let judgement = self.night.case(docket, Some(run), self.evidence).judge();
                self.write(docket, Some(run), &judgement, Vec::new());
            }
        }
    }

    fn write(
        &mut self,
        docket: &Docket<'_>,
        run_id: Option<RunId>,
        judgement: &Judgement,
        actions: Vec<ActionTaken>,
    ) {
        let artifact = docket.artifact;
        let previous = match self.site.previous_report(artifact, run_id, self.night.period) {
            Ok(previous) => previous,
            Err(error) => {
                return self.trouble(
                    artifact,
                    run_id,
                    &format!("the report before it could not be read: {error}"),
                );
            }
        };
        let particulars = Particulars {
            manifest: docket.manifest_payload,
            previous: previous.as_ref().map(|previous| previous.payload),
            runs: if run_id.is_some() {
                1
            } else {
                docket.runs.len() as u64
            },
            actions,
        };
        let case = self.night.case(docket, run_id, self.evidence);
        let report = report::write(&self.letterhead, &case, self.evidence, judgement, particulars);
        let mut line = Reported {
            plugin_id: artifact.plugin_id.clone(),
            artifact_digest: artifact.artifact_digest,
            run_id,
            verdict: report.verdict,
            findings: report.findings.clone(),
            payload: None,
            place: None,
        };
        if !self.night.is_dry() {
            match self.publish(docket, report, previous.as_ref()) {
                Ok((payload, place)) => {
                    line.payload = Some(payload);
                    line.place = Some(place);
                }
                Err(why) => self.trouble(artifact, run_id, &why),
            }
        }
        self.reports.push(line);
        self.done += 1;
        self.site.note(Progress::Reporting {
            done: self.done,
            of: self.of,
        });
    }

    fn publish(
        &self,
        docket: &Docket<'_>,
        report: ConformanceReport,
        previous: Option<&PreviousReport>,
    ) -> Result<(Sha256Digest, String), String> {
        let of_report = |run: &&Run| report.run_id.is_none_or(|only| only == run.run_id);
        let exhibits = Exhibits {
            auditor: self.night.auditor,
            artifact: docket.artifact,
            runs: docket
                .runs
                .values()
                .copied()
                .flatten()
                .filter(of_report)
                .collect(),
            crl: self.crl,
            policy: &self.policy,
            evidence: self.evidence,
            trust: self.trust.as_ref(),
        };
        let sealing = publication::Sealing {
            auditor: self.night.auditor,
            artifact: docket.artifact,
            exhibits: &exhibits,
            previous,
        };
        let publication: Publication = sealing.seal(report).map_err(|error| error.to_string())?;
        let place = self
            .site
            .publish(&publication)
            .map_err(|error| error.to_string())?;
        Ok((publication.payload, place))
    }

    fn trouble(&mut self, artifact: &Artifact, run_id: Option<RunId>, why: &str) {
        let of_run = run_id.map(|run| format!(", run {run}")).unwrap_or_default();
        self.troubles
            .push(format!("no report on {}{of_run}: {why}", artifact.plugin_id));
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
            let (action, crl_number) = match act.result {
                ActResult::Proposed => return None,
                // What could not be done was not done; the report says what it may: people are told.
                ActResult::Alerted | ActResult::Failed { .. } => (ActionKind::Alert, None),
                ActResult::Asked => (ActionKind::AwaitApproval, None),
                ActResult::Quarantined { crl_number } => (ActionKind::Quarantine, Some(crl_number)),
            };
            Some(ActionTaken {
                action,
                clause: act.proposal.clause.clone(),
                enabled_by: act.proposal.enabled_by.clone(),
                crl_number,
            })
        })
        .collect()
}

fn troubles_of(acts: &[Act]) -> Vec<String> {
    acts.iter()
        .filter_map(|act| match &act.result {
            ActResult::Failed { why } => Some(format!(
                "{} asked to stop {} and it was not done: {why}",
                act.proposal.clause, act.proposal.plugin_id
            )),
            _ => None,
        })
        .collect()
}

fn draft_payload(draft: &Manifest) -> Sha256Digest {
    let text =
        base::json::canonical(&draft.to_value()).expect("a manifest that was parsed has a canonical form");
    Sha256Digest::of(&text)
}

fn asked(what: &'static str) -> impl Fn(SiteError) -> NightError {
    move |source| NightError::Site { what, source }
}
