//! Writing: the same contents are the same bytes, today and on another machine.

use std::collections::BTreeMap;
use std::io;

use evidence::{Event, verify_proof};

use super::layout::{self, Part};
use super::verify_md::{self, Subject};
use super::{About, CitedEvent, Contents, MAX_CONTENT_BYTES, MAX_ENTRIES, Misplaced};
use crate::predicate::ConformanceReport;

/// Fixed, because the level is part of what makes the bytes.
const ZSTD_LEVEL: i32 = 9;

/// Why a bundle was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteBundleError {
    /// An event that must not be in this bundle.
    #[error("evidence bundle not written: entry {index} of log {origin:?}: {source}")]
    Event {
        /// Its log.
        origin: String,
        /// Its index.
        index: u64,
        /// What is wrong with it.
        source: Misplaced,
    },
    /// A finding cites an event that was not handed in.
    #[error("evidence bundle not written: a finding cites entry {index} of log {origin:?}, which is missing")]
    Missing {
        /// Its log.
        origin: String,
        /// Its index.
        index: u64,
    },
    /// Two parts have the same name.
    #[error("evidence bundle not written: {name} is there twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// More than any reader takes.
    #[error(
        "evidence bundle not written: {entries} files with {bytes} bytes are more than the {MAX_ENTRIES} files and {MAX_CONTENT_BYTES} bytes allowed"
    )]
    TooLarge {
        /// Files.
        entries: usize,
        /// Bytes as a tar archive.
        bytes: usize,
    },
    /// The archive or its compression failed in memory.
    #[error("evidence bundle not written")]
    Archive(#[from] io::Error),
}

/// Writes the evidence bundle of `report`. Its digest becomes the report's second subject, so the
/// report has to be in its final form, apart from its signature.
///
/// # Errors
/// [`WriteBundleError`]; nothing is written in part.
pub fn write_bundle(report: &ConformanceReport, contents: &Contents) -> Result<Vec<u8>, WriteBundleError> {
    let subject = Subject::Report(report);
    all_belong(subject, contents)?;
    for cited in report.findings.iter().flat_map(|finding| &finding.events) {
        if !contents.events.iter().any(|event| event.reference == *cited) {
            return Err(WriteBundleError::Missing {
                origin: cited.origin.clone(),
                index: cited.index,
            });
        }
    }
    write(subject, contents, layout::parts(contents))
}

/// Writes a bundle about what a plugin did in some time.
///
/// # Errors
/// [`WriteBundleError`]; nothing is written in part.
pub fn write_period_bundle(about: &About, contents: &Contents) -> Result<Vec<u8>, WriteBundleError> {
    let subject = Subject::Period(about);
    all_belong(subject, contents)?;
    let mut parts = layout::parts(contents);
    parts.push((layout::ABOUT.to_owned(), about.to_text()));
    write(subject, contents, parts)
}

fn write(
    subject: Subject<'_>,
    contents: &Contents,
    mut parts: Vec<Part>,
) -> Result<Vec<u8>, WriteBundleError> {
    let guide = verify_md::verify_md(subject, contents, &parts);
    parts.push((layout::VERIFY.to_owned(), guide.into_bytes()));
    let tar = pack(sorted(parts)?)?;
    Ok(compress(&tar)?)
}

fn all_belong(subject: Subject<'_>, contents: &Contents) -> Result<(), WriteBundleError> {
    for event in &contents.events {
        belongs(subject, contents, event).map_err(|source| WriteBundleError::Event {
            origin: event.reference.origin.clone(),
            index: event.reference.index,
            source,
        })?;
    }
    Ok(())
}

/// An event belongs if it is this plugin's and build's, or nobody's (a gap, a start), and if its proof
/// holds: what a stranger would find out must not be news to us.
fn belongs(subject: Subject<'_>, contents: &Contents, cited: &CitedEvent) -> Result<(), Misplaced> {
    let event = Event::from_entry(&cited.entry)?;
    if event.seq != cited.reference.index {
        return Err(Misplaced::Index { seq: event.seq });
    }
    let same_plugin = event
        .plugin_id
        .is_none_or(|plugin| plugin == *subject.plugin_id());
    let same_build = match (event.artifact_digest, subject) {
        (Some(digest), Subject::Report(report)) => digest == report.artifact_digest,
        _ => true,
    };
    if !(same_plugin && same_build) {
        return Err(Misplaced::Foreign);
    }
    let key = contents
        .log_keys
        .iter()
        .find(|key| key.name() == cited.reference.origin);
    if let (Some(proof), Some(key)) = (&cited.proof, key) {
        verify_proof(proof, &cited.entry, key)?;
    }
    Ok(())
}

fn sorted(parts: Vec<Part>) -> Result<BTreeMap<String, Vec<u8>>, WriteBundleError> {
    let mut files = BTreeMap::new();
    for (name, bytes) in parts {
        match files.get(&name) {
            // One event cited by two findings is one file.
            Some(known) if *known == bytes => {}
            Some(_) => return Err(WriteBundleError::Twice { name }),
            None => {
                files.insert(name, bytes);
            }
        }
    }
    Ok(files)
}

fn pack(files: BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, WriteBundleError> {
    let tar = tar_of(&files)?;
    if files.len() > MAX_ENTRIES || tar.len() > MAX_CONTENT_BYTES {
        return Err(WriteBundleError::TooLarge {
            entries: files.len(),
            bytes: tar.len(),
        });
    }
    Ok(tar)
}

/// The one archive that holds `files`: GNU headers, names in byte order, mode 0644, nobody's, at no time.
pub(super) fn tar_of(files: &BTreeMap<String, Vec<u8>>) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_path(name)?;
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        archive.append(&header, bytes.as_slice())?;
    }
    archive.into_inner()
}

pub(super) fn compress(tar: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.include_contentsize(true)?;
    compressor.compress(tar)
}
