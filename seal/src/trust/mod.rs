//! The trust root: which key may sign what, for which plugins, and when.
//!
//! `root.json` has the root format of The Update Framework (TUF specification 1.0.31 §4.3): a
//! threshold m of n root keys signs it, and version N+1 is accepted only with the thresholds of both
//! N and N+1. Stock TUF readers verify it. Our own roles stand in the additional member
//! `bailiwick_signers`, which the root signatures cover and TUF readers keep untouched.
//!
//! Trusted with this file: nobody. Whoever changes it without the root keys is noticed at once.

mod role;
mod scope;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base::json::{self, JsonError};
use base::{PluginId, Timestamp};

use crate::envelope::{EnvelopeError, Unverified, Verified};
use crate::{Fingerprint, PredicateType, PublicKey, SigningKey};

pub use role::{InvalidRole, Role};
pub use scope::{InvalidScope, Scope};
use wire::{WireFile, WireKey, WireRole, WireRoot, WireSignature, WireSigner, tuf_canonical, tuf_key_id};

const SPEC_VERSION: &str = "1.0.31";
const TUF_ROLES: [&str; 4] = ["root", "snapshot", "targets", "timestamp"];

/// One key and what it may sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Who holds the key, for people.
    pub name: String,
    /// The key.
    pub key: PublicKey,
    /// What it signs.
    pub role: Role,
    /// For which plugins.
    pub scopes: Vec<Scope>,
    /// From when on.
    pub valid_from: Timestamp,
    /// Until when, if there is an end.
    pub valid_until: Option<Timestamp>,
}

/// Why a good signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAuthorised {
    /// The key does not have the role at all.
    #[error("key {key} may not sign as {role}; grant it with: bailiwick trust add KEY.pub --role {role}")]
    Role {
        /// The key.
        key: Fingerprint,
        /// The role asked for.
        role: Role,
    },
    /// The key has the role for other plugins.
    #[error(
        "key {key} may not sign as {role} for plugin {plugin}; grant it with: bailiwick trust add KEY.pub --role {role} --scope {plugin}"
    )]
    Scope {
        /// The key.
        key: Fingerprint,
        /// The role asked for.
        role: Role,
        /// The plugin asked for.
        plugin: PluginId,
    },
    /// The key has the role at another time.
    #[error("key {key} was not valid as {role} at {at}")]
    Time {
        /// The key.
        key: Fingerprint,
        /// The role asked for.
        role: Role,
        /// The moment asked for.
        at: Timestamp,
    },
}

/// Why a trust root is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustRootError {
    /// Not strict JSON.
    #[error("the trust root cannot be read: {0}")]
    Json(#[from] JsonError),
    /// Not a TUF root, or one that contradicts itself.
    #[error("not a trust root: {detail}")]
    Shape {
        /// What is wrong.
        detail: String,
    },
    /// Too few root keys signed.
    #[error("the trust root is signed by {valid} of the {threshold} root keys it needs")]
    Threshold {
        /// Good signatures found.
        valid: usize,
        /// Signatures needed.
        threshold: usize,
    },
    /// Not the successor of the version at hand.
    #[error("the trust root has version {found}; after {current} comes {}", current + 1)]
    Version {
        /// The version at hand.
        current: u64,
        /// The version offered.
        found: u64,
    },
}

/// Which key may sign what. A value; see [`TrustRoot::sign`] and [`TrustRoot::parse`] for its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRoot {
    /// Rises by one with every change.
    pub version: u64,
    /// After this moment a newer root is due.
    pub expires: Timestamp,
    /// Root signatures needed for the next version.
    pub threshold: usize,
    /// The root keys.
    pub root_keys: Vec<PublicKey>,
    /// Everybody else's.
    pub signers: Vec<Signer>,
}

impl TrustRoot {
    /// Version 1, with root keys and nobody else.
    pub fn first(root_keys: Vec<PublicKey>, threshold: usize, expires: Timestamp) -> Self {
        Self {
            version: 1,
            expires,
            threshold,
            root_keys,
            signers: Vec::new(),
        }
    }

    /// The next version, with `signer` added; the same key, role and times get the union of scopes.
    pub fn with_signer(&self, signer: Signer) -> Self {
        let mut next = Self {
            version: self.version + 1,
            ..self.clone()
        };
        let twin = next
            .signers
            .iter_mut()
            .find(|known| known.key == signer.key && known.role == signer.role);
        match twin {
            Some(known) => {
                let new = signer
                    .scopes
                    .into_iter()
                    .filter(|scope| !known.scopes.contains(scope))
                    .collect::<Vec<_>>();
                known.scopes.extend(new);
                known.valid_until = signer.valid_until;
            }
            None => next.signers.push(signer),
        }
        next
    }

