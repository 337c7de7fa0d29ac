use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use seal::trust::Role;

use super::*;
use crate::fixture::{Desk, ISSUER, key, listed, trust};
use crate::{Action, Change, Terms, publish};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(folder.path()).unwrap()
}

fn load(folder: &tempfile::TempDir) -> Result<Option<Accepted>, LoadError> {
    store(folder).load(&trust(), ISSUER)
}

/// A desk that issued `count` lists, each holding one artifact more.
fn desk(count: u8) -> Desk {
    let mut desk = Desk::new();
    for byte in 1..=count {
        desk.hold(byte);
    }
    desk
}

fn nth(desk: &Desk, number: usize) -> &Accepted {
    desk.issued[number - 1].accepted()
}

fn put(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) {
    fs::write(folder.path().join(name), bytes).unwrap();
}

fn names(folder: &tempfile::TempDir) -> Vec<String> {
    let mut names: Vec<_> = store(folder).names().collect();
    names.sort();
    names
}

#[test]
fn a_saved_list_is_loaded_as_it_was() {
    let (folder, desk) = (folder(), desk(3));
    assert_eq!(load(&folder).unwrap(), None);
    for number in 1..=3 {
        store(&folder).save(nth(&desk, number)).unwrap();
        let loaded = load(&folder).unwrap().unwrap();
        assert_eq!(loaded.list(), nth(&desk, number).list());
        assert!(loaded.is_known());
    }
    // The list before stays for whoever fetched its head a moment ago; older ones go.
    assert_eq!(
        names(&folder),
        [
            "crl-2.body",
            "crl-2.delta",
            "crl-3.body",
            "crl-3.delta",
            "crl.sigstore.json",
            "seen.json"
        ]
    );
    let seen = fs::read_to_string(folder.path().join(SEEN_FILE)).unwrap();
    let head_sha256 = desk.list().head_sha256().to_hex();
    assert_eq!(
        seen,
        format!("{{\"crl_number\":3,\"head_sha256\":\"{head_sha256}\",\"root_version\":3}}\n")
    );
}

#[test]
fn a_crash_between_any_two_steps_leaves_a_list_that_loads() {
    let desk = desk(2);
    let (old, new) = (nth(&desk, 1), nth(&desk, 2));
    let body = |accepted: &Accepted| (body_file(accepted.list().crl_number()), accepted.body().to_vec());
    let head = |accepted: &Accepted| (HEAD_FILE.to_owned(), accepted.head().to_vec());
    let seen = |accepted: &Accepted| (SEEN_FILE.to_owned(), seen_bytes(&accepted.seen()));
    let aside = |(name, mut bytes): (String, Vec<u8>)| {
        bytes.truncate(bytes.len() / 2);
        (format!("{name}.tmp"), bytes)
    };
    let states = [
        (vec![body(old), head(old), seen(old), aside(body(new))], 1),
        (
            vec![
                body(old),
                head(old),
                seen(old),
                aside(head(new)),
                aside(seen(new)),
            ],
            1,
        ),
        (vec![body(old), head(old), seen(old), body(new)], 1),
        (vec![body(old), head(new), seen(old), body(new)], 2),
        (vec![body(old), head(new), seen(new), body(new)], 2),
        // The very first list, whose memory was not yet written.
        (vec![body(old), head(old)], 1),
    ];
    for (index, (files, number)) in states.into_iter().enumerate() {
        let folder = folder();
        for (name, bytes) in files {
            put(&folder, &name, &bytes);
        }
        let loaded = load(&folder).unwrap().unwrap();
        assert_eq!(loaded.list(), nth(&desk, number).list(), "state {index}");
        // What is acted on was remembered first.
        assert_eq!(
            store(&folder).seen().unwrap(),
            Some(loaded.seen()),
            "state {index}"
        );
    }
    let nothing_yet = folder();
    put(&nothing_yet, "crl-1.body", old.body());
    assert_eq!(load(&nothing_yet).unwrap(), None);
}

#[test]
fn what_is_missing_is_named() {
    let desk = desk(2);
    let message = |files: &[(&str, &[u8])]| {
        let folder = folder();
        for (name, bytes) in files {
            put(&folder, name, bytes);
        }
        let error = load(&folder).unwrap_err();
        error.to_string().replace(folder.path().to_str().unwrap(), "DIR")
    };
    let seen = seen_bytes(&nth(&desk, 2).seen());
    assert_eq!(
        message(&[(SEEN_FILE, &seen), ("crl-2.body", nth(&desk, 2).body())]),
        "revocation list 2 was stored here and DIR/crl.sigstore.json is missing; fetch that list or a newer one again"
    );
    assert_eq!(
        message(&[(SEEN_FILE, &seen), (HEAD_FILE, nth(&desk, 2).head())]),
        "revocation list 2 was stored here and DIR/crl-2.body is missing; fetch that list or a newer one again"
    );
    let torn = message(&[(SEEN_FILE, &seen[..20]), (HEAD_FILE, nth(&desk, 2).head())]);
    assert!(torn.starts_with("DIR/seen.json is damaged: not JSON"), "{torn}");
}

