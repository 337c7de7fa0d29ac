//! The watch on an HTTP/2 connection's outgoing frames.
//!
//! The protocol library refuses a malformed request with a frame and says nothing to us. Reading the
//! headers of the frames that it sends tells that it did, and on which stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ledger::{Ledger, Stray};
use crate::stream::Stream;

/// A connection whose outgoing frames are watched.
pub(super) struct Watched {
    io: Stream,
    /// Read already.
    ahead: BytesMut,
    frames: Frames,
    ledger: Arc<Ledger>,
}

impl Watched {
    pub(super) fn new(io: Stream, ahead: BytesMut, ledger: Arc<Ledger>) -> Self {
        Self {
            io,
            ahead,
            frames: Frames::default(),
            ledger,
        }
    }
}

/// Finds answers and resets among frames that pass in pieces (RFC 9113 §4.1).
#[derive(Debug, Default)]
struct Frames {
    /// A frame's header, and the error code of a reset.
    start: [u8; START + CODE],
    have: usize,
    /// Bytes of the frame's payload that are still to pass.
    skip: usize,
}

const START: usize = 9;
const CODE: usize = 4;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;

impl Frames {
    fn pass(&mut self, mut bytes: &[u8], mut found: impl FnMut(u32, Stray)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let wanted = if self.have >= START && self.start[3] == RST_STREAM {
                START + CODE
            } else {
                START
            };
            let taken = (wanted - self.have).min(bytes.len());
            self.start[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have < wanted || (wanted == START && self.start[3] == RST_STREAM) {
                continue;
            }
            let [l0, l1, l2, kind, _, s0, s1, s2, s3, c0, c1, c2, c3] = self.start;
            let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
            let length = usize::try_from(u32::from_be_bytes([0, l0, l1, l2])).expect("24 bits fit");
            self.skip = length;
            self.have = 0;
            match kind {
                HEADERS => found(stream, Stray::Answer),
                RST_STREAM => {
                    self.skip = length.saturating_sub(CODE);
                    let code = u32::from_be_bytes([c0, c1, c2, c3]);
                    found(stream, Stray::Reset(Reason::from(code)));
                }
                _ => {}
            }
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
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
            io, frames, ledger, ..
        } = self.get_mut();
        let written = Pin::new(io).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(mut left)) = written {
            for slice in slices {
                let passed = left.min(slice.len());
                frames.pass(&slice[..passed], |stream, frame| ledger.sent(stream, frame));
                left -= passed;
            }
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, 0]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn found<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(u32, Stray)> {
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for piece in pieces {
            frames.pass(piece, |stream, frame| found.push((stream, frame)));
        }
        found
    }

    #[test]
    fn answers_and_resets_are_seen_however_the_frames_pass() {
        let sent = [
            frame(4, 0, &[0; 12]),
            frame(1, 3, b"answer"),
            frame(0, 3, &[3; 300]),
            frame(0, 3, b""),
            frame(3, 5, &1_u32.to_be_bytes()),
            frame(3, 0x8000_0007, &7_u32.to_be_bytes()),
            frame(1, 9, b"x"),
        ]
        .concat();
        let expected = vec![
            (3, Stray::Answer),
            (5, Stray::Reset(Reason::PROTOCOL_ERROR)),
            (7, Stray::Reset(Reason::REFUSED_STREAM)),
            (9, Stray::Answer),
        ];
        assert_eq!(found([&sent[..]]), expected);
        for size in 1..20 {
            assert_eq!(found(sent.chunks(size)), expected, "{size}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_watch_panic(raw in proptest::collection::vec(any::<u8>(), 0..200), size in 1usize..9) {
            prop_assert_eq!(found([&raw[..]]), found(raw.chunks(size)));
        }
    }
}
