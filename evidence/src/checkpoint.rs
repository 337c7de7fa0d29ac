//! Checkpoints: what a log's key says about the whole log (c2sp.org/tlog-checkpoint).
//!
//! Three lines, origin, size and root, in a signed note. Whoever holds one can tell whether the log
//! was cut or rewritten below that size, and needs nothing but the public key for it.

use std::fmt;
use std::str::FromStr;

use base::Sha256Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seal::SigningKey;
use seal::note::{self, NoteError, NoteVerifier, SignedNote};

/// Larger files are no checkpoints.
pub(crate) const MAX_CHECKPOINT_BYTES: usize = 64 * 1024;

/// The name of one log: `<site>/<gateway>`, for example `acme/gw-1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

/// A text that cannot name a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a log's origin is <site>/<gateway>, without spaces, plus signs or control characters")]
pub struct InvalidOrigin;

/// What a log's key says: so many entries, hashing to this root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    origin: Origin,
    size: u64,
    root: Sha256Digest,
}

/// Why bytes are not a checkpoint of the log asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCheckpoint {
    /// Not a signed checkpoint at all.
    #[error("the checkpoint is not a signed note with origin, size and root")]
    Malformed,
    /// A checkpoint of another log.
    #[error("the checkpoint belongs to log {found:?}, not to {expected:?}")]
    Origin {
        /// The origin it names.
        found: String,
        /// The origin asked for.
        expected: String,
    },
    /// Signed by other keys only.
    #[error("the checkpoint is not signed by this key; check which public key belongs to the log")]
    OtherKey,
    /// Signed by the key asked for, and edited since.
    #[error("the checkpoint was edited after it was signed")]
    Edited,
}

impl Origin {
    /// The origin of `gateway`'s log at `site`.
    ///
    /// # Errors
    /// [`InvalidOrigin`].
    pub fn new(site: &str, gateway: &str) -> Result<Self, InvalidOrigin> {
        format!("{site}/{gateway}").parse()
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The gateway that writes the log: the last part of the name.
    pub fn gateway(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, gateway)| gateway)
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let (site, gateway) = text.rsplit_once('/').ok_or(InvalidOrigin)?;
        let misfit = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if site.is_empty() || gateway.is_empty() || text.contains(misfit) {
            Err(InvalidOrigin)
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Checkpoint {
    pub(crate) const fn new(origin: Origin, size: u64, root: Sha256Digest) -> Self {
        Self { origin, size, root }
    }

    /// Which log.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How many entries it covers.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree over them.
    pub const fn root(&self) -> &Sha256Digest {
        &self.root
    }

    /// Signs the checkpoint under the log's origin.
    ///
    /// # Errors
    /// [`NoteError::KeyType`] for a key that is not Ed25519.
    pub(crate) fn sign(&self, key: &SigningKey) -> Result<String, NoteError> {
        note::sign(&self.to_string(), self.origin.as_str(), key)
    }

    /// Reads a signed checkpoint of the log whose key `verifier` is.
    ///
    /// # Errors
    /// [`InvalidCheckpoint`].
    pub fn open(signed: &[u8], verifier: &NoteVerifier) -> Result<Self, InvalidCheckpoint> {
        let note = parse_note(signed)?;
        // The origin is looked at first, because whoever asks for the wrong log should hear that,
        // not that a key is wrong. Nothing is believed before the signature was verified.
        let claimed = note.unverified_text().lines().next().unwrap_or_default();
        if claimed != verifier.name() {
            return Err(InvalidCheckpoint::Origin {
                found: claimed.to_owned(),
                expected: verifier.name().to_owned(),
            });
        }
        let text = note.verify(verifier).map_err(|error| match error {
            NoteError::Unsigned => InvalidCheckpoint::OtherKey,
            NoteError::BadSignature => InvalidCheckpoint::Edited,
            _ => InvalidCheckpoint::Malformed,
        })?;
        text.parse()
    }

    /// What a signed checkpoint claims, whoever signed it. For readers that verify nothing.
    pub(crate) fn claimed(signed: &[u8]) -> Result<Self, InvalidCheckpoint> {
        parse_note(signed)?.unverified_text().parse()
    }
}

fn parse_note(signed: &[u8]) -> Result<SignedNote, InvalidCheckpoint> {
    if signed.len() > MAX_CHECKPOINT_BYTES {
        return Err(InvalidCheckpoint::Malformed);
    }
    SignedNote::parse(signed).map_err(|_| InvalidCheckpoint::Malformed)
}

/// The text that is signed.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = STANDARD.encode(self.root.as_bytes());
        writeln!(f, "{}\n{}\n{root}", self.origin, self.size)
    }
}

