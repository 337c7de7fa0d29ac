//! Streams: the near end of a connection, whatever it came in on.
//!
//! Everything behind the entrance reads and writes a [`Stream`] and asks it two more things: to end
//! in a reset, and whether the peer has reset it. Where both ends of a tunnel are plain sockets the
//! relay may ask for the socket itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::http2::Http2Stream;
use crate::relay::End;
use crate::tls::TlsStream;

/// A connected client's bytes.
#[derive(Debug)]
pub(crate) enum Stream {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A connection to a Unix socket.
    Unix(UnixStream),
    /// A TLS connection; boxed, because its state is a hundred times that of a socket.
    Tls(Box<TlsStream>),
    /// One stream of an HTTP/2 connection, which reads and writes HTTP/1.1 on this side.
    Http2(Box<Http2Stream>),
}

/// Does `$call` with whatever the stream is, pinned.
macro_rules! pinned {
    ($stream:expr, $io:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Tcp(io) => {
                let $io = Pin::new(io);
                $call
            }
            Stream::Unix(io) => {
                let $io = Pin::new(io);
                $call
            }
            Stream::Tls(io) => {
                let $io = Pin::new(io);
                $call
            }
            Stream::Http2(io) => {
                let $io = Pin::new(io.as_mut());
                $call
            }
        }
    };
}

impl Stream {
    /// Makes closing it a reset instead of an orderly end, where there is such a thing.
    pub(crate) fn abort(&mut self) {
        match self {
            Self::Tcp(io) => abort(io),
            // The peer of a Unix socket sees an end either way.
            Self::Unix(_) => {}
            Self::Tls(io) => abort(io.socket()),
            Self::Http2(io) => io.abort(),
        }
    }

    /// Resets the connection at once, without the task that reads it; `false` where only that can.
    pub(crate) fn sever(&mut self) -> bool {
        match self {
            Self::Tcp(io) => sever(io),
            Self::Unix(io) => rustix::net::shutdown(&*io, rustix::net::Shutdown::Both).is_ok(),
            Self::Tls(io) => sever(io.socket()),
            Self::Http2(_) => false,
        }
    }

    /// Whether the peer has reset it. Asking takes the answer.
    pub(crate) fn has_failed(&mut self) -> bool {
        match self {
            Self::Tcp(io) => has_failed(io),
            Self::Unix(io) => matches!(io.take_error(), Ok(Some(_))),
            Self::Tls(io) => has_failed(io.socket()),
            Self::Http2(io) => io.has_failed(),
        }
    }

    /// The user at the other end, where the kernel knows (`SO_PEERCRED`).
    pub(crate) fn peer_uid(&self) -> Option<u32> {
        match self {
            Self::Tcp(_) | Self::Tls(_) | Self::Http2(_) => None,
            Self::Unix(io) => io.peer_cred().ok().map(|peer| peer.uid()),
        }
    }

    /// Writes as much of `bytes` as goes without waiting.
    pub(crate) fn write_at_once(&mut self, bytes: &[u8]) {
        let mut context = Context::from_waker(Waker::noop());
        let mut stream = Pin::new(self);
        // Somebody else waits for this stream to be closed.
        let mut rest = bytes;
        while !rest.is_empty() {
            match stream.as_mut().poll_write(&mut context, rest) {
                Poll::Ready(Ok(written @ 1..)) => rest = &rest[written..],
                _ => break,
            }
        }
        let _ = stream.poll_flush(&mut context);
    }
}

/// Makes closing `stream` a reset instead of an orderly end.
pub(crate) fn abort(stream: &TcpStream) {
    // A socket that is gone already needs no reset.
    let _ = stream.set_zero_linger();
}

/// Resets the connection of `stream` at once and leaves a socket that is connected to nobody. Whether
/// that was done.
pub(crate) fn sever(stream: &TcpStream) -> bool {
    // Dissolves the association (connect(2)), and for TCP that is a reset.
    rustix::net::connect_unspec(stream).is_ok()
}

/// Whether the peer of `stream` has reset it. Asking takes the answer.
pub(crate) fn has_failed(stream: &TcpStream) -> bool {
    matches!(SockRef::from(stream).take_error(), Ok(Some(_)))
}

impl End for Stream {
    fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(io) => Some(io),
            Self::Unix(_) | Self::Tls(_) | Self::Http2(_) => None,
        }
    }

    fn keeper(&mut self) -> Option<&mut Http2Stream> {
        match self {
            Self::Http2(io) if io.is_tunnel() => Some(io),
            Self::Http2(_) | Self::Tcp(_) | Self::Unix(_) | Self::Tls(_) => None,
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http2(io) => io.poll_gone(cx),
            Self::Tcp(_) | Self::Unix(_) | Self::Tls(_) => Poll::Pending,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        pinned!(self, io => io.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        pinned!(self, io => io.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        pinned!(self, io => io.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(io) => io.is_write_vectored(),
            Self::Unix(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
            Self::Http2(_) => false,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pinned!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pinned!(self, io => io.poll_shutdown(cx))
    }
}
