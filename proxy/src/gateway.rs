//! The gateway: everything in this crate, started, steered and stopped.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Attribution, PluginId, RunId};
use evidence::{Event, EventKind};
use parking_lot::Mutex;
use seal::PublicKey;
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::core::Core;
use crate::handed::{HandedSockets, Purpose};
use crate::identity::{Identity, Runs};
use crate::listen_address::ListenAddress;
use crate::listener::{self, Audience, Listener, open_tcp};
use crate::live::{CutCause, KillScope};
use crate::metrics::{Archived, Budgeted, Exported, Witnessed};
use crate::names::Names;
use crate::quota::SAID_EVERY;
use crate::recorder::{Recorder, RecorderError};
use crate::refused::record_untold;
use crate::ruling::Rulings;
use crate::settings::Settings;
use crate::socket_file::Permission;
use crate::tls::{self, TlsError, TlsKeeper, TlsStatus};

/// A running gateway. Dropping it does not stop it in good order; [`Gateway::shutdown`] does.
pub struct Gateway {
    core: Arc<Core>,
    addresses: Vec<ListenAddress>,
    admin: Option<SocketAddr>,
    /// Where the gateway listens for everybody, by the addresses of the settings; nowhere once it
    /// drains.
    sockets: Mutex<Vec<(ListenAddress, Arc<Listener>)>>,
    admin_socket: Mutex<Option<(SocketAddr, Arc<TcpListener>)>>,
    listeners: TaskTracker,
    /// The runs' own listeners, each until its run is over.
    run_listeners: Mutex<HashMap<RunId, Vec<RunListener>>>,
    /// Whether the last event is written. Held while it is being written, so that whoever else shuts
    /// down returns no earlier.
    stopped: tokio::sync::Mutex<bool>,
}

/// Where a run's own listener is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunPlace {
    /// At a loopback port; port 0 takes any free one. Whoever finds the port is taken for the run, so
    /// this is for machines that run nothing else, or clients that know no Unix sockets.
    Tcp(SocketAddr),
    /// At a Unix socket in a folder of its own, which is made for it and goes with it.
    Unix {
        /// The socket's path. Whoever chooses it makes it unpredictable.
        path: PathBuf,
        /// The one user who may connect.
        uid: u32,
    },
}

/// Why a run has no listener.
#[derive(Debug, thiserror::Error)]
pub enum OpenListenerError {
    /// Only loopback: nothing else keeps other machines from passing for the run.
    #[error("{0} is not a loopback address, and a run's own listener is on no other")]
    NotLoopback(SocketAddr),
    /// The address could not be listened on.
    #[error("cannot open a listener for run {run_id} on {address}")]
    Listen {
        /// Whose it would have been.
        run_id: RunId,
        /// Where.
        address: ListenAddress,
        /// What the system said.
        source: io::Error,
    },
}

/// A listener that stands.
struct RunListener {
    address: ListenAddress,
    socket: Arc<Listener>,
    closed: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// A socket that the gateway listens on, for a process that takes over.
#[derive(Debug)]
pub struct OpenSocket {
    /// Its address, as the settings or the run's registration have it.
    pub address: ListenAddress,
    /// What it is for, where its address alone might not say it.
    pub purpose: Option<Purpose>,
    /// The same open socket.
    pub socket: OwnedFd,
    /// Whether a file goes with it, which is the successor's to remove once it serves.
    pub has_file: bool,
}

/// What a kill did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KillReceipt {
    /// Connections cut.
    pub tunnels: u64,
    /// From the call to the last closed socket.
    pub elapsed: Duration,
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be listened on. Free it, or name another.
    #[error("could not listen on {address}; is something else using it?")]
    Listen {
        /// The address asked for.
        address: ListenAddress,
        /// What the system said.
        source: io::Error,
    },
    /// No address to listen on.
    #[error("the gateway has no address to listen on; set gateway.listen")]
    NoListener,
    /// TLS listeners have nothing to present. Mend the files.
    #[error("could not set up the tls:// listeners")]
    Tls(#[from] TlsError),
    /// The recorder writes another gateway's log.
    #[error("the gateway is called {gateway:?} and its recorder writes the log of {log:?}")]
    OtherLog {
        /// The gateway's name.
        gateway: String,
        /// Whose log it is.
        log: String,
    },
}

/// Why settings did not take effect. What was in force stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// No name could be looked up. Mend `gateway.resolver.servers`, or the system's configuration.
    #[error("names could not be looked up with these settings: {what}")]
    Resolver {
        /// What is wrong.
        what: String,
    },
    /// The certificate cannot be used. Mend the files.
    #[error("the certificate of the tls:// listeners cannot be used")]
    Tls(#[from] TlsError),
}

/// No timeout is longer; far enough away that no clock overflows.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Gateway {
    /// Listens, and from then on serves clients on the current tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then, and the recorder is closed.
    pub async fn start(
        settings: Settings,
        runs: Arc<dyn Runs>,
        rulings: Arc<dyn Rulings>,
        recorder: Recorder,
    ) -> Result<Self, StartError> {
        Self::start_on(&mut HandedSockets::default(), settings, runs, rulings, recorder).await
    }

