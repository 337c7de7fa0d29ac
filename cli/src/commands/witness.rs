//! `bailiwick witness`: vouch for the logs of others.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use control::api::End;
use evidence::witness::Witness;
use parking_lot::Mutex;
use seal::key_file;
use seal::note::NoteVerifier;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::vkey;
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::{files, witness};

/// How long requests under way may take once the witness stops.
const DRAIN: Duration = Duration::from_secs(5);
/// The file with the witness's own key in its folder.
const KEY_FILE: &str = "witness.vkey";

const STEPS: &str = "\
How to become a witness:

  1. Make a key:
       bailiwick key new witness.pem
  2. Get the log's key, on the gateway's machine:
       bailiwick evidence key > gw-1.vkey
  3. Watch:
       bailiwick witness --listen 0.0.0.0:7380 --state /var/lib/witness \\
         --key witness.pem --name witness.example/w1 --log gw-1.vkey
  4. Tell the gateway, in bailiwick.toml, and restart it:
       [evidence]
       witnesses = [{ url = \"http://HOST:7380\", key = \"<the line in STATE/witness.vkey>\" }]

It speaks C2SP tlog-witness, as other witnesses do, which will do as well. Everything said is signed;
put TLS in front of it if you like. Its folder keeps, for each log, the newest cosigned checkpoint as a file,
also served at /checkpoint/<site>/<gateway>; hold it against a copy of the log whenever you want:

  bailiwick evidence verify --dir COPY --key gw-1.vkey --checkpoint STATE/<log>.checkpoint

Keep the folder: a witness that forgets can be led to vouch for a second story.";

/// `bailiwick witness` arguments.
///
/// A witness remembers the last checkpoint of each log it watches. It cosigns the next one only when a
/// proof shows that it continues the last, and only once that is safely on its disk. Whoever runs one
/// on another machine than the gateway's makes it impossible to cut or rewrite the log unseen.
#[derive(Debug, clap::Args)]
#[command(after_long_help = STEPS)]
pub struct WitnessArgs {
    /// Where gateways reach it
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7380")]
    listen: SocketAddr,
    /// The folder in which it remembers; made if absent, used by one process at a time
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Its private key (Ed25519)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Its name, part of every cosignature; best a name of yours, such as witness.example/w1
    #[arg(long, default_value = "witness")]
    name: String,
    /// A log to watch: its verifier key (name+hash+key), or a file with such keys, one a line
    #[arg(long = "log", value_name = "VKEY|FILE", required = true, num_args = 1..)]
    logs: Vec<String>,
}

#[derive(Serialize)]
struct WitnessView {
    url: String,
    name: String,
    vkey: String,
    state: PathBuf,
    logs: Vec<WatchedView>,
}

#[derive(Serialize)]
struct WatchedView {
    origin: String,
    checkpoint: PathBuf,
}

/// Runs `bailiwick witness` until SIGTERM or SIGINT.
///
/// # Errors
/// The key, a log's key, the folder or the port cannot be had.
pub async fn run(args: &WitnessArgs, format: Format) -> anyhow::Result<Exit> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let own = open(args)?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another with --listen", args.listen))?;
    let view = view(args, &own, listener.local_addr()?);
    files::replace(&args.state.join(KEY_FILE), format!("{}\n", view.vkey).as_bytes())?;
    output::print(format, &view, || {
        let logs = view
            .logs
            .iter()
            .map(|log| format!("log      {}  ->  {}", log.origin, log.checkpoint.display()));
        let lines = [
            format!("witness  {}", view.url),
            format!("key      {}", view.vkey),
        ];
        lines.into_iter().chain(logs).collect::<Vec<_>>().join("\n")
    })?;
    let stop = CancellationToken::new();
    let router = witness::router(Arc::new(Mutex::new(own)));
    let end = End {
        stop: stop.clone(),
        ..End::default()
    };
    let serving = tokio::spawn(control::api::serve(listener, router, end, DRAIN));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
    serving.await?;
    Ok(Exit::Done)
}

fn open(args: &WitnessArgs) -> anyhow::Result<Witness> {
    let key = key_file::read_private(&args.key)
        .with_context(|| format!("--key; make one with: bailiwick key new {}", args.key.display()))?;
    let mut logs: Vec<NoteVerifier> = Vec::new();
    for text in &args.logs {
        logs.extend(vkey::logs(text).context("--log")?);
    }
    Ok(Witness::open(&args.state, &args.name, key, logs)?)
}

fn view(args: &WitnessArgs, own: &Witness, address: SocketAddr) -> WitnessView {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let watched = |origin: &str| WatchedView {
        origin: origin.to_owned(),
        checkpoint: absolute(&own.kept_file(origin)),
    };
    WitnessView {
        url: format!("http://{address}"),
        name: args.name.clone(),
        vkey: own.verifier().to_vkey(),
        state: absolute(&args.state),
        logs: own.origins().map(watched).collect(),
    }
}
