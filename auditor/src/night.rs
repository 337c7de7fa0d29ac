//! The night: gather, verify, fold, judge, act, seal, publish; in this order, once per period.
//!
//! Acting comes before sealing, because a report says what was done and on which revocation list.
//! Whatever goes wrong with one report is a trouble of the outcome and never stops the others.

use std::borrow::Cow;
use std::collections::BTreeSet;

use base::{ArtifactDigest, AutomaticAction, InvalidPolicy, PluginId, Policy, RunId, Tier, Timestamp};
use manifests::egress::InvalidEntry;
use reports::predicate::Period;
use seal::SigningKey;

use crate::carry::carry;
use crate::charge::Charge;
use crate::clause::{Accused, Measure, Proposal, hold_back, propose, reasons};
use crate::desk::Desk;
use crate::docket::Docket;
use crate::fold::Fold;
use crate::gather::{Evidence, gather_into};
use crate::judge::Judgement;
use crate::moment::Moment;
use crate::observation::Who;
use crate::outcome::{Act, ActResult, LogRead, NightOutcome, Reported};
use crate::records::Records;
use crate::seen::Seen;
use crate::site::{Artifact, Site, SiteError};
use crate::terms::{InvalidException, Rulebook};
use crate::what_if::{self, Change, Hypothesis, World};

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
    /// How soon appeals are answered.
    pub appeals: reports::AppealClocks,
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
    /// What if: judges and acts by what is imagined, and says what would have fared otherwise. Writes
    /// nothing and does nothing.
    pub what_if: Hypothesis,
    /// Judges, and says what would be done. Writes nothing and does nothing.
    pub dry_run: bool,
    /// Whether the outcome names every destination seen. Of a large site that is much to remember.
    pub lists_observed: bool,
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
    /// An exception of the policy cannot be read. Nothing is done in the name of such a policy either.
    #[error("nothing audited: the policy is not valid")]
    Exception(#[from] InvalidException),
    /// An entry of the operators' list cannot be read.
    #[error("nothing audited: the policy is not valid")]
    List(#[from] InvalidEntry),
    /// What the night put by in a file of the site's, for want of memory, cannot be read back. See what is
    /// wrong with that disk and run the audit again; nothing was written that has to be undone.
    #[error("the audit did not end: what it had put by on disk for want of memory cannot be read back")]
    PutBy(#[source] std::io::Error),
}

/// What clauses may rely on, of one artifact.
pub(crate) struct Grounds {
    charges: Vec<Charge>,
    moments: Vec<Moment>,
    doubtful: bool,
}

impl From<Judgement> for Grounds {
    fn from(judgement: Judgement) -> Self {
        Self {
            charges: judgement.charges,
            moments: judgement.moments,
            doubtful: judgement.doubtful,
        }
    }
}

/// How things stand, where something else is imagined.
struct Present {
    policy: Policy,
    tiers: Vec<(ArtifactDigest, Tier)>,
}

impl Present {
    fn of(records: &Records) -> Self {
        let tier = |artifact: &Artifact| (artifact.artifact_digest, artifact.tier);
        Self {
            policy: records.policy.clone(),
            tiers: records.artifacts.iter().map(tier).collect(),
        }
    }
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
        let mut records = Records::read(site, self.period)?;
        let present = Present::of(&records);
        self.imagine(&mut records)?;
        let (artifacts, draft) = (&records.artifacts, self.what_if.manifest.as_ref());
        let uncarried = carry(site, artifacts, &mut records.runs, self.period, draft);
        let draft = self.what_if.manifest.as_ref();
        let book = Rulebook::new(&records.artifacts, &records.runs, &records.policy, draft)?
            .turning_with(&present.policy)?;
        let seen = Seen::with_file(site.scratch());
        let fold = Fold::new(self.period, self.now)
            .by(&book)
            .only(self.only())
            .packing(seen);
        let mut evidence = gather_into(fold, site, records.gateways.clone());
        if let Some(error) = evidence.seen.trouble() {
            return Err(NightError::PutBy(error));
        }
        let dockets = self.dockets(&records, &evidence, &book);
        let changes = match self.what_if.is_any() {
            true => self.changes(&present, &records, &book, &dockets, &evidence)?,
            false => Vec::new(),
        };
        let mut desk = Desk::new(self, site, &records, &evidence, &dockets);
        let acts = if self.is_dry() {
            // No report is written that would have to name the acts, so everything is judged once.
            let mut grounds = Vec::with_capacity(dockets.len());
            for docket in &dockets {
                let opened = docket.open(&evidence)?;
                grounds.push(desk.tell_of(docket, &opened));
            }
            self.act(site, &records, &evidence, &dockets, &grounds)
        } else {
            let judged = dockets.iter().map(|docket| {
                let opened = docket.open(&evidence)?;
                Ok(docket
                    .case(None, self.period, &evidence, &opened)
                    .judge_briefly()
                    .into())
            });
            let grounds: Vec<Grounds> = judged.collect::<Result<_, NightError>>()?;
            let acts = self.act(site, &records, &evidence, &dockets, &grounds);
            drop(grounds);
            for docket in &dockets {
                let opened = docket.open(&evidence)?;
                desk.report_on(docket, &opened, &acts);
            }
            acts
        };
        desk.keep();
        let (reports, mut troubles) = (desk.reports, desk.troubles);
        troubles.extend(uncarried);
        let outcome = self.outcome(&records, evidence, reports, acts, troubles);
        Ok(NightOutcome { changes, ..outcome })
    }

    /// Whether nothing may be written or done.
    pub fn is_dry(&self) -> bool {
        self.dry_run || self.what_if.is_any()
    }

    /// Puts what is imagined in the place of what is on record.
    fn imagine(&self, records: &mut Records) -> Result<(), NightError> {
        if let Some(policy) = &self.what_if.policy {
            policy.check()?;
            records.policy = policy.clone();
        }
        if let Some(tier) = self.what_if.tier {
            let concerned = records.artifacts.iter_mut();
            for artifact in concerned.filter(|artifact| self.concerns(&artifact.plugin_id)) {
                artifact.tier = tier;
            }
        }
        Ok(())
    }

    fn changes(
        &self,
        present: &Present,
        records: &Records,
        book: &Rulebook<'_>,
        dockets: &[Docket<'_>],
        evidence: &Evidence,
    ) -> Result<Vec<Change>, NightError> {
        let before = Rulebook::new(&records.artifacts, &records.runs, &present.policy, None)?;
        let tiers = records
            .artifacts
            .iter()
            .map(|artifact| (artifact.artifact_digest, artifact.tier));
        let before = World::new(&before, &present.policy, present.tiers.iter().copied())?;
        let imagined = World::new(book, &records.policy, tiers)?;
        what_if::changes(&before, &imagined, dockets, evidence)
    }

    /// The artifacts to report on: those that may run, and those that did something, whatever they may.
    fn dockets<'a>(
        &'a self,
        records: &'a Records,
        evidence: &Evidence,
        book: &'a Rulebook<'a>,
    ) -> Vec<Docket<'a>> {
        let concerned = records
            .artifacts
            .iter()
            .filter(|artifact| self.concerns(&artifact.plugin_id));
        concerned
            .map(|artifact| Docket::new(artifact, records, evidence, book))
            .filter(|docket| self.run_id.is_none_or(|run| docket.has_run(run)))
            .filter(|docket| docket.artifact.state.may_run() || docket.runs().len() > 0)
            .map(|docket| match &self.what_if.manifest {
                Some(draft) => docket.by_draft(draft),
                None => docket,
            })
            .collect()
    }

    /// The one plugin that is concerned, where not all are.
    fn only(&self) -> Option<PluginId> {
        let drafted = self.what_if.manifest.as_ref();
        let drafted = drafted.map(|draft| draft.plugin_id.clone());
        self.plugin_id.clone().or(drafted)
    }

    fn concerns(&self, plugin: &PluginId) -> bool {
        let chosen = self.plugin_id.as_ref().is_none_or(|only| only == plugin);
        let drafted = &self.what_if.manifest;
        let drafted = drafted.as_ref().is_none_or(|draft| draft.plugin_id == *plugin);
        chosen && drafted
    }

    fn act(
        &self,
        site: &dyn Site,
        records: &Records,
        evidence: &Evidence,
        dockets: &[Docket<'_>],
        grounds: &[Grounds],
    ) -> Vec<Act> {
        if self.run_id.is_some() {
            return Vec::new();
        }
        let moments = &evidence.observations.moments;
        let mut done = Vec::new();
        let mut proposals = Vec::new();
        for (docket, ground) in dockets.iter().zip(grounds) {
            let artifact = docket.artifact;
            let noted = moments
                .get(&artifact.artifact_digest)
                .map_or(&[][..], Vec::as_slice);
            let moments = match ground.moments.is_empty() {
                true => Cow::Borrowed(noted),
                false => Cow::Owned([noted, &ground.moments].concat()),
            };
            let accused = Accused {
                plugin_id: &artifact.plugin_id,
                artifact_digest: &artifact.artifact_digest,
                tier: artifact.tier,
                state: artifact.state,
                charges: &ground.charges,
                moments: &moments,
                doubtful: ground.doubtful,
                protected_until: artifact.protected_until,
                now: self.now,
            };
            let before = done_before(&records.policy, artifact, &accused);
            let proposal = propose(&records.policy, &accused);
            // What was done on account of this period's evidence, and lifted by a person since, is not done
            // again on account of the same.
            proposals.extend(proposal.filter(|proposal| !before.iter().any(|act| act.outdoes(proposal))));
            done.extend(before);
        }
        let running: BTreeSet<ArtifactDigest> = dockets
            .iter()
            .filter(|docket| docket.artifact.is_running)
            .map(|docket| docket.artifact.artifact_digest)
            .collect();
        let is_running = |artifact: &ArtifactDigest| running.contains(artifact);
        let before = |clause: &str| stopped_before(&records.artifacts, clause);
        hold_back(&records.policy, &mut proposals, self.now, is_running, before);
        let carry_out = |proposal| self.carry_out(site, proposal);
        done.into_iter()
            .chain(proposals.into_iter().map(carry_out))
            .collect()
    }

    fn carry_out(&self, site: &dyn Site, proposal: Proposal) -> Act {
        let result = match proposal.measure {
            _ if self.is_dry() => Ok(ActResult::Proposed),
            Measure::Alert(_) => Ok(ActResult::Alerted),
            Measure::Watch => site.watch(&proposal).map(|()| ActResult::Watched),
            Measure::Quarantine | Measure::Revoke => site
                .stop(&proposal)
                .map(|crl_number| ActResult::Stopped { crl_number }),
            Measure::Announce { .. } => site.put_off(&proposal).map(|()| ActResult::Announced),
            Measure::AwaitApproval { .. } => site.put_off(&proposal).map(|()| ActResult::Asked),
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
                    verified_from: believed.log.verification().read_from,
                    checkpoint: believed.log.signed_checkpoint().to_owned(),
                })
                .collect(),
            strays: evidence.observations.strays.into_iter().collect(),
            doubts,
            troubles: troubles_of(&acts).chain(troubles).collect(),
            acts,
            changes: Vec::new(),
        }
    }
}

