//! Archive files: whatever the bytes, the reader neither panics nor takes more memory than a file of ours
//! can have; and what it hands out as columns is what it hands out as entries.

#![no_main]

use evidence::archive::{Archive, COLUMNS, ColumnType};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    read(data.to_vec());
    // A footer alone, with the file around it right.
    let length = u32::try_from(data.len()).unwrap_or(0).to_le_bytes();
    read([b"PAR1", data, &length, b"PAR1"].concat());
});

fn read(bytes: Vec<u8>) {
    let Ok(archive) = Archive::read(bytes) else {
        return;
    };
    for column in COLUMNS {
        match column.kind() {
            ColumnType::Text => drop(archive.texts(column.name())),
            ColumnType::Texts | ColumnType::Objects => drop(archive.lists(column.name())),
            _ => drop(archive.numbers(column.name())),
        }
    }
    let Ok(mut rows) = archive.rows() else { return };
    let mut count = 0;
    while let Ok(Some((index, entry))) = rows.next_row() {
        assert_eq!(index, archive.entries().start + count);
        assert!(!entry.is_empty());
        count += 1;
    }
}
