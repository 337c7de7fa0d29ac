//! `bailiwick key`: make and look at keys.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use seal::{PublicKey, SigningKey, key_file};
use serde::Serialize;

use crate::exit::Exit;
use crate::output::{self, Format};
use crate::random;

/// What to do with a key.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key pair: a private NAME.pem (0600) and a public NAME.pub
    New {
        /// The private key's file, for example owner.pem
        path: PathBuf,
        /// The kind of key
        #[arg(long = "type", value_enum, default_value_t)]
        kind: KeyKind,
    },
    /// Show a key's type, fingerprint and public half
    Show {
        /// A private or public key file
        path: PathBuf,
    },
    /// Print a key's fingerprint, as ssh-keygen -lf does
    Fingerprint {
        /// A private or public key file
        path: PathBuf,
    },
}

/// The kinds of keys that can be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KeyKind {
    /// Ed25519
    #[default]
    Ed25519,
    /// ECDSA on P-256
    P256,
}

#[derive(Serialize)]
struct KeyView {
    #[serde(skip_serializing_if = "Option::is_none")]
    private: Option<PathBuf>,
    public: Option<PathBuf>,
    r#type: &'static str,
    fingerprint: String,
    pem: String,
}

/// Runs `bailiwick key`.
///
/// # Errors
/// A key file that cannot be read or written.
pub fn run(command: &KeyCommand, format: Format) -> anyhow::Result<Exit> {
    match command {
        KeyCommand::New { path, kind } => {
            let key = match kind {
                KeyKind::Ed25519 => random::ed25519_key(),
                KeyKind::P256 => random::p256_key(),
            };
            let public = write_pair(path, &key)?;
            let view = view(&key.public(), Some(path.clone()), Some(public));
            output::print(format, &view, || {
                format!(
                    "private key  {}   keep it secret\npublic key   {}   hand it out\nfingerprint  {}",
                    path.display(),
                    view.public.as_deref().unwrap_or(Path::new("")).display(),
                    view.fingerprint
                )
            })?;
        }
        KeyCommand::Show { path } => {
            let view = view(&read_any(path)?, None, Some(path.clone()));
            output::print(format, &view, || {
                format!(
                    "type         {}\nfingerprint  {}\n{}",
                    view.r#type, view.fingerprint, view.pem
                )
            })?;
        }
        KeyCommand::Fingerprint { path } => {
            let view = view(&read_any(path)?, None, Some(path.clone()));
            output::print(format, &view, || view.fingerprint.clone())?;
        }
    }
    Ok(Exit::Done)
}

/// Writes both halves and returns the public one's path. Nothing is left behind if either fails.
///
/// # Errors
/// Either file exists, or cannot be written.
pub fn write_pair(private: &Path, key: &SigningKey) -> anyhow::Result<PathBuf> {
    let public = public_path(private);
    anyhow::ensure!(
        !public.exists(),
        "{} exists and keys are never overwritten; choose another name or move it away",
        public.display()
    );
    key_file::write_private(private, key)?;
    key_file::write_public(&public, &key.public()).inspect_err(|_| {
        // The pair stands or falls together.
        let _ = std::fs::remove_file(private);
    })?;
    Ok(public)
}

/// `owner.pem` → `owner.pub`.
pub fn public_path(private: &Path) -> PathBuf {
    private.with_extension("pub")
}

/// Reads the public half of whichever half the file holds.
///
/// # Errors
/// The file cannot be read, is no key, or is a private key that others can read.
pub fn read_any(path: &Path) -> anyhow::Result<PublicKey> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read key file {}", path.display()))?;
    if text.contains("PRIVATE KEY") {
        Ok(key_file::read_private(path)?.public())
    } else {
        Ok(key_file::read_public(path)?)
    }
}

fn view(key: &PublicKey, private: Option<PathBuf>, public: Option<PathBuf>) -> KeyView {
    KeyView {
        private,
        public,
        r#type: match key {
            PublicKey::Ed25519(_) => "ed25519",
            PublicKey::P256(_) => "p256",
        },
        fingerprint: key.fingerprint().to_string(),
        pem: key.to_pem(),
    }
}
