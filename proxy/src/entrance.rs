//! The entrance: a client's first byte tells which protocol it speaks.
//!
//! One port serves them all, inside TLS on a listener that speaks it. What a TLS handshake agreed on is
//! not asked: the bytes inside say it again. Before the first byte of a client there may be a header of
//! whoever carried the client here; it is read first, before TLS too, and decides where the client came
//! from.

use std::sync::Arc;

use base::{RefusalReason, Transport};
use bytes::Buf as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::Client;
use crate::core::Core;
use crate::entry::Entry;
use crate::notes::BadRequest;
use crate::proxy_header::{self, Origin, Preface, preface};
use crate::refused::{refuse_peer, refuse_unread, refuse_unsupported};
use crate::stream::Stream;
use crate::tunnel::Tunnel;
use crate::{http1, http2, socks5, tls};

/// What a first byte announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
    Socks5,
    Socks4,
    Tls,
    Unknown,
}

/// SOCKS4's answer "request rejected or failed".
const SOCKS4_REJECTED: [u8; 8] = [0, 91, 0, 0, 0, 0, 0, 0];
/// A fatal `handshake_failure` alert (RFC 8446 §6.2), so that TLS libraries say something sensible.
const TLS_ALERT: [u8; 7] = [21, 3, 1, 0, 2, 2, 40];

/// Why a peer is not let in that should have sent a header.
const NO_HEADER: &str = "this peer must send a PROXY header and did not";
const TEXT_HEADER: &str = "a PROXY header of version 1 is not read; send version 2";
const LATE: &str = "the PROXY header did not arrive in time";

/// The beginning of HTTP/2's preface (RFC 9113 §3.4), a method that HTTP/1 will never have.
const HTTP2: &[u8] = b"PRI ";

impl Protocol {
    /// `first` is not empty.
    fn announced_by(first: &[u8]) -> Self {
        match first[0] {
            _ if first.starts_with(HTTP2) => Self::Http2,
            // A method, or the empty line that RFC 9112 §2.2 forgives.
            b'A'..=b'Z' | b'a'..=b'z' | b'\r' => Self::Http1,
            5 => Self::Socks5,
            4 => Self::Socks4,
            22 => Self::Tls,
            _ => Self::Unknown,
        }
    }
}

/// Receives one client, in TLS where its listener speaks that, and serves it until it is gone or has
/// become a tunnel.
pub(crate) async fn receive(core: &Arc<Core>, io: Stream, entry: Entry, is_tls: bool) -> Option<Box<Tunnel>> {
    let speaks_for_others = speaks_for_others(core, &entry);
    match io {
        Stream::Tcp(mut socket) if is_tls => {
            let mut entry = entry;
            if speaks_for_others && !header_before_tls(core, &mut socket, &mut entry).await {
                return None;
            }
            let (io, entry) = Box::pin(tls::greet(core, socket, entry)).await?;
            serve(core, io, entry, false).await
        }
        io => serve(core, io, entry, speaks_for_others).await,
    }
}

/// Serves one client from its first byte on. `speaks_for_others` where a PROXY header must come first.
async fn serve(core: &Arc<Core>, io: Stream, entry: Entry, speaks_for_others: bool) -> Option<Box<Tunnel>> {
    let mut client = Client::new(io, entry);
    let arrival = tokio::select! {
        biased;
        () = core.last_call() => return None,
        arrival = timeout(core.settings().timeouts.head, arrive(&mut client, speaks_for_others)) => arrival,
    };
    match arrival {
        Ok(Arrival::Client) => {}
        // A client that says nothing asked for nothing.
        Ok(Arrival::Nobody) => return None,
        Ok(Arrival::Unwelcome(why)) => {
            refuse_peer(core, &client.entry, &why).await;
            return None;
        }
        Err(_) if client.buffer.is_empty() => return None,
        Err(_) if speaks_for_others => {
            refuse_peer(core, &client.entry, LATE).await;
            return None;
        }
        // Whoever stopped in the middle of a word is told so by the protocol it began.
        Err(_) => {}
    }
    match Protocol::announced_by(&client.buffer) {
        Protocol::Http1 => Box::pin(http1::serve(core, client)).await,
        Protocol::Socks5 => Box::pin(socks5::serve(core, client)).await,
        Protocol::Http2 => {
            Box::pin(http2::serve(core, client)).await;
            None
        }
        other => {
            Box::pin(turn_away(core, client, other)).await;
            None
        }
    }
}

/// What came of the first bytes.
enum Arrival {
    /// A client, the first byte of which is in the buffer.
    Client,
    /// Nobody, or nobody any more.
    Nobody,
    /// Somebody who may not come in like this.
    Unwelcome(String),
}

/// Reads up to a client's first byte, or to the word that tells HTTP/2 from HTTP/1: past a PROXY
/// header, if the peer is one of those that send it.
async fn arrive(client: &mut Client, speaks_for_others: bool) -> Arrival {
    loop {
        if !matches!(client.fill().await, Ok(1..)) {
            let is_client = !client.buffer.is_empty() && !speaks_for_others;
            return if is_client {
                Arrival::Client
            } else {
                Arrival::Nobody
            };
        }
        let unwelcome = match (preface(&client.buffer), speaks_for_others) {
            (Preface::More, _) => continue,
            (Preface::None, false) if is_undecided(&client.buffer) => continue,
            (Preface::None, false) => return Arrival::Client,
            (Preface::None, true) => NO_HEADER,
            (Preface::Text, _) => TEXT_HEADER,
            (Preface::Header, false) => {
                "this peer may not send a PROXY header; list it in gateway.proxy_protocol"
            }
            (Preface::Header, true) => return take_header(client).await,
        };
        return Arrival::Unwelcome(unwelcome.to_owned());
    }
}

