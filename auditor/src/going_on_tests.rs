//! Nights that begin to verify where an earlier one ended: the same reports, and tampering that shows.

use base::{Reason, Verdict};

use crate::Exit;
use crate::stage::Stage;

/// A log of several bundles, and one breach.
fn night() -> Stage {
    let stage = Stage::new().declares("p", &["ok.example"]);
    let stage = (0..300).fold(stage, |stage, _| stage.observes("p", "ok.example:443"));
    stage.observes("p", "evil.example:443")
}

/// The same, verified up to its end by a night before.
fn verified() -> Stage {
    let stage = night();
    let known = stage.checkpoint(1);
    stage.change(|stage| drop(stage.verified.insert(1, known)))
}

#[test]
fn a_night_that_begins_at_the_last_checkpoint_reports_the_same_bytes() {
    let (whole, on) = (night(), verified());
    let (first, second) = (whole.audit(), on.audit());
    assert_eq!(
        (first.logs[0].verified_from, second.logs[0].verified_from),
        (0, 512)
    );
    assert_eq!(first.reports, second.reports);
    assert_eq!(*whole.published.borrow(), *on.published.borrow());
}

#[test]
fn an_old_entry_that_was_changed_since_makes_the_log_one_that_nobody_believes() {
    let stage = verified();
    let file = stage.entry_files(1).remove(0);
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes
        .windows(10)
        .position(|window| window == b"ok.example")
        .unwrap();
    bytes[at] = b'x';
    std::fs::write(&file, bytes).unwrap();
    let outcome = stage.audit();
    let reasons: Vec<Reason> = outcome.doubts.iter().map(|doubt| doubt.reason).collect();
    assert_eq!(reasons, [Reason::TamperedEvidence]);
    assert_eq!((outcome.logs.len(), outcome.exit()), (0, Exit::Findings));
    assert_eq!(outcome.reports[0].verdict, Verdict::Inconclusive);
    assert_eq!(outcome.reports[0].observed, [], "nothing of it is believed");
}

#[test]
fn a_spoilt_mark_is_nothing_to_begin_at() {
    let stage = night().change(|stage| drop(stage.verified.insert(1, "no checkpoint".to_owned())));
    let outcome = stage.audit();
    assert_eq!((outcome.logs[0].verified_from, outcome.doubts.len()), (0, 0));
}
