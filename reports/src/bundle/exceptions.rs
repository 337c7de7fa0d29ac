//! Exceptions in a bundle: what was let pass, and whether the two who signed that stand behind it.
//!
//! A report says that something is let pass; who signed that, until when it counts and when it was used
//! has to be seen here, or a stranger would have to believe it.

use std::collections::BTreeMap;

use base::{PolicyException, Sha256Digest, Timestamp};
use seal::exception::Signatures;
use seal::trust::TrustRoot;
use serde::{Deserialize, Serialize};

use super::layout;

/// That a report relied on an exception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionUse {
    /// The first moment at which something was let pass; absent where the report only names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    /// The last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// The digest of the exception's words.
    pub sha256: Sha256Digest,
}

/// What is read of the auditor's inputs.
#[derive(Default, Deserialize)]
struct Inputs {
    #[serde(default)]
    exceptions: Vec<ExceptionUse>,
}

/// The uses of exceptions that the bundle tells.
///
/// # Errors
/// A sentence that says why they cannot be read.
pub(super) fn uses(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<ExceptionUse>, String> {
    let Some(inputs) = files.get(layout::INPUTS) else {
        return Ok(Vec::new());
    };
    let value = base::json::parse(inputs).map_err(|error| error.to_string())?;
    let inputs: Inputs = serde_json::from_value(value).map_err(|error| error.to_string())?;
    Ok(inputs.exceptions)
}

/// The exception whose words these are.
///
/// # Errors
/// A sentence that says why they are none.
pub(super) fn read(name: &str, words: &[u8]) -> Result<PolicyException, String> {
    let value = base::json::parse(words).map_err(|error| error.to_string())?;
    let exception: PolicyException = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if seal::exception::words(&exception) != words {
        return Err("these are not the words that two people sign".to_owned());
    }
    let place = format!(
        "{}{}",
        layout::folder_of_exception(&Sha256Digest::of(words)),
        layout::EXCEPTION
    );
    if name != place {
        return Err("it lies under the name of another exception".to_owned());
    }
    Ok(exception)
}

/// Holds the signatures beside an exception against the trust root, and its end against its use.
///
/// # Errors
/// What is missing.
pub(super) fn verify(
    files: &BTreeMap<String, Vec<u8>>,
    name: &str,
    words: &[u8],
    trust: &TrustRoot,
) -> Result<String, String> {
    let exception = read(name, words)?;
    let folder = name.strip_suffix(layout::EXCEPTION).unwrap_or(name);
    let mut signatures = Signatures::of(&exception, trust);
    for (file, bundle) in files.range(folder.to_owned()..) {
        if !file.starts_with(folder) {
            break;
        }
        if file != name {
            // What does not count is said where it leaves a signature missing.
            drop(signatures.add(file, bundle.clone()));
        }
    }
    signatures.both()?;
    let mut said = format!(
        "let pass until {}, signed by {}",
        exception.until,
        crate::escape::visible(&exception.signers())
    );
    let digest = Sha256Digest::of(words);
    for used in uses(files)?.iter().filter(|used| used.sha256 == digest) {
        let (Some(first), Some(last)) = (used.first, used.last) else {
            continue;
        };
        if !exception.stands(last) {
            return Err(format!(
                "it ran out at {} and was used at {last}",
                exception.until
            ));
        }
        said.push_str(&format!(", used from {first} to {last}"));
    }
    Ok(said)
}
