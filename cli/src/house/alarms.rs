//! Alarms: the first undeclared destination of a build is told to people at once.

use control::outbox::{self, Letter};
use reports::mail::{self, Reader, Sighting};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::nights::HouseNights;
use super::rulings::Sight;
use crate::clock;

/// A build is alarmed about once within this time, also across restarts.
const ALARM_EVERY_S: i64 = 24 * 3600;

impl HouseNights {
    /// Writes about what is seen until stopped.
    pub async fn raise_alarms(
        self: std::sync::Arc<Self>,
        mut sights: mpsc::Receiver<Sight>,
        stop: CancellationToken,
    ) {
        loop {
            let sight = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                sight = sights.recv() => sight,
            };
            let Some(sight) = sight else {
                return;
            };
            if let Err(error) = self.raise_alarm(sight).await {
                tracing::error!(error = %format!("{error:#}"), "an alarm was not written; the night's report tells");
            }
        }
    }

    async fn raise_alarm(&self, sight: Sight) -> anyhow::Result<()> {
        let now = clock::now();
        let digest = sight.identity.artifact_digest;
        let topic = mail::alarm_topic(&digest);
        let store = self.office().store();
        let last = store.last_letter_about(topic.clone()).await?;
        if last.is_some_and(|last| last.plus_seconds(ALARM_EVERY_S) > now) {
            return Ok(());
        }
        let Some(sighting) = self.sighting(&sight).await? else {
            return Ok(());
        };
        self.tell_hook(
            &format!("sight-{}-{}", sight.identity.run_id, sight.at.unix_s()),
            "plugin.first_sight",
            sight.at,
            json!({
                "plugin_id": sighting.plugin_id,
                "artifact_digest": digest,
                "run_id": sighting.run_id,
                "tier": sighting.tier,
                "host": sighting.target.host,
                "port": sighting.target.port,
                "decision": sighting.decision,
                "at": sighting.at,
                "log": sighting.origin,
            }),
        )
        .await?;
        let Some(readers) = self.readers() else {
            return Ok(());
        };
        let owner = self.owner_of(&sighting.plugin_id).await?;
        let mut mails = Vec::new();
        if let Some(owner) = owner {
            mails.push(mail::alarm(&sighting, Reader::Owner, &readers.from, &[owner]));
        }
        mails.push(mail::alarm(
            &sighting,
            Reader::Security,
            &readers.from,
            &readers.security,
        ));
        let letters: Vec<Letter> = mails
            .iter()
            .map(|mail| Letter {
                topic: Some(topic.clone()),
                ..Letter::from_mail(mail, now)
            })
            .collect();
        outbox::queue(store, &letters, now).await?;
        self.ring();
        Ok(())
    }

    async fn sighting(&self, sight: &Sight) -> anyhow::Result<Option<Sighting>> {
        let office = self.office();
        let digest = sight.identity.artifact_digest;
        let Some(artifact) = office.store().artifact(digest).await? else {
            return Ok(None);
        };
        let plugin = office.store().plugin(artifact.plugin_id.clone()).await?;
        let site = office.settings().site.clone();
        Ok(Some(Sighting {
            artifact_name: artifact.file_name,
            run_id: sight.identity.run_id,
            tier: plugin
                .as_ref()
                .and_then(|plugin| plugin.tier)
                .unwrap_or(office.policy().await?.policy.default_tier),
            target: sight.target.clone(),
            decision: sight.decision,
            at: sight.at,
            origin: self.origin(),
            owner: plugin.and_then(|plugin| plugin.owner_name),
            security_contact: self.security_contact(),
            plugin_id: artifact.plugin_id,
            artifact_digest: digest,
            site,
        }))
    }
}
