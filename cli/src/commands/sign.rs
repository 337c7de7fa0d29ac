//! `bailiwick sign`: the owner's signature.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base::{ArtifactDigest, PluginId, Sha256Digest};
use manifests::artifact;
use seal::{PredicateType, SigningKey, envelope::Unverified, key_file};
use serde::Serialize;

use super::artifact_file;
use crate::exit::Exit;
use crate::files;
use crate::output::{self, Format};

/// `bailiwick sign` arguments.
#[derive(Debug, clap::Args)]
pub struct SignArgs {
    /// The artifact whose bytes the manifest speaks of
    artifact: PathBuf,
    /// The manifest, PLUGIN_MANIFEST.json
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// The owner's private key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where the signed manifest goes [default: ARTIFACT.PLUGIN_MANIFEST.sigstore.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What was signed.
#[derive(Debug, Serialize)]
pub struct SignView {
    /// The artifact's file.
    pub artifact: PathBuf,
    /// Its digest.
    pub artifact_digest: ArtifactDigest,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The signed manifest's file.
    pub bundle: PathBuf,
    /// The SHA-256 of the signed payload.
    pub manifest_digest: Sha256Digest,
    /// The key that signed.
    pub signer: String,
}

/// Runs `bailiwick sign`.
///
/// # Errors
/// The manifest is invalid, names another artifact, or a file cannot be read or written.
pub fn run(args: &SignArgs, format: Format) -> anyhow::Result<Exit> {
    let key = key_file::read_private(&args.key)?;
    let view = sign_file(&args.artifact, &args.manifest, &key, args.out.as_deref())?;
    output::print(format, &view, || {
        format!(
            "signed    {}\nartifact  {}\nby        {}\n\nAnyone can check it:\n  cosign verify-blob-attestation --bundle {} --key {} \
             --insecure-ignore-tlog --type {} {}",
            view.bundle.display(),
            view.artifact_digest,
            view.signer,
            view.bundle.display(),
            super::key::public_path(&args.key).display(),
            PredicateType::PluginManifest.uri(),
            view.artifact.display()
        )
    })?;
    Ok(Exit::Done)
}

/// Signs the manifest in a file for the artifact in a file.
///
/// # Errors
/// As for [`run`]; nothing is written unless the whole succeeded.
pub fn sign_file(
    artifact: &Path,
    manifest: &Path,
    key: &SigningKey,
    out: Option<&Path>,
) -> anyhow::Result<SignView> {
    let (digest, _) = artifact_file::digest(artifact)?;
    let text = files::read_limited(manifest, base::json::MAX_BYTES)
        .with_context(|| format!("cannot read manifest {}", manifest.display()))?;
    let name = artifact_file::name(artifact);
    let bundle =
        manifests::sign(&text, &name, &digest, key).with_context(|| format!("{}", manifest.display()))?;
    let path = out.map_or_else(|| artifact::bundle_path(artifact), Path::to_owned);
    let opened = Unverified::parse(&bundle)?.verify([&key.public()], PredicateType::PluginManifest)?;
    let signed = manifests::Manifest::from_value(&opened.statement.predicate)?;
    files::replace(&path, &bundle).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(SignView {
        artifact: artifact.to_owned(),
        artifact_digest: digest,
        plugin_id: signed.plugin_id,
        bundle: path,
        manifest_digest: opened.payload_digest(),
        signer: opened.signer.to_string(),
    })
}
