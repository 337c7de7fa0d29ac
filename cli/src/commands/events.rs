//! `bailiwick events`: what the gateway saw.

use std::path::PathBuf;
use std::time::Duration;

use base::{ArtifactDigest, Decision, Host, PluginId, RefusalReason, RunId, Timestamp};
use evidence::{Event, EventKind, UnverifiedReader};
use serde::Serialize;

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
    /// The last N only
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    last: Option<usize>,
    /// Go on printing as events are written; JSON is then one event a line
    #[arg(long, short)]
    follow: bool,
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
    if args.follow {
        return follow(args, &mut reader, format);
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
    output::print(format, &view, || {
        view.events.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}

fn follow(args: &EventsArgs, reader: &mut UnverifiedReader, format: Format) -> anyhow::Result<Exit> {
    loop {
        let batch = reader.read_on()?;
        if batch.is_empty() {
            std::thread::sleep(FOLLOW_INTERVAL);
        }
        for (_, event) in batch.iter().filter(|(_, event)| args.wants(event)) {
            match format {
                Format::Text => output::line(&line(event))?,
                Format::Json => output::line(&serde_json::to_string(event)?)?,
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
            && same(self.decision.as_ref(), event.decision.as_ref())
            && same(self.reason.as_ref(), event.reason.as_ref())
            && self.since.is_none_or(|since| event.time >= since)
            && self.until.is_none_or(|until| event.time < until)
    }
}

/// One event as one line for people. Every text in it was escaped when it was written down.
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
    words.join(" ")
}

/// A kind of event, by its name.
///
/// # Errors
/// The kinds that there are.
pub fn kind(text: &str) -> Result<EventKind, String> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|_| {
        "known kinds: open, connected, progress, close, refused, gap, kill, start, stop".to_owned()
    })
}
