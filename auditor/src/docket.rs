//! Dockets: one artifact, with the measure and the runs that a night judges it by.

use std::collections::BTreeMap;

use base::{RunId, Sha256Digest, Timestamp};
use manifests::Manifest;
use reports::predicate::{DigestSet, ManifestInForce, Period};

use crate::credentials::Misuse;
use crate::gather::Evidence;
use crate::judge::Case;
use crate::night::NightError;
use crate::observation::Who;
use crate::promised::Promised;
use crate::records::Records;
use crate::seen::SeenRuns;
use crate::site::{Artifact, Run};
use crate::terms::Rulebook;

/// One artifact, with what the night knows about it.
pub(crate) struct Docket<'a> {
    pub(crate) artifact: &'a Artifact,
    pub(crate) manifest: &'a Manifest,
    pub(crate) manifest_payload: Sha256Digest,
    book: &'a Rulebook<'a>,
    is_drafted: bool,
    /// Every run of the period; `None` for one that only the evidence knows.
    runs: BTreeMap<RunId, Option<&'a Run>>,
}

impl<'a> Docket<'a> {
    /// The docket of an artifact, judged by its own manifest.
    pub(crate) fn new(
        artifact: &'a Artifact,
        records: &'a Records,
        evidence: &Evidence,
        book: &'a Rulebook<'a>,
    ) -> Self {
        let (plugin, digest) = (&artifact.plugin_id, &artifact.artifact_digest);
        let seen = evidence.observations.runs_of(plugin, digest);
        let mut runs: BTreeMap<RunId, Option<&Run>> = seen.map(|run| (run, None)).collect();
        runs.extend(records.runs_of(plugin, digest).map(|run| (run.run_id, Some(run))));
        Self {
            artifact,
            manifest: &artifact.manifest,
            manifest_payload: artifact.manifest_payload,
            book,
            is_drafted: false,
            runs,
        }
    }

    /// The same artifact, judged by a draft.
    pub(crate) fn by_draft(self, draft: &'a Manifest) -> Self {
        let text = base::json::canonical(&draft.to_value());
        Self {
            manifest: draft,
            is_drafted: true,
            manifest_payload: Sha256Digest::of(
                &text.expect("a manifest that was parsed has a canonical form"),
            ),
            ..self
        }
    }

    /// The manifest in force at the end of what a report about `run_id`, or about all, is about, and the
    /// digest of its payload: the period's end, or the run's where that came first.
    pub(crate) fn at_end(&self, run_id: Option<RunId>, period: Period) -> (&'a Manifest, Sha256Digest) {
        if self.is_drafted {
            return (self.manifest, self.manifest_payload);
        }
        let span = self.span(run_id, period);
        let last = Timestamp::from_unix_us(span.to.unix_us().saturating_sub(1));
        self.artifact.manifest_at(last.max(span.from))
    }

    /// Every manifest by which such a report judges, each with the time for which it was in force, in its
    /// order; none where there was one.
    pub(crate) fn manifests(&self, run_id: Option<RunId>, period: Period) -> Vec<ManifestInForce> {
        if self.is_drafted {
            return Vec::new();
        }
        let span = self.span(run_id, period);
        let earlier = self.artifact.earlier.iter();
        let all = earlier
            .map(|earlier| (earlier.until, earlier.payload))
            .chain(std::iter::once((span.to, self.artifact.manifest_payload)));
        let mut manifests: Vec<ManifestInForce> = Vec::new();
        let mut from = span.from;
        for (until, payload) in all {
            let to = until.min(span.to);
            if to <= from {
                continue;
            }
            let digest = DigestSet { sha256: payload };
            match manifests.last_mut().filter(|last| last.digest == digest) {
                // Only its approval was another.
                Some(last) => last.to = to,
                None => manifests.push(ManifestInForce { digest, from, to }),
            }
            from = to;
        }
        if manifests.len() < 2 {
            manifests.clear();
        }
        manifests
    }

    /// The part of the period in which the run, or the build, was judged.
    fn span(&self, run_id: Option<RunId>, period: Period) -> Period {
        let run = run_id.and_then(|run_id| self.runs.get(&run_id).copied().flatten());
        let Some(run) = run else {
            return period;
        };
        let from = run.started.clamp(period.from, period.to);
        let to = run.ended.unwrap_or(period.to).clamp(from, period.to);
        Period { from, to }
    }

    /// Its runs in the period.
    pub(crate) fn runs(&self) -> impl ExactSizeIterator<Item = RunId> {
        self.runs.keys().copied()
    }

    /// Whether this is one of its runs.
    pub(crate) fn has_run(&self, run_id: RunId) -> bool {
        self.runs.contains_key(&run_id)
    }

    /// Those of its runs that are on record, or the one asked for, if it is.
    pub(crate) fn runs_on_record(&self, run_id: Option<RunId>) -> Vec<&'a Run> {
        match run_id {
            Some(run) => self.runs.get(&run).copied().flatten().into_iter().collect(),
            None => self.runs.values().copied().flatten().collect(),
        }
    }

    /// What its runs did.
    ///
    /// # Errors
    /// What was put by cannot be read.
    pub(crate) fn open<'e>(&self, evidence: &'e Evidence) -> Result<Opened<'e>, NightError> {
        let (plugin, digest) = (&self.artifact.plugin_id, self.artifact.artifact_digest);
        let seen = evidence.seen.of_build(plugin, digest);
        Ok(Opened {
            seen: seen.map_err(NightError::PutBy)?,
            promised: Promised::default(),
        })
    }

    /// What is to be judged: the artifact, or one of its runs.
    pub(crate) fn case<'c>(
        &self,
        run_id: Option<RunId>,
        period: Period,
        evidence: &'c Evidence,
        opened: &'c Opened<'c>,
    ) -> Case<'c>
    where
        'a: 'c,
    {
        let on_record = self.runs_on_record(run_id).into_iter();
        Case {
            book: self.book,
            all_runs: match run_id {
                Some(run_id) => vec![run_id],
                None => self.runs().collect(),
            },
            plugin_id: &self.artifact.plugin_id,
            artifact_digest: &self.artifact.artifact_digest,
            run_id,
            period,
            manifest: self.at_end(run_id, period).0,
            observations: &evidence.observations,
            seen: &opened.seen,
            promised: &opened.promised,
            doubts: &evidence.doubts,
            silent_runs: on_record
                .filter(|run| is_silent(run, period, evidence))
                .map(|run| run.run_id)
                .collect(),
            misuses: evidence
                .observations
                .strays
                .iter()
                .filter_map(Misuse::of)
                .filter(|misuse| {
                    self.has_run(misuse.run_id()) && run_id.is_none_or(|only| only == misuse.run_id())
                })
                .collect(),
        }
    }
}

/// What the runs of a docket's artifact did, unpacked to be judged.
pub(crate) struct Opened<'e> {
    pub(crate) seen: SeenRuns<'e>,
    promised: Promised,
}

/// A run that has only just begun may still have everything to say.
fn is_silent(run: &Run, period: Period, evidence: &Evidence) -> bool {
    let who = Who {
        plugin_id: run.plugin_id.clone(),
        artifact_digest: run.artifact_digest,
        run_id: run.run_id,
    };
    let had_time = run.started <= period.from || run.ended.is_some_and(|end| end < period.to);
    had_time && !evidence.observations.events.contains_key(&who)
}
