//! Refusals: what a client is told that does not get its connection.
//!
//! A request that was understood is never met with a closed connection and silence. The answer says
//! what, why, which entry, and whom to ask: as a status for programs, as RFC 9209 `Proxy-Status` and
//! `X-Bailiwick-Reason` for tools, and as one line for people.

use std::io;

use base::{DnsResult, Outcome, RefusalReason, Target};
use evidence::Timeout;

use crate::exhausted::Exhausted;
use crate::identity::IdentityRefusal;
use crate::live::CutCause;
use crate::parent::ParentFailure;
use crate::quota::Quota;
use crate::ruling::Ruling;
use crate::tarpit::RETRY_AFTER;

/// An answer that refuses.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) kind: RefusalKind,
    /// One line for a person, without control characters.
    line: String,
}

/// What is refused, as far as answers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    /// Before anything was attempted.
    Refused(RefusalReason),
    /// The connection was attempted and did not come about.
    Failed(Failure),
}

/// Why an attempted connection did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The gateway itself ended it.
    Cut(CutCause),
    /// The name could not be resolved.
    Lookup(DnsResult),
    /// Every address is below the floor.
    Floor,
    /// No address answered.
    Connect(io::ErrorKind),
    /// The gateway had nothing left to connect with.
    Exhausted(Exhausted),
    /// No address answered in time.
    ConnectTimeout,
    /// The server closed the connection instead of answering.
    ServerGone,
    /// The server's answer is not HTTP, or could be read in two ways.
    BadResponse,
    /// The server did not answer in time.
    ResponseTimeout,
    /// The parent proxy did not connect.
    Parent(ParentFailure),
}

impl Refusal {
    /// A refusal before anything was attempted.
    pub(crate) fn new(reason: RefusalReason, why: &str) -> Self {
        Self {
            kind: RefusalKind::Refused(reason),
            line: one_line(&format!("bailiwick refused this request ({reason}): {why}")),
        }
    }

    /// The refusal of credentials.
    pub(crate) fn identity(refusal: &IdentityRefusal) -> Self {
        Self::new(refusal.reason(), &refusal.to_string())
    }

    /// A ruling's refusal.
    pub(crate) fn ruled(target: &Target, reason: RefusalReason, ruling: &Ruling) -> Self {
        let entry = match &ruling.matched_entry {
            Some(entry) => format!(" by {entry}"),
            None => String::new(),
        };
        Self {
            kind: RefusalKind::Refused(reason),
            line: one_line(&format!(
                "bailiwick refused {target} ({reason}{entry}). {}",
                ruling.advice
            )),
        }
    }

    /// A quota's refusal.
    pub(crate) fn quota(quota: &Quota) -> Self {
        Self::new(RefusalReason::Quota, &quota.to_string())
    }

    /// No connection without a record.
    pub(crate) fn evidence() -> Self {
        Self::new(
            RefusalReason::EvidenceUnavailable,
            "evidence cannot be written, and this site makes no connection without a record; ask its operators",
        )
    }

    /// An attempt that came to nothing.
    pub(crate) fn failed(target: &Target, failure: Failure) -> Self {
        let why = match failure {
            Failure::Cut(CutCause::Killed) => "it was ended by a kill".to_owned(),
            Failure::Cut(CutCause::RunEnded) => "its run has ended".to_owned(),
            Failure::Cut(CutCause::Shutdown) => "the gateway is shutting down".to_owned(),
            Failure::Lookup(result) => format!("the name could not be resolved ({result})"),
            Failure::Floor => {
                "every address is the gateway's own, loopback, link-local or private, and the operator has not opened it"
                    .to_owned()
            }
            Failure::Connect(kind) => format!("no address answered ({kind})"),
            Failure::Exhausted(exhausted) => {
                format!("the gateway has {}; try again in a moment", exhausted.what())
            }
            Failure::ConnectTimeout => "no address answered in time".to_owned(),
            Failure::ServerGone => "the server closed the connection without an answer".to_owned(),
            Failure::BadResponse => "the server's answer is not plain HTTP".to_owned(),
            Failure::ResponseTimeout => "the server did not answer in time".to_owned(),
            Failure::Parent(failure) => failure.to_string(),
        };
        Self {
            kind: RefusalKind::Failed(failure),
            line: one_line(&format!("bailiwick could not connect to {target}: {why}")),
        }
    }

