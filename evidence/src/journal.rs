//! The journal's form: entries that no checkpoint covers yet.
//!
//! `magic`, then for each entry `u16be length ‖ checksum ‖ entry`, where the checksum is the first
//! eight bytes of the entry's leaf hash. It is written at once, so that the death of the process
//! loses nothing, and cut once a checkpoint covers what it holds.
//!
//! There are two such files. While the entries of one are sealed, new ones go into the other; so
//! nobody waits for a seal, and neither file grows without end. A *mark* in a file, `u16be 0 ‖
//! checksum ‖ u64be size`, says that a checkpoint over `size` entries was signed before it was
//! written, and that the other file held entries then. It tells two things apart that look alike
//! when a file begins beyond the checkpoint: the other file did not survive a loss of power (the
//! marks are within the checkpoint), or an older checkpoint was put back (they are beyond it, or
//! there are none).
//!
//! Trusted until the next checkpoint: whoever can change these files before then can drop an event;
//! afterwards it would show.

use base::Sha256Digest;

use crate::merkle::leaf_hash;
use crate::scan::scan;
use crate::{Event, InvalidEvent, MAX_EVENT_BYTES};

/// The first bytes of a journal; the last of them is the version of its form.
pub(crate) const MAGIC: &[u8; 8] = b"bw-jrnl\x01";
/// The names of the two files.
pub(crate) const JOURNAL_FILES: [&str; 2] = ["journal", "journal.2"];
const CHECKSUM_BYTES: usize = 8;
/// Bytes of a record before its entry.
pub(crate) const RECORD_HEAD: usize = 2 + CHECKSUM_BYTES;

/// Adds one record to `batch`: `write` adds the entry. Returns the entry's leaf hash.
///
/// # Errors
/// Those of `write`; nothing was added then.
pub(crate) fn push_record<E>(
    batch: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<Sha256Digest, E> {
    let start = batch.len();
    let entry_at = start + RECORD_HEAD;
    batch.extend_from_slice(&[0; RECORD_HEAD]);
    if let Err(error) = write(batch) {
        batch.truncate(start);
        return Err(error);
    }
    let leaf = leaf_hash(&batch[entry_at..]);
    let length = u16::try_from(batch.len() - entry_at).expect("entries are at most 4 KiB");
    batch[start..start + 2].copy_from_slice(&length.to_be_bytes());
    batch[start + 2..entry_at].copy_from_slice(&leaf.as_bytes()[..CHECKSUM_BYTES]);
    Ok(leaf)
}

/// The mark that a checkpoint over `size` entries was signed.
pub(crate) fn mark(size: u64) -> Vec<u8> {
    let mut bytes = vec![0; 2];
    bytes.extend_from_slice(&leaf_hash(&size.to_be_bytes()).as_bytes()[..CHECKSUM_BYTES]);
    bytes.extend_from_slice(&size.to_be_bytes());
    bytes
}

/// One whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) entry: &'a [u8],
    pub(crate) leaf: Sha256Digest,
}

impl Record<'_> {
    pub(crate) fn event(&self) -> Result<Event, InvalidEvent> {
        Event::from_entry(self.entry)
    }

    /// The `seq` of the entry, where it is an event.
    pub(crate) fn seq(&self) -> Option<u64> {
        let sure = scan(self.entry).map(|scanned| scanned.seq);
        sure.or_else(|| self.event().ok().map(|event| event.seq))
    }
}

/// Reads a journal's whole records, up to its end or the first that is not whole.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    rest: &'a [u8],
    read: usize,
    marked: Option<u64>,
}

/// The file is no journal, or one of a form that this program does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAJournal;

impl<'a> Records<'a> {
    pub(crate) fn of(journal: &'a [u8]) -> Result<Self, NotAJournal> {
        let records = |rest, read| Self {
            rest,
            read,
            marked: None,
        };
        match journal.strip_prefix(MAGIC) {
            Some(rest) => Ok(records(rest, MAGIC.len())),
            // A crash while the file was made; nothing can be in it.
            None if MAGIC.starts_with(journal) || journal.iter().all(|&byte| byte == 0) => {
                Ok(records(&[], 0))
            }
            None => Err(NotAJournal),
        }
    }

    /// Bytes from the start of the journal to the end of the last record handed out.
    pub(crate) const fn read_bytes(&self) -> usize {
        self.read
    }

    /// The largest size that a mark in this file names.
    pub(crate) fn marked(&self) -> Option<u64> {
        let mut rest = self.clone();
        rest.by_ref().for_each(drop);
        rest.marked
    }

