//! Many random mutations of a log, one or several at once: what changed a covered file is found, the
//! first bad entry is not after the first changed one, and an untouched log is never accused.

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use evidence::{Integrity, split_bundle};
use proptest::prelude::*;
use proptest::sample::Index;

use super::{Log, files};

/// One thing that somebody does to the files of a log.
#[derive(Clone, Debug)]
enum Mutation {
    Flip { file: Index, at: Index, bit: u8 },
    Set { file: Index, at: Index, byte: u8 },
    Insert { file: Index, at: Index, byte: u8 },
    Delete { file: Index, at: Index, count: usize },
    Cut { file: Index, at: Index },
    Empty { file: Index },
    Remove { file: Index },
    CopyOver { from: Index, to: Index },
    Swap { one: Index, other: Index },
    SwapEntries { bundle: Index, one: Index, other: Index },
    RepeatEntry { bundle: Index, entry: Index },
    DropEntry { bundle: Index, entry: Index },
    MoveEntry { from: Index, to: Index, entry: Index },
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<Index>;
    prop_oneof![
        (index(), index(), 0u8..8).prop_map(|(file, at, bit)| Mutation::Flip { file, at, bit }),
        (index(), index(), any::<u8>()).prop_map(|(file, at, byte)| Mutation::Set { file, at, byte }),
        (index(), index(), any::<u8>()).prop_map(|(file, at, byte)| Mutation::Insert { file, at, byte }),
        (index(), index(), 1usize..600).prop_map(|(file, at, count)| Mutation::Delete { file, at, count }),
        (index(), index()).prop_map(|(file, at)| Mutation::Cut { file, at }),
        index().prop_map(|file| Mutation::Empty { file }),
        index().prop_map(|file| Mutation::Remove { file }),
        (index(), index()).prop_map(|(from, to)| Mutation::CopyOver { from, to }),
        (index(), index()).prop_map(|(one, other)| Mutation::Swap { one, other }),
        (index(), index(), index()).prop_map(|(bundle, one, other)| Mutation::SwapEntries {
            bundle,
            one,
            other
        }),
        (index(), index()).prop_map(|(bundle, entry)| Mutation::RepeatEntry { bundle, entry }),
        (index(), index()).prop_map(|(bundle, entry)| Mutation::DropEntry { bundle, entry }),
        (index(), index(), index()).prop_map(|(from, to, entry)| Mutation::MoveEntry { from, to, entry }),
    ]
}

/// The files of a log that its checkpoint covers, and the checkpoint, by name.
type Files = BTreeMap<String, Vec<u8>>;

/// Honest logs, written once: a first bundle, a full one, one more, and several.
static GOOD: LazyLock<Vec<Files>> = LazyLock::new(|| {
    let sizes = [1, 2, 19, 255, 256, 257, 300, 512, 590];
    sizes.into_iter().map(|size| covered(&Log::of(size))).collect()
});

fn covered(log: &Log) -> Files {
    files(&log.path())
        .into_iter()
        .filter(|name| !name.starts_with("journal") && name != "lock")
        .map(|name| (name.clone(), log.read(&name)))
        .collect()
}

fn pick<'f>(files: &'f mut Files, which: Index, wanted: &str) -> Option<&'f mut Vec<u8>> {
    let names: Vec<String> = files
        .keys()
        .filter(|name| name.contains(wanted))
        .cloned()
        .collect();
    let name = names.get(which.index(names.len().max(1)))?;
    files.get_mut(name)
}

/// The entries of a bundle, however many it has.
fn entries(bundle: &[u8]) -> Vec<Vec<u8>> {
    let count = (0..=256)
        .rev()
        .find(|&count| split_bundle(bundle, count, true).is_ok());
    let entries = split_bundle(bundle, count.unwrap_or(0), false).unwrap_or_default();
    entries.into_iter().map(<[u8]>::to_vec).collect()
}

