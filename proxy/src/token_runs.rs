//! Token runs: an answer to "whose run is it?" from signed run tokens alone.
//!
//! A token carries plugin, artifact and expiry under the run key's signature, so no registry is
//! asked. What a signature cannot say is that a run is over: ended runs are told to us, and are
//! remembered until their last token has expired anyway.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base::{Attribution, RunId, Sha256Digest, Timestamp};
use parking_lot::{Mutex, RwLock};
use seal::PublicKey;
use seal::token::{self, TokenRefusal};

use crate::{Credentials, Identity, IdentityRefusal, Presented, Runs};

/// Verified credentials that are kept at most; a signature check costs some sixty microseconds.
const CACHE_ENTRIES: usize = 16_384;

/// Knows runs by the tokens they present.
pub struct TokenRuns {
    keys: ArcSwap<Vec<PublicKey>>,
    /// Ended runs, and when the last of their tokens expires.
    ended: RwLock<HashMap<RunId, Timestamp>>,
    /// Verified credentials by their hash. Emptied when keys change and when full.
    verified: Mutex<HashMap<Sha256Digest, Verified>>,
}

#[derive(Clone)]
struct Verified {
    identity: Arc<Identity>,
    expires: Timestamp,
}

impl TokenRuns {
    /// Accepts tokens that any of `keys` signed.
    pub fn new(keys: Vec<PublicKey>) -> Self {
        Self {
            keys: ArcSwap::from_pointee(keys),
            ended: RwLock::default(),
            verified: Mutex::default(),
        }
    }

    /// From now on accepts tokens that any of `keys` signed, and no others.
    pub fn set_keys(&self, keys: Vec<PublicKey>) {
        self.keys.store(Arc::new(keys));
        self.verified.lock().clear();
    }

    /// Refuses `run_id` from now on. `expires` is when the last token of the run expires; after that
    /// the run need not be remembered. Live tunnels are cut by [`crate::Gateway::end_run`].
    pub fn end_run(&self, run_id: RunId, expires: Timestamp, now: Timestamp) {
        let mut ended = self.ended.write();
        ended.retain(|_, expires| *expires > now);
        ended.insert(run_id, expires);
        drop(ended);
        self.verified
            .lock()
            .retain(|_, verified| verified.identity.run_id != run_id);
    }

    fn verify(&self, credentials: &Credentials<'_>, now: Timestamp) -> Result<Verified, IdentityRefusal> {
        let key = cache_key(credentials);
        if let Some(known) = self.verified.lock().get(&key)
            && known.expires > now
        {
            return Ok(known.clone());
        }
        let run_id = text(credentials.user)?
            .parse()
            .map_err(|_| IdentityRefusal::Invalid)?;
        let keys = self.keys.load_full();
        let claims =
            token::verify(run_id, text(credentials.password)?, keys.iter(), now).map_err(|refusal| {
                match refusal {
                    TokenRefusal::Expired { run_id } => IdentityRefusal::Expired { run_id },
                    TokenRefusal::Malformed | TokenRefusal::Forged => IdentityRefusal::Invalid,
                }
            })?;
        let verified = Verified {
            identity: Arc::new(Identity {
                plugin_id: claims.plugin_id,
                artifact_digest: claims.artifact_digest,
                run_id,
                attribution: Attribution::Token,
            }),
            expires: claims.expires,
        };
        let mut cache = self.verified.lock();
        // Keys that changed in the meantime emptied the cache for a reason.
        if Arc::ptr_eq(&keys, &self.keys.load_full()) {
            if cache.len() >= CACHE_ENTRIES {
                cache.clear();
            }
            cache.insert(key, verified.clone());
        }
        Ok(verified)
    }
}

impl Runs for TokenRuns {
    fn whose(&self, presented: &Presented<'_>, now: Timestamp) -> Result<Arc<Identity>, IdentityRefusal> {
        let by_token = match &presented.credentials {
            Some(credentials) => Some(self.verify(credentials, now)?.identity),
            None => None,
        };
        let identity = match (presented.certificate, by_token) {
            (Some(certificate), Some(token)) if !certificate.is_same_run(&token) => {
                return Err(IdentityRefusal::Conflict);
            }
            (Some(certificate), _) => Arc::clone(certificate),
            (None, Some(token)) => token,
            (None, None) => return Err(IdentityRefusal::Missing),
        };
        let run_id = identity.run_id;
        if self.ended.read().contains_key(&run_id) {
            Err(IdentityRefusal::Ended { run_id })
        } else {
            Ok(identity)
        }
    }
}

