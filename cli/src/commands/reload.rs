//! `bailiwick reload`: have the running server read its configuration again.

use control::api::types::{ReloadRequest, ReloadView};

use super::who;
use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};

/// Runs `bailiwick reload`. Its own reading of the file comes first, so that most mistakes are found
/// before the server is asked.
///
/// # Errors
/// No server runs, or it cannot use a file; nothing was changed then.
pub async fn run(config: &Config, format: Format) -> anyhow::Result<Exit> {
    let reloaded: ReloadView = Client::running(config)
        .await?
        .post("/v1/reload", &ReloadRequest { who: who() })
        .await?;
    output::print(format, &reloaded, || text(&reloaded))?;
    Ok(Exit::Done)
}

fn text(reloaded: &ReloadView) -> String {
    let mut lines = vec![format!("read again: {}", reloaded.path)];
    let keys = |keys: &[String]| keys.join(" ");
    match reloaded.changed.as_slice() {
        [] => lines.push("changed: nothing".to_owned()),
        changed => lines.push(format!("changed: {}", keys(changed))),
    }
    if !reloaded.needs_restart.is_empty() {
        lines.push(format!("needs a restart: {}", keys(&reloaded.needs_restart)));
    }
    lines.join("\n")
}
