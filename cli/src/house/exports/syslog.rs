//! A syslog server as a receiver: RFC 5424 messages with octet counting, over TCP (RFC 6587 §3.4.1) or
//! TLS (RFC 5425 §4.3).
//!
//! Syslog has no answer. What can be known is that the other machine took the bytes, and that the
//! connection still stood a while later: unacknowledged bytes would have ended it by then. A server
//! that closes after we did has read to the end. Until one of the two is so, entries count as not
//! delivered, and a connection that breaks makes them be sent again.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use evidence::EventKind;
use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::batch::{Batch, Line};
use crate::export_config::Peer;
use crate::outgoing::{Way, connect};

/// How long a batch may take to be written.
const WRITING: Duration = Duration::from_secs(30);
/// How long the connection must have stood after bytes were written for them to count.
const STOOD: Duration = Duration::from_secs(6);
/// local0 (RFC 5424 §6.2.1).
const FACILITY: u8 = 16;
/// The number for documentation (RFC 5612): nobody registered one for us.
const ENTERPRISE: u32 = 32473;

/// A syslog server.
pub struct SyslogSink {
    peer: Peer,
    tls: Option<Arc<rustls::ClientConfig>>,
    connection: Option<Box<dyn Way>>,
    /// What follows each batch that was written, and when it was.
    unconfirmed: std::collections::VecDeque<(u64, Instant)>,
}

impl SyslogSink {
    /// A server that nobody has spoken to.
    pub fn new(peer: Peer, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Self {
            peer,
            tls,
            connection: None,
            unconfirmed: std::collections::VecDeque::new(),
        }
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// There is no connection, or it broke.
    pub async fn send(&mut self, batch: &Batch) -> anyhow::Result<()> {
        let mut frames = Vec::new();
        for line in &batch.lines {
            push_frame(&batch.origin, line, &mut frames);
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(&self.peer, self.tls.as_ref()).await?),
        };
        let writing = async {
            connection.write_all(&frames).await?;
            connection.flush().await
        };
        tokio::time::timeout(WRITING, writing)
            .await
            .with_context(|| format!("{} does not read", self.peer))?
            .with_context(|| format!("{} went away", self.peer))?;
        self.unconfirmed.push_back((batch.next, Instant::now()));
        Ok(())
    }

    /// What follows the last entry that counts as delivered.
    ///
    /// # Errors
    /// The connection broke, and what was under way may be lost.
    pub async fn confirmed(&mut self) -> anyhow::Result<Option<u64>> {
        let Some(connection) = &mut self.connection else {
            return Ok(None);
        };
        // A server has nothing to say; all that can be read is that it went away.
        let mut words = [0; 64];
        let is_gone = match connection.read(&mut words).now_or_never() {
            None | Some(Ok(1..)) => false,
            Some(Ok(0) | Err(_)) => true,
        };
        if is_gone {
            self.connection = None;
            anyhow::ensure!(
                self.unconfirmed.is_empty(),
                "{} closed the connection before all was known to be read",
                self.peer
            );
        }
        let mut confirmed = None;
        while let Some((next, written)) = self.unconfirmed.front()
            && written.elapsed() >= STOOD
        {
            confirmed = Some(*next);
            self.unconfirmed.pop_front();
        }
        Ok(confirmed)
    }

    /// Forgets the connection and what was under way.
    pub fn reset(&mut self) {
        self.connection = None;
        self.unconfirmed.clear();
    }

    /// Says that nothing more comes, and waits for the server to have read it all.
    pub async fn finish(&mut self) -> bool {
        let Some(mut connection) = self.connection.take() else {
            return false;
        };
        if connection.shutdown().await.is_err() {
            return false;
        }
        let mut rest = [0; 64];
        loop {
            match connection.read(&mut rest).await {
                Ok(0) => return true,
                Ok(_) => {}
                // Some end TLS without saying so. Had they not read to the end, it would be a reset.
                Err(error) => return error.kind() == std::io::ErrorKind::UnexpectedEof,
            }
        }
    }
}

/// `MSG-LEN SP SYSLOG-MSG`, the message as RFC 5424 §6 writes it.
fn push_frame(origin: &str, line: &Line, out: &mut Vec<u8>) {
    let severity = match line.kind {
        EventKind::Gap | EventKind::Kill => 4,
        EventKind::Refused => 5,
        _ => 6,
    };
    let kind = serde_json::to_value(line.kind).unwrap_or_default();
    let head = format!(
        "<{}>1 {} {} bailiwick - {} [bailiwick@{ENTERPRISE} log=\"{}\" seq=\"{}\"] ",
        FACILITY * 8 + severity,
        line.time,
        header_word(&line.gateway),
        kind.as_str().unwrap_or("-"),
        parameter(origin),
        line.seq,
    );
    // Writing to memory does not fail.
    let _ = write!(out, "{} ", head.len() + line.text.len());
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&line.text);
}

/// `PRINTUSASCII`, at most 255.
fn header_word(text: &str) -> String {
    let word: String = text.chars().filter(char::is_ascii_graphic).take(255).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

/// "Inside PARAM-VALUE, the characters '"', '\' and ']' MUST be escaped" (RFC 5424 §6.3.3).
fn parameter(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if matches!(c, '"' | '\\' | ']') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_its_octets_and_names_its_entry() {
        let line = Line {
            text: br#"{"seq":7}"#.to_vec(),
            seq: 7,
            time: "2026-11-21T10:32:01.5Z".parse().unwrap(),
            kind: EventKind::Refused,
            gateway: "gw 1".to_owned(),
        };
        let mut frame = Vec::new();
        push_frame("ac\"me/gw-1", &line, &mut frame);
        let frame = String::from_utf8(frame).unwrap();
        let (length, message) = frame.split_once(' ').unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), message.len());
        assert_eq!(
            message,
            "<133>1 2026-11-21T10:32:01.500000Z gw1 bailiwick - refused [bailiwick@32473 log=\"ac\\\"me/gw-1\" seq=\"7\"] {\"seq\":7}"
        );
    }
}
