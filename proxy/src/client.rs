//! Clients: the near end of a connection, with the bytes that were read ahead.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Read at once while a request is being read.
const READ: usize = 4 << 10;
/// How long, and how much, a client that was refused may still send. Closing with unread bytes would
/// reset the connection and take the answer with it.
const FAREWELL: Duration = Duration::from_secs(2);
const FAREWELL_BYTES: usize = 256 << 10;
/// How long an answer of the gateway itself may take to be taken.
const ANSWER: Duration = Duration::from_secs(10);

/// A connected client.
pub(crate) struct Client {
    pub(crate) io: TcpStream,
    /// Read and not yet used; holds no memory while empty.
    pub(crate) buffer: BytesMut,
    pub(crate) source: SocketAddr,
}

impl Client {
    pub(crate) fn new(io: TcpStream, source: SocketAddr) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            source,
        }
    }

    /// Reads what there is onto the end of the buffer; 0 at the end of the stream.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        // An idle client costs no buffer.
        self.io.readable().await?;
        self.buffer.reserve(READ);
        self.io.read_buf(&mut self.buffer).await
    }

    /// Sends an answer of the gateway's own. Whether all of it was sent.
    pub(crate) async fn answer(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(ANSWER, self.io.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Sends an answer as far as that goes without waiting.
    pub(crate) fn answer_at_once(&self, bytes: &[u8]) {
        // Somebody else waits for this socket to be closed.
        let _ = self.io.try_write(bytes);
    }

    /// Closes so that the last answer arrives.
    pub(crate) async fn farewell(mut self) {
        if self.io.shutdown().await.is_err() {
            return;
        }
        let drain = async {
            let mut left = FAREWELL_BYTES;
            loop {
                self.buffer.clear();
                match self.fill().await {
                    Ok(read) if read > 0 && read < left => left -= read,
                    _ => return,
                }
            }
        };
        // Whoever still sends after that is cut off.
        let _ = timeout(FAREWELL, drain).await;
    }

    /// Makes closing a reset instead of an orderly end.
    pub(crate) fn abort(&self) {
        abort(&self.io);
    }
}

/// Makes closing `stream` a reset instead of an orderly end.
pub(crate) fn abort(stream: &TcpStream) {
    // A socket that is gone already needs no reset.
    let _ = stream.set_zero_linger();
}
