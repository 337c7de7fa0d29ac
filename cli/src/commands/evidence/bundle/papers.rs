//! Papers: what was signed about a plugin, from the registry and from the files beside it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use base::{PolicyException, Timestamp};
use control::api::types::{
    ArtifactDetail, ArtifactView, MailList, MailView, PluginView, ReportList, ReportView,
};
use control::policy::{PolicyInForce, exception_words};
use control::report_files::{bundle_file, read_bundle};
use reports::OpenedReport;
use reports::bundle::{About, Build, Contents, signers};
use seal::exception::SignedException;
use seal::trust::TrustRoot;
use serde::Serialize;

use crate::client::Client;
use crate::config::Config;
use crate::exit::Refused;
use crate::{files, list_file};

/// As many as the registry lists.
const MAX_LISTED: u32 = 1000;
/// Letters about a report are queued at once; an hour is for a night that takes its time.
const LETTERS_S: i64 = 3600;

/// What was signed about a plugin in some time.
pub struct Papers {
    builds: Vec<Build>,
    reports: Vec<(Vec<u8>, OpenedReport)>,
    notifications: Vec<u8>,
    crl_head: Vec<u8>,
    crl_body: Vec<u8>,
    trust_root: Vec<u8>,
    policy: PolicyInForce,
}

/// One letter, as the bundle tells it.
#[derive(Serialize)]
struct Letter<'a> {
    message_id: &'a str,
    queued_at: Timestamp,
    sent_at: Option<Timestamp>,
    state: control::words::MailState,
    subject: &'a str,
    to: &'a str,
}

impl Papers {
    /// Gathers the papers of what the bundle is about.
    ///
    /// # Errors
    /// The plugin is not known, a document cannot be read, or a report does not verify.
    pub async fn gather(
        client: &Client,
        config: &Config,
        trust: &TrustRoot,
        about: &About,
    ) -> anyhow::Result<Self> {
        let plugin: PluginView = client.get(&format!("/v1/plugins/{}", about.plugin_id)).await?;
        let mut builds = Vec::new();
        for artifact in plugin.artifacts.iter().filter(|a| a.created_at < about.period.to) {
            builds.push(build(client, artifact).await?);
        }
        builds.sort_by_key(|build| build.artifact_digest);
        let path = format!("/v1/reports?plugin_id={}&limit={MAX_LISTED}", about.plugin_id);
        let listed: ReportList = client.get(&path).await?;
        let concerned: Vec<ReportView> = listed
            .reports
            .into_iter()
            .filter(|report| {
                report.run_id == about.run_id
                    && report.to > about.period.from
                    && report.from < about.period.to
            })
            .collect();
        let mut reports = Vec::new();
        for view in &concerned {
            reports.push(report(view, trust)?);
        }
        reports.sort_by_key(|(_, opened)| (opened.report.period.to, opened.report.artifact_digest));
        let mails: MailList = client.get(&format!("/v1/mails?limit={MAX_LISTED}")).await?;
        let head = config.data_dir().join("crl").join(crl::HEAD_FILE);
        let list = list_file::accept(&head, trust, Some(&config.file.site), None)?;
        let root_path = config.trust_root_path();
        let policy = crate::commands::policy::in_force(config)?;
        Ok(Self {
            notifications: notifications(&mails.mails, about, &concerned)?,
            builds,
            reports,
            crl_head: list.head().to_vec(),
            crl_body: list.body().to_vec(),
            trust_root: files::read_limited(&root_path, base::json::MAX_BYTES)
                .with_context(|| format!("cannot read trust root {}", root_path.display()))?,
            policy,
        })
    }

    /// The entries of log `origin` that the reports cite.
    pub fn cited(&self, origin: &str) -> BTreeSet<u64> {
        self.reports
            .iter()
            .flat_map(|(_, opened)| &opened.report.findings)
            .flat_map(|finding| &finding.events)
            .filter(|event| event.origin == origin)
            .map(|event| event.index)
            .collect()
    }