    /// Like [`Gateway::start`], on those of the sockets `handed` to this process that are at one of its
    /// addresses.
    ///
    /// # Errors
    /// As there.
    pub async fn start_on(
        handed: &mut HandedSockets,
        settings: Settings,
        runs: Arc<dyn Runs>,
        rulings: Arc<dyn Rulings>,
        recorder: Recorder,
    ) -> Result<Self, StartError> {
        let settings = bounded(settings);
        if recorder.gateway() != settings.name {
            return Err(StartError::OtherLog {
                log: recorder.gateway().to_owned(),
                gateway: settings.name,
            });
        }
        if settings.listen.is_empty() {
            return Err(StartError::NoListener);
        }
        let speaks_tls = |address: &ListenAddress| matches!(address, ListenAddress::Tls(_));
        let tls = match settings.tls.clone() {
            _ if !settings.listen.iter().any(speaks_tls) => None,
            Some(tls) => Some(TlsKeeper::open(tls)?),
            None => return Err(TlsError::Missing.into()),
        };
        let mut sockets = Vec::new();
        let mut addresses = Vec::new();
        for address in &settings.listen {
            let (listener, taken) = Listener::open(address, handed).map_err(|source| StartError::Listen {
                address: address.clone(),
                source,
            })?;
            addresses.push(taken);
            sockets.push((address.clone(), Arc::new(listener)));
        }
        let admin = match settings.admin {
            None => None,
            Some(address) => {
                let listen = |source| StartError::Listen {
                    address: ListenAddress::Tcp(address),
                    source,
                };
                let listener = open_tcp(address, Purpose::Admin, handed).map_err(listen)?;
                let taken = listener.local_addr().map_err(listen)?;
                Some((taken, address, Arc::new(listener)))
            }
        };
        let mut own = settings.own_addresses.clone();
        own.extend(addresses.iter().filter_map(ListenAddress::socket_address));
        own.extend(admin.iter().map(|(taken, ..)| *taken));
        let predecessor = handed.predecessor();
        let core = Arc::new(Core::new(
            settings,
            runs,
            rulings,
            recorder,
            tls,
            own,
            predecessor,
        ));
        let mut start = core.event(EventKind::Start);
        start.scope = predecessor.map(str::to_owned);
        core.recorder.record(start);
        let listeners = TaskTracker::new();
        for (_, listener) in &sockets {
            let (core, listener) = (Arc::clone(&core), Arc::clone(listener));
            listeners.spawn(listener::accept(core, listener, Audience::Everybody));
        }
        listeners.spawn(tell_of_excess(Arc::clone(&core)));
        listeners.spawn(keep_ticking(Arc::clone(&core)));
        listeners.spawn(tls::watch(Arc::clone(&core)));
        let admin = admin.map(|(taken, address, listener)| {
            listeners.spawn(admin::serve(Arc::clone(&core), Arc::clone(&listener)));
            (taken, (address, listener))
        });
        let (admin, admin_socket) = admin.unzip();
        Ok(Self {
            core,
            addresses,
            admin,
            sockets: Mutex::new(sockets),
            admin_socket: Mutex::new(admin_socket),
            listeners,
            run_listeners: Mutex::default(),
            stopped: tokio::sync::Mutex::new(false),
        })
    }

