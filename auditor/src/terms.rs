//! Terms: by what one run is judged at one moment.
//!
//! Whatever a run does is judged by what was in force when it did it: a wider manifest that an owner
//! signs in the afternoon excuses nothing of the morning, and a declaration that ran out at noon covers
//! nothing of the afternoon. The gateway asked the same manifest at the same moment.

use std::collections::HashMap;

use base::{ArtifactDigest, Policy, PolicyException, Reason, RunId, Sha256Digest, Timestamp};
use manifests::egress::{Entry, InvalidEntry};
use manifests::{DataClass, Manifest};

use crate::inside;
use crate::observation::{Destination, Who};
use crate::site::{Artifact, Run};
use crate::turns::{Passage, Turns};

/// By what one run is judged at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    /// The moment.
    pub(crate) at: Timestamp,
    /// The manifest in force then.
    pub(crate) manifest: &'a Manifest,
    /// The class of data that the run was registered to handle.
    pub(crate) data_class: Option<&'a DataClass>,
    /// What the policy lets pass.
    pub(crate) waivers: &'a [Waiver],
    /// The build's libraries outside the ranges of this manifest, a sentence for each.
    pub(crate) drift: &'a [String],
    /// The approval, where it had run out by then.
    pub(crate) lapsed: Option<Lapsed>,
}

/// An approval that ran out while its build ran on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lapsed {
    /// When.
    pub(crate) at: Timestamp,
    /// Whether the tier asks for one: then the build has no business there any more.
    pub(crate) required: bool,
}

impl<'a> Terms<'a> {
    /// What lets pass something with this reason that is about no destination.
    pub(crate) fn excuse(&self, reason: Reason) -> Option<&'a Waiver> {
        let excuses = |waiver: &&Waiver| {
            let exception = &waiver.exception;
            waiver.to.is_none() && exception.reasons.contains(&reason) && exception.stands(self.at)
        };
        self.waivers.iter().find(excuses)
    }
}

/// An exception of the policy, ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Waiver {
    pub(crate) exception: PolicyException,
    /// The digest of the words that two people signed.
    pub(crate) digest: Sha256Digest,
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
    /// All exceptions of a policy that two people signed. The others let nothing pass.
    pub(crate) fn all(policy: &Policy) -> Result<Vec<Self>, InvalidException> {
        let exceptions = policy.exceptions.iter().enumerate();
        let exceptions = exceptions.filter(|(_, exception)| exception.is_signed());
        exceptions
            .map(|(at, exception)| {
                let to = exception.to.as_ref().map(|text| text.parse()).transpose();
                Ok(Self {
                    exception: exception.clone(),
                    digest: Sha256Digest::of(&seal::exception::words(exception)),
                    to: to.map_err(|source| InvalidException { at, source })?,
                })
            })
            .collect()
    }

    /// Whether a departure at the moment `at` is let pass.
    pub(crate) fn passes(&self, reason: Reason, destination: &Destination, at: Timestamp) -> bool {
        let covers = |entry: &Entry| entry.covers(&destination.target, destination.scheme);
        self.exception.reasons.contains(&reason)
            && self.exception.stands(at)
            && self.to.as_ref().is_none_or(covers)
    }

    /// That it is let pass, by whom, until when and why.
    pub(crate) fn words(&self) -> String {
        let exception = &self.exception;
        let why = base::escape_untrusted(exception.why.as_bytes(), 200);
        let signers = base::escape_untrusted(exception.signers().as_bytes(), 200);
        format!("let pass until {} by {signers}: {why}", exception.until)
    }
}

/// What every run is judged by.
pub(crate) struct Rulebook<'a> {
    builds: HashMap<ArtifactDigest, Build<'a>>,
    runs: HashMap<RunId, &'a Run>,
}

/// A manifest, for as long as it was in force.
struct InForce<'a> {
    /// The first moment at which it was not; `None` where it still is.
    until: Option<Timestamp>,
    manifest: &'a Manifest,
    drift: Vec<String>,
    /// When the approval that it was admitted with ran out, or will.
    approved_until: Option<Timestamp>,
}

