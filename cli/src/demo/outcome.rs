//! Outcomes: what the demo came to, and the stock commands that check it.

use std::path::{Path, PathBuf};

use base::{ArtifactDigest, ArtifactState, PluginId, Tier, Verdict};
use control::api::types::{AuditSummary, AuditedReport, FindingLine, ListPublished, PluginList};
use serde::Serialize;

use super::sink::Received;
use super::stage::{Build, Stage};

/// What the demo came to; also what `--format json` prints.
#[derive(Serialize)]
pub(super) struct Outcome {
    plugins: Vec<PluginOutcome>,
    crl: CrlOutcome,
    kill: KillOutcome,
    mails: Vec<MailOutcome>,
    dir: PathBuf,
    site: PathBuf,
}

#[derive(Serialize)]
struct PluginOutcome {
    plugin_id: PluginId,
    artifact_digest: ArtifactDigest,
    tier: Tier,
    state: ArtifactState,
    verdict: Option<Verdict>,
    report: Option<PathBuf>,
    findings: Vec<FindingLine>,
}

#[derive(Serialize)]
struct CrlOutcome {
    crl_number: u64,
    path: PathBuf,
}

#[derive(Serialize)]
struct KillOutcome {
    tunnels: u64,
    ms: f64,
}

#[derive(Serialize)]
struct MailOutcome {
    to: Vec<String>,
    subject: String,
    file: PathBuf,
}

impl Stage {
    pub(super) fn outcome(
        &self,
        plugins: &PluginList,
        summary: &AuditSummary,
        cut: &ListPublished,
        mails: Vec<Received>,
    ) -> Outcome {
        let artifacts = plugins.plugins.iter().flat_map(|plugin| &plugin.artifacts);
        let plugins = artifacts.filter_map(|artifact| {
            let about = |report: &&AuditedReport| {
                report.artifact_digest == Some(artifact.artifact_digest) && report.run_id.is_none()
            };
            // A build that the night has not seen yet has no verdict, and none is made up.
            let report = summary.reports.iter().find(about)?;
            Some(PluginOutcome {
                plugin_id: artifact.plugin_id.clone(),
                artifact_digest: artifact.artifact_digest,
                tier: artifact.tier,
                state: artifact.state,
                verdict: Some(report.verdict),
                report: report
                    .folder
                    .as_ref()
                    .map(|folder| Path::new(folder).join(auditor::BUNDLE_NAME)),
                findings: report.findings.clone(),
            })
        });
        let mail = |mail: Received| MailOutcome {
            to: mail.to,
            subject: mail.subject,
            file: mail.file,
        };
        Outcome {
            plugins: plugins.collect(),
            crl: CrlOutcome {
                crl_number: cut.crl_number,
                path: self.config.data_dir().join("crl").join(crl::HEAD_FILE),
            },
            kill: KillOutcome {
                tunnels: cut.tunnels,
                ms: cut.ms,
            },
            mails: mails.into_iter().map(mail).collect(),
            dir: self.dir.clone(),
            site: self.dir.join("site"),
        }
    }

    /// The stock commands that check the manifest, the report and the list of this very run.
    pub(super) fn commands(&self, outcome: &Outcome, build: &Build) -> Vec<(String, String)> {
        let cosign = |bundle: &Path, key: &Path, kind: seal::PredicateType, file: &Path| {
            format!(
                "cosign verify-blob-attestation --bundle {} \\\n  --key {} --insecure-ignore-tlog \\\n  --type {} {}",
                bundle.display(),
                key.display(),
                kind.uri(),
                file.display()
            )
        };
        let keys = self.config.keys_dir();
        let mut commands = vec![(
            "The owner's manifest".to_owned(),
            cosign(
                &build.manifest_bundle,
                &build.owner_public,
                seal::PredicateType::PluginManifest,
                &build.artifact,
            ),
        )];
        let breach = outcome
            .plugins
            .iter()
            .find(|plugin| plugin.artifact_digest == build.digest);
        if let Some(report) = breach.and_then(|plugin| plugin.report.as_deref()) {
            commands.push((
                "The auditor's report".to_owned(),
                cosign(
                    report,
                    &keys.join("auditor.pub"),
                    seal::PredicateType::ConformanceReport,
                    &build.artifact,
                ),
            ));
            commands.push((
                "The report, to read".to_owned(),
                report.with_file_name("report.html").display().to_string(),
            ));
            commands.push((
                "The same signature with openssl and jq alone".to_owned(),
                openssl(report, &keys.join("auditor.pub")),
            ));
        }
        let body = outcome
            .crl
            .path
            .with_file_name(crl::body_file(outcome.crl.crl_number));
        commands.push((
            "The revocation list".to_owned(),
            cosign(
                &outcome.crl.path,
                &keys.join("crl.pub"),
                seal::PredicateType::Crl,
                &body,
            ),
        ));
        commands.push((
            "The evidence log".to_owned(),
            format!(
                "bailiwick --config {} evidence verify",
                self.config.path.display()
            ),
        ));
        commands
    }
}

/// DSSE's pre-authentication encoding by hand, then a plain Ed25519 verification.
fn openssl(bundle: &Path, key: &Path) -> String {
    format!(
        "jq -j .dsseEnvelope.payload {b} | base64 -d > payload\n\
         jq -j '.dsseEnvelope.signatures[0].sig' {b} | base64 -d > sig\n\
         printf 'DSSEv1 28 application/vnd.in-toto+json %d ' \"$(wc -c < payload)\" | cat - payload > pae\n\
         openssl pkeyutl -verify -pubin -inkey {k} -rawin -in pae -sigfile sig",
        b = bundle.display(),
        k = key.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pre_authentication_encoding_names_the_length_of_the_payload_type() {
        let command = openssl(Path::new("b"), Path::new("k"));
        let payload_type = seal::envelope::PAYLOAD_TYPE;
        assert!(command.contains(&format!("DSSEv1 {} {payload_type} %d ", payload_type.len())));
    }
}
