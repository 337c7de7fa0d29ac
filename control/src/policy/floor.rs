//! The floor: a policy that was in force is never followed by an older one.
//!
//! Whoever can put an old policy back can undo what the site decided since, with a signature that once was
//! good. So the registry keeps the version of the last policy in force and the digest of its bytes: a lower
//! version is refused, and so are other bytes under the same one, which nobody could tell apart in a report.

use std::path::Path;

use base::Sha256Digest;
use serde::{Deserialize, Serialize};

use super::{PolicyFileError, PolicyInForce};
use crate::store::Store;

/// Where the last policy in force is kept.
const SETTING: &str = "policy_in_force";

/// The last policy in force.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Floor {
    version: u64,
    sha256: Sha256Digest,
}

/// Holds the policy that was read from `path` against the last one in force, and keeps it as that before
/// anything is done in its name.
///
/// # Errors
/// As for [`check_floor`].
pub(crate) async fn hold_floor(
    path: &Path,
    read: &PolicyInForce,
    store: &Store,
) -> Result<(), PolicyFileError> {
    if let Some(found) = check_floor(path, read, store).await? {
        let text = serde_json::to_string(&found).expect("a number and a digest");
        store.set_setting(SETTING, text, None).await?;
    }
    Ok(())
}

/// Holds the policy that was read from `path` against the last one in force; what is to be kept where it
/// is a later one.
///
/// # Errors
/// [`PolicyFileError::Older`], [`PolicyFileError::SameVersion`], or what the registry says.
pub(crate) async fn check_floor(
    path: &Path,
    read: &PolicyInForce,
    store: &Store,
) -> Result<Option<Floor>, PolicyFileError> {
    let found = Floor {
        version: read.policy.version,
        sha256: read.digest,
    };
    let known: Option<Floor> = match store.setting(SETTING).await? {
        None => None,
        Some(text) => serde_json::from_str(&text).ok(),
    };
    match known {
        Some(known) if known == found => Ok(None),
        Some(known) if found.version < known.version => Err(PolicyFileError::Older {
            path: path.to_owned(),
            known: known.version,
            found: found.version,
        }),
        Some(known) if found.version == known.version => Err(PolicyFileError::SameVersion {
            path: path.to_owned(),
            version: known.version,
        }),
        _ => Ok(Some(found)),
    }
}
