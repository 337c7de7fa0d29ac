//! A client that speaks HTTP/2 frame by frame (RFC 9113), for what no library would send.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result, bail};

use crate::wait::DEADLINE;

/// One connection to a gateway, its beginning sent.
pub struct FrameClient {
    stream: BufReader<Box<dyn Carrier>>,
    /// The socket, where nothing is around it.
    socket: Option<TcpStream>,
}

/// What carries frames: a socket, or something around one.
trait Carrier: Read + Write + Send {}

impl<T: Read + Write + Send> Carrier for T {}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// `RST_STREAM`.
    pub const RESET: u8 = 3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 4;
    /// PING.
    pub const PING: u8 = 6;
    /// GOAWAY.
    pub const GOAWAY: u8 = 7;
    /// `WINDOW_UPDATE`.
    pub const WINDOW: u8 = 8;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 9;

    /// The flag of a stream's last frame.
    pub const END_STREAM: u8 = 1;
    /// The flag of a head's last frame.
    pub const END_HEADERS: u8 = 4;

    /// A frame.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    /// A request's whole head, after which more may follow.
    pub fn request(stream: u32, fields: &[(&str, &str)]) -> Self {
        Self::new(Self::HEADERS, Self::END_HEADERS, stream, header_block(fields))
    }

    /// The end of a stream, for a reason.
    pub fn reset(stream: u32, reason: u32) -> Self {
        Self::new(Self::RESET, 0, stream, reason.to_be_bytes())
    }

    /// More window.
    pub fn window(stream: u32, more: u32) -> Self {
        Self::new(Self::WINDOW, 0, stream, more.to_be_bytes())
    }

    /// The frame's bytes.
    ///
    /// # Panics
    /// When its payload does not fit a frame.
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("a payload fits 24 bits");
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The reason that a reset or a GOAWAY gives.
    pub fn reason(&self) -> Option<u32> {
        let code = match self.kind {
            Self::RESET => self.payload.get(..4)?,
            Self::GOAWAY => self.payload.get(4..8)?,
            _ => return None,
        };
        Some(u32::from_be_bytes(code.try_into().ok()?))
    }

    /// Whether this is an answer that says 200, which has a place in HPACK's static table.
    pub fn is_success(&self) -> bool {
        self.kind == Self::HEADERS && self.payload.first() == Some(&0x88)
    }
}

/// Header fields as HPACK writes them without any table: literal, never indexed (RFC 7541 §6.2.3).
pub fn header_block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// RFC 7541 §5.1, with a prefix of seven bits.
fn length(block: &mut Vec<u8>, length: usize) {
    let byte = |value: usize| u8::try_from(value).expect("seven bits fit");
    if length < 127 {
        return block.push(byte(length));
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(byte(rest % 128) | 128);
        rest /= 128;
    }
    block.push(byte(rest));
}

impl FrameClient {
    /// Connects, and says which protocol this is.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(gateway: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&gateway, DEADLINE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let socket = stream.try_clone()?;
        Ok(Self {
            socket: Some(socket),
            ..Self::over(stream)?
        })
    }

    /// Speaks over a connection that stands.
    ///
    /// # Errors
    /// When the gateway hung up.
    pub fn over(carrier: impl Read + Write + Send + 'static) -> Result<Self> {
        let mut client = Self {
            stream: BufReader::new(Box::new(carrier)),
            socket: None,
        };
        client.send_bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        client.send(&Frame::new(Frame::SETTINGS, 0, 0, []))?;
        Ok(client)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the gateway hung up.
    pub fn send(&mut self, frame: &Frame) -> Result<()> {
        self.send_bytes(&frame.bytes())
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the gateway hung up.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        Ok(self.stream.get_mut().flush()?)
    }

    /// The next frame.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn frame(&mut self) -> Result<Frame> {
        let mut start = [0; 9];
        self.stream.read_exact(&mut start)?;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = start;
        let length = usize::try_from(u32::from_be_bytes([0, l0, l1, l2]))?;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        Ok(Frame::new(kind, flags, stream, payload))
    }

    /// The next frame that `wanted` likes; settings and pings on the way are acknowledged.
    ///
    /// # Errors
    /// When the connection ends before.
    pub fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Result<Frame> {
        for _ in 0..100_000 {
            let frame = self.frame()?;
            if wanted(&frame) {
                return Ok(frame);
            }
            if matches!(frame.kind, Frame::SETTINGS | Frame::PING) && frame.flags == 0 {
                let payload = if frame.kind == Frame::PING {
                    frame.payload
                } else {
                    Vec::new()
                };
                self.send(&Frame::new(frame.kind, 1, 0, payload))?;
            }
        }
        bail!("the frame that was waited for did not come")
    }

    /// How the gateway refused a stream: its reset or the GOAWAY that took it along.
    ///
    /// # Errors
    /// When the connection ends without.
    pub fn refusal(&mut self, stream: u32) -> Result<Frame> {
        self.until(|frame| {
            frame.kind == Frame::GOAWAY || frame.kind == Frame::RESET && frame.stream == stream
        })
        .context("neither a reset nor a GOAWAY came")
    }

    /// From now on sending fails where it would have to wait for more than a moment.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn stop_waiting(&self) -> Result<()> {
        let moment = std::time::Duration::from_millis(500);
        let socket = self.socket.as_ref().context("a plain connection")?;
        Ok(socket.set_write_timeout(Some(moment))?)
    }

    /// Waits until the gateway has ended the connection.
    pub fn drain(&mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
    }
}
