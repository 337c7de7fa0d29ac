//! C2SP signed notes: how checkpoints of the evidence log are signed.
//!
//! `text`, an empty line, then one line per signature: `— name base64(key id ‖ signature)`. Go's
//! `sumdb/note` and the C2SP tools read the same bytes (c2sp.org/signed-note).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::{PublicKey, SigningKey};

/// The signature type of an Ed25519 note key (c2sp.org/signed-note, "Signature types").
const TYPE_ED25519: u8 = 0x01;
/// More signature lines than any honest note has.
const MAX_SIGNATURES: usize = 100;

/// Why bytes are not a signed note, or not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a signed note.
    #[error("not a signed note")]
    Malformed,
    /// A key name that no note may carry.
    #[error("a note key's name is not empty and has no spaces, plus signs or control characters")]
    Name,
    /// Note keys are Ed25519.
    #[error("notes are signed with Ed25519 keys")]
    KeyType,
    /// Not a verifier key of the form `name+hash+key`.
    #[error("not a note verifier key (name+hash+key)")]
    VerifierKey,
    /// No signature by the key asked for.
    #[error("the note carries no signature by this key")]
    Unsigned,
    /// A signature claims to be by the key asked for and is not.
    #[error("the note's signature does not verify")]
    BadSignature,
}

/// A key that verifies notes, under the name it signs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteVerifier {
    name: String,
    key: PublicKey,
    id: [u8; 4],
}

/// A note and the signatures that it carries, none of them verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature line, not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoteSignature {
    name: String,
    id: [u8; 4],
    signature: Vec<u8>,
}

impl NoteVerifier {
    /// The verifier for `key` under `name`.
    ///
    /// # Errors
    /// [`NoteError::Name`] or [`NoteError::KeyType`].
    pub fn new(name: &str, key: &PublicKey) -> Result<Self, NoteError> {
        check_name(name)?;
        let raw = key.ed25519_bytes().ok_or(NoteError::KeyType)?;
        Ok(Self {
            name: name.to_owned(),
            key: key.clone(),
            id: key_id(name, TYPE_ED25519, &raw),
        })
    }

    /// Parses the `name+hash+key` form that stock tools take.
    ///
    /// # Errors
    /// [`NoteError::VerifierKey`] where the form, the hash or the key is wrong.
    pub fn from_vkey(text: &str) -> Result<Self, NoteError> {
        let (name, key, hash) = parse_vkey(text, TYPE_ED25519)?;
        let verifier = Self::new(name, &key).map_err(|_| NoteError::VerifierKey)?;
        if hash == hex::encode(verifier.id) {
            Ok(verifier)
        } else {
            Err(NoteError::VerifierKey)
        }
    }

    /// The `name+hash+key` form.
    pub fn to_vkey(&self) -> String {
        vkey(&self.name, self.id, TYPE_ED25519, &self.key)
    }

