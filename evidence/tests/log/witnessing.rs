//! Witnessing over real folders: proofs from tiles, both sides of the protocol, and what is stored.
//!
//! `BAILIWICK_BLESS=1` writes the golden files anew, for a change of format that is meant.

use std::fs;
use std::path::{Path, PathBuf};

use evidence::witness::{
    AddCheckpoint, COSIGNED_FILE, Cosigned, Heard, InvalidQuorum, Quorum, Rejected, Submission, Witness,
};
use evidence::{Integrity, NotVerified, VerifiedLog, VerifyOptions, prove_consistency, verify_proof};
use proptest::prelude::*;
use seal::SigningKey;
use seal::cosignature::{CosignatureVerifier, cosign};
use seal::note::NoteError;

use super::{Log, event, files, verifier};

const NOW: u64 = 1_790_000_000;

fn witness_key(seed: u8) -> SigningKey {
    SigningKey::ed25519_from_seed(&[seed; 32])
}

fn named(seed: u8) -> CosignatureVerifier {
    CosignatureVerifier::new(&format!("w{seed}.example"), &witness_key(seed).public()).unwrap()
}

/// A witness of the log `acme/gw-1` with its memory in `folder`.
fn witness(folder: &Path, seed: u8) -> Witness {
    let name = format!("w{seed}.example");
    Witness::open(folder, &name, witness_key(seed), [verifier()]).unwrap()
}

fn checkpoint(log: &Log) -> Cosigned {
    Cosigned::open(&log.read("checkpoint"), &verifier()).unwrap()
}

/// Both sides of the protocol, in process; how often was asked, and how it ended.
fn submit(log: &Log, witness: &mut Witness, old: u64) -> (usize, Result<Heard, Rejected>) {
    let current = checkpoint(log);
    let mut submission = Submission::new(&current, &witness.verifier().clone(), old);
    for asked in 1.. {
        let proof = prove_consistency(&log.path(), current.checkpoint(), submission.old()).unwrap();
        let request = submission.request(proof).to_string();
        let answer = witness.answer(request.as_bytes(), NOW);
        match submission.handle_answer(answer.status, answer.body.as_bytes()) {
            Ok(Heard::AskAgain) => {}
            end => return (asked, end),
        }
    }
    unreachable!("a submission ends")
}

#[test]
fn a_log_of_any_size_is_witnessed_from_its_tiles_and_from_wherever_the_witness_stands() {
    let memory = tempfile::tempdir().unwrap();
    let log = Log::empty();
    let mut witness = witness(memory.path(), 9);
    for size in [1, 2, 255, 256, 257, 300, 511, 512, 700, 1300] {
        log.grow_to(size);
        // Whoever knows where the witness stands asks once, whoever does not asks twice.
        let (asked, heard) = submit(&log, &mut witness, if size % 2 == 0 { 0 } else { size });
        assert!(matches!(heard, Ok(Heard::Cosigned { .. })), "{size}: {heard:?}");
        assert!(asked <= 2, "{size}");
    }
    let kept = Cosigned::read_memory(memory.path(), &verifier())
        .unwrap()
        .unwrap();
    assert_eq!(kept.checkpoint().size(), 1300);
    assert_eq!(kept.cosigned_at(&named(9)), Ok(NOW));
}

#[test]
fn a_log_that_was_cut_forked_or_rewritten_hears_it() {
    let memory = tempfile::tempdir().unwrap();
    let mut witness = witness(memory.path(), 9);
    let log = Log::of(300);
    submit(&log, &mut witness, 0).1.unwrap();
    let shorter = Log::of(200);
    assert_eq!(
        submit(&shorter, &mut witness, 0).1,
        Err(Rejected::Ahead {
            known: 300,
            size: 200
        })
    );
    let other = |size: u64| {
        let other = Log::empty();
        let mut writer = other.writer();
        let mut events = super::events(0..size);
        events[100] = event(9999);
        writer.append(&mut events).unwrap();
        writer.checkpoint().unwrap();
        drop(writer);
        other
    };
    assert_eq!(
        submit(&other(300), &mut witness, 300).1,
        Err(Rejected::OtherTree { size: 300 })
    );
    let longer = submit(&other(400), &mut witness, 300).1;
    assert_eq!(longer, Err(Rejected::Proof { old: 300, size: 400 }));
    assert!(longer.unwrap_err().is_alarming());
    log.grow_to(400);
    assert!(submit(&log, &mut witness, 300).1.is_ok());
}

