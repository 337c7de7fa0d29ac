//! Artifacts as files. This is the edge of the room: the only module that reads files.
//!
//! The digest is taken of the bytes behind an open file, never of a path: whoever loads the artifact
//! must load it from the same descriptor, or the file may be another one by then.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use base::{ArtifactDigest, Sha256Digest};
use sha2::{Digest as _, Sha256};

use crate::signed::MAX_BUNDLE_BYTES;

/// What is appended to an artifact's file name to name its signed manifest.
pub const BUNDLE_SUFFIX: &str = ".PLUGIN_MANIFEST.sigstore.json";
/// What is appended to an artifact's file name to name its approval.
pub const APPROVAL_SUFFIX: &str = ".PLUGIN_APPROVAL.sigstore.json";
/// What is appended to an artifact's file name to name the readable copy of its manifest.
pub const SIDECAR_SUFFIX: &str = ".PLUGIN_MANIFEST.json";

const CHUNK_BYTES: usize = 64 * 1024;

/// Why an artifact or a document beside it was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system said no.
    #[error("could not read {what}: {source}")]
    Io {
        /// What was read.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// A folder, device or pipe. Folders have a digest of another kind.
    #[error("an artifact is one regular file; pack the folder into an archive and sign that")]
    NotAFile,
    /// The file changed while it was read.
    #[error(
        "the artifact changed while it was read ({before} bytes at first, {after} at last); wait for the build to finish"
    )]
    Changed {
        /// Size when reading began.
        before: u64,
        /// Bytes read, or size when reading ended.
        after: u64,
    },
    /// A document beyond the limit.
    #[error("{what} has more than the {MAX_BUNDLE_BYTES} bytes that are read; it is not a document of ours")]
    TooLarge {
        /// What was read.
        what: String,
    },
}

fn io_error(what: &str) -> impl FnOnce(io::Error) -> ReadError {
    let what = what.to_owned();
    move |source| ReadError::Io { what, source }
}

/// The digest and size of the artifact behind an open file, from its first byte to its last. The
/// file's position is left at its beginning.
///
/// # Errors
/// [`ReadError`].
pub fn digest_file(file: &mut File) -> Result<(ArtifactDigest, u64), ReadError> {
    let failed = || io_error("the artifact");
    let metadata = file.metadata().map_err(failed())?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile);
    }
    let before = metadata.len();
    file.seek(SeekFrom::Start(0)).map_err(failed())?;
    let (digest, read) = digest_content(file).map_err(failed())?;
    let after = file.metadata().map_err(failed())?.len();
    if read != before || after != before {
        let after = if read == before { after } else { read };
        return Err(ReadError::Changed { before, after });
    }
    file.seek(SeekFrom::Start(0)).map_err(failed())?;
    Ok((digest, read))
}

/// The digest of an artifact's content: its bytes **with the manifest region removed**.
///
/// This is the one place that knows of regions. A detached manifest has none, so the content is the
/// file; formats that carry their manifest inside are told apart and cut here.
fn digest_content(reader: &mut impl Read) -> io::Result<(ArtifactDigest, u64)> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut size = 0u64;
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => {
                hash.update(&chunk[..read]);
                size += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let digest = Sha256Digest::from_bytes(hash.finalize().into());
    Ok((ArtifactDigest::new(digest), size))
}

/// Where the signed manifest of `artifact` lies: `<file>.PLUGIN_MANIFEST.sigstore.json`.
pub fn bundle_path(artifact: &Path) -> PathBuf {
    beside(artifact, BUNDLE_SUFFIX)
}

/// Where the approval of `artifact` lies: `<file>.PLUGIN_APPROVAL.sigstore.json`.
pub fn approval_path(artifact: &Path) -> PathBuf {
    beside(artifact, APPROVAL_SUFFIX)
}

/// Where the readable copy of the manifest of `artifact` lies: `<file>.PLUGIN_MANIFEST.json`.
pub fn sidecar_path(artifact: &Path) -> PathBuf {
    beside(artifact, SIDECAR_SUFFIX)
}

fn beside(artifact: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(artifact);
    name.push(suffix);
    name.into()
}

/// Reads a bundle or manifest, never more than it may have. `None` where there is no such file.
///
/// # Errors
/// [`ReadError::Io`] or [`ReadError::TooLarge`].
pub fn read_document(path: &Path) -> Result<Option<Vec<u8>>, ReadError> {
    let what = path.display().to_string();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(&what)(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BUNDLE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(io_error(&what))?;
    if bytes.len() > MAX_BUNDLE_BYTES {
        return Err(ReadError::TooLarge { what });
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn the_digest_is_of_the_whole_file_wherever_its_position_stands() {
        let content: Vec<u8> = (0..200_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut file = file_of(&content);
        let (digest, size) = digest_file(&mut file).unwrap();
        assert_eq!(digest, ArtifactDigest::new(Sha256Digest::of(&content)));
        assert_eq!(size, 200_000);
        assert_eq!(file.stream_position().unwrap(), 0);
    }

    #[test]
    fn one_changed_byte_is_another_artifact() {
        let (one, _) = digest_file(&mut file_of(b"plugin")).unwrap();
        let (other, _) = digest_file(&mut file_of(b"plugiN")).unwrap();
        assert_ne!(one, other);
    }

    #[test]
    fn a_folder_has_no_digest_of_this_kind() {
        let folder = tempfile::tempdir().unwrap();
        let mut opened = File::open(folder.path()).unwrap();
        assert!(matches!(digest_file(&mut opened), Err(ReadError::NotAFile)));
    }

    #[test]
    fn documents_lie_beside_their_artifact() {
        let path = Path::new("dist/plugin-1.0.whl");
        assert_eq!(
            bundle_path(path),
            Path::new("dist/plugin-1.0.whl.PLUGIN_MANIFEST.sigstore.json")
        );
        assert_eq!(
            approval_path(path),
            Path::new("dist/plugin-1.0.whl.PLUGIN_APPROVAL.sigstore.json")
        );
        assert_eq!(
            sidecar_path(path),
            Path::new("dist/plugin-1.0.whl.PLUGIN_MANIFEST.json")
        );
    }

    #[test]
    fn a_document_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        assert!(read_document(&path).unwrap().is_none());
        std::fs::write(&path, vec![b' '; MAX_BUNDLE_BYTES]).unwrap();
        assert_eq!(read_document(&path).unwrap().unwrap().len(), MAX_BUNDLE_BYTES);
        std::fs::write(&path, vec![b' '; MAX_BUNDLE_BYTES + 1]).unwrap();
        assert!(matches!(read_document(&path), Err(ReadError::TooLarge { .. })));
    }
}
