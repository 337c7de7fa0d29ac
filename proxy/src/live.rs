//! The live table: every connection that is being made or stands, and the way to end it.
//!
//! A connection enters the table before anybody is asked whether it may be made, and leaves it after
//! its sockets are closed. So a kill that follows a change of mind finds every connection that was
//! allowed before the change, whatever it is doing: looking up, dialling, relaying or sitting idle.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use base::{ArtifactDigest, Outcome, PluginId, RunId};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::Identity;
use crate::quota::{Excess, Quotas, Untold, Usage};

/// Which connections a kill ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KillScope {
    /// Those of one build.
    Artifact(ArtifactDigest),
    /// Those of one plugin, whatever the build.
    Plugin(PluginId),
    /// Those of one execution.
    Run(RunId),
    /// Every one.
    All,
}

/// Why the gateway itself ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutCause {
    /// A kill.
    Killed,
    /// Its run ended.
    RunEnded,
    /// The gateway shuts down.
    Shutdown,
}

/// The live connections of one gateway.
pub(crate) struct LiveTable {
    entries: Mutex<Entries>,
}

struct Entries {
    quotas: Quotas,
    next: u64,
    by_number: HashMap<u64, Entry>,
    usage: Usage,
}

struct Entry {
    identity: Option<Arc<Identity>>,
    cut: Cut,
    /// One for each sweep that waits for this connection; dropped with the entry.
    awaited: Vec<TaskTrackerToken>,
}

/// A connection's place in the table. Drop it after the connection's sockets.
pub(crate) struct Live {
    table: Arc<LiveTable>,
    number: u64,
    cut: Cut,
    identity: Option<Arc<Identity>>,
    excess: Option<Excess>,
}

/// Tells a connection that it is over.
#[derive(Clone, Default)]
pub(crate) struct Cut(Arc<CutState>);

#[derive(Default)]
struct CutState {
    cause: OnceLock<CutCause>,
    fired: Notify,
    /// What a connection that stands is severed by.
    ends: OnceLock<Arc<dyn Sever>>,
}

/// The sockets of a connection that stands, as whoever cuts it sees them.
pub(crate) trait Sever: Send + Sync {
    /// Resets the client's connection, if that can be done from here and was not yet.
    fn sever_client(&self);

    /// Resets the server's.
    fn sever_server(&self);
}

impl KillScope {
    fn covers(&self, identity: Option<&Identity>) -> bool {
        match (self, identity) {
            (Self::All, _) => true,
            (_, None) => false,
            (Self::Artifact(digest), Some(identity)) => *digest == identity.artifact_digest,
            (Self::Plugin(plugin), Some(identity)) => *plugin == identity.plugin_id,
            (Self::Run(run), Some(identity)) => *run == identity.run_id,
        }
    }
}

impl fmt::Display for KillScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Artifact(digest) => fmt::Display::fmt(digest, f),
            Self::Plugin(plugin) => fmt::Display::fmt(plugin, f),
            Self::Run(run) => fmt::Display::fmt(run, f),
            Self::All => f.write_str("*"),
        }
    }
}

impl CutCause {
    pub(crate) const fn outcome(self) -> Outcome {
        match self {
            Self::Killed => Outcome::Killed,
            Self::RunEnded => Outcome::RunEnded,
            Self::Shutdown => Outcome::Shutdown,
        }
    }
}

impl LiveTable {
    /// An empty table.
    pub(crate) fn new(quotas: Quotas) -> Self {
        Self {
            entries: Mutex::new(Entries {
                quotas,
                next: 0,
                by_number: HashMap::new(),
                usage: Usage::default(),
            }),
        }
    }

    /// Holds new connections against `quotas` from now on. Those that stand count, and stay.
    pub(crate) fn set_quotas(&self, quotas: Quotas) {
        self.entries.lock().quotas = quotas;
    }

