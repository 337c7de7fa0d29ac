//! Keys: Ed25519 (RFC 8032) and ECDSA P-256 with SHA-256 (FIPS 186-5).
//!
//! The algorithm always follows from the key's own type. No header, field or file name chooses it,
//! so there is nothing for an attacker to downgrade.

use std::fmt;

use base::Sha256Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::spki::DecodePublicKey as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _, KeypairBytes,
};
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use zeroize::Zeroizing;

use crate::Fingerprint;

/// A private key. Dropping it wipes it.
#[derive(Clone)]
pub enum SigningKey {
    /// Pure Ed25519 (never the prehashed variant).
    Ed25519(ed25519_dalek::SigningKey),
    /// ECDSA on P-256 with SHA-256 and deterministic nonces (RFC 6979).
    P256(p256::ecdsa::SigningKey),
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// Pure Ed25519.
    Ed25519(ed25519_dalek::VerifyingKey),
    /// ECDSA on P-256 with SHA-256, signatures in DER.
    P256(p256::ecdsa::VerifyingKey),
}

/// Why bytes are not a usable key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not a PKCS#8 private key of a kind we sign with.
    #[error(
        "not an unencrypted PKCS#8 private key for Ed25519 or P-256 (PEM \"PRIVATE KEY\"); convert with: openssl pkcs8 -topk8 -nocrypt -in KEY"
    )]
    Private,
    /// Not a public key of a kind we verify with.
    #[error(
        "not a public key for Ed25519 or P-256 (PEM \"PUBLIC KEY\"); extract with: openssl pkey -pubout -in KEY"
    )]
    Public,
    /// The seed is not a valid scalar of the curve; draw another.
    #[error("these random bytes are no P-256 key; draw others")]
    Seed,
}

/// A signature that this key did not make over these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

