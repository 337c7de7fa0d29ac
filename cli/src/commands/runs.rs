//! `bailiwick runs`: what has run, and what still does.

use control::api::types::{RunList, RunView};

use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};

/// Runs `bailiwick runs`.
///
/// # Errors
/// The control plane cannot be reached.
pub async fn run(config: &Config, format: Format) -> anyhow::Result<Exit> {
    let list: RunList = Client::open(config).await?.get("/v1/runs").await?;
    output::print(format, &list, || {
        let row = |run: &RunView| {
            let end = match (run.ended_at, run.live) {
                (Some(at), _) => at.to_string(),
                (None, true) => "live".to_owned(),
                (None, false) => "expired".to_owned(),
            };
            vec![
                run.run_id.to_string(),
                run.plugin_id.to_string(),
                run.started_at.to_string(),
                end,
                run.artifact_digest.short(),
            ]
        };
        let rows: Vec<_> = list.runs.iter().map(row).collect();
        output::table(&["RUN", "PLUGIN", "STARTED", "ENDED", "ARTIFACT"], &rows)
    })?;
    Ok(Exit::Done)
}
