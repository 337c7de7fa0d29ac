//! Which events a command is about: the same words on every command line.

use base::{ArtifactDigest, Decision, Host, PluginId, RefusalReason, RunId, Timestamp};
use evidence::EventKind;
use evidence::export::Filter;

/// Filters, all of which must hold.
#[derive(Clone, Debug, clap::Args)]
pub struct FilterArgs {
    /// Of this plugin
    #[arg(long)]
    plugin: Option<PluginId>,
    /// Of this run
    #[arg(long)]
    run: Option<RunId>,
    /// Of this artifact
    #[arg(long)]
    digest: Option<ArtifactDigest>,
    /// To this host
    #[arg(long)]
    host: Option<Host>,
    /// Of this kind: open, connected, progress, close, refused, gap, kill, start, stop
    #[arg(long, value_parser = kind)]
    kind: Option<EventKind>,
    /// Allowed or denied
    #[arg(long)]
    decision: Option<Decision>,
    /// Refused for this reason
    #[arg(long)]
    reason: Option<RefusalReason>,
    /// From this moment on (RFC 3339)
    #[arg(long)]
    since: Option<Timestamp>,
    /// Before this moment (RFC 3339)
    #[arg(long)]
    until: Option<Timestamp>,
    /// Of this connection
    #[arg(long, value_name = "ID")]
    connection: Option<String>,
}

impl FilterArgs {
    /// The filter that they stand for.
    pub fn filter(&self) -> Filter {
        Filter {
            plugin_id: self.plugin.clone(),
            run_id: self.run,
            artifact_digest: self.digest,
            host: self.host.clone(),
            kind: self.kind,
            decision: self.decision,
            reason: self.reason,
            connection_id: self.connection.clone(),
            since: self.since,
            until: self.until,
        }
    }
}

/// A kind of event, by its name.
///
/// # Errors
/// The kinds that there are.
pub fn kind(text: &str) -> Result<EventKind, String> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|_| {
        "known kinds: open, connected, progress, close, refused, gap, kill, start, stop, archived, pruned"
            .to_owned()
    })
}
