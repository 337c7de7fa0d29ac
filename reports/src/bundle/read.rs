//! Reading: a bundle that somebody sends is a hostile file until it was read.
//!
//! Nothing is unpacked to disk here. Sizes are capped before they are allocated, and an archive is
//! accepted only if it is exactly the archive that its files would make: then there is no room for
//! links, odd owners, hidden trailers or a second file of the same name.

use std::collections::BTreeMap;
use std::io::{self, Read as _};

use super::layout;
use super::write::tar_of;

/// The largest compressed bundle read.
pub const MAX_BUNDLE_BYTES: usize = 64 << 20;
/// The largest bundle read, uncompressed.
pub const MAX_CONTENT_BYTES: usize = 128 << 20;
/// The most files in a bundle.
pub const MAX_ENTRIES: usize = 50_000;

/// Why a bundle was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadBundleError {
    /// Larger than any bundle.
    #[error("evidence bundle not read: it has more than {limit} {what}")]
    TooLarge {
        /// Bytes or files.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// Not one zstd frame around a tar archive.
    #[error("evidence bundle not read: it is not a tar.zst file")]
    Archive(#[source] io::Error),
    /// Bytes after the end.
    #[error("evidence bundle not read: {bytes} bytes follow its end")]
    Trailer {
        /// How many.
        bytes: usize,
    },
    /// A name that leads somewhere else.
    #[error("evidence bundle not read: it holds a file with the name {name:?}")]
    Name {
        /// The name, escaped.
        name: String,
    },
    /// A link, a folder, a device or an extension header.
    #[error("evidence bundle not read: {name} is not a plain file")]
    Kind {
        /// The name.
        name: String,
    },
    /// Not the archive that its files would make.
    #[error(
        "evidence bundle not read: it was not written by Bailiwick (order, times, owners or padding differ)"
    )]
    NotOurs,
}

/// Reads a bundle: its files by name.
///
/// # Errors
/// [`ReadBundleError`]; no file of a bundle that is refused is returned.
pub fn read_bundle(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, ReadBundleError> {
    if bytes.len() > MAX_BUNDLE_BYTES {
        return Err(ReadBundleError::TooLarge {
            what: "bytes",
            limit: MAX_BUNDLE_BYTES,
        });
    }
    let tar = decompress(bytes)?;
    let files = files(&tar)?;
    if tar_of(&files).map_err(ReadBundleError::Archive)? == tar {
        Ok(files)
    } else {
        Err(ReadBundleError::NotOurs)
    }
}

fn decompress(bytes: &[u8]) -> Result<Vec<u8>, ReadBundleError> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)
        .map_err(ReadBundleError::Archive)?
        .single_frame();
    let mut tar = Vec::new();
    let limit = MAX_CONTENT_BYTES as u64 + 1;
    decoder
        .by_ref()
        .take(limit)
        .read_to_end(&mut tar)
        .map_err(ReadBundleError::Archive)?;
    if tar.len() > MAX_CONTENT_BYTES {
        return Err(ReadBundleError::TooLarge {
            what: "bytes",
            limit: MAX_CONTENT_BYTES,
        });
    }
    match decoder.finish().len() {
        0 => Ok(tar),
        bytes => Err(ReadBundleError::Trailer { bytes }),
    }
}

fn files(tar: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, ReadBundleError> {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(tar);
    // Raw, so that an extension header is an entry to refuse and not an instruction to follow.
    let entries = archive.entries().map_err(ReadBundleError::Archive)?.raw(true);
    for entry in entries {
        let mut entry = entry.map_err(ReadBundleError::Archive)?;
        let raw = entry.path_bytes().into_owned();
        let name = match String::from_utf8(raw) {
            Ok(name) if layout::is_safe(name.as_bytes()) => name,
            Ok(name) => return Err(bad_name(name.as_bytes())),
            Err(error) => return Err(bad_name(error.as_bytes())),
        };
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(ReadBundleError::Kind { name });
        }
        if files.len() == MAX_ENTRIES {
            return Err(ReadBundleError::TooLarge {
                what: "files",
                limit: MAX_ENTRIES,
            });
        }
        // Grows with what is there, not with what the header claims.
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(ReadBundleError::Archive)?;
        files.insert(name, bytes);
    }
    Ok(files)
}

fn bad_name(name: &[u8]) -> ReadBundleError {
    ReadBundleError::Name {
        name: base::escape_untrusted(name, 120),
    }
}
