//! Folding: the auditor's fold of an archive, on its own, so that it can be measured.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use auditor::archive_fold::Tuples;
use base::Sha256Digest;
use evidence::archive::{Archive, ArchiveName};
use serde::Serialize;

/// What folding came to.
#[derive(Debug, Serialize)]
pub struct Folded {
    /// Files read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows counted.
    pub events: u64,
    /// Tuples found.
    pub tuples: u64,
    /// Connections that ended.
    pub closed: u64,
    /// Connections that were refused.
    pub refused: u64,
}

/// What to fold, and how.
#[derive(Clone, Debug)]
pub struct Folding {
    /// The archive.
    pub folder: PathBuf,
    /// Whether runs are told apart.
    pub by_run: bool,
    /// Whether every file is held against the hash in its name.
    pub check_hashes: bool,
}

impl Folding {
    /// Folds.
    ///
    /// # Errors
    /// A file cannot be read, or is not what it should be.
    pub fn run(&self) -> Result<Folded> {
        let (tuples, files, bytes) = self.tuples()?;
        let (mut closed, mut refused) = (0, 0);
        for (_, counts) in tuples.iter() {
            closed += counts.closed;
            refused += counts.refused;
        }
        Ok(Folded {
            files,
            bytes,
            events: tuples.events(),
            tuples: tuples.len() as u64,
            closed,
            refused,
        })
    }

    /// The tuples, how many files there were, and of how many bytes.
    ///
    /// # Errors
    /// As for [`Self::run`].
    pub fn tuples(&self) -> Result<(Tuples, u64, u64)> {
        let mut files = Vec::new();
        collect(&self.folder, &mut files)?;
        files.sort();
        anyhow::ensure!(
            !files.is_empty(),
            "{} holds no archive file",
            self.folder.display()
        );
        let mut tuples = if self.by_run {
            Tuples::default()
        } else {
            Tuples::without_runs()
        };
        let mut bytes = 0;
        for path in &files {
            let file = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            bytes += file.len() as u64;
            if self.check_hashes {
                let name: ArchiveName = self.name(path).parse()?;
                anyhow::ensure!(
                    name.is_of(&Sha256Digest::of(&file)),
                    "{} was changed",
                    path.display()
                );
            }
            let archive = Archive::read(file).with_context(|| path.display().to_string())?;
            tuples
                .add_file(&archive)
                .with_context(|| path.display().to_string())?;
        }
        Ok((tuples, files.len() as u64, bytes))
    }

    fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.folder)
            .unwrap_or(path)
            .display()
            .to_string()
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|kind| kind == "parquet") {
            files.push(path);
        }
    }
    Ok(())
}
