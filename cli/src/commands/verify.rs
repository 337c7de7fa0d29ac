//! `bailiwick verify`: the load gate as a command, or what an evidence bundle is worth. Nothing is
//! registered.

use std::path::PathBuf;

use base::{ArtifactDigest, Tier};
use control::revocations::ListAsRevocations;
use crl::Accepted;
use manifests::gate::{
    self, Freshness, GatePolicy, GateRefusal, GateRequest, Question, Revocations, Standing,
};
use serde::Serialize;

use super::{artifact_file, verify_bundle};
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::{clock, list_file, trust_file};

/// `bailiwick verify` arguments.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The artifact, whose signed manifest lies beside it; or an evidence bundle (.tar.zst)
    artifact: PathBuf,
    /// The signed manifest, if it lies elsewhere
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// The trust root [default: the site's; of an evidence bundle, its own]
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// The revocation list's head; its body lies beside it [default: the site's]
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
}

#[derive(Serialize)]
struct VerifyView {
    admitted: bool,
    artifact_digest: ArtifactDigest,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin_id: Option<base::PluginId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest_digest: Option<base::Sha256Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<base::Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    notices: Vec<String>,
}

/// No list at all, which the gate refuses by name.
struct NoList;

impl Revocations for NoList {
    fn freshness(&self, _: base::Timestamp) -> Freshness {
        Freshness::Missing
    }

    fn standing(&self, _: &Question<'_>) -> Standing {
        Standing::Silent
    }
}

/// Runs `bailiwick verify`: exit status 0 where the gate would let the artifact through, 1 where not.
///
/// # Errors
/// A file cannot be read.
pub fn run(
    args: &VerifyArgs,
    config: impl Fn() -> anyhow::Result<Config>,
    format: Format,
) -> anyhow::Result<Exit> {
    if args.bundle.is_none() && verify_bundle::is_bundle(&args.artifact) {
        return verify_bundle::run(&args.artifact, args.root.as_deref(), format);
    }
    let root_path = match &args.root {
        Some(path) => path.clone(),
        None => config()?.trust_root_path(),
    };
    let trust = trust_file::read(&root_path)?;
    let file = artifact_file::read(&args.artifact, args.bundle.as_deref())?;
    let head = match &args.crl {
        Some(path) => Some(path.clone()),
        // Without a site there is no list to ask, and the gate says so.
        None => config()
            .ok()
            .map(|config| config.data_dir().join("crl").join(crl::HEAD_FILE))
            .filter(|p| p.exists()),
    };
    let list = head
        .map(|path| list_file::accept(&path, &trust, None, None))
        .transpose()?
        .map(Accepted::into_list);
    let list = list.as_ref().map(ListAsRevocations);
    let sbom = file.sbom_digest()?;
    let request = GateRequest {
        now: clock::now(),
        trust: &trust,
        revocations: list.as_ref().map_or(&NoList as &dyn Revocations, |list| list),
        artifact: &file.digest,
        bundle: file.bundle.as_deref(),
        first_seen: None,
        sidecar: file.sidecar.as_deref(),
        approval: file.approval.as_deref(),
        sbom: sbom.as_ref(),
        floor: None,
        // The least any tier asks: whether a higher one may be had is asked at admission.
        policy: GatePolicy::initial(Tier::Low),
    };
    let verdict = gate::admit(&request);
    let view = view(file.digest, &verdict);
    output::print(format, &view, || match &verdict {
        Ok(admission) => format!(
            "{} may be loaded\nplugin    {}\nsigned by {} ({})",
            file.digest,
            admission.signed.manifest.plugin_id,
            admission.signed.signer,
            admission.signed.signer_name
        ),
        Err(refusal) => format!("refused: {}", refusal.code()),
    })?;
    match verdict {
        Ok(_) => Ok(Exit::Done),
        Err(refusal) => {
            output::note(false, &format!("error: {}: {refusal}", file.name));
            Ok(Exit::Finding)
        }
    }
}

fn view(artifact_digest: ArtifactDigest, verdict: &Result<gate::Admission, GateRefusal>) -> VerifyView {
    let admission = verdict.as_ref().ok();
    let refusal = verdict.as_ref().err();
    VerifyView {
        admitted: admission.is_some(),
        artifact_digest,
        plugin_id: admission.map(|admission| admission.signed.manifest.plugin_id.clone()),
        signer: admission.map(|admission| admission.signed.signer.to_string()),
        manifest_digest: admission.map(|admission| admission.signed.payload_digest),
        code: refusal.map(GateRefusal::code),
        reason: refusal.and_then(GateRefusal::reason),
        message: refusal.map(ToString::to_string),
        notices: admission
            .iter()
            .flat_map(|a| &a.notices)
            .map(ToString::to_string)
            .collect(),
    }
}
