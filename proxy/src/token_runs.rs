//! Token runs: an answer to "whose run is it?" from signed run tokens and what was registered.
//!
//! A token carries plugin, artifact and expiry under the run key's signature, so no registry is
//! asked. Two kinds of proof carry nothing, because a client does not bring them: a run's own
//! listener and a source address. The runs that have one are told to us. What neither a signature nor
//! a registration can say is that a run is over: ended runs are told to us too, and are remembered
//! until their last token has expired anyway.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base::{Attribution, RunId, Sha256Digest, Timestamp};
use parking_lot::{Mutex, RwLock};
use seal::PublicKey;
use seal::token::{self, TokenRefusal};

use crate::identity::{agree, claims};
use crate::{Credentials, Identity, IdentityRefusal, Presented, Runs};

/// Verified credentials that are kept at most; a signature check costs some sixty microseconds.
const CACHE_ENTRIES: usize = 16_384;

/// Knows runs by the tokens they present.
pub struct TokenRuns {
    keys: ArcSwap<Vec<PublicKey>>,
    /// Ended runs, and when the last of their tokens expires.
    ended: RwLock<HashMap<RunId, Timestamp>>,
    /// Runs that can be known without a token. Kept after their end, so that whoever still comes that
    /// way is told so, and forgotten when they expire.
    registered: RwLock<Registered>,
    /// Verified credentials by their hash. Emptied when keys change and when full.
    verified: Mutex<HashMap<Sha256Digest, Verified>>,
}

/// A run that can be known by where a connection comes in or comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Whose run it is.
    pub identity: Identity,
    /// From when on the run is over in any case.
    pub expires: Timestamp,
    /// The addresses that are this run's. An address of several runs proves nothing.
    pub sources: Vec<IpAddr>,
}

