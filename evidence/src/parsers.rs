//! Parsers that the crate keeps to itself, for the fuzz targets.

use crate::journal::Records;

/// The number and the gateway of an entry that the scanner says yes to.
pub fn scan(entry: &[u8]) -> Option<(u64, &[u8])> {
    crate::scan::scan(entry).map(|scanned| (scanned.seq, scanned.gateway))
}

/// What is whole in a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal<'a> {
    /// The entries, in order.
    pub entries: Vec<&'a [u8]>,
    /// Bytes up to the end of the last record or mark.
    pub whole_bytes: usize,
    /// The largest size in a mark.
    pub marked: Option<u64>,
}

/// Reads a journal; `None` where it is none of ours.
pub fn journal(bytes: &[u8]) -> Option<Journal<'_>> {
    let mut records = Records::of(bytes).ok()?;
    let marked = records.marked();
    let entries = records.by_ref().map(|record| record.entry).collect();
    Some(Journal {
        entries,
        whole_bytes: records.read_bytes(),
        marked,
    })
}
