//! Sealing and opening: a report as a signed document that stock tools verify.

use base::{PluginId, Sha256Digest, Timestamp};
use seal::envelope::{self, EnvelopeError, Sealed, Verified};
use seal::trust::{NotAuthorised, Role, TrustRoot};
use seal::{Fingerprint, PredicateType, SigningKey, Statement, Subject};

use crate::predicate::{ConformanceReport, InvalidReport};

/// Longer names are no file names anywhere.
const MAX_NAME_BYTES: usize = 255;

/// Why a report was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The report contradicts itself; nobody signs that.
    #[error("report on {plugin_id} not sealed: {source}")]
    Report {
        /// The plugin.
        plugin_id: PluginId,
        /// What is wrong with it.
        source: InvalidReport,
    },
    /// A subject's name that cannot be the name of a file.
    #[error(
        "report not sealed: {name:?} cannot be a file's name; use 1 to 255 printable characters without \"/\""
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The envelope could not be made.
    #[error("report on {plugin_id} not sealed: {source}")]
    Envelope {
        /// The plugin.
        plugin_id: PluginId,
        /// What is wrong.
        source: EnvelopeError,
    },
    /// The report is larger than any reader takes.
    #[error("report on {plugin_id} not sealed: it has {bytes} bytes; shorten it with fit()")]
    TooLarge {
        /// The plugin.
        plugin_id: PluginId,
        /// The bundle's size.
        bytes: usize,
    },
}

/// Why a report was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not a bundle, or no auditor's key made its signature.
    #[error("report not opened: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The signed predicate is no report, or contradicts itself.
    #[error("report not opened: {0}")]
    Report(#[from] InvalidReport),
    /// The key may not speak about this plugin, or no longer could when the period ended.
    #[error("report not opened: {0}")]
    NotAuthorised(#[from] NotAuthorised),
    /// The statement is about something else than the report in it.
    #[error("report not opened: {detail}")]
    Subjects {
        /// What does not fit.
        detail: &'static str,
    },
}

/// A report whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedReport {
    /// The report.
    pub report: ConformanceReport,
    /// What the artifact is called.
    pub artifact_name: String,
    /// The evidence bundle's name and digest, where there is one.
    pub evidence_bundle: Option<(String, Sha256Digest)>,
    /// The key that verified.
    pub signer: Fingerprint,
    /// The digest of the payload: how the next report names this one.
    pub payload_digest: Sha256Digest,
}

/// Signs `report` about the artifact called `artifact_name`, and binds the evidence bundle to it.
/// Returns the Sigstore bundle's bytes.
///
/// # Errors
/// [`SealError`]; a report that contradicts itself is not signed.
pub fn seal_report(
    report: &ConformanceReport,
    artifact_name: &str,
    evidence_bundle: Option<(&str, &Sha256Digest)>,
    key: &SigningKey,
) -> Result<Vec<u8>, SealError> {
    Ok(seal_report_named(report, artifact_name, evidence_bundle, key)?.bundle)
}

/// Signs `report`, as [`seal_report`] does, and says how the next report names it.
///
/// # Errors
/// As [`seal_report`].
pub fn seal_report_named(
    report: &ConformanceReport,
    artifact_name: &str,
    evidence_bundle: Option<(&str, &Sha256Digest)>,
    key: &SigningKey,
) -> Result<Sealed, SealError> {
    let plugin_id = || report.plugin_id.clone();
    let predicate = report
        .check()
        .map_err(InvalidReport::from)
        .and_then(|()| {
            serde_json::to_value(report).map_err(|e| InvalidReport::Shape {
                detail: e.to_string(),
            })
        })
        .map_err(|source| SealError::Report {
            plugin_id: plugin_id(),
            source,
        })?;
    check_name(artifact_name)?;
    let mut subjects = vec![Subject::new(artifact_name, report.artifact_digest.sha256())];
    if let Some((name, digest)) = evidence_bundle {
        check_name(name)?;
        subjects.push(Subject::new(name, digest));
    }
    let statement = Statement {
        subjects,
        predicate_type: PredicateType::ConformanceReport.uri().to_owned(),
        predicate,
    };
    let sealed = envelope::seal_named(&statement, key).map_err(|source| SealError::Envelope {
        plugin_id: plugin_id(),
        source,
    })?;
    if sealed.bundle.len() > base::json::MAX_BYTES {
        return Err(SealError::TooLarge {
            plugin_id: plugin_id(),
            bytes: sealed.bundle.len(),
        });
    }
    Ok(sealed)
}

