//! `bailiwick kill`: the switch that is looked at before any lookup.

use base::Reason;
use control::api::types::{KillRequest, KillTarget, ListPublished};

use super::{revoke, who};
use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};

/// `bailiwick kill` arguments.
#[derive(Debug, clap::Args)]
pub struct KillArgs {
    /// A plugin id, or an artifact (sha256:…), which is put on hold
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    target: Option<KillTarget>,
    /// Every plugin
    #[arg(long)]
    all: bool,
    /// Release the switch again
    #[arg(long)]
    lift: bool,
    /// Why, from the closed list
    #[arg(long)]
    reason: Option<Reason>,
    /// Why, in words, for the record
    #[arg(long)]
    note: Option<String>,
}

/// Runs `bailiwick kill`.
///
/// # Errors
/// The control plane cannot be reached, or refuses the act.
pub async fn run(args: &KillArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let target = args.target.clone().unwrap_or(KillTarget::All);
    let request = KillRequest {
        target: target.clone(),
        lift: args.lift,
        reason: args.reason,
        who: who(),
        note: args.note.clone(),
    };
    let published: ListPublished = Client::open(config).await?.post("/v1/kill", &request).await?;
    output::print(format, &published, || {
        let done = if args.lift { "is released" } else { "is stopped" };
        format!(
            "{target} {done} since list {}\n{}",
            published.crl_number,
            revoke::cut(&published)
        )
    })?;
    Ok(Exit::Done)
}