#[derive(Default)]
struct Registered {
    by_run: HashMap<RunId, Registration>,
    /// The runs of each address, which is in its canonical form here.
    by_source: HashMap<IpAddr, Vec<RunId>>,
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
            registered: RwLock::default(),
            verified: Mutex::default(),
        }
    }

    /// From now on accepts tokens that any of `keys` signed, and no others.
    pub fn set_keys(&self, keys: Vec<PublicKey>) {
        self.keys.store(Arc::new(keys));
        self.verified.lock().clear();
    }

    /// Knows a run by its listener and its sources from now on. Registering it again replaces what was
    /// known of it; ending it is [`TokenRuns::end_run`], and that stays.
    pub fn register(&self, registration: Registration, now: Timestamp) {
        let mut registered = self.registered.write();
        let Registered { by_run, by_source } = &mut *registered;
        by_run.retain(|_, known| known.expires > now);
        by_run.insert(registration.identity.run_id, registration);
        by_source.clear();
        for (run_id, known) in by_run {
            for source in &known.sources {
                by_source.entry(source.to_canonical()).or_default().push(*run_id);
            }
        }
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

    /// How many addresses live runs are known by.
    pub fn sources(&self, now: Timestamp) -> usize {
        let registered = self.registered.read();
        let is_live = |run_id: &RunId| {
            let known = registered.by_run.get(run_id);
            known.is_some_and(|known| known.expires > now) && !self.has_ended(*run_id)
        };
        let run_ids = registered.by_source.values();
        run_ids.filter(|run_ids| run_ids.iter().any(is_live)).count()
    }

    /// Whether a run that was registered is over, one way or another.
    pub fn is_over(&self, run_id: RunId, now: Timestamp) -> bool {
        let is_live = |known: &Registration| known.expires > now;
        self.has_ended(run_id) || !self.registered.read().by_run.get(&run_id).is_some_and(is_live)
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

impl TokenRuns {
    /// The run whose own listener it is, if that is still so.
    fn by_listener(
        &self,
        listener: &Arc<Identity>,
        now: Timestamp,
    ) -> Result<Arc<Identity>, IdentityRefusal> {
        let run_id = listener.run_id;
        match self.registered.read().by_run.get(&run_id) {
            Some(known) if !known.identity.is_same_run(listener) => Err(IdentityRefusal::Invalid),
            Some(known) if known.expires <= now => Err(IdentityRefusal::Expired { run_id }),
            Some(_) => Ok(Arc::clone(listener)),
            // Forgotten because it expired; or a listener that nobody registered, which is no proof.
            None => Err(IdentityRefusal::Expired { run_id }),
        }
    }

    /// The runs that are registered for `source`, those that are over last.
    fn by_source(&self, source: IpAddr, now: Timestamp) -> (Vec<Arc<Identity>>, Vec<RunId>) {
        let (mut live, mut over) = (Vec::new(), Vec::new());
        let registered = self.registered.read();
        let run_ids = registered.by_source.get(&source.to_canonical());
        for run_id in run_ids.into_iter().flatten() {
            match registered.by_run.get(run_id) {
                Some(known) if known.expires <= now => {}
                Some(_) if self.has_ended(*run_id) => over.push(*run_id),
                Some(known) => live.push(Arc::new(known.identity.by(Attribution::Source))),
                None => {}
            }
        }
        live.sort_unstable_by_key(|identity| identity.run_id);
        (live, over)
    }
}

impl Runs for TokenRuns {
    fn whose(&self, presented: &Presented<'_>, now: Timestamp) -> Result<Arc<Identity>, IdentityRefusal> {
        let mut proofs = Vec::with_capacity(4);
        proofs.extend(presented.certificate.cloned());
        if let Some(credentials) = &presented.credentials {
            proofs.push(self.verify(credentials, now)?.identity);
        }
        if let Some(listener) = presented.listener {
            proofs.push(self.by_listener(listener, now)?);
        }
        let proved = agree(&proofs)?;
        let (sources, over) = match presented.source {
            Some(source) => self.by_source(source.ip(), now),
            None => Default::default(),
        };
        let identity = match (proved, sources.as_slice()) {
            // An address that was given to somebody else contradicts any other proof.
            (Some(proved), []) => proved,
            (Some(proved), sources) if sources.iter().any(|source| source.is_same_run(&proved)) => proved,
            (Some(_), sources) => {
                proofs.extend_from_slice(sources);
                return Err(IdentityRefusal::Conflict {
                    claims: claims(&proofs),
                });
            }
            (None, [source]) => Arc::clone(source),
            (None, []) => {
                return Err(match over.as_slice() {
                    [run_id] => IdentityRefusal::Ended { run_id: *run_id },
                    _ => IdentityRefusal::Missing,
                });
            }
            (None, several) => {
                return Err(IdentityRefusal::Ambiguous {
                    claims: claims(several),
                });
            }
        };
        let run_id = identity.run_id;
        if self.has_ended(run_id) {
            Err(IdentityRefusal::Ended { run_id })
        } else {
            Ok(identity)
        }
    }

    fn has_ended(&self, run_id: RunId) -> bool {
        self.ended.read().contains_key(&run_id)
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

    fn identity(run: &Run, attribution: Attribution) -> Identity {
        Identity {
            plugin_id: run.claims.plugin_id.clone(),
            artifact_digest: run.claims.artifact_digest,
            run_id: run.claims.run_id,
            attribution,
        }
    }

    fn register(runs: &TokenRuns, run: &Run, sources: &[&str]) -> Arc<Identity> {
        let identity = identity(run, Attribution::Listener);
        let registration = Registration {
            identity: identity.clone(),
            expires: run.claims.expires,
            sources: sources.iter().map(|ip| ip.parse().unwrap()).collect(),
        };
        runs.register(registration, NOW);
        Arc::new(identity)
    }

    /// What is known of somebody with these proofs.
    fn known(
        runs: &TokenRuns,
        token: Option<&Run>,
        listener: Option<&Arc<Identity>>,
        source: &str,
        now: Timestamp,
    ) -> Result<(RunId, Attribution), IdentityRefusal> {
        let presented = Presented {
            credentials: token.map(|run| Credentials {
                user: run.user.as_bytes(),
                password: run.token.as_bytes(),
            }),
            source: Some((source.parse::<IpAddr>().unwrap(), 4711).into()),
            listener,
            certificate: None,
        };
        let identity = runs.whose(&presented, now)?;
        Ok((identity.run_id, identity.attribution))
    }

    #[test]
    fn every_pair_of_proofs_must_name_one_run() {
        let key = SigningKey::ed25519_from_seed(&[1; 32]);
        let runs = TokenRuns::new(vec![key.public()]);
        let (first, second) = (run(&key, 1), run(&key, 2));
        let ours = register(&runs, &first, &["10.0.0.1"]);
        let theirs = register(&runs, &second, &["10.0.0.2"]);
        let (id, elsewhere) = (first.claims.run_id, "10.9.9.9");
        for (token, listener, source, by) in [
            (Some(&first), None, elsewhere, Attribution::Token),
            (Some(&first), Some(&ours), elsewhere, Attribution::Token),
            (Some(&first), Some(&ours), "::ffff:10.0.0.1", Attribution::Token),
            (None, Some(&ours), elsewhere, Attribution::Listener),
            (None, Some(&ours), "10.0.0.1", Attribution::Listener),
            (None, None, "10.0.0.1", Attribution::Source),
            (None, None, "::ffff:10.0.0.1", Attribution::Source),
        ] {
            assert_eq!(known(&runs, token, listener, source, NOW), Ok((id, by)), "{by}");
        }
        for (token, listener, source) in [
            (Some(&first), Some(&theirs), elsewhere),
            (Some(&first), None, "10.0.0.2"),
            (None, Some(&ours), "10.0.0.2"),
            (Some(&first), Some(&ours), "10.0.0.2"),
        ] {
            let refusal = known(&runs, token, listener, source, NOW).unwrap_err();
            assert!(matches!(refusal, IdentityRefusal::Conflict { .. }), "{refusal:?}");
            assert!(refusal.claims().len() >= 2);
        }
        assert_eq!(
            known(&runs, None, None, elsewhere, NOW),
            Err(IdentityRefusal::Missing)
        );
    }

    #[test]
    fn an_address_of_two_runs_names_neither_and_contradicts_neither() {
        let key = SigningKey::ed25519_from_seed(&[1; 32]);
        let runs = TokenRuns::new(vec![key.public()]);
        let (first, second, third) = (run(&key, 1), run(&key, 2), run(&key, 3));
        register(&runs, &first, &["10.0.0.1"]);
        register(&runs, &second, &["10.0.0.1"]);
        assert_eq!((runs.sources(NOW), runs.sources(NOW.plus_seconds(60))), (1, 0));
        let refusal = known(&runs, None, None, "10.0.0.1", NOW).unwrap_err();
        let IdentityRefusal::Ambiguous { claims } = &refusal else {
            panic!("{refusal:?}")
        };
        assert_eq!(
            claims.iter().map(|claim| claim.run_id).collect::<Vec<_>>(),
            [first.claims.run_id, second.claims.run_id]
        );
        assert!(refusal.proves_nothing());
        for run in [&first, &second] {
            let expected = Ok((run.claims.run_id, Attribution::Token));
            assert_eq!(known(&runs, Some(run), None, "10.0.0.1", NOW), expected);
        }
        assert!(matches!(
            known(&runs, Some(&third), None, "10.0.0.1", NOW),
            Err(IdentityRefusal::Conflict { .. })
        ));
        // The address is the other's alone as soon as one is over.
        runs.end_run(second.claims.run_id, second.claims.expires, NOW);
        let expected = Ok((first.claims.run_id, Attribution::Source));
        assert_eq!(known(&runs, None, None, "10.0.0.1", NOW), expected);
    }

    #[test]
    fn a_run_that_is_over_is_refused_whatever_proves_it() {
        let key = SigningKey::ed25519_from_seed(&[1; 32]);
        let runs = TokenRuns::new(vec![key.public()]);
        let first = run(&key, 1);
        let run_id = first.claims.run_id;
        let listener = register(&runs, &first, &["10.0.0.1"]);
        let certificate = Arc::new(identity(&first, Attribution::Mtls));
        let later = first.claims.expires;
        assert_eq!(
            known(&runs, None, Some(&listener), "10.9.9.9", later),
            Err(IdentityRefusal::Expired { run_id })
        );
        assert_eq!(
            known(&runs, None, None, "10.0.0.1", later),
            Err(IdentityRefusal::Missing)
        );
        runs.end_run(run_id, first.claims.expires, NOW);
        assert!(runs.has_ended(run_id));
        let ended = Err(IdentityRefusal::Ended { run_id });
        assert_eq!(known(&runs, Some(&first), None, "10.9.9.9", NOW), ended);
        assert_eq!(known(&runs, None, Some(&listener), "10.9.9.9", NOW), ended);
        assert_eq!(known(&runs, None, None, "10.0.0.1", NOW), ended);
        let presented = Presented {
            credentials: None,
            source: None,
            listener: None,
            certificate: Some(&certificate),
        };
        assert_eq!(
            runs.whose(&presented, NOW),
            Err(IdentityRefusal::Ended { run_id })
        );
        // Registered again by mistake, it stays over.
        register(&runs, &first, &["10.0.0.1"]);
        assert_eq!(known(&runs, None, Some(&listener), "10.9.9.9", NOW), ended);
    }

    #[test]
    fn a_listener_that_nobody_registered_proves_nothing() {
        let key = SigningKey::ed25519_from_seed(&[1; 32]);
        let runs = TokenRuns::new(vec![key.public()]);
        let listener = Arc::new(identity(&run(&key, 1), Attribution::Listener));
        assert!(known(&runs, None, Some(&listener), "10.9.9.9", NOW).is_err());
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
