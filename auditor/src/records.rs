//! Records: what the site knows, read once and in one order, so that a night speaks of one moment.

use base::{ArtifactDigest, PluginId, Policy, Sha256Digest};
use reports::predicate::{CrlReference, Period, PolicyReference};
use seal::exception::SignedException;

use crate::night::{Auditor, NightError};
use crate::report::{Letterhead, digest_set};
use crate::site::{Artifact, CrlOnFile, Gateway, PolicyOnFile, Run, Site, SiteError};

/// What the site knows.
pub(crate) struct Records {
    /// By plugin and digest.
    pub(crate) artifacts: Vec<Artifact>,
    /// By plugin and digest.
    pub(crate) runs: Vec<Run>,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) policy: Policy,
    /// The policy in its canonical form.
    pub(crate) policy_text: Vec<u8>,
    /// The certifier's signature of the policy.
    pub(crate) policy_signature: Option<Vec<u8>>,
    /// The exceptions of the policy that two people signed.
    pub(crate) exceptions: Vec<SignedException>,
    pub(crate) crl: CrlOnFile,
}

impl Records {
    pub(crate) fn read(site: &dyn Site, period: Period) -> Result<Self, NightError> {
        let mut artifacts = site.artifacts(period).map_err(asked("the artifacts"))?;
        artifacts.sort_by(|a, b| (&a.plugin_id, a.artifact_digest).cmp(&(&b.plugin_id, b.artifact_digest)));
        let mut runs = site.runs(period).map_err(asked("the runs"))?;
        runs.sort_by(|a, b| a.order().cmp(&b.order()));
        let PolicyOnFile {
            policy,
            signature: policy_signature,
            exceptions,
        } = site.policy().map_err(asked("the policy"))?;
        policy.check()?;
        Ok(Self {
            artifacts,
            runs,
            gateways: site.gateways(period).map_err(asked("the gateways"))?,
            policy_text: base::json::canonical(&policy).expect("a policy is plain words and numbers"),
            policy,
            policy_signature,
            exceptions,
            crl: site.crl().map_err(asked("the revocation list"))?,
        })
    }

    /// The runs of one artifact.
    pub(crate) fn runs_of<'a>(
        &'a self,
        plugin_id: &'a PluginId,
        artifact_digest: &'a ArtifactDigest,
    ) -> impl Iterator<Item = &'a Run> {
        let own = (plugin_id, artifact_digest);
        let first = self.runs.partition_point(|run| run.order() < own);
        self.runs[first..]
            .iter()
            .take_while(move |run| run.order() == own)
    }

    /// Whether the artifact is on record.
    pub(crate) fn knows(&self, plugin_id: &PluginId, artifact_digest: &ArtifactDigest) -> bool {
        let own = (plugin_id, artifact_digest);
        let found = self
            .artifacts
            .binary_search_by(|on_record| (&on_record.plugin_id, &on_record.artifact_digest).cmp(&own));
        found.is_ok()
    }

    pub(crate) fn letterhead(&self, auditor: &Auditor) -> Letterhead {
        Letterhead {
            auditor: reports::predicate::Auditor {
                id: auditor.id.clone(),
                version: auditor.version.clone(),
            },
            policy: PolicyReference {
                version: self.policy.version,
                digest: digest_set(Sha256Digest::of(&self.policy_text)),
            },
            crl: CrlReference {
                crl_number: self.crl.crl_number,
                digest: digest_set(self.crl.head_payload),
            },
        }
    }
}

fn asked(what: &'static str) -> impl Fn(SiteError) -> NightError {
    move |source| NightError::Site { what, source }
}
