//! `bailiwick events`: what the gateway saw.

use std::path::PathBuf;
use std::time::Duration;

use base::{ArtifactDigest, Decision, Host, PluginId, RefusalReason, RunId, Timestamp};
use evidence::{Event, EventKind, UnverifiedReader};
use serde::Serialize;

use crate::clock;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};

/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

/// `bailiwick events` arguments: filters, all of which must hold.
#[derive(Debug, clap::Args)]
pub struct EventsArgs {
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
    /// Of this kind: open, connected, progress, close, refused, gap, kill, start, stop, archived, pruned
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
    /// The last N only
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    last: Option<usize>,
    /// Of this connection
    #[arg(long, value_name = "ID")]
    connection: Option<String>,
    /// Go on printing as events are written; JSON is then one event a line
    #[arg(long, short)]
    follow: bool,
    /// JSON as one event a line, not as one document
    #[arg(long)]
    lines: bool,
    /// The gateway whose log is read [default: the configured one]
    #[arg(long)]
    gateway: Option<String>,
}

#[derive(Serialize)]
struct EventsView {
    events: Vec<Event>,
}

/// Runs `bailiwick events`. What is printed was not verified; `bailiwick evidence verify` does that.
///
/// # Errors
/// The log cannot be read.
pub fn run(args: &EventsArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let gateway = args.gateway.as_ref().unwrap_or(&config.file.gateway.name);
    let folder: PathBuf = config.data_dir().join("log").join(gateway);
    anyhow::ensure!(
        folder.is_dir(),
        "{} holds no log yet; start the gateway with: bailiwick serve",
        folder.display()
    );
    let mut reader = UnverifiedReader::new(&folder, 0);
    let whole = args.last.is_some() || (matches!(format, Format::Json) && !args.lines);
    if args.follow || !whole {
        return stream(args, &mut reader, format);
    }
    let mut events = Vec::new();
    loop {
        let batch = reader.read_on()?;
        if batch.is_empty() {
            break;
        }
        events.extend(
            batch
                .into_iter()
                .map(|(_, event)| event)
                .filter(|event| args.wants(event)),
        );
        if let Some(last) = args.last {
            events.drain(..events.len().saturating_sub(last));
        }
    }
    let view = EventsView { events };
    if args.lines && matches!(format, Format::Json) {
        for event in &view.events {
            output::line(&serde_json::to_string(event)?)?;
        }
        return Ok(Exit::Done);
    }
    output::print(format, &view, || {
        view.events.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}

/// Prints events as they are read, without keeping them; ends with the log, or when nobody reads.
fn stream(args: &EventsArgs, reader: &mut UnverifiedReader, format: Format) -> anyhow::Result<Exit> {
    loop {
        let batch = reader.read_on()?;
        if batch.is_empty() {
            if !args.follow || args.until.is_some_and(|until| until <= clock::now()) {
                return Ok(Exit::Done);
            }
            std::thread::sleep(FOLLOW_INTERVAL);
        }
        for (_, event) in batch.iter().filter(|(_, event)| args.wants(event)) {
            let text = match format {
                Format::Text => line(event),
                Format::Json => serde_json::to_string(event)?,
            };
            if !output::line_while_read(&text)? {
                return Ok(Exit::Done);
            }
        }
    }
}

impl EventsArgs {
    fn wants(&self, event: &Event) -> bool {
        fn same<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| found == Some(wanted))
        }
        same(self.plugin.as_ref(), event.plugin_id.as_ref())
            && same(self.run.as_ref(), event.run_id.as_ref())
            && same(self.digest.as_ref(), event.artifact_digest.as_ref())
            && same(self.host.as_ref(), event.destination_host.as_ref())
            && same(self.kind.as_ref(), Some(&event.kind))
            && same(self.connection.as_ref(), event.connection_id.as_ref())
            && same(self.decision.as_ref(), event.decision.as_ref())
            && same(self.reason.as_ref(), event.reason.as_ref())
            && self.since.is_none_or(|since| event.time >= since)
            && self.until.is_none_or(|until| event.time < until)
    }
}

/// One event as one line for people. Texts were escaped when they were written down; but nobody has
/// verified that this is what was written.
fn line(event: &Event) -> String {
    let kind = serde_json::to_value(event.kind).ok();
    let mut words = vec![
        event.seq.to_string(),
        event.time.to_string(),
        kind.as_ref()
            .and_then(|kind| kind.as_str())
            .unwrap_or("?")
            .to_owned(),
    ];
    let mut say = |word: Option<String>| words.extend(word);
    say(event.plugin_id.as_ref().map(ToString::to_string));
    say(event.destination_host.as_ref().map(|host| {
        event
            .port
            .map_or_else(|| host.to_string(), |port| format!("{host}:{port}"))
    }));
    say(event.raw_target.as_ref().map(|raw| format!("asked={raw:?}")));
    say(event.decision.map(|decision| decision.to_string()));
    say(event.reason.map(|reason| format!("reason={reason}")));
    say(event.scheme.map(|scheme| format!("scheme={scheme}")));
    say(event.sni.as_ref().map(|sni| format!("sni={sni}")));
    say(event.outcome.map(|outcome| format!("outcome={outcome}")));
    say(event.bytes_out.map(|bytes| format!("out={bytes}")));
    say(event.bytes_in.map(|bytes| format!("in={bytes}")));
    say(event.duration_ms.map(|ms| format!("ms={ms}")));
    say(event.scope.as_ref().map(|scope| format!("scope={scope}")));
    say(event.tunnels.map(|tunnels| format!("tunnels={tunnels}")));
    say(event.count.map(|count| format!("missing={count}")));
    say(event.cause.as_ref().map(|cause| format!("cause={cause:?}")));
    output::for_terminal(&words.join(" "))
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