    /// Where clients connect, in the order of the settings, with the ports that were taken.
    pub fn addresses(&self) -> &[ListenAddress] {
        &self.addresses
    }

    /// Where health and metrics are served.
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Connections that are being made or stand.
    pub fn live(&self) -> usize {
        self.core.live.len()
    }

    /// Whose connections these are, one for each.
    pub fn live_identities(&self) -> Vec<Arc<Identity>> {
        self.core.live.identities()
    }

    /// Whether new connections are welcome: evidence can be written, and the gateway is not draining.
    pub fn is_ready(&self) -> bool {
        self.core.recorder.is_ready() && !self.core.draining.is_cancelled()
    }

    /// Cuts every connection in `scope`, whatever it is doing, and returns once the last of their
    /// sockets is closed. Change what [`Rulings`] answers first: then no connection slips through.
    pub async fn kill(&self, scope: KillScope) -> KillReceipt {
        self.kill_also(scope, std::future::ready(0)).await
    }

    /// The same, together with what `elsewhere` cuts in the same scope and counts.
    pub async fn kill_also(&self, scope: KillScope, elsewhere: impl Future<Output = u64>) -> KillReceipt {
        let started = Instant::now();
        let (here, elsewhere) = tokio::join!(self.cut(&scope, CutCause::Killed), elsewhere);
        let receipt = KillReceipt {
            tunnels: here.tunnels + elsewhere,
            elapsed: started.elapsed(),
        };
        self.core.metrics.killed(receipt.elapsed);
        let mut event = self.core.event(EventKind::Kill);
        event.scope = Some(scope.to_string());
        event.tunnels = Some(receipt.tunnels);
        event.duration_ms = Some(u64::try_from(receipt.elapsed.as_millis()).unwrap_or(u64::MAX));
        self.core.recorder.record(event);
        receipt
    }

    /// Cuts every connection in `scope` for a kill that another process tells of, which also records it.
    pub async fn cut_for_another(&self, scope: &KillScope) -> KillReceipt {
        self.cut(scope, CutCause::Killed).await
    }

    /// Opens a listener that is `identity`'s alone: whoever comes in there needs no credentials, and
    /// is that run. [`Runs`] must know the run, or it will not believe it. Says where it is.
    ///
    /// # Errors
    /// [`OpenListenerError`]; nothing is left behind then.
    pub fn open_listener(
        &self,
        identity: &Identity,
        place: &RunPlace,
    ) -> Result<ListenAddress, OpenListenerError> {
        self.open_listener_on(&mut HandedSockets::default(), identity, place)
    }

    /// Like [`Gateway::open_listener`], on the socket that was `handed` to this process for that place,
    /// if there is one.
    ///
    /// # Errors
    /// As there.
    pub fn open_listener_on(
        &self,
        handed: &mut HandedSockets,
        identity: &Identity,
        place: &RunPlace,
    ) -> Result<ListenAddress, OpenListenerError> {
        let run_id = identity.run_id;
        let (listener, address, uid) = match place {
            RunPlace::Tcp(address) if !address.ip().is_loopback() => {
                return Err(OpenListenerError::NotLoopback(*address));
            }
            RunPlace::Tcp(address) => {
                let place = ListenAddress::Tcp(*address);
                let (listener, taken) =
                    Listener::open(&place, handed).map_err(|source| OpenListenerError::Listen {
                        run_id,
                        address: ListenAddress::Tcp(*address),
                        source,
                    })?;
                (listener, taken, None)
            }
            RunPlace::Unix { path, uid } => {
                let address = ListenAddress::Unix(path.clone());
                match Listener::open_unix(path, Permission::User(*uid), handed) {
                    Ok(listener) => (listener, address, Some(*uid)),
                    Err(source) => {
                        return Err(OpenListenerError::Listen {
                            run_id,
                            address,
                            source,
                        });
                    }
                }
            }
        };
        if let Some(own) = address.socket_address() {
            self.core.floor.add_own(own);
        }
        let closed = CancellationToken::new();
        let audience = Audience::Run {
            identity: Arc::new(identity.by(Attribution::Listener)),
            uid,
            closed: closed.clone(),
        };
        let socket = Arc::new(listener);
        let accepting = listener::accept(Arc::clone(&self.core), Arc::clone(&socket), audience);
        let opened = RunListener {
            address: address.clone(),
            socket,
            closed,
            task: self.listeners.spawn(accepting),
        };
        self.run_listeners.lock().entry(run_id).or_default().push(opened);
        Ok(address)
    }

