//! The trust root, read anew whenever it counts and never believed on its own word.
//!
//! `root.json` is signed by its own root keys, so a file that somebody swaps for another house's
//! root would verify against itself. The first root that this site ever used is therefore kept in the
//! registry, and every later file must have been signed by the root keys kept there: changes are
//! welcome, strangers and older versions are not.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base::{Timestamp, json};
use seal::trust::{TrustRoot, TrustRootError};

use crate::store::{Act, Store, StoreError};
use crate::words::Action;

/// Where the last root that was believed is kept.
const SETTING: &str = "trust_root";

/// Why the trust root is not used. Loads are refused; what runs goes on.
#[derive(Debug, thiserror::Error)]
pub enum TrustFileError {
    /// The file cannot be read.
    #[error("cannot read trust root {path}; restore it from a backup")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no trust root, or its signatures do not hold.
    #[error("trust root {path} is refused")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TrustRootError,
    },
    /// The root keys of the root used so far did not sign this one.
    #[error(
        "trust root {path} (version {found}) was not signed by the root keys of version {known}; restore it"
    )]
    Stranger {
        /// The file.
        path: PathBuf,
        /// The version used so far.
        known: u64,
        /// The version in the file.
        found: u64,
        /// What the comparison said.
        source: TrustRootError,
    },
    /// An older version than the one used so far, or the same with other contents.
    #[error(
        "trust root {path} has version {found} and version {known} was used already; restore the newest root.json"
    )]
    Rollback {
        /// The file.
        path: PathBuf,
        /// The version used so far.
        known: u64,
        /// The version in the file.
        found: u64,
    },
    /// Its time is over, so nothing new is loaded on its word.
    #[error("trust root {path} expired at {at}; sign a newer one with the root keys")]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        at: Timestamp,
    },
    /// The registry cannot be asked which root was used so far.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads the trust root at `path` and holds it against the one used so far.
///
/// # Errors
/// [`TrustFileError`].
pub(crate) async fn read(path: &Path, store: &Store, now: Timestamp) -> Result<TrustRoot, TrustFileError> {
    let bytes = read_file(path)?;
    let refused = |source| TrustFileError::Refused {
        path: path.to_owned(),
        source,
    };
    let found = TrustRoot::parse(&bytes).map_err(refused)?;
    match store.setting(SETTING).await? {
        None => keep(store, &bytes, &found, now).await?,
        Some(known) => {
            let known = TrustRoot::parse(known.as_bytes()).map_err(refused)?;
            if found != known {
                check_successor(path, &known, &found, &bytes)?;
                keep(store, &bytes, &found, now).await?;
            }
        }
    }
    Ok(found)
}

/// Whether loads may rest on `root`. Nothing else asks: a list can be issued and a run can go on under
/// a root whose time is over, since neither would be safer without.
pub(crate) fn check_expiry(path: &Path, root: &TrustRoot, now: Timestamp) -> Result<(), TrustFileError> {
    if now < root.expires {
        return Ok(());
    }
    Err(TrustFileError::Expired {
        path: path.to_owned(),
        at: root.expires,
    })
}

/// Versions may be skipped, since nobody needs to have looked at each; the signatures of the known
/// root keys may not.
fn check_successor(
    path: &Path,
    known: &TrustRoot,
    found: &TrustRoot,
    bytes: &[u8],
) -> Result<(), TrustFileError> {
    if found.version <= known.version {
        return Err(TrustFileError::Rollback {
            path: path.to_owned(),
            known: known.version,
            found: found.version,
        });
    }
    let predecessor = TrustRoot {
        version: found.version - 1,
        ..known.clone()
    };
    predecessor
        .parse_successor(bytes)
        .map(drop)
        .map_err(|source| TrustFileError::Stranger {
            path: path.to_owned(),
            known: known.version,
            found: found.version,
            source,
        })
}

async fn keep(store: &Store, bytes: &[u8], root: &TrustRoot, now: Timestamp) -> Result<(), StoreError> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let act = Act {
        at: now,
        who: "root keys".to_owned(),
        action: Action::TrustRoot,
        target: format!("version {}", root.version),
        reason: None,
        note: None,
        clause: None,
        enabled_by: None,
        crl_number: None,
    };
    store.set_setting(SETTING, text, Some(act)).await
}

fn read_file(path: &Path) -> Result<Vec<u8>, TrustFileError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(json::MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| TrustFileError::Read {
            path: path.to_owned(),
            source,
        })?;
    Ok(bytes)
}
