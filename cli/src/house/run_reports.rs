//! The file in which the signed reports about one artifact's runs of one night stand together.
//!
//! It only grows. What counts is what the registry has a place for: whatever lies beyond the last such place
//! was written by a night that ended before it could register it, perhaps in the middle of a line, and goes
//! when the file is opened again.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use base::Sha256Digest;
use control::report_files::RUNS_FILE;
use control::store::{Line, ReportRecord};

/// Such a file, open for more.
pub struct RunReports {
    folder: PathBuf,
    file: File,
    /// Where the next line begins.
    end: u64,
    /// What is in it already.
    known: HashMap<Sha256Digest, Line>,
}

impl RunReports {
    /// Whether `folder` has one from before, so that what is registered has to be looked up.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(RUNS_FILE).exists()
    }

    /// Opens the file of `folder`, or begins it. Of what is in it, the lines of `registered` stay.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open(folder: &Path, registered: &[ReportRecord]) -> io::Result<Self> {
        // By the folder's own name: a site that was moved keeps its lines.
        let name = |folder: &Path| folder.file_name().map(ToOwned::to_owned);
        let own = registered
            .iter()
            .filter(|record| name(Path::new(&record.folder)) == name(folder));
        let known: HashMap<_, _> = own
            .filter_map(|record| Some((record.report_id, record.line?)))
            .collect();
        let ends = known.values().map(|line| line.at + line.bytes + 1);
        let end = ends.max().unwrap_or(0);
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(RUNS_FILE))?;
        file.set_len(end)?;
        Ok(Self {
            folder: folder.to_owned(),
            file,
            end,
            known,
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds a signed report, unless it is there already, and says where it stands.
    ///
    /// # Errors
    /// What the disk says; then nothing was added.
    pub fn add(&mut self, report_id: Sha256Digest, bundle: &[u8]) -> io::Result<Line> {
        if let Some(line) = self.known.get(&report_id) {
            return Ok(*line);
        }
        let line = Line {
            at: self.end,
            bytes: bundle.len() as u64,
        };
        // Written where the line before ends, so that half a line of an attempt that failed is written over.
        let written = self.file.write_all_at(&[bundle, b"\n"].concat(), line.at);
        if written.is_err() {
            // Best effort: the caller learns of the failure either way.
            let _ = self.file.set_len(self.end);
        }
        written?;
        self.end = line.at + line.bytes + 1;
        self.known.insert(report_id, line);
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use base::{PluginId, Timestamp, Verdict};
    use control::report_files::{read_bundle, read_lines};

    use super::*;

    fn record(folder: &Path, bundle: &[u8], line: Line) -> ReportRecord {
        let moment = Timestamp::from_unix_us(0);
        ReportRecord {
            report_id: Sha256Digest::of(bundle),
            plugin_id: "acme.weather".parse::<PluginId>().unwrap(),
            artifact_digest: None,
            run_id: None,
            from: moment,
            to: moment,
            verdict: Verdict::Conforming,
            folder: folder.to_str().unwrap().to_owned(),
            line: Some(line),
            created_at: moment,
        }
    }

    fn add(reports: &mut RunReports, bundle: &[u8]) -> Line {
        reports.add(Sha256Digest::of(bundle), bundle).unwrap()
    }

    #[test]
    fn a_night_that_is_taken_up_again_writes_nothing_twice_and_nothing_after_half_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (one, two, three) = (&b"{\"one\":1}"[..], &b"{\"two\":22}"[..], &b"{\"three\":333}"[..]);
        let mut reports = RunReports::open(folder, &[]).unwrap();
        let first = record(folder, one, add(&mut reports, one));
        // Written and never registered; then the power goes in the middle of the next.
        add(&mut reports, two);
        let path = folder.join(RUNS_FILE);
        let torn = [&std::fs::read(&path).unwrap()[..], &three[..5]].concat();
        std::fs::write(&path, torn).unwrap();

        let mut reports = RunReports::open(folder, std::slice::from_ref(&first)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [one, b"\n"].concat());
        assert_eq!(Some(add(&mut reports, one)), first.line);
        let third = record(folder, three, add(&mut reports, three));
        let second = record(folder, two, add(&mut reports, two));
        assert_eq!(read_lines(&path).unwrap(), [one, three, two]);
        for (record, bundle) in [(first, one), (second, two), (third, three)] {
            assert_eq!(record.read_bundle().unwrap(), bundle);
        }
    }

    #[test]
    fn half_a_line_of_an_attempt_that_failed_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut reports = RunReports::open(folder.path(), &[]).unwrap();
        let long = b"{\"long\":\"a disk that was full in the middle of this\"}";
        reports.file.write_all_at(&long[..20], 0).unwrap();
        let short = b"{\"short\":1}";
        let line = add(&mut reports, short);
        assert_eq!(line, Line { at: 0, bytes: 11 });
        let next = add(&mut reports, long);
        let read = |line, bundle: &[u8]| read_bundle(folder.path(), Some(line), &Sha256Digest::of(bundle));
        assert_eq!(read(line, short).unwrap(), short);
        assert_eq!(read(next, long).unwrap(), long);
    }

    #[test]
    fn lines_of_another_folder_do_not_count() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let elsewhere = record(there.path(), b"{}", Line { at: 700, bytes: 2 });
        let mut reports = RunReports::open(here.path(), &[elsewhere]).unwrap();
        assert_eq!(add(&mut reports, b"{}").at, 0);
    }
}
