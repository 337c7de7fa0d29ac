//! Key files: the edge where keys meet the disk.
//!
//! Trusted with a private key: whoever can read the file as its owner. A file that group or others
//! can read is refused, because a key that somebody may have copied proves nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::{InvalidKey, PublicKey, SigningKey};

/// Larger files are no keys.
const MAX_KEY_BYTES: u64 = 64 * 1024;

/// Why a key file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("cannot read key file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write key file {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file exists; a key is never overwritten.
    #[error("{path} exists and keys are never overwritten; choose another name or move it away")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others can read the private key.
    #[error("key file {path} is readable by others (mode {mode:04o}); if nobody copied it: chmod 600 {path}")]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key.
    #[error("key file {path}: {source}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: InvalidKey,
    },
}

/// Reads a private key, if its file is private.
///
/// # Errors
/// [`KeyFileError`]; `Permissions` before a byte of the content is looked at.
pub fn read_private(path: &Path) -> Result<SigningKey, KeyFileError> {
    let invalid = |source| KeyFileError::Invalid {
        path: path.to_owned(),
        source,
    };
    let pem = read_secret(path)?;
    let pem = std::str::from_utf8(&pem).map_err(|_| invalid(InvalidKey::Private))?;
    SigningKey::from_pem(pem).map_err(invalid)
}

/// Reads a file that holds a private key of any kind, if it is private.
///
/// # Errors
/// [`KeyFileError::Read`], or [`KeyFileError::Permissions`] before a byte of the content is looked at.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let failed = |source| KeyFileError::Read {
        path: path.to_owned(),
        source,
    };
    let file = fs::File::open(path).map_err(failed)?;
    // The open file is asked, not the path, so that nobody can swap it in between.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Permissions {
            path: path.to_owned(),
            mode,
        });
    }
    let mut secret = Zeroizing::new(Vec::new());
    file.take(MAX_KEY_BYTES)
        .read_to_end(&mut secret)
        .map_err(failed)?;
    Ok(secret)
}

/// Reads a public key.
///
/// # Errors
/// [`KeyFileError::Read`] or [`KeyFileError::Invalid`].
pub fn read_public(path: &Path) -> Result<PublicKey, KeyFileError> {
    let failed = |source| KeyFileError::Read {
        path: path.to_owned(),
        source,
    };
    let mut pem = String::new();
    fs::File::open(path)
        .map_err(failed)?
        .take(MAX_KEY_BYTES)
        .read_to_string(&mut pem)
        .map_err(failed)?;
    PublicKey::from_pem(&pem).map_err(|source| KeyFileError::Invalid {
        path: path.to_owned(),
        source,
    })
}

/// Writes a private key (mode 0600) that did not exist before.
///
/// # Errors
/// [`KeyFileError::Exists`] or [`KeyFileError::Write`]; a half-written file is removed.
pub fn write_private(path: &Path, key: &SigningKey) -> Result<(), KeyFileError> {
    write_new(path, key.to_pem().as_bytes(), 0o600)
}

/// Writes a public key that did not exist before.
///
/// # Errors
/// [`KeyFileError::Exists`] or [`KeyFileError::Write`]; a half-written file is removed.
pub fn write_public(path: &Path, key: &PublicKey) -> Result<(), KeyFileError> {
    write_new(path, key.to_pem().as_bytes(), 0o644)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyFileError> {
    let mut file = match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeyFileError::Exists {
                path: path.to_owned(),
            });
        }
        Err(source) => {
            return Err(KeyFileError::Write {
                path: path.to_owned(),
                source,
            });
        }
    };
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|source| {
            // Best effort: the caller learns of the failure either way.
            let _ = fs::remove_file(path);
            KeyFileError::Write {
                path: path.to_owned(),
                source,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_written_for_its_owner_alone_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("owner.pem");
        let key = SigningKey::ed25519_from_seed(&[1; 32]);
        write_private(&path, &key).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_private(&path).unwrap().public(), key.public());
        assert!(matches!(
            write_private(&path, &key),
            Err(KeyFileError::Exists { .. })
        ));
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("owner.pem");
        write_private(&path, &SigningKey::ed25519_from_seed(&[1; 32])).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read_private(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::Permissions { mode: found, .. } if found == mode));
            assert!(error.to_string().contains("chmod 600"));
        }
    }
}
