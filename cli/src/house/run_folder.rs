//! The private folder of a run that proves itself by a client certificate.
//!
//! The key is made here and never leaves this machine's file system: the control plane is sent its
//! public half. Whoever can read the folder as its owner is the run, until the run ends; then the
//! folder goes, and the certificate is worth nothing any more anyway.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use seal::{SigningKey, key_file};
use tempfile::TempDir;

use crate::{files, random};

/// A folder with the run's key, and its certificate once it is issued.
#[derive(Debug)]
pub struct RunFolder {
    folder: TempDir,
    key: SigningKey,
}

/// What a run's command is told about its certificate.
#[derive(Clone, Debug)]
pub struct ClientFiles {
    /// The certificate, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

impl RunFolder {
    /// A new folder and a new key.
    ///
    /// # Errors
    /// No folder can be made in the system's place for temporary files.
    pub fn make() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("bailiwick-run-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .context("cannot make a private folder for the run's key; is $TMPDIR writable?")?;
        let key = random::p256_key();
        key_file::write_private(&folder.path().join("client.key"), &key)?;
        Ok(Self { folder, key })
    }

    /// The public half of the run's key, in PEM.
    pub fn public_key(&self) -> String {
        self.key.public().to_pem()
    }

    /// Puts the certificate beside the key.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn receive(&self, certificate: &str) -> anyhow::Result<ClientFiles> {
        let paths = ClientFiles {
            certificate: self.folder.path().join("client.crt"),
            key: self.folder.path().join("client.key"),
        };
        files::replace(&paths.certificate, certificate.as_bytes())
            .with_context(|| format!("cannot write {}", paths.certificate.display()))?;
        Ok(paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_its_owners_alone_and_goes_with_the_run() {
        let folder = RunFolder::make().unwrap();
        let files = folder.receive("certificate").unwrap();
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(files.key.parent().unwrap()), 0o700);
        assert_eq!(mode(&files.key), 0o600);
        let key = key_file::read_private(&files.key).unwrap();
        assert_eq!(key.public().to_pem(), folder.public_key());
        drop(folder);
        assert!(!files.key.exists() && !files.certificate.parent().unwrap().exists());
    }
}
