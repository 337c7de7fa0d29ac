//! `bailiwick events`: what the gateway saw.

use std::path::PathBuf;
use std::time::Duration;

use evidence::export::Filter;
use evidence::{Event, UnverifiedReader};
use serde::Serialize;

use super::filter::FilterArgs;
use crate::clock;
use crate::config::Config;
use crate::exit::Exit;
use crate::house::archive;
use crate::output::{self, Format};

/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

/// `bailiwick events` arguments: filters, all of which must hold.
#[derive(Debug, clap::Args)]
pub struct EventsArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// The last N only
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    last: Option<usize>,
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
    let filter = args.filter.filter();
    let mut reader = UnverifiedReader::new(&folder, 0).with_archive(archive::elsewhere(config));
    let whole = args.last.is_some() || (matches!(format, Format::Json) && !args.lines);
    if args.follow || !whole {
        return stream(args, &filter, &mut reader, format);
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
                .filter(|event| filter.wants(event)),
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
fn stream(
    args: &EventsArgs,
    filter: &Filter,
    reader: &mut UnverifiedReader,
    format: Format,
) -> anyhow::Result<Exit> {
    loop {
        let batch = reader.read_on()?;
        if batch.is_empty() {
            if !args.follow || filter.until.is_some_and(|until| until <= clock::now()) {
                return Ok(Exit::Done);
            }
            std::thread::sleep(FOLLOW_INTERVAL);
        }
        for (_, event) in batch.iter().filter(|(_, event)| filter.wants(event)) {
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
