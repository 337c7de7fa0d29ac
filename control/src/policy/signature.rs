//! The policy's signature: the one envelope, by a certifier, beside the file.
//!
//! Its subject is the file by its digest and its predicate the policy in canonical form, so that a
//! reader of either knows what was signed. Taking the key out of the trust root takes its word back.

use std::path::{Path, PathBuf};

use seal::envelope::{self, EnvelopeError};
use seal::trust::{Role, TrustRoot};
use seal::{PredicateType, SigningKey, Statement, Subject};

use super::exceptions::{backing, exceptions_folder};
use super::{PolicyFileError, PolicyInForce};

/// Whether a policy has to be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicySignature {
    /// A signature that lies there must hold; without one the file counts as it is.
    #[default]
    IfPresent,
    /// Without a signature that holds nothing is done.
    Required,
}

/// Why a policy was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignPolicyError {
    /// It is not one.
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    /// It has no canonical form.
    #[error("the policy cannot be put into an envelope")]
    Envelope(#[from] EnvelopeError),
}

/// Where the signature of the policy at `path` lies.
pub fn signature_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".sigstore.json");
    path.with_file_name(name)
}

/// Signs the policy at `path`, which is read whole and checked whole first.
///
/// # Errors
/// [`SignPolicyError`].
pub fn sign(path: &Path, key: &SigningKey) -> Result<(PolicyInForce, Vec<u8>), SignPolicyError> {
    let read = PolicyInForce::read(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let statement = Statement {
        subjects: vec![Subject::new(name, &read.digest)],
        predicate_type: PredicateType::Policy.uri().to_owned(),
        predicate: words(&read),
    };
    let bundle = envelope::seal(&statement, key)?;
    let signed_by = Some(key.public().fingerprint());
    Ok((PolicyInForce { signed_by, ..read }, bundle))
}

fn words(read: &PolicyInForce) -> serde_json::Value {
    serde_json::to_value(&read.policy).expect("a policy is words, numbers and lists of them")
}

impl PolicyInForce {
    /// The same, knowing of each exception whether the two whom it names signed it.
    #[must_use]
    pub fn with_backing(mut self, path: &Path, trust: &TrustRoot) -> Self {
        let folder = exceptions_folder(path);
        for exception in &mut self.policy.exceptions {
            let (backing, signed) = backing(exception, &folder, trust);
            exception.backing = backing;
            self.exceptions.extend(signed);
        }
        self
    }

    /// Reads the policy at `path`, asks its signature, and asks of each exception whether the two whom it
    /// names signed that.
    ///
    /// # Errors
    /// [`PolicyFileError`]; nothing of a bad policy is used.
    pub fn read_signed(
        path: &Path,
        trust: &TrustRoot,
        wanted: PolicySignature,
    ) -> Result<Self, PolicyFileError> {
        let read = Self::read(path)?.with_backing(path, trust);
        let path = || path.to_owned();
        let bundle = match std::fs::read(signature_path(&path())) {
            Ok(bundle) => bundle,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => match wanted {
                PolicySignature::IfPresent => return Ok(read),
                PolicySignature::Required => return Err(PolicyFileError::Unsigned { path: path() }),
            },
            Err(source) => {
                return Err(PolicyFileError::Read {
                    path: signature_path(&path()),
                    source,
                });
            }
        };
        let opened = trust
            .open(&bundle, Role::Certifier, PredicateType::Policy)
            .map_err(|source| PolicyFileError::Signature { path: path(), source })?;
        let subject = opened.statement.subjects.first().and_then(Subject::sha256);
        if subject != Some(read.digest) || opened.statement.predicate != words(&read) {
            return Err(PolicyFileError::Changed { path: path() });
        }
        Ok(Self {
            signed_by: Some(opened.signer),
            signature: Some(bundle),
            ..read
        })
    }
}

#[cfg(test)]
mod tests {
    use base::{Policy, Timestamp};
    use seal::trust::Signer;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_us(1_795_000_000_000_000);

    fn key(byte: u8) -> SigningKey {
        SigningKey::ed25519_from_seed(&[byte; 32])
    }

    fn trust(certifier: &SigningKey) -> TrustRoot {
        let signer = Signer {
            name: "certifier".into(),
            key: certifier.public(),
            role: Role::Certifier,
            scopes: vec!["*".parse().unwrap()],
            valid_from: NOW,
            valid_until: None,
        };
        TrustRoot::first(vec![key(9).public()], 1, NOW.plus_seconds(1000)).with_signer(signer)
    }

    fn policy_file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        std::fs::write(&path, toml::to_string(&Policy::initial("ops")).unwrap()).unwrap();
        (folder, path)
    }

    #[test]
    fn a_signed_policy_opens_and_names_its_signer() {
        let (_folder, path) = policy_file();
        let (_, bundle) = sign(&path, &key(1)).unwrap();
        std::fs::write(signature_path(&path), bundle).unwrap();
        let read = PolicyInForce::read_signed(&path, &trust(&key(1)), PolicySignature::Required).unwrap();
        assert_eq!(read.signed_by, Some(key(1).public().fingerprint()));
    }

    #[test]
    fn a_changed_file_or_another_signer_is_refused() {
        let (_folder, path) = policy_file();
        let (_, bundle) = sign(&path, &key(1)).unwrap();
        std::fs::write(signature_path(&path), bundle).unwrap();
        let read = |trust: &TrustRoot| PolicyInForce::read_signed(&path, trust, PolicySignature::IfPresent);
        assert!(matches!(
            read(&trust(&key(2))),
            Err(PolicyFileError::Signature { .. })
        ));
        let mut text = std::fs::read_to_string(&path).unwrap();
        // A comment changes nothing that is done, and is not what was signed all the same.
        text.push_str("# no harm meant\n");
        std::fs::write(&path, text).unwrap();
        assert!(matches!(
            read(&trust(&key(1))),
            Err(PolicyFileError::Changed { .. })
        ));
    }

    #[test]
    fn without_a_signature_a_policy_counts_unless_one_is_required() {
        let (_folder, path) = policy_file();
        let read = |wanted| PolicyInForce::read_signed(&path, &trust(&key(1)), wanted);
        assert_eq!(read(PolicySignature::IfPresent).unwrap().signed_by, None);
        let refused = read(PolicySignature::Required).unwrap_err();
        assert!(refused.to_string().contains("bailiwick policy sign"));
    }
}
