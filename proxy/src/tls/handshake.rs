//! The handshake: from a connected socket to a stream whose client may have proved its run.
//!
//! It runs in the client's own task, within the time that a request's head may take; messages are
//! bounded by the TLS library. One that fails is written down like any refused request, with a
//! reason and nothing that the client sent.

use std::io;
use std::sync::Arc;

use base::{Attribution, RefusalReason};
use evidence::Timeout;
use rustls::{CertificateError, Error};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::{TlsKeeper, TlsStream};
use crate::client::Client;
use crate::core::Core;
use crate::entry::Entry;
use crate::identity::Identity;
use crate::notes::BadRequest;
use crate::refused::refuse_unread;
use crate::stream::Stream;

/// The first byte of a handshake record (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// How a handshake ended that came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    /// The gateway refused it.
    Refused(RefusalReason),
    /// The client refused the gateway, most likely its certificate.
    ByClient,
    /// The client went away.
    Gone,
}

/// Receives a client of a TLS listener. `None` where nothing came of it; that is on record.
pub(crate) async fn greet(core: &Arc<Core>, socket: TcpStream, entry: Entry) -> Option<(Stream, Entry)> {
    let keeper = core.tls.as_ref()?;
    let deadline = Instant::now() + core.settings().timeouts.head;
    let first = tokio::select! {
        biased;
        () = core.last_call() => return None,
        first = timeout_at(deadline, first_byte(&socket)) => first,
    };
    // A client that says nothing asked for nothing.
    let first = first.ok()?.ok()??;
    if first != HANDSHAKE {
        turn_away_plain(core, socket, entry, first).await;
        return None;
    }
    let accepting = TlsAcceptor::from(keeper.config()).accept(socket).into_fallible();
    match timeout_at(deadline, accepting).await {
        Ok(Ok(established)) => {
            core.metrics.shook_hands("done");
            let stream = TlsStream::new(established);
            let entry = name(keeper, &stream, entry);
            Some((Stream::Tls(Box::new(stream)), entry))
        }
        Ok(Err((error, socket))) => {
            turn_away(core, Failed::from(&error), socket, entry).await;
            None
        }
        Err(_) => {
            core.metrics.shook_hands("timeout");
            record(core, RefusalReason::Timeout, Some(Timeout::Head)).await;
            None
        }
    }
}

async fn first_byte(socket: &TcpStream) -> io::Result<Option<u8>> {
    let mut first = [0];
    let seen = socket.peek(&mut first).await?;
    Ok((seen > 0).then_some(first[0]))
}

/// Adds to `entry` whose run the client's certificate names. It was verified in the handshake.
fn name(keeper: &TlsKeeper, stream: &TlsStream, entry: Entry) -> Entry {
    let certificate = stream
        .session()
        .peer_certificates()
        .and_then(|chain| chain.first());
    let read = certificate.and_then(|der| seal::certificate::read_run(der, keeper.site()).ok());
    let Some(read) = read else {
        return entry;
    };
    Entry {
        certificate: Some(Arc::new(Identity {
            plugin_id: read.run.plugin_id,
            artifact_digest: read.run.artifact_digest,
            run_id: read.run.run_id,
            attribution: Attribution::Mtls,
        })),
        certificate_expires: Some(read.expires),
        ..entry
    }
}

async fn turn_away(core: &Arc<Core>, failed: Failed, socket: TcpStream, entry: Entry) {
    core.metrics.shook_hands(failed.word());
    if let Failed::Refused(reason) = failed {
        record(core, reason, None).await;
    }
    // The alert was sent; closing over unread bytes would take it back.
    Client::new(Stream::Tcp(socket), entry).farewell().await;
}

/// A client that speaks no TLS to a port that speaks nothing else. One that speaks HTTP is told.
async fn turn_away_plain(core: &Arc<Core>, socket: TcpStream, entry: Entry, first: u8) {
    core.metrics
        .shook_hands(Failed::Refused(RefusalReason::Malformed).word());
    let bad = BadRequest {
        reason: RefusalReason::Malformed,
        why: "this port speaks TLS; name the proxy as https://".to_owned(),
        raw_target: None,
    };
    let refusal = refuse_unread(core, bad, None).await;
    let mut client = Client::new(Stream::Tcp(socket), entry);
    if !first.is_ascii_alphabetic() || client.answer(&refusal.to_http(false, false)).await {
        client.farewell().await;
    }
}

async fn record(core: &Arc<Core>, reason: RefusalReason, timeout: Option<Timeout>) {
    let bad = BadRequest {
        reason,
        why: "the TLS handshake failed".to_owned(),
        raw_target: None,
    };
    // Whoever failed to speak TLS cannot be told more than the alert says.
    let _ = refuse_unread(core, bad, timeout).await;
}

impl Failed {
    /// The word for it in metrics.
    const fn word(self) -> &'static str {
        match self {
            Self::Refused(reason) => reason.as_str(),
            Self::ByClient => "client_refused",
            Self::Gone => "client_gone",
        }
    }
}

impl From<&io::Error> for Failed {
    fn from(error: &io::Error) -> Self {
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return Self::Gone;
        };
        Self::Refused(match error {
            Error::AlertReceived(_) => return Self::ByClient,
            Error::NoCertificatesPresented => RefusalReason::CredentialsMissing,
            Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => RefusalReason::CredentialsExpired,
            Error::InvalidCertificate(_) => RefusalReason::CredentialsInvalid,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => RefusalReason::Unsupported,
            _ => RefusalReason::Malformed,
        })
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, InvalidMessage};

    use super::*;

    #[test]
    fn every_failed_handshake_has_a_reason() {
        let failed = |error: Error| Failed::from(&io::Error::new(io::ErrorKind::InvalidData, error));
        let refused = |error| match failed(error) {
            Failed::Refused(reason) => reason.as_str(),
            other => other.word(),
        };
        assert_eq!(refused(Error::NoCertificatesPresented), "credentials_missing");
        assert_eq!(refused(CertificateError::Expired.into()), "credentials_expired");
        for invalid in [
            CertificateError::UnknownIssuer,
            CertificateError::NotValidYet,
            CertificateError::InvalidPurpose,
            CertificateError::BadSignature,
        ] {
            assert_eq!(refused(invalid.into()), "credentials_invalid");
        }
        assert_eq!(refused(Error::NoApplicationProtocol), "unsupported");
        assert_eq!(
            refused(Error::InvalidMessage(InvalidMessage::InvalidContentType)),
            "malformed"
        );
        assert_eq!(
            refused(Error::AlertReceived(AlertDescription::UnknownCA)),
            "client_refused"
        );
        assert_eq!(
            Failed::from(&io::Error::from(io::ErrorKind::UnexpectedEof)),
            Failed::Gone
        );
    }
}