#[test]
fn a_folder_that_somebody_changed_is_refused() {
    let desk = desk(2);
    let refused = |change: &dyn Fn(&tempfile::TempDir)| {
        let folder = folder();
        store(&folder).save(nth(&desk, 1)).unwrap();
        store(&folder).save(nth(&desk, 2)).unwrap();
        change(&folder);
        match load(&folder).unwrap_err() {
            LoadError::Refused { source, .. } => source.code(),
            other => panic!("{other}"),
        }
    };
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    assert_eq!(refused(&|f| put(f, HEAD_FILE, nth(&desk, 1).head())), "rollback");
    assert_eq!(
        refused(&|f| put(f, "crl-2.body", nth(&desk, 1).body())),
        "body_hash"
    );
    assert_eq!(
        refused(&|f| put(f, "crl-2.body", &nth(&desk, 2).body()[..79])),
        "body_hash"
    );
    assert_eq!(
        refused(&|f| put(f, "crl-2.body", &flipped(nth(&desk, 2).body(), 33))),
        "body_hash"
    );
    assert_eq!(
        refused(&|f| put(f, "crl-2.body", &[nth(&desk, 2).body(), b"x"].concat())),
        "body_hash"
    );
    assert_eq!(
        refused(&|f| put(f, HEAD_FILE, &nth(&desk, 2).head()[..500])),
        "signature"
    );
    assert_eq!(refused(&|f| put(f, HEAD_FILE, b"")), "signature");

    // The same number once more, with other contents.
    let twin = publish(
        Some(nth(&desk, 1).list()),
        &[Change::revoke(listed(9), base::Reason::Malware)],
        &desk.terms(),
        &key(1),
    )
    .unwrap();
    assert_eq!(
        refused(&|f| {
            put(f, HEAD_FILE, twin.head());
            put(f, "crl-2.body", twin.body());
        }),
        "equivocation"
    );
    let other = publish(
        None,
        &[],
        &Terms {
            issuer: "evil",
            ..desk.terms()
        },
        &key(1),
    )
    .unwrap();
    assert_eq!(refused(&|f| put(f, HEAD_FILE, other.head())), "issuer");
}

#[test]
fn a_key_that_ran_out_since_does_not_unrevoke_and_a_key_that_was_removed_does_not_count() {
    let (folder, desk) = (folder(), desk(1));
    store(&folder).save(nth(&desk, 1)).unwrap();
    let fingerprint = key(1).public().fingerprint();
    let mut ended = trust();
    for signer in ended.signers.iter_mut().filter(|signer| signer.role == Role::Crl) {
        signer.valid_until = Some(desk.now.plus_seconds(1));
    }
    assert!(store(&folder).load(&ended, ISSUER).unwrap().is_some());
    let removed = trust().without_signer(&fingerprint, None).unwrap();
    assert!(matches!(
        store(&folder).load(&removed, ISSUER),
        Err(LoadError::Refused {
            source: ListRefused::Signature(_),
            ..
        })
    ));
}

#[test]
fn a_list_is_never_replaced_by_an_older_or_a_rival_one() {
    let (folder, desk) = (folder(), desk(2));
    let mut store = store(&folder);
    store.save(nth(&desk, 2)).unwrap();
    assert!(matches!(
        store.save(nth(&desk, 1)),
        Err(SaveError::NotNewer {
            held: 2,
            offered: 1,
            ..
        })
    ));
    let rival = publish(Some(nth(&desk, 1).list()), &[], &desk.terms(), &key(1)).unwrap();
    assert!(matches!(
        store.save(rival.accepted()),
        Err(SaveError::NotNewer {
            held: 2,
            offered: 2,
            ..
        })
    ));
    // The same list again mends a folder.
    fs::remove_file(folder.path().join("crl-2.body")).unwrap();
    store.save(nth(&desk, 2)).unwrap();
    assert_eq!(load(&folder).unwrap().unwrap().list(), nth(&desk, 2).list());
}

/// How one step fails.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Nothing lands.
    Before,
    /// Half of a file lands.
    Half,
    /// Everything lands, and the caller is not told.
    After,
}

/// A disk on which step `fail_at` fails, and every later one too if the machine died with it.
#[derive(Debug)]
struct Faulty {
    step: AtomicUsize,
    fail_at: usize,
    fault: Fault,
    dies: bool,
}

impl Faulty {
    fn step(
        &self,
        half: impl FnOnce() -> io::Result<()>,
        whole: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let step = self.step.fetch_add(1, Ordering::Relaxed);
        let full = || Err(io::Error::from(io::ErrorKind::StorageFull));
        match step.cmp(&self.fail_at) {
            std::cmp::Ordering::Less => whole(),
            std::cmp::Ordering::Greater if self.dies => full(),
            std::cmp::Ordering::Greater => whole(),
            std::cmp::Ordering::Equal => {
                match self.fault {
                    Fault::Before => {}
                    Fault::Half => half()?,
                    Fault::After => whole()?,
                }
                full()
            }
        }
    }
}