    /// Passes marks, as far as they are whole.
    fn pass_marks(&mut self) {
        while let Some(rest) = self.rest.strip_prefix(&[0, 0])
            && let Some((checksum, rest)) = rest.split_first_chunk::<CHECKSUM_BYTES>()
            && let Some((size, rest)) = rest.split_first_chunk::<8>()
            && leaf_hash(size).as_bytes().starts_with(checksum)
        {
            self.marked = self.marked.max(Some(u64::from_be_bytes(*size)));
            self.read += self.rest.len() - rest.len();
            self.rest = rest;
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        self.pass_marks();
        let (length, rest) = self.rest.split_first_chunk::<2>()?;
        let (checksum, rest) = rest.split_first_chunk::<CHECKSUM_BYTES>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length == 0 || length > MAX_EVENT_BYTES {
            return None;
        }
        let (entry, rest) = rest.split_at_checked(length)?;
        let leaf = leaf_hash(entry);
        if !leaf.as_bytes().starts_with(checksum) {
            return None;
        }
        self.read += self.rest.len() - rest.len();
        self.rest = rest;
        // So that whoever stops here has counted what stands before the next record.
        self.pass_marks();
        Some(Record { entry, leaf })
    }
}

/// The places of `journals`, the one that begins with the earlier entry first.
pub(crate) fn in_order(journals: &[Vec<u8>; 2]) -> [usize; 2] {
    let first = |journal: &[u8]| Records::of(journal).ok()?.next()?.seq();
    match (first(&journals[0]), first(&journals[1])) {
        (Some(one), Some(other)) if other < one => [1, 0],
        (None, Some(_)) => [1, 0],
        _ => [0, 1],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn push(bytes: &mut Vec<u8>, entry: &[u8]) {
        let write = |batch: &mut Vec<u8>| {
            batch.extend_from_slice(entry);
            Ok::<(), std::convert::Infallible>(())
        };
        assert_eq!(push_record(bytes, write), Ok(leaf_hash(entry)));
    }

    fn journal(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for entry in entries {
            push(&mut bytes, entry);
        }
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let mut records = Records::of(bytes).unwrap();
        let entries = records.by_ref().map(|record| record.entry.to_vec()).collect();
        (entries, records.read_bytes())
    }

    #[test]
    fn a_file_of_another_form_is_no_journal() {
        assert_eq!(Records::of(b"bw-jrnl\x02").unwrap_err(), NotAJournal);
        assert_eq!(Records::of(b"{}").unwrap_err(), NotAJournal);
        assert_eq!(read(b""), (Vec::new(), 0));
        assert_eq!(read(b"bw-j"), (Vec::new(), 0));
    }

    #[test]
    fn zeroes_that_a_power_loss_left_behind_are_no_records() {
        let mut bytes = journal(&[b"one".to_vec()]);
        let whole = bytes.len();
        bytes.extend_from_slice(&[0; 4096]);
        assert_eq!(read(&bytes), (vec![b"one".to_vec()], whole));
    }

    #[test]
    fn a_mark_is_no_record_and_a_changed_one_ends_the_journal() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&mark(300));
        push(&mut bytes, b"one");
        bytes.extend_from_slice(&mark(301));
        push(&mut bytes, b"two");
        bytes.extend_from_slice(&mark(299));
        assert_eq!(
            read(&bytes),
            (vec![b"one".to_vec(), b"two".to_vec()], bytes.len())
        );
        assert_eq!(Records::of(&bytes).unwrap().marked(), Some(301));
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(read(&bytes).1, bytes.len() - mark(0).len());
        assert_eq!(Records::of(&journal(&[b"one".to_vec()])).unwrap().marked(), None);
    }

    proptest! {
        #[test]
        fn a_cut_journal_keeps_every_whole_record_and_no_other(
            entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..9),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = journal(&entries);
            let cut = MAGIC.len() + cut.index(bytes.len() - MAGIC.len() + 1);
            let (found, length) = read(&bytes[..cut]);
            prop_assert!(length <= cut);
            prop_assert_eq!(&found, &entries[..found.len()]);
            prop_assert_eq!(journal(&found).len(), length);
            let next = entries.get(found.len()).map_or(usize::MAX, |entry| length + 10 + entry.len());
            prop_assert!(next > cut);
        }

        #[test]
        fn a_record_with_a_bit_changed_ends_the_journal(
            entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..9),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let mut bytes = journal(&entries);
            let at = MAGIC.len() + at.index(bytes.len() - MAGIC.len());
            bytes[at] ^= 1 << bit;
            let (found, length) = read(&bytes);
            prop_assert!(length <= at);
            prop_assert_eq!(&found, &entries[..found.len()]);
        }
    }
}
