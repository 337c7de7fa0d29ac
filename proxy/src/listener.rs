//! Listeners: where clients come in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::core::Core;
use crate::entrance;
use crate::entry::Entry;
use crate::listen_address::ListenAddress;
use crate::stream::Stream;

/// Connections that the kernel holds for us.
const BACKLOG: i32 = 4096;
/// How long to leave a listener alone that has run out of descriptors.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// The whole answer to a client above the limit: nothing was read, so there is nothing to record.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Proxy-Status: bailiwick; error=connection_limit_reached; details=\"limit\"\r\n\
    X-Bailiwick-Reason: limit\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A bound address.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Tls(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds `address`, and says what was really taken.
    pub(crate) fn bind(address: &ListenAddress) -> io::Result<(Self, ListenAddress)> {
        match address {
            ListenAddress::Tcp(address) => {
                let listener = bind_tcp(*address)?;
                let taken = ListenAddress::Tcp(listener.local_addr()?);
                Ok((Self::Tcp(listener), taken))
            }
            ListenAddress::Tls(address) => {
                let listener = bind_tcp(*address)?;
                let taken = ListenAddress::Tls(listener.local_addr()?);
                Ok((Self::Tls(listener), taken))
            }
            ListenAddress::Unix(path) => Ok((Self::Unix(UnixListener::bind(path)?), address.clone())),
        }
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
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), Entry::default()))
            }
        }
    }
}

pub(crate) fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Restarting must not wait for the last process's connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Small messages must not wait for each other (RFC 896); accepted sockets inherit it (tcp(7)).
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts clients until the gateway drains. `places` bounds how many there are at once.
pub(crate) async fn accept(core: Arc<Core>, listener: Listener, places: Arc<Semaphore>) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = core.draining.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, entry)) => admit(&core, &listener, stream, entry, &places),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "client not accepted; raise the limit of open files if this goes on");
                sleep(EXHAUSTED).await;
            }
        }
    }
}

fn admit(core: &Arc<Core>, listener: &Listener, mut stream: Stream, entry: Entry, places: &Arc<Semaphore>) {
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        core.metrics.turned_away.inc();
        // As much of it as the socket takes; a flood must not make us wait.
        if !listener.is_tls() {
            stream.write_at_once(TOO_MANY);
        }
        return;
    };
    core.metrics.accepted.inc();
    let served = entrance::receive(Arc::clone(core), stream, entry, listener.is_tls());
    let closing = core.closing.clone();
    core.clients.spawn(async move {
        tokio::select! {
            () = served => {}
            () = closing.cancelled() => {}
        }
        drop(place);
    });
}

/// Whether accepting failed because of the one client that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
