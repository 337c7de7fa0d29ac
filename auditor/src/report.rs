//! Reports: a judgement, put into the form that gets signed.

use std::collections::{BTreeMap, BTreeSet};

use base::{Sha256Digest, Verdict};
use reports::predicate::{
    ActionTaken, Auditor, ConformanceReport, Coverage, CoverageScope, CrlReference, DigestSet,
    DocumentReference, Gap, LogReference, ManifestInForce, Omitted, PolicyReference,
};

use crate::gather::Evidence;
use crate::judge::{Case, Judgement};
use crate::observation::{Stretch, Who};

/// The most bytes that a row about a destination takes: two names, and what stands around them.
const ROW_BYTES: usize = 1200;
/// The most bytes that a declaration takes which was not used.
const DECLARATION_BYTES: usize = 700;

/// What all reports of one night have in common.
#[derive(Clone, Debug)]
pub(crate) struct Letterhead {
    pub(crate) auditor: Auditor,
    pub(crate) policy: PolicyReference,
    pub(crate) crl: CrlReference,
}

/// What a report says beside the judgement.
#[derive(Clone, Debug)]
pub(crate) struct Particulars {
    /// The manifests that were the measure, in their order.
    pub(crate) manifests: Vec<ManifestInForce>,
    /// The last of them.
    pub(crate) manifest: Sha256Digest,
    /// Bytes that the run had moved before the period.
    pub(crate) bytes_before: u64,
    pub(crate) previous: Option<Sha256Digest>,
    pub(crate) runs: u64,
    pub(crate) actions: Vec<ActionTaken>,
}

/// The report that would be written, without its logs, which take `logs_bytes`, and without the lists that a
/// brief judgement lacks. `None` where more would be left out of it than can be told without them.
pub(crate) fn outline(
    letterhead: &Letterhead,
    case: &Case<'_>,
    evidence: &Evidence,
    judgement: &Judgement,
    particulars: Particulars,
    logs_bytes: usize,
) -> Option<ConformanceReport> {
    let mut report = draft(letterhead, case, evidence, judgement, particulars);
    let rows: usize = case.seen.of(case.run_id).iter().map(|run| run.sights.len()).sum();
    let lists_bytes = match judgement.is_brief {
        true => rows * ROW_BYTES + case.manifest.allowed_egress.len() * DECLARATION_BYTES,
        false => 0,
    };
    if !report.fit_beside(logs_bytes + lists_bytes) {
        return None;
    }
    report.verdict = match report.verdict_that_follows() {
        Verdict::NoTraffic if rows > 0 => Verdict::Conforming,
        verdict => verdict,
    };
    Some(report)
}

/// The most bytes that the logs of a report take.
pub(crate) fn logs_bytes(evidence: &Evidence) -> usize {
    let widest = evidence.logs.iter().map(|believed| LogReference {
        origin: believed.log.checkpoint().origin().as_str().to_owned(),
        from: base::json::MAX_INTEGER,
        to: base::json::MAX_INTEGER,
        checkpoint: believed.log.signed_checkpoint().to_owned(),
    });
    let text = base::json::canonical(&widest.collect::<Vec<_>>());
    text.map_or(usize::MAX, |text| text.len())
}

/// Writes the report. Its verdict is the one that follows from what it says; there is no other.
pub(crate) fn write(
    letterhead: &Letterhead,
    case: &Case<'_>,
    evidence: &Evidence,
    judgement: &Judgement,
    particulars: Particulars,
) -> ConformanceReport {
    let mut report = ConformanceReport {
        logs: logs(case, evidence, judgement),
        ..draft(letterhead, case, evidence, judgement, particulars)
    };
    if case.run_id.is_some() {
        report.omitted.logs = (evidence.logs.len() - report.logs.len()) as u64;
    }
    report.fit();
    report.verdict = report.verdict_that_follows();
    report
}

/// The report without its logs, before it is made to fit.
fn draft(
    letterhead: &Letterhead,
    case: &Case<'_>,
    evidence: &Evidence,
    judgement: &Judgement,
    particulars: Particulars,
) -> ConformanceReport {
    let events = case
        .observations
        .events_of(case.plugin_id, case.artifact_digest, case.run_id);
    ConformanceReport {
        verdict: Verdict::Inconclusive,
        plugin_id: case.plugin_id.clone(),
        artifact_digest: *case.artifact_digest,
        run_id: case.run_id,
        period: case.period,
        auditor: letterhead.auditor.clone(),
        previous_report: particulars.previous.map(DocumentReference::new),
        manifest: DocumentReference::new(particulars.manifest),
        manifests: particulars.manifests,
        bytes_before: particulars.bytes_before,
        policy: letterhead.policy,
        crl: letterhead.crl,
        coverage: Coverage {
            scope: CoverageScope::ProxiedOnly,
            runs: particulars.runs,
            events,
            gateways_expected: evidence.gateways_expected,
            gateways_seen: evidence.logs.len() as u64,
            gaps: gaps(case),
        },
        logs: Vec::new(),
        observed: judgement.observed.clone(),
        unused: judgement.unused.clone(),
        findings: judgement.findings.clone(),
        actions: particulars.actions,
        omitted: Omitted::default(),
    }
}

fn gaps(case: &Case<'_>) -> Vec<Gap> {
    case.own_doubts()
        .map(|doubt| Gap {
            origin: doubt.origin.clone(),
            cause: base::escape_untrusted(doubt.cause.as_bytes(), 500),
            index: doubt.index,
            from: doubt.from,
            to: doubt.to,
            missing: doubt.missing,
        })
        .collect()
}

/// The stretches read, wide enough to hold every entry cited: a tunnel may have been opened before
/// the period, and a gateway may say after it what it lost. Of a run, those that hold something of it or
/// that its report speaks of: a thousand gateways are named once, by the report about its artifact.
fn logs(case: &Case<'_>, evidence: &Evidence, judgement: &Judgement) -> Vec<LogReference> {
    let mut cited: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for event in judgement.findings.iter().flat_map(|finding| &finding.events) {
        let (low, high) = cited.entry(&event.origin).or_insert((event.index, event.index));
        *low = event.index.min(*low);
        *high = event.index.max(*high);
    }
    let own = case.run_id.map(|run_id| {
        let who = Who {
            plugin_id: case.plugin_id.clone(),
            artifact_digest: *case.artifact_digest,
            run_id,
        };
        case.observations.logs_of(&who)
    });
    let doubted: BTreeSet<&str> = judgement
        .findings
        .iter()
        .filter_map(|finding| finding.origin.as_deref())
        .collect();
    let concerns = |number: u32, stretch: &Stretch| {
        own.is_none_or(|own| own.binary_search(&number).is_ok())
            || cited.contains_key(stretch.origin.as_str())
            || doubted.contains(stretch.origin.as_str())
    };
    let stretches = (0..).zip(evidence.observations.logs.iter().zip(&evidence.logs));
    stretches
        .filter(|(number, (stretch, _))| concerns(*number, stretch))
        .map(|(_, (stretch, believed))| {
            let (low, high) = cited
                .get(stretch.origin.as_str())
                .map_or((stretch.from, stretch.to), |&(low, high)| (low, high + 1));
            LogReference {
                origin: stretch.origin.clone(),
                from: stretch.from.min(low),
                to: stretch.to.max(high),
                checkpoint: believed.log.signed_checkpoint().to_owned(),
            }
        })
        .collect()
}

/// Names a document by the SHA-256 of its canonical form.
pub(crate) const fn digest_set(sha256: Sha256Digest) -> DigestSet {
    DigestSet { sha256 }
}
