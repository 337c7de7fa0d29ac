//! The webhook: what happened, as JSON over HTTPS, signed, and tried again until somebody took it.
//!
//! Documents are queued in the registry as letters are, and travel in the form of the Standard
//! Webhooks specification: `webhook-id` tells a repetition from news, `webhook-timestamp` is the
//! moment of the attempt, and `webhook-signature` is `v1,` and the base64 of HMAC-SHA-256 over
//! `id.timestamp.body`. A receiver refuses timestamps that are minutes old, so a recording of one
//! attempt is worth nothing later.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use control::postman::{MAX_ATTEMPTS, wait_s};
use control::store::{HookRecord, MailFate, Store};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{Request, Uri, header};
use http_body_util::Full;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::{Config, WebhookConfig};
use crate::witness::Poster;

/// The longest nap between two looks into the queue.
const NAP: Duration = Duration::from_secs(30);
/// Documents taken at a time.
const BATCH: u32 = 20;
/// What the specification asks of a secret.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Where documents are posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookUrl {
    is_tls: bool,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

/// A text that is no such place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHookUrl {
    /// Not an address of that kind.
    #[error("a webhook is written https://host/path, without user or fragment")]
    Shape,
    /// Reports in plain text over a network.
    #[error("http:// is for webhooks on this machine; use https://")]
    PlainText,
}

impl FromStr for HookUrl {
    type Err = InvalidHookUrl;

    fn from_str(text: &str) -> Result<Self, InvalidHookUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidHookUrl::Shape)?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(InvalidHookUrl::Shape),
        };
        let authority = uri.authority().ok_or(InvalidHookUrl::Shape)?;
        if authority.as_str().contains('@') || text.contains('#') || authority.host().is_empty() {
            return Err(InvalidHookUrl::Shape);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if !is_tls && !is_here {
            return Err(InvalidHookUrl::PlainText);
        }
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.to_string(),
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The path may be a secret of the receiver's.
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

/// The secret that signs documents.
#[derive(Clone)]
struct Secret(Vec<u8>);

impl Secret {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {} (webhook.secret_file)", path.display()))?;
        let bytes = text
            .trim()
            .strip_prefix("whsec_")
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .filter(|bytes| SECRET_BYTES.contains(&bytes.len()));
        let bytes = bytes.with_context(|| {
            format!(
                "{} holds no secret; make one with: echo whsec_$(openssl rand -base64 32)",
                path.display()
            )
        })?;
        Ok(Self(bytes))
    }

    /// `webhook-signature` for one attempt.
    fn sign(&self, delivery_id: &str, unix_s: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(format!("{delivery_id}.{unix_s}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// Brings documents to the webhook.
pub struct Courier {
    url: HookUrl,
    secret: Secret,
    poster: Poster,
    store: Store,
}

impl Courier {
    /// A courier for the webhook that is configured.
    ///
    /// # Errors
    /// The secret cannot be used, or the authorities.
    pub fn new(config: &Config, webhook: &WebhookConfig, store: Store) -> anyhow::Result<Self> {
        let authorities = webhook.ca_file.as_ref().map(|file| config.resolve(file));
        Ok(Self {
            url: webhook.url.parse().context("webhook.url")?,
            secret: Secret::read(&config.resolve(&webhook.secret_file))?,
            poster: Poster::new(authorities.as_deref())?,
            store,
        })
    }

    /// Delivers for as long as the process lives; `bell` rings when something was queued.
    pub async fn run(self, bell: Arc<Notify>, stop: CancellationToken) {
        loop {
            let round = tokio::select! {
                biased;
                // What was under way is repeated by the next life, under the same id.
                () = stop.cancelled() => return,
                round = self.round() => round,
            };
            if let Err(error) = round {
                tracing::warn!(error = %format!("{error:#}"), webhook = %self.url, "webhook");
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = bell.notified() => {}
                () = tokio::time::sleep(NAP) => {}
            }
        }
    }

    /// Delivers whatever is due, in the order in which it happened.
    async fn round(&self) -> anyhow::Result<()> {
        loop {
            let due = self.store.due_hooks(clock::now(), BATCH).await?;
            if due.is_empty() {
                return Ok(());
            }
            for hook in due {
                let now = clock::now();
                let fate = self.deliver(&hook, now).await;
                self.store.settle_hook(hook.hook_id, now, fate).await?;
            }
        }
    }

    async fn deliver(&self, hook: &HookRecord, now: Timestamp) -> MailFate {
        let unix_s = now.unix_s();
        let request = Request::post(&self.url.path)
            .header(header::HOST, &self.url.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", &hook.delivery_id)
            .header("webhook-timestamp", unix_s)
            .header(
                "webhook-signature",
                self.secret.sign(&hook.delivery_id, unix_s, &hook.body),
            )
            .body(Full::new(Bytes::from(hook.body.clone())));
        let answer = match request {
            Ok(request) => {
                let url = &self.url;
                self.poster.send(url.is_tls, &url.host, url.port, request).await
            }
            Err(error) => Err(error.into()),
        };
        let error = match answer {
            Ok((200..=299, _)) => return MailFate::Sent,
            // The receiver wants no more of this (RFC 9110 §15.5.11).
            Ok((410, _)) => {
                return MailFate::Dead {
                    error: "the receiver answered 410 Gone".to_owned(),
                    unreachable: false,
                };
            }
            Ok((status, _)) => format!("the receiver answered {status}"),
            Err(error) => base::escape_untrusted(format!("{error:#}").as_bytes(), 400),
        };
        if hook.attempts + 1 >= MAX_ATTEMPTS {
            return MailFate::Dead {
                error,
                unreachable: false,
            };
        }
        MailFate::Later {
            at: now.plus_seconds(wait_s(hook.attempts + 1)),
            error,
            asked: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_https_or_on_this_machine() {
        let url: HookUrl = "https://hooks.example:8443/a/b?c=d".parse().unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.path.as_str()),
            ("hooks.example", 8443, "/a/b?c=d")
        );
        assert_eq!(url.to_string(), "https://hooks.example:8443");
        assert!("http://127.0.0.1:9/x".parse::<HookUrl>().is_ok());
        assert!("http://[::1]:9".parse::<HookUrl>().is_ok());
        assert_eq!(
            "http://hooks.example/".parse::<HookUrl>(),
            Err(InvalidHookUrl::PlainText)
        );
        for bad in [
            "",
            "hooks.example",
            "ftp://x/",
            "https://",
            "https://u:p@x/",
            "https://x/#y",
        ] {
            assert!(bad.parse::<HookUrl>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_signature_is_the_one_that_the_specification_prints() {
        // The example of the Standard Webhooks specification.
        let secret = Secret(STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        let signed = secret.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_long_enough_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (text, good) in [
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", true),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", false),
            ("whsec_c2hvcnQ=", false),
            ("whsec_!", false),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Secret::read(&path).is_ok(), good, "{text:?}");
        }
    }
}
