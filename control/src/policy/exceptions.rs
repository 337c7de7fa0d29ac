//! Where the signatures of exceptions lie: in a folder beside the policy.
//!
//! Each of the two who stand behind an exception signs its words ([`seal::exception`]); the envelopes are
//! named by the words' digest, so that one changed letter leaves an exception without signatures.
//!
//! Trusted with that folder: nobody. A file that is taken away makes an exception count for nothing, and
//! one that is added has to be signed by a key that the trust root names.

use std::path::{Path, PathBuf};

use base::{Backing, PolicyException, Sha256Digest};
use seal::Fingerprint;
use seal::exception::{MAX_SIGNATURE_BYTES, Signatures, SignedException};
use seal::trust::TrustRoot;

pub use seal::exception::{sign as sign_exception, signer as exception_signer, words as exception_words};

/// Files of one exception that are looked at.
const MAX_SIGNATURES: usize = 16;
const SUFFIX: &str = ".sigstore.json";

/// Where the signatures of the exceptions of the policy at `path` lie.
pub fn exceptions_folder(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".exceptions");
    path.with_file_name(name)
}

/// The name of the file that holds the signature of `key` under these words.
pub fn exception_signature_name(exception: &PolicyException, key: &Fingerprint) -> String {
    let words = Sha256Digest::of(&exception_words(exception)).to_hex();
    let key = Sha256Digest::of(key.to_string().as_bytes()).to_hex();
    format!("{words}.{}{SUFFIX}", &key[..16])
}

/// Whether the two whom the exception names signed it, going by what lies in `folder`, and what they signed.
pub(super) fn backing(
    exception: &PolicyException,
    folder: &Path,
    trust: &TrustRoot,
) -> (Backing, Option<SignedException>) {
    let words = exception_words(exception);
    let mut signatures = Signatures::of(exception, trust);
    for path in signatures_in(folder, &Sha256Digest::of(&words).to_hex()) {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        match read(&path) {
            // What does not count is said where it leaves a signature missing.
            Ok(bundle) => drop(signatures.add(&file, bundle)),
            Err(error) => signatures.remark(&file, &error.to_string()),
        }
    }
    match signatures.both() {
        Ok(signatures) => (Backing::Signed, Some(SignedException { words, signatures })),
        Err(what) => (Backing::Lacking { what }, None),
    }
}

/// Reads no more of a file than shows that it is too large.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_SIGNATURE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The files that may hold signatures of these words, in the order of their names.
fn signatures_in(folder: &Path, words: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut own: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(words) && name.ends_with(SUFFIX)
        })
        .collect();
    own.sort();
    own.truncate(MAX_SIGNATURES);
    own
}

#[cfg(test)]
mod tests {
    use base::{Reason, Timestamp};
    use seal::SigningKey;
    use seal::trust::{Role, Signer};

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_us(1_795_000_000_000_000);

    fn key(byte: u8) -> SigningKey {
        SigningKey::ed25519_from_seed(&[byte; 32])
    }

    fn signer(name: &str, byte: u8, role: Role) -> Signer {
        Signer {
            name: name.into(),
            key: key(byte).public(),
            role,
            scopes: Vec::new(),
            valid_from: NOW,
            valid_until: None,
        }
    }

    /// Ada and Bob are operators, Carol certifies, and Dan owns a plugin.
    fn trust() -> TrustRoot {
        TrustRoot::first(vec![key(9).public()], 1, NOW.plus_seconds(1000))
            .with_signer(signer("ada", 1, Role::Operator))
            .with_signer(signer("bob", 2, Role::Operator))
            .with_signer(signer("carol", 3, Role::Certifier))
            .with_signer(signer("dan", 4, Role::Owner))
    }

    fn exception(names: [&str; 2]) -> PolicyException {
        PolicyException {
            plugin_id: "ocr".parse().unwrap(),
            artifact_digest: None,
            reasons: [Reason::UndeclaredHost].into(),
            to: Some("paste.example".into()),
            why: "until 2.0 ships".into(),
            signed_by: names.map(str::to_owned),
            until: NOW.plus_seconds(3600),
            backing: Backing::Unknown,
        }
    }

