//! Artifacts and the documents beside them, read from disk.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base::{ArtifactDigest, Sha256Digest};
use control::api::types::ComponentRecord;
use manifests::{artifact, inside};

use crate::exit::Refused;
use crate::files;

/// An artifact and whatever lies beside it.
pub struct ArtifactFile {
    /// The file's name without folders.
    pub name: String,
    /// The digest of its bytes.
    pub digest: ArtifactDigest,
    /// Its size.
    pub size_bytes: u64,
    /// The signed manifest.
    pub bundle: Option<Vec<u8>>,
    /// The readable manifest, if it lies beside the bundle.
    pub sidecar: Option<Vec<u8>>,
    /// The approval.
    pub approval: Option<Vec<u8>>,
    /// The folder, for documents that the manifest names.
    folder: PathBuf,
}

/// The digest and size of an artifact's bytes.
///
/// # Errors
/// The file cannot be read.
pub fn digest(path: &Path) -> anyhow::Result<(ArtifactDigest, u64)> {
    let mut file = File::open(path).with_context(|| format!("cannot read artifact {}", path.display()))?;
    artifact::digest_file(&mut file).with_context(|| format!("{}", path.display()))
}

/// Reads an artifact and the documents beside it. `bundle` names the signed manifest, if it lies
/// elsewhere.
///
/// # Errors
/// A file that is there cannot be read, or the bundle that was named is not there.
pub fn read(path: &Path, bundle: Option<&Path>) -> anyhow::Result<ArtifactFile> {
    let (digest, size_bytes) = digest(path)?;
    let bundle = match bundle {
        Some(named) => {
            let found = document(named, "bundle")?;
            Some(found.with_context(|| format!("there is no signed manifest {}", named.display()))?)
        }
        None => document(&artifact::bundle_path(path), "bundle")?,
    };
    Ok(ArtifactFile {
        name: name(path),
        digest,
        size_bytes,
        bundle,
        sidecar: document(&artifact::sidecar_path(path), "sidecar")?,
        approval: document(&artifact::approval_path(path), "approval")?,
        folder: path.parent().map(Path::to_owned).unwrap_or_default(),
    })
}

/// Reads a document beside the artifact. One beyond the limit is refused as the gate would refuse it,
/// without being read to its end.
fn document(path: &Path, what: &str) -> anyhow::Result<Option<Vec<u8>>> {
    artifact::read_document(path).map_err(|error| match error {
        artifact::ReadError::TooLarge { .. } => Refused {
            code: format!("{what}_too_large"),
            message: error.to_string(),
        }
        .into(),
        other => other.into(),
    })
}

/// The file's name without folders.
pub fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

impl ArtifactFile {
    /// The digest of the SBOM that the manifest names, if such a file lies beside the artifact.
    /// Nothing of the manifest is believed for it: the name only says which file to hash.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn sbom_digest(&self) -> anyhow::Result<Option<Sha256Digest>> {
        let Some(named) = self.bundle.as_deref().and_then(unverified_sbom_name) else {
            return Ok(None);
        };
        let path = self.folder.join(named);
        match File::open(&path) {
            Ok(mut file) => Ok(Some(*artifact::digest_file(&mut file)?.0.sha256())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

/// Larger bills of materials and metadata are not read.
const MAX_INSIDE_BYTES: u64 = 64 << 20;

impl ArtifactFile {
    /// Libraries inside the artifact: by the bill of materials that the manifest names, where it lies
    /// beside the artifact, or by a wheel's own metadata. Whether the SBOM is the one that was signed is
    /// for the gate to say.
    ///
    /// # Errors
    /// A file is there and cannot be read.
    pub fn components(&self, path: &Path) -> anyhow::Result<Vec<ComponentRecord>> {
        let named = self.bundle.as_deref().and_then(unverified_sbom_name);
        if let Some(named) = named {
            let sbom = self.folder.join(named);
            match files::read_limited(&sbom, usize::try_from(MAX_INSIDE_BYTES)?) {
                Ok(bytes) => return Ok(records(inside::of_cyclonedx(&bytes))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read {}", sbom.display()));
                }
            }
        }
        if !self.name.to_ascii_lowercase().ends_with(".whl") {
            return Ok(Vec::new());
        }
        let mut file =
            File::open(path).with_context(|| format!("cannot read artifact {}", path.display()))?;
        let found = inside::of_wheel(&mut file);
        Ok(records(
            found.with_context(|| format!("cannot read {}", path.display()))?,
        ))
    }
}

fn records(components: Vec<inside::Component>) -> Vec<ComponentRecord> {
    components
        .into_iter()
        .map(|component| ComponentRecord {
            name: component.name,
            version: component.version,
        })
        .collect()
}

fn unverified_sbom_name(bundle: &[u8]) -> Option<String> {
    use base64::Engine as _;
    let bundle = base::json::parse(bundle).ok()?;
    let payload = bundle.pointer("/dsseEnvelope/payload")?.as_str()?;
    let payload = base64::engine::general_purpose::STANDARD.decode(payload).ok()?;
    let statement = base::json::parse(&payload).ok()?;
    let name = statement.pointer("/predicate/sbom/name")?.as_str()?;
    // A name, not a way out of the folder.
    (Path::new(name).file_name()?.to_str()? == name).then(|| name.to_owned())
}
