//! Listeners: where clients come in.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::entrance;
use crate::entry::Entry;
use crate::exhausted::Exhausted;
use crate::handed::{HandedSockets, HandedUnix, Purpose};
use crate::identity::Identity;
use crate::listen_address::ListenAddress;
use crate::places::Place;
use crate::refused::refuse_peer;
use crate::socket_file::{self, Permission, SocketFile};
use crate::stream::Stream;

/// Connections that the kernel holds for us.
const BACKLOG: i32 = 4096;
/// How long to leave a listener alone that has run out of descriptors.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// Between two lines in the log that say so.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// The whole answer to a client above the limit: nothing was read, so there is nothing to record.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Proxy-Status: bailiwick; error=connection_limit_reached; details=\"limit\"\r\n\
    X-Bailiwick-Reason: limit\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A bound address.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Tls(TcpListener),
    Unix {
        listener: UnixListener,
        /// Goes with the listener, unless somebody else opened it.
        file: Option<SocketFile>,
    },
}

/// Whom a listener lets in.
pub(crate) enum Audience {
    /// Whoever comes; clients prove who they are.
    Everybody,
    /// One run alone: coming in here is the proof.
    Run {
        /// Whose.
        identity: Arc<Identity>,
        /// The one user of this machine who may connect, where the kernel says who does.
        uid: Option<u32>,
        /// Fires when the run is over.
        closed: CancellationToken,
    },
}

impl Listener {
    /// Listens on `address`, on the socket that was handed to us for it if there is one, and says what
    /// was really taken.
    pub(crate) fn open(
        address: &ListenAddress,
        handed: &mut HandedSockets,
    ) -> io::Result<(Self, ListenAddress)> {
        match address {
            ListenAddress::Tcp(address) => {
                let listener = open_tcp(*address, Purpose::Clients, handed)?;
                let taken = ListenAddress::Tcp(listener.local_addr()?);
                Ok((Self::Tcp(listener), taken))
            }
            ListenAddress::Tls(address) => {
                let listener = open_tcp(*address, Purpose::TlsClients, handed)?;
                let taken = ListenAddress::Tls(listener.local_addr()?);
                Ok((Self::Tls(listener), taken))
            }
            ListenAddress::Unix(path) => {
                Ok((Self::open_unix(path, Permission::Group, handed)?, address.clone()))
            }
        }
    }

    /// Takes the Unix socket that was handed to us for this path, or binds one for whoever `permission`
    /// names.
    pub(crate) fn open_unix(
        path: &Path,
        permission: Permission,
        handed: &mut HandedSockets,
    ) -> io::Result<Self> {
        if let Some(HandedUnix {
            listener, has_file, ..
        }) = handed.take_unix(path)
        {
            let is_of_a_run = matches!(permission, Permission::User(_));
            let file = has_file.then(|| SocketFile::of_another(path, is_of_a_run));
            return Self::unix(listener, file.transpose()?);
        }
        let (listener, file) = socket_file::bind(path, permission)?;
        Self::unix(listener, Some(file))
    }

    /// The same open socket once more, for another process.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) | Self::Tls(listener) => listener.as_fd().try_clone_to_owned(),
            Self::Unix { listener, .. } => listener.as_fd().try_clone_to_owned(),
        }
    }

    /// What it is for, where several may have been asked for at one address.
    pub(crate) const fn purpose(&self) -> Option<Purpose> {
        match self {
            Self::Tcp(_) => Some(Purpose::Clients),
            Self::Tls(_) => Some(Purpose::TlsClients),
            Self::Unix { .. } => None,
        }
    }

    /// The socket's file, if it goes with the listener.
    pub(crate) const fn file(&self) -> Option<&SocketFile> {
        match self {
            Self::Unix { file, .. } => file.as_ref(),
            Self::Tcp(_) | Self::Tls(_) => None,
        }
    }

    fn unix(listener: std::os::unix::net::UnixListener, file: Option<SocketFile>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Unix {
            listener: UnixListener::from_std(listener)?,
            file,
        })
    }

    /// Whether clients speak TLS here before anything else.
    const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    async fn accept(&self) -> io::Result<(Stream, Entry)> {
        match self {
            Self::Tcp(listener) | Self::Tls(listener) => {
                let (stream, source) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Entry::from_source(source)))
            }
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), Entry::default()))
            }
        }
    }

    /// A client that the kernel holds for us already; the end of waiting is an error.
    fn accept_waiting(&self) -> io::Result<(Stream, Entry)> {
        match self {
            Self::Tcp(listener) | Self::Tls(listener) => {
                let (socket, source) = SockRef::from(listener).accept()?;
                socket.set_nonblocking(true)?;
                let source = source.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
                let stream = TcpStream::from_std(socket.into())?;
                Ok((Stream::Tcp(stream), Entry::from_source(source)))
            }
            Self::Unix { listener, .. } => {
                let (socket, _) = SockRef::from(listener).accept()?;
                socket.set_nonblocking(true)?;
                let stream = UnixStream::from_std(socket.into())?;
                Ok((Stream::Unix(stream), Entry::default()))
            }
        }
    }
}

