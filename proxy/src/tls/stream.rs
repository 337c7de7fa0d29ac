//! A client's TLS connection as the rest of the gateway sees it: bytes, an end, a reset.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server;

/// An established TLS connection.
#[derive(Debug)]
pub(crate) struct TlsStream(server::TlsStream<TcpStream>);

impl TlsStream {
    pub(super) const fn new(established: server::TlsStream<TcpStream>) -> Self {
        Self(established)
    }

    /// The socket underneath.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.0.get_ref().0
    }

    /// Has the session hold whatever [`Self::hold`] is given. Whoever holds bounds it; a record that the
    /// session cut short would cost as much as a whole one.
    pub(crate) fn hold_any_amount(&mut self) {
        self.0.get_mut().1.set_buffer_limit(None);
    }

    /// Encrypts `slices` and sends nothing; [`AsyncWrite::poll_flush`] sends what is held.
    ///
    /// # Errors
    /// What the session says once it has failed.
    pub(crate) fn hold(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.get_mut().1.writer().write_vectored(slices)
    }

    pub(super) fn session(&self) -> &ServerConnection {
        self.0.get_ref().1
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.0).poll_read(cx, buffer)) {
            // Many clients close the socket without saying so in TLS (RFC 8446 §6.1). Whether their
            // message was complete is between them and the server, as it is on a plain connection;
            // a reset in its place would take bytes with it that are on their way.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            read => Poll::Ready(read),
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    /// Says the end in TLS and then closes our direction of the socket; the other one stays open.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
