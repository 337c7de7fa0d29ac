//! Archive files expire: what is left is read as before, what went is told apart from what is missing, and
//! proofs hold.

use evidence::archive::{ArchivedLog, Closing, ExpireError, Expired, Expirer, Pruned};
use evidence::{
    EventProof, Expiry, Fault, Integrity, NotVerified, Proof, ReadError, UnverifiedReader, VerifiedLog,
    VerifyOptions,
};

use super::archiving::{HOUR_S, PRUNED, pruned, seen_at, sign, start};
use super::{GATEWAY, Log, verifier};

/// The first file of [`pruned`] has entries below this, in the middle of a bundle.
const FIRST: u64 = 300;

impl Log {
    /// Lets files go whose events are older than an hour, `after_s` seconds after the start.
    fn expire(&self, after_s: i64) -> Result<Option<Expired>, ExpireError> {
        let store = self.archive();
        let open = || Expirer::open(&self.path(), &verifier(), &store);
        let due = open()?.due(start().plus_seconds(after_s), &|_| HOUR_S)?;
        if let Some(due) = &due {
            sign(
                self,
                vec![due.expired.event(start(), GATEWAY, "evidence.retention")],
            );
            assert_eq!(open()?.remove(Some(due.expired))?, due.files);
        }
        Ok(due.map(|due| due.expired))
    }
}

/// The log, and the proofs of two neighbours of one bundle, made before one of them expired.
fn expired() -> (Log, [EventProof; 2]) {
    let log = pruned();
    let reader = VerifiedLog::open(&log.path(), &verifier()).unwrap();
    let proofs = [FIRST - 1, FIRST].map(|index| reader.prove(index).unwrap());
    // Not before it was an hour old, and then it alone: the next is younger.
    assert_eq!(log.expire(HOUR_S).unwrap(), None);
    assert_eq!(
        log.expire(2 * HOUR_S).unwrap(),
        Some(Expired { from: 0, to: FIRST })
    );
    assert_eq!(log.archive_files().len(), 2);
    (log, proofs)
}

#[test]
fn what_expired_is_whole_by_its_hashes_and_readers_begin_at_the_first_entry_that_is_there() {
    let (log, [_, kept]) = expired();
    let reader = VerifiedLog::open(&log.path(), &verifier()).unwrap();
    let size = reader.checkpoint().size();
    let found = reader.verification();
    let expiry = Expiry {
        end: FIRST,
        declared_by: size - 1,
    };
    assert_eq!(
        (&found.integrity, found.expired),
        (&Integrity::Whole, Some(expiry))
    );
    assert_eq!(
        expiry.to_string(),
        format!(
            "expired by policy: entries 0 to 299, declared by entry {}; their hashes are as they were signed",
            size - 1
        )
    );
    let indices = |from| {
        let events = reader.events(from..u64::MAX);
        events.map(|found| found.unwrap().0).collect::<Vec<_>>()
    };
    assert_eq!(indices(0), (FIRST..size).collect::<Vec<_>>());
    assert_eq!(indices(FIRST + 7), (FIRST + 7..size).collect::<Vec<_>>());
    assert_eq!(reader.events(0..FIRST).count(), 0);
    let (mut entries, mut read) = (reader.entries(0..u64::MAX), Vec::new());
    while let Some(bundle) = entries.read_on().unwrap() {
        read.extend(bundle.entries().map(|(index, _)| index));
    }
    assert_eq!(read, indices(0));
    // Its neighbour in the same bundle is proven as ever.
    assert_eq!(reader.prove(FIRST).unwrap().entry, kept.entry);
    let mut watching = UnverifiedReader::new(&log.path(), 0);
    assert_eq!(watching.read_on().unwrap()[0].0, FIRST);
    // A part alone, and with its archive's files.
    for range in [10..20, 290..310, 400..800] {
        let part = VerifiedLog::open_range(
            &log.path(),
            &verifier(),
            &VerifyOptions::default(),
            range,
            &mut |_| {},
        );
        assert_eq!(part.unwrap().verification().integrity, Integrity::Whole);
    }
    let (store, options) = (log.archive(), VerifyOptions::default());
    let archived =
        ArchivedLog::open(&log.path(), &verifier(), &options, store.as_ref(), &mut |_| {}).unwrap();
    assert_eq!(archived.log.verification().expired, Some(expiry));
    let starts: Vec<_> = archived
        .sources
        .iter()
        .map(|source| source.entries().start)
        .collect();
    assert_eq!(starts[..3], [0, FIRST, 700]);
}

#[test]
fn a_proof_outlives_the_entry_and_a_new_one_proves_the_hash() {
    let (log, [gone, _]) = expired();
    let proven = evidence::verify_proof(&gone.proof, &gone.entry, &verifier()).unwrap();
    assert_eq!(proven.index, FIRST - 1);
    let reader = VerifiedLog::open(&log.path(), &verifier()).unwrap();
    let declared_by = reader.checkpoint().size() - 1;
    let found = reader.prove(FIRST - 1).unwrap_err();
    assert!(
        matches!(found, ReadError::Expired { index, declared_by: by } if index == FIRST - 1 && by == declared_by),
        "{found}"
    );
    let left = reader.prove_expired(FIRST - 1).unwrap();
    let proof: Proof = left.proof.parse().unwrap();
    assert_eq!(proof.index, FIRST - 1);
    assert_eq!(
        proof.verify_leaf(&left.leaf, &verifier()).unwrap(),
        *reader.checkpoint()
    );
    // Whoever kept the entry proves it with this.
    proof.verify(&gone.entry, &verifier()).unwrap();
    let other = base::Sha256Digest::of(b"another entry");
    assert!(proof.verify_leaf(&other, &verifier()).is_err());
    assert!(reader.prove_expired(FIRST).is_err(), "it is there");
}

