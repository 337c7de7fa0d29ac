//! What there is, and how old everything is.

use base::{ArtifactDigest, PluginId};

use super::admission::unknown_plugin;
use super::names::check_who;
use super::{Office, OfficeError, act};
use crate::api::types::{
    ActList, ActQuery, ArtifactDetail, ArtifactView, Base64Bytes, CrlStatus, MailList, MailQuery, MailView,
    NightView, PluginList, PluginView, RunView, SentAgain, StatusView, Target,
};
use crate::policy::PolicyInForce;
use crate::store::{ArtifactRecord, PluginRecord, RunFilter};
use crate::words::{Action, MailState};

/// Rows listed unless asked otherwise, and at most.
pub(super) const LISTED: u32 = 100;
pub(super) const MAX_LISTED: u32 = 10_000;

impl Office {
    /// All plugins with their artifacts.
    ///
    /// # Errors
    /// [`OfficeError::Store`] or [`OfficeError::Policy`].
    pub async fn plugins(&self) -> Result<PluginList, OfficeError> {
        let policy = self.policy().await?;
        let mut plugins = Vec::new();
        for record in self.inner.store.plugins().await? {
            plugins.push(self.plugin_view(record, &policy).await?);
        }
        Ok(PluginList { plugins })
    }

    /// One plugin with its artifacts.
    ///
    /// # Errors
    /// [`OfficeError::Unknown`], or as [`Office::plugins`].
    pub async fn plugin(&self, plugin_id: &PluginId) -> Result<PluginView, OfficeError> {
        let record = self.inner.store.plugin(plugin_id.clone()).await?;
        let record = record.ok_or_else(|| unknown_plugin(plugin_id))?;
        self.plugin_view(record, &self.policy().await?).await
    }

    async fn plugin_view(
        &self,
        record: PluginRecord,
        policy: &PolicyInForce,
    ) -> Result<PluginView, OfficeError> {
        let tier = record.tier.unwrap_or(policy.policy.default_tier);
        let artifacts = self.inner.store.artifacts(Some(record.plugin_id.clone())).await?;
        Ok(PluginView {
            tier,
            tier_chosen: record.tier.is_some(),
            plugin_id: record.plugin_id,
            owner_name: record.owner_name,
            owner_email: record.owner_email,
            created_at: record.created_at,
            artifacts: artifacts
                .iter()
                .map(|artifact| ArtifactView::new(artifact, tier))
                .collect(),
        })
    }

    /// One artifact with its documents.
    ///
    /// # Errors
    /// [`OfficeError::Unknown`] where it was never admitted.
    pub async fn artifact(&self, digest: ArtifactDigest) -> Result<ArtifactDetail, OfficeError> {
        let record = self.known_artifact(digest).await?;
        let tier = self.tier_of(&record.plugin_id, &self.policy().await?).await?;
        let now = self.now();
        let live = RunFilter {
            artifact_digest: Some(digest),
            live_from: Some(now),
            limit: Some(MAX_LISTED),
            ..RunFilter::default()
        };
        let live_runs = self.inner.store.runs(live).await?;
        Ok(ArtifactDetail {
            artifact: ArtifactView::new(&record, tier),
            manifest: base::json::parse(record.admission.manifest_json.as_bytes()).unwrap_or_default(),
            manifest_bundle: Base64Bytes(record.admission.manifest_bundle),
            approval_bundle: record.admission.approval_bundle.map(Base64Bytes),
            live_runs: live_runs.iter().map(|run| RunView::new(run, now)).collect(),
        })
    }

    pub(super) async fn known_artifact(&self, digest: ArtifactDigest) -> Result<ArtifactRecord, OfficeError> {
        let record = self.inner.store.artifact(digest).await?;
        record.ok_or_else(|| OfficeError::Unknown {
            what: "artifact",
            name: digest.to_string(),
            command: "plugins",
        })
    }

    /// The list in force, written out.
    pub fn list_view(&self) -> crl::ListView {
        crl::ListView::new(&self.list(), self.now())
    }

    /// Which entry decides about something, with everything that the registry knows of it.
    ///
    /// # Errors
    /// [`OfficeError::Store`].
    pub async fn why(&self, target: &Target) -> Result<crl::Why, OfficeError> {
        let accepted = self.list();
        let list = accepted.list();
        let digest = match target {
            Target::Plugin(plugin_id) => return Ok(list.why_plugin(plugin_id)),
            Target::Signer(fingerprint) => *fingerprint.sha256(),
            Target::Manifest(digest) => *digest,
            Target::Artifact(digest) => match self.inner.store.artifact(*digest).await? {
                Some(record) => {
                    return Ok(list.why_question(&crl::Question {
                        artifact: record.artifact_digest,
                        manifest: Some(record.admission.manifest_payload_sha256),
                        signer: Some(record.admission.signer),
                        plugin: &record.plugin_id,
                    }));
                }
                None => *digest.sha256(),
            },
        };
        Ok(list.why(&digest))
    }