    /// The next version, without the key in `role` (or in any, if `None`); `None` if nothing changes.
    pub fn without_signer(&self, key: &Fingerprint, role: Option<Role>) -> Option<Self> {
        let keep = |signer: &Signer| {
            signer.key.fingerprint() != *key || role.is_some_and(|role| role != signer.role)
        };
        let signers: Vec<_> = self
            .signers
            .iter()
            .filter(|signer| keep(signer))
            .cloned()
            .collect();
        (signers.len() != self.signers.len()).then(|| Self {
            version: self.version + 1,
            signers,
            ..self.clone()
        })
    }

    /// The keys that hold `role` for any plugin at any time: candidates, to be followed by
    /// [`TrustRoot::authorises`].
    pub fn keys(&self, role: Role) -> impl Iterator<Item = &PublicKey> {
        self.signers
            .iter()
            .filter(move |signer| signer.role == role)
            .map(|signer| &signer.key)
    }

    /// Whether `key` may sign as `role` for `plugin` (if one is concerned) at the moment `at`.
    ///
    /// # Errors
    /// [`NotAuthorised`], with the nearest miss.
    pub fn authorises(
        &self,
        key: &Fingerprint,
        role: Role,
        plugin: Option<&PluginId>,
        at: Timestamp,
    ) -> Result<&Signer, NotAuthorised> {
        let held: Vec<_> = self
            .signers
            .iter()
            .filter(|s| s.role == role && s.key.fingerprint() == *key)
            .collect();
        if held.is_empty() {
            return Err(NotAuthorised::Role { key: *key, role });
        }
        let covers = |signer: &&&Signer| plugin.is_none_or(|p| signer.scopes.iter().any(|s| s.covers(p)));
        let covering: Vec<_> = held.iter().filter(covers).collect();
        if let (true, Some(plugin)) = (covering.is_empty(), plugin) {
            return Err(NotAuthorised::Scope {
                key: *key,
                role,
                plugin: plugin.clone(),
            });
        }
        let valid = |s: &Signer| at >= s.valid_from && s.valid_until.is_none_or(|end| at < end);
        covering
            .into_iter()
            .find(|signer| valid(signer))
            .copied()
            .ok_or(NotAuthorised::Time { key: *key, role, at })
    }

    /// Opens a bundle with a key of `role`. Whether that key may speak for the plugin concerned is
    /// the next question, see [`TrustRoot::authorises`].
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn open(
        &self,
        bundle: &[u8],
        role: Role,
        expected: PredicateType,
    ) -> Result<Verified, EnvelopeError> {
        Unverified::parse(bundle)?.verify(self.keys(role), expected)
    }

    /// The file's bytes, signed by `keys` (pretty JSON: people read this file; the signatures cover
    /// the canonical form, as TUF wants it).
    ///
    /// # Errors
    /// [`TrustRootError::Threshold`] where too few of `keys` are root keys.
    pub fn sign(&self, keys: &[&SigningKey]) -> Result<Vec<u8>, TrustRootError> {
        let signed = serde_json::to_value(self.to_wire()).map_err(shape)?;
        let message = tuf_canonical(&signed);
        let signatures = keys
            .iter()
            .map(|key| WireSignature {
                keyid: tuf_key_id(&key.public()),
                sig: hex::encode(key.sign(&message)),
            })
            .collect();
        let file = WireFile { signatures, signed };
        check_threshold(&file, &message, &self.root_keys, self.threshold)?;
        let mut bytes = serde_json::to_vec_pretty(&file).map_err(shape)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a root that is trusted on first use: signed by the threshold of its own root keys.
    ///
    /// # Errors
    /// [`TrustRootError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustRootError> {
        let (root, file, message) = read(bytes)?;
        check_threshold(&file, &message, &root.root_keys, root.threshold)?;
        Ok(root)
    }

    /// Reads the successor of this root: signed by the thresholds of both.
    ///
    /// # Errors
    /// [`TrustRootError`]; `Version` for anything but the very next version.
    pub fn parse_successor(&self, bytes: &[u8]) -> Result<Self, TrustRootError> {
        let (next, file, message) = read(bytes)?;
        if next.version != self.version + 1 {
            return Err(TrustRootError::Version {
                current: self.version,
                found: next.version,
            });
        }
        check_threshold(&file, &message, &self.root_keys, self.threshold)?;
        check_threshold(&file, &message, &next.root_keys, next.threshold)?;
        Ok(next)
    }

