//! Where signed reports lie, and how their bytes are read back.
//!
//! A report about an artifact is a file of its own, with every rendering beside it. The reports about its
//! runs stand together in one file of the same folder, one a line, because a night has hundreds of thousands
//! of them; the registry knows each line's place, and whatever the file has beyond those places is no report.
//! Nothing is taken from either kind of file that is not the very bytes that were registered.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use base::{Sha256Digest, json};
use reports::Surroundings;

use crate::store::{Line, ReportRecord};

/// The signed report about an artifact.
pub const REPORT_FILE: &str = "report.sigstore.json";
/// The signed reports about the artifact's runs, one a line.
pub const RUNS_FILE: &str = "runs.sigstore.jsonl";
/// What surrounded these reports in the night that made them, for pages that are made later.
pub const SURROUNDINGS_FILE: &str = "surroundings.json";

/// Why a report cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReportFileError {
    /// The file is not there, or too short, or the disk does not give it.
    #[error("{file}: {source}")]
    Read {
        /// The file's name.
        file: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// What is there now is something else.
    #[error("{file} is not the file that was registered")]
    Changed {
        /// The file's name.
        file: &'static str,
    },
}

impl ReportRecord {
    /// The signed bundle.
    ///
    /// # Errors
    /// [`ReportFileError`].
    pub fn read_bundle(&self) -> Result<Vec<u8>, ReportFileError> {
        read_bundle(Path::new(&self.folder), self.line, &self.report_id)
    }
}

/// The file in `folder` that has the signed bundle.
pub fn bundle_file(folder: &Path, line: Option<Line>) -> PathBuf {
    folder.join(name_of(line))
}

const fn name_of(line: Option<Line>) -> &'static str {
    match line {
        Some(_) => RUNS_FILE,
        None => REPORT_FILE,
    }
}

/// The signed bundle that was registered as `report_id`: the file of its own in `folder`, or its line.
///
/// # Errors
/// [`ReportFileError`].
pub fn read_bundle(
    folder: &Path,
    line: Option<Line>,
    report_id: &Sha256Digest,
) -> Result<Vec<u8>, ReportFileError> {
    let file = name_of(line);
    let bytes =
        read(&bundle_file(folder, line), line).map_err(|source| ReportFileError::Read { file, source })?;
    if Sha256Digest::of(&bytes) == *report_id {
        Ok(bytes)
    } else {
        Err(ReportFileError::Changed { file })
    }
}

fn read(path: &Path, line: Option<Line>) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let Some(line) = line else {
        let mut bytes = Vec::new();
        file.take(json::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        return Ok(bytes);
    };
    let length = usize::try_from(line.bytes)
        .ok()
        .filter(|length| *length <= json::MAX_BYTES);
    let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, line.at)?;
    Ok(bytes)
}

/// The lines of a file of reports about runs, in order. A last line without an end was cut short while it
/// was written, and no report.
///
/// # Errors
/// Whatever the disk says.
pub fn read_lines(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        let limit = json::MAX_BYTES as u64 + 2;
        (&mut reader).take(limit).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Ok(lines);
        }
        lines.push(line);
    }
}

/// What surrounds the reports of `folder`; `None` where an earlier version made them.
///
/// # Errors
/// The file is there and cannot be read.
pub fn read_surroundings(folder: &Path) -> io::Result<Option<Surroundings>> {
    match std::fs::read(folder.join(SURROUNDINGS_FILE)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_from_its_line_and_from_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (br#"{"a":1}"#, br#"{"b":22}"#);
        let path = folder.path().join(RUNS_FILE);
        std::fs::write(&path, [&one[..], b"\n", two, b"\n"].concat()).unwrap();
        let read = |at, bytes, of: &[u8]| {
            let line = Some(Line { at, bytes });
            read_bundle(folder.path(), line, &Sha256Digest::of(of))
        };
        assert_eq!(read(0, 7, one).unwrap(), one);
        assert_eq!(read(8, 8, two).unwrap(), two);
        assert!(matches!(read(8, 7, two), Err(ReportFileError::Changed { .. })));
        assert!(matches!(read(0, 7, two), Err(ReportFileError::Changed { .. })));
        assert!(matches!(read(8, 800, two), Err(ReportFileError::Read { .. })));
        assert!(matches!(
            read(8, u64::MAX, two),
            Err(ReportFileError::Read { .. })
        ));
        assert_eq!(read_lines(&path).unwrap(), [&one[..], two]);
    }

    #[test]
    fn a_line_that_was_cut_short_is_no_report() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RUNS_FILE);
        std::fs::write(&path, b"{\"a\":1}\n{\"b\"").unwrap();
        assert_eq!(read_lines(&path).unwrap(), [br#"{"a":1}"#]);
        let line = Some(Line { at: 8, bytes: 8 });
        let whole = Sha256Digest::of(br#"{"b":22}"#);
        assert!(read_bundle(folder.path(), line, &whole).is_err());
    }
}
