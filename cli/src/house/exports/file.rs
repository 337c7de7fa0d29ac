//! A file as a receiver: lines are added to its end and flushed, so what was confirmed is on disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Adds lines to the end of the file at `path`, which may have been moved away since. Half a line that a
/// crash left is cut off: its entry comes again.
///
/// # Errors
/// What the system said.
pub fn add(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let end = whole_lines(&mut file)?;
    file.seek(SeekFrom::Start(end))?;
    file.write_all(lines)?;
    file.sync_data()
}

/// Where the last whole line ends; what follows it is cut.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut block = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..usize::try_from(end - start).unwrap_or(0)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length {
        file.set_len(end)?;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_is_cut_and_whole_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        add(&path, b"one\n").unwrap();
        for torn in ["tw".to_owned(), "x".repeat(10_000)] {
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, [whole.as_slice(), torn.as_bytes()].concat()).unwrap();
            add(&path, b"two\n").unwrap();
            assert_eq!(
                std::fs::read(&path).unwrap(),
                [whole.as_slice(), b"two\n"].concat()
            );
        }
        std::fs::write(&path, "no line at all").unwrap();
        add(&path, b"one\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\n");
    }
}