/// The token itself is not kept in memory for longer than the request; its hash is.
fn cache_key(credentials: &Credentials<'_>) -> Sha256Digest {
    let length = u64::try_from(credentials.user.len()).expect("a length fits 64 bits");
    Sha256Digest::of(&[&length.to_be_bytes()[..], credentials.user, credentials.password].concat())
}

fn text(bytes: &[u8]) -> Result<&str, IdentityRefusal> {
    std::str::from_utf8(bytes).map_err(|_| IdentityRefusal::Invalid)
}

#[cfg(test)]
mod tests {
    use base::ArtifactDigest;
    use seal::SigningKey;
    use seal::token::RunClaims;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_us(1_700_000_000_000_000);

    struct Run {
        user: String,
        token: String,
        claims: RunClaims,
    }

    fn run(key: &SigningKey, number: u8) -> Run {
        let claims = RunClaims {
            run_id: RunId::from_parts(1_700_000_000_000, [number; 10]),
            plugin_id: "acme.weather".parse().unwrap(),
            artifact_digest: ArtifactDigest::new(Sha256Digest::of(b"build")),
            expires: NOW.plus_seconds(60),
        };
        Run {
            user: claims.run_id.to_string(),
            token: token::mint(&claims, key).unwrap(),
            claims,
        }
    }

    fn ask(runs: &TokenRuns, user: &str, token: &str, now: Timestamp) -> Result<RunId, IdentityRefusal> {
        let presented = Presented {
            credentials: Some(Credentials {
                user: user.as_bytes(),
                password: token.as_bytes(),
            }),
            source: Some("127.0.0.1:1".parse().unwrap()),
            listener: None,
            certificate: None,
        };
        runs.whose(&presented, now).map(|identity| identity.run_id)
    }

    #[test]
    fn a_token_names_its_run_until_it_expires_or_the_run_ends() {
        let key = SigningKey::ed25519_from_seed(&[1; 32]);
        let runs = TokenRuns::new(vec![key.public()]);
        let (first, second) = (run(&key, 1), run(&key, 2));
        for _ in 0..2 {
            assert_eq!(
                ask(&runs, &first.user, &first.token, NOW),
                Ok(first.claims.run_id)
            );
        }
        assert_eq!(
            ask(&runs, &first.user, &first.token, NOW.plus_seconds(60)),
            Err(IdentityRefusal::Expired {
                run_id: first.claims.run_id
            })
        );
        runs.end_run(first.claims.run_id, first.claims.expires, NOW);
        assert_eq!(
            ask(&runs, &first.user, &first.token, NOW),
            Err(IdentityRefusal::Ended {
                run_id: first.claims.run_id
            })
        );
        assert_eq!(
            ask(&runs, &second.user, &second.token, NOW),
            Ok(second.claims.run_id)
        );
    }

    #[test]
    fn a_cached_token_is_worth_nothing_to_another_run_or_after_a_key_is_withdrawn() {
        let key = SigningKey::ed25519_from_seed(&[1; 32]);
        let runs = TokenRuns::new(vec![key.public()]);
        let (first, second) = (run(&key, 1), run(&key, 2));
        assert!(ask(&runs, &first.user, &first.token, NOW).is_ok());
        assert_eq!(
            ask(&runs, &second.user, &first.token, NOW),
            Err(IdentityRefusal::Invalid)
        );
        runs.set_keys(vec![SigningKey::ed25519_from_seed(&[2; 32]).public()]);
        assert_eq!(
            ask(&runs, &first.user, &first.token, NOW),
            Err(IdentityRefusal::Invalid)
        );
    }

    #[test]
    fn ended_runs_are_forgotten_only_after_their_tokens_expired() {
        let key = SigningKey::ed25519_from_seed(&[1; 32]);
        let runs = TokenRuns::new(vec![key.public()]);
        let first = run(&key, 1);
        runs.end_run(first.claims.run_id, first.claims.expires, NOW);
        let other = RunId::from_parts(1, [9; 10]);
        runs.end_run(other, NOW.plus_seconds(600), NOW.plus_seconds(59));
        assert_eq!(runs.ended.read().len(), 2);
        runs.end_run(other, NOW.plus_seconds(600), NOW.plus_seconds(60));
        assert_eq!(runs.ended.read().len(), 1);
    }

    #[test]
    fn credentials_never_print_their_password() {
        let credentials = Credentials {
            user: b"run",
            password: b"hunter2",
        };
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
