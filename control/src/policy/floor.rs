//! The floor: a policy that was in force is never followed by an older one.
//!
//! Whoever can put an old policy back can undo what the site decided since, with a signature that once was
//! good. So the registry keeps the version of the last policy in force and the digest of its bytes: a lower
//! version is refused, and so are other bytes under the same one, which nobody could tell apart in a report.
//! Where the last one was signed, an unsigned one is refused too: whoever can take a signature away could
//! write whatever they like into the file. That a version is followed for the first time is an act on record.

use std::collections::BTreeSet;
use std::path::Path;

use base::{Sha256Digest, Timestamp};
use seal::trust::{Role, TrustRoot};
use serde::{Deserialize, Serialize};

use super::{PolicyFileError, PolicyInForce};
use crate::store::{Act, Store};
use crate::words::Action;

/// Where the last policy in force is kept.
const SETTING: &str = "policy_in_force";

/// The last policy in force.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Floor {
    version: u64,
    sha256: Sha256Digest,
    /// Whether a certifier had signed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    signed: bool,
}

/// What is to be kept as the last policy in force.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rise {
    to: Floor,
    /// Whether this version was not followed before.
    is_new: bool,
}

/// Holds the policy that was read from `path` against the last one in force, and keeps it as that before
/// anything is done in its name.
///
/// # Errors
/// As for [`check_floor`].
pub(crate) async fn hold_floor(
    path: &Path,
    read: &PolicyInForce,
    trust: &TrustRoot,
    store: &Store,
    now: Timestamp,
) -> Result<(), PolicyFileError> {
    if let Some(rise) = check_floor(path, read, store).await? {
        let text = serde_json::to_string(&rise.to).expect("a number and a digest");
        if !rise.is_new {
            return Ok(store.set_setting(SETTING, text, None).await?);
        }
        // Whoever was first among several that read the file at one time writes it down.
        store
            .change_setting(SETTING, text, came_into_force(read, trust, now))
            .await?;
    }
    Ok(())
}

/// The act: which policy it is, who signed it, and who answers for its clauses.
fn came_into_force(read: &PolicyInForce, trust: &TrustRoot, now: Timestamp) -> Act {
    let signer = read.signed_by.map(|key| {
        let held =
            |signer: &&seal::trust::Signer| signer.role == Role::Certifier && signer.key.fingerprint() == key;
        let name = trust
            .signers
            .iter()
            .find(held)
            .map_or("certifier", |signer| signer.name.as_str());
        (name.to_owned(), key)
    });
    let enabled: BTreeSet<&str> = read
        .policy
        .clauses()
        .map(|(_, _, clause)| clause.enabled_by.as_str())
        .collect();
    let enabled: Vec<&str> = enabled.into_iter().collect();
    let (who, signed) = match signer {
        Some((name, key)) => (name, format!("signed by {key}")),
        None => ("whoever wrote the file".to_owned(), "not signed".to_owned()),
    };
    Act {
        at: now,
        who,
        action: Action::Policy,
        target: format!("policy version {}", read.policy.version),
        reason: None,
        note: Some(format!("sha256:{}, {signed}", read.digest.to_hex())),
        clause: None,
        enabled_by: (!enabled.is_empty()).then(|| enabled.join(", ")),
        crl_number: None,
    }
}

/// Holds the policy that was read from `path` against the last one in force; what is to be kept where it
/// is a later one.
///
/// # Errors
/// [`PolicyFileError::Older`], [`PolicyFileError::SameVersion`], [`PolicyFileError::SignatureGone`], or what the registry says.
pub(crate) async fn check_floor(
    path: &Path,
    read: &PolicyInForce,
    store: &Store,
) -> Result<Option<Rise>, PolicyFileError> {
    let found = Floor {
        version: read.policy.version,
        sha256: read.digest,
        signed: read.signed_by.is_some(),
    };
    let known: Option<Floor> = match store.setting(SETTING).await? {
        None => None,
        Some(text) => serde_json::from_str(&text).ok(),
    };
    match known {
        Some(known) if known == found => Ok(None),
        Some(known) if known.signed && !found.signed => Err(PolicyFileError::SignatureGone {
            path: path.to_owned(),
            known: known.version,
        }),
        Some(known) if found.version < known.version => Err(PolicyFileError::Older {
            path: path.to_owned(),
            known: known.version,
            found: found.version,
        }),
        // The same words, signed since.
        Some(known) if known.version == found.version && known.sha256 == found.sha256 => Ok(Some(Rise {
            to: found,
            is_new: false,
        })),
        Some(known) if found.version == known.version => Err(PolicyFileError::SameVersion {
            path: path.to_owned(),
            version: known.version,
        }),
        _ => Ok(Some(Rise {
            to: found,
            is_new: true,
        })),
    }
}