impl FromStr for Checkpoint {
    type Err = InvalidCheckpoint;

    /// Exactly three lines. The specification allows opaque lines after them and advises against
    /// them; our logs have none, so that nothing unread is ever signed.
    fn from_str(text: &str) -> Result<Self, InvalidCheckpoint> {
        let malformed = InvalidCheckpoint::Malformed;
        let mut lines = text.strip_suffix('\n').ok_or(malformed.clone())?.split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(malformed);
        };
        Ok(Self {
            origin: origin.parse().map_err(|_| malformed.clone())?,
            size: parse_decimal(size).ok_or(malformed.clone())?,
            root: parse_hash(root).ok_or(malformed)?,
        })
    }
}

/// ASCII decimal without leading zeroes.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Base64 of 32 bytes.
pub(crate) fn parse_hash(text: &str) -> Option<Sha256Digest> {
    let bytes: [u8; 32] = STANDARD.decode(text).ok()?.try_into().ok()?;
    Some(Sha256Digest::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::merkle::empty_root;

    fn key() -> SigningKey {
        SigningKey::ed25519_from_seed(&[7; 32])
    }

    fn checkpoint(size: u64) -> Checkpoint {
        Checkpoint::new("acme/gw-1".parse().unwrap(), size, empty_root())
    }

    fn verifier(name: &str) -> NoteVerifier {
        NoteVerifier::new(name, &key().public()).unwrap()
    }

    #[test]
    fn the_published_example_has_the_same_form() {
        // c2sp.org/tlog-checkpoint.
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let checkpoint: Checkpoint = text.parse().unwrap();
        assert_eq!(checkpoint.size(), 20_852_163);
        assert_eq!(checkpoint.origin().gateway(), "behind-the-sofa");
        assert_eq!(checkpoint.to_string(), text);
    }

    #[test]
    fn each_thing_that_can_be_wrong_has_its_own_words() {
        let signed = checkpoint(5).sign(&key()).unwrap();
        let own = verifier("acme/gw-1");
        let open = |text: &str, verifier: &NoteVerifier| Checkpoint::open(text.as_bytes(), verifier);
        assert_eq!(open(&signed, &own), Ok(checkpoint(5)));
        assert_eq!(
            open(&signed.replace("\n5\n", "\n4\n"), &own),
            Err(InvalidCheckpoint::Edited)
        );
        assert!(matches!(
            open(&signed, &verifier("acme/gw-2")),
            Err(InvalidCheckpoint::Origin { found, .. }) if found == "acme/gw-1"
        ));
        let other = SigningKey::ed25519_from_seed(&[8; 32]).public();
        let other = NoteVerifier::new("acme/gw-1", &other).unwrap();
        assert_eq!(open(&signed, &other), Err(InvalidCheckpoint::OtherKey));
        assert_eq!(open("hello\n", &own), Err(InvalidCheckpoint::Malformed));
    }

    #[test]
    fn a_checkpoint_has_exactly_one_spelling() {
        let text = checkpoint(5).to_string();
        for bad in [
            text.replace("\n5\n", "\n05\n"),
            text.replace("\n5\n", "\n+5\n"),
            text.replace("\n5\n", "\n\n"),
            text.replace('=', ""),
            text.replace("acme/gw-1", "acme gw-1"),
            text.replace("acme/gw-1", "gw-1"),
            format!("{text}more\n"),
            text.trim_end().to_owned(),
            String::new(),
        ] {
            assert_eq!(
                bad.parse::<Checkpoint>(),
                Err(InvalidCheckpoint::Malformed),
                "{bad:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_checkpoint_reads_back(size in any::<u64>(), root in any::<[u8; 32]>()) {
            let origin = Origin::new("acme", "gw-1").unwrap();
            let checkpoint = Checkpoint::new(origin, size, Sha256Digest::from_bytes(root));
            let signed = checkpoint.sign(&key()).unwrap();
            prop_assert_eq!(Checkpoint::claimed(signed.as_bytes()), Ok(checkpoint.clone()));
            prop_assert_eq!(Checkpoint::open(signed.as_bytes(), &verifier("acme/gw-1")), Ok(checkpoint));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(text in "\\PC{0,20}\n[0-9]{0,3}\n[A-Za-z0-9+/=]{0,48}\n?") {
            let _ = text.parse::<Checkpoint>();
            let _ = Checkpoint::claimed(text.as_bytes());
        }
    }
}
