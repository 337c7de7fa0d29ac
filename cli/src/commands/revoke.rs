//! `bailiwick revoke`, `quarantine`, `reinstate`: one signed act each.

use base::{ArtifactDigest, Reason};
use control::api::types::{ChangeRequest, ListAct, ListChange, ListPublished, Target};
use serde::Serialize;

use super::who;
use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};

/// Arguments of the three.
#[derive(Debug, clap::Args)]
pub struct ChangeArgs {
    /// An artifact (sha256:…), a signer's key (SHA256:…), a manifest (manifest:sha256:…) or a plugin id
    target: Target,
    /// Why, from the closed list, for example undeclared_host, malware, owner_request, false_positive
    #[arg(long)]
    reason: Reason,
    /// Why, in words, for the record
    #[arg(long)]
    note: Option<String>,
}

#[derive(Serialize)]
struct ChangeView<'a> {
    target: &'a Target,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_digest: Option<ArtifactDigest>,
    action: &'static str,
    reason: Reason,
    #[serde(flatten)]
    published: &'a ListPublished,
}

/// Runs one of the three.
///
/// # Errors
/// The control plane cannot be reached, or refuses the act.
pub async fn run(act: ListAct, args: &ChangeArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let change = ListChange {
        action: act,
        target: args.target.clone(),
        reason: args.reason,
    };
    let request = ChangeRequest {
        changes: vec![change],
        who: who(),
        note: args.note.clone(),
        clause: None,
        enabled_by: None,
    };
    let published: ListPublished = Client::open(config)
        .await?
        .post("/v1/crl/changes", &request)
        .await?;
    let (action, done) = match act {
        ListAct::Quarantine => ("hold", "is on hold"),
        ListAct::Revoke => ("revoke", "is revoked for good"),
        ListAct::Reinstate => ("release", "is reinstated"),
    };
    let artifact_digest = match &args.target {
        Target::Artifact(digest) => Some(*digest),
        _ => None,
    };
    let view = ChangeView {
        target: &args.target,
        artifact_digest,
        action,
        reason: args.reason,
        published: &published,
    };
    output::print(format, &view, || {
        format!(
            "{} {done} ({}) since list {}\n{}",
            args.target,
            args.reason,
            published.crl_number,
            cut(&published)
        )
    })?;
    Ok(Exit::Done)
}

/// What a new list cut, in one line.
pub fn cut(published: &ListPublished) -> String {
    let failures: Vec<_> = published
        .gateways
        .iter()
        .filter_map(|gateway| {
            gateway
                .error
                .as_ref()
                .map(|error| format!("{}: {error}", gateway.gateway))
        })
        .collect();
    if !failures.is_empty() {
        return format!("not every gateway has the list: {}", failures.join("; "));
    }
    match (published.gateways.len(), published.tunnels) {
        (0, _) => "no gateway is connected; gateways read the list when they start".to_owned(),
        (_, 0) => "no live tunnel had to be cut".to_owned(),
        (_, tunnels) => format!("{tunnels} live tunnel(s) cut in {:.1} ms", published.ms),
    }
}