    /// Ends what a run that has ended still has: its listeners at once, its connections after the
    /// grace of the settings, if they have not ended by themselves. Tell [`Runs`] first, so that no new
    /// ones come.
    pub async fn end_run(&self, run_id: RunId) -> KillReceipt {
        self.close_listeners(run_id).await;
        let scope = KillScope::Run(run_id);
        let grace = self.core.settings().timeouts.run_grace;
        // Whatever the child sent last may still be on its way to the server.
        let _ = tokio::time::timeout(grace, self.core.live.ended(&scope)).await;
        self.cut(&scope, CutCause::RunEnded).await
    }

    /// Runs that have listeners of their own now, and how many.
    pub fn run_listeners(&self) -> Vec<(RunId, usize)> {
        let listeners = self.run_listeners.lock();
        listeners
            .iter()
            .map(|(run_id, listeners)| (*run_id, listeners.len()))
            .collect()
    }

    /// Closes a run's own listeners and removes their files. What came in there stands.
    pub async fn close_listeners(&self, run_id: RunId) {
        let listeners = self.run_listeners.lock().remove(&run_id);
        for RunListener {
            address,
            socket,
            closed,
            task,
        } in listeners.into_iter().flatten()
        {
            drop(socket);
            closed.cancel();
            // It ends by itself as well when the gateway stops.
            let _ = task.await;
            if let Some(own) = address.socket_address() {
                self.core.floor.remove_own(own);
            }
        }
    }

