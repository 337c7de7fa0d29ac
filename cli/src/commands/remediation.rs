//! `bailiwick remediation`: which builds mend which findings.

use clap::Subcommand;
use control::api::types::{RemediationList, RemediationView};

use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};

/// What to do about remediations.
#[derive(Debug, Subcommand)]
pub enum RemediationCommand {
    /// List builds that mend findings, and whether a night found the findings gone
    List {
        /// Only those that no night has closed yet
        #[arg(long)]
        open: bool,
    },
}

/// Runs `bailiwick remediation`.
///
/// # Errors
/// The control plane cannot be reached.
pub async fn run(command: &RemediationCommand, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let RemediationCommand::List { open } = command;
    let list: RemediationList = Client::open(config)
        .await?
        .get(&format!("/v1/remediations?open={open}"))
        .await?;
    output::print(format, &list, || {
        if list.remediations.is_empty() {
            return "no remediations; admit a build that mends a finding with: bailiwick admit ARTIFACT --mends FINDING"
                .to_owned();
        }
        list.remediations.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}

fn line(remediation: &RemediationView) -> String {
    let stands = match (remediation.closed_at, &remediation.folder) {
        (Some(at), Some(folder)) => format!("closed at {at}\n    {folder}"),
        _ => "waits for a night in which the build runs and the finding is gone".to_owned(),
    };
    format!(
        "{}  {}  {} lane\n    {}\n    mended by {}\n    {stands}",
        remediation.remediation_id,
        remediation.plugin_id,
        remediation.lane,
        base::escape_untrusted(remediation.finding.as_bytes(), 300),
        remediation.artifact_digest
    )
}