impl SigningKey {
    /// An Ed25519 key from 32 random bytes.
    pub fn ed25519_from_seed(seed: &[u8; 32]) -> Self {
        Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// A P-256 key from 32 random bytes.
    ///
    /// # Errors
    /// [`InvalidKey::Seed`] for the one seed in 2³² that is no scalar.
    pub fn p256_from_seed(seed: &[u8; 32]) -> Result<Self, InvalidKey> {
        p256::ecdsa::SigningKey::from_slice(seed)
            .map(Self::P256)
            .map_err(|_| InvalidKey::Seed)
    }

    /// Reads PKCS#8 (RFC 5208 v1, RFC 5958 v2) PEM.
    ///
    /// # Errors
    /// [`InvalidKey::Private`].
    pub fn from_pem(pem: &str) -> Result<Self, InvalidKey> {
        if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_pem(pem) {
            return Ok(Self::Ed25519(key));
        }
        let secret = p256::SecretKey::from_pkcs8_pem(pem).map_err(|_| InvalidKey::Private)?;
        Ok(Self::P256(secret.into()))
    }

    /// PKCS#8 v1 PEM. OpenSSL 1.1 and Go read v1; v2 with its embedded public key they do not.
    pub fn to_pem(&self) -> Zeroizing<String> {
        match self {
            Self::Ed25519(key) => KeypairBytes {
                secret_key: key.to_bytes(),
                public_key: None,
            }
            .to_pkcs8_pem(LineEnding::LF)
            .expect("an Ed25519 key always encodes"),
            Self::P256(key) => p256::SecretKey::from(key.as_nonzero_scalar())
                .to_pkcs8_pem(LineEnding::LF)
                .expect("a P-256 key always encodes"),
        }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        match self {
            Self::Ed25519(key) => PublicKey::Ed25519(key.verifying_key()),
            Self::P256(key) => PublicKey::P256(*key.verifying_key()),
        }
    }

    /// Signs `message`: 64 bytes for Ed25519, DER for P-256.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => ed25519_dalek::Signer::sign(key, message).to_bytes().to_vec(),
            Self::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(message);
                signature.as_bytes().to_vec()
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().fingerprint())
    }
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo PEM.
    ///
    /// # Errors
    /// [`InvalidKey::Public`].
    pub fn from_pem(pem: &str) -> Result<Self, InvalidKey> {
        if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_pem(pem) {
            return Self::strict(key);
        }
        p256::ecdsa::VerifyingKey::from_public_key_pem(pem)
            .map(Self::P256)
            .map_err(|_| InvalidKey::Public)
    }

    /// Reads the 32 raw bytes of an Ed25519 key.
    ///
    /// # Errors
    /// [`InvalidKey::Public`] where they are no point, or one of the few weak ones.
    pub fn from_ed25519_bytes(bytes: &[u8; 32]) -> Result<Self, InvalidKey> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| InvalidKey::Public)?;
        Self::strict(key)
    }

    /// A key of small order verifies signatures that nobody made.
    fn strict(key: ed25519_dalek::VerifyingKey) -> Result<Self, InvalidKey> {
        if key.is_weak() {
            Err(InvalidKey::Public)
        } else {
            Ok(Self::Ed25519(key))
        }
    }

    /// SubjectPublicKeyInfo PEM, as `openssl pkey -pubout` writes it.
    pub fn to_pem(&self) -> String {
        match self {
            Self::Ed25519(key) => key.to_public_key_pem(LineEnding::LF),
            Self::P256(key) => key.to_public_key_pem(LineEnding::LF),
        }
        .expect("a public key always encodes")
    }

    /// SubjectPublicKeyInfo DER.
    pub fn to_spki_der(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.to_public_key_der(),
            Self::P256(key) => key.to_public_key_der(),
        }
        .expect("a public key always encodes")
        .into_vec()
    }

    /// The raw 32 bytes, for an Ed25519 key.
    pub fn ed25519_bytes(&self) -> Option<[u8; 32]> {
        match self {
            Self::Ed25519(key) => Some(key.to_bytes()),
            Self::P256(_) => None,
        }
    }

    /// The name under which signatures mention this key.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut wire = Vec::new();
        let mut put = |field: &[u8]| {
            let length = u32::try_from(field.len()).expect("key fields are short");
            wire.extend_from_slice(&length.to_be_bytes());
            wire.extend_from_slice(field);
        };
        match self {
            Self::Ed25519(key) => {
                put(b"ssh-ed25519");
                put(key.as_bytes());
            }
            Self::P256(key) => {
                put(b"ecdsa-sha2-nistp256");
                put(b"nistp256");
                put(key.to_sec1_point(false).as_bytes());
            }
        }
        Fingerprint::of_ssh_wire(&wire)
    }

    /// The `hint` of a Sigstore bundle: padded base64 of the SHA-256 of the SPKI DER.
    pub fn bundle_hint(&self) -> String {
        STANDARD.encode(Sha256Digest::of(&self.to_spki_der()).as_bytes())
    }

    /// Verifies `signature` over `message`.
    ///
    /// # Errors
    /// [`BadSignature`], whatever the cause.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        match self {
            Self::Ed25519(key) => {
                let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| BadSignature)?;
                key.verify_strict(message, &signature).map_err(|_| BadSignature)
            }
            Self::P256(key) => {
                let signature = p256::ecdsa::Signature::from_der(signature).map_err(|_| BadSignature)?;
                key.verify(message, &signature).map_err(|_| BadSignature)
            }
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> [SigningKey; 2] {
        [
            SigningKey::ed25519_from_seed(&[7; 32]),
            SigningKey::p256_from_seed(&[7; 32]).unwrap(),
        ]
    }

    #[test]
    fn a_signature_verifies_over_the_same_bytes_alone() {
        for key in both() {
            let mut signature = key.sign(b"message");
            assert_eq!(key.public().verify(b"message", &signature), Ok(()));
            assert_eq!(key.public().verify(b"massage", &signature), Err(BadSignature));
            let last = signature.len() - 1;
            signature[last] ^= 1;
            assert_eq!(key.public().verify(b"message", &signature), Err(BadSignature));
            assert_eq!(key.public().verify(b"message", b""), Err(BadSignature));
        }
        let [ed, p256] = both();
        assert_eq!(p256.public().verify(b"m", &ed.sign(b"m")), Err(BadSignature));
    }

    #[test]
    fn keys_round_trip_through_pem() {
        for key in both() {
            let pem = key.to_pem();
            assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
            assert_eq!(SigningKey::from_pem(&pem).unwrap().public(), key.public());
            assert_eq!(PublicKey::from_pem(&key.public().to_pem()).unwrap(), key.public());
        }
    }

    #[test]
    fn other_pem_documents_are_no_keys() {
        let key = SigningKey::ed25519_from_seed(&[7; 32]);
        assert_eq!(
            SigningKey::from_pem(&key.public().to_pem()).unwrap_err(),
            InvalidKey::Private
        );
        assert_eq!(
            PublicKey::from_pem(&key.to_pem()).unwrap_err(),
            InvalidKey::Public
        );
        assert_eq!(SigningKey::from_pem("").unwrap_err(), InvalidKey::Private);
        assert_eq!(
            PublicKey::from_ed25519_bytes(&[0; 32]).unwrap_err(),
            InvalidKey::Public
        );
    }

    #[test]
    fn debug_output_never_shows_the_secret() {
        for key in both() {
            assert!(format!("{key:?}").starts_with("SigningKey(SHA256:"));
        }
    }
}