    /// Every socket that clients come in by, once more, for a process that takes over.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn open_sockets(&self) -> io::Result<Vec<OpenSocket>> {
        let open = |address: &ListenAddress, listener: &Listener| -> io::Result<OpenSocket> {
            Ok(OpenSocket {
                address: address.clone(),
                purpose: listener.purpose(),
                socket: listener.duplicate()?,
                has_file: listener.file().is_some(),
            })
        };
        let mut sockets: Vec<OpenSocket> = Vec::new();
        for (address, listener) in self.sockets.lock().iter() {
            sockets.push(open(address, listener)?);
        }
        for listener in self.run_listeners.lock().values().flatten() {
            sockets.push(open(&listener.address, &listener.socket)?);
        }
        if let Some((address, listener)) = &*self.admin_socket.lock() {
            sockets.push(OpenSocket {
                address: ListenAddress::Tcp(*address),
                purpose: Some(Purpose::Admin),
                socket: listener.as_fd().try_clone_to_owned()?,
                has_file: false,
            });
        }
        Ok(sockets)
    }

    /// What the ids of this process's connections begin with, and what its `stop` names.
    pub fn session(&self) -> String {
        self.core.connection_ids.session()
    }

    /// The way into the log.
    pub fn recorder(&self) -> &Recorder {
        &self.core.recorder
    }

    /// From now on the files of handed sockets go with this process.
    pub fn own_socket_files(&self) {
        self.set_files_ours(true);
    }

    /// From now on another process serves whoever comes in by our sockets: no new connection is taken
    /// here, those that stand are told to go where their protocol has words for it, and tunnels live
    /// on until [`Gateway::shutdown`]'s deadline. [`OpenSocket`]s that were handed over stay open there.
    pub fn hand_over(&self) {
        self.set_files_ours(false);
        self.core.handed_over.cancel();
        self.begin_to_drain();
    }

    fn begin_to_drain(&self) {
        self.core.draining.cancel();
        self.core.clients.close();
        // The tasks that accept have theirs, and end now.
        self.sockets.lock().clear();
        self.run_listeners.lock().clear();
        if self.core.handed_over.is_cancelled() {
            *self.admin_socket.lock() = None;
        }
    }

    fn set_files_ours(&self, is_ours: bool) {
        let set = |listener: &Listener| {
            if let Some(file) = listener.file() {
                file.set_ours(is_ours);
            }
        };
        self.sockets.lock().iter().for_each(|(_, listener)| set(listener));
        let run_listeners = self.run_listeners.lock();
        run_listeners
            .values()
            .flatten()
            .for_each(|listener| set(&listener.socket));
    }

    /// Shows on the metrics page how many connections the process before this one still holds.
    pub fn predecessor(&self, live: u64) {
        self.core.metrics.predecessor(live);
    }

    async fn cut(&self, scope: &KillScope, cause: CutCause) -> KillReceipt {
        let started = Instant::now();
        let tunnels = self.core.live.cut(scope, cause).await;
        KillReceipt {
            tunnels,
            elapsed: started.elapsed(),
        }
    }

    /// Reads the certificate and key of the TLS listeners again. Connections that stand keep what
    /// they came in under. Without a TLS listener there is nothing to do.
    ///
    /// # Errors
    /// [`TlsError`]; what was in force stays.
    pub fn reload_tls(&self) -> Result<(), TlsError> {
        let reload = |tls: &TlsKeeper| tls.reload(Core::now());
        self.core.tls.as_ref().map_or(Ok(()), reload)
    }

    /// Whether `settings` can take effect here without a restart; nothing does yet.
    ///
    /// # Errors
    /// [`ReloadError`].
    pub fn check(&self, settings: &Settings) -> Result<(), ReloadError> {
        if Names::differ(&self.core.settings(), settings) {
            self.core
                .names()
                .check(settings)
                .map_err(|error| ReloadError::Resolver {
                    what: error.to_string(),
                })?;
        }
        match (&self.core.tls, &settings.tls) {
            (Some(keeper), Some(tls)) => Ok(keeper.check(tls, Core::now())?),
            _ => Ok(()),
        }
    }

    /// Puts `settings` in force without ending a connection: limits, quotas, timeouts, resolver, parents,
    /// the floor, who may come unattributed and who speaks for others, and the certificate, which is
    /// read again. Name and addresses stay what they were at the start.
    ///
    /// What stands counts towards new quotas and limits and is not cut by them. A tunnel keeps the
    /// timeouts it began with, and an HTTP/2 connection its windows and streams; the next request on a
    /// connection is read, looked up, dialled and ruled on under the new settings.
    ///
    /// # Errors
    /// [`ReloadError`]; what was in force stays.
    pub fn reload(&self, settings: Settings) -> Result<(), ReloadError> {
        let core = &self.core;
        let settings = bounded(settings);
        self.check(&settings)?;
        if let (Some(keeper), Some(tls)) = (&core.tls, &settings.tls) {
            keeper.replace(tls.clone(), Core::now())?;
        }
        let now = core.settings();
        let settings = Settings {
            name: now.name.clone(),
            listen: now.listen.clone(),
            admin: now.admin,
            own_addresses: now.own_addresses.clone(),
            ..settings
        };
        drop(now);
        core.put_in_force(settings);
        Ok(())
    }

    /// Shows on the metrics page what became of an attempt to read the configuration again.
    pub fn reloaded(&self, took_effect: bool) {
        self.core.metrics.reloaded(took_effect, Core::now());
    }

    /// Believes client certificates under `run_keys` from now on, and no others.
    ///
    /// # Errors
    /// [`TlsError`]; the keys believed before stay.
    pub fn set_run_keys(&self, run_keys: Vec<PublicKey>) -> Result<(), TlsError> {
        let tls = self.core.tls.as_ref();
        tls.map_or(Ok(()), |tls| tls.set_run_keys(run_keys))
    }

    /// What the TLS listeners stand on, if there are any.
    pub fn tls_status(&self) -> Option<TlsStatus> {
        self.core.tls.as_ref().map(TlsKeeper::status)
    }

    /// Writes an event of the caller's into the gateway's log, in order with its own.
    pub fn record(&self, event: Event) {
        self.core.recorder.record(event);
    }

    /// How the archive of this gateway's log stands, for its metrics.
    pub fn archived(&self, archived: Archived) {
        self.core.metrics.archived(archived);
    }

    /// How much disk the evidence takes, and may take, for its metrics.
    pub fn budgeted(&self, budgeted: Budgeted) {
        self.core.metrics.budgeted(budgeted);
    }

    /// So many bytes may be added to the log until this is said anew; `None` for any number.
    pub fn leave_room(&self, bytes: Option<u64>) {
        self.core.recorder.leave_room(bytes);
    }

    /// The plugins whose events of today came near what one plugin may add in a day, each told of once.
    pub fn plugins_near_their_limit(&self) -> Vec<PluginId> {
        self.core.recorder.plugins_near_their_limit()
    }

    /// How a continuous export of this gateway's log stands, for its metrics.
    pub fn exported(&self, export: &str, exported: Exported) {
        self.core.metrics.exported(export, exported);
    }

    /// Shows on the metrics page what witnesses said about the log. The gateway makes nothing of it.
    pub fn witnessed(&self, witnessed: Witnessed) {
        self.core.metrics.witnessed(witnessed);
    }

    /// Signs a checkpoint that covers everything recorded before this call, and returns how many
    /// entries the log has.
    ///
    /// # Errors
    /// [`RecorderError`].
    pub async fn checkpoint(&self) -> Result<u64, RecorderError> {
        self.core.recorder.checkpoint().await
    }

    /// Takes no new connection, and waits until those that stand have ended, at most for `patience`.
    pub async fn drain(&self, patience: Duration) {
        self.begin_to_drain();
        // Connections that end in time end by themselves; the others are the caller's to end.
        let _ = tokio::time::timeout(patience.min(LONGEST), self.core.clients.wait()).await;
    }

    /// Takes no new connection, waits for those that stand until `deadline`, cuts the rest, and
    /// signs a last checkpoint. Called again meanwhile, the earlier of the deadlines holds.
    pub async fn shutdown(&self, deadline: Duration) {
        let core = &self.core;
        self.drain(deadline).await;
        core.live.cut(&KillScope::All, CutCause::Shutdown).await;
        core.closing.cancel();
        core.clients.wait().await;
        self.listeners.close();
        self.listeners.wait().await;
        *self.admin_socket.lock() = None;
        let mut stopped = self.stopped.lock().await;
        if !*stopped {
            let mut stop = core.event(EventKind::Stop);
            // The successor's connections go on.
            stop.scope = core.handed_over.is_cancelled().then(|| self.session());
            core.recorder.record(stop);
            core.recorder.close().await;
            *stopped = true;
        }
    }
}

