//! Reading `policy.toml`: the edge where the policy meets the disk.
//!
//! Trusted with this file: whoever can write it decides what the house does on its own. Its digest
//! goes into every report, so that a change shows. Where its signature lies beside it, the certifier's
//! word counts and a changed file is refused. What it lets pass for a time counts where two people signed
//! that by itself ([`sign_exception`]).

mod difference;
mod exceptions;
mod floor;
mod lint;
mod signature;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base::{InvalidPolicy, Policy, Sha256Digest};
use manifests::egress::{Entry, InvalidEntry};
use seal::Fingerprint;
use seal::envelope::EnvelopeError;
use seal::exception::SignedException;

use crate::store::StoreError;

pub use difference::{PolicyChange, difference};
pub use exceptions::{
    exception_signature_name, exception_signer, exception_words, exceptions_folder, sign_exception,
};
pub(crate) use floor::{check_floor, hold_floor};
pub use lint::{PolicyLint, PolicyRule, lint};
pub use signature::{PolicySignature, SignPolicyError, sign, signature_path};

/// Larger files are no policies.
const MAX_POLICY_BYTES: u64 = 256 * 1024;

/// A policy that was read whole and checked whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyInForce {
    /// The policy.
    pub policy: Policy,
    /// The SHA-256 of the file's bytes.
    pub digest: Sha256Digest,
    /// The certifier's key that signed it, where its signature was asked.
    pub signed_by: Option<Fingerprint>,
    /// That signature's envelope, verbatim.
    pub signature: Option<Vec<u8>>,
    /// The exceptions that two people signed, where that was asked.
    pub exceptions: Vec<SignedException>,
}

/// Why a policy file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// The file cannot be read.
    #[error("cannot read policy {path}; `bailiwick init` writes one to start from")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not UTF-8, or far too long.
    #[error("policy {path} is not a text of at most {MAX_POLICY_BYTES} bytes")]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// Not the TOML that a policy is.
    #[error("policy {path}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, where.
        message: String,
    },
    /// Well-formed and not allowed.
    #[error("policy {path} is not allowed")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: InvalidPolicy,
    },
    /// A destination in it is no entry of the egress grammar.
    #[error("policy {path}: {field} cannot be read")]
    Entry {
        /// The file.
        path: PathBuf,
        /// The field's full name.
        field: String,
        /// What is wrong with the entry.
        source: InvalidEntry,
    },
    /// The site asks for a signature and there is none.
    #[error("policy {path} is not signed; sign it with: bailiwick policy sign")]
    Unsigned {
        /// The file.
        path: PathBuf,
    },
    /// The policy before it was signed, and this one is not.
    #[error(
        "policy {path} is not signed, and the one that was in force before it, version {known}, was; sign it with: bailiwick policy sign"
    )]
    SignatureGone {
        /// The file.
        path: PathBuf,
        /// The version of the one before.
        known: u64,
    },
    /// The signature is nobody's who may sign policies, or the envelope is none.
    #[error("the signature of policy {path} is not accepted")]
    Signature {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: EnvelopeError,
    },
    /// A lower version than the one in force before.
    #[error(
        "policy {path} has version {found}, and version {known} was in force already; restore the newest policy, or give this one a higher version"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// The version in force before.
        known: u64,
        /// The version in the file.
        found: u64,
    },
    /// The version in force before, in other words.
    #[error("policy {path} was changed and still has version {version}; raise its version with every change")]
    SameVersion {
        /// The file.
        path: PathBuf,
        /// The version.
        version: u64,
    },
    /// The registry cannot be asked which policy was in force.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signature is about other bytes.
    #[error(
        "policy {path} was changed after it was signed; look at: bailiwick policy diff, then sign it again: bailiwick policy sign"
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

impl PolicyInForce {
    /// Reads the policy at `path`.
    ///
    /// # Errors
    /// [`PolicyFileError`]; nothing of a bad policy is used.
    pub fn read(path: &Path) -> Result<Self, PolicyFileError> {
        Self::parse(path, &read_bytes(path)?)
    }

