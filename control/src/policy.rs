//! Reading `policy.toml`: the edge where the policy meets the disk.
//!
//! Trusted with this file: whoever can write it decides what the house does on its own. Its digest
//! goes into every report, so that a change shows.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base::{InvalidPolicy, Policy, Sha256Digest};

/// Larger files are no policies.
const MAX_POLICY_BYTES: u64 = 256 * 1024;

/// A policy that was read whole and checked whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyInForce {
    /// The policy.
    pub policy: Policy,
    /// The SHA-256 of the file's bytes.
    pub digest: Sha256Digest,
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
}

impl PolicyInForce {
    /// Reads the policy at `path`.
    ///
    /// # Errors
    /// [`PolicyFileError`]; nothing of a bad policy is used.
    pub fn read(path: &Path) -> Result<Self, PolicyFileError> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_POLICY_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|source| PolicyFileError::Read {
                path: path.to_owned(),
                source,
            })?;
        Self::parse(path, &bytes)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, PolicyFileError> {
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
        Ok(Self {
            policy,
            digest: Sha256Digest::of(bytes),
        })
    }
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
