//! The relay: bytes from one socket to the other, both ways, as they come.
//!
//! Nothing is added, held back or changed. A half-closed direction is half-closed on the other side
//! too, and the caller carries a reset through. Bytes go through one buffer per thread; a tunnel owns
//! memory only while bytes wait for a receiver that is slower than the sender. A direction that moves
//! much between plain sockets is spliced: its bytes stay in the kernel. What an HTTP/2 stream is to send is
//! read into memory that is given away with it.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use crate::http2::{Http2Stream, MAX_FRAME};
use crate::scratch::{self, Scratch};
use crate::sniff::Sniffer;
use crate::splice::Pipe;

/// Read at once; 64 KiB is where larger buffers stop paying.
const READ: usize = 64 << 10;
/// What a direction has moved before it is worth a pipe. Whatever its first bytes could tell was seen
/// long before.
const SPLICE_FROM: u64 = 256 << 10;
/// From so many bytes on, memory is given away rather than copied. Whoever sends little at a time must not
/// keep a whole buffer for it.
const GIVE_FROM: usize = READ / 4;

thread_local! {
    /// Lent to whichever tunnel moves bytes on this thread right now.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new(READ));
    /// The same, of which parts are given away. The memory is used again once nobody has any of it.
    static GIVEN: RefCell<BytesMut> = RefCell::default();
}

/// An end of a relay.
pub(crate) trait End: AsyncRead + AsyncWrite + Unpin {
    /// The socket, where what is written is what goes over the wire: such ends can be spliced.
    fn plain(&self) -> Option<&TcpStream>;

    /// The HTTP/2 stream, where what is written is kept until its connection sends it.
    fn keeper(&mut self) -> Option<&mut Http2Stream> {
        None
    }

    /// Ready once the peer is known to be gone though nothing is read from it any more. Most ends
    /// tell only when they are written to.
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl End for TcpStream {
    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

/// Two sockets, and what lies between them.
pub(crate) struct Relay<C, S> {
    pub(crate) client: C,
    pub(crate) server: S,
    outward: Flow,
    inward: Flow,
    first_closed: Option<Side>,
    last_moved: Instant,
    first_answer: Option<Instant>,
}

/// One end of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// What made the relay stop and tell.
#[derive(Debug)]
pub(crate) enum Step {
    /// The sniffer has begun or ended to look; the relay goes on when polled again.
    Recognised,
    /// A receiver has stopped taking; the relay goes on when polled again.
    Stalled,
    /// It is over.
    Ended(RelayEnd),
}

/// How a relay ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelayEnd {
    /// Both directions were closed in order, this side first.
    Closed(Side),
    /// This side reset the connection or is gone.
    Reset(Side),
}

/// One direction.
#[derive(Debug, Default)]
struct Flow {
    /// Read, and not yet taken by the receiver; `at` of it was.
    waiting: Vec<u8>,
    at: usize,
    /// Spliced, and not yet taken by the receiver.
    pipe: Option<Pipe>,
    /// Taken by the receiver, which may hold it back until it is asked to let go: TLS does.
    unflushed: bool,
    read_all: bool,
    closed: bool,
    moved: u64,
}

impl<C, S> Relay<C, S>
where
    C: End,
    S: End,
{
    /// A relay in which `from_client` and `from_server` were read already.
    pub(crate) fn new(client: C, server: S, from_client: Vec<u8>, from_server: Vec<u8>) -> Self {
        let first_answer = (!from_server.is_empty()).then(Instant::now);
        Self {
            client,
            server,
            first_answer,
            outward: Flow::starting_with(from_client),
            inward: Flow::starting_with(from_server),
            first_closed: None,
            last_moved: Instant::now(),
        }
    }

    /// Bytes read from the client so far.
    pub(crate) const fn bytes_out(&self) -> u64 {
        self.outward.moved
    }

    /// Bytes read from the server so far.
    pub(crate) const fn bytes_in(&self) -> u64 {
        self.inward.moved
    }

    /// Whether bytes wait for a receiver. Their sender is not read meanwhile, so nobody hears of it
    /// when it resets the connection.
    pub(crate) const fn is_stalled(&self) -> bool {
        self.outward.is_stalled() || self.inward.is_stalled()
    }

    /// When a byte last moved.
    pub(crate) const fn last_moved(&self) -> Instant {
        self.last_moved
    }

    /// When the server first said something.
    pub(crate) const fn first_answer(&self) -> Option<Instant> {
        self.first_answer
    }

    /// Moves what can be moved, and shows it to `sniffer` on the way.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, sniffer: &mut Sniffer) -> Poll<Step> {
        let before = self.outward.moved + self.inward.moved;
        let was_stalled = self.is_stalled();
        let mut recognised = false;
        let last = self.inward.closed;
        let outward = self
            .outward
            .poll(cx, &mut self.client, &mut self.server, last, &mut |bytes| {
                recognised |= sniffer.client_said(bytes);
            });
        let last = self.outward.closed;
        let inward = self
            .inward
            .poll(cx, &mut self.server, &mut self.client, last, &mut |bytes| {
                recognised |= sniffer.server_said(bytes);
            });
        if self.outward.moved + self.inward.moved != before {
            self.last_moved = Instant::now();
            if self.first_answer.is_none() && self.inward.moved > 0 {
                self.first_answer = Some(self.last_moved);
            }
        }
        if self.first_closed.is_none() {
            self.first_closed = match (self.outward.read_all, self.inward.read_all) {
                (true, _) => Some(Side::Client),
                (false, true) => Some(Side::Server),
                (false, false) => None,
            };
        }
        let half_closed = self.outward.read_all && !self.inward.closed;
        let end = match (outward, inward) {
            _ if half_closed && self.client.poll_gone(cx).is_ready() => RelayEnd::Reset(Side::Client),
            (Poll::Ready(Err(Gone::Reader)), _) | (_, Poll::Ready(Err(Gone::Writer))) => {
                RelayEnd::Reset(Side::Client)
            }
            (Poll::Ready(Err(Gone::Writer)), _) | (_, Poll::Ready(Err(Gone::Reader))) => {
                RelayEnd::Reset(Side::Server)
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => {
                RelayEnd::Closed(self.first_closed.unwrap_or(Side::Client))
            }
            _ if recognised => return Poll::Ready(Step::Recognised),
            _ if !was_stalled && self.is_stalled() => return Poll::Ready(Step::Stalled),
            _ => return Poll::Pending,
        };
        Poll::Ready(Step::Ended(end))
    }
}

/// Which end of a direction is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    Reader,
    Writer,
}

