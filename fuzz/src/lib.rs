//! What several targets need: a key, and a trust root that believes it.
//!
//! Documents are only parsed after their signature was verified, so targets sign whatever the fuzzer
//! came up with: the parser behind the signature is what they are after.

use base::Sha256Digest;
use seal::trust::{Role, Scope, Signer, TrustRoot};
use seal::{PredicateType, SigningKey, Statement, Subject};

/// The moment at which everything happens.
pub fn now() -> base::Timestamp {
    "2026-11-21T10:00:00Z".parse().expect("a timestamp")
}

/// The key that signs everything.
pub fn key() -> SigningKey {
    SigningKey::ed25519_from_seed(&[1; 32])
}

/// A root in which that key may sign as anybody.
pub fn trust() -> TrustRoot {
    let mut root = TrustRoot::first(vec![key().public()], 1, now().plus_seconds(3600));
    root.signers = Role::ALL
        .into_iter()
        .map(|role| Signer {
            name: role.to_string(),
            key: key().public(),
            role,
            scopes: vec![Scope::All],
            valid_from: now().plus_seconds(-3600),
            valid_until: None,
        })
        .collect();
    root
}

/// A bundle around the predicate that `json` is, about the bytes `subject`; `None` where it is no JSON.
pub fn signed(kind: PredicateType, json: &[u8], name: &str, subject: &[u8]) -> Option<Vec<u8>> {
    let statement = Statement {
        subjects: vec![Subject::new(name, &Sha256Digest::of(subject))],
        predicate_type: kind.uri().to_owned(),
        predicate: base::json::parse(json).ok()?,
    };
    seal::envelope::seal(&statement, &key()).ok()
}
