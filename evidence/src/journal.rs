//! The journal's form: entries that no checkpoint covers yet.
//!
//! `magic`, then for each entry `u16be length ‖ checksum ‖ entry`, where the checksum is the first
//! eight bytes of the entry's leaf hash. It is written at once, so that the death of the process
//! loses nothing, and cut once a checkpoint covers what it holds.
//!
//! Trusted until the next checkpoint: whoever can change this file before then can drop an event;
//! afterwards it would show.

use base::Sha256Digest;

use crate::merkle::leaf_hash;
use crate::{Event, InvalidEvent, MAX_EVENT_BYTES};

/// The first bytes of a journal; the last of them is the version of its form.
pub(crate) const MAGIC: &[u8; 8] = b"bw-jrnl\x01";
const CHECKSUM_BYTES: usize = 8;

/// Adds one record to `batch`.
pub(crate) fn push_record(batch: &mut Vec<u8>, entry: &[u8], leaf: &Sha256Digest) {
    let length = u16::try_from(entry.len()).expect("entries are at most 4 KiB");
    batch.extend_from_slice(&length.to_be_bytes());
    batch.extend_from_slice(&leaf.as_bytes()[..CHECKSUM_BYTES]);
    batch.extend_from_slice(entry);
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
}

/// Reads a journal's whole records, up to its end or the first that is not whole.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    rest: &'a [u8],
    read: usize,
}

/// The file is no journal, or one of a form that this program does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAJournal;

impl<'a> Records<'a> {
    pub(crate) fn of(journal: &'a [u8]) -> Result<Self, NotAJournal> {
        match journal.strip_prefix(MAGIC) {
            Some(rest) => Ok(Self {
                rest,
                read: MAGIC.len(),
            }),
            // A crash while the file was made; nothing can be in it.
            None if MAGIC.starts_with(journal) || journal.iter().all(|&byte| byte == 0) => {
                Ok(Self { rest: &[], read: 0 })
            }
            None => Err(NotAJournal),
        }
    }

    /// Bytes from the start of the journal to the end of the last record handed out.
    pub(crate) const fn read_bytes(&self) -> usize {
        self.read
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
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
        Some(Record { entry, leaf })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn journal(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for entry in entries {
            push_record(&mut bytes, entry, &leaf_hash(entry));
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