    fn to_wire(&self) -> WireRoot {
        let keys = self
            .root_keys
            .iter()
            .chain(self.signers.iter().map(|signer| &signer.key));
        let role = || WireRole {
            keyids: self.root_keys.iter().map(tuf_key_id).collect(),
            threshold: self.threshold,
        };
        WireRoot {
            document_type: "root".to_owned(),
            spec_version: SPEC_VERSION.to_owned(),
            consistent_snapshot: true,
            version: self.version,
            expires: whole_seconds(self.expires),
            keys: keys.map(|key| (tuf_key_id(key), WireKey::from(key))).collect(),
            roles: TUF_ROLES
                .iter()
                .map(|name| ((*name).to_owned(), role()))
                .collect(),
            bailiwick_signers: self
                .signers
                .iter()
                .map(|signer| WireSigner {
                    keyid: tuf_key_id(&signer.key),
                    name: signer.name.clone(),
                    role: signer.role,
                    scopes: signer.scopes.iter().map(ToString::to_string).collect(),
                    valid_from: signer.valid_from,
                    valid_until: signer.valid_until,
                })
                .collect(),
        }
    }
}

fn read(bytes: &[u8]) -> Result<(TrustRoot, WireFile, Vec<u8>), TrustRootError> {
    let file: WireFile = serde_json::from_value(json::parse(bytes)?).map_err(shape)?;
    let message = tuf_canonical(&file.signed);
    let wire: WireRoot = serde_json::from_value(file.signed.clone()).map_err(shape)?;
    if wire.document_type != "root" || !wire.spec_version.starts_with("1.") {
        return Err(shape(format!(
            "_type {:?}, spec_version {:?}",
            wire.document_type, wire.spec_version
        )));
    }
    let mut keys = BTreeMap::new();
    for (id, key) in &wire.keys {
        let key = key.parse()?;
        if tuf_key_id(&key) != *id {
            return Err(shape(format!("key id {id:?} does not name its key")));
        }
        keys.insert(id.as_str(), key);
    }
    let lookup = |id: &str| {
        keys.get(id)
            .cloned()
            .ok_or_else(|| shape(format!("unknown key id {id:?}")))
    };
    let role = wire.roles.get("root").ok_or_else(|| shape("no root role"))?;
    let distinct: BTreeSet<_> = role.keyids.iter().collect();
    if role.threshold == 0 || role.threshold > distinct.len() || distinct.len() != role.keyids.len() {
        return Err(shape(format!(
            "root threshold {} of {} keys",
            role.threshold,
            distinct.len()
        )));
    }
    let root_keys = role
        .keyids
        .iter()
        .map(|id| lookup(id))
        .collect::<Result<_, _>>()?;
    let signer = |signer: &WireSigner| {
        Ok::<_, TrustRootError>(Signer {
            name: signer.name.clone(),
            key: lookup(&signer.keyid)?,
            role: signer.role,
            scopes: signer
                .scopes
                .iter()
                .map(|s| s.parse().map_err(shape))
                .collect::<Result<_, _>>()?,
            valid_from: signer.valid_from,
            valid_until: signer.valid_until,
        })
    };
    let root = TrustRoot {
        version: wire.version,
        expires: wire.expires.parse().map_err(shape)?,
        threshold: role.threshold,
        root_keys,
        signers: wire
            .bailiwick_signers
            .iter()
            .map(signer)
            .collect::<Result<_, _>>()?,
    };
    Ok((root, file, message))
}

/// Counts root keys with a good signature; each key once, however often it signed.
fn check_threshold(
    file: &WireFile,
    message: &[u8],
    root_keys: &[PublicKey],
    threshold: usize,
) -> Result<(), TrustRootError> {
    let signed_by = |key: &&PublicKey| {
        let id = tuf_key_id(key);
        file.signatures
            .iter()
            .filter(|signature| signature.keyid == id)
            .any(|signature| {
                hex::decode(&signature.sig).is_ok_and(|signature| key.verify(message, &signature).is_ok())
            })
    };
    let valid = root_keys.iter().filter(signed_by).count();
    if valid < threshold {
        Err(TrustRootError::Threshold { valid, threshold })
    } else {
        Ok(())
    }
}

/// TUF §4.1: `YYYY-MM-DDTHH:MM:SSZ`.
fn whole_seconds(moment: Timestamp) -> String {
    format!("{}Z", &moment.to_string()[..19])
}