    /// Puts a connection into the table, and counts it in where its quotas allow it.
    pub(crate) fn enter(self: &Arc<Self>, identity: Option<Arc<Identity>>) -> Live {
        let cut = Cut::default();
        let entry = Entry {
            identity: identity.clone(),
            cut: cut.clone(),
            awaited: Vec::new(),
        };
        let now = Instant::now();
        let mut entries = self.entries.lock();
        let quotas = entries.quotas;
        let excess = identity
            .as_ref()
            .and_then(|identity| entries.usage.enter(identity, quotas, now).err());
        let number = entries.next;
        entries.next += 1;
        entries.by_number.insert(number, entry);
        drop(entries);
        Live {
            table: Arc::clone(self),
            number,
            cut,
            identity,
            excess,
        }
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.lock().by_number.len()
    }

    /// Whose connections there are, each named once for every connection.
    pub(crate) fn identities(&self) -> Vec<Arc<Identity>> {
        let entries = self.entries.lock();
        let entries = entries.by_number.values();
        entries.filter_map(|entry| entry.identity.clone()).collect()
    }

    /// Takes the refusals over a quota that nobody was told of in time.
    pub(crate) fn sweep(&self, now: Instant) -> Vec<Untold> {
        let mut entries = self.entries.lock();
        let quotas = entries.quotas;
        entries.usage.sweep(quotas, now)
    }

    /// Ends every connection in `scope` and returns how many there were, once the last of them has
    /// closed its sockets.
    ///
    /// What stands is severed from here, one system call for each socket, because that is a tenth of what
    /// it takes each connection to wake, to write down its end and to close. They do that afterwards.
    pub(crate) async fn cut(&self, scope: &KillScope, cause: CutCause) -> u64 {
        let (sweep, cuts) = self.round_up(scope);
        let count = u64::try_from(cuts.len()).expect("a length fits 64 bits");
        if cuts.len() <= SEVERED_HERE {
            sever(&cuts, cause);
        } else {
            // Apart from the threads that relay: connections of others go on meanwhile.
            let severing = tokio::task::spawn_blocking(move || sever(&cuts, cause));
            // Its panic was reported where it happened.
            let _ = severing.await;
        }
        sweep.wait().await;
        count
    }

    /// Waits until every connection that is in `scope` now has ended by itself.
    pub(crate) async fn ended(&self, scope: &KillScope) {
        self.round_up(scope).0.wait().await;
    }

    /// Everything in `scope`, and what ends when all of it has.
    fn round_up(&self, scope: &KillScope) -> (TaskTracker, Vec<Cut>) {
        let sweep = TaskTracker::new();
        sweep.close();
        let mut entries = self.entries.lock();
        let covered = entries
            .by_number
            .values_mut()
            .filter(|entry| scope.covers(entry.identity.as_deref()));
        let cuts = covered
            .map(|entry| {
                entry.awaited.push(sweep.token());
                entry.cut.clone()
            })
            .collect();
        (sweep, cuts)
    }
}

/// How many connections are severed on a thread that relays.
const SEVERED_HERE: usize = 32;

/// How many are worth a thread of their own: severing them takes ten times as long as starting it.
const SEVERED_APART: usize = 256;

/// Ends connections: from the first step on none of them moves another byte, and those whose sockets
/// are known here are reset, on as many processors as there are; then each is told.
fn sever(cuts: &[Cut], cause: CutCause) {
    for cut in cuts {
        // The first cause stands.
        let _ = cut.0.cause.set(cause);
    }
    // Asked of the system only where there is something to share.
    let threads = match cuts.len() / SEVERED_APART {
        0 | 1 => 1,
        most => std::thread::available_parallelism().map_or(1, |cores| cores.get().min(most)),
    };
    share(cuts, threads, |ends| ends.sever_client());
    share(cuts, threads, |ends| ends.sever_server());
    for cut in cuts {
        cut.0.fired.notify_waiters();
    }
}

