//! The night: gather, verify, fold, judge, act, seal, publish; in this order, once per period.
//!
//! Acting comes before sealing, because a report says what was done and on which revocation list.
//! Whatever goes wrong with one report is a trouble of the outcome and never stops the others.

use std::collections::BTreeSet;

use base::{ArtifactDigest, InvalidPolicy, PluginId, RunId, Timestamp};
use manifests::Manifest;
use reports::predicate::Period;
use seal::SigningKey;

use crate::clause::{Accused, Measure, Proposal, hold_back, propose};
use crate::desk::Desk;
use crate::docket::Docket;
use crate::gather::{Evidence, gather};
use crate::judge::Judgement;
use crate::observation::Who;
use crate::outcome::{Act, ActResult, LogRead, NightOutcome, Reported};
use crate::records::Records;
use crate::site::{Site, SiteError};

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
        let records = Records::read(site, self.period)?;
        let evidence = gather(site, records.gateways.clone(), self.period, self.now);
        let dockets = self.dockets(&records, &evidence);
        let judgements: Vec<Judgement> = dockets
            .iter()
            .map(|docket| docket.case(None, self.period, &evidence).judge())
            .collect();
        let acts = self.act(site, &records, &dockets, &judgements);
        let mut desk = Desk::new(self, site, &records, &evidence, &dockets);
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

    /// The artifacts to report on: those that may run, and those that did something, whatever they may.
    fn dockets<'a>(&'a self, records: &'a Records, evidence: &Evidence) -> Vec<Docket<'a>> {
        let concerned = records
            .artifacts
            .iter()
            .filter(|artifact| self.concerns(&artifact.plugin_id));
        concerned
            .map(|artifact| Docket::new(artifact, records, evidence))
            .filter(|docket| self.run_id.is_none_or(|run| docket.has_run(run)))
            .filter(|docket| docket.artifact.state.may_run() || docket.runs().len() > 0)
            .map(|docket| match &self.draft {
                Some(draft) => docket.by_draft(draft),
                None => docket,
            })
            .collect()
    }

    fn concerns(&self, plugin: &PluginId) -> bool {
        let chosen = self.plugin_id.as_ref().is_none_or(|only| only == plugin);
        let drafted = self.draft.as_ref().is_none_or(|draft| draft.plugin_id == *plugin);
        chosen && drafted
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

    fn outcome(
        &self,
        records: &Records,
        evidence: Evidence,
        reports: Vec<Reported>,
        acts: Vec<Act>,
        troubles: Vec<String>,
    ) -> NightOutcome {
        let chosen =
            |who: &&Who| self.concerns(&who.plugin_id) && self.run_id.is_none_or(|only| only == who.run_id);
        let unknown = evidence
            .observations
            .events
            .keys()
            .filter(chosen)
            .filter(|who| !records.knows(&who.plugin_id, &who.artifact_digest))
            .cloned()
            .collect();
        let mut doubts = evidence.doubts;
        doubts.retain(|doubt| {
            doubt
                .plugin_id
                .as_ref()
                .is_none_or(|plugin| self.concerns(plugin))
        });
        let logs = evidence.observations.logs.iter().zip(&evidence.logs);
        NightOutcome {
            period: self.period,
            dry_run: self.is_dry(),
            reports,
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
            doubts,
            troubles: troubles_of(&acts).chain(troubles).collect(),
            acts,
        }
    }
}

fn troubles_of(acts: &[Act]) -> impl Iterator<Item = String> {
    acts.iter().filter_map(|act| match &act.result {
        ActResult::Failed { why } => Some(format!(
            "{} asked to stop {} and it was not done: {why}",
            act.proposal.clause, act.proposal.plugin_id
        )),
        _ => None,
    })
}
