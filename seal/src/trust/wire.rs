//! The file form of a trust root: TUF's `root.json`, and the bytes that its signatures cover.

use std::collections::BTreeMap;

use base::{Sha256Digest, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Role, TrustRootError, shape};
use crate::PublicKey;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireFile {
    pub(super) signatures: Vec<WireSignature>,
    pub(super) signed: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireSignature {
    pub(super) keyid: String,
    pub(super) sig: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireRoot {
    #[serde(rename = "_type")]
    pub(super) document_type: String,
    pub(super) spec_version: String,
    pub(super) consistent_snapshot: bool,
    pub(super) version: u64,
    pub(super) expires: String,
    pub(super) keys: BTreeMap<String, WireKey>,
    pub(super) roles: BTreeMap<String, WireRole>,
    pub(super) bailiwick_signers: Vec<WireSigner>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireKey {
    pub(super) keytype: String,
    pub(super) scheme: String,
    pub(super) keyval: WireKeyValue,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireKeyValue {
    pub(super) public: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireRole {
    pub(super) keyids: Vec<String>,
    pub(super) threshold: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireSigner {
    pub(super) keyid: String,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) scopes: Vec<String>,
    pub(super) valid_from: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) valid_until: Option<Timestamp>,
}

impl From<&PublicKey> for WireKey {
    fn from(key: &PublicKey) -> Self {
        let (keytype, scheme, public) = match key.ed25519_bytes() {
            Some(raw) => ("ed25519", "ed25519", hex::encode(raw)),
            None => ("ecdsa", "ecdsa-sha2-nistp256", key.to_pem()),
        };
        Self {
            keytype: keytype.to_owned(),
            scheme: scheme.to_owned(),
            keyval: WireKeyValue { public },
        }
    }
}

impl WireKey {
    pub(super) fn parse(&self) -> Result<PublicKey, TrustRootError> {
        let key = match (self.keytype.as_str(), self.scheme.as_str()) {
            ("ed25519", "ed25519") => {
                let mut raw = [0; 32];
                hex::decode_to_slice(&self.keyval.public, &mut raw).map_err(shape)?;
                PublicKey::from_ed25519_bytes(&raw).map_err(shape)?
            }
            ("ecdsa", "ecdsa-sha2-nistp256") => PublicKey::from_pem(&self.keyval.public).map_err(shape)?,
            (keytype, scheme) => return Err(shape(format!("key type {keytype:?} with scheme {scheme:?}"))),
        };
        // The type that was declared must be the type that the key is.
        if Self::from(&key).keytype == self.keytype {
            Ok(key)
        } else {
            Err(shape("a key of another type"))
        }
    }
}

/// The TUF key id: SHA-256 of the key's canonical JSON, in hex.
pub(super) fn tuf_key_id(key: &PublicKey) -> String {
    let value = serde_json::to_value(WireKey::from(key)).expect("a key is three strings");
    Sha256Digest::of(&tuf_canonical(&value)).to_hex()
}

/// The bytes that TUF signs (specification §4.2): "OLPC canonical JSON", which differs from RFC 8785 in
/// that only `"` and `\` are escaped. A PEM key has line ends, and they stand raw here: with RFC 8785's
/// `\n` no stock reader would find our signatures good.
pub(super) fn tuf_canonical(value: &serde_json::Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_canonical(value, &mut bytes);
    bytes
}

fn write_canonical(value: &serde_json::Value, out: &mut Vec<u8>) {
    use serde_json::Value;
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_canonical(item, out);
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            let sorted: BTreeMap<_, _> = fields.iter().collect();
            out.push(b'{');
            for (index, (name, field)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(name, out);
                out.push(b':');
                write_canonical(field, out);
            }
            out.push(b'}');
        }
        Value::String(text) => write_string(text, out),
        // Numbers are whole here: the shape of a root has no others.
        plain => out.extend_from_slice(plain.to_string().as_bytes()),
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text.as_bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}