/// Does `what` to everything in `cuts` that stands, on this thread and as many more as make `threads`.
fn share(cuts: &[Cut], threads: usize, what: impl Fn(&dyn Sever) + Copy + Send) {
    let do_to = move |some: &[Cut]| {
        let standing = some.iter().filter_map(|cut| cut.0.ends.get());
        standing.for_each(|ends| what(&**ends));
    };
    let mut parts = cuts.chunks(cuts.len().div_ceil(threads).max(1));
    let own = parts.next();
    std::thread::scope(|scope| {
        for part in parts {
            let helper = std::thread::Builder::new().name("sever".to_owned());
            // Where there is no thread to be had, this one does it.
            if helper.spawn_scoped(scope, move || do_to(part)).is_err() {
                do_to(part);
            }
        }
        own.into_iter().for_each(do_to);
    });
}

impl Live {
    /// Whose connection this is, if anybody's.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }

    /// The quota that this connection is over, if it is.
    pub(crate) const fn excess(&self) -> Option<Excess> {
        self.excess
    }

    /// How this connection learns that it is over.
    pub(crate) const fn cut(&self) -> &Cut {
        &self.cut
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut entries = self.table.entries.lock();
        let entry = entries.by_number.remove(&self.number);
        if let (Some(identity), None) = (&self.identity, self.excess) {
            entries.usage.leave(identity);
        }
        drop(entries);
        // Outside the lock, because this may wake whoever waits.
        drop(entry);
    }
}

impl Cut {
    /// Lets whoever cuts the connection sever it by `ends`. They keep the sockets alive until the place
    /// in the table is given up, unless they are emptied before.
    pub(crate) fn stands(&self, ends: Arc<dyn Sever>) {
        // A connection begins to stand once.
        let _ = self.0.ends.set(ends);
    }

    /// Why the connection is over, if it is.
    pub(crate) fn cause(&self) -> Option<CutCause> {
        self.0.cause.get().copied()
    }

    /// Waits until the connection is over.
    pub(crate) async fn fired(&self) -> CutCause {
        // A firing is heard from here on, also before the first poll, so none is missed in between.
        let fired = self.0.fired.notified();
        if self.cause().is_none() {
            fired.await;
        }
        self.cause().unwrap_or(CutCause::Killed)
    }