#[test]
fn answers_that_are_none_are_told_apart() {
    let log = Log::of(20);
    let current = checkpoint(&log);
    let hear = |status: u16, body: &str| {
        Submission::new(&current, &named(9), 5).handle_answer(status, body.as_bytes())
    };
    let text = current.checkpoint().to_string();
    let good = cosign(&text, "w9.example", &witness_key(9), NOW).unwrap();
    assert!(matches!(
        hear(200, &good),
        Ok(Heard::Cosigned { time_s: NOW, .. })
    ));
    let bad = |body: &str, source| {
        let witness = "w9.example".to_owned();
        assert_eq!(
            hear(200, body),
            Err(Rejected::BadCosignature { witness, source }),
            "{body:?}"
        );
    };
    bad("", NoteError::Malformed);
    bad("yes\n", NoteError::Malformed);
    bad(good.trim_end(), NoteError::Malformed);
    let other = cosign(&text, "w8.example", &witness_key(8), NOW).unwrap();
    bad(&other, NoteError::Unsigned);
    let elsewhere = cosign("acme/gw-1\n20\nAAAA\n", "w9.example", &witness_key(9), NOW).unwrap();
    bad(&elsewhere, NoteError::BadSignature);
    // Lines of others beside a good one are left out, not stumbled over.
    match hear(200, &format!("{other}{good}")) {
        Ok(Heard::Cosigned { line, .. }) => assert_eq!(line, good),
        heard => panic!("{heard:?}"),
    }
    assert_eq!(hear(409, "21\n"), Err(Rejected::Ahead { known: 21, size: 20 }));
    assert_eq!(hear(409, "7\n"), Ok(Heard::AskAgain));
    assert_eq!(hear(409, "5\n"), Err(Rejected::Restless));
    for body in [
        "",
        "7",
        "07\n",
        "-1\n",
        "7\n7\n",
        "seven\n",
        "99999999999999999999\n",
    ] {
        assert_eq!(hear(409, body), Err(Rejected::Status { status: 409 }), "{body:?}");
    }
    assert_eq!(hear(403, ""), Err(Rejected::Signature));
    assert_eq!(hear(404, ""), Err(Rejected::UnknownLog));
    assert_eq!(hear(422, ""), Err(Rejected::Proof { old: 5, size: 20 }));
    for status in [0, 201, 302, 400, 413, 500, 503] {
        assert_eq!(hear(status, &good), Err(Rejected::Status { status }));
    }
    // A witness that keeps changing its mind is left alone.
    let mut submission = Submission::new(&current, &named(9), 0);
    assert_eq!(submission.handle_answer(409, b"3\n"), Ok(Heard::AskAgain));
    assert_eq!(submission.old(), 3);
    assert_eq!(submission.handle_answer(409, b"4\n"), Ok(Heard::AskAgain));
    assert_eq!(submission.handle_answer(409, b"6\n"), Err(Rejected::Restless));
}

#[test]
fn a_quorum_counts_each_witness_once_and_nobody_else() {
    let log = Log::of(20);
    let mut cosigned = checkpoint(&log);
    let text = cosigned.checkpoint().to_string();
    let line =
        |seed: u8, time_s| cosign(&text, &format!("w{seed}.example"), &witness_key(seed), time_s).unwrap();
    let quorum = |needed| Quorum::new(vec![named(1), named(2), named(3)], needed).unwrap();
    let met = |cosigned: &Cosigned, needed| quorum(needed).standing(Some(cosigned)).is_met();
    assert!(quorum(0).standing(None).is_met());
    assert!(!quorum(1).standing(None).is_met());
    assert!(!met(&cosigned, 1));
    cosigned.adopt(&line(1, NOW), &named(1)).unwrap();
    cosigned.adopt(&line(1, NOW + 5), &named(1)).unwrap();
    cosigned.adopt(&line(7, NOW), &named(7)).unwrap();
    assert!(met(&cosigned, 1) && !met(&cosigned, 2));
    cosigned.adopt(&line(3, NOW), &named(3)).unwrap();
    assert!(met(&cosigned, 2) && !met(&cosigned, 3));
    let standing = quorum(2).standing(Some(&cosigned));
    assert_eq!((standing.size, standing.time_s()), (20, Some(NOW + 5)));

    assert!(matches!(
        Quorum::new(vec![named(1)], 2),
        Err(InvalidQuorum::OutOfReach { .. })
    ));
    let renamed = CosignatureVerifier::new("other.example", &witness_key(1).public()).unwrap();
    for twice in [named(1), renamed] {
        assert!(matches!(
            Quorum::new(vec![named(1), twice], 1),
            Err(InvalidQuorum::Twice { .. })
        ));
    }
}

