//! Clients: the near end of a connection, with the bytes that were read ahead.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;

use crate::entry::Entry;
use crate::stream::Stream;

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
    pub(crate) io: Stream,
    /// Read and not yet used; holds no memory while empty.
    pub(crate) buffer: BytesMut,
    /// How it came in.
    pub(crate) entry: Entry,
}

impl Client {
    pub(crate) fn new(io: Stream, entry: Entry) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            entry,
        }
    }

    /// Reads what there is onto the end of the buffer; 0 at the end of the stream.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        let Self { io, buffer, .. } = self;
        // An idle client costs no buffer: one is lent to whoever has bytes.
        poll_fn(|cx| {
            // Asked twice for each message; it need not be zeroed for that.
            let mut lent = [MaybeUninit::uninit(); READ];
            let mut read = ReadBuf::uninit(&mut lent);
            ready!(Pin::new(&mut *io).poll_read(cx, &mut read))?;
            buffer.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
        .await
    }

    /// Sends an answer of the gateway's own. Whether all of it was sent.
    pub(crate) async fn answer(&mut self, bytes: &[u8]) -> bool {
        let send = async {
            self.io.write_all(bytes).await?;
            self.io.flush().await
        };
        matches!(timeout(ANSWER, send).await, Ok(Ok(())))
    }

    /// Sends an answer as far as that goes without waiting.
    pub(crate) fn answer_at_once(&mut self, bytes: &[u8]) {
        self.io.write_at_once(bytes);
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
    pub(crate) fn abort(&mut self) {
        self.io.abort();
    }
}
