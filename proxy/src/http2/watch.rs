//! The watch on an HTTP/2 connection's outgoing frames, and the outbox where they are gathered.
//!
//! The protocol library refuses a malformed request with a frame and says nothing to us. Reading the
//! headers of the frames that it sends tells that it did, and on which stream.
//!
//! It also writes and flushes each frame by itself, 16 KiB of contents at most, which costs a bulk download half
//! of its time. So what it writes is held here until it has no more to say, and sent as one. A TLS session
//! holds it encrypted; for any other stream it is copied.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use super::ledger::Ledger;
use crate::stream::Stream;

/// From so many bytes on nothing more is taken before something was sent.
const FULL: usize = 64 << 10;
/// What is held at most.
const ROOM: usize = 2 * FULL;
/// Empty buffers that a thread keeps.
const SPARE: usize = 4;

thread_local! {
    /// Lent to whichever connection has frames to send: it sends them before the thread turns to another,
    /// unless the client does not take them.
    static EMPTY: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A connection whose outgoing frames are watched.
pub(super) struct Watched {
    outbox: Arc<Outbox>,
    /// Read already.
    ahead: BytesMut,
    frames: Frames,
    ledger: Arc<Ledger>,
}

/// The connection itself, with what is to be sent on it. Whoever polls the protocol library does so within
/// [`Outbox::emptied_after`], or nothing is sent.
pub(super) struct Outbox(Mutex<Held>);

struct Held {
    io: Stream,
    /// To be sent; `at` of it was.
    bytes: Vec<u8>,
    at: usize,
    /// How much the TLS session holds, in plain bytes.
    encrypted: usize,
    /// Why nothing more can be sent.
    failed: Option<io::ErrorKind>,
}

impl Watched {
    pub(super) fn new(mut io: Stream, ahead: BytesMut, ledger: Arc<Ledger>) -> (Self, Arc<Outbox>) {
        if let Stream::Tls(io) = &mut io {
            io.hold_any_amount();
        }
        let outbox = Arc::new(Outbox(Mutex::new(Held {
            io,
            bytes: Vec::new(),
            at: 0,
            encrypted: 0,
            failed: None,
        })));
        let watched = Self {
            outbox: Arc::clone(&outbox),
            ahead,
            frames: Frames::default(),
            ledger,
        };
        (watched, outbox)
    }
}

impl Outbox {
    /// Does `work`, and sends what it has written each time that it pauses.
    pub(super) async fn emptied_after<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            let done = work.as_mut().poll(cx);
            // Where it fails the library is told when it writes or reads again.
            let _ = self.0.lock().poll_send(cx);
            done
        })
        .await
    }
}

impl Held {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.encrypted == 0
    }

    /// Whether something must be sent before more is taken.
    fn is_full(&self) -> bool {
        self.bytes.len() + self.encrypted >= FULL
    }

    /// Takes as much of `slices` as there is room for, and says how many bytes.
    fn hold(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        if let Stream::Tls(io) = &mut self.io {
            let taken = io.hold(slices)?;
            self.encrypted += taken;
            return Ok(taken);
        }
        if self.bytes.capacity() == 0 {
            let empty = EMPTY.with_borrow_mut(Vec::pop);
            self.bytes = empty.unwrap_or_else(|| Vec::with_capacity(ROOM));
        }
        let before = self.bytes.len();
        for slice in slices {
            let room = ROOM - self.bytes.len();
            self.bytes.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        Ok(self.bytes.len() - before)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let sent = ready!(self.poll_send_all(cx));
        if let Err(error) = &sent {
            self.failed = Some(error.kind());
        }
        self.encrypted = 0;
        self.at = 0;
        let mut empty = std::mem::take(&mut self.bytes);
        if empty.capacity() == 0 {
            return Poll::Ready(sent);
        }
        empty.clear();
        EMPTY.with_borrow_mut(|spare| {
            if spare.len() < SPARE {
                spare.push(empty);
            }
        });
        Poll::Ready(sent)
    }

    fn poll_send_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.at < self.bytes.len() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.bytes[self.at..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.at += written;
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.outbox.0.lock().io).poll_read(cx, buffer);
        }
        let taken = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..taken]);
        self.ahead.advance(taken);
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self {
            outbox,
            frames,
            ledger,
            ..
        } = self.get_mut();
        let mut held = outbox.0.lock();
        if held.is_full() {
            ready!(held.poll_send(cx))?;
        }
        if let Some(failed) = held.failed {
            return Poll::Ready(Err(failed.into()));
        }
        let written = held.hold(slices)?;
        let mut rest = written;
        for slice in slices {
            let taken = slice.len().min(rest);
            frames.pass(&slice[..taken], |stream, frame| ledger.sent(stream, frame));
            rest -= taken;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing: what is held is sent when the library has no more to say.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.outbox.0.lock();
        ready!(held.poll_send(cx))?;
        Pin::new(&mut held.io).poll_shutdown(cx)
    }
}
