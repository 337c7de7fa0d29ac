//! The entrance: a client's first byte tells which protocol it speaks.
//!
//! One port serves them all, inside TLS on a listener that speaks it. What a TLS handshake agreed on is
//! not asked: the bytes inside say it again. Whatever else comes to be served here (the PROXY protocol) is
//! one more arm below.

use std::sync::Arc;

use base::{RefusalReason, Transport};
use tokio::time::timeout;

use crate::attempt::{refuse_unread, refuse_unsupported};
use crate::client::Client;
use crate::core::Core;
use crate::entry::Entry;
use crate::request::BadRequest;
use crate::stream::Stream;
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

/// Receives one client, in TLS where its listener speaks that, and serves it.
pub(crate) async fn receive(core: Arc<Core>, io: Stream, entry: Entry, is_tls: bool) {
    match io {
        Stream::Tcp(socket) if is_tls => {
            // Boxed for the same reason as what comes behind it.
            if let Some((io, entry)) = Box::pin(tls::greet(&core, socket, entry)).await {
                serve(core, io, entry).await;
            }
        }
        io => serve(core, io, entry).await,
    }
}

/// Serves one client from its first byte to its last.
pub(crate) async fn serve(core: Arc<Core>, io: Stream, entry: Entry) {
    let mut client = Client::new(io, entry);
    let first = async {
        // Methods of HTTP/1 begin like the preface too.
        loop {
            let read = client.fill().await;
            let undecided = client.buffer.len() < HTTP2.len() && HTTP2.starts_with(&client.buffer);
            if !undecided || !matches!(read, Ok(1..)) {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = core.draining.cancelled() => return,
        // Whoever stopped in the middle of a word is told so by the protocol it began.
        _ = timeout(core.settings.timeouts.head, first) => {}
    }
    // A client that says nothing asked for nothing.
    if client.buffer.is_empty() {
        return;
    }
    // Boxed and gone before the tunnel runs: one that stands for days costs a tunnel's size only.
    let tunnel = match Protocol::announced_by(&client.buffer) {
        Protocol::Http1 => Box::pin(http1::serve(&core, client)).await,
        Protocol::Socks5 => Box::pin(socks5::serve(&core, client)).await,
        Protocol::Http2 => {
            Box::pin(http2::serve(&core, client)).await;
            None
        }
        other => {
            Box::pin(turn_away(&core, client, other)).await;
            None
        }
    };
    if let Some(tunnel) = tunnel {
        tunnel.run(&core).await;
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
