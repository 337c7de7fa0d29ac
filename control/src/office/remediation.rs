//! Remediation: a build that mends a finding comes in on a lane of its own.
//!
//! The fast lane is for a build whose permissions grow by nothing but what the findings of that report
//! went to. Whatever grows beyond that, or in another field, is what approvals are for: such a build
//! comes in with the certifier's approval, or without claiming to mend anything.

use base::{ArtifactDigest, Target};
use manifests::Manifest;
use manifests::diff::{Difference, diff};
use manifests::egress::Entry;
use reports::predicate::FindingId;

use super::appeals::FoundFinding;
use super::{Office, OfficeError};
use crate::api::types::{MendsView, RemediationList, RemediationView};
use crate::store::NewRemediation;
use crate::words::Lane;

/// Fields that say which build this is, and not what it may do.
const NAMES_THE_BUILD: [&str; 9] = [
    "version",
    "artifact_digest",
    "built_at",
    "built_by",
    "sbom",
    "provenance",
    "owner",
    "manifest_version",
    "egress_grammar",
];

/// What a new build mends, before it is registered.
pub(super) struct Mends {
    new: NewRemediation,
    view: MendsView,
}

impl Mends {
    pub(super) fn into_parts(self) -> (NewRemediation, MendsView) {
        (self.new, self.view)
    }
}

impl Office {
    /// Links a build that passed the gate to the finding that it claims to mend, and chooses its lane.
    ///
    /// # Errors
    /// [`OfficeError::Unknown`] where the plugin has no such finding, [`OfficeError::Request`] where the
    /// build is the very one that was found, or needs an approval that it does not have.
    pub(super) async fn mends(
        &self,
        finding_id: &FindingId,
        digest: ArtifactDigest,
        manifest: &Manifest,
        is_approved: bool,
    ) -> Result<Mends, OfficeError> {
        let found = self.finding(finding_id, Some(&manifest.plugin_id)).await?;
        if found.report.artifact_digest == digest {
            return Err(OfficeError::Request {
                what: "this is the very build that the finding is about; a build that mends it has another digest"
                    .to_owned(),
            });
        }
        let before = self.known_artifact(found.report.artifact_digest).await?;
        let before = Manifest::parse(before.admission.manifest_json.as_bytes()).map_err(|error| {
            OfficeError::Request {
                what: format!("the manifest of the build that was found cannot be read: {error}"),
            }
        })?;
        let difference = diff(&before, manifest);
        let lane = lane(&difference, &found);
        if lane == Lane::Ordinary && !is_approved {
            return Err(OfficeError::Request {
                what: format!(
                    "this build is allowed more than finding {finding_id} needs ({}); have it approved (bailiwick approve), or admit it without --mends",
                    one_line(&difference)
                ),
            });
        }
        let finding = found.finding(finding_id);
        let covers_it = match (&finding.host, finding.port) {
            (Some(host), Some(port)) => {
                let target = Target {
                    host: host.clone(),
                    port,
                };
                manifest
                    .allowed_egress
                    .iter()
                    .any(|declaration| declaration.entry.covers(&target, finding.scheme))
            }
            _ => false,
        };
        let key = serde_json::json!({
            "reason": finding.reason, "host": finding.host, "port": finding.port, "scheme": finding.scheme,
            "origin": finding.origin,
        });
        let title = found.title(finding_id);
        let text = if difference.is_empty() {
            "the same permissions".to_owned()
        } else {
            difference.to_string()
        };
        Ok(Mends {
            view: MendsView {
                finding_id: finding_id.to_string(),
                finding: title.clone(),
                mends_digest: found.report.artifact_digest,
                lane,
                declares_it: covers_it,
                difference: text.clone(),
            },
            new: NewRemediation {
                plugin_id: manifest.plugin_id.clone(),
                finding_id: finding_id.to_string(),
                report_id: found.record.report_id,
                finding: title,
                finding_key: key.to_string(),
                mends_digest: found.report.artifact_digest,
                artifact_digest: digest,
                lane,
                difference: text,
            },
        })
    }

    /// All remediations, or the open ones, the latest first.
    ///
    /// # Errors
    /// [`OfficeError::Store`].
    pub async fn remediations(&self, open_only: bool) -> Result<RemediationList, OfficeError> {
        let remediations = self.inner.store.remediations(open_only).await?;
        Ok(RemediationList {
            remediations: remediations.into_iter().map(RemediationView::from).collect(),
        })
    }
}

/// Fast where nothing grows but what the report's findings went to.
fn lane(difference: &Difference, found: &FoundFinding) -> Lane {
    let needed: Vec<Entry> = found
        .report
        .findings
        .iter()
        .filter_map(|finding| {
            let target = Target {
                host: finding.host.clone()?,
                port: finding.port?,
            };
            Some(Entry::for_observation(&target, finding.scheme))
        })
        .collect();
    let is_needed = |entry: &Entry| needed.iter().any(|needed| needed.includes(entry));
    let grows_as_needed = difference
        .added
        .iter()
        .chain(&difference.widened)
        .flat_map(|change| &change.reach)
        .all(is_needed);
    let terms_stay = !difference.terms.iter().any(|term| term.widens);
    let fields_stay = difference
        .fields
        .iter()
        .all(|change| NAMES_THE_BUILD.contains(&change.field.as_str()));
    if grows_as_needed && terms_stay && fields_stay {
        Lane::Fast
    } else {
        Lane::Ordinary
    }
}

fn one_line(difference: &Difference) -> String {
    let text = difference.to_string();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    base::escape_untrusted(line.as_bytes(), 300)
}
