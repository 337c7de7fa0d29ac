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
    Ruling, Rulings, Runs, Settings, SinkError, Unattributed,
};
use base::{Target, Timestamp};
use evidence::Event;

struct Nobody;

impl Runs for Nobody {
    fn whose(&self, _: &Presented<'_>, _: Timestamp) -> Result<Arc<Identity>, IdentityRefusal> {
        Err(IdentityRefusal::Missing)
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
    fn append(&mut self, events: &mut [Event]) -> Result<(), SinkError> {
        let failed = |error: std::io::Error| SinkError::Failed(error.into());
        let mut out = std::io::stdout().lock();
        for (position, event) in events.iter_mut().enumerate() {
            event.seq = self.0;
            let entry = event.to_entry().map_err(|error| SinkError::Misfit {
                position,
                source: error.into(),
            })?;
            out.write_all(&entry).map_err(failed)?;
            out.write_all(b"\n").map_err(failed)?;
            self.0 += 1;
        }
        out.flush().map_err(failed)
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<u64, SinkError> {
        Ok(self.0)
    }
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
