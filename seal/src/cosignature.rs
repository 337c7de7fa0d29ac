//! C2SP cosignatures: what a witness says about a log's checkpoint (c2sp.org/tlog-cosignature, v1).
//!
//! A cosignature is one more line on the signed note, `— name base64(key id ‖ time ‖ signature)`. The
//! signature covers the time and the whole text of the note and states: at this time, this was the
//! largest tree of this log that I had seen, and it continued every tree that I had seen before.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::note::{NoteError, SignedNote, check_name, is_note_text, key_id, parse_vkey, vkey};
use crate::{PublicKey, SigningKey};

/// The signature type of an Ed25519 cosignature key (c2sp.org/tlog-cosignature, "Format").
const TYPE_COSIGNATURE: u8 = 0x04;

/// A key that verifies cosignatures, under the name it signs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignatureVerifier {
    name: String,
    key: PublicKey,
    id: [u8; 4],
}

impl CosignatureVerifier {
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
            id: key_id(name, TYPE_COSIGNATURE, &raw),
        })
    }

    /// Parses the `name+hash+key` form, as witnesses publish it.
    ///
    /// # Errors
    /// [`NoteError::VerifierKey`] where the form, the hash or the key is wrong, as it is for the key
    /// of a log.
    pub fn from_vkey(text: &str) -> Result<Self, NoteError> {
        let (name, key, hash) = parse_vkey(text, TYPE_COSIGNATURE)?;
        let verifier = Self::new(name, &key).map_err(|_| NoteError::VerifierKey)?;
        if hash == hex::encode(verifier.id) {
            Ok(verifier)
        } else {
            Err(NoteError::VerifierKey)
        }
    }

    /// The `name+hash+key` form.
    pub fn to_vkey(&self) -> String {
        vkey(&self.name, self.id, TYPE_COSIGNATURE, &self.key)
    }

    /// The name under which the key signs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Whether this is the same key, whatever the names.
    pub fn has_same_key_as(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

/// Cosigns the text of a note at `time_s`, in seconds since 1970, and returns the signature line with
/// its newline. Whoever calls this has made sure of what it states.
///
/// # Errors
/// [`NoteError::Malformed`] for a text that no note can carry, [`NoteError::Name`] or
/// [`NoteError::KeyType`] for a key that cannot cosign.
pub fn cosign(text: &str, name: &str, key: &SigningKey, time_s: u64) -> Result<String, NoteError> {
    if !is_note_text(text) {
        return Err(NoteError::Malformed);
    }
    let verifier = CosignatureVerifier::new(name, &key.public())?;
    let mut blob = verifier.id.to_vec();
    blob.extend_from_slice(&time_s.to_be_bytes());
    blob.extend_from_slice(&key.sign(&message(text, time_s)));
    Ok(format!("— {name} {}\n", STANDARD.encode(blob)))
}

/// "two newline (U+000A) terminated lines (one header line and one timestamp line) followed by the
/// whole note body".
fn message(text: &str, time_s: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {time_s}\n{text}").into_bytes()
}

impl SignedNote {
    /// When `verifier` cosigned this note, in seconds since 1970; the latest time where it did so
    /// more than once.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`], or [`NoteError::BadSignature`] where no line that claims to be by this
    /// key verifies.
    pub fn cosigned_at(&self, verifier: &CosignatureVerifier) -> Result<u64, NoteError> {
        self.newest_cosignature(verifier).map(|(time_s, _)| time_s)
    }

    /// The verified line that [`Self::cosigned_at`] speaks of, with its newline.
    ///
    /// # Errors
    /// As [`Self::cosigned_at`].
    pub fn cosignature_line(&self, verifier: &CosignatureVerifier) -> Result<String, NoteError> {
        self.newest_cosignature(verifier).map(|(_, line)| line)
    }

    fn newest_cosignature(&self, verifier: &CosignatureVerifier) -> Result<(u64, String), NoteError> {
        let mut claims = self.claims(&verifier.name, verifier.id).peekable();
        if claims.peek().is_none() {
            return Err(NoteError::Unsigned);
        }
        let verified = claims.filter_map(|claim| {
            let (time, signature) = claim.signature().split_first_chunk::<8>()?;
            let time_s = u64::from_be_bytes(*time);
            // "It MUST NOT exceed 2^63 - 1".
            i64::try_from(time_s).ok()?;
            verifier
                .key
                .verify(&message(self.unverified_text(), time_s), signature)
                .ok()?;
            Some((time_s, claim.to_string()))
        });
        verified
            .max_by_key(|(time_s, _)| *time_s)
            .ok_or(NoteError::BadSignature)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::note;

    const CHECKPOINT: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    /// c2sp.org/tlog-cosignature, the example at its beginning.
    const LINE: &str = "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

    fn key() -> SigningKey {
        SigningKey::ed25519_from_seed(&[9; 32])
    }

    fn own() -> CosignatureVerifier {
        CosignatureVerifier::new("witness.example/w1", &key().public()).unwrap()
    }

    fn cosigned(time_s: u64) -> SignedNote {
        let line = cosign(CHECKPOINT, "witness.example/w1", &key(), time_s).unwrap();
        SignedNote::parse(format!("{CHECKPOINT}\n{line}").as_bytes()).unwrap()
    }

    #[test]
    fn the_published_example_has_the_same_form() {
        let note = SignedNote::parse(format!("{CHECKPOINT}\n{LINE}").as_bytes()).unwrap();
        let claim = note
            .claims("witness.example.com/w1", [0x8d, 0x66, 0xcf, 0x3f])
            .next()
            .unwrap();
        let (time, signature) = claim.signature().split_first_chunk::<8>().unwrap();
        assert_eq!(u64::from_be_bytes(*time), 1_679_315_147);
        assert_eq!(signature.len(), 64);
        assert_eq!(claim.to_string(), LINE);
    }

    #[test]
    fn a_cosignature_says_when_and_verifies_under_its_own_name_and_key_alone() {
        let note = cosigned(1_790_000_000);
        assert_eq!(note.cosigned_at(&own()), Ok(1_790_000_000));
        let renamed = CosignatureVerifier::new("witness.example/w2", &key().public()).unwrap();
        assert_eq!(note.cosigned_at(&renamed), Err(NoteError::Unsigned));
        let other = SigningKey::ed25519_from_seed(&[8; 32]).public();
        let other = CosignatureVerifier::new("witness.example/w1", &other).unwrap();
        assert_eq!(note.cosigned_at(&other), Err(NoteError::Unsigned));
    }

    #[test]
    fn a_changed_text_or_time_does_not_verify() {
        let line = cosign(CHECKPOINT, "witness.example/w1", &key(), 1_790_000_000).unwrap();
        let mut blob = STANDARD
            .decode(line.trim_end().rsplit(' ').next().unwrap())
            .unwrap();
        blob[11] ^= 1;
        let later = format!("— witness.example/w1 {}\n", STANDARD.encode(blob));
        let smaller = CHECKPOINT.replace("20852163", "20852162");
        for changed in [format!("{smaller}\n{line}"), format!("{CHECKPOINT}\n{later}")] {
            let note = SignedNote::parse(changed.as_bytes()).unwrap();
            assert_eq!(
                note.cosigned_at(&own()),
                Err(NoteError::BadSignature),
                "{changed}"
            );
        }
    }

    #[test]
    fn a_signature_is_no_cosignature_and_the_other_way_round() {
        let signed = note::sign(CHECKPOINT, "witness.example/w1", &key()).unwrap();
        let signed = SignedNote::parse(signed.as_bytes()).unwrap();
        assert_eq!(signed.cosigned_at(&own()), Err(NoteError::Unsigned));
        let log = note::NoteVerifier::new("witness.example/w1", &key().public()).unwrap();
        assert_eq!(cosigned(1).verify(&log), Err(NoteError::Unsigned));
        assert!(CosignatureVerifier::from_vkey(&log.to_vkey()).is_err());
        assert!(note::NoteVerifier::from_vkey(&own().to_vkey()).is_err());
        assert_eq!(CosignatureVerifier::from_vkey(&own().to_vkey()), Ok(own()));
    }

    #[test]
    fn of_several_cosignatures_by_one_key_the_latest_that_verifies_counts() {
        let mut note = cosigned(100);
        note.add_lines(&cosign(CHECKPOINT, "witness.example/w1", &key(), 300).unwrap())
            .unwrap();
        let forged = cosign("another\n", "witness.example/w1", &key(), 900).unwrap();
        note.add_lines(&forged).unwrap();
        assert_eq!(note.cosigned_at(&own()), Ok(300));
    }

    #[test]
    fn a_time_beyond_the_specified_range_is_no_cosignature() {
        let note = cosigned(u64::MAX);
        assert_eq!(note.cosigned_at(&own()), Err(NoteError::BadSignature));
    }

    proptest! {
        #[test]
        fn no_lines_make_the_reader_panic(lines in "(— [a-z/]{0,6} [A-Za-z0-9+/=]{0,120}\n?){0,3}") {
            let mut note = cosigned(7);
            if note.add_lines(&lines).is_ok() {
                let again = SignedNote::parse(note.to_string().as_bytes());
                prop_assert_eq!(again.as_ref(), Ok(&note));
            }
            prop_assert_eq!(note.cosigned_at(&own()), Ok(7));
            let _ = CosignatureVerifier::from_vkey(&lines);
        }
    }
}
