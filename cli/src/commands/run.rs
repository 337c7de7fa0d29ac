//! `bailiwick run`: a registered run of an artifact.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitStatus;

use anyhow::Context as _;
use base::ArtifactDigest;
use control::api::types::{EndRunRequest, RunStarted, RunView, StartRunRequest};

use super::who;
use crate::client::Client;
use crate::config::Config;
use crate::exit::{Exit, NotThere, Refused};
use crate::house::child::{self, RunFacts};
use crate::output;

/// `bailiwick run` arguments.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["artifact", "digest"])))]
pub struct RunArgs {
    /// The artifact that will run; its digest is taken from the file now
    #[arg(long, value_name = "FILE")]
    artifact: Option<PathBuf>,
    /// The artifact that will run, by digest
    #[arg(long)]
    digest: Option<ArtifactDigest>,
    /// How long the run's credentials are valid, in seconds
    #[arg(long, value_name = "SECONDS")]
    valid_for: Option<u32>,
    /// The command, after --
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs `bailiwick run`. The exit status is the command's own.
///
/// # Errors
/// The load gate refuses the artifact, the control plane does not answer, or the command cannot be
/// started.
pub async fn run(args: &RunArgs, config: &Config, quiet: bool) -> anyhow::Result<Exit> {
    let artifact_digest = match (&args.artifact, args.digest) {
        (Some(path), _) => super::artifact_file::digest(path)?.0,
        (None, Some(digest)) => digest,
        (None, None) => anyhow::bail!("name the artifact with --artifact FILE or --digest DIGEST"),
    };
    let client = Client::running(config).await?;
    let request = StartRunRequest {
        artifact_digest,
        client_key: None,
        valid_for_s: args.valid_for,
        who: who(),
    };
    let started: RunStarted = client.post("/v1/runs", &request).await.map_err(|error| {
        // There is no unsigned path: what never passed the gate is refused by it.
        match error.downcast::<NotThere>() {
            Ok(_) => Refused {
                code: "artifact_not_admitted".to_owned(),
                message: format!(
                    "{artifact_digest} was never admitted; admit it with: bailiwick admit ARTIFACT"
                ),
            }
            .into(),
            Err(other) => other,
        }
    })?;
    let ended = start(args, &started, quiet).await;
    let exit_status = ended
        .as_ref()
        .ok()
        .map(|status| i32::from(child::exit_code(*status)));
    let path = format!("/v1/runs/{}/end", started.run_id);
    let end: anyhow::Result<RunView> = client.post(&path, &EndRunRequest { exit_status }).await;
    if let Err(error) = end {
        // The command's own status stands; the token expires by itself.
        output::note(
            false,
            &format!("warning: the run's end was not registered: {error:#}"),
        );
    }
    Ok(Exit::Child(child::exit_code(ended?)))
}

/// Runs the command with the settings of a registered run.
async fn start(args: &RunArgs, started: &RunStarted, quiet: bool) -> anyhow::Result<ExitStatus> {
    let ready = started.gateways.iter().find(|gateway| gateway.ready);
    if ready.is_none() && !started.gateways.is_empty() {
        output::note(
            false,
            "warning: no gateway is ready, connections will be refused; see: bailiwick status",
        );
    }
    let proxy = ready
        .or(started.gateways.first())
        .and_then(|gateway| gateway.listen.iter().find_map(|address| address.parse().ok()))
        .map(reachable)
        .context("no gateway is running; start it with: bailiwick serve")?;
    let facts = RunFacts {
        run_id: started.run_id,
        plugin_id: started.plugin_id.clone(),
        artifact_digest: started.artifact_digest,
        proxy,
        token: started.token.clone(),
    };
    output::note(
        quiet,
        &format!("run {} of {} through {proxy}", started.run_id, started.plugin_id),
    );
    child::run(&args.command, &facts).await
}

/// A gateway that listens everywhere is reached on loopback from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(_) => (Ipv6Addr::LOCALHOST, address.port()).into(),
    }
}
