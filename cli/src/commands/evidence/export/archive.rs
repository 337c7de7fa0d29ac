//! A log as Parquet files, in the layout of the archive.
//!
//! Files hold whole stretches of a log, because each has to give its entries back byte for byte; what
//! is of interest in them is for their reader to choose.

use std::path::Path;

use anyhow::Context as _;
use evidence::archive::{ArchiveFile, ArchiveWriter};
use evidence::export::Filter;

use super::super::witnessing::Panel;
use super::{open, refused};
use crate::files;
use crate::house::logs::LogPlace;

/// Writes all entries of the logs into files below `folder` and says how many they were.
///
/// # Errors
/// A log does not verify (a refusal), something is filtered, or a file cannot be written.
pub fn write(places: &[LogPlace], panel: &Panel, filter: &Filter, folder: &Path) -> anyhow::Result<u64> {
    anyhow::ensure!(
        folder != Path::new("-"),
        "Parquet files go into a folder; name it with --output"
    );
    anyhow::ensure!(
        filter.is_open(),
        "Parquet files hold whole logs; leave the filters out and choose when you read them"
    );
    let mut count = 0;
    for place in places {
        let log = open(place, panel)?;
        let origin = log.checkpoint().origin();
        let mut entries = log.entries(0..u64::MAX);
        let mut writer = ArchiveWriter::new(origin, 0);
        while let Some(bundle) = entries.read_on().map_err(|error| refused(place, error))? {
            for (_, entry) in bundle.entries() {
                if writer.is_full() {
                    put(folder, &writer.finish()?)?;
                }
                writer.push(entry)?;
                count += 1;
            }
        }
        if !writer.is_empty() {
            put(folder, &writer.finish()?)?;
        }
    }
    Ok(count)
}

fn put(folder: &Path, file: &ArchiveFile) -> anyhow::Result<()> {
    let path = folder.join(file.name.to_string());
    let parent = path.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    files::replace(&path, &file.bytes).with_context(|| format!("cannot write {}", path.display()))
}