impl Flow {
    const fn is_stalled(&self) -> bool {
        !self.waiting.is_empty() || self.pipe.is_some() || self.unflushed
    }

    fn starting_with(waiting: Vec<u8>) -> Self {
        Self {
            moved: u64::try_from(waiting.len()).expect("a length fits 64 bits"),
            waiting,
            ..Self::default()
        }
    }

    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        last: bool,
        show: &mut impl FnMut(&[u8]),
    ) -> Poll<Result<(), Gone>>
    where
        R: End,
        W: End,
    {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.poll_deliver(cx, to)).map_err(|_| Gone::Writer)?;
            if let Some(pipe) = &mut self.pipe {
                let to = to.plain().expect("only plain ends are spliced");
                ready!(pipe.poll_drain(cx, to)).map_err(|_| Gone::Writer)?;
                if let Some(pipe) = self.pipe.take() {
                    pipe.give_back();
                }
            }
            if self.unflushed {
                ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(|_| Gone::Writer)?;
                self.unflushed = false;
            }
            if self.read_all {
                // Both sockets are closed once the last direction is, and that says it to a plain one.
                if last && to.plain().is_some() {
                    self.closed = true;
                    return Poll::Ready(Ok(()));
                }
                let closed = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                self.closed = true;
                return Poll::Ready(closed.map_err(|_| Gone::Writer));
            }
            if self.moved >= SPLICE_FROM
                && let (Some(plain), Some(_)) = (from.plain(), to.plain())
                && let Some(pipe) = Pipe::lend()
            {
                self.read_all = ready!(self.poll_splice(cx, plain, pipe)).map_err(|_| Gone::Reader)?;
                continue;
            }
            if let Some(keeper) = to.keeper() {
                self.read_all = ready!(self.poll_give(cx, from, keeper, show))?;
                continue;
            }
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch.bytes());
                ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer)).map_err(|_| Gone::Reader)?;
                let bytes = buffer.filled();
                show(bytes);
                self.moved += u64::try_from(bytes.len()).expect("a length fits 64 bits");
                self.poll_pass(cx, to, bytes).map_err(|_| Gone::Writer)?;
                Poll::Ready(Ok(bytes.is_empty()))
            });
            self.read_all = ready!(read)?;
        }
    }

    /// Reads what `from` has and gives it to `keeper`. Whether that was the end.
    fn poll_give<R>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        keeper: &mut Http2Stream,
        show: &mut impl FnMut(&[u8]),
    ) -> Poll<Result<bool, Gone>>
    where
        R: End,
    {
        let read = GIVEN.with_borrow_mut(|memory| {
            scratch::reserve(memory, READ);
            // As many whole frames as fit; a few bytes more would be a frame and a record of their own.
            let mut room = (&mut *memory).limit(READ - READ % MAX_FRAME);
            ready!(poll_read_buf(Pin::new(from), cx, &mut room)).map_err(|_| Gone::Reader)?;
            let bytes = match memory.len() {
                GIVE_FROM.. => memory.split().freeze(),
                _ => Bytes::copy_from_slice(memory),
            };
            memory.clear();
            Poll::Ready(Ok(bytes))
        });
        let mut bytes = ready!(read)?;
        show(&bytes);
        self.moved += u64::try_from(bytes.len()).expect("a length fits 64 bits");
        if bytes.is_empty() {
            return Poll::Ready(Ok(true));
        }
        if let Poll::Ready(given) = keeper.poll_give(cx, &mut bytes) {
            given.map_err(|_| Gone::Writer)?;
        }
        self.waiting = bytes.to_vec();
        Poll::Ready(Ok(false))
    }

    /// Takes what `from` has into `pipe`. Whether that was the end.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        mut pipe: Pipe,
    ) -> Poll<io::Result<bool>> {
        let filled = pipe.poll_fill(cx, from);
        match &filled {
            Poll::Ready(Ok(moved)) if *moved > 0 => {
                self.moved += u64::try_from(*moved).expect("a length fits 64 bits");
                self.pipe = Some(pipe);
            }
            _ => pipe.give_back(),
        }
        filled.map_ok(|moved| moved == 0)
    }

    /// Writes `bytes`, and keeps what the receiver does not take now.
    fn poll_pass<W>(&mut self, cx: &mut Context<'_>, to: &mut W, bytes: &[u8]) -> io::Result<()>
    where
        W: AsyncWrite + Unpin,
    {
        let written = if bytes.is_empty() {
            0
        } else {
            match Pin::new(to).poll_write(cx, bytes) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            }
        };
        self.unflushed |= written > 0;
        if written < bytes.len() {
            self.waiting = bytes[written..].to_vec();
        }
        Ok(())
    }

    fn poll_deliver<W>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin,
    {
        while self.at < self.waiting.len() {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.waiting[self.at..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.at += written;
            self.unflushed = true;
        }
        if !self.waiting.is_empty() {
            self.waiting = Vec::new();
            self.at = 0;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use base::ObservedScheme;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::net::TcpListener;

    use super::*;

    impl End for DuplexStream {
        fn plain(&self) -> Option<&TcpStream> {
            None
        }
    }

    /// A relay between two pipes that hold 16 bytes, so that every partial write happens.
    fn narrow(
        from_client: &[u8],
        from_server: &[u8],
    ) -> (DuplexStream, Relay<DuplexStream, DuplexStream>, DuplexStream) {
        let (client, near) = duplex(16);
        let (far, server) = duplex(16);
        let relay = Relay::new(near, far, from_client.to_vec(), from_server.to_vec());
        (client, relay, server)
    }

    async fn run(mut relay: Relay<DuplexStream, DuplexStream>) -> (RelayEnd, u64, u64, Sniffer) {
        let mut sniffer = Sniffer::default();
        loop {
            if let Step::Ended(end) = poll_fn(|cx| relay.poll(cx, &mut sniffer)).await {
                return (end, relay.bytes_out(), relay.bytes_in(), sniffer);
            }
        }
    }

    #[tokio::test]
    async fn every_byte_arrives_in_order_however_slow_the_receiver() {
        let (mut client, relay, mut server) = narrow(b"GET ", b"");
        let question: Vec<u8> = (0..10_000_u32).flat_map(u32::to_be_bytes).collect();
        let answer: Vec<u8> = question.iter().rev().copied().collect();
        let relayed = tokio::spawn(run(relay));
        let (to_server, to_client) = (question.clone(), answer.clone());
        let serve = tokio::spawn(async move {
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.unwrap();
            server.write_all(&to_client).await.unwrap();
            got
        });
        client.write_all(&to_server).await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, answer);
        assert_eq!(serve.await.unwrap(), [b"GET ", &question[..]].concat());
        let (end, out, back, _) = relayed.await.unwrap();
        assert_eq!(end, RelayEnd::Closed(Side::Client));
        assert_eq!((out, back), (question.len() as u64 + 4, answer.len() as u64));
    }

    async fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn much_between_sockets_is_spliced_and_arrives_whole_in_both_directions() {
        let (mut client, near) = sockets().await;
        let (far, mut server) = sockets().await;
        let mut relay = Relay::new(near, far, b"early".to_vec(), Vec::new());
        let mut sniffer = Sniffer::default();
        let question: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_be_bytes).collect();
        let answer: Vec<u8> = question.iter().rev().copied().collect();
        let (to_server, to_client) = (question.clone(), answer.clone());
        let serve = tokio::spawn(async move {
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.unwrap();
            server.write_all(&to_client).await.unwrap();
            got
        });
        let ask = tokio::spawn(async move {
            client.write_all(&to_server).await.unwrap();
            client.shutdown().await.unwrap();
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            got
        });
        assert_eq!(Pipe::idle(), 0);
        let end = loop {
            if let Step::Ended(end) = poll_fn(|cx| relay.poll(cx, &mut sniffer)).await {
                break end;
            }
        };
        // Whatever was lent came back.
        assert!(Pipe::idle() > 0);
        assert_eq!(end, RelayEnd::Closed(Side::Client));
        assert_eq!(relay.bytes_out(), question.len() as u64 + 5);
        assert_eq!(relay.bytes_in(), answer.len() as u64);
        drop(relay);
        assert!(serve.await.unwrap() == [b"early", &question[..]].concat());
        assert!(ask.await.unwrap() == answer);
    }

    /// Holds everything back until it is asked to let go.
    struct Held(tokio::io::BufWriter<DuplexStream>);

    impl End for Held {
        fn plain(&self) -> Option<&TcpStream> {
            None
        }
    }

    impl AsyncRead for Held {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Held {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn nothing_is_held_back_while_the_sender_is_silent() {
        let (mut client, near) = duplex(64);
        let (far, mut server) = duplex(4);
        let far = Held(tokio::io::BufWriter::new(far));
        let mut relay = Relay::new(near, far, Vec::new(), Vec::new());
        let mut sniffer = Sniffer::default();
        client.write_all(b"a question, and no more").await.unwrap();
        let mut got = [0; 23];
        let mut reading = std::pin::pin!(server.read_exact(&mut got));
        while futures_util::poll!(&mut reading).is_pending() {
            let _ = futures_util::poll!(poll_fn(|cx| relay.poll(cx, &mut sniffer)));
        }
        assert_eq!(&got, b"a question, and no more");
        assert!(!relay.is_stalled());
    }

    #[tokio::test]
    async fn a_server_that_closes_first_leaves_the_client_talking() {
        let (mut client, relay, mut server) = narrow(b"", b"");
        let relayed = tokio::spawn(run(relay));
        server.write_all(b"SSH-2.0-x").await.unwrap();
        server.shutdown().await.unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        client.write_all(b"late").await.unwrap();
        drop(client);
        let mut late = Vec::new();
        server.read_to_end(&mut late).await.unwrap();
        assert_eq!(late, b"late");
        let (end, _, _, sniffer) = relayed.await.unwrap();
        assert_eq!(end, RelayEnd::Closed(Side::Server));
        assert_eq!(sniffer.seen().scheme, Some(ObservedScheme::Ssh));
    }

    #[tokio::test]
    async fn a_tunnel_at_rest_holds_no_buffer() {
        let (mut client, relay, mut server) = narrow(b"early", b"");
        let mut relay = relay;
        let mut sniffer = Sniffer::default();
        client.write_all(b"and more").await.unwrap();
        let mut got = [0; 13];
        tokio::select! {
            biased;
            _ = poll_fn(|cx| relay.poll(cx, &mut sniffer).map(|step| assert!(matches!(step, Step::Recognised)))) => {}
            _ = std::future::pending::<()>() => {}
        }
        let mut rest = std::pin::pin!(server.read_exact(&mut got));
        while futures_util::poll!(&mut rest).is_pending() {
            assert!(futures_util::poll!(poll_fn(|cx| relay.poll(cx, &mut sniffer))).is_pending());
        }
        assert_eq!(&got, b"earlyand more");
        assert_eq!(
            relay.outward.waiting.capacity() + relay.inward.waiting.capacity(),
            0
        );
    }
}
