//! Splicing: bytes from one socket to another that never come up into this process.
//!
//! A tunnel that moves much and is known by now has nothing more to show, so the kernel passes its
//! bytes on through a pipe. Pipes are lent: a tunnel holds one only while bytes lie in it, so that
//! thousands of idle tunnels cost no descriptors.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a pipe is asked to hold; the system may grant less.
const CAPACITY: usize = 256 << 10;
/// Pipes lent at once, all threads together. A receiver that takes nothing keeps its pipe full, so
/// this times [`CAPACITY`] is the memory that stalled receivers can tie up; others are copied for.
const LENT: usize = 256;
/// Pipes kept for the next tunnel, per thread.
const KEPT: usize = 8;

static LENT_NOW: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static IDLE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// A pipe between two sockets.
#[derive(Debug)]
pub(crate) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    /// Taken in at once.
    capacity: usize,
    held: usize,
    /// Counts among those that are lent.
    lent: Option<Lending>,
}

/// A place among the pipes that are lent, given back when dropped.
#[derive(Debug)]
struct Lending;

impl Lending {
    fn begin() -> Option<Self> {
        let begun = LENT_NOW.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |lent| {
            (lent < LENT).then_some(lent + 1)
        });
        begun.is_ok().then_some(Self)
    }
}

impl Drop for Lending {
    fn drop(&mut self) {
        LENT_NOW.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pipe {
    /// An empty pipe; `None` where the system has none to give, and copying has to do.
    pub(crate) fn lend() -> Option<Self> {
        let lent = Some(Lending::begin()?);
        if let Some(idle) = IDLE.with_borrow_mut(Vec::pop) {
            return Some(Self { lent, ..idle });
        }
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // An unprivileged user may be past the allowance for large pipes (pipe(7)); a small one serves.
        let capacity = fcntl_setpipe_size(&into, CAPACITY).unwrap_or(16 << 10);
        Some(Self {
            out,
            into,
            capacity,
            held: 0,
            lent,
        })
    }

    /// Gives the pipe back once nothing lies in it. One that still holds bytes is closed with them:
    /// they belong to a tunnel that is over.
    pub(crate) fn give_back(mut self) {
        self.lent = None;
        if self.held == 0 {
            IDLE.with_borrow_mut(|idle| {
                if idle.len() < KEPT {
                    idle.push(self);
                }
            });
        }
    }

    /// Pipes of this thread that nobody uses.
    #[cfg(test)]
    pub(crate) fn idle() -> usize {
        IDLE.with_borrow(Vec::len)
    }

    /// Whether nothing lies in it.
    pub(crate) const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes in what `from` has; 0 at the end of the stream. Only an empty pipe is filled, so that
    /// waiting always means that the socket has nothing.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, from: &TcpStream) -> Poll<io::Result<usize>> {
        debug_assert!(self.is_empty());
        loop {
            ready!(from.poll_read_ready(cx))?;
            let moved = from.try_io(Interest::READABLE, || {
                Ok(splice(from, None, &self.into, None, self.capacity, FLAGS)?)
            });
            match moved {
                Ok(moved) => {
                    self.held = moved;
                    return Poll::Ready(Ok(moved));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Hands everything to `to`.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>, to: &TcpStream) -> Poll<io::Result<()>> {
        while self.held > 0 {
            ready!(to.poll_write_ready(cx))?;
            let moved = to.try_io(Interest::WRITABLE, || {
                Ok(splice(&self.out, None, to, None, self.held, FLAGS)?)
            });
            match moved {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(moved) => self.held -= moved,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn what_goes_in_comes_out_and_the_end_is_seen() {
        let (mut client, from) = pair().await;
        let (to, mut server) = pair().await;
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        let mut pipe = Pipe::lend().unwrap();
        assert_eq!(poll_fn(|cx| pipe.poll_fill(cx, &from)).await.unwrap(), 5);
        poll_fn(|cx| pipe.poll_drain(cx, &to)).await.unwrap();
        assert!(pipe.is_empty());
        assert_eq!(poll_fn(|cx| pipe.poll_fill(cx, &from)).await.unwrap(), 0);
        let mut got = [0; 5];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hello");
    }

    #[tokio::test]
    async fn a_pipe_with_bytes_in_it_is_never_lent_to_somebody_else() {
        let (mut client, from) = pair().await;
        client.write_all(b"left over").await.unwrap();
        let mut pipe = Pipe::lend().unwrap();
        poll_fn(|cx| pipe.poll_fill(cx, &from)).await.unwrap();
        pipe.give_back();
        assert_eq!(Pipe::idle(), 0);
        Pipe::lend().unwrap().give_back();
        assert!(IDLE.with_borrow(|idle| idle.iter().all(Pipe::is_empty)));
        assert_eq!(Pipe::idle(), 1);
    }
}
