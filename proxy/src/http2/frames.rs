//! Outgoing frames: which streams were answered and which were reset.
//!
//! No input or output; the caller hands over what was sent, in whatever pieces.

/// A frame that says something about a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The head of an answer, or trailers.
    Head,
    /// `RST_STREAM`, with its error code.
    Reset(u32),
}

/// Finds such frames among all that pass (RFC 9113 §4.1).
#[derive(Debug, Default)]
pub(super) struct Frames {
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
    /// Takes the next bytes, and tells of each stream that they say something about.
    pub(super) fn pass(&mut self, mut bytes: &[u8], mut found: impl FnMut(u32, Sent)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let wanted = self.wanted();
            let taken = (wanted - self.have).min(bytes.len());
            self.start[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            // A header that has become whole may show that more of the frame is wanted.
            if self.have < self.wanted() {
                continue;
            }
            let [l0, l1, l2, kind, _, s0, s1, s2, s3, c0, c1, c2, c3] = self.start;
            let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
            let length = usize::try_from(u32::from_be_bytes([0, l0, l1, l2])).expect("24 bits fit");
            self.skip = length.saturating_sub(self.have - START);
            self.have = 0;
            match kind {
                HEADERS => found(stream, Sent::Head),
                RST_STREAM => found(stream, Sent::Reset(u32::from_be_bytes([c0, c1, c2, c3]))),
                _ => {}
            }
        }
    }

    /// How much of a frame's beginning has to be seen.
    const fn wanted(&self) -> usize {
        if self.have >= START && self.start[3] == RST_STREAM {
            START + CODE
        } else {
            START
        }
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

    fn found<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(u32, Sent)> {
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for piece in pieces {
            frames.pass(piece, |stream, sent| found.push((stream, sent)));
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
            (3, Sent::Head),
            (5, Sent::Reset(1)),
            (7, Sent::Reset(7)),
            (9, Sent::Head),
        ];
        assert_eq!(found([&sent[..]]), expected);
        for size in 1..20 {
            assert_eq!(found(sent.chunks(size)), expected, "{size}");
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_pass(raw in proptest::collection::vec(any::<u8>(), 0..200), size in 1usize..9) {
            prop_assert_eq!(found([&raw[..]]), found(raw.chunks(size)));
        }
    }
}
