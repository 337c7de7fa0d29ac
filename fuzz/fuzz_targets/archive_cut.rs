//! Rows: an entry that the log accepts comes back from its columns bit for bit, and none else is taken.

#![no_main]

use evidence::archive::{Archive, ArchiveWriter};
use evidence::{Event, Origin};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let origin = Origin::new("acme", "gw-1").expect("a name");
    let Ok(event) = Event::from_entry(data) else {
        // Entries come from a verified log; what is none must still not break anything.
        let mut writer = ArchiveWriter::new(&origin, 0);
        let _ = writer.push(data);
        let _ = writer.finish();
        return;
    };
    let mut writer = ArchiveWriter::new(&origin, event.seq);
    writer.push(data).expect("a log has it, so a row takes it");
    let file = writer.finish().expect("the row gives its entry back");
    let archive = Archive::read(file.bytes).expect("written just now");
    let mut rows = archive.rows().expect("written just now");
    let row = rows.next_row().expect("written just now");
    assert_eq!(row, Some((event.seq, data)));
});
