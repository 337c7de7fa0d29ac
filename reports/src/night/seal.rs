//! Sealing and opening a night's summary.

use base::json::JsonError;
use seal::envelope::{self, EnvelopeError};
use seal::trust::{NotAuthorised, Role, TrustRoot};
use seal::{Fingerprint, PredicateType, SigningKey, Statement, Subject};

use super::{NightSummary, REPORTS_FILE};

/// Why a summary was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum NightSealError {
    /// It has no canonical form.
    #[error("the night's summary was not sealed: {0}")]
    Json(#[from] JsonError),
    /// The envelope could not be made.
    #[error("the night's summary was not sealed: {0}")]
    Envelope(#[from] EnvelopeError),
}

/// Why a summary was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenNightError {
    /// Not a bundle, or no auditor's key made its signature.
    #[error("the night's summary was not opened: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The key was no auditor's when the period ended.
    #[error("the night's summary was not opened: {0}")]
    NotAuthorised(#[from] NotAuthorised),
    /// The signed predicate is no summary, or is about another list than it says.
    #[error("the night's summary was not opened: {detail}")]
    Shape {
        /// What does not fit.
        detail: String,
    },
}

/// Signs `summary` about its list of reports; gives the Sigstore bundle's bytes.
///
/// # Errors
/// [`NightSealError`].
pub fn seal_night(summary: &NightSummary, key: &SigningKey) -> Result<Vec<u8>, NightSealError> {
    // A counter beyond 2⁵³ has no canonical form, and the envelope must not be the first to notice.
    base::json::canonical(summary)?;
    let predicate = serde_json::to_value(summary).map_err(|error| EnvelopeError::Shape {
        detail: error.to_string(),
    })?;
    let statement = Statement {
        subjects: vec![Subject::new(REPORTS_FILE, &summary.reports.digest.sha256)],
        predicate_type: PredicateType::NightSummary.uri().to_owned(),
        predicate,
    };
    Ok(envelope::seal(&statement, key)?)
}

/// Verifies a summary with the keys that `root` gives to auditors, and reads it.
///
/// # Errors
/// [`OpenNightError`]; nothing is read before the signature verified.
pub fn open_night(bytes: &[u8], root: &TrustRoot) -> Result<(NightSummary, Fingerprint), OpenNightError> {
    let verified = root.open(bytes, Role::Auditor, PredicateType::NightSummary)?;
    let summary: NightSummary =
        serde_json::from_value(verified.statement.predicate.clone()).map_err(|error| {
            OpenNightError::Shape {
                detail: base::escape_untrusted(error.to_string().as_bytes(), 300),
            }
        })?;
    crate::sealed::authorise(root, &verified.signer, None, summary.period.to)?;
    let is_about_its_list = verified.statement.subjects
        == [Subject::new(REPORTS_FILE, &summary.reports.digest.sha256)]
        && summary.reports.name == REPORTS_FILE;
    if !is_about_its_list {
        return Err(OpenNightError::Shape {
            detail: "it is about another list of reports than it says".to_owned(),
        });
    }
    Ok((summary, verified.signer))
}
