//! The closing report: a finding, the build that mended it, and the night that found it gone.
//!
//! Signed by the auditor about both builds, so that whoever kept the bad news can file the good news
//! beside it.

use base::{ArtifactDigest, PluginId, Sha256Digest, Timestamp};
use seal::envelope::{self, EnvelopeError};
use seal::trust::{Role, TrustRoot};
use seal::{PredicateType, SigningKey, Statement, Subject};
use serde::{Deserialize, Serialize};

use crate::escape::visible;
use crate::mail::{Address, Mail, closing_letter};
use crate::predicate::{Auditor, FindingId, Period};

/// The signed closing report, as a file.
pub const CLOSING_FILE: &str = "closing.sigstore.json";

/// What a closing report says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClosingReport {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The finding.
    pub finding_id: FindingId,
    /// The finding in one line.
    pub finding: String,
    /// The report that had it.
    pub found_by: Sha256Digest,
    /// The build that was found.
    pub mends: ArtifactDigest,
    /// The build that mended it.
    pub mended_by: ArtifactDigest,
    /// The difference of permissions, in words.
    pub difference: String,
    /// When the new build was admitted.
    pub admitted_at: Timestamp,
    /// By whom.
    pub admitted_by: String,
    /// The night that found it gone.
    pub period: Period,
    /// The report of that night about the new build.
    pub closed_by: Sha256Digest,
    /// The program that judged.
    pub auditor: Auditor,
}

/// Signs a closing report about both builds; gives the Sigstore bundle's bytes.
///
/// # Errors
/// [`EnvelopeError`].
pub fn seal_closing(closing: &ClosingReport, key: &SigningKey) -> Result<Vec<u8>, EnvelopeError> {
    let predicate = serde_json::to_value(closing).map_err(|error| EnvelopeError::Shape {
        detail: error.to_string(),
    })?;
    let statement = Statement {
        subjects: vec![
            Subject::new("mended", closing.mended_by.sha256()),
            Subject::new("found", closing.mends.sha256()),
        ],
        predicate_type: PredicateType::Remediation.uri().to_owned(),
        predicate,
    };
    envelope::seal(&statement, key)
}

/// Verifies a closing report with the keys that `root` gives to auditors, and reads it.
///
/// # Errors
/// [`EnvelopeError`]; nothing is read before the signature verified.
pub fn open_closing(bytes: &[u8], root: &TrustRoot) -> Result<ClosingReport, EnvelopeError> {
    let opened = root.open(bytes, Role::Auditor, PredicateType::Remediation)?;
    serde_json::from_value(opened.statement.predicate.clone()).map_err(|error| EnvelopeError::Shape {
        detail: base::escape_untrusted(error.to_string().as_bytes(), 300),
    })
}

impl ClosingReport {
    /// The closing report as plain text.
    pub fn text(&self, site: &str) -> String {
        let mut text = format!("CLOSED: {}\n\n", visible(&self.finding));
        for (label, value) in self.facts(site) {
            text.push_str(&format!("{label:<14} {value}\n"));
        }
        text
    }

    /// What it says, in order.
    pub(crate) fn facts(&self, site: &str) -> Vec<(&'static str, String)> {
        vec![
            ("Site", visible(site)),
            ("Plugin", self.plugin_id.to_string()),
            ("Finding", self.finding_id.to_string()),
            ("Found in", self.mends.to_string()),
            ("Mended by", self.mended_by.to_string()),
            (
                "Admitted",
                format!("{} by {}", self.admitted_at, visible(&self.admitted_by)),
            ),
            (
                "Permissions",
                crate::escape::short(&self.difference.replace('\n', "; "), 400),
            ),
            ("Gone since", crate::words::period(self.period)),
            ("Report then", self.found_by.to_string()),
            ("Report now", self.closed_by.to_string()),
        ]
    }

    /// The letter about it.
    pub fn letter(&self, site: &str, contact: &str, from: &Address, to: &[Address]) -> Mail {
        closing_letter(self, site, contact, from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{auditor_key, breach, clean, time, trust_root};

    fn closing() -> ClosingReport {
        ClosingReport {
            plugin_id: "invoice_ocr".parse().unwrap(),
            finding_id: breach().findings[0].id,
            finding: "Undeclared host: api.randomsite.com:443".into(),
            found_by: Sha256Digest::of(b"then"),
            mends: ArtifactDigest::new(Sha256Digest::of(b"old")),
            mended_by: ArtifactDigest::new(Sha256Digest::of(b"new")),
            difference: "+ api.randomsite.com".into(),
            admitted_at: time("2026-11-22T09:00:00Z"),
            admitted_by: "ada".into(),
            period: clean().period,
            closed_by: Sha256Digest::of(b"now"),
            auditor: clean().auditor,
        }
    }

    #[test]
    fn what_was_sealed_opens_and_what_was_changed_does_not() {
        let sealed = seal_closing(&closing(), &auditor_key()).unwrap();
        assert_eq!(open_closing(&sealed, &trust_root()).unwrap(), closing());
        let other = SigningKey::ed25519_from_seed(&[7; 32]);
        let forged = seal_closing(&closing(), &other).unwrap();
        assert!(open_closing(&forged, &trust_root()).is_err());
    }

    #[test]
    fn good_news_has_no_line_of_somebody_else() {
        let mut hostile = closing();
        hostile.finding = "x\r\nBcc: y\u{202e}".into();
        hostile.admitted_by = "\u{1b}[2J".into();
        let text = hostile.text("acme");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n') && !text.contains('\u{202e}'));
        let to: Address = "owner@acme.example".parse().unwrap();
        let from: Address = "bailiwick@acme.example".parse().unwrap();
        let letter = hostile.letter("acme", "security@acme.example", &from, &[to]);
        assert!(!letter.subject.contains(['\r', '\n']) && letter.text.contains("Mended by"));
    }
}
