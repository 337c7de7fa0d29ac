//! A server that does nothing by itself: the test accepts, reads, answers, or does none of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Result;

use crate::origin::runtime;
use crate::wait::{DEADLINE, wait_for};

/// A listening socket. Connections stand as soon as the kernel took them, accepted or not.
pub struct RawServer {
    listener: TcpListener,
    address: SocketAddr,
    /// What fills the queue of a server that takes nobody.
    waiting: Vec<TcpStream>,
}

impl RawServer {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is none.
    pub fn start() -> Result<Self> {
        Self::at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Listens there.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn at(address: SocketAddr) -> Result<Self> {
        Self::over(TcpListener::bind(address)?)
    }

    /// A server whose queue is full: whoever connects now waits for ever.
    ///
    /// # Errors
    /// When there is no port, or the queue has no end.
    pub fn deaf() -> Result<Self> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((IpAddr::from(Ipv4Addr::LOCALHOST), 0).into())?;
        let listener = runtime().block_on(async { socket.listen(1) })?;
        let mut server = Self::over(listener.into_std()?)?;
        let patience = Duration::from_millis(250);
        while let Ok(stream) = TcpStream::connect_timeout(&server.address, patience) {
            server.waiting.push(stream);
            anyhow::ensure!(server.waiting.len() < 64, "a queue of one takes everybody");
        }
        Ok(server)
    }

    fn over(listener: TcpListener) -> Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            waiting: Vec::new(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection; reading from it ends after the deadline of all tests.
    ///
    /// # Errors
    /// When nobody comes in time.
    pub fn accept(&self) -> Result<TcpStream> {
        let stream = wait_for("a connection to the server", || self.try_accept())?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Takes whoever stands in the queue; `false` if nobody came since the last look.
    pub fn was_dialled(&self) -> bool {
        self.try_accept().is_some()
    }

    fn try_accept(&self) -> Option<TcpStream> {
        self.listener.accept().ok().map(|(stream, _)| stream)
    }
}
