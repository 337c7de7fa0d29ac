use base::Sha256Digest;

use super::*;
use crate::Changes;
use crate::mail::Night;
use crate::testing::{auditor_key, breach, clean, context, doubtful, golden, hostile, silent, time};

fn listed() -> Vec<Listed> {
    let report = |path: &str| Listed {
        path: path.to_owned(),
        digest: Sha256Digest::of(path.as_bytes()),
    };
    vec![
        report("../weather/9a/report.sigstore.json"),
        report("../invoice_ocr/4c/report.sigstore.json"),
    ]
}

fn week(from: &str, non_conforming: u64) -> Week {
    Week {
        from: time(from),
        verdicts: Verdicts {
            conforming: 40,
            non_conforming,
            inconclusive: 1,
            no_traffic: 7,
        },
        builds_not_conforming: non_conforming.div_ceil(2),
    }
}

fn auditor() -> Auditor {
    clean().auditor
}

fn summary() -> NightSummary {
    let (held, good, unclear, quiet) = (breach(), clean(), doubtful(), silent());
    let mut running = breach();
    running.actions.pop();
    running.plugin_id = "zeta".parse().unwrap();
    let mut changed = context();
    changed.changes = Some(Changes::between(&clean(), &held));
    let plain = context();
    let night = Night {
        site: "acme",
        period: held.period,
        reports: vec![
            (&good, &plain),
            (&held, &changed),
            (&unclear, &plain),
            (&running, &plain),
            (&quiet, &plain),
        ],
        notices: vec!["the owner of weather cannot be reached: its manifest names no address".into()],
        weeks: Vec::new(),
    };
    let weeks = vec![
        week("2026-11-16T00:00:00Z", 2),
        week("2026-11-09T00:00:00Z", 0),
        week("2026-11-02T00:00:00Z", 9),
    ];
    NightSummary::of(&night, auditor(), &listed(), 2, weeks)
}

fn signed() -> crate::SignedFile {
    context().signed.unwrap()
}

#[test]
fn a_summary_reads_as_in_the_golden_files() {
    let summary = summary();
    let mut json = serde_json::to_vec_pretty(&summary).unwrap();
    json.push(b'\n');
    assert_eq!(serde_json::from_slice::<NightSummary>(&json).unwrap(), summary);
    golden("night.summary.json", &json);
    golden("night.html", html(&summary, &signed()).as_bytes());
    golden("night.txt", text(&summary, &signed()).as_bytes());
    golden("reports.sha256", reports_file(&listed()).as_bytes());
    golden(
        "night.sigstore.json",
        &seal_night(&summary, &auditor_key()).unwrap(),
    );
}

#[test]
fn what_still_runs_comes_first_and_numbers_agree() {
    let summary = summary();
    assert_eq!(
        summary.needs_you.iter().map(|need| need.ask).collect::<Vec<_>>(),
        [Ask::Decide, Ask::Confirm, Ask::Find]
    );
    assert_eq!(
        summary.verdicts,
        Verdicts {
            conforming: 1,
            non_conforming: 2,
            inconclusive: 1,
            no_traffic: 1
        }
    );
    assert_eq!(summary.done.len(), 1);
    assert_eq!(
        summary.reports.digest.sha256,
        Sha256Digest::of(reports_file(&listed()).as_bytes())
    );
    let page = html(&summary, &signed());
    assert!(page.find("still running").unwrap() < page.find("on hold").unwrap());
    for word in ["<script", "src=", "url(", "@import", "href="] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn a_sealed_summary_opens_and_one_about_another_list_does_not() {
    let root = crate::testing::trust_root();
    let sealed = seal_night(&summary(), &auditor_key()).unwrap();
    let (opened, signer) = open_night(&sealed, &root).unwrap();
    assert_eq!(opened, summary());
    assert_eq!(signer, auditor_key().public().fingerprint());
    let mut other = summary();
    other.reports.name = "other.sha256".to_owned();
    let sealed = seal_night(&other, &auditor_key()).unwrap();
    assert!(matches!(
        open_night(&sealed, &root),
        Err(OpenNightError::Shape { .. })
    ));
    let stranger = ::seal::SigningKey::ed25519_from_seed(&[7; 32]);
    let sealed = seal_night(&summary(), &stranger).unwrap();
    assert!(matches!(
        open_night(&sealed, &root),
        Err(OpenNightError::Envelope(_))
    ));
}

#[test]
fn a_night_of_many_plugins_stays_readable_and_says_what_it_left_out() {
    let (report, surroundings) = (breach(), context());
    let many = Night {
        site: "acme",
        period: report.period,
        reports: (0..5000).map(|_| (&report, &surroundings)).collect(),
        notices: vec!["x".repeat(10_000); 600],
        weeks: Vec::new(),
    };
    let summary = NightSummary::of(&many, auditor(), &listed(), 2, Vec::new());
    assert_eq!(summary.verdicts.non_conforming, 5000);
    assert_eq!(summary.omitted, 4500 + 4500 + 100);
    assert!(seal_night(&summary, &auditor_key()).unwrap().len() < base::json::MAX_BYTES);
    assert!(
        text(&summary, &signed()).contains("9 100 lines")
            || text(&summary, &signed()).contains("9,100 lines")
    );
}

#[test]
fn hostile_words_stay_words() {
    let (report, surroundings) = hostile();
    let night = Night {
        site: &surroundings.site,
        period: report.period,
        reports: vec![(&report, &surroundings)],
        notices: vec![surroundings.site.clone()],
        weeks: Vec::new(),
    };
    let summary = NightSummary::of(&night, auditor(), &listed(), 2, Vec::new());
    let page = html(&summary, &signed());
    assert!(!page.contains("<img") && !page.contains("<b>"));
    for page in [page, text(&summary, &signed())] {
        assert!(!page.chars().any(|c| c.is_control() && c != '\n'));
        assert!(!page.contains(['\u{202e}', '\u{200b}', '\u{2028}']));
    }
}
