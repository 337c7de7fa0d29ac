//! Journals: whole records are read as they were written, up to the first that is not whole.
//!
//! The first byte chooses: a file as the fuzzer made it, or records that the target checksums itself
//! (no fuzzer guesses a hash), cut and changed where the fuzzer says.

#![no_main]

use evidence::merkle::leaf_hash;
use evidence::parsers::journal;
use libfuzzer_sys::fuzz_target;

const MAGIC: &[u8; 8] = b"bw-jrnl\x01";

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    if choice % 2 == 0 {
        if let Some(found) = journal(data) {
            assert!(found.whole_bytes <= data.len());
            // What was read is what a reader of these bytes alone reads.
            assert_eq!(journal(&data[..found.whole_bytes]).as_ref(), Some(&found));
        }
        return;
    }
    let Some(([cut, changed], data)) = data.split_first_chunk::<2>() else {
        return;
    };
    let mut bytes = MAGIC.to_vec();
    // Where each record or mark ends, and the entry that it is.
    let mut written: Vec<(usize, Option<&[u8]>)> = Vec::new();
    let mut rest = data;
    while let Some((&length, after)) = rest.split_first() {
        let (entry, after) = after.split_at(after.len().min(length.into()));
        rest = after;
        let size = u64::from(length).to_be_bytes();
        // An entry has bytes; what has none stands for a mark.
        let (hashed, entry) = if entry.is_empty() { (&size[..], None) } else { (entry, Some(entry)) };
        let length = u16::try_from(entry.map_or(0, <[u8]>::len)).expect("a byte counts it");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&leaf_hash(hashed).as_bytes()[..8]);
        bytes.extend_from_slice(hashed);
        written.push((bytes.len(), entry));
    }
    let place = |byte: u8| MAGIC.len() + usize::from(byte) * (bytes.len() - MAGIC.len()) / 255;
    let end = place(*cut);
    // The last place is behind the end: nothing is changed then.
    let at = place(*changed);
    bytes.truncate(end);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 0x10;
    }
    let whole = written.iter().take_while(|(stop, _)| *stop <= end.min(at)).collect::<Vec<_>>();
    let found = journal(&bytes).expect("the magic is whole");
    let expected: Vec<&[u8]> = whole.iter().filter_map(|(_, entry)| *entry).collect();
    assert_eq!(found.entries, expected);
    assert_eq!(found.whole_bytes, whole.last().map_or(MAGIC.len(), |(stop, _)| *stop));
});