    /// Whether the gateway ended the connection: then somebody waits for its sockets to close.
    pub(crate) const fn is_cut(&self) -> bool {
        matches!(self.kind, RefusalKind::Failed(Failure::Cut(_)))
    }

    /// Whether this asks for credentials, which the client may bring in its next request.
    pub(crate) const fn asks_for_credentials(&self) -> bool {
        self.kind.status() == 407
    }

    /// The whole answer in HTTP/1.1. `bodiless` for a request whose answers have no body (HEAD).
    pub(crate) fn to_http(&self, persistent: bool, bodiless: bool) -> Vec<u8> {
        let kind = self.kind;
        let word = kind.word();
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nProxy-Status: bailiwick; error={}; details=\"{word}\"\r\nX-Bailiwick-Reason: {word}\r\n",
            kind.status(),
            kind.phrase(),
            kind.proxy_error(),
        );
        if kind.status() == 429 {
            head.push_str(&format!("Retry-After: {}\r\n", RETRY_AFTER.as_secs()));
        }
        // git authenticates on the same connection after a 407, and needs it to be empty.
        let body = if self.asks_for_credentials() {
            head.push_str("Proxy-Authenticate: Basic realm=\"bailiwick\"\r\nContent-Length: 0\r\n");
            String::new()
        } else {
            let body = format!("{}\n", self.line);
            head.push_str(&format!(
                "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n",
                body.len()
            ));
            body
        };
        head.push_str(if persistent {
            "Connection: keep-alive\r\n\r\n"
        } else {
            "Connection: close\r\n\r\n"
        });
        if !bodiless {
            head.push_str(&body);
        }
        head.into_bytes()
    }
}

impl RefusalKind {
    /// The status code of the answer in HTTP.
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::Refused(reason) => match reason {
                RefusalReason::Malformed => 400,
                RefusalReason::Unsupported => 501,
                RefusalReason::CredentialsMissing
                | RefusalReason::CredentialsInvalid
                | RefusalReason::CredentialsExpired
                | RefusalReason::CredentialsConflict
                | RefusalReason::RunEnded => 407,
                RefusalReason::Revoked
                | RefusalReason::Quarantined
                | RefusalReason::KillSwitch
                | RefusalReason::Tier
                | RefusalReason::UntrustedPeer
                | RefusalReason::Floor => 403,
                RefusalReason::Limit => 431,
                RefusalReason::Quota => 429,
                RefusalReason::Timeout => 408,
                RefusalReason::EvidenceUnavailable | RefusalReason::Draining => 503,
            },
            Self::Failed(failure) => match failure {
                Failure::Cut(CutCause::Shutdown) | Failure::Exhausted(_) => 503,
                Failure::Cut(_) | Failure::Floor => 403,
                Failure::Lookup(DnsResult::Timeout) | Failure::ConnectTimeout | Failure::ResponseTimeout => {
                    504
                }
                Failure::Lookup(_) | Failure::Connect(_) | Failure::ServerGone | Failure::BadResponse => 502,
                Failure::Parent(failure) => failure.status(),
            },
        }
    }

    const fn phrase(self) -> &'static str {
        match self.status() {
            400 => "Bad Request",
            403 => "Forbidden",
            407 => "Proxy Authentication Required",
            408 => "Request Timeout",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            _ => "Gateway Timeout",
        }
    }

    /// The error type of RFC 9209 §2.3.
    const fn proxy_error(self) -> &'static str {
        match self {
            Self::Refused(reason) => match reason {
                RefusalReason::Malformed
                | RefusalReason::Unsupported
                | RefusalReason::Limit
                | RefusalReason::Timeout => "http_request_error",
                RefusalReason::Floor => "destination_ip_prohibited",
                RefusalReason::Quota => "connection_limit_reached",
                RefusalReason::EvidenceUnavailable | RefusalReason::Draining => "proxy_internal_error",
                _ => "http_request_denied",
            },
            Self::Failed(failure) => match failure {
                Failure::Cut(CutCause::Shutdown) => "proxy_internal_error",
                Failure::Cut(_) => "http_request_denied",
                Failure::Lookup(DnsResult::Timeout) => "dns_timeout",
                Failure::Lookup(_) => "dns_error",
                Failure::Floor => "destination_ip_prohibited",
                Failure::Connect(io::ErrorKind::ConnectionRefused) => "connection_refused",
                Failure::Connect(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                    "destination_ip_unroutable"
                }
                Failure::Connect(_) => "destination_unavailable",
                Failure::Exhausted(_) => "proxy_internal_error",
                Failure::ConnectTimeout => "connection_timeout",
                Failure::ServerGone => "connection_terminated",
                Failure::BadResponse => "http_protocol_error",
                Failure::ResponseTimeout => "http_response_timeout",
                Failure::Parent(failure) => failure.proxy_error(),
            },
        }
    }

    /// The word that events use too.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Refused(reason) => reason.as_str(),
            Self::Failed(failure) => failure.outcome().as_str(),
        }
    }
}