/// Verifies a report with the keys that `root` gives to auditors, and reads it.
///
/// # Errors
/// [`OpenError`]; nothing of the report is read before the signature verified.
pub fn open_report(bytes: &[u8], root: &TrustRoot) -> Result<OpenedReport, OpenError> {
    let verified = root.open(bytes, Role::Auditor, PredicateType::ConformanceReport)?;
    let report = ConformanceReport::from_value(verified.statement.predicate.clone())?;
    authorise(root, &verified.signer, Some(&report.plugin_id), report.period.to)?;
    let (artifact_name, evidence_bundle) = subjects(&verified, &report)?;
    Ok(OpenedReport {
        artifact_name,
        evidence_bundle,
        signer: verified.signer,
        payload_digest: verified.payload_digest(),
        report,
    })
}

/// A report is signed after its period ended, by how much nobody outside can tell. So a key that
/// came later may sign about an earlier night (that is how a missed one is caught up), and a key
/// whose time was over when the period ended may not.
pub(crate) fn authorise(
    root: &TrustRoot,
    signer: &Fingerprint,
    plugin: Option<&PluginId>,
    period_end: Timestamp,
) -> Result<(), NotAuthorised> {
    let from = root
        .signers
        .iter()
        .filter(|s| s.role == Role::Auditor && s.key.fingerprint() == *signer)
        .map(|s| s.valid_from)
        .find(|&from| {
            root.authorises(signer, Role::Auditor, plugin, from.max(period_end))
                .is_ok()
        });
    let at = from.map_or(period_end, |from| from.max(period_end));
    root.authorises(signer, Role::Auditor, plugin, at).map(|_| ())
}

type Subjects = (String, Option<(String, Sha256Digest)>);

fn subjects(verified: &Verified, report: &ConformanceReport) -> Result<Subjects, OpenError> {
    let misfit = |detail| OpenError::Subjects { detail };
    let (artifact, evidence) = match verified.statement.subjects.as_slice() {
        [artifact] => (artifact, None),
        [artifact, evidence] => (artifact, Some(evidence)),
        _ => {
            return Err(misfit(
                "it has more subjects than an artifact and an evidence bundle",
            ));
        }
    };
    if !artifact.is_artifact(&report.artifact_digest) {
        return Err(misfit("its subject is not the artifact that the report is about"));
    }
    let evidence = match evidence {
        None => None,
        Some(subject) => {
            let digest = subject.sha256();
            let digest = digest.ok_or_else(|| misfit("its evidence bundle has no SHA-256"))?;
            Some((subject.name.clone(), digest))
        }
    };
    Ok((artifact.name.clone(), evidence))
}

fn check_name(name: &str) -> Result<(), SealError> {
    let fits = !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.contains('/')
        && crate::escape::visible(name) == name;
    if fits {
        Ok(())
    } else {
        Err(SealError::Name {
            name: crate::escape::short(name, 80),
        })
    }
}

#[cfg(test)]
mod tests {
    use seal::trust::Signer;

    use super::*;
    use crate::testing::{auditor_key, breach, time};

    fn root() -> TrustRoot {
        let root_key = SigningKey::ed25519_from_seed(&[90; 32]).public();
        TrustRoot::first(vec![root_key], 1, time("2030-01-01T00:00:00Z")).with_signer(auditor())
    }

    fn auditor() -> Signer {
        Signer {
            name: "auditor".into(),
            key: auditor_key().public(),
            role: Role::Auditor,
            scopes: vec!["*".parse().unwrap()],
            valid_from: time("2026-01-01T00:00:00Z"),
            valid_until: None,
        }
    }

    fn evidence() -> Sha256Digest {
        Sha256Digest::of(b"evidence")
    }

