//! The trust root's file, and how it changes: version by version, signed by the root keys.

use std::path::Path;

use anyhow::Context as _;
use seal::trust::TrustRoot;
use seal::{SigningKey, key_file};

use crate::config::Config;
use crate::files;

/// Reads the trust root.
///
/// # Errors
/// The file is missing, or is not a root signed by its own keys.
pub fn read(path: &Path) -> anyhow::Result<TrustRoot> {
    let bytes = files::read_limited(path, base::json::MAX_BYTES)
        .with_context(|| format!("cannot read trust root {}", path.display()))?;
    TrustRoot::parse(&bytes).with_context(|| format!("{}", path.display()))
}

/// Signs `next` with the site's root key and puts it in the place of its predecessor, which is kept
/// beside it as `root.<version>.json`.
///
/// # Errors
/// The root key cannot be read, does not suffice, or the file cannot be written.
pub fn replace(config: &Config, next: &TrustRoot) -> anyhow::Result<()> {
    let path = config.trust_root_path();
    let key = key_file::read_private(&config.keys_dir().join("root.pem"))?;
    let bytes = next.sign(&[&key])?;
    let previous =
        std::fs::read(&path).with_context(|| format!("cannot read trust root {}", path.display()))?;
    let current = TrustRoot::parse(&previous)?;
    current.parse_successor(&bytes)?;
    files::replace(
        &path.with_extension(format!("{}.json", current.version)),
        &previous,
    )
    .and_then(|()| files::replace(&path, &bytes))
    .with_context(|| format!("cannot write trust root {}", path.display()))
}

/// Writes the first version.
///
/// # Errors
/// The file exists or cannot be written.
pub fn create(path: &Path, root: &TrustRoot, key: &SigningKey) -> anyhow::Result<()> {
    anyhow::ensure!(!path.exists(), "{} exists; a site is made once", path.display());
    files::replace(path, &root.sign(&[key])?)
        .with_context(|| format!("cannot write trust root {}", path.display()))
}