#[test]
fn what_is_missing_without_a_declaration_did_not_expire() {
    let (log, _) = expired();
    // The file after those that expired.
    let path = &log.archive_files()[0];
    let bytes = std::fs::read(path).unwrap();
    std::fs::remove_file(path).unwrap();
    let found = log.verify();
    assert_eq!(found.integrity, Integrity::Unseen { entries: 256..PRUNED });
    assert_eq!(found.expired.map(|expiry| expiry.end), Some(FIRST));
    assert!(matches!(
        VerifiedLog::open(&log.path(), &verifier()),
        Err(NotVerified::Unseen(_))
    ));
    // It does not expire either: what is gone cannot be looked at.
    let found = log.expire(100 * HOUR_S).unwrap_err().to_string();
    assert!(
        found.contains("the log cannot be read as it was signed"),
        "{found}"
    );
    std::fs::write(path, &bytes).unwrap();
    assert_eq!(log.verify().integrity, Integrity::Whole);
    // Nor does one that is another.
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 1;
    std::fs::write(path, &changed).unwrap();
    assert!(log.verify().is_tampered());
    log.expire(100 * HOUR_S).unwrap_err();
    assert!(path.exists());
}

#[test]
fn a_hash_that_was_changed_below_what_expired_is_tampering() {
    let (log, _) = expired();
    let tile = log.file("tile/0/000");
    let mut hashes = std::fs::read(&tile).unwrap();
    hashes[7 * 32] ^= 1;
    std::fs::write(&tile, hashes).unwrap();
    let found = log.verify();
    assert!(
        matches!(
            found.integrity,
            Integrity::Broken {
                why: Fault::Rewritten { .. } | Fault::Root,
                ..
            }
        ),
        "{:?}",
        found.integrity
    );
}

#[test]
fn a_file_that_comes_back_is_read_again_and_goes_again() {
    let log = pruned();
    let path = log.archive_files().remove(0);
    let bytes = std::fs::read(&path).unwrap();
    log.expire(2 * HOUR_S).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    let found = log.verify();
    assert_eq!((found.integrity, found.expired), (Integrity::Whole, None));
    // What lies under its name and is not it, somebody has to look at first.
    std::fs::write(&path, b"another").unwrap();
    let found = log.expire(2 * HOUR_S).unwrap_err();
    assert!(
        matches!(found, ExpireError::Archive(_) | ExpireError::Changed { .. }),
        "{found}"
    );
    assert!(path.exists());
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(
        log.expire(2 * HOUR_S).unwrap(),
        Some(Expired { from: 0, to: FIRST })
    );
    assert!(!path.exists());
}

#[test]
fn what_was_not_pruned_does_not_expire_and_later_files_follow_without_holes() {
    let log = Log::empty();
    sign(&log, (0..300).map(|_| seen_at(1)).collect());
    sign(&log, (0..400).map(|_| seen_at(HOUR_S)).collect());
    sign(&log, (0..700).map(|_| seen_at(5 * HOUR_S)).collect());
    log.archive_at(7 * HOUR_S, Closing::Due);
    let name = log.archive().list("").unwrap().remove(0).name;
    let bytes = log.archive().get(&name).unwrap().unwrap();
    assert_eq!(log.expire(100 * HOUR_S).unwrap(), None);
    assert_eq!(
        log.prune(3 * HOUR_S).unwrap(),
        Some(Pruned { from: 0, to: PRUNED })
    );
    // The second file ends beyond what was pruned.
    assert_eq!(
        log.expire(100 * HOUR_S).unwrap(),
        Some(Expired { from: 0, to: FIRST })
    );
    log.prune(6 * HOUR_S).unwrap();
    assert_eq!(
        log.expire(100 * HOUR_S).unwrap(),
        Some(Expired { from: FIRST, to: 700 })
    );
    assert_eq!(log.expire(100 * HOUR_S).unwrap(), None);
    // The first of them comes back, and goes without another declaration: the one after it is not there.
    let store = log.archive();
    store.put_if_absent(&name, &bytes).unwrap();
    let expirer = Expirer::open(&log.path(), &verifier(), &store).unwrap();
    assert_eq!(expirer.remove(None).unwrap().len(), 1);
    assert_eq!(store.get(&name).unwrap(), None);
    let found = log.verify();
    assert_eq!(found.integrity, Integrity::Whole);
    assert_eq!(found.expired.map(|expiry| expiry.end), Some(700));
    // The log is written, archived and pruned on.
    sign(&log, (0..600).map(|_| seen_at(9 * HOUR_S)).collect());
    log.archive_at(20 * HOUR_S, Closing::Everything);
    log.prune(21 * HOUR_S).unwrap();
    assert_eq!(log.verify().integrity, Integrity::Whole);
}