    fn sealed() -> Vec<u8> {
        let evidence = evidence();
        seal_report(&breach(), "p.whl", Some(("e.tar.zst", &evidence)), &auditor_key()).unwrap()
    }

    #[test]
    fn a_sealed_report_opens_and_says_the_same() {
        let opened = open_report(&sealed(), &root()).unwrap();
        assert_eq!(opened.report, breach());
        assert_eq!(opened.artifact_name, "p.whl");
        assert_eq!(opened.evidence_bundle, Some(("e.tar.zst".to_owned(), evidence())));
        assert_eq!(opened.signer, auditor_key().public().fingerprint());
    }

    #[test]
    fn the_same_report_is_the_same_bytes() {
        assert_eq!(sealed(), sealed());
    }

    #[test]
    fn a_report_that_contradicts_itself_is_not_signed() {
        let mut lie = breach();
        lie.verdict = base::Verdict::Conforming;
        let error = seal_report(&lie, "p.whl", None, &auditor_key()).unwrap_err();
        assert!(matches!(error, SealError::Report { .. }), "{error}");
    }

    #[test]
    fn a_signed_lie_does_not_open() {
        let mut lie = breach();
        lie.verdict = base::Verdict::Conforming;
        let statement = Statement {
            subjects: vec![Subject::new("p.whl", lie.artifact_digest.sha256())],
            predicate_type: PredicateType::ConformanceReport.uri().to_owned(),
            predicate: serde_json::to_value(&lie).unwrap(),
        };
        let bundle = envelope::seal(&statement, &auditor_key()).unwrap();
        assert!(matches!(
            open_report(&bundle, &root()),
            Err(OpenError::Report(InvalidReport::Inconsistent(_)))
        ));
    }

    #[test]
    fn one_changed_byte_never_opens() {
        let bundle = sealed();
        for at in (0..bundle.len()).step_by(97) {
            let mut changed = bundle.clone();
            changed[at] ^= 1;
            if let Ok(opened) = open_report(&changed, &root()) {
                // The bundle's hint and keyid are the only words that no signature covers.
                assert_eq!(opened.report, breach(), "changed at {at}");
            }
        }
    }

    #[test]
    fn only_an_auditor_for_this_plugin_and_time_is_believed() {
        let with = |change: fn(&mut Signer)| {
            let mut root = root();
            change(&mut root.signers[0]);
            open_report(&sealed(), &root)
        };
        assert!(matches!(
            with(|s| s.role = Role::Owner),
            Err(OpenError::Envelope(_))
        ));
        assert!(matches!(
            with(|s| s.scopes = vec!["other".parse().unwrap()]),
            Err(OpenError::NotAuthorised(NotAuthorised::Scope { .. }))
        ));
        assert!(matches!(
            with(|s| s.valid_until = Some(time("2026-11-21T12:00:00Z"))),
            Err(OpenError::NotAuthorised(NotAuthorised::Time { .. }))
        ));
        assert!(with(|s| s.valid_until = Some(time("2026-11-23T00:00:00Z"))).is_ok());
        // A missed night, caught up by the key that came after it.
        assert!(with(|s| s.valid_from = time("2026-12-01T00:00:00Z")).is_ok());
    }

    #[test]
    fn a_statement_about_another_artifact_does_not_open() {
        let statement = Statement {
            subjects: vec![Subject::new("p.whl", &Sha256Digest::of(b"another"))],
            predicate_type: PredicateType::ConformanceReport.uri().to_owned(),
            predicate: serde_json::to_value(breach()).unwrap(),
        };
        let bundle = envelope::seal(&statement, &auditor_key()).unwrap();
        assert!(matches!(
            open_report(&bundle, &root()),
            Err(OpenError::Subjects { .. })
        ));
    }

    #[test]
    fn a_name_that_no_file_has_is_not_signed() {
        for name in ["", "a/b", "a\nb", "a\u{202e}b"] {
            let error = seal_report(&breach(), name, None, &auditor_key()).unwrap_err();
            assert!(matches!(error, SealError::Name { .. }), "{name:?}");
        }
    }
}