    /// Takes bytes for the policy at `path`.
    ///
    /// # Errors
    /// [`PolicyFileError`]; nothing of a bad policy is used.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, PolicyFileError> {
        let path = || path.to_owned();
        if bytes.len() as u64 > MAX_POLICY_BYTES {
            return Err(PolicyFileError::NotText { path: path() });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| PolicyFileError::NotText { path: path() })?;
        let policy: Policy = toml::from_str(text).map_err(|error| PolicyFileError::Syntax {
            path: path(),
            message: one_line(text, &error),
        })?;
        policy
            .check()
            .map_err(|source| PolicyFileError::Invalid { path: path(), source })?;
        check_entries(&policy).map_err(|(field, source)| PolicyFileError::Entry {
            path: path(),
            field,
            source,
        })?;
        Ok(Self {
            policy,
            digest: Sha256Digest::of(bytes),
            signed_by: None,
            signature: None,
            exceptions: Vec::new(),
        })
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, PolicyFileError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_POLICY_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| PolicyFileError::Read {
            path: path.to_owned(),
            source,
        })?;
    Ok(bytes)
}

/// An entry that nobody can read would list, or let pass, nothing that anybody meant.
fn check_entries(policy: &Policy) -> Result<(), (String, InvalidEntry)> {
    let listed = policy.tiers.iter().flat_map(|(tier, own)| {
        let entries = own.allow.iter().enumerate();
        entries.map(move |(at, entry)| (format!("tiers.{tier}.allow[{at}]"), entry))
    });
    let excepted = policy
        .exceptions
        .iter()
        .enumerate()
        .filter_map(|(at, exception)| {
            let to = exception.to.as_ref()?;
            Some((format!("exceptions[{at}].to"), to))
        });
    for (field, entry) in listed.chain(excepted) {
        entry.parse::<Entry>().map_err(|source| (field, source))?;
    }
    Ok(())
}

/// The library draws the offending line over several lines; an error of ours has one.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or(text);
            format!("line {}: {message}", before.matches('\n').count() + 1)
        }
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use base::Tier;

    use super::*;

    fn parse(text: &str) -> Result<PolicyInForce, String> {
        PolicyInForce::parse(Path::new("policy.toml"), text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_initial_policy_survives_the_file() {
        let initial = Policy::initial("ops");
        let text = toml::to_string(&initial).unwrap();
        let read = parse(&text).unwrap();
        assert_eq!(read.policy, initial);
        assert_eq!(read.digest, Sha256Digest::of(text.as_bytes()));
    }

    #[test]
    fn a_mistake_is_one_line_that_says_where() {
        let text = toml::to_string(&Policy::initial("ops")).unwrap();
        let unknown = text.replacen("version = 1", "version = 1\ncolour = \"red\"", 1);
        let error = parse(&unknown).unwrap_err();
        assert!(error.starts_with("policy policy.toml: line 2: "), "{error}");
        assert!(error.contains("colour") && !error.contains('\n'), "{error}");

        let zero = text.replace("min_runs = 2", "min_runs = 0");
        let source = PolicyInForce::parse(Path::new("p"), zero.as_bytes()).unwrap_err();
        let source = std::error::Error::source(&source).unwrap().to_string();
        assert!(source.contains("min_runs must be at least 1"), "{source}");
        assert!(parse("version = ").unwrap_err().contains("line 1"));
    }

    #[test]
    fn one_changed_byte_changes_the_digest() {
        let text = toml::to_string(&Policy::initial("ops")).unwrap();
        let spaced = format!("{text} ");
        assert_ne!(parse(&text).unwrap().digest, parse(&spaced).unwrap().digest);
        assert_eq!(parse(&spaced).unwrap().policy.default_tier, Tier::Low);
    }

    #[test]
    fn a_missing_or_unreadable_policy_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = PolicyInForce::read(&folder.path().join("policy.toml")).unwrap_err();
        assert!(error.to_string().contains("bailiwick init"));
        let error = PolicyInForce::parse(Path::new("p"), b"\xff\xfe").unwrap_err();
        assert!(matches!(error, PolicyFileError::NotText { .. }));
    }
}