    /// What stands behind `exception` where these keys signed `signed`.
    fn backed_under(
        trust: &TrustRoot,
        exception: &PolicyException,
        signed: &PolicyException,
        keys: &[u8],
    ) -> Backing {
        let folder = tempfile::tempdir().unwrap();
        for (at, &byte) in keys.iter().enumerate() {
            let bundle = sign_exception(signed, &key(byte)).unwrap();
            let name = exception_signature_name(exception, &key(byte).public().fingerprint());
            // The same key may well try under another name.
            let name = name.replace(SUFFIX, &format!("-{at}{SUFFIX}"));
            std::fs::write(folder.path().join(name), bundle).unwrap();
        }
        backing(exception, folder.path(), trust).0
    }

    fn backed(names: [&str; 2], keys: &[u8]) -> Backing {
        let exception = exception(names);
        backed_under(&trust(), &exception, &exception, keys)
    }

    fn lacking(backing: Backing) -> String {
        match backing {
            Backing::Lacking { what } => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn two_of_them_with_two_keys_stand_behind_it_in_whatever_order() {
        assert_eq!(backed(["ada", "bob"], &[1, 2]), Backing::Signed);
        assert_eq!(backed(["Bob", "ada"], &[1, 2]), Backing::Signed);
        assert_eq!(backed(["ada", "carol"], &[3, 1]), Backing::Signed);
        assert_eq!(backed(["ada", "bob"], &[1, 2, 4, 7]), Backing::Signed);
    }

    #[test]
    fn one_signature_or_none_is_not_enough_and_it_is_said_who_is_missing() {
        assert_eq!(
            lacking(backed(["ada", "bob"], &[1])),
            "only ada signed it, and bob has to"
        );
        assert_eq!(
            lacking(backed(["ada", "bob"], &[])),
            "neither ada nor bob signed it"
        );
    }

    #[test]
    fn the_same_key_twice_is_one_person() {
        assert!(lacking(backed(["ada", "bob"], &[1, 1])).starts_with("only ada signed it"));
        // Not even where the trust root has it under both names.
        let trust = trust().with_signer(signer("eve", 1, Role::Certifier));
        let exception = exception(["ada", "eve"]);
        let what = lacking(backed_under(&trust, &exception, &exception, &[1, 1]));
        assert!(
            what.starts_with("only ada") || what.starts_with("both names"),
            "{what}"
        );
    }

    #[test]
    fn a_stranger_an_owner_and_somebody_who_was_not_asked_do_not_count() {
        let what = lacking(backed(["ada", "bob"], &[1, 7]));
        assert!(what.starts_with("only ada signed it"), "{what}");
        assert!(what.contains("no key that the trust root names"), "{what}");
        assert!(lacking(backed(["ada", "dan"], &[1, 4])).starts_with("only ada signed it"));
        let what = lacking(backed(["ada", "bob"], &[1, 3]));
        assert!(
            what.contains("carol signed it, and it names ada and bob"),
            "{what}"
        );
    }

    #[test]
    fn signatures_of_other_words_do_not_count() {
        let signed = exception(["ada", "bob"]);
        let longer = PolicyException {
            until: signed.until.plus_seconds(1),
            ..signed.clone()
        };
        let what = lacking(backed_under(&trust(), &longer, &signed, &[1, 2]));
        assert!(what.starts_with("neither ada nor bob"), "{what}");
        assert!(what.contains("signature of other words"), "{what}");
    }

    #[test]
    fn a_key_that_left_the_trust_root_takes_its_word_back() {
        let exception = exception(["ada", "bob"]);
        let left = trust()
            .without_signer(&key(2).public().fingerprint(), None)
            .unwrap();
        let what = lacking(backed_under(&left, &exception, &exception, &[1, 2]));
        assert!(what.starts_with("only ada signed it"), "{what}");
    }
}