impl Disk for Faulty {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step(
            || Files.write(path, &bytes[..bytes.len() / 2]),
            || Files.write(path, bytes),
        )
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|| Ok(()), || Files.rename(from, to))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.step(|| Ok(()), || Files.sync_folder(folder))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|| Ok(()), || Files.remove(path))
    }
}

#[test]
fn whichever_step_fails_the_folder_loads_and_nothing_is_half_written() {
    let desk = desk(3);
    let mut failures = 0;
    for fault in [Fault::Before, Fault::Half, Fault::After] {
        for dies in [false, true] {
            for fail_at in 0..14 {
                failures += usize::from(survives(&desk, fault, dies, fail_at));
            }
        }
    }
    // Four files, four moves and three syncs, each failing in six ways; what follows is only sweeping.
    assert_eq!(failures, 11 * 6);
}

/// Saves list 3 over list 2 on a faulty disk; whether that failed.
fn survives(desk: &Desk, fault: Fault, dies: bool, fail_at: usize) -> bool {
    let context = format!("{fault:?}, dies: {dies}, step {fail_at}");
    let folder = folder();
    store(&folder).save(nth(desk, 1)).unwrap();
    store(&folder).save(nth(desk, 2)).unwrap();
    let faulty = Faulty {
        step: AtomicUsize::new(0),
        fail_at,
        fault,
        dies,
    };
    let mut broken = Store::on(folder.path().to_owned(), Box::new(faulty));
    let result = broken.save(nth(desk, 3));
    if let Err(error) = &result {
        assert!(matches!(error, SaveError::Write { .. }), "{context}: {error}");
    }
    if !dies {
        assert!(
            !names(&folder).iter().any(|name| name.ends_with(".tmp")),
            "{context}"
        );
    }
    let loaded = load(&folder)
        .unwrap_or_else(|error| panic!("{context}: {error}"))
        .unwrap();
    let number = loaded.list().crl_number();
    assert!(number == 3 || (number == 2 && result.is_err()), "{context}");
    assert_eq!(loaded.list(), nth(desk, number as usize).list(), "{context}");
    assert_eq!(store(&folder).seen().unwrap(), Some(loaded.seen()), "{context}");
    // Once the disk is well again the same list goes in.
    store(&folder).save(nth(desk, 3)).unwrap();
    assert_eq!(
        load(&folder).unwrap().unwrap().list(),
        nth(desk, 3).list(),
        "{context}"
    );
    result.is_err()
}

#[test]
fn after_an_interrupted_save_no_rival_list_goes_in_until_the_folder_was_loaded() {
    let (folder, desk) = (folder(), desk(2));
    store(&folder).save(nth(&desk, 1)).unwrap();
    // Step 8 syncs the folder after the head has moved into its place.
    let faulty = Faulty {
        step: AtomicUsize::new(0),
        fail_at: 8,
        fault: Fault::Before,
        dies: false,
    };
    let mut store = Store::on(folder.path().to_owned(), Box::new(faulty));
    assert!(store.save(nth(&desk, 2)).is_err());
    let rival = publish(Some(nth(&desk, 1).list()), &[], &desk.terms(), &key(1)).unwrap();
    assert!(matches!(
        store.save(rival.accepted()),
        Err(SaveError::Unsettled {
            pending: 2,
            offered: 2
        })
    ));
    let settled = store.load(&trust(), ISSUER).unwrap().unwrap();
    assert_eq!(settled.list(), nth(&desk, 2).list());
    let next = publish(Some(settled.list()), &[], &desk.terms(), &key(1)).unwrap();
    store.save(next.accepted()).unwrap();
}

#[test]
fn a_folder_that_cannot_be_used_says_so() {
    let folder = folder();
    put(&folder, "file", b"");
    let error = Store::open(folder.path().join("file/crl")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot create the revocation list folder")
    );
    fs::create_dir(folder.path().join(SEEN_FILE)).unwrap();
    assert!(matches!(
        load(&folder),
        Err(LoadError::Seen(SeenError::Read { .. }))
    ));
}

#[test]
fn a_list_taken_in_by_delta_is_stored_like_any_other() {
    let (folder, desk) = (folder(), desk(2));
    let examined = Reader::new(ISSUER, Some(nth(&desk, 1).seen()))
        .examine(nth(&desk, 2).head(), &trust(), desk.now)
        .unwrap();
    let accepted = examined
        .with_delta(nth(&desk, 2).delta().unwrap(), nth(&desk, 1).list())
        .unwrap();
    store(&folder).save(&accepted).unwrap();
    let loaded = load(&folder).unwrap().unwrap();
    assert!(
        loaded
            .list()
            .entries()
            .iter()
            .all(|entry| entry.action == Action::Hold)
    );
    assert_eq!(loaded.list(), desk.list());
}