fn bundle(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(&u16::try_from(entry.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    bytes
}

fn edit(files: &mut Files, which: Index, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    if let Some(bytes) = pick(files, which, "tile/entries") {
        let mut all = entries(bytes);
        if !all.is_empty() {
            change(&mut all);
            *bytes = bundle(&all);
        }
    }
}

impl Mutation {
    fn apply(&self, files: &mut Files) {
        match *self {
            Self::Flip { file, at, bit } => {
                if let Some(bytes) = pick(files, file, "").filter(|bytes| !bytes.is_empty()) {
                    let at = at.index(bytes.len());
                    bytes[at] ^= 1 << bit;
                }
            }
            Self::Set { file, at, byte } => {
                if let Some(bytes) = pick(files, file, "").filter(|bytes| !bytes.is_empty()) {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            Self::Insert { file, at, byte } => {
                if let Some(bytes) = pick(files, file, "") {
                    bytes.insert(at.index(bytes.len() + 1), byte);
                }
            }
            Self::Delete { file, at, count } => {
                if let Some(bytes) = pick(files, file, "").filter(|bytes| !bytes.is_empty()) {
                    let from = at.index(bytes.len());
                    bytes.drain(from..(from + count).min(bytes.len()));
                }
            }
            Self::Cut { file, at } => {
                if let Some(bytes) = pick(files, file, "").filter(|bytes| !bytes.is_empty()) {
                    bytes.truncate(at.index(bytes.len()));
                }
            }
            Self::Empty { file } => {
                if let Some(bytes) = pick(files, file, "") {
                    bytes.clear();
                }
            }
            Self::Remove { file } => {
                let names: Vec<String> = files.keys().cloned().collect();
                if !names.is_empty() {
                    files.remove(&names[file.index(names.len())]);
                }
            }
            Self::CopyOver { from, to } => {
                if let Some(bytes) = pick(files, from, "").map(|bytes| bytes.clone())
                    && let Some(place) = pick(files, to, "")
                {
                    *place = bytes;
                }
            }
            Self::Swap { one, other } => {
                let first = pick(files, one, "").map(|bytes| bytes.clone());
                let second = pick(files, other, "").map(|bytes| bytes.clone());
                if let (Some(first), Some(second)) = (first, second) {
                    *pick(files, one, "").unwrap() = second;
                    *pick(files, other, "").unwrap() = first;
                }
            }
            Self::SwapEntries { bundle, one, other } => edit(files, bundle, |all| {
                let (one, other) = (one.index(all.len()), other.index(all.len()));
                all.swap(one, other);
            }),
            Self::RepeatEntry { bundle, entry } => edit(files, bundle, |all| {
                let at = entry.index(all.len());
                all.insert(at, all[at].clone());
            }),
            Self::DropEntry { bundle, entry } => edit(files, bundle, |all| {
                all.remove(entry.index(all.len()));
            }),
            Self::MoveEntry { from, to, entry } => {
                let mut taken = None;
                edit(files, from, |all| {
                    taken = Some(all.remove(entry.index(all.len())))
                });
                if let Some(taken) = taken {
                    edit(files, to, |all| all.insert(entry.index(all.len()), taken));
                }
            }
        }
    }
}

/// The first entry whose bytes are not those that were signed, if one is.
fn first_changed(good: &Files, bad: &Files) -> Option<u64> {
    let bundles = good.iter().filter(|(name, _)| name.starts_with("tile/entries"));
    let mut first = 0;
    let mut changed: Option<u64> = None;
    for (name, bytes) in bundles {
        let good = entries(bytes);
        let found = bad
            .get(name)
            .map(|bytes| loose_entries(bytes))
            .unwrap_or_default();
        let differs = (0..good.len()).find(|&at| found.get(at) != good.get(at));
        if let Some(at) = differs {
            changed.get_or_insert(first + at as u64);
        }
        first += 256;
    }
    changed
}

/// The entries at the beginning of a bundle that may be spoilt further on.
fn loose_entries(bytes: &[u8]) -> Vec<Vec<u8>> {
    let whole = (0..=256)
        .rev()
        .find(|&count| split_bundle(bytes, count, false).is_ok());
    let entries = split_bundle(bytes, whole.unwrap_or(0), false).unwrap_or_default();
    entries.into_iter().map(<[u8]>::to_vec).collect()
}

/// A log with these files, and the journal that an honest writer leaves.
fn put(files: &Files) -> Log {
    let log = Log::empty();
    fs::create_dir(log.path()).unwrap();
    for (name, bytes) in files {
        fs::create_dir_all(log.file(name).parent().unwrap()).unwrap();
        log.write(name, bytes);
    }
    log
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_mutation_of_what_the_checkpoint_covers_goes_unseen(
        which in any::<Index>(),
        mutations in prop::collection::vec(mutation(), 1..4),
    ) {
        let good = &GOOD[which.index(GOOD.len())];
        let mut bad = good.clone();
        mutations.iter().for_each(|mutation| mutation.apply(&mut bad));
        if bad.is_empty() {
            return Ok(());
        }
        let found = put(&bad).verify();
        prop_assert_eq!(found.is_tampered(), bad != *good, "{:?}: {:?}", mutations, found);
        if let Integrity::Broken { first_bad, why } = &found.integrity {
            prop_assert!(!why.to_string().is_empty());
            if let Some(changed) = first_changed(good, &bad) {
                prop_assert!(*first_bad <= changed, "{} after {}: {:?}", first_bad, changed, mutations);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn an_untouched_log_is_never_accused(
        steps in prop::collection::vec(1u64..180, 1..7),
        keep_open in any::<bool>(),
    ) {
        let log = Log::empty();
        let mut size = 0;
        let mut checkpoints = Vec::new();
        if keep_open {
            let mut writer = log.writer();
            for step in steps {
                writer.append(&mut super::events(size..size + step)).unwrap();
                size += step;
                if step % 3 != 0 {
                    checkpoints.push(writer.checkpoint().unwrap());
                }
                prop_assert!(!log.verify().is_tampered());
            }
        } else {
            for step in steps {
                size += step;
                checkpoints.push(log.grow_to(size));
                prop_assert!(!log.verify().is_tampered());
            }
        }
        // Against each checkpoint that anybody may have kept, and with clutter lying about.
        std::fs::write(log.file("checkpoint.tmp"), "half a checkp").unwrap();
        std::fs::write(log.file("notes.txt"), "seen on Tuesday").unwrap();
        for held in checkpoints {
            let found = log.verify_held(Some(held));
            prop_assert!(!found.is_tampered(), "{:?}", found);
        }
    }
}