/// Between two turns of [`keep_ticking`].
const TICK: Duration = Duration::from_millis(50);

/// Keeps a timer that is always the next to fire. Timers are set with every dial and every tunnel; one
/// that is earlier than all others makes the runtime wake itself to look again, twice in a tunnel's
/// life on a quiet gateway.
async fn keep_ticking(core: Arc<Core>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = core.closing.cancelled() => return,
            _ = ticks.tick() => {}
        }
    }
}

/// Tells of refusals over a quota that came after the last one that was told of.
async fn tell_of_excess(core: Arc<Core>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            () = core.closing.cancelled() => break,
            _ = ticks.tick() => {}
        }
        for untold in core.live.sweep(Instant::now()) {
            record_untold(&core, &untold);
        }
    }
    // Nobody comes after this to tell of them.
    for untold in core.live.sweep(Instant::now() + SAID_EVERY) {
        record_untold(&core, &untold);
    }
}

fn bounded(mut settings: Settings) -> Settings {
    let timeouts = &mut settings.timeouts;
    for timeout in [
        &mut timeouts.head,
        &mut timeouts.keep_alive,
        &mut timeouts.lookup,
        &mut timeouts.connect,
        &mut timeouts.idle,
        &mut timeouts.announce,
        &mut timeouts.progress,
        &mut timeouts.ping,
        &mut timeouts.pong,
        &mut timeouts.run_grace,
    ] {
        *timeout = (*timeout).min(LONGEST);
    }
    // No end at all is what an end beyond every clock means.
    timeouts.total = timeouts.total.filter(|total| *total < LONGEST);
    // RFC 9113 §6.9.1.
    const LARGEST_WINDOW: u32 = (1 << 31) - 1;
    let http2 = &mut settings.limits.http2;
    http2.stream_window = http2.stream_window.min(LARGEST_WINDOW);
    http2.connection_window = http2.connection_window.min(LARGEST_WINDOW);
    settings
}
