//! `bailiwick evidence export`: verified events for other people's tools.
//!
//! Each bundle of entries is led up to the signed root as it is read, so that memory stays flat
//! however long the log is, and no line is written that was not signed. A file appears once the last
//! entry was proven; whoever reads from a pipe hears by the exit status that a log did not hold.

mod archive;
mod findings;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use evidence::export::{Filter, Form, Sieve};
use evidence::{EntriesError, Event, NotVerified, ReadError, VerifiedLog, VerifyError, VerifyOptions};
use seal::trust::TrustRoot;
use tempfile::NamedTempFile;

use super::super::filter::FilterArgs;
use super::witnessing::Panel;
use crate::config::Config;
use crate::exit::{Exit, Refused, Unknowable};
use crate::house::logs::{self, LogPlace};
use crate::output::{self, ExportForm};
use crate::trust_file;

/// Written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// `bailiwick evidence export` arguments.
///
/// The forms are --format jsonl (each entry as its own bytes, the default), ocsf (Network Activity, DNS
/// Activity, and Detection Findings from the reports), csv, and parquet (whole logs, in the layout of the
/// archive, into the folder that --output names). Only entries that the log's key signed are exported; a
/// log that does not verify is refused, and no file is left behind.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Where to; - is standard output; for parquet, a folder
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// One gateway's log only [default: all of this site]
    #[arg(long)]
    gateway: Option<String>,
}

/// Runs `bailiwick evidence export`.
///
/// # Errors
/// A log does not verify (a refusal) or is not there, or the output cannot be written.
pub fn run(args: &ExportArgs, config: &Config, form: ExportForm, quiet: bool) -> anyhow::Result<Exit> {
    let trust = trust_file::read(&config.trust_root_path())?;
    let mut places = logs::all(config, &trust)?;
    if let Some(gateway) = &args.gateway {
        places.retain(|place| place.gateway == *gateway);
        anyhow::ensure!(
            !places.is_empty(),
            "this site has no log of a gateway {gateway:?}"
        );
    }
    let (panel, filter) = (Panel::of_site(config, &trust)?, args.filter.filter());
    let form = match form {
        ExportForm::Lines(form) => form,
        ExportForm::Parquet => {
            let count = archive::write(&places, &panel, &filter, &args.output)?;
            output::note(quiet, &format!("exported {count} entries"));
            return Ok(Exit::Done);
        }
    };
    let job = Job {
        config,
        trust: &trust,
        panel,
        filter,
        form,
    };
    let sum = if args.output == Path::new("-") {
        match job.write(&places, io::stdout().lock()) {
            // Whoever read has read enough.
            Err(error) if is_broken_pipe(&error) => return Ok(Exit::Done),
            sum => sum?,
        }
    } else {
        to_file(&args.output, |file| job.write(&places, file))?
    };
    output::note(
        quiet,
        &format!(
            "exported {} of {} entries{}",
            sum.exported,
            sum.read,
            sum.findings()
        ),
    );
    Ok(Exit::Done)
}

/// What was read and written.
#[derive(Default)]
struct Sum {
    read: u64,
    exported: u64,
    findings: u64,
}

impl Sum {
    fn findings(&self) -> String {
        match self.findings {
            0 => String::new(),
            1 => " and 1 finding".to_owned(),
            findings => format!(" and {findings} findings"),
        }
    }
}

/// What is exported how.
struct Job<'a> {
    config: &'a Config,
    trust: &'a TrustRoot,
    panel: Panel,
    filter: Filter,
    form: Form,
}

impl Job<'_> {
    fn write(&self, places: &[LogPlace], out: impl Write) -> anyhow::Result<Sum> {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
        let mut sum = Sum::default();
        out.write_all(self.form.head().as_bytes())?;
        for place in places {
            self.write_log(place, &mut out, &mut sum)?;
        }
        if self.form == Form::Ocsf {
            sum.findings = findings::write(self.config, self.trust, &self.filter, &mut out)?;
        }
        out.flush()?;
        Ok(sum)
    }

    fn write_log(&self, place: &LogPlace, out: &mut impl Write, sum: &mut Sum) -> anyhow::Result<()> {
        let log = open(place, &self.panel)?;
        let sieve = self.filter.sieve();
        let mut entries = log.entries(0..u64::MAX);
        let mut lines = Vec::new();
        while let Some(bundle) = entries.read_on().map_err(|error| refused(place, error))? {
            lines.clear();
            for (_, entry) in bundle.entries() {
                sum.read += 1;
                if self.wants(&sieve, entry)? {
                    sum.exported += 1;
                    self.form.push(&place.origin, entry, &mut lines)?;
                }
            }
            out.write_all(&lines)?;
        }
        Ok(())
    }

    fn wants(&self, sieve: &Sieve, entry: &[u8]) -> anyhow::Result<bool> {
        Ok(self.filter.is_open()
            || (sieve.lets_through(entry) && self.filter.wants(&Event::from_entry(entry)?)))
    }
}

/// Opens a log whose checkpoint is good and agrees with what others keep; its entries are to be proven
/// as they are read.
///
/// # Errors
/// A refusal where something does not verify; where there is no log, nobody can tell.
pub fn open(place: &LogPlace, panel: &Panel) -> anyhow::Result<VerifiedLog> {
    let (held, forged) = panel.held(place, None)?;
    if let Some(forged) = forged {
        return Err(not_verified(place, &forged));
    }
    let options = VerifyOptions {
        verified: None,
        held: held.first().map(|held| held.cosigned.checkpoint().clone()),
        archive: place.archive.clone(),
    };
    let opened = VerifiedLog::open_range(&place.folder, &place.verifier, &options, 0..0, &mut |_| {});
    opened.map_err(|error| match error {
        NotVerified::Tampered(_) => not_verified(place, &error.to_string()),
        NotVerified::Unseen(_) | NotVerified::Verify(VerifyError::NoLog { .. }) => {
            Unknowable(error.to_string()).into()
        }
        NotVerified::Verify(_) => error.into(),
    })
}

/// What it means that entries were not read on.
pub fn refused(place: &LogPlace, error: EntriesError) -> anyhow::Error {
    match &error {
        EntriesError::Read(ReadError::Unreadable(away)) if away.is_elsewhere() => {
            Unknowable(format!("{:#}", anyhow::Error::from(error))).into()
        }
        EntriesError::Read(ReadError::Unreadable(_)) => error.into(),
        EntriesError::Read(ReadError::Pruned { .. }) => Unknowable(error.to_string()).into(),
        EntriesError::Read(ReadError::Changed { file }) => {
            not_verified(place, &format!("{file} is not what the log's key signed"))
        }
        _ => not_verified(place, &error.to_string()),
    }
}

fn not_verified(place: &LogPlace, what: &str) -> anyhow::Error {
    Refused {
        code: "not_verified".to_owned(),
        message: format!(
            "log {}: {what}; nothing beyond it is exported, see: bailiwick evidence verify",
            place.origin
        ),
    }
    .into()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes a file that appears whole or not at all.
fn to_file<T>(path: &Path, write: impl FnOnce(&mut File) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let cannot = || format!("cannot write {}", path.display());
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder).with_context(cannot)?;
    let written = write(file.as_file_mut()).with_context(cannot)?;
    file.as_file().sync_all().with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(cannot)?;
    Ok(written)
}