/// What clauses did about an artifact since the period began, as far as this period's evidence bears it
/// out: events were judged as they arrived, or this very night was interrupted after acting.
fn done_before(policy: &Policy, artifact: &Artifact, accused: &Accused<'_>) -> Vec<Act> {
    let mut done: Vec<Act> = Vec::new();
    for past in &artifact.acts {
        let named = policy.clauses().find(|(_, name, _)| *name == past.clause);
        let reasons = match named {
            Some((_, _, clause)) => reasons(clause, accused),
            // The policy changed since; whatever was found then is what it was done for.
            None => accused
                .charges
                .iter()
                .flat_map(|charge| charge.established.keys().copied())
                .collect(),
        };
        let measure = match past.action {
            AutomaticAction::Alert => continue,
            AutomaticAction::Watch => Measure::Watch,
            AutomaticAction::Quarantine => Measure::Quarantine,
            AutomaticAction::Revoke => Measure::Revoke,
        };
        if reasons.is_empty() || done.iter().any(|act| act.proposal.clause == past.clause) {
            continue;
        }
        done.push(Act {
            proposal: Proposal {
                plugin_id: artifact.plugin_id.clone(),
                artifact_digest: artifact.artifact_digest,
                clause: past.clause.clone(),
                enabled_by: past.enabled_by.clone(),
                reasons,
                measure,
            },
            result: ActResult::DoneBefore {
                at: past.at,
                crl_number: past.crl_number,
            },
        });
    }
    done
}

/// The plugins that a clause stopped since the period began.
fn stopped_before(artifacts: &[Artifact], clause: &str) -> BTreeSet<PluginId> {
    let by_clause = |artifact: &&Artifact| {
        artifact
            .acts
            .iter()
            .any(|past| past.clause == clause && past.action.stops())
    };
    artifacts
        .iter()
        .filter(by_clause)
        .map(|artifact| artifact.plugin_id.clone())
        .collect()
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
