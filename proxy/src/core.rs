//! The core: what every connection of one gateway shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use base::Timestamp;
use evidence::{Event, EventKind};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::entry::Entry;
use crate::floor::Floor;
use crate::head::HeadLimits;
use crate::identity::{Credentials, Identity, IdentityRefusal, Presented, Runs};
use crate::live::LiveTable;
use crate::metrics::Metrics;
use crate::names::Names;
use crate::proof::Proof;
use crate::recorder::Recorder;
use crate::ruling::Rulings;
use crate::settings::{Settings, Unattributed};
use crate::tls::TlsKeeper;

pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) runs: Arc<dyn Runs>,
    pub(crate) rulings: Arc<dyn Rulings>,
    pub(crate) recorder: Recorder,
    pub(crate) names: Names,
    pub(crate) floor: Floor,
    pub(crate) live: Arc<LiveTable>,
    pub(crate) metrics: Metrics,
    /// Fires when no new request is taken.
    pub(crate) draining: CancellationToken,
    /// Fires when connections that never got as far as the live table end too.
    pub(crate) closing: CancellationToken,
    /// Every task that serves a client.
    pub(crate) clients: TaskTracker,
    pub(crate) connection_ids: ConnectionIds,
    /// What TLS listeners present; there is none without.
    pub(crate) tls: Option<TlsKeeper>,
}

/// Gives connections names that are unique within the gateway's log, across restarts too.
pub(crate) struct ConnectionIds {
    /// When this process began to give names, in microseconds.
    epoch: i64,
    next: AtomicU64,
}

impl Core {
    pub(crate) fn now() -> Timestamp {
        SystemTime::now().into()
    }

    /// An event that says nothing yet but what kind it is.
    pub(crate) fn event(&self, kind: EventKind) -> Event {
        Event::new(kind, Self::now(), &self.settings.name)
    }

    pub(crate) const fn head_limits(&self) -> HeadLimits {
        HeadLimits {
            bytes: self.settings.limits.head_bytes,
            headers: self.settings.limits.headers,
        }
    }

    /// Whose connection this is; `None` where nothing was presented and the site lets that pass.
    pub(crate) fn identify(
        &self,
        proof: &Proof,
        entry: &Entry,
    ) -> Result<Option<Arc<Identity>>, IdentityRefusal> {
        let credentials = match proof {
            Proof::None => None,
            Proof::Basic { user, password } => Some(Credentials { user, password }),
            Proof::Unreadable => return Err(IdentityRefusal::Invalid),
        };
        let presented = Presented {
            credentials,
            source: entry.source,
            listener: entry.listener.as_ref(),
            certificate: entry.certificate.as_ref(),
        };
        let now = Self::now();
        if let Some(run_id) = entry.expired_run(now) {
            return Err(IdentityRefusal::Expired { run_id });
        }
        match self.runs.whose(&presented, now) {
            Ok(identity) => Ok(Some(identity)),
            Err(refusal)
                if refusal.proves_nothing() && self.settings.unattributed == Unattributed::Observe =>
            {
                Ok(None)
            }
            Err(refusal) => Err(refusal),
        }
    }
}

impl ConnectionIds {
    pub(crate) fn starting_at(now: Timestamp) -> Self {
        Self {
            epoch: now.unix_us(),
            next: AtomicU64::new(0),
        }
    }

    pub(crate) fn next(&self) -> String {
        format!("{:x}-{:x}", self.epoch, self.next.fetch_add(1, Ordering::Relaxed))
    }
}
