//! Framing: where the body of an HTTP/1 message ends.
//!
//! Bodies are passed on as they came, chunk lines and trailers included, so this only has to find
//! the end, and to refuse what another reader might take differently. No input or output.

use crate::head::is_token_byte;

/// How a body's end is known, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// RFC 9112 §7.1.
    Chunked(Chunked),
    /// The body ends where the connection ends.
    UntilClose,
}

/// A body is not framed as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body's chunks cannot be read in one way only")]
pub(crate) struct BadChunks;

/// A reader of the chunked coding that keeps nothing but its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunked {
    state: State,
    /// Bytes of this chunk's extensions, or of the trailers, so far.
    extras: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { digits: u8, size: u64 },
    Extension { size: u64, place: Place },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName { at: u8, candidates: u8 },
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// Where in a chunk extension a byte stands (RFC 9112 §7.1.1): `;name`, `;name=token`, `;name="text"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    BeforeName,
    Name,
    BeforeValue,
    Token,
    Quoted,
    Escaped,
    AfterQuoted,
}

/// Trailers that would change what was framed, routed or proved before the body began
/// (RFC 9110 §6.5.1).
const FORBIDDEN_TRAILERS: [&[u8]; 5] = [
    b"content-length",
    b"transfer-encoding",
    b"host",
    b"proxy-authorization",
    b"connection",
];

/// Bytes that the extensions of one chunk may take, and likewise the trailers.
const MAX_EXTRAS: usize = 16 << 10;

impl Framing {
    /// No body at all.
    pub(crate) const NONE: Self = Self::Length(0);

    /// A chunked body from its beginning.
    pub(crate) const fn chunked() -> Self {
        Self::Chunked(Chunked {
            state: State::Size { digits: 0, size: 0 },
            extras: 0,
        })
    }

    /// Whether the body is complete.
    pub(crate) const fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => matches!(chunked.state, State::Done),
            Self::UntilClose => false,
        }
    }

    /// How many of the next bytes are contents; none where the next byte frames them.
    pub(crate) const fn contents_ahead(&self) -> u64 {
        match self {
            Self::Length(left) => *left,
            Self::Chunked(chunked) => match chunked.state {
                State::Data { left } => left,
                _ => 0,
            },
            Self::UntilClose => u64::MAX,
        }
    }

    /// Whether the next byte belongs to the trailers, or to the empty line after them.
    pub(crate) const fn is_in_trailers(&self) -> bool {
        matches!(
            self,
            Self::Chunked(Chunked {
                state: State::TrailerStart
                    | State::TrailerName { .. }
                    | State::Trailer
                    | State::TrailerLf
                    | State::EndLf,
                ..
            })
        )
    }

    /// How many of `bytes` belong to this body.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<usize, BadChunks> {
        match self {
            Self::Length(left) => {
                let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= u64::try_from(taken).expect("a length fits 64 bits");
                Ok(taken)
            }
            Self::Chunked(chunked) => chunked.take(bytes),
            Self::UntilClose => Ok(bytes.len()),
        }
    }
}

impl Chunked {
    fn take(&mut self, bytes: &[u8]) -> Result<usize, BadChunks> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            if let State::Data { left } = self.state {
                let here = usize::try_from(left).map_or(bytes.len() - at, |left| left.min(bytes.len() - at));
                at += here;
                let left = left - u64::try_from(here).expect("a length fits 64 bits");
                self.state = if left == 0 {
                    State::DataCr
                } else {
                    State::Data { left }
                };
            } else {
                self.state = self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<State, BadChunks> {
        Ok(match (self.state, byte) {
            (State::Size { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < 15 => {
                let digit = char::from(byte).to_digit(16).ok_or(BadChunks)?;
                State::Size {
                    digits: digits + 1,
                    size: size * 16 + u64::from(digit),
                }
            }
            (State::Size { digits: 1.., size }, b'\r') => State::SizeLf { size },
            (State::Size { digits: 1.., size }, b';') => State::Extension {
                size,
                place: Place::BeforeName,
            },
            (State::Extension { size, place }, b'\r') if place.may_end() => State::SizeLf { size },
            (State::Extension { size, place }, _) => {
                self.extra(byte)?;
                let place = place.after(byte).ok_or(BadChunks)?;
                State::Extension { size, place }
            }
            (State::SizeLf { size: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLf { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.extras = 0;
                State::Size { digits: 0, size: 0 }
            }
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart, _) if is_token_byte(byte) => {
                self.extra(byte)?;
                trailer_name(0, u8::MAX, byte)
            }
            (State::TrailerName { at, candidates }, b':') if !is_forbidden(at, candidates) => State::Trailer,
            (State::TrailerName { at, candidates }, _) if is_token_byte(byte) => {
                self.extra(byte)?;
                trailer_name(at, candidates, byte)
            }
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::Trailer, _) => {
                self.extra(byte)?;
                State::Trailer
            }
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(BadChunks),
        })
    }

    /// A byte of an extension or a trailer: text, and not too much of it.
    fn extra(&mut self, byte: u8) -> Result<(), BadChunks> {
        self.extras += 1;
        let text = byte == b'\t' || byte >= b' ' && byte != 0x7f;
        if text && self.extras <= MAX_EXTRAS {
            Ok(())
        } else {
            Err(BadChunks)
        }
    }
}

impl Place {
    /// Whether the line may end here.
    const fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Token | Self::AfterQuoted)
    }

    /// The place after `byte`, which is no carriage return; `None` where it does not belong.
    const fn after(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Name | Self::Token | Self::AfterQuoted, b';') => Self::BeforeName,
            (Self::BeforeName | Self::Name, _) if is_token_byte(byte) => Self::Name,
            (Self::Name, b'=') => Self::BeforeValue,
            (Self::BeforeValue, b'"') => Self::Quoted,
            (Self::BeforeValue | Self::Token, _) if is_token_byte(byte) => Self::Token,
            (Self::Quoted, b'"') => Self::AfterQuoted,
            (Self::Quoted, b'\\') => Self::Escaped,
            (Self::Quoted | Self::Escaped, _) => Self::Quoted,
            _ => return None,
        })
    }
}

