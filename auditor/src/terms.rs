//! Terms: by what one run is judged.
//!
//! A run is judged by the manifest that was in force when it was registered, because that is the one
//! the load gate let it through with: a wider manifest that an owner signs in the afternoon excuses
//! nothing of the morning.

use std::collections::HashMap;

use base::{ArtifactDigest, Policy, PolicyException, Reason, RunId, Timestamp};
use manifests::egress::{Entry, InvalidEntry};
use manifests::{DataClass, Manifest};

use crate::observation::{Destination, Who};
use crate::site::{Artifact, Run};

/// By what one run is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) manifest: &'a Manifest,
    /// The class of data that the run was registered to handle.
    pub(crate) data_class: Option<&'a DataClass>,
    /// What the policy lets pass.
    pub(crate) waivers: &'a [Waiver],
}

/// An exception of the policy, ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Waiver {
    pub(crate) exception: PolicyException,
    to: Option<Entry>,
}

/// An exception names a destination that is no entry of the egress grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("exceptions[{at}].to cannot be read")]
pub struct InvalidException {
    at: usize,
    source: InvalidEntry,
}

impl Waiver {
    /// All exceptions of a policy.
    pub(crate) fn all(policy: &Policy) -> Result<Vec<Self>, InvalidException> {
        let exceptions = policy.exceptions.iter().enumerate();
        exceptions
            .map(|(at, exception)| {
                let to = exception.to.as_ref().map(|text| text.parse()).transpose();
                Ok(Self {
                    exception: exception.clone(),
                    to: to.map_err(|source| InvalidException { at, source })?,
                })
            })
            .collect()
    }

    /// Whether a departure that was last seen at `last` is let pass.
    pub(crate) fn passes(&self, reason: Reason, destination: &Destination, last: Timestamp) -> bool {
        let covers = |entry: &Entry| entry.covers(&destination.target, destination.scheme);
        self.exception.reasons.contains(&reason)
            && self.exception.stands(last)
            && self.to.as_ref().is_none_or(covers)
    }
}

/// What every run is judged by.
pub(crate) struct Rulebook<'a> {
    builds: HashMap<ArtifactDigest, Build<'a>>,
    runs: HashMap<RunId, &'a Run>,
}

/// What the runs of one build are judged by.
pub(crate) struct Build<'a> {
    artifact: &'a Artifact,
    draft: Option<&'a Manifest>,
    waivers: Vec<Waiver>,
    /// Whether a clause of its tier counts breaches by their moments.
    pub(crate) is_timed: bool,
}

impl<'a> Rulebook<'a> {
    /// The rulebook of `artifacts` and `runs` under `policy`; with a draft, its plugin is judged by that.
    pub(crate) fn new(
        artifacts: &'a [Artifact],
        runs: &'a [Run],
        policy: &Policy,
        draft: Option<&'a Manifest>,
    ) -> Result<Self, InvalidException> {
        let waivers = Waiver::all(policy)?;
        let build = |artifact: &'a Artifact| {
            let own = |waiver: &&Waiver| {
                let exception = &waiver.exception;
                exception.is_about(&artifact.plugin_id, &artifact.artifact_digest)
            };
            let build = Build {
                artifact,
                draft: draft.filter(|draft| draft.plugin_id == artifact.plugin_id),
                waivers: waivers.iter().filter(own).cloned().collect(),
                is_timed: policy
                    .clauses_of(artifact.tier)
                    .any(|(_, clause)| clause.live || clause.within_s.is_some()),
            };
            (artifact.artifact_digest, build)
        };
        Ok(Self {
            builds: artifacts.iter().map(build).collect(),
            runs: runs.iter().map(|run| (run.run_id, run)).collect(),
        })
    }

    /// The build that `who` ran, if it is on record.
    pub(crate) fn build(&self, who: &Who) -> Option<&Build<'a>> {
        self.build_of(&who.artifact_digest)
            .filter(|build| build.artifact.plugin_id == who.plugin_id)
    }

    /// The build with this digest, if it is on record.
    pub(crate) fn build_of(&self, digest: &ArtifactDigest) -> Option<&Build<'a>> {
        self.builds.get(digest)
    }

    /// The run, if it is on record.
    pub(crate) fn run(&self, run_id: RunId) -> Option<&'a Run> {
        self.runs.get(&run_id).copied()
    }

    /// What `who` is judged by; `None` where the build is not on record.
    pub(crate) fn terms(&self, who: &Who) -> Option<Terms<'_>> {
        let build = self.build(who)?;
        let run = self.run(who.run_id);
        Some(Terms {
            manifest: build.manifest(run),
            data_class: run.and_then(|run| run.data_class.as_ref()),
            waivers: &build.waivers,
        })
    }
}

impl<'a> Build<'a> {
    /// The manifest by which `run` is judged; without one, the manifest in force now.
    pub(crate) fn manifest(&self, run: Option<&Run>) -> &'a Manifest {
        match (self.draft, run) {
            (Some(draft), _) => draft,
            (None, Some(run)) => self.artifact.manifest_at(run.started).0,
            (None, None) => &self.artifact.manifest,
        }
    }

    /// What the policy lets pass of this build.
    pub(crate) fn waivers(&self) -> &[Waiver] {
        &self.waivers
    }
}
