//! Builders for tests: a desk that issues lists, and everything valid that goes with it.

use std::path::PathBuf;
use std::time::Duration;

use base::{ArtifactDigest, PluginId, Reason, Sha256Digest, Timestamp};
use proptest::prelude::*;
use seal::SigningKey;
use seal::trust::{Role, Signer, TrustRoot};

use crate::*;

pub(crate) const ISSUER: &str = "acme";

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn plugin(id: &str) -> PluginId {
    id.parse().unwrap()
}

pub(crate) fn key(byte: u8) -> SigningKey {
    SigningKey::ed25519_from_seed(&[byte; 32])
}

/// Some artifact, the same for the same byte.
pub(crate) fn artifact(byte: u8) -> ArtifactDigest {
    ArtifactDigest::new(Sha256Digest::from_bytes([byte; 32]))
}

pub(crate) fn listed(byte: u8) -> Listed {
    Listed::Artifact(artifact(byte))
}

pub(crate) fn entry(byte: u8) -> Entry {
    Entry {
        digest: *artifact(byte).sha256(),
        kind: Kind::Artifact,
        action: Action::Hold,
        reason: Reason::UndeclaredHost.into(),
        flags: 0,
        revoked_at: at("2026-11-21T10:00:00Z").try_into().unwrap(),
    }
}

pub(crate) fn any_entry() -> impl Strategy<Value = Entry> {
    (
        prop::array::uniform32(any::<u8>()),
        prop::sample::select(&Kind::ALL[..]),
        prop::sample::select(&Action::ALL[..]),
        any::<u8>(),
        any::<u8>(),
        any::<u32>(),
    )
        .prop_map(|(digest, kind, action, reason, flags, second)| Entry {
            digest: Sha256Digest::from_bytes(digest),
            kind,
            action,
            reason: ReasonCode::from_byte(reason),
            flags,
            revoked_at: Timestamp::from_unix_us(i64::from(second) * 1_000_000)
                .try_into()
                .unwrap(),
        })
}

/// A trust root in which key 1 signs lists during 2026 and key 2 signs manifests.
pub(crate) fn trust() -> TrustRoot {
    let signer = |byte, role| Signer {
        name: "test".to_owned(),
        key: key(byte).public(),
        role,
        scopes: vec!["*".parse().unwrap()],
        valid_from: at("2026-01-01T00:00:00Z"),
        valid_until: Some(at("2027-01-01T00:00:00Z")),
    };
    TrustRoot::first(vec![key(9).public()], 1, at("2031-01-01T00:00:00Z"))
        .with_signer(signer(1, Role::Crl))
        .with_signer(signer(2, Role::Owner))
}

/// Issues lists, one a minute, each valid for an hour.
pub(crate) struct Desk {
    pub(crate) now: Timestamp,
    pub(crate) root_version: u64,
    pub(crate) issued: Vec<Published>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            now: at("2026-11-21T10:00:00Z"),
            root_version: 3,
            issued: Vec::new(),
        }
    }

    pub(crate) fn terms(&self) -> Terms<'static> {
        Terms {
            issuer: ISSUER,
            root_version: self.root_version,
            now: self.now,
            validity: Duration::from_secs(3600),
        }
    }

    pub(crate) fn try_publish(&mut self, changes: &[Change]) -> Result<Vec<Effect>, PublishError> {
        self.now = self.now.plus_seconds(60);
        let previous = self.issued.last().map(Published::list);
        let published = publish(previous, changes, &self.terms(), &key(1))?;
        let effects = published.effects().to_vec();
        self.issued.push(published);
        Ok(effects)
    }

    pub(crate) fn publish(&mut self, changes: &[Change]) -> Vec<Effect> {
        self.try_publish(changes).unwrap()
    }

    pub(crate) fn hold(&mut self, byte: u8) -> Effect {
        self.publish(&[Change::hold(listed(byte), Reason::UndeclaredHost)])[0]
    }

    pub(crate) fn revoke(&mut self, byte: u8) -> Effect {
        self.publish(&[Change::revoke(listed(byte), Reason::Malware)])[0]
    }

    pub(crate) fn release(&mut self, byte: u8) -> Effect {
        self.publish(&[Change::release(listed(byte), Reason::FalsePositive)])[0]
    }

    pub(crate) fn list(&self) -> &List {
        self.newest().list()
    }

    pub(crate) fn newest(&self) -> &Accepted {
        self.issued.last().unwrap().accepted()
    }
}

/// Compares with a golden file. With `BAILIWICK_BLESS` set, writes it: look at the difference
/// before you commit it, because whoever reads our lists reads these bytes.
pub(crate) fn golden(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/vectors/crl")
        .join(name);
    if std::env::var_os("BAILIWICK_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    let expected = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(
        expected == bytes,
        "{} differs; found:\n{}",
        path.display(),
        base::escape_untrusted(bytes, 4000)
    );
}