/// Reads one byte of a trailer's name; `candidates` are the forbidden names that it may still become.
fn trailer_name(at: u8, candidates: u8, byte: u8) -> State {
    let fits = |name: &&[u8]| name.get(usize::from(at)) == Some(&byte.to_ascii_lowercase());
    let still = FORBIDDEN_TRAILERS
        .iter()
        .enumerate()
        .filter(|(_, name)| fits(name));
    let mask = still.fold(0, |mask, (bit, _)| mask | 1 << bit);
    State::TrailerName {
        at: at.saturating_add(1),
        candidates: candidates & mask,
    }
}

/// Whether a trailer's name that is `at` bytes long is one of the forbidden ones.
fn is_forbidden(at: u8, candidates: u8) -> bool {
    let mut names = FORBIDDEN_TRAILERS.iter().enumerate();
    names.any(|(bit, name)| candidates & 1 << bit != 0 && name.len() == usize::from(at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many bytes the body took, and whether it is complete.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(usize, bool), BadChunks> {
        let mut framing = Framing::chunked();
        let mut taken = 0;
        for piece in pieces {
            taken += framing.take(piece)?;
        }
        Ok((taken, framing.is_done()))
    }

    #[test]
    fn a_chunked_body_ends_after_its_trailers() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "A;name=\"value\"\r\n0123456789\r\n000\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
            "1;a;b=c;d=\"e;\\\"f\"\r\nx\r\n0\r\nContent-Lengths:\r\nHos: x\r\n\r\n",
        ] {
            let raw = format!("{body}GET ");
            assert_eq!(read([raw.as_bytes()]), Ok((body.len(), true)), "{body:?}");
        }
        assert_eq!(read([&b"5\r\nhel"[..]]), Ok((6, false)));
    }

    #[test]
    fn sizes_and_lines_have_one_spelling() {
        for body in [
            "+5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "-1\r\n",
            "\r\n",
            ";x\r\n",
            "5 \r\nhello\r\n",
            " 5\r\nhello\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5;a\nb\r\nhello\r\n",
            "5;a\rb\r\nhello\r\n",
            "5;\0\r\nhello\r\n",
            "5\r\nhelloX\r\n",
            "0\r\n\n",
            "0\r\n folded: 1\r\n\r\n",
            "0\r\nX: 1\n\r\n",
            "fffffffffffffffff\r\n",
            "5;\r\nhello\r\n",
            "5;a=\r\nhello\r\n",
            "5;a=\"b\r\nhello\r\n",
            "5;a=\"b\"c\r\nhello\r\n",
            "5;a b\r\nhello\r\n",
            "5;=b\r\nhello\r\n",
            "0\r\nnonsense\r\n\r\n",
            "0\r\nX : 1\r\n\r\n",
            "0\r\n: 1\r\n\r\n",
            "0\r\nContent-Length: 5\r\n\r\n",
            "0\r\ntransfer-ENCODING: chunked\r\n\r\n",
            "0\r\nX: 1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(read([body.as_bytes()]), Err(BadChunks), "{body:?}");
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let raw = format!("1;{}\r\n", "x".repeat(MAX_EXTRAS + 1));
        assert_eq!(read([raw.as_bytes()]), Err(BadChunks));
    }

    #[test]
    fn a_length_takes_exactly_that_much() {
        let mut framing = Framing::Length(5);
        assert_eq!(framing.take(b"abc"), Ok(3));
        assert_eq!(framing.take(b"defg"), Ok(2));
        assert!(framing.is_done());
        assert_eq!(framing.take(b"g"), Ok(0));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_arrive(raw in "[0-9af;\r\nx: ]{0,40}", size in 1usize..5) {
            prop_assert_eq!(read([raw.as_bytes()]), read(raw.as_bytes().chunks(size)));
        }

        #[test]
        fn what_was_chunked_is_read_to_its_end(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6)) {
            let mut raw = Vec::new();
            for part in &parts {
                raw.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                raw.extend_from_slice(part);
                raw.extend_from_slice(b"\r\n");
            }
            raw.extend_from_slice(b"0\r\n\r\n");
            let length = raw.len();
            raw.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(read([&raw[..]]), Ok((length, true)));
        }
    }
}
