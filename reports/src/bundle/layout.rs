//! Layout: which name each part has inside the bundle.

use base::Sha256Digest;

use seal::cosignature::CosignatureVerifier;
use seal::exception::SignedException;

use super::{Build, Contents};
use crate::escape::file_name;

/// The longest name inside a bundle: what a tar header holds without extensions.
pub(super) const MAX_NAME_BYTES: usize = 100;

pub(super) const VERIFY: &str = "VERIFY.md";
pub(super) const MANIFEST: &str = "PLUGIN_MANIFEST.sigstore.json";
pub(super) const ABOUT: &str = "about.json";
pub(super) const CRL_HEAD: &str = "crl/crl.sigstore.json";
pub(super) const CRL_BODY: &str = "crl/crl.bin";
pub(super) const TRUST_ROOT: &str = "root.json";
pub(super) const POLICY: &str = "policy.json";
pub(super) const POLICY_SIGNATURE: &str = "policy.sigstore.json";
/// The words of an exception, in a folder of its own.
pub(super) const EXCEPTION: &str = "exception.json";
pub(super) const INPUTS: &str = "report-inputs.json";
pub(super) const NOTIFICATIONS: &str = "notifications.jsonl";

/// One file of the bundle.
pub(super) type Part = (String, Vec<u8>);

/// Every part that was handed in, under its name.
pub(super) fn parts(contents: &Contents) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut put = |name: String, bytes: &[u8]| {
        if !bytes.is_empty() {
            parts.push((name, bytes.to_vec()));
        }
    };
    put(CRL_HEAD.to_owned(), &contents.crl_head);
    put(CRL_BODY.to_owned(), &contents.crl_body);
    put(TRUST_ROOT.to_owned(), &contents.trust_root);
    put(POLICY.to_owned(), &contents.policy);
    put(POLICY_SIGNATURE.to_owned(), &contents.policy_signature);
    for exception in &contents.exceptions {
        put(self::exception(exception), &exception.words);
        for (number, signature) in exception.signatures.iter().enumerate() {
            put(exception_signature(exception, number), signature);
        }
    }
    put(INPUTS.to_owned(), &contents.report_inputs);
    put(NOTIFICATIONS.to_owned(), &contents.notifications);
    for build in &contents.builds {
        put(manifest(contents, build), &build.manifest);
        for (number, manifest) in build.earlier.iter().enumerate() {
            put(earlier_manifest(contents, build, number), manifest);
        }
        for (number, approval) in build.approvals.iter().enumerate() {
            put(self::approval(contents, build, number), approval);
        }
    }
    for (number, report) in contents.reports.iter().enumerate() {
        put(self::report(number), report);
    }
    for event in &contents.events {
        let name = self::event(&event.reference.origin, event.reference.index);
        if let Some(proof) = &event.proof {
            put(format!("{name}.tlog-proof"), proof.as_bytes());
        }
        put(name, &event.entry);
    }
    for (origin, checkpoint) in &contents.checkpoints {
        put(self::checkpoint(origin), checkpoint.as_bytes());
    }
    for (origin, cosigned) in &contents.cosigned {
        put(self::cosigned(origin), cosigned.as_bytes());
    }
    for witness in &contents.witnesses {
        put(
            witness_vkey(witness.name()),
            format!("{}\n", witness.to_vkey()).as_bytes(),
        );
        put(witness_key(witness), witness.key().to_pem().as_bytes());
    }
    for key in &contents.keys {
        put(self::key(&key.name), key.key.to_pem().as_bytes());
    }
    for key in &contents.log_keys {
        put(log_key(key.name()), format!("{}\n", key.to_vkey()).as_bytes());
    }
    parts
}

/// Where a build's documents are: at the top, unless there are several builds.
fn folder(contents: &Contents, build: &Build) -> String {
    match contents.builds.as_slice() {
        [_] => String::new(),
        _ => format!("builds/{}/", build.artifact_digest.short()),
    }
}

pub(super) fn manifest(contents: &Contents, build: &Build) -> String {
    format!("{}{MANIFEST}", folder(contents, build))
}

pub(super) fn earlier_manifest(contents: &Contents, build: &Build, number: usize) -> String {
    format!("{}earlier/{:02}/{MANIFEST}", folder(contents, build), number + 1)
}