impl Failure {
    /// How the connection ended, for the record.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Cut(cause) => cause.outcome(),
            Self::Lookup(_) => Outcome::DnsFailed,
            Self::Floor => Outcome::FloorRefused,
            Self::Connect(_) | Self::Exhausted(_) => Outcome::ConnectFailed,
            Self::ConnectTimeout => Outcome::ConnectTimeout,
            Self::ServerGone => Outcome::ServerClosed,
            Self::BadResponse => Outcome::BadResponse,
            Self::ResponseTimeout => Outcome::IdleTimeout,
            Self::Parent(failure) => failure.outcome(),
        }
    }

    /// What ran out of time, if that was it.
    pub(crate) const fn timeout(self) -> Option<Timeout> {
        match self {
            Self::Lookup(DnsResult::Timeout) => Some(Timeout::Dns),
            Self::ConnectTimeout | Self::Parent(ParentFailure::Timeout) => Some(Timeout::Connect),
            Self::ResponseTimeout => Some(Timeout::Idle),
            _ => None,
        }
    }
}

/// Text for one line: advice comes from outside this crate, and reasons quote requests.
fn one_line(text: &str) -> String {
    text.trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(1000)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(refusal: &Refusal) -> String {
        String::from_utf8(refusal.to_http(true, false)).unwrap()
    }

    #[test]
    fn a_refusal_says_what_why_and_by_which_entry() {
        let target = Target::from_authority(b"a.example:443").unwrap();
        let mut ruling = Ruling::deny(
            base::Mode::Revoked,
            RefusalReason::Revoked,
            "Ask security\r\nX: y",
        );
        ruling.matched_entry = Some("sha256:00".into());
        let answer = text(&Refusal::ruled(&target, RefusalReason::Revoked, &ruling));
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"));
        assert!(
            answer
                .contains("\r\nProxy-Status: bailiwick; error=http_request_denied; details=\"revoked\"\r\n")
        );
        assert!(answer.contains("\r\nX-Bailiwick-Reason: revoked\r\n"));
        assert!(answer.ends_with(
            "\r\n\r\nbailiwick refused a.example:443 (revoked by sha256:00). Ask security  X: y\n"
        ));
    }

    #[test]
    fn a_request_for_credentials_is_empty_and_keeps_the_connection() {
        let answer = text(&Refusal::identity(&IdentityRefusal::Missing));
        assert!(answer.starts_with("HTTP/1.1 407 "));
        assert!(answer.contains("\r\nProxy-Authenticate: Basic realm=\"bailiwick\"\r\n"));
        assert!(answer.contains("\r\nContent-Length: 0\r\n"));
        assert!(answer.ends_with("Connection: keep-alive\r\n\r\n"));
    }

    #[test]
    fn lookups_that_fail_and_lookups_that_take_too_long_differ() {
        let target = Target::from_authority(b"a.example:443").unwrap();
        for (result, status) in [(DnsResult::NxDomain, 502), (DnsResult::Timeout, 504)] {
            let refusal = Refusal::failed(&target, Failure::Lookup(result));
            assert_eq!(refusal.kind.status(), status);
        }
    }
}
