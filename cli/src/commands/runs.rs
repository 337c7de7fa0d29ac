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
                ways_in(run),
            ]
        };
        let rows: Vec<_> = list.runs.iter().map(row).collect();
        output::table(
            &["RUN", "PLUGIN", "STARTED", "ENDED", "ARTIFACT", "KNOWN BY"],
            &rows,
        )
    })?;
    Ok(Exit::Done)
}

/// How connections of a live run are known: its token always, and what else it has.
fn ways_in(run: &RunView) -> String {
    if !run.live {
        return "-".to_owned();
    }
    let sources = run.sources.iter().map(|source| format!("source {source}"));
    let listeners = run.listeners.iter().map(|address| format!("listener {address}"));
    let ways: Vec<_> = std::iter::once("token".to_owned())
        .chain(listeners)
        .chain(sources)
        .collect();
    ways.join(", ")
}