fn shape(detail: impl fmt::Display) -> TrustRootError {
    TrustRootError::Shape {
        detail: detail.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::ed25519_from_seed(&[byte; 32])
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn owner(byte: u8, scope: &str) -> Signer {
        Signer {
            name: "owner".to_owned(),
            key: key(byte).public(),
            role: Role::Owner,
            scopes: vec![scope.parse().unwrap()],
            valid_from: at("2026-01-01T00:00:00Z"),
            valid_until: Some(at("2027-01-01T00:00:00Z")),
        }
    }

    fn root() -> TrustRoot {
        TrustRoot::first(vec![key(1).public()], 1, at("2031-01-01T00:00:00Z"))
    }

    #[test]
    fn a_signed_root_reads_back_as_the_same_value() {
        let p256 = SigningKey::p256_from_seed(&[9; 32]).unwrap();
        let certifier = Signer {
            key: p256.public(),
            role: Role::Certifier,
            ..owner(2, "*")
        };
        let root = root().with_signer(owner(2, "acme.*")).with_signer(certifier);
        assert_eq!(TrustRoot::parse(&root.sign(&[&key(1)]).unwrap()).unwrap(), root);
    }

    #[test]
    fn signed_bytes_are_those_of_stock_tuf_readers() {
        // securesystemslib.formats.encode_canonical of the same value.
        let value = serde_json::json!({"b": [1, true, null, {}], "a": "line\nend \"quoted\" back\\slash é"});
        assert_eq!(
            String::from_utf8(tuf_canonical(&value)).unwrap(),
            "{\"a\":\"line\nend \\\"quoted\\\" back\\\\slash é\",\"b\":[1,true,null,{}]}"
        );
    }

    #[test]
    fn an_edited_root_is_refused() {
        let bytes = root()
            .with_signer(owner(2, "acme.weather"))
            .sign(&[&key(1)])
            .unwrap();
        let text = String::from_utf8(bytes).unwrap().replace("acme.weather", "*");
        assert_eq!(
            TrustRoot::parse(text.as_bytes()),
            Err(TrustRootError::Threshold {
                valid: 0,
                threshold: 1
            })
        );
    }

    #[test]
    fn the_threshold_counts_keys_and_not_signatures() {
        let two = TrustRoot::first(
            vec![key(1).public(), key(2).public()],
            2,
            at("2031-01-01T00:00:00Z"),
        );
        let short = Err(TrustRootError::Threshold {
            valid: 1,
            threshold: 2,
        });
        assert_eq!(two.sign(&[&key(1), &key(1)]), short);
        assert_eq!(two.sign(&[&key(1), &key(3)]), short);
        assert!(two.sign(&[&key(1), &key(2)]).is_ok());
    }

    #[test]
    fn a_successor_needs_both_thresholds_and_the_next_number() {
        let old = root();
        let rotated = TrustRoot {
            version: 2,
            root_keys: vec![key(3).public()],
            ..root()
        };
        let only_new = rotated.sign(&[&key(3)]).unwrap();
        assert!(matches!(
            old.parse_successor(&only_new),
            Err(TrustRootError::Threshold { .. })
        ));
        let both = rotated.sign(&[&key(1), &key(3)]).unwrap();
        assert_eq!(old.parse_successor(&both), Ok(rotated.clone()));
        let replay = old.sign(&[&key(1)]).unwrap();
        assert_eq!(
            old.parse_successor(&replay),
            Err(TrustRootError::Version { current: 1, found: 1 })
        );
    }

    #[test]
    fn a_key_signs_for_its_role_its_plugins_and_its_time_alone() {
        let root = root().with_signer(owner(2, "acme.*"));
        let fingerprint = key(2).public().fingerprint();
        let now = at("2026-06-01T00:00:00Z");
        let weather: PluginId = "acme.weather".parse().unwrap();
        let other: PluginId = "acmecorp".parse().unwrap();
        assert!(
            root.authorises(&fingerprint, Role::Owner, Some(&weather), now)
                .is_ok()
        );
        assert!(matches!(
            root.authorises(&fingerprint, Role::Owner, Some(&other), now),
            Err(NotAuthorised::Scope { .. })
        ));
        assert!(matches!(
            root.authorises(&fingerprint, Role::Crl, None, now),
            Err(NotAuthorised::Role { .. })
        ));
        for moment in ["2025-12-31T23:59:59Z", "2027-01-01T00:00:00Z"] {
            assert!(matches!(
                root.authorises(&fingerprint, Role::Owner, Some(&weather), at(moment)),
                Err(NotAuthorised::Time { .. })
            ));
        }
    }

    #[test]
    fn removing_a_key_takes_its_rights() {
        let root = root().with_signer(owner(2, "*"));
        let fingerprint = key(2).public().fingerprint();
        let next = root.without_signer(&fingerprint, None).unwrap();
        assert_eq!(next.version, root.version + 1);
        assert_eq!(next.keys(Role::Owner).count(), 0);
        assert_eq!(next.without_signer(&fingerprint, None), None);
    }

    #[test]
    fn a_prefix_ends_at_a_separator() {
        for bad in ["acme*", "*.acme", "**", "A.*", "", ".*", "a*b"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad:?}");
        }
        for good in ["*", "acme.weather", "acme.*", "acme-*"] {
            assert_eq!(good.parse::<Scope>().unwrap().to_string(), good);
        }
    }
}
