//! Nights over an archive: what is read from files is what was read from the log, byte for byte.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use base::{Reason, RefusalReason};
use evidence::EventKind::{Close, Gap, Open, Progress, Refused, Start};
use evidence::archive::{Archiver, Closing, Expirer, LocalStore, Pruner, Store};
use evidence::{Event, LogWriter, Origin};
use reports::predicate::Period;
use seal::note::NoteVerifier;

use crate::gather::gather;
use crate::script::{about, at, event, visit};
use crate::stage::{NIGHT_S, Stage, gateway_key};
use crate::{Exit, NightOutcome, Publication, Site as _};

const GATEWAYS: usize = 2;

/// A day with something of everything, on two gateways.
fn day() -> Stage {
    let mut stage = Stage::new()
        .declares("one", &["a.example", "b.example"])
        .declares("two", &["a.example"]);
    for n in 0..400_i64 {
        let plugin = if n % 3 == 0 { "two" } else { "one" };
        let target = match n % 50 {
            7 => "evil.example:443",
            9 => "8.8.8.8:443",
            11 => "a.example:8443",
            _ => "a.example:443",
        };
        for line in visit(n * 200 - 600, &format!("c{n}"), plugin, target) {
            stage = stage.line(line);
        }
        if n == 200 {
            stage = stage
                .line(event(Gap, n * 200).with(|event| event.cause = Some("the disk was slow".to_owned())))
                .line(about(Refused, n * 200, "r", "one", "b.example:443").refused(RefusalReason::Revoked))
                .line(
                    about(Close, n * 200, "x", "one", "a.example:443")
                        .reached(1, 1)
                        .of_nobody(),
                )
                .line(
                    about(Close, n * 200, "s", "one", "b.example:443")
                        .reached(5, 5)
                        .sni("evil.example"),
                )
                .line(about(Open, n * 200, "long", "one", "b.example:443"));
        }
    }
    let other = [
        about(Open, -900, "t", "two", "a.example:443"),
        about(Progress, 4000, "t", "two", "a.example:443").reached(10, 10),
        event(Start, 9000),
        about(Close, 20_000, "u", "two", "b.example:443").reached(1, 1),
        about(Open, 80_000, "v", "two", "a.example:443"),
        about(Close, NIGHT_S + 30, "v", "two", "a.example:443").reached(9, 9),
    ];
    stage.gateway(&other)
}

fn verifier(number: usize) -> NoteVerifier {
    NoteVerifier::new(&format!("acme/gw-{number}"), &gateway_key(number).public()).unwrap()
}

fn append(stage: &Stage, number: usize, event: Event) {
    let origin: Origin = format!("acme/gw-{number}").parse().unwrap();
    let (mut log, _) = LogWriter::open(&stage.log_folder(number), &origin, gateway_key(number)).unwrap();
    log.append(&mut [event]).unwrap();
    log.checkpoint().unwrap();
}

/// Archives what is due at `seconds`; gives the files.
fn archive(stage: &Stage, seconds: i64) -> Vec<PathBuf> {
    stage.write_logs();
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(&stage.archive_folder()));
    let mut files = Vec::new();
    for number in 1..=GATEWAYS {
        loop {
            let folder = stage.log_folder(number);
            let archiver = Archiver::open(&folder, &verifier(number), &store).unwrap();
            let from = archiver.archived_to().unwrap();
            let Some(bound) = archiver.put_next(from, Closing::Due, at(seconds)).unwrap() else {
                break;
            };
            files.push(stage.archive_folder().join(bound.name.to_string()));
            append(stage, number, bound.event(at(NIGHT_S + 50)));
        }
    }
    files
}

/// Lets go what is older than `seconds`; gives how many bundles went.
fn prune(stage: &Stage, seconds: i64) -> u64 {
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(&stage.archive_folder()));
    let open = || Pruner::open(&stage.log_folder(1), &verifier(1), &store).unwrap();
    let pruned = open().due(at(seconds)).unwrap().unwrap();
    append(stage, 1, pruned.event(at(NIGHT_S + 55), "gw-1"));
    open().remove("../archive").unwrap()
}

/// The night's outcome and everything that it published, by way of files or of entries alone.
fn audit(stage: &Stage, has_archive: bool) -> (NightOutcome, Vec<Publication>) {
    stage.has_archive.set(has_archive);
    stage.quarantined.borrow_mut().clear();
    stage.reset_crl();
    let outcome = stage.audit();
    let published = stage.published.borrow_mut().drain(..).collect();
    (outcome, published)
}

fn assert_same(stage: &Stage) {
    let (expected, publications) = audit(stage, false);
    let (outcome, others) = audit(stage, true);
    assert_eq!(expected.troubles, Vec::<String>::new());
    assert_eq!(format!("{outcome:#?}"), format!("{expected:#?}"));
    assert!(publications.len() > 3 && others == publications);
    assert_eq!(outcome.exit(), Exit::Findings);
    let reasons: Vec<Reason> = outcome
        .reports
        .iter()
        .flat_map(|report| &report.findings)
        .map(|finding| finding.reason)
        .collect();
    for reason in [
        Reason::UndeclaredHost,
        Reason::UndeclaredPort,
        Reason::IpLiteral,
        Reason::SniMismatch,
        Reason::AfterRevocation,
        Reason::EvidenceGap,
    ] {
        assert!(reasons.contains(&reason), "{reason} in {reasons:?}");
    }
}

#[test]
fn a_night_over_files_publishes_the_bytes_of_a_night_over_entries() {
    let stage = day();
    let files = archive(&stage, NIGHT_S + 7200);
    assert!(files.len() > 20, "{}", files.len());
    assert_same(&stage);
}

