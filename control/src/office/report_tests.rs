//! Pages of reports that are made when somebody asks.

use ::reports::predicate::{ConformanceReport, DocumentReference, Period};
use ::reports::{AppealClocks, Changes, EvidenceFile, SignedFile, Surroundings, seal_report_named};
use base::{Sha256Digest, Tier};
use seal::envelope::Sealed;
use seal::trust::{Role, Scope, Signer};

use super::{Office, OfficeError, page};
use crate::report_files::{REPORT_FILE, RUNS_FILE, SURROUNDINGS_FILE};
use crate::store::{Line, ReportRecord};
use crate::testing::{NOW, Site, key};
use crate::words::Form;

const CONFORMING: &[u8] = include_bytes!("../../../tests/vectors/reports/conforming.report.json");
const EVIDENCE: (&str, &[u8]) = ("evidence-of-the-artifact.tar.zst", b"not looked into here");

/// A site whose trust root names an auditor.
async fn office(site: &Site) -> Office {
    let mut root = site.first_root();
    root.signers.push(Signer {
        name: "auditor".into(),
        key: key(7).public(),
        role: Role::Auditor,
        scopes: vec![Scope::All],
        valid_from: NOW.plus_seconds(-86_400),
        valid_until: None,
    });
    site.write_root(&root);
    site.office().await
}

/// The report about a run for the night `day` days later.
fn report(day: i64, previous: Option<Sha256Digest>) -> ConformanceReport {
    let mut report = ConformanceReport::parse(CONFORMING).unwrap();
    report.run_id = Some(base::RunId::from_parts(1, [7; 10]));
    let moved = |moment: base::Timestamp| moment.plus_seconds(day * 86_400);
    report.period = Period {
        from: moved(report.period.from),
        to: moved(report.period.to),
    };
    report.previous_report = previous.map(DocumentReference::new);
    if day == 0 {
        report.observed.clear();
        report.verdict = report.verdict_that_follows();
    }
    report
}

fn surroundings() -> Surroundings {
    Surroundings {
        site: "acme".into(),
        artifact_name: "weather-1.0.whl".into(),
        version: Some("1.0".into()),
        tier: Tier::High,
        owner: Some("Weather team".into()),
        security_contact: "security@acme.example".into(),
        appeals: AppealClocks::default(),
        key_name: "auditor.pub".into(),
    }
}

/// Keeps a report as a night does: the second line of its artifact's file.
async fn keep(site: &Site, office: &Office, report: &ConformanceReport) -> (Sealed, ReportRecord) {
    let evidence = Sha256Digest::of(EVIDENCE.1);
    let bound = Some((EVIDENCE.0, &evidence));
    let sealed = seal_report_named(report, "weather-1.0.whl", bound, &key(7)).unwrap();
    let folder = site.path(&format!("night-{}", report.period.to.unix_us()));
    std::fs::create_dir(&folder).unwrap();
    let first = b"{\"another\":\"run\"}\n";
    let lines = [&first[..], &sealed.bundle, b"\n"].concat();
    std::fs::write(folder.join(RUNS_FILE), lines).unwrap();
    std::fs::write(folder.join(EVIDENCE.0), EVIDENCE.1).unwrap();
    let kept = serde_json::to_vec(&surroundings()).unwrap();
    std::fs::write(folder.join(SURROUNDINGS_FILE), kept).unwrap();
    let record = ReportRecord {
        report_id: Sha256Digest::of(&sealed.bundle),
        plugin_id: report.plugin_id.clone(),
        artifact_digest: Some(report.artifact_digest),
        run_id: report.run_id,
        from: report.period.from,
        to: report.period.to,
        verdict: report.verdict,
        folder: folder.to_str().unwrap().to_owned(),
        line: Some(Line {
            at: first.len() as u64,
            bytes: sealed.bundle.len() as u64,
        }),
        created_at: NOW,
    };
    let store = office.store();
    assert_eq!(store.add_reports(vec![record.clone()]).await.unwrap(), 1);
    (sealed, record)
}

#[tokio::test]
async fn a_page_made_later_is_the_page_that_the_night_would_have_written() {
    let site = Site::new();
    let office = office(&site).await;
    let first = report(0, None);
    let (sealed_first, before) = keep(&site, &office, &first).await;
    let second = report(1, Some(sealed_first.payload_digest));
    let (sealed, record) = keep(&site, &office, &second).await;
    // An audit by hand of the time between is not what the report names.
    let mut between = report(0, None);
    between.period.to = between.period.to.plus_seconds(3600);
    between.period.from = between.period.from.plus_seconds(3600);
    between.observed.clone_from(&second.observed);
    between.verdict = between.verdict_that_follows();
    keep(&site, &office, &between).await;

    let context = |changes| {
        let signed = SignedFile {
            name: REPORT_FILE.into(),
            payload_digest: sealed.payload_digest,
            key: key(7).public(),
            key_name: "auditor.pub".into(),
        };
        let evidence = EvidenceFile {
            name: EVIDENCE.0.into(),
            digest: Sha256Digest::of(EVIDENCE.1),
            size_bytes: EVIDENCE.1.len() as u64,
        };
        surroundings().of(signed, Some(evidence), changes)
    };
    let of_that_night = context(Some(Changes::between(&first, &second)));
    for form in Form::ALL {
        let made = office.report_page(record.report_id, *form).await.unwrap();
        assert!(made == page(&second, &of_that_night, *form), "{form}");
    }
    let made = office.report_page(record.report_id, Form::Text).await.unwrap();
    assert!(
        String::from_utf8(made)
            .unwrap()
            .contains("Destinations not seen before")
    );

    // Where the report before is gone, the page says nothing of what changed, and everything else.
    std::fs::remove_dir_all(&before.folder).unwrap();
    let made = office.report_page(record.report_id, Form::Text).await.unwrap();
    assert!(made == page(&second, &context(None), Form::Text));
}

#[tokio::test]
async fn no_page_is_made_of_a_line_that_was_changed() {
    let site = Site::new();
    let office = office(&site).await;
    let (_, record) = keep(&site, &office, &report(0, None)).await;
    let path = std::path::Path::new(&record.folder).join(RUNS_FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() - 30;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let refused = office
        .report_page(record.report_id, Form::Html)
        .await
        .unwrap_err();
    assert!(matches!(refused, OfficeError::Report { .. }), "{refused}");
}