    /// Letters in the outbox, the latest first.
    ///
    /// # Errors
    /// [`OfficeError::Store`].
    pub async fn mails(&self, query: MailQuery) -> Result<MailList, OfficeError> {
        let limit = query.limit.unwrap_or(LISTED).min(MAX_LISTED);
        let mails = self.inner.store.mails(query.state, limit).await?;
        Ok(MailList {
            mails: mails.into_iter().map(MailView::from).collect(),
        })
    }

    /// Puts a dead letter back into the outbox.
    ///
    /// # Errors
    /// [`OfficeError::Unknown`] where there is no such dead letter.
    pub async fn mail_again(&self, mail_id: i64, who: &str) -> Result<MailList, OfficeError> {
        check_who(who)?;
        let act = act(self.now(), who, Action::MailAgain, mail_id, None);
        if !self.inner.store.send_again(mail_id, self.now(), act).await? {
            return Err(OfficeError::Unknown {
                what: "dead letter",
                name: mail_id.to_string(),
                command: "status",
            });
        }
        self.mails(MailQuery {
            state: Some(MailState::Queued),
            limit: None,
        })
        .await
    }

    /// Puts every dead letter back into the outbox, and every webhook that was given up into its queue.
    ///
    /// # Errors
    /// [`OfficeError::Store`]; what was put back until then stays so.
    pub async fn all_again(&self, who: &str) -> Result<SentAgain, OfficeError> {
        check_who(who)?;
        let store = &self.inner.store;
        let mut mails = 0;
        for dead in store.mails(Some(MailState::Dead), MAX_LISTED).await? {
            let act = act(self.now(), who, Action::MailAgain, dead.mail_id, None);
            mails += u64::from(store.send_again(dead.mail_id, self.now(), act).await?);
        }
        let webhooks = store.hooks_again(self.now(), who.to_owned()).await?;
        Ok(SentAgain { mails, webhooks })
    }

    /// The acts, the latest first.
    ///
    /// # Errors
    /// [`OfficeError::Store`].
    pub async fn acts(&self, query: ActQuery) -> Result<ActList, OfficeError> {
        let limit = query.limit.unwrap_or(LISTED).min(MAX_LISTED);
        Ok(ActList {
            acts: self.inner.store.acts(limit).await?,
        })
    }

    /// What is running and how old everything is.
    ///
    /// # Errors
    /// [`OfficeError::Store`].
    pub async fn status(&self) -> Result<StatusView, OfficeError> {
        let now = self.now();
        let counts = self.inner.store.counts(now).await?;
        let hooks = self.inner.store.hook_counts().await?;
        let facts = self.facts();
        Ok(StatusView {
            site: self.inner.settings.site.clone(),
            now,
            safe_mode: self.safe_mode().await?,
            policy_version: facts.policy.policy.version,
            trust_root_version: facts.trust.version,
            trust_root_expires: facts.trust.expires,
            crl: self.crl_status(),
            plugins: counts.plugins,
            artifacts: StatusView::states(&counts),
            live_runs: counts.live_runs,
            reports: counts.reports,
            mails_queued: counts.mails_queued,
            mails_dead: counts.mails_dead,
            webhooks_queued: hooks.0,
            webhooks_dead: hooks.1,
            last_audited_to: self.inner.store.last_audited_to().await?,
            last_night: self.inner.store.latest_night().await?.map(NightView::from),
            gateways: self.gateways().await,
        })
    }

    fn crl_status(&self) -> CrlStatus {
        let accepted = self.list();
        let list = accepted.list();
        let head = list.head();
        CrlStatus {
            crl_number: list.crl_number(),
            this_update: head.this_update,
            next_update: head.next_update,
            stale: !list.freshness(self.now()).is_fresh(),
            entries: head.entries,
            kill_switch: match list.kill_switch() {
                crl::KillSwitch::Off => Vec::new(),
                crl::KillSwitch::Everything => vec!["*".to_owned()],
                crl::KillSwitch::Plugins(plugins) => plugins.iter().map(ToString::to_string).collect(),
            },
        }
    }

    /// What keeps the site from being ready, or nothing.
    pub async fn unready(&self) -> Option<String> {
        if let Err(error) = self.inner.store.counts(self.now()).await {
            return Some(crate::error_line(&error));
        }
        let list = self.list();
        if !list.list().freshness(self.now()).is_fresh() {
            return Some(format!(
                "revocation list {} is past its time",
                list.list().crl_number()
            ));
        }
        let gateways = self.gateways().await;
        let waiting = gateways.iter().find(|gateway| !gateway.ready)?;
        Some(format!("gateway {} is not ready", waiting.name))
    }
}
