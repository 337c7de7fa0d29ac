//! `bailiwick approve`: the platform's own signature over a manifest.

use std::path::PathBuf;

use anyhow::Context as _;
use base::{ArtifactDigest, Sha256Digest, Tier, Timestamp};
use manifests::{Grant, SignedManifest, artifact};
use seal::key_file;
use seal::trust::Role;
use serde::Serialize;

use super::artifact_file;
use crate::config::Config;
use crate::exit::{Exit, Refused};
use crate::output::{self, Format};
use crate::{clock, files, trust_file};

/// `bailiwick approve` arguments.
#[derive(Debug, clap::Args)]
pub struct ApproveArgs {
    /// The artifact; its signed manifest lies beside it
    artifact: PathBuf,
    /// The most trusted tier in which it may run
    #[arg(long)]
    tier: Tier,
    /// The certifier's private key [default: the site's]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The last moment at which the approval counts (RFC 3339)
    #[arg(long)]
    valid_until: Option<Timestamp>,
}

#[derive(Serialize)]
struct ApproveView {
    approval: PathBuf,
    artifact_digest: ArtifactDigest,
    manifest_digest: Sha256Digest,
    tier: Tier,
    signer: String,
}

/// Runs `bailiwick approve`.
///
/// # Errors
/// The manifest is not there or not to be trusted, it is about other bytes, or the approval cannot
/// be written.
pub fn run(args: &ApproveArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let now = clock::now();
    let trust = trust_file::read(&config.trust_root_path())?;
    let file = artifact_file::read(&args.artifact, None)?;
    let refuse = |code: &str, message: String| Refused {
        code: code.to_owned(),
        message,
    };
    let bundle = file.bundle.as_deref().ok_or_else(|| {
        refuse(
            "manifest_missing",
            format!(
                "{} has no signed manifest; the owner makes it with: bailiwick sign",
                file.name
            ),
        )
    })?;
    let signed = SignedManifest::open(bundle, &trust, now).map_err(|e| refuse(e.code(), e.to_string()))?;
    if signed.artifact != file.digest {
        let message = format!(
            "the manifest speaks of {} and {} is {}",
            signed.artifact, file.name, file.digest
        );
        return Err(refuse("digest_mismatch", message).into());
    }
    let key = key_file::read_private(
        &args
            .key
            .clone()
            .unwrap_or_else(|| config.key_path(Role::Certifier)),
    )?;
    let policy = super::policy::in_force(config)?;
    let grant = Grant {
        verifier: format!("https://bailiwick.dev/sites/{}/certifier", config.file.site),
        policy: format!(
            "https://bailiwick.dev/sites/{}/policy/{}",
            config.file.site, policy.policy.version
        ),
        policy_digest: Some(policy.digest),
        tier: args.tier,
        at: now,
        valid_until: args.valid_until,
    };
    let approval = manifests::approve(&signed, &grant, &key)?;
    let path = artifact::approval_path(&args.artifact);
    files::replace(&path, &approval).with_context(|| format!("cannot write {}", path.display()))?;
    let view = ApproveView {
        approval: path,
        artifact_digest: file.digest,
        manifest_digest: signed.payload_digest,
        tier: args.tier,
        signer: key.public().fingerprint().to_string(),
    };
    output::print(format, &view, || {
        format!(
            "approved  {}\nup to     tier {}\nin        {}",
            view.artifact_digest,
            view.tier,
            view.approval.display()
        )
    })?;
    Ok(Exit::Done)
}