#[test]
fn what_lies_beside_the_log_never_falls_behind_a_quorum_that_was_met() {
    let log = Log::of(20);
    let with = |log: &Log, seeds: &[u8]| {
        let mut cosigned = checkpoint(log);
        let text = cosigned.checkpoint().to_string();
        for seed in seeds {
            let line = cosign(&text, &format!("w{seed}.example"), &witness_key(*seed), NOW).unwrap();
            cosigned.adopt(&line, &named(*seed)).unwrap();
        }
        cosigned
    };
    let (old_none, old_one, old_both) = (with(&log, &[]), with(&log, &[1]), with(&log, &[1, 2]));
    log.grow_to(30);
    let (new_none, new_one, new_both) = (with(&log, &[]), with(&log, &[2]), with(&log, &[1, 2]));
    let quorum = Quorum::new(vec![named(1), named(2)], 2).unwrap();
    assert!(quorum.prefers(&old_one, None) && !quorum.prefers(&old_none, None));
    assert!(quorum.prefers(&new_one, Some(&old_one)) && quorum.prefers(&old_both, Some(&old_one)));
    assert!(quorum.prefers(&new_both, Some(&old_both)));
    assert!(!quorum.prefers(&new_one, Some(&old_both)) && !quorum.prefers(&new_none, Some(&old_one)));
    assert!(!quorum.prefers(&old_both, Some(&new_one)), "never shorter");
}

#[test]
fn a_proof_under_a_cosigned_checkpoint_proves_and_carries_its_witnesses() {
    let log = Log::of(300);
    let mut cosigned = checkpoint(&log);
    let line = cosign(
        &cosigned.checkpoint().to_string(),
        "w9.example",
        &witness_key(9),
        NOW,
    )
    .unwrap();
    cosigned.adopt(&line, &named(9)).unwrap();
    cosigned.write(&log.path()).unwrap();
    log.grow_to(700);
    let cosigned = Cosigned::read(&log.path(), &verifier()).unwrap().unwrap();
    let reader = VerifiedLog::open(&log.path(), &verifier()).unwrap();
    assert!(reader.continues(cosigned.checkpoint()).unwrap());
    for index in [0, 255, 256, 299] {
        let proof = reader.prove_under(index, &cosigned).unwrap();
        assert!(proof.proof.ends_with(&line));
        let proven = verify_proof(&proof.proof, &proof.entry, &verifier()).unwrap();
        assert_eq!((proven.index, proven.checkpoint.size()), (index, 300));
    }
    assert!(reader.prove_under(300, &cosigned).is_err());
    // A second story under the same key is not its beginning.
    let other = Log::empty();
    let mut writer = other.writer();
    let mut events = super::events(0..300);
    events[7] = event(9999);
    writer.append(&mut events).unwrap();
    writer.checkpoint().unwrap();
    drop(writer);
    let other = checkpoint(&other);
    assert!(!reader.continues(other.checkpoint()).unwrap());
    assert!(reader.prove_under(7, &other).is_err());
}

#[test]
fn a_range_is_verified_without_the_rest() {
    let open = |log: &Log, range: std::ops::Range<u64>| {
        VerifiedLog::open_range(
            &log.path(),
            &verifier(),
            &VerifyOptions::default(),
            range,
            &mut |_| {},
        )
    };
    let first_bad = |log: &Log, range| match open(log, range) {
        Ok(_) => None,
        Err(NotVerified::Tampered(found)) => match found.integrity {
            Integrity::Broken { first_bad, .. } => Some(first_bad),
            Integrity::Whole | Integrity::Unseen { .. } => panic!("tampered and whole"),
        },
        Err(error) => panic!("{error}"),
    };
    let log = Log::of(700);
    for range in [0..1, 0..700, 255..257, 699..700, 0..5000] {
        assert_eq!(first_bad(&log, range.clone()), None, "{range:?}");
    }
    let bundle = log.read("tile/entries/001");
    let place = bundle.windows(4).position(|bytes| bytes == b"c300").unwrap();
    let mut bad = bundle.clone();
    bad[place + 3] ^= 1;
    log.write("tile/entries/001", &bad);
    assert_eq!(first_bad(&log, 0..256), None);
    assert_eq!(first_bad(&log, 512..700), None);
    assert_eq!(first_bad(&log, 200..400), Some(300));
    log.write("tile/entries/001", &bundle);
    log.remove("tile/entries/002.p/188");
    assert_eq!(first_bad(&log, 0..512), None);
    assert_eq!(first_bad(&log, 600..601), Some(600));
    // What is held elsewhere is held against a range, too.
    let log = Log::of(700);
    let options = VerifyOptions {
        held: Some(checkpoint(&Log::of(800)).checkpoint().clone()),
        ..VerifyOptions::default()
    };
    let found = VerifiedLog::open_range(&log.path(), &verifier(), &options, 0..5, &mut |_| {});
    assert!(matches!(found, Err(NotVerified::Tampered(_))));
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/evidence")
}