#[test]
fn hours_that_are_not_archived_yet_are_read_from_the_log() {
    let stage = day();
    archive(&stage, NIGHT_S / 2);
    assert_same(&stage);
}

#[test]
fn a_file_that_is_not_there_or_not_the_bound_one_is_replaced_by_its_entries() {
    let stage = day();
    let files = archive(&stage, NIGHT_S + 7200);
    fs::remove_file(&files[3]).unwrap();
    let mut bytes = fs::read(&files[9]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&files[9], bytes).unwrap();
    assert_same(&stage);
}

#[test]
fn entries_that_were_pruned_are_read_from_files_and_cited_with_proofs() {
    let stage = day();
    archive(&stage, NIGHT_S + 7200);
    assert!(prune(&stage, NIGHT_S) > 1);
    assert_same(&stage);
}

#[test]
fn entries_that_are_in_neither_place_are_missing_and_nobody_is_accused_of_tampering() {
    let stage = day();
    let files = archive(&stage, NIGHT_S + 7200);
    prune(&stage, NIGHT_S);
    fs::remove_file(&files[2]).unwrap();
    let (outcome, _) = audit(&stage, true);
    let doubts: Vec<_> = outcome
        .doubts
        .iter()
        .map(|doubt| (doubt.reason, doubt.origin.as_str()))
        .collect();
    assert!(doubts.contains(&(Reason::EvidenceGap, "acme/gw-1")), "{doubts:?}");
    assert!(doubts.iter().all(|(reason, _)| *reason == Reason::EvidenceGap));
}

#[test]
fn a_changed_file_of_pruned_entries_is_tampering() {
    let stage = day();
    let files = archive(&stage, NIGHT_S + 7200);
    prune(&stage, NIGHT_S);
    let mut bytes = fs::read(&files[2]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&files[2], bytes).unwrap();
    let (outcome, _) = audit(&stage, true);
    let tampered =
        |doubt: &crate::Doubt| doubt.reason == Reason::TamperedEvidence && doubt.origin == "acme/gw-1";
    assert!(outcome.doubts.iter().any(tampered), "{:?}", outcome.doubts);
}

/// What only a verification of the whole log finds, and the night leaves to it.
#[test]
fn entries_changed_beside_their_file_do_not_change_what_the_night_says_and_the_verifier_finds_them() {
    let stage = day();
    archive(&stage, NIGHT_S + 7200);
    let (expected, _) = audit(&stage, true);
    let file = &stage.entry_files(1)[0];
    let mut bytes = fs::read(file).unwrap();
    let at = bytes
        .windows(9)
        .position(|window| window == b"a.example")
        .unwrap();
    bytes[at] = b'z';
    fs::write(file, bytes).unwrap();
    let night = crate::Night {
        lists_observed: true,
        dry_run: true,
        ..stage.night()
    };
    let verdicts = |outcome: &NightOutcome| {
        let reports = outcome.reports.iter();
        reports
            .map(|report| (report.verdict, report.findings.clone()))
            .collect::<Vec<_>>()
    };
    let outcome = night.run(&stage).unwrap();
    assert_eq!(verdicts(&outcome), verdicts(&expected));
    let found = evidence::verify_log(
        &stage.log_folder(1),
        &verifier(1),
        &Default::default(),
        &mut |_| {},
    )
    .unwrap();
    assert!(found.is_tampered());
}

#[test]
fn a_night_that_reaches_into_what_expired_is_inconclusive_and_a_later_one_is_not() {
    let stage = day();
    archive(&stage, NIGHT_S + 7200);
    prune(&stage, NIGHT_S);
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(&stage.archive_folder()));
    let open = || Expirer::open(&stage.log_folder(1), &verifier(1), &store).unwrap();
    // The first hours of the night, and no more.
    let due = open().due(at(10_000), &|_| 0).unwrap().unwrap();
    append(
        &stage,
        1,
        due.expired.event(at(NIGHT_S + 56), "gw-1", "evidence.retention"),
    );
    assert_eq!(open().remove(Some(due.expired)).unwrap(), due.files);
    let doubts = || {
        let (outcome, _) = audit(&stage, true);
        let expired = outcome.doubts.into_iter();
        expired
            .filter(|doubt| doubt.cause.contains("expired by the site's retention"))
            .collect::<Vec<_>>()
    };
    let found = doubts();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].reason, found[0].origin.as_str()),
        (Reason::EvidenceGap, "acme/gw-1")
    );
    assert!(
        found[0].fix().contains("audit a later period"),
        "{}",
        found[0].fix()
    );
    let whole_from = found[0].to.unwrap();
    assert!(at(0) < whole_from && whole_from < at(NIGHT_S), "{whole_from}");
    let doubts_from = |from| {
        let period = Period {
            from,
            to: at(NIGHT_S),
        };
        let gateways = stage.gateways(period).unwrap();
        let evidence = gather(&stage, gateways, period, at(NIGHT_S + 7200));
        let causes = evidence.doubts.into_iter().map(|doubt| doubt.cause);
        causes.filter(|cause| cause.contains("expired")).count()
    };
    assert_eq!(doubts_from(at(0)), 1);
    assert_eq!(doubts_from(whole_from.plus_seconds(-1)), 1);
    assert_eq!(doubts_from(whole_from), 0);
    // By way of entries alone it is the same.
    stage.has_archive.set(false);
    assert_eq!(
        audit(&stage, false)
            .0
            .doubts
            .iter()
            .filter(|doubt| doubt.to == Some(whole_from))
            .count(),
        1
    );
}