    /// The name under which the key signs.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Signs `text` (which ends with a newline) and returns the whole note.
///
/// # Errors
/// [`NoteError::Malformed`] for a text that no note can carry, [`NoteError::Name`] or
/// [`NoteError::KeyType`] for a key that cannot sign notes.
pub fn sign(text: &str, name: &str, key: &SigningKey) -> Result<String, NoteError> {
    if !is_note_text(text) {
        return Err(NoteError::Malformed);
    }
    let verifier = NoteVerifier::new(name, &key.public())?;
    let mut blob = verifier.id.to_vec();
    blob.extend_from_slice(&key.sign(text.as_bytes()));
    Ok(format!("{text}\n— {name} {}\n", STANDARD.encode(blob)))
}

impl SignedNote {
    /// Splits a note into text and signatures.
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::Malformed)?;
        let split = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        if !is_note_text(text) {
            return Err(NoteError::Malformed);
        }
        let mut note = Self {
            text: text.to_owned(),
            signatures: Vec::new(),
        };
        note.add_lines(lines)?;
        Ok(note)
    }

    /// Adds signature lines, each with its newline, as a witness answers them. None is verified.
    ///
    /// # Errors
    /// [`NoteError::Malformed`]; nothing was added then.
    pub fn add_lines(&mut self, lines: &str) -> Result<(), NoteError> {
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed)?;
        let mut added = lines
            .split('\n')
            .take(MAX_SIGNATURES + 1)
            .map(parse_signature)
            .collect::<Result<Vec<_>, _>>()?;
        if self.signatures.len() + added.len() > MAX_SIGNATURES {
            return Err(NoteError::Malformed);
        }
        self.signatures.append(&mut added);
        Ok(())
    }

    /// The text, once `verifier` has been found among the signers.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`] or [`NoteError::BadSignature`].
    pub fn verify(&self, verifier: &NoteVerifier) -> Result<&str, NoteError> {
        let mut claims = self.claims(&verifier.name, verifier.id).peekable();
        if claims.peek().is_none() {
            return Err(NoteError::Unsigned);
        }
        let all = claims.all(|claim| {
            verifier
                .key
                .verify(self.text.as_bytes(), &claim.signature)
                .is_ok()
        });
        if all {
            Ok(&self.text)
        } else {
            Err(NoteError::BadSignature)
        }
    }

    /// The text, believed by nobody yet. For saying what a note that does not verify claims to be.
    pub fn unverified_text(&self) -> &str {
        &self.text
    }

    /// The note with no lines but those that claim to be by `verifier`; where [`Self::verify`] said
    /// yes, these are good.
    #[must_use]
    pub fn signed_only_by(&self, verifier: &NoteVerifier) -> Self {
        Self {
            text: self.text.clone(),
            signatures: self.claims(&verifier.name, verifier.id).cloned().collect(),
        }
    }

    /// The same text, signed by nobody.
    #[must_use]
    pub fn unsigned(&self) -> Self {
        Self {
            text: self.text.clone(),
            signatures: Vec::new(),
        }
    }

    /// The lines that claim to be by the key with this name and id.
    pub(crate) fn claims<'a>(
        &'a self,
        name: &'a str,
        id: [u8; 4],
    ) -> impl Iterator<Item = &'a NoteSignature> {
        let by_it = move |line: &&NoteSignature| line.name == name && line.id == id;
        self.signatures.iter().filter(by_it)
    }

    /// The names that claim to have signed.
    pub fn signers(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|signature| signature.name.as_str())
    }
}

impl NoteSignature {
    /// What stands after the key id.
    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// The line, with its newline.
impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = [self.id.as_slice(), &self.signature].concat();
        writeln!(f, "— {} {}", self.name, STANDARD.encode(blob))
    }
}

/// The whole note.
impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| write!(f, "{line}"))
    }
}

fn parse_signature(line: &str) -> Result<NoteSignature, NoteError> {
    let rest = line.strip_prefix("— ").ok_or(NoteError::Malformed)?;
    let (name, blob) = rest.split_once(' ').ok_or(NoteError::Malformed)?;
    check_name(name).map_err(|_| NoteError::Malformed)?;
    let blob = STANDARD.decode(blob).map_err(|_| NoteError::Malformed)?;
    let (id, signature) = blob.split_first_chunk::<4>().ok_or(NoteError::Malformed)?;
    if signature.is_empty() {
        return Err(NoteError::Malformed);
    }
    Ok(NoteSignature {
        name: name.to_owned(),
        id: *id,
        signature: signature.to_vec(),
    })
}

pub(crate) fn is_note_text(text: &str) -> bool {
    text.ends_with('\n') && !text.chars().any(|c| c.is_control() && c != '\n')
}

pub(crate) fn check_name(name: &str) -> Result<(), NoteError> {
    let misfit = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.contains(misfit) {
        Err(NoteError::Name)
    } else {
        Ok(())
    }
}