    /// Hands the papers over.
    ///
    /// # Errors
    /// The policy has no canonical form.
    pub fn put_into(self, contents: &mut Contents, trust: &TrustRoot, about: &About) -> anyhow::Result<()> {
        contents.builds = self.builds;
        contents.reports = self.reports.into_iter().map(|(bytes, _)| bytes).collect();
        contents.notifications = self.notifications;
        contents.crl_head = self.crl_head;
        contents.crl_body = self.crl_body;
        contents.trust_root = self.trust_root;
        contents.policy = base::json::canonical(&self.policy.policy)?;
        contents.policy_signature = self.policy.signature.unwrap_or_default();
        // What the policy lets pass of this plugin, whether or not it did in that time.
        let own = |exception: &SignedException| {
            let concerned = |known: &&PolicyException| known.plugin_id == about.plugin_id;
            let mut known = self.policy.policy.exceptions.iter().filter(concerned);
            known.any(|known| exception_words(known) == exception.words)
        };
        contents.exceptions = self
            .policy
            .exceptions
            .iter()
            .filter(|one| own(one))
            .cloned()
            .collect();
        contents.keys = signers(Vec::new(), contents.papers(), trust);
        Ok(())
    }
}

async fn build(client: &Client, artifact: &ArtifactView) -> anyhow::Result<Build> {
    let detail: ArtifactDetail = client
        .get(&format!("/v1/artifacts/{}", artifact.artifact_digest))
        .await?;
    Ok(Build {
        artifact_digest: artifact.artifact_digest,
        artifact_name: artifact.file_name.clone(),
        manifest: detail.manifest_bundle.0,
        earlier: Vec::new(),
        approvals: detail
            .approval_bundle
            .into_iter()
            .map(|bundle| bundle.0)
            .collect(),
    })
}

fn report(view: &ReportView, trust: &TrustRoot) -> anyhow::Result<(Vec<u8>, OpenedReport)> {
    let folder = Path::new(&view.folder);
    let path = bundle_file(folder, view.line);
    let bytes = read_bundle(folder, view.line, &view.report_id)
        .with_context(|| format!("cannot read report {}", path.display()))?;
    let opened = reports::open_report(&bytes, trust).map_err(|error| Refused {
        code: "not_verified".to_owned(),
        message: format!("{}: {error}", path.display()),
    })?;
    Ok((bytes, opened))
}

/// Who was told what and when: letters that name the plugin, from that time or about these reports.
fn notifications(mails: &[MailView], about: &About, reports: &[ReportView]) -> anyhow::Result<Vec<u8>> {
    let is_of_time = |at: Timestamp| {
        let in_period = about.period.from <= at && at < about.period.to;
        let about_report =
            |report: &ReportView| report.created_at <= at && at <= report.created_at.plus_seconds(LETTERS_S);
        in_period || reports.iter().any(about_report)
    };
    let mut letters: Vec<&MailView> = mails
        .iter()
        .filter(|mail| names(&mail.subject, about.plugin_id.as_str()) && is_of_time(mail.created_at))
        .collect();
    letters.sort_by_key(|mail| (mail.created_at, mail.mail_id));
    let mut lines = Vec::new();
    for mail in letters {
        lines.extend(base::json::canonical(&Letter {
            message_id: &mail.message_id,
            queued_at: mail.created_at,
            sent_at: mail.sent_at,
            state: mail.state,
            subject: &mail.subject,
            to: &mail.to,
        })?);
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Whether a subject names exactly this plugin.
fn names(subject: &str, plugin: &str) -> bool {
    subject
        .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
        .any(|word| word == plugin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_about_another_plugin_is_not_told() {
        assert!(names(
            "[acme] breach by acme.weather (tier high): paste",
            "acme.weather"
        ));
        assert!(names("[acme] acme.weather: undeclared host", "acme.weather"));
        assert!(!names("[acme] acme.weather-2: undeclared host", "acme.weather"));
        assert!(!names("[acme] the night", "acme.weather"));
    }
}