/// Methods of HTTP/1 begin like the preface of HTTP/2 too.
fn is_undecided(bytes: &[u8]) -> bool {
    bytes.len() < HTTP2.len() && HTTP2.starts_with(bytes)
}

/// A run's own listener is for the run, wherever it connects from.
fn speaks_for_others(core: &Core, entry: &Entry) -> bool {
    let Some(source) = entry.source.filter(|_| entry.listener.is_none()) else {
        return false;
    };
    let peer = source.ip().to_canonical();
    core.settings()
        .proxy_protocol
        .iter()
        .any(|network| network.contains(&peer))
}

/// Reads the header that the buffer begins with, and the first bytes behind it.
async fn take_header(client: &mut Client) -> Arrival {
    let (origin, length) = loop {
        match proxy_header::read(&client.buffer) {
            Ok(Some(header)) => break header,
            Ok(None) => {}
            Err(invalid) => return Arrival::Unwelcome(invalid.to_string()),
        }
        if !matches!(client.fill().await, Ok(1..)) {
            return Arrival::Nobody;
        }
    };
    client.buffer.advance(length);
    client.entry.came_from(origin);
    while client.buffer.is_empty() || is_undecided(&client.buffer) {
        match client.fill().await {
            Ok(1..) => {}
            _ if client.buffer.is_empty() => return Arrival::Nobody,
            _ => break,
        }
    }
    Arrival::Client
}

/// Reads the header of a peer that speaks TLS behind it; no byte more, because TLS comes next. Whether
/// there was one.
async fn header_before_tls(core: &Arc<Core>, socket: &mut TcpStream, entry: &mut Entry) -> bool {
    let mut header = Vec::new();
    let reading = read_header(socket, &mut header);
    let read = tokio::select! {
        biased;
        () = core.last_call() => return false,
        read = timeout(core.settings().timeouts.head, reading) => read,
    };
    let why = match read {
        Ok(Ok(Some(origin))) => {
            entry.came_from(origin);
            return true;
        }
        Ok(Ok(None)) => return false,
        Ok(Err(why)) => why,
        // A silent peer asked for nothing.
        Err(_) if header.is_empty() => return false,
        Err(_) => LATE.to_owned(),
    };
    refuse_peer(core, entry, &why).await;
    false
}

/// What the header says; `None` where the peer went away.
async fn read_header(socket: &mut TcpStream, header: &mut Vec<u8>) -> Result<Option<Origin>, String> {
    loop {
        match preface(header) {
            Preface::More => {}
            Preface::Header => match proxy_header::read(header) {
                Ok(Some((origin, _))) => return Ok(Some(origin)),
                Ok(None) => {}
                Err(invalid) => return Err(invalid.to_string()),
            },
            Preface::Text => return Err(TEXT_HEADER.to_owned()),
            Preface::None => return Err(NO_HEADER.to_owned()),
        }
        let mut rest = (&mut *socket).take(proxy_header::missing(header));
        if !matches!(rest.read_buf(header).await, Ok(1..)) {
            return Ok(None);
        }
    }
}

async fn turn_away(core: &Arc<Core>, client: Client, protocol: Protocol) {
    match protocol {
        Protocol::Socks4 => refuse_protocol(core, client, "SOCKS4; use SOCKS5", &SOCKS4_REJECTED).await,
        Protocol::Tls => {
            refuse_protocol(
                core,
                client,
                "TLS to the proxy; use http://, or a tls:// listener",
                &TLS_ALERT,
            )
            .await
        }
        _ => refuse_unknown(core, client).await,
    }
}

async fn refuse_protocol(core: &Arc<Core>, mut client: Client, what: &str, answer: &[u8]) {
    let why = format!("this port does not speak {what}");
    refuse_unsupported(core, None, None, Transport::Tcp, &why).await;
    if client.answer(answer).await {
        client.farewell().await;
    }
}

async fn refuse_unknown(core: &Arc<Core>, mut client: Client) {
    let bad = BadRequest {
        reason: RefusalReason::Malformed,
        why: "this port speaks HTTP/1, HTTP/2 and SOCKS5".to_owned(),
        raw_target: None,
    };
    let refusal = refuse_unread(core, bad, None).await;
    if client.answer(&refusal.to_http(false, false)).await {
        client.farewell().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// What a header reader makes of `bytes`, and what it leaves behind.
    async fn read(bytes: &[u8]) -> (Result<Option<Origin>, String>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        peer.write_all(bytes).await.unwrap();
        drop(peer);
        let (mut socket, _) = listener.accept().await.unwrap();
        let read = read_header(&mut socket, &mut Vec::new()).await;
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        (read, rest)
    }

    #[tokio::test]
    async fn a_header_before_tls_is_read_to_its_last_byte_and_no_further() {
        let header =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0f\xcb\x00\x71\x05\x0a\0\0\x01\x12\x67\x0c\x38\x04\0\0";
        let (origin, rest) = read(&[&header[..], b"\x16\x03\x01 hello"].concat()).await;
        let source = "203.0.113.5:4711".parse().unwrap();
        assert_eq!(origin, Ok(Some(Origin::Network(source))));
        assert_eq!(rest, b"\x16\x03\x01 hello");
        assert_eq!(read(&header[..20]).await.0, Ok(None));
        assert_eq!(read(b"").await.0, Ok(None));
        for unwelcome in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0\0\0\0\0\0\0"[..],
            b"PROXY TCP4 203.0.113.5 10.0.0.1 1 2\r\n",
        ] {
            assert!(read(unwelcome).await.0.is_err());
        }
    }
}
