//! Forged documents: well signed by a key at hand, around what the product would never sign.
//!
//! A test that edits a signed document only ever sees the signature refused. To see that the document
//! is refused as well, it has to be signed again, and by nobody's code but ours.

use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The statement inside a bundle.
///
/// # Errors
/// When it is no bundle.
pub fn statement(bundle: &str) -> Result<Value> {
    let bundle: Value = serde_json::from_str(bundle)?;
    let payload = bundle["dsseEnvelope"]["payload"].as_str().context("a payload")?;
    Ok(serde_json::from_slice(&STANDARD.decode(payload)?)?)
}

/// A bundle like `bundle` with another payload, signed with the private key in `key`. The names of
/// the signer are left as they were: whoever forges does not correct them.
///
/// # Errors
/// When the bundle or the key cannot be read, or the key is not Ed25519.
pub fn forge(bundle: &str, payload: &[u8], key: &Path) -> Result<String> {
    let mut bundle: Value = serde_json::from_str(bundle)?;
    let pem = std::fs::read(key).with_context(|| format!("reading {}", key.display()))?;
    let key = any_eddsa_type(&PrivatePkcs8KeyDer::from_pem_slice(&pem)?)?;
    let signer = key
        .choose_scheme(&[SignatureScheme::ED25519])
        .context("an Ed25519 key")?;
    let mut message = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    bundle["dsseEnvelope"]["payload"] = STANDARD.encode(payload).into();
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = STANDARD.encode(signer.sign(&message)?).into();
    Ok(bundle.to_string())
}

/// A bundle like `bundle` whose statement was edited and signed again.
///
/// # Errors
/// As for [`forge`].
pub fn forge_statement(bundle: &str, key: &Path, edit: impl FnOnce(&mut Value)) -> Result<String> {
    let mut statement = statement(bundle)?;
    edit(&mut statement);
    // Keys come out in order, which is all that is canonical about strings and small numbers.
    forge(bundle, statement.to_string().as_bytes(), key)
}