/// `SHA-256(name ‖ 0x0A ‖ signature type ‖ public key)[:4]`.
pub(crate) fn key_id(name: &str, signature_type: u8, raw: &[u8; 32]) -> [u8; 4] {
    let hash = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', signature_type])
        .chain_update(raw)
        .finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

/// The name, key and claimed hash of a `name+hash+key` text for keys of one signature type.
pub(crate) fn parse_vkey(text: &str, signature_type: u8) -> Result<(&str, PublicKey, &str), NoteError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(NoteError::VerifierKey);
    };
    let bytes = STANDARD.decode(key).map_err(|_| NoteError::VerifierKey)?;
    let raw: [u8; 32] = match bytes.split_first() {
        Some((&found, raw)) if found == signature_type => {
            raw.try_into().map_err(|_| NoteError::VerifierKey)?
        }
        _ => return Err(NoteError::VerifierKey),
    };
    let key = PublicKey::from_ed25519_bytes(&raw).map_err(|_| NoteError::VerifierKey)?;
    Ok((name, key, hash))
}

/// The `name+hash+key` text of an Ed25519 key.
pub(crate) fn vkey(name: &str, id: [u8; 4], signature_type: u8, key: &PublicKey) -> String {
    let raw = key.ed25519_bytes().expect("note keys are Ed25519");
    let mut typed = vec![signature_type];
    typed.extend_from_slice(&raw);
    format!("{name}+{}+{}", hex::encode(id), STANDARD.encode(typed))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_published_example_note_verifies() {
        // golang.org/x/mod/sumdb/note, package documentation.
        let vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let note = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n\n\
                    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let verifier = NoteVerifier::from_vkey(vkey).unwrap();
        assert_eq!(verifier.to_vkey(), vkey);
        let text = SignedNote::parse(note.as_bytes())
            .unwrap()
            .verify(&verifier)
            .unwrap()
            .to_owned();
        assert!(text.ends_with("what your problem is.\n"));
    }

    #[test]
    fn a_note_verifies_under_its_own_name_and_key_alone() {
        let key = SigningKey::ed25519_from_seed(&[3; 32]);
        let note = SignedNote::parse(sign("hello\n", "acme/gw-1", &key).unwrap().as_bytes()).unwrap();
        let own = NoteVerifier::new("acme/gw-1", &key.public()).unwrap();
        assert_eq!(note.verify(&own), Ok("hello\n"));
        let renamed = NoteVerifier::new("acme/gw-2", &key.public()).unwrap();
        assert_eq!(note.verify(&renamed), Err(NoteError::Unsigned));
        let other = SigningKey::ed25519_from_seed(&[4; 32]).public();
        let other = NoteVerifier::new("acme/gw-1", &other).unwrap();
        assert_eq!(note.verify(&other), Err(NoteError::Unsigned));
    }

    #[test]
    fn a_changed_text_does_not_verify() {
        let key = SigningKey::ed25519_from_seed(&[3; 32]);
        let note = sign("size 5\n", "acme/gw-1", &key)
            .unwrap()
            .replace("size 5", "size 4");
        let note = SignedNote::parse(note.as_bytes()).unwrap();
        let own = NoteVerifier::new("acme/gw-1", &key.public()).unwrap();
        assert_eq!(note.verify(&own), Err(NoteError::BadSignature));
    }

    #[test]
    fn names_with_separators_are_refused() {
        let key = SigningKey::ed25519_from_seed(&[3; 32]);
        for bad in ["", "a b", "a+b", "a\nb"] {
            assert_eq!(sign("x\n", bad, &key), Err(NoteError::Name), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(text in "\\PC{0,60}(\n\n)?— [a-z/]{0,6} [A-Za-z0-9+/=]{0,20}\n?") {
            let _ = SignedNote::parse(text.as_bytes());
            let _ = NoteVerifier::from_vkey(&text);
        }
    }
}