#[test]
fn the_golden_request_and_cosigned_checkpoint_are_written_byte_for_byte() {
    let signed = fs::read(golden().join("log/checkpoint")).unwrap();
    let mut cosigned = Cosigned::open(&signed, &verifier()).unwrap();
    let memory = tempfile::tempdir().unwrap();
    let mut witness = witness(memory.path(), 9);
    // The witness knows the first two of the five entries.
    let two = VerifiedLog::open(&golden().join("log"), &verifier()).unwrap();
    let log = Log::empty();
    let mut writer = log.writer();
    let mut first: Vec<_> = two.events(0..2).map(|found| found.unwrap().1).collect();
    writer.append(&mut first).unwrap();
    writer.checkpoint().unwrap();
    drop(writer);
    submit(&log, &mut witness, 0).1.unwrap();

    let proof = prove_consistency(&golden().join("log"), cosigned.checkpoint(), 2).unwrap();
    let request = Submission::new(&cosigned, &named(9), 2).request(proof);
    let line = witness
        .add_checkpoint(request.to_string().as_bytes(), NOW)
        .unwrap();
    cosigned.adopt(&line, &named(9)).unwrap();
    for (name, text) in [
        ("add-checkpoint.request", request.to_string()),
        ("add-checkpoint.response", line),
        (COSIGNED_FILE, cosigned.to_string()),
        ("witness.vkey", format!("{}\n", named(9).to_vkey())),
    ] {
        let path = golden().join(name);
        if std::env::var_os("BAILIWICK_BLESS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        assert_eq!(fs::read_to_string(path).unwrap(), text, "{name}");
    }
}

#[test]
fn the_golden_files_are_read_by_whoever_has_the_keys() {
    let read = |name: &str| fs::read_to_string(golden().join(name)).unwrap();
    let log = seal::note::NoteVerifier::from_vkey(read("log.vkey").trim()).unwrap();
    let witness = CosignatureVerifier::from_vkey(read("witness.vkey").trim()).unwrap();
    let cosigned = Cosigned::open(read(COSIGNED_FILE).as_bytes(), &log).unwrap();
    assert_eq!(cosigned.cosigned_at(&witness), Ok(NOW));
    assert_eq!(cosigned.to_string(), read(COSIGNED_FILE));
    let request = AddCheckpoint::parse(read("add-checkpoint.request").as_bytes()).unwrap();
    assert_eq!((request.old, request.proof.len()), (2, 2));
    assert_eq!(request.to_string(), read("add-checkpoint.request"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A range is bad exactly where the whole verification finds the first bad entry in it.
    #[test]
    fn a_range_and_the_whole_agree(
        size in 257u64..600,
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
        from in any::<prop::sample::Index>(),
        width in 1u64..400,
    ) {
        let log = Log::of(size);
        let bundles: Vec<String> = files(&log.path())
            .into_iter()
            .filter(|name| name.starts_with("tile/entries"))
            .collect();
        let name = &bundles[at.index(bundles.len())];
        let mut bytes = log.read(name);
        let place = at.index(bytes.len());
        bytes[place] ^= 1 << bit;
        log.write(name, &bytes);
        let Integrity::Broken { first_bad, .. } = log.verify().integrity else {
            return Err(TestCaseError::fail("a changed bit went unseen"));
        };
        let from = from.index(usize::try_from(size).unwrap()) as u64;
        let range = from..(from + width).min(size);
        let (lo, hi) = (range.start / 256, (range.end - 1) / 256);
        let found = VerifiedLog::open_range(&log.path(), &verifier(), &VerifyOptions::default(), range, &mut |_| {});
        let touches = (lo..=hi).contains(&(first_bad / 256));
        prop_assert_eq!(found.is_err(), touches);
    }

    #[test]
    fn the_key_alone_makes_no_witness(time_s in any::<u64>(), seed in 0u8..8) {
        let log = Log::of(3);
        let mut cosigned = checkpoint(&log);
        let line = cosign(&cosigned.checkpoint().to_string(), "w9.example", &witness_key(seed), time_s).unwrap();
        prop_assert!(cosigned.adopt(&line, &named(9)).is_err());
        prop_assert_eq!(cosigned, checkpoint(&log));
    }
}
