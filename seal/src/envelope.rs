//! The envelope: Sigstore bundle v0.3 around DSSE 1.0 around an in-toto statement.
//!
//! One format for everything that is signed, so that one stock command verifies all of it, offline:
//! `cosign verify-blob-attestation --key … --insecure-ignore-tlog --bundle …`. The reader is as
//! narrow as cosign's: one signature, no further fields, base64 with padding.

use base::json::{self, JsonError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::{Fingerprint, InvalidStatement, PredicateType, PublicKey, SigningKey, Statement};

/// The media type of the bundle.
pub const BUNDLE_MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The payload type of the DSSE envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Why a bundle was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not strict JSON, too large or too deep.
    #[error("the bundle cannot be read: {0}")]
    Json(#[from] JsonError),
    /// JSON of another shape.
    #[error("not a Sigstore bundle v0.3 with a DSSE envelope: {detail}")]
    Shape {
        /// What is missing or superfluous.
        detail: String,
    },
    /// No signature, or more than one.
    #[error("the bundle has {found} signatures; it must have exactly one")]
    SignatureCount {
        /// Signatures found.
        found: usize,
    },
    /// No key that was offered made the signature.
    #[error("no trusted key made this signature (the bundle names {keyid})")]
    Untrusted {
        /// What the bundle claims, escaped for print.
        keyid: String,
    },
    /// The key that the bundle names was offered, and the signature is not its.
    #[error("the signature of {signer} does not verify: the document was changed after signing")]
    BadSignature {
        /// The key named.
        signer: Fingerprint,
    },
    /// The payload is no statement.
    #[error("the signed payload cannot be read: {0}")]
    Statement(#[from] InvalidStatement),
    /// The statement is about something else.
    #[error("the signed statement is a {found:?}, not a {expected:?}")]
    PredicateType {
        /// The URI asked for.
        expected: &'static str,
        /// The URI found.
        found: String,
    },
}

/// A bundle whose signature was not looked at yet. Nothing of its payload can be read.
#[derive(Clone, Debug)]
pub struct Unverified {
    payload: Vec<u8>,
    keyid: String,
    signature: Vec<u8>,
}

/// A statement whose signature was verified, with the bytes that were.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The key that verified.
    pub signer: Fingerprint,
    /// The exact payload bytes; their SHA-256 names this document.
    pub payload: Vec<u8>,
    /// The same bytes, parsed.
    pub statement: Statement,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: VerificationMaterial,
    dsse_envelope: Dsse,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct VerificationMaterial {
    public_key: PublicKeyHint,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicKeyHint {
    hint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Dsse {
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// DSSE pre-authentication encoding (DSSE protocol, "Signature Definition").
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut pae = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    pae.extend_from_slice(payload);
    pae
}

/// Signs a statement and returns the bundle's bytes (canonical JSON).
///
/// # Errors
/// [`EnvelopeError::Statement`] where the statement has no canonical form.
pub fn seal(statement: &Statement, key: &SigningKey) -> Result<Vec<u8>, EnvelopeError> {
    Ok(seal_named(statement, key)?.bundle)
}

/// A bundle that was just made, and the name of the document in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The bundle's bytes.
    pub bundle: Vec<u8>,
    /// The SHA-256 of the payload: how other documents refer to this one.
    pub payload_digest: base::Sha256Digest,
}

/// Signs a statement, as [`seal`] does, and says what the document is called.
///
/// # Errors
/// As [`seal`].
pub fn seal_named(statement: &Statement, key: &SigningKey) -> Result<Sealed, EnvelopeError> {
    let payload = statement.to_payload()?;
    let signature = key.sign(&pre_authentication_encoding(PAYLOAD_TYPE, &payload));
    let public = key.public();
    let bundle = Bundle {
        media_type: BUNDLE_MEDIA_TYPE.to_owned(),
        verification_material: VerificationMaterial {
            public_key: PublicKeyHint {
                hint: public.bundle_hint(),
            },
        },
        dsse_envelope: Dsse {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload: STANDARD.encode(&payload),
            signatures: vec![Signature {
                keyid: public.fingerprint().to_string(),
                sig: STANDARD.encode(signature),
            }],
        },
    };
    Ok(Sealed {
        bundle: json::canonical(&bundle)?,
        payload_digest: base::Sha256Digest::of(&payload),
    })
}

impl Unverified {
    /// Reads a bundle's shape, without believing a word of it.
    ///
    /// # Errors
    /// [`EnvelopeError::Json`], [`EnvelopeError::Shape`] or [`EnvelopeError::SignatureCount`].
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let shape = |detail: String| EnvelopeError::Shape { detail };
        let bundle: Bundle = serde_json::from_value(json::parse(bytes)?).map_err(|e| shape(e.to_string()))?;
        if bundle.media_type != BUNDLE_MEDIA_TYPE {
            return Err(shape(format!("mediaType is {:?}", bundle.media_type)));
        }
        let dsse = bundle.dsse_envelope;
        if dsse.payload_type != PAYLOAD_TYPE {
            return Err(shape(format!("payloadType is {:?}", dsse.payload_type)));
        }
        let [signature] = <[Signature; 1]>::try_from(dsse.signatures)
            .map_err(|found| EnvelopeError::SignatureCount { found: found.len() })?;
        let decode = |what: &str, text: &str| {
            STANDARD
                .decode(text)
                .map_err(|_| shape(format!("{what} is not padded base64")))
        };
        Ok(Self {
            payload: decode("payload", &dsse.payload)?,
            signature: decode("sig", &signature.sig)?,
            keyid: signature.keyid,
        })
    }

    /// Opens the bundle with whichever of `keys` made its signature. The bundle's own `keyid` only
    /// helps to word the refusal.
    ///
    /// # Errors
    /// [`EnvelopeError::Untrusted`] or [`EnvelopeError::BadSignature`] before anything is parsed;
    /// then [`EnvelopeError::Statement`] or [`EnvelopeError::PredicateType`].
    pub fn verify<'k>(
        self,
        keys: impl IntoIterator<Item = &'k PublicKey>,
        expected: PredicateType,
    ) -> Result<Verified, EnvelopeError> {
        let message = pre_authentication_encoding(PAYLOAD_TYPE, &self.payload);
        let mut named = None;
        let mut signer = None;
        for key in keys {
            let fingerprint = key.fingerprint();
            if key.verify(&message, &self.signature).is_ok() {
                signer = Some(fingerprint);
                break;
            }
            if fingerprint.to_string() == self.keyid {
                named = Some(fingerprint);
            }
        }
        let Some(signer) = signer else {
            return Err(match named {
                Some(signer) => EnvelopeError::BadSignature { signer },
                None => EnvelopeError::Untrusted {
                    keyid: base::escape_untrusted(self.keyid.as_bytes(), 80),
                },
            });
        };
        let statement = Statement::from_payload(&self.payload)?;
        if statement.predicate_type != expected.uri() {
            return Err(EnvelopeError::PredicateType {
                expected: expected.uri(),
                found: statement.predicate_type,
            });
        }
        Ok(Verified {
            signer,
            payload: self.payload,
            statement,
        })
    }
}

impl Verified {
    /// The SHA-256 of the payload: how other documents refer to this one.
    pub fn payload_digest(&self) -> base::Sha256Digest {
        base::Sha256Digest::of(&self.payload)
    }
}

#[cfg(test)]
mod tests {
    use base::Sha256Digest;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::Subject;

    fn key(byte: u8) -> SigningKey {
        SigningKey::ed25519_from_seed(&[byte; 32])
    }

    fn statement() -> Statement {
        Statement {
            subjects: vec![Subject::new("plugin.whl", &Sha256Digest::of(b"plugin"))],
            predicate_type: PredicateType::PluginManifest.uri().to_owned(),
            predicate: json!({"plugin_id": "acme.weather"}),
        }
    }

    fn open(bytes: &[u8], keys: &[PublicKey]) -> Result<Verified, EnvelopeError> {
        Unverified::parse(bytes)?.verify(keys, PredicateType::PluginManifest)
    }

    /// The bundle with one JSON edit.
    fn edited(bytes: &[u8], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut value = serde_json::from_slice(bytes).unwrap();
        edit(&mut value);
        serde_json::to_vec(&value).unwrap()
    }

    #[test]
    fn pre_authentication_encoding_matches_the_published_example() {
        // DSSE protocol, "Test Vectors".
        assert_eq!(
            pre_authentication_encoding("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn a_sealed_statement_opens_with_its_key_and_gives_back_the_same_words() {
        for key in [key(1), SigningKey::p256_from_seed(&[1; 32]).unwrap()] {
            let bundle = seal(&statement(), &key).unwrap();
            let opened = open(&bundle, &[key.public()]).unwrap();
            assert_eq!(opened.statement, statement());
            assert_eq!(opened.signer, key.public().fingerprint());
        }
    }

    #[test]
    fn another_key_does_not_open_it() {
        let bundle = seal(&statement(), &key(1)).unwrap();
        assert!(matches!(
            open(&bundle, &[key(2).public()]),
            Err(EnvelopeError::Untrusted { .. })
        ));
        assert!(matches!(open(&bundle, &[]), Err(EnvelopeError::Untrusted { .. })));
    }

    #[test]
    fn the_key_that_verified_is_trusted_and_not_the_key_that_was_named() {
        let bundle = seal(&statement(), &key(1)).unwrap();
        let liar = edited(&bundle, |b| {
            b["dsseEnvelope"]["signatures"][0]["keyid"] = json!(key(2).public().fingerprint().to_string());
        });
        let opened = open(&liar, &[key(2).public(), key(1).public()]).unwrap();
        assert_eq!(opened.signer, key(1).public().fingerprint());
        assert!(matches!(
            open(&liar, &[key(2).public()]),
            Err(EnvelopeError::BadSignature { .. })
        ));
    }

    #[test]
    fn exactly_one_signature_and_no_further_field_is_read() {
        let bundle = seal(&statement(), &key(1)).unwrap();
        let keys = [key(1).public()];
        let twice = edited(&bundle, |b| {
            let signature = b["dsseEnvelope"]["signatures"][0].clone();
            b["dsseEnvelope"]["signatures"]
                .as_array_mut()
                .unwrap()
                .push(signature);
        });
        assert_eq!(
            open(&twice, &keys).unwrap_err(),
            EnvelopeError::SignatureCount { found: 2 }
        );
        let none = edited(&bundle, |b| b["dsseEnvelope"]["signatures"] = json!([]));
        assert_eq!(
            open(&none, &keys).unwrap_err(),
            EnvelopeError::SignatureCount { found: 0 }
        );
        for pointer in [
            "",
            "/dsseEnvelope",
            "/dsseEnvelope/signatures/0",
            "/verificationMaterial",
        ] {
            let extra = edited(&bundle, |b| {
                b.pointer_mut(pointer).unwrap()["alg"] = json!("none")
            });
            assert!(
                matches!(open(&extra, &keys), Err(EnvelopeError::Shape { .. })),
                "{pointer}"
            );
        }
    }

    #[test]
    fn another_kind_of_statement_is_not_taken_for_this_one() {
        let crl = Statement {
            predicate_type: PredicateType::Crl.uri().into(),
            ..statement()
        };
        let bundle = seal(&crl, &key(1)).unwrap();
        assert!(matches!(
            open(&bundle, &[key(1).public()]),
            Err(EnvelopeError::PredicateType { .. })
        ));
        let other_payload = edited(&bundle, |b| {
            b["dsseEnvelope"]["payloadType"] = json!("text/plain")
        });
        assert!(matches!(
            open(&other_payload, &[key(1).public()]),
            Err(EnvelopeError::Shape { .. })
        ));
    }

    #[test]
    fn a_truncated_bundle_never_opens() {
        let bundle = seal(&statement(), &key(1)).unwrap();
        for end in 0..bundle.len() {
            assert!(open(&bundle[..end], &[key(1).public()]).is_err(), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn one_changed_byte_of_payload_or_signature_never_opens(at in any::<prop::sample::Index>(), flip in 1u8..=255) {
            let bundle = seal(&statement(), &key(1)).unwrap();
            let parsed = Unverified::parse(&bundle).unwrap();
            let mut payload = parsed.clone();
            let index = at.index(payload.payload.len());
            payload.payload[index] ^= flip;
            prop_assert!(payload.verify(&[key(1).public()], PredicateType::PluginManifest).is_err());
            let mut signature = parsed;
            let index = at.index(signature.signature.len());
            signature.signature[index] ^= flip;
            prop_assert!(signature.verify(&[key(1).public()], PredicateType::PluginManifest).is_err());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Unverified::parse(&bytes);
        }
    }
}
