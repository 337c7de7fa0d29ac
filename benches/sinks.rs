//! A gateway that writes its events to a real log, or to a sink that forgets them; `benches/recording` measures both.
//!
//! Everything else is the same: identity by token, a queue, the recorder's thread, acknowledgements. What the sink
//! that forgets does not cost is therefore encoding, hashing, signing and the disk.
//!
//! Prints the address and the credentials of one run, and stops in good order when its standard input ends.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_proxy::{
    EventSink, EvidenceSettings, Gateway, Identity, ListenAddress, Recorder, Ruling, Rulings, Settings,
    SinkError, TokenRuns, Work,
};
use base::{ArtifactDigest, RunId, Sha256Digest, Target, Timestamp};
use evidence::{Draft, LogWriter, Origin};
use seal::SigningKey;
use seal::token::{self, RunClaims};

const NAME: &str = "gw-bench";
/// Far enough away for any measurement: the year 2096.
const EXPIRES: Timestamp = Timestamp::from_unix_us(4_000_000_000_000_000);
const DRAIN: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let sink = words.next().unwrap_or_default();
    let folder = words.next();
    // The same runtime as `bailiwick serve`.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let key = SigningKey::ed25519_from_seed(&[7; 32]);
    let settings = EvidenceSettings::new(NAME);
    let recorder = match (sink.to_str(), folder) {
        (Some("log"), Some(folder)) => {
            let origin = Origin::new("bench", NAME)?;
            let (log, _) = LogWriter::open(Path::new(&folder), &origin, key.clone())?;
            Recorder::start(log, settings, None)?
        }
        (Some("null"), None) => Recorder::start(Forgetful { seq: 0 }, settings, None)?,
        _ => return Err("say `log FOLDER` or `null`".into()),
    };
    runtime.block_on(serve(&key, recorder))
}

async fn serve(key: &SigningKey, recorder: Recorder) -> Result<(), Box<dyn Error>> {
    let mut settings = Settings::new(NAME);
    settings.listen = vec![ListenAddress::Tcp(([127, 0, 0, 1], 0).into())];
    settings.allow_private = vec!["127.0.0.0/8".parse()?];
    // As many as go through: a quick machine opens more than one plugin may by default.
    settings.limits.quotas.connections_per_second = u32::MAX;
    let runs = Arc::new(TokenRuns::new(vec![key.public()]));
    let gateway = Gateway::start(settings, runs, Arc::new(AllowAll), recorder).await?;
    let claims = RunClaims {
        run_id: RunId::from_parts(1_700_000_000_000, [1; 10]),
        plugin_id: "bench.load".parse()?,
        artifact_digest: ArtifactDigest::new(Sha256Digest::of(b"bench.load")),
        expires: EXPIRES,
    };
    let address = gateway.addresses()[0].socket_address().ok_or("no TCP port")?;
    let token = token::mint(&claims, key)?;
    let mut out = std::io::stdout();
    writeln!(out, "{} {}:{token}", address.port(), claims.run_id)?;
    out.flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    gateway.shutdown(DRAIN).await;
    Ok(())
}

struct AllowAll;

impl Rulings for AllowAll {
    fn rule(&self, _: Option<&Identity>, _: &Target) -> Ruling {
        Ruling::allow()
    }
}

/// Counts events and lets them go.
struct Forgetful {
    seq: u64,
}

/// There is nothing to wait for.
enum Nothing {}

impl Work for Nothing {
    type Done = Nothing;

    fn run(self) -> Nothing {
        self
    }
}

impl EventSink for Forgetful {
    type Work = Nothing;

    fn append(&mut self, events: &[Draft]) -> Result<(), SinkError> {
        self.seq += u64::try_from(events.len()).expect("a length fits 64 bits");
        Ok(())
    }

    fn size(&self) -> u64 {
        self.seq
    }

    fn durable(&self) -> u64 {
        self.seq
    }

    fn signed(&self) -> u64 {
        self.seq
    }

    fn start_flush(&mut self) -> Option<Nothing> {
        None
    }

    fn start_seal(&mut self) -> Option<Nothing> {
        None
    }

    fn needs_seal(&self) -> bool {
        false
    }

    fn waiting_bytes(&self) -> usize {
        0
    }

    fn finish(&mut self, done: Nothing) -> Result<(), SinkError> {
        match done {}
    }
}