/// What the runs of one build are judged by.
pub(crate) struct Build<'a> {
    artifact: &'a Artifact,
    /// Its manifests, each until the next took its place; the last stands.
    in_force: Vec<InForce<'a>>,
    waivers: Vec<Waiver>,
    turns: Turns,
    /// Whether its tier asks for an approval.
    approval_required: bool,
    /// Whether one of its manifests promises limits.
    pub(crate) is_limited: bool,
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
            let draft = draft.filter(|draft| draft.plugin_id == artifact.plugin_id);
            let waivers: Vec<Waiver> = waivers.iter().filter(own).cloned().collect();
            let in_force = in_force(artifact, draft);
            let build = Build {
                is_limited: in_force.iter().any(|in_force| in_force.manifest.limits.is_some()),
                in_force,
                turns: manifest_turns(artifact, draft).chain(ends(&waivers)).collect(),
                approval_required: policy.approval_required(artifact.tier),
                artifact,
                waivers,
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

    /// The same, telling apart also what lies before and after the end of an exception of `policy`:
    /// the same observations are judged by both policies.
    pub(crate) fn turning_with(mut self, policy: &Policy) -> Result<Self, InvalidException> {
        let waivers = Waiver::all(policy)?;
        for build in self.builds.values_mut() {
            let (plugin, digest) = (&build.artifact.plugin_id, &build.artifact.artifact_digest);
            let own = waivers
                .iter()
                .filter(|waiver| waiver.exception.is_about(plugin, digest));
            build.turns.extend(ends(own));
            // A draft takes the place of every manifest, which the other side is judged by.
            build.turns.extend(manifest_turns(build.artifact, None));
        }
        Ok(self)
    }

    /// What `who` is judged by at the moment `at`; `None` where the build is not on record.
    pub(crate) fn terms(&self, who: &Who, at: Timestamp) -> Option<Terms<'_>> {
        let run = self.run(who.run_id);
        Some(Terms {
            data_class: run.and_then(|run| run.data_class.as_ref()),
            ..self.build(who)?.terms(at)
        })
    }

    /// What the build with this digest is judged by at the moment `at`, whoever runs it.
    pub(crate) fn terms_of(&self, digest: &ArtifactDigest, at: Timestamp) -> Option<Terms<'_>> {
        Some(self.build_of(digest)?.terms(at))
    }

    /// By what the policy lets pass something of `who` that is about no destination.
    pub(crate) fn excuse(&self, who: &Who, reason: Reason, at: Timestamp) -> Option<&Waiver> {
        self.build(who)?.terms(at).excuse(reason)
    }

    /// Everything that `who` was judged by from `first` to `last`, in its order; nothing where the build is
    /// not on record.
    pub(crate) fn all_terms(
        &self,
        who: &Who,
        first: Timestamp,
        last: Timestamp,
    ) -> impl Iterator<Item = Terms<'_>> {
        let moments = self.build(who).map(|build| build.turns.moments(first, last));
        moments
            .into_iter()
            .flatten()
            .filter_map(move |at| self.terms(who, at))
    }

    /// Between which turns of its build `who` was seen from `first` to `last`.
    pub(crate) fn passage(&self, who: &Who, first: Timestamp, last: Timestamp) -> Passage {
        self.build(who)
            .map_or_else(Passage::default, |build| build.turns.passage(first, last))
    }
}

/// When declarations and approvals run out and manifests take one another's place.
fn manifest_turns<'m>(
    artifact: &'m Artifact,
    draft: Option<&'m Manifest>,
) -> impl Iterator<Item = Timestamp> + 'm {
    let replaced = artifact.earlier.iter().map(|earlier| earlier.until);
    let manifests = artifact.earlier.iter().map(|earlier| &earlier.manifest);
    let declared = manifests
        .chain(std::iter::once(&artifact.manifest))
        .chain(draft)
        .flat_map(|manifest| &manifest.allowed_egress);
    let approved = artifact.earlier.iter().map(|earlier| earlier.approved_until);
    let approved = approved.chain(std::iter::once(artifact.approved_until)).flatten();
    replaced
        .chain(declared.filter_map(|declaration| declaration.expires))
        .chain(approved)
}

/// When exceptions run out.
fn ends<'w>(waivers: impl IntoIterator<Item = &'w Waiver>) -> impl Iterator<Item = Timestamp> {
    waivers.into_iter().map(|waiver| waiver.exception.until)
}

fn in_force<'a>(artifact: &'a Artifact, draft: Option<&'a Manifest>) -> Vec<InForce<'a>> {
    let in_force = |until, manifest, approved_until| InForce {
        until,
        manifest,
        drift: inside::drift(manifest, &artifact.components),
        approved_until,
    };
    match draft {
        // Nobody approved a draft, and it is not asked what would be approved.
        Some(draft) => vec![in_force(None, draft, None)],
        None => artifact
            .earlier
            .iter()
            .map(|earlier| in_force(Some(earlier.until), &earlier.manifest, earlier.approved_until))
            .chain(std::iter::once(in_force(
                None,
                &artifact.manifest,
                artifact.approved_until,
            )))
            .collect(),
    }
}

impl<'a> Build<'a> {
    /// The manifest in force at the moment `at`.
    pub(crate) fn manifest(&self, at: Timestamp) -> &'a Manifest {
        self.in_force_at(at).manifest
    }

    fn in_force_at(&self, at: Timestamp) -> &InForce<'a> {
        let stands = |in_force: &&InForce<'_>| in_force.until.is_none_or(|until| at < until);
        self.in_force
            .iter()
            .find(stands)
            .expect("the last manifest of a build stands for good")
    }

    fn terms(&self, at: Timestamp) -> Terms<'_> {
        let in_force = self.in_force_at(at);
        Terms {
            at,
            manifest: in_force.manifest,
            data_class: None,
            waivers: &self.waivers,
            drift: &in_force.drift,
            lapsed: in_force
                .approved_until
                .filter(|until| *until <= at)
                .map(|until| Lapsed {
                    at: until,
                    required: self.approval_required,
                }),
        }
    }

    /// When what its runs are judged by changes.
    pub(crate) const fn turns(&self) -> &Turns {
        &self.turns
    }

    /// What the policy lets pass of this build.
    pub(crate) fn waivers(&self) -> &[Waiver] {
        &self.waivers
    }
}
