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

/// Reads the trust root that stands in the place of `known` by now, version by version, each signed as the
/// one before it asks.
///
/// # Errors
/// A version in between is missing, or is not signed as it has to be.
pub fn follow(path: &Path, known: &TrustRoot) -> anyhow::Result<TrustRoot> {
    let newest = read(path)?;
    let mut root = known.clone();
    while root.version < newest.version {
        let next = root.version + 1;
        let path = if next == newest.version {
            path.to_owned()
        } else {
            path.with_extension(format!("{next}.json"))
        };
        let bytes = files::read_limited(&path, base::json::MAX_BYTES)
            .with_context(|| format!("cannot read trust root {}", path.display()))?;
        root = root
            .parse_successor(&bytes)
            .with_context(|| format!("{}", path.display()))?;
    }
    Ok(root)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_followed_by_what_each_version_asks_of_the_next_and_by_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.json");
        let [own, foreign] = [[1; 32], [2; 32]].map(|seed| SigningKey::ed25519_from_seed(&seed));
        let expires = base::Timestamp::from_unix_us(4_000_000_000_000_000);
        let first = TrustRoot::first(vec![own.public()], 1, expires);
        let version = |version| TrustRoot {
            version,
            ..first.clone()
        };
        let write = |name: &str, root: &TrustRoot, key: &SigningKey| {
            std::fs::write(folder.path().join(name), root.sign(&[key]).unwrap()).unwrap();
        };
        write("root.json", &first, &own);
        assert_eq!(follow(&path, &first).unwrap().version, 1);
        write("root.2.json", &version(2), &own);
        write("root.json", &version(3), &own);
        assert_eq!(follow(&path, &first).unwrap().version, 3);
        // An older one leads nowhere, and what somebody else signed is refused.
        assert_eq!(follow(&path, &version(5)).unwrap().version, 5);
        let usurped = TrustRoot {
            root_keys: vec![foreign.public()],
            ..version(2)
        };
        write("root.2.json", &usurped, &foreign);
        assert!(follow(&path, &first).is_err());
        std::fs::remove_file(folder.path().join("root.2.json")).unwrap();
        assert!(follow(&path, &first).is_err());
    }
}