pub(super) fn approval(contents: &Contents, build: &Build, number: usize) -> String {
    format!(
        "{}approvals/{:02}.sigstore.json",
        folder(contents, build),
        number + 1
    )
}

/// Where the words of an exception are.
pub(super) fn exception(exception: &SignedException) -> String {
    format!("{}{EXCEPTION}", folder_of_exception(&exception.digest()))
}

pub(super) fn exception_signature(exception: &SignedException, number: usize) -> String {
    format!(
        "{}{:02}.sigstore.json",
        folder_of_exception(&exception.digest()),
        number + 1
    )
}

/// The folder of the exception whose words have this digest.
pub(super) fn folder_of_exception(words: &Sha256Digest) -> String {
    format!("exceptions/{}/", &words.to_hex()[..16])
}

pub(super) fn report(number: usize) -> String {
    format!("reports/{:04}.sigstore.json", number + 1)
}

pub(super) fn checkpoint(origin: &str) -> String {
    format!("checkpoints/{}.checkpoint", slug(origin))
}

pub(super) fn cosigned(origin: &str) -> String {
    format!("checkpoints/{}.cosigned", slug(origin))
}

pub(super) fn witness_vkey(name: &str) -> String {
    format!("keys/witness-{}.vkey", slug(name))
}

pub(super) fn witness_key(witness: &CosignatureVerifier) -> String {
    format!("keys/witness-{}.pub", slug(witness.name()))
}

pub(super) fn event(origin: &str, index: u64) -> String {
    format!("{}/{index}.json", events_of(origin))
}

pub(super) fn events_of(origin: &str) -> String {
    format!("events/{}", slug(origin))
}

pub(super) fn key(name: &str) -> String {
    format!("keys/{}.pub", slug(name.trim_end_matches(".pub")))
}

pub(super) fn log_key(origin: &str) -> String {
    format!("keys/{}.vkey", slug(origin))
}

/// An origin or a holder's name as one harmless path component. What had to be changed gets a piece
/// of its hash, so that two names never become one file.
fn slug(name: &str) -> String {
    let flat = name.replace('/', "~");
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-~".contains(&b);
    let starts_well = flat.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts_well && flat.len() <= 48 && flat.bytes().all(plain) && !name.contains('~') {
        return flat;
    }
    let digest = Sha256Digest::of(name.as_bytes()).to_hex();
    let stem: String = file_name(&flat).chars().take(32).collect();
    format!("{stem}~{}", &digest[..12])
}

/// Whether a name is one that this layout could have made: no way out of a folder, no surprises.
pub(super) fn is_safe(name: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"._-~+/".contains(b);
    let component = |part: &[u8]| !part.is_empty() && !part.starts_with(b".") && !part.starts_with(b"-");
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && name.iter().all(plain)
        && name.split(|&b| b == b'/').all(component)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_origins_read_as_they_are() {
        assert_eq!(event("acme/gw-1", 321), "events/acme~gw-1/321.json");
        assert_eq!(key("auditor"), "keys/auditor.pub");
        assert_eq!(log_key("acme/gw-1"), "keys/acme~gw-1.vkey");
    }

    #[test]
    fn names_that_lead_out_of_the_folder_are_not_safe() {
        for bad in [
            "",
            "/etc/passwd",
            "../a",
            "a/../b",
            "a//b",
            "a/",
            ".a",
            "a/.b",
            "-rf",
            "a\\b",
            "a b",
            "a\nb",
        ] {
            assert!(!is_safe(bad.as_bytes()), "{bad:?}");
        }
        assert!(!is_safe("a".repeat(101).as_bytes()));
        assert!(is_safe(VERIFY.as_bytes()) && is_safe(CRL_BODY.as_bytes()));
    }

    proptest! {
        #[test]
        fn no_name_leads_out_of_the_bundle(origin in any::<String>(), index in any::<u64>()) {
            for name in [event(&origin, index), key(&origin), log_key(&origin)] {
                prop_assert!(is_safe(name.as_bytes()), "{name:?}");
                prop_assert!(name.len() + ".tlog-proof".len() <= MAX_NAME_BYTES);
            }
        }

        #[test]
        fn two_origins_are_two_folders(a in "[a-z/~._-]{0,6}", b in "[a-z/~._-]{0,6}") {
            prop_assume!(a != b);
            prop_assert_ne!(slug(&a), slug(&b));
        }
    }
}
