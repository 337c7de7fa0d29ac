//! Contacts: whether anybody reads where owners are written to.

use base::{PluginId, Sha256Digest, Timestamp};
use control::nights::NightFailure;
use control::outbox::{self, Letter};
use control::store::{Act, ContactRecord};
use control::words::Action;
use reports::mail::{self, Address};

use super::{HouseNights, Readers};
use crate::{clock, random};

/// How long somebody may take to send a token back before the night mentions it.
const PATIENCE_S: i64 = 7 * 24 * 3600;

impl HouseNights {
    /// Who is written to, where the configuration has a `[mail]` section.
    pub(in crate::house) fn readers(&self) -> Option<&Readers> {
        self.readers.as_ref()
    }

    /// Wakes the postman.
    pub(in crate::house) fn ring(&self) {
        self.bell.notify_one();
    }

    /// The name of this gateway's log.
    pub(in crate::house) fn origin(&self) -> String {
        format!("{}/{}", self.config.file.site, self.config.file.gateway.name)
    }

    /// The plugin's owner's address, where its manifest states one that is one.
    pub(in crate::house) async fn owner_of(&self, plugin_id: &PluginId) -> anyhow::Result<Option<Address>> {
        let plugin = self.office().store().plugin(plugin_id.clone()).await?;
        Ok(plugin
            .and_then(|plugin| plugin.owner_email)
            .and_then(|email| email.parse().ok()))
    }

    /// Owners who cannot be reached, one line each: nobody named, nobody there, nobody answering.
    pub(super) async fn unreachable_owners(&self, now: Timestamp) -> anyhow::Result<Vec<String>> {
        let store = self.office().store();
        let contacts = store.contacts().await?;
        let mut lines = Vec::new();
        for plugin in store.plugins().await? {
            let artifacts = store.artifacts(Some(plugin.plugin_id.clone())).await?;
            if !artifacts.iter().any(|artifact| artifact.state.may_run()) {
                continue;
            }
            let address = plugin
                .owner_email
                .as_deref()
                .map(|email| email.parse::<Address>());
            let why = match address {
                None => Some("its manifest names no address".to_owned()),
                Some(Err(error)) => Some(error.to_string()),
                Some(Ok(address)) => contacts
                    .iter()
                    .find(|contact| contact.address == address.as_str())
                    .and_then(|contact| silence(contact, now)),
            };
            if let Some(why) = why {
                lines.push(format!(
                    "the owner of {} cannot be reached: {why}",
                    plugin.plugin_id
                ));
            }
        }
        Ok(lines)
    }

    /// Mails a token to `address` for its reader to send back, and gives the letter's Message-ID.
    pub(super) async fn ask(&self, address: &str, who: &str) -> anyhow::Result<Result<String, NightFailure>> {
        let Some(readers) = self.readers() else {
            let what = "the configuration has no [mail] section, so nobody can be asked".to_owned();
            return Ok(Err(NightFailure::Request { what }));
        };
        let to: Address = match address.parse() {
            Ok(to) => to,
            Err(error) => {
                let what = format!("{error}");
                return Ok(Err(NightFailure::Request { what }));
            }
        };
        let now = clock::now();
        // Read aloud and typed by people: hex, in groups.
        let token = control::contacts::token_text(&random::bytes::<16>());
        let site = &self.config.file.site;
        let letter = mail::contact_letter(site, &token, &self.security_contact(), &readers.from, &to);
        let letter = Letter::from_mail(&letter, now);
        let act = Act {
            at: now,
            who: who.to_owned(),
            action: Action::ContactAsked,
            target: to.to_string(),
            reason: None,
            note: None,
            clause: None,
            enabled_by: None,
            crl_number: None,
        };
        let store = self.office().store();
        store
            .ask_contact(to.to_string(), Sha256Digest::of(token.as_bytes()), now, act)
            .await?;
        let message_id = letter.message_id.clone();
        outbox::queue(store, &[letter], now).await?;
        self.ring();
        Ok(Ok(message_id))
    }
}

fn silence(contact: &ContactRecord, now: Timestamp) -> Option<String> {
    let address = &contact.address;
    if let (Some(at), why) = (
        contact.bounced_at,
        contact.bounce.as_deref().unwrap_or("no reason given"),
    ) {
        let why = base::escape_untrusted(why.as_bytes(), 200);
        return Some(format!("mail to {address} came back at {at} ({why})"));
    }
    let asked = contact.asked_at?;
    let unanswered = contact.verified_at.is_none_or(|verified| verified < asked);
    (unanswered && asked.plus_seconds(PATIENCE_S) <= now)
        .then(|| format!("{address} was asked at {asked} and nobody answered"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_us(1_790_000_000_000_000);

    fn contact() -> ContactRecord {
        ContactRecord {
            address: "owner@acme.example".into(),
            asked_at: None,
            verified_at: None,
            bounced_at: None,
            bounce: None,
        }
    }

    #[test]
    fn silence_is_told_after_a_week_and_a_bounce_at_once() {
        assert_eq!(silence(&contact(), NOW), None);
        let mut asked = contact();
        asked.asked_at = Some(NOW.plus_seconds(-3600));
        assert_eq!(silence(&asked, NOW), None);
        asked.asked_at = Some(NOW.plus_seconds(-PATIENCE_S));
        assert!(silence(&asked, NOW).unwrap().contains("nobody answered"));
        asked.verified_at = Some(NOW);
        assert_eq!(silence(&asked, NOW), None);
        let mut bounced = contact();
        bounced.bounced_at = Some(NOW);
        bounced.bounce = Some("550 5.1.1 no\nsuch user".into());
        let line = silence(&bounced, NOW).unwrap();
        assert!(line.contains("came back") && !line.contains('\n'), "{line}");
    }
}
