//! The core: what every connection of one gateway shares.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, Guard};
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
use crate::places::Places;
use crate::proof::Proof;
use crate::recorder::{Durability, Recorder};
use crate::ruling::Rulings;
use crate::settings::{Settings, Unattributed};
use crate::tarpit::Tarpit;
use crate::tls::TlsKeeper;
use crate::turnstile::Turnstile;

/// Attempts of one plugin that wait for their record at once. Enough for the log to take many in one
/// write; few enough that a plugin that floods the gateway queues up behind itself, and its neighbours do
/// not stand in that queue.
const RECORDED_AT_ONCE: usize = 16;
/// The same where a record waits for the disk: then many have to share one wait.
const RECORDED_AT_ONCE_BY_DISK: usize = 1024;
/// How long clients that came in before the gateway began to drain may take to begin to speak.
const LAST_CALL: Duration = Duration::from_secs(1);

pub(crate) struct Core {
    /// Replaced as a whole by a reload.
    settings: ArcSwap<Settings>,
    /// Follows the settings.
    names: ArcSwap<Names>,
    pub(crate) runs: Arc<dyn Runs>,
    pub(crate) rulings: Arc<dyn Rulings>,
    pub(crate) recorder: Recorder,
    /// Where attempts take turns before they are recorded.
    pub(crate) turns: Turnstile,
    pub(crate) floor: Floor,
    pub(crate) live: Arc<LiveTable>,
    /// Client connections that there may be.
    pub(crate) places: Arc<Places>,
    /// Where clients over a quota wait for their answer.
    pub(crate) tarpit: Tarpit,
    pub(crate) metrics: Metrics,
    /// Fires when no new request is taken.
    pub(crate) draining: CancellationToken,
    /// Fires when another process accepts on our sockets in our place.
    pub(crate) handed_over: CancellationToken,
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
    /// The core of a gateway whose listeners, and the other addresses of its installation, are `own`.
    pub(crate) fn new(
        settings: Settings,
        runs: Arc<dyn Runs>,
        rulings: Arc<dyn Rulings>,
        recorder: Recorder,
        tls: Option<TlsKeeper>,
        own: Vec<SocketAddr>,
        predecessor: Option<&str>,
    ) -> Self {
        let now = Self::now();
        Self {
            names: ArcSwap::from_pointee(Names::of(&settings)),
            floor: Floor::new(own, settings.allow_private.clone()),
            live: Arc::new(LiveTable::new(settings.limits.quotas)),
            places: Arc::new(Places::new(settings.limits.connections)),
            tarpit: Tarpit::new(settings.limits.connections),
            turns: Turnstile::new(match recorder.durability() {
                Durability::Group => RECORDED_AT_ONCE,
                Durability::Strict => RECORDED_AT_ONCE_BY_DISK,
            }),
            metrics: Metrics::new(recorder.counters(), now),
            draining: CancellationToken::new(),
            handed_over: CancellationToken::new(),
            closing: CancellationToken::new(),
            clients: TaskTracker::new(),
            connection_ids: ConnectionIds::starting_at(now, predecessor),
            settings: ArcSwap::from_pointee(settings),
            runs,
            rulings,
            recorder,
            tls,
        }
    }

    /// Waits until the gateway drains and whoever came in before has had time to say what it wants.
    ///
    /// A client that the kernel connected and we took cannot know that we are about to leave. Closing on
    /// it would refuse a connection that the next process could have served.
    pub(crate) async fn last_call(&self) {
        self.draining.cancelled().await;
        tokio::time::sleep(LAST_CALL).await;
    }

    /// The settings in force. Copy what is needed rather than hold this over an `await`.
    pub(crate) fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// What looks names up now.
    pub(crate) fn names(&self) -> Arc<Names> {
        self.names.load_full()
    }

    /// Puts `settings` in force for whatever begins from now on. Nothing that stands is ended: it counts
    /// towards the new limits.
    pub(crate) fn put_in_force(&self, settings: Settings) {
        if Names::differ(&self.settings(), &settings) {
            self.names.store(Arc::new(Names::of(&settings)));
        }
        self.floor.set_lifted(settings.allow_private.clone());
        self.live.set_quotas(settings.limits.quotas);
        self.places.set_limit(settings.limits.connections);
        self.tarpit.set_clients(settings.limits.connections);
        self.settings.store(Arc::new(settings));
    }

    pub(crate) fn now() -> Timestamp {
        SystemTime::now().into()
    }

    /// An event that says nothing yet but what kind it is.
    pub(crate) fn event(&self, kind: EventKind) -> Box<Event> {
        Box::new(Event::new(kind, Self::now(), &self.settings().name))
    }

    pub(crate) fn head_limits(&self) -> HeadLimits {
        let limits = self.settings().limits;
        HeadLimits {
            bytes: limits.head_bytes,
            headers: limits.headers,
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
                if refusal.proves_nothing() && self.settings().unattributed == Unattributed::Observe =>
            {
                Ok(None)
            }
            Err(refusal) => Err(refusal),
        }
    }
}

impl ConnectionIds {
    /// Names that no process before this one gave, nor the one beside it, by whatever clock.
    pub(crate) fn starting_at(now: Timestamp, predecessor: Option<&str>) -> Self {
        let taken = predecessor.and_then(|session| i64::from_str_radix(session, 16).ok());
        let now = now.unix_us();
        Self {
            epoch: taken.map_or(now, |taken| now.max(taken.saturating_add(1))),
            next: AtomicU64::new(0),
        }
    }

    pub(crate) fn next(&self) -> String {
        format!(
            "{}-{:x}",
            self.session(),
            self.next.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// What the names of this process's connections begin with ([`evidence::is_of_session`]).
    pub(crate) fn session(&self) -> String {
        format!("{:x}", self.epoch)
    }
}
