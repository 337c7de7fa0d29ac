//! A gateway in a few lines: it names nobody, allows everything above the floor, and prints what it
//! sees. For trying clients by hand:
//!
//! ```sh
//! cargo run -p bailiwick-proxy --example observe -- 127.0.0.1:3128 [ALLOWED_CIDR…] &
//! curl --proxy http://127.0.0.1:3128 https://example.com/
//! ```

use std::io::Write as _;
use std::sync::Arc;

use bailiwick_proxy::{
    EventSink, EvidenceSettings, Gateway, Identity, IdentityRefusal, ListenAddress, Presented, Recorder,
    Ruling, Rulings, Runs, Settings, SinkError, Unattributed, Work,
};
use base::{RunId, Target, Timestamp};
use evidence::Draft;

struct Nobody;

impl Runs for Nobody {
    fn whose(&self, _: &Presented<'_>, _: Timestamp) -> Result<Arc<Identity>, IdentityRefusal> {
        Err(IdentityRefusal::Missing)
    }

    fn has_ended(&self, _: RunId) -> bool {
        false
    }
}

struct Anything;

impl Rulings for Anything {
    fn rule(&self, _: Option<&Identity>, _: &Target) -> Ruling {
        Ruling::allow()
    }
}

/// Prints entries; keeps nothing, signs nothing.
#[derive(Default)]
struct Printed(u64);

impl EventSink for Printed {
    type Work = Nothing;

    fn append(&mut self, events: &[Draft]) -> Result<(), SinkError> {
        let failed = |error: std::io::Error| SinkError::Failed(error.into());
        let mut out = std::io::stdout().lock();
        for (position, draft) in events.iter().enumerate() {
            let entry = draft.event(self.0).and_then(|event| event.to_entry());
            let entry = entry.map_err(|error| SinkError::Misfit {
                position,
                source: error.into(),
            })?;
            out.write_all(&entry).map_err(failed)?;
            out.write_all(b"\n").map_err(failed)?;
            self.0 += 1;
        }
        out.flush().map_err(failed)
    }

    fn size(&self) -> u64 {
        self.0
    }

    fn durable(&self) -> u64 {
        self.0
    }

    fn signed(&self) -> u64 {
        self.0
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

    fn finish(&mut self, (): ()) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Work that is never handed out: a terminal is as durable as it gets.
struct Nothing;

impl Work for Nothing {
    type Done = ();

    fn run(self) {}
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:3128".to_owned());
    let mut settings = Settings::new("observe");
    settings.listen = vec![ListenAddress::Tcp(listen.parse()?)];
    settings.unattributed = Unattributed::Observe;
    settings.allow_private = arguments.map(|cidr| cidr.parse()).collect::<Result<_, _>>()?;
    let recorder = Recorder::start(Printed::default(), EvidenceSettings::new("observe"), None)?;
    let gateway = Gateway::start(settings, Arc::new(Nobody), Arc::new(Anything), recorder).await?;
    tokio::signal::ctrl_c().await?;
    gateway.shutdown(std::time::Duration::from_secs(1)).await;
    Ok(())
}