    /// Runs `work` unless the connection is over first.
    pub(crate) async fn or<T>(
        &self,
        work: Pin<&mut (impl Future<Output = T> + Send)>,
    ) -> Result<T, CutCause> {
        tokio::select! {
            biased;
            cause = self.fired() => Err(cause),
            done = work => Ok(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use base::{Attribution, Sha256Digest};

    use super::*;

    fn identity(plugin: &str, build: u8, run: u8) -> Option<Arc<Identity>> {
        Some(Arc::new(Identity {
            plugin_id: plugin.parse().unwrap(),
            artifact_digest: ArtifactDigest::new(Sha256Digest::of(&[build])),
            run_id: RunId::from_parts(1, [run; 10]),
            attribution: Attribution::Token,
        }))
    }

    #[tokio::test]
    async fn a_kill_ends_what_its_scope_covers_and_nothing_else() {
        let scopes = [
            (
                KillScope::Artifact(ArtifactDigest::new(Sha256Digest::of(&[1]))),
                vec![true, false, false, false],
            ),
            (
                KillScope::Plugin("a".parse().unwrap()),
                vec![true, true, false, false],
            ),
            (
                KillScope::Run(RunId::from_parts(1, [3; 10])),
                vec![false, false, true, false],
            ),
            (KillScope::All, vec![true; 4]),
        ];
        for (scope, expected) in scopes {
            let table = Arc::new(LiveTable::new(Quotas::default()));
            let lives = [
                identity("a", 1, 1),
                identity("a", 2, 2),
                identity("b", 3, 3),
                None,
            ]
            .map(|identity| table.enter(identity));
            let cuts = lives.each_ref().map(|live| live.cut().clone());
            let holders: Vec<_> = lives
                .into_iter()
                .map(|live| {
                    tokio::spawn(async move {
                        live.cut().fired().await;
                    })
                })
                .collect();
            let count = table.cut(&scope, CutCause::Killed).await;
            let ended: Vec<_> = cuts.iter().map(|cut| cut.cause().is_some()).collect();
            assert_eq!(ended, expected, "{scope}");
            assert_eq!(count, expected.iter().filter(|ended| **ended).count() as u64);
            assert_eq!(
                table.len(),
                expected.len() - usize::try_from(count).unwrap(),
                "{scope}"
            );
            holders.iter().for_each(tokio::task::JoinHandle::abort);
        }
    }

    #[test]
    fn new_quotas_count_what_stands_and_end_nothing() {
        let table = Arc::new(LiveTable::new(Quotas::default()));
        let stands = [0, 1].map(|_| table.enter(identity("a", 1, 1)));
        table.set_quotas(Quotas {
            connections_per_run: 1,
            ..Quotas::default()
        });
        assert!(stands.iter().all(|live| live.cut().cause().is_none()));
        assert!(table.enter(identity("a", 1, 1)).excess().is_some());
        drop(stands);
        assert!(table.enter(identity("a", 1, 1)).excess().is_none());
    }

    #[tokio::test]
    async fn a_kill_returns_only_after_the_connection_left_the_table() {
        let table = Arc::new(LiveTable::new(Quotas::default()));
        let live = table.enter(identity("a", 1, 1));
        let sweep = table.cut(&KillScope::All, CutCause::Killed);
        tokio::pin!(sweep);
        assert!(futures_util::poll!(&mut sweep).is_pending());
        assert_eq!(live.cut().cause(), Some(CutCause::Killed));
        assert!(futures_util::poll!(&mut sweep).is_pending());
        drop(live);
        assert_eq!(sweep.await, 1);
    }

    /// Counts how often it was severed, and what was severed before it.
    #[derive(Default)]
    struct Counting {
        clients: Arc<AtomicUsize>,
        own: [AtomicUsize; 2],
        clients_before: AtomicUsize,
    }

    impl Sever for Counting {
        fn sever_client(&self) {
            self.own[0].fetch_add(1, Ordering::Relaxed);
            self.clients.fetch_add(1, Ordering::Relaxed);
        }

        fn sever_server(&self) {
            self.own[1].fetch_add(1, Ordering::Relaxed);
            let before = self.clients.load(Ordering::Relaxed);
            self.clients_before.store(before, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_is_severed_once_by_whichever_thread_and_clients_come_first() {
        for count in [0, 1, 7, SEVERED_APART, 3 * SEVERED_APART + 1] {
            let table = Arc::new(LiveTable::new(Quotas::default()));
            let clients = Arc::new(AtomicUsize::new(0));
            let lives: Vec<_> = (0..count).map(|_| table.enter(identity("a", 1, 1))).collect();
            let ends: Vec<_> = lives
                .iter()
                .map(|live| {
                    let ends = Arc::new(Counting {
                        clients: Arc::clone(&clients),
                        ..Counting::default()
                    });
                    live.cut().stands(Arc::clone(&ends) as Arc<dyn Sever>);
                    ends
                })
                .collect();
            let cuts: Vec<_> = lives.iter().map(|live| live.cut().clone()).collect();
            sever(&cuts, CutCause::Killed);
            for ends in &ends {
                let severed = ends.own.each_ref().map(|own| own.load(Ordering::Relaxed));
                assert_eq!(severed, [1, 1]);
                assert_eq!(ends.clients_before.load(Ordering::Relaxed), count);
            }
            // However many threads there are.
            for threads in 1..6 {
                share(&cuts, threads, |ends| ends.sever_client());
                let each = |ends: &Arc<Counting>| ends.own[0].load(Ordering::Relaxed) == 1 + threads;
                assert!(ends.iter().all(each), "{count} by {threads}");
            }
        }
    }
}
