//! Carrying on: what runs moved before the period, where a limit is about the whole run.
//!
//! A night reads one period, and a run may last for many. What it moved before is taken from the signed
//! report on the run's last period, which says what it moved in that and in all before it.

use std::collections::BTreeMap;

use base::RunId;
use manifests::Manifest;
use reports::predicate::Period;

use crate::site::{Artifact, Run, Site};

/// Fills in what runs moved before `period`, where a manifest of theirs, or the `draft` that is imagined,
/// limits the bytes of a run. Gives a sentence for each run of which that cannot be read.
pub fn carry(
    site: &dyn Site,
    artifacts: &[Artifact],
    runs: &mut [Run],
    period: Period,
    draft: Option<&Manifest>,
) -> Vec<String> {
    let mut by_artifact: BTreeMap<_, Vec<&mut Run>> = BTreeMap::new();
    for run in runs.iter_mut().filter(|run| run.started < period.from) {
        let artifact = (run.plugin_id.clone(), run.artifact_digest);
        by_artifact.entry(artifact).or_default().push(run);
    }
    let is_asked = |artifact: &&Artifact| is_limited(artifact) || draft.is_some_and(limits_bytes);
    let mut troubles = Vec::new();
    for artifact in artifacts.iter().filter(is_asked) {
        let runs = by_artifact.remove(&(artifact.plugin_id.clone(), artifact.artifact_digest));
        let Some(runs) = runs else {
            continue;
        };
        let ids: Vec<RunId> = runs.iter().map(|run| run.run_id).collect();
        site.turn_to(artifact, &ids, period);
        for run in runs {
            match site.previous_report(artifact, Some(run.run_id), period) {
                Ok(before) => run.bytes_before = before.map_or(0, |before| before.report.bytes_so_far()),
                Err(error) => troubles.push(format!(
                    "what run {} of {} moved before cannot be read, and only this period is held against its limit: \
                     {error}",
                    run.run_id, run.plugin_id
                )),
            }
        }
    }
    troubles
}

fn is_limited(artifact: &Artifact) -> bool {
    let earlier = artifact.earlier.iter().map(|earlier| &earlier.manifest);
    earlier
        .chain(std::iter::once(&artifact.manifest))
        .any(limits_bytes)
}

fn limits_bytes(manifest: &Manifest) -> bool {
    let limits = manifest.limits.as_ref();
    limits.is_some_and(|limits| limits.bytes_per_run.is_some())
}
