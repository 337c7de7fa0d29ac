//! The operator's token: the file that tells operators from everybody else on the machine.
//!
//! Trusted with this file: whoever can read it can do whatever the interface can. It is written
//! readable by its owner alone, and refused when anybody else may read it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base::Sha256Digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

/// Shorter tokens could be guessed.
const MIN_LEN: usize = 32;
/// Larger files are no tokens.
const MAX_LEN: u64 = 1024;

/// The token that operators present. Kept as its hash, so that no log or core dump shows it.
#[derive(Clone)]
pub struct OperatorToken {
    sha256: Sha256Digest,
}

/// Why the operator's token is not used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// The file cannot be read.
    #[error("cannot read operator token {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write operator token {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read it.
    #[error(
        "operator token {path} is readable by others (mode {mode:04o}); delete it and start again, which makes a new one"
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Too short to be one.
    #[error(
        "operator token {path} has fewer than {MIN_LEN} characters; delete it and start again, which makes a new one"
    )]
    Short {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for operator token {path}")]
    Randomness {
        /// The file.
        path: PathBuf,
    },
}

impl OperatorToken {
    /// Reads the token at `path`, or makes one if there is none.
    ///
    /// # Errors
    /// [`TokenFileError`].
    pub fn load_or_create(path: &Path) -> Result<Self, TokenFileError> {
        match File::open(path) {
            Ok(file) => Self::read(path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(path),
            Err(source) => Err(TokenFileError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// The token that has this text.
    pub fn from_text(token: &str) -> Self {
        Self {
            sha256: Sha256Digest::of(token.as_bytes()),
        }
    }

    /// Whether these are its bytes. Hashes are compared, in constant time: neither how much of a
    /// guess was right nor how long the token is can be measured.
    pub(super) fn is(&self, presented: &[u8]) -> bool {
        let presented = Sha256Digest::of(presented);
        self.sha256.as_bytes().ct_eq(presented.as_bytes()).into()
    }

    fn read(path: &Path, file: File) -> Result<Self, TokenFileError> {
        let failed = |source| TokenFileError::Read {
            path: path.to_owned(),
            source,
        };
        // The open file is asked, not the path, so that nobody can swap it in between.
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(TokenFileError::Permissions {
                path: path.to_owned(),
                mode,
            });
        }
        let mut text = String::new();
        file.take(MAX_LEN).read_to_string(&mut text).map_err(failed)?;
        let token = text.trim();
        if token.len() < MIN_LEN {
            return Err(TokenFileError::Short {
                path: path.to_owned(),
            });
        }
        Ok(Self::from_text(token))
    }

    fn create(path: &Path) -> Result<Self, TokenFileError> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|_| TokenFileError::Randomness {
            path: path.to_owned(),
        })?;
        let token = URL_SAFE_NO_PAD.encode(random);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| {
                file.write_all(format!("{token}\n").as_bytes())
                    .and_then(|()| file.sync_all())
                    .inspect_err(|_| {
                        // Half a token would be refused at the next start; none makes a new one.
                        let _ = std::fs::remove_file(path);
                    })
            })
            .map_err(|source| TokenFileError::Write {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self::from_text(&token))
    }
}

impl std::fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OperatorToken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.token");
        OperatorToken::load_or_create(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.trim().len(), 43);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = OperatorToken::load_or_create(&path).unwrap();
        assert!(again.is(text.trim().as_bytes()));
        assert!(!again.is(b"") && !again.is(text.as_bytes()));
        assert!(!again.is(&text.trim().as_bytes()[1..]));
        assert_eq!(format!("{again:?}"), "OperatorToken");
    }

    #[test]
    fn a_token_that_others_can_read_or_guess_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.token");
        OperatorToken::load_or_create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = OperatorToken::load_or_create(&path).unwrap_err();
        assert!(matches!(error, TokenFileError::Permissions { mode: 0o640, .. }));
        std::fs::write(&path, "short").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let error = OperatorToken::load_or_create(&path).unwrap_err();
        assert!(matches!(error, TokenFileError::Short { .. }));
    }
}
