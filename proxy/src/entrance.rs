//! The entrance: a client's first byte tells which protocol it speaks.
//!
//! One port serves them all, inside TLS on a listener that speaks it. Whatever else comes to be served
//! here (HTTP/2, the PROXY protocol) is one more arm below.

use std::sync::Arc;

use base::{RefusalReason, Transport};
use tokio::time::timeout;

use crate::attempt::{refuse_unread, refuse_unsupported};
use crate::client::Client;
use crate::core::Core;
use crate::entry::Entry;
use crate::request::BadRequest;
use crate::stream::Stream;
use crate::{http1, socks5, tls};

/// What a first byte announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Socks5,
    Socks4,
    Tls,
    Unknown,
}

/// SOCKS4's answer "request rejected or failed".
const SOCKS4_REJECTED: [u8; 8] = [0, 91, 0, 0, 0, 0, 0, 0];
/// A fatal `handshake_failure` alert (RFC 8446 §6.2), so that TLS libraries say something sensible.
const TLS_ALERT: [u8; 7] = [21, 3, 1, 0, 2, 2, 40];

impl Protocol {
    const fn announced_by(first: u8) -> Self {
        match first {
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
    let first = tokio::select! {
        biased;
        () = core.draining.cancelled() => return,
        first = timeout(core.settings.timeouts.head, client.fill()) => first,
    };
    // A client that says nothing asked for nothing.
    let Ok(Ok(1..)) = first else {
        return;
    };
    // Boxed and gone before the tunnel runs: one that stands for days costs a tunnel's size only.
    let tunnel = match Protocol::announced_by(client.buffer[0]) {
        Protocol::Http1 => Box::pin(http1::serve(&core, client)).await,
        Protocol::Socks5 => Box::pin(socks5::serve(&core, client)).await,
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
        why: "this port speaks HTTP/1 and SOCKS5".to_owned(),
        raw_target: None,
    };
    let refusal = refuse_unread(core, bad, None).await;
    if client.answer(&refusal.to_http(false, false)).await {
        client.farewell().await;
    }
}