/// Listens on `address` for `purpose`, on the socket that was handed to us for it if there is one.
pub(crate) fn open_tcp(
    address: SocketAddr,
    purpose: Purpose,
    handed: &mut HandedSockets,
) -> io::Result<TcpListener> {
    match handed.take_tcp(address, purpose) {
        Some(listener) => listen(listener.into()),
        None => {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            // Restarting must not wait for the last process's connections to be forgotten.
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            listen(socket)
        }
    }
}

/// Listens on a socket that has its address; one that listens already keeps who waits there.
fn listen(socket: Socket) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    // Small messages must not wait for each other (RFC 896); accepted sockets inherit it (tcp(7)).
    socket.set_tcp_nodelay(true)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Audience {
    /// What a client proves by coming in here.
    fn identity(&self) -> Option<Arc<Identity>> {
        match self {
            Self::Everybody => None,
            Self::Run { identity, .. } => Some(Arc::clone(identity)),
        }
    }

    /// Why this client may not come in, if so. A folder that nobody else can enter says the same; this
    /// holds where somebody opened it, and where a socket was handed on.
    fn objects_to(&self, stream: &Stream) -> Option<String> {
        let Self::Run { uid: Some(uid), .. } = self else {
            return None;
        };
        match stream.peer_uid() {
            Some(peer) if peer == *uid => None,
            Some(peer) => Some(format!("user {peer} is not user {uid}, whose run this is")),
            None => Some("the system does not say which user this is".to_owned()),
        }
    }

    async fn closed(&self) {
        match self {
            Self::Everybody => std::future::pending().await,
            Self::Run { closed, .. } => closed.cancelled().await,
        }
    }
}

/// Accepts clients until the gateway drains or the run is over.
pub(crate) async fn accept(core: Arc<Core>, listener: Arc<Listener>, audience: Audience) {
    let let_in = |(stream, mut entry): (Stream, Entry)| {
        entry.listener = audience.identity();
        let objection = audience.objects_to(&stream);
        admit(&core, listener.is_tls(), stream, entry, objection);
    };
    let mut told: Option<Instant> = None;
    // Made once: making them anew for each client costs a lock each.
    let (draining, closed) = (core.draining.cancelled(), audience.closed());
    tokio::pin!(draining, closed);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut draining => return,
            () = &mut closed => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(client) => let_in(client),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if let Some(exhausted) = Exhausted::of(&error) {
                    core.metrics.exhausted(exhausted);
                }
                // Who waits in the kernel is served as soon as there is room; the log must not fill.
                if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
                    told = Some(Instant::now());
                    tracing::warn!(%error, "client not accepted; raise the limit of open files if this goes on");
                }
                sleep(EXHAUSTED).await;
            }
        }
    }
    // Whoever had connected before the run was over is told that it is, and not reset by the kernel.
    for _ in 0..BACKLOG {
        match listener.accept_waiting() {
            Ok(client) => let_in(client),
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => return,
        }
    }
}

fn admit(core: &Arc<Core>, is_tls: bool, mut stream: Stream, entry: Entry, objection: Option<String>) {
    let Some(place) = core.places.take() else {
        core.metrics.turned_away.inc();
        // As much of it as the socket takes; a flood must not make us wait.
        if !is_tls {
            stream.write_at_once(TOO_MANY);
        }
        return;
    };
    core.metrics.accepted.inc();
    core.clients
        .spawn(serve(Arc::clone(core), stream, entry, is_tls, objection, place));
}

/// Serves one client from its first byte to its last.
fn serve(
    core: Arc<Core>,
    stream: Stream,
    entry: Entry,
    is_tls: bool,
    objection: Option<String>,
    place: Place,
) -> impl Future<Output = ()> {
    // Boxed, and gone before the tunnel runs: one that stands for days costs a tunnel's size only.
    let reception = {
        let core = Arc::clone(&core);
        Box::pin(async move {
            match objection {
                None => entrance::receive(&core, stream, entry, is_tls).await,
                Some(why) => {
                    refuse_peer(&core, &entry, &why).await;
                    None
                }
            }
        })
    };
    async move {
        let served = async {
            if let Some(tunnel) = reception.await {
                tunnel.run(&core).await;
            }
        };
        tokio::select! {
            () = served => {}
            () = core.closing.cancelled() => {}
        }
        drop(place);
    }
}

/// Whether accepting failed because of the one client that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
