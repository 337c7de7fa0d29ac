//! Parent proxies: the way out of networks that have only one.
//!
//! A site may have to send some destinations, or all, through a proxy of its own. Each connection is
//! then a CONNECT to that proxy, plain HTTP too: it learns host and port and nothing else. It also
//! looks names up in the gateway's stead, so what a name leads to is not known here and the floor
//! holds for literal addresses only; the event says which proxy it was, and that nothing was looked
//! up. The operator named the proxy's own address, so the floor does not apply to it, except that a
//! gateway is never its own parent.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use base::{Host, HostName, Outcome, Port, Target};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::head::HeadLimits;
use crate::response::ResponseHead;

/// Which destinations go through a parent proxy, or, where there is none, go out directly.
#[derive(Clone, Debug)]
pub struct ParentRule {
    /// The destinations.
    pub suffixes: Vec<ParentSuffix>,
    /// The parent proxy; `None` for a direct connection.
    pub parent: Option<Parent>,
}

/// A part of all destinations. Of several that hold one, the narrowest decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParentSuffix {
    /// All of them.
    All,
    /// A name, and every name that ends in it at a label boundary.
    Name(HostName),
    /// Addresses asked for as such.
    Network(IpNet),
}

/// A proxy that is asked to connect.
#[derive(Clone)]
pub struct Parent {
    /// Its host.
    pub host: Host,
    /// Its port.
    pub port: Port,
    /// `Proxy-Authorization`, whole.
    authorization: Option<String>,
}

/// Why a parent proxy did not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParentFailure {
    #[error("the parent proxy could not be reached")]
    Unreachable,
    #[error("the parent proxy did not accept this gateway's credentials; tell the site's operators")]
    Credentials,
    #[error("the parent proxy would not connect (it answered {0})")]
    Refused(u16),
    #[error("the parent proxy could not connect (it answered {0})")]
    Failed(u16),
    #[error("the parent proxy's answer is not that of a proxy")]
    BadResponse,
    #[error("the parent proxy did not answer in time")]
    Timeout,
}

/// Why a text names no part of all destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither \"*\", nor a name without wildcards, nor an address or CIDR")]
pub struct InvalidParentSuffix;

/// Read at once of a parent's answer.
const READ: usize = 4 << 10;

impl ParentRule {
    /// The parent proxy for `target` by the narrowest of all rules that hold it, if it has one.
    pub(crate) fn choose<'r>(rules: &'r [Self], target: &Target) -> Option<&'r Parent> {
        let matching = rules.iter().filter_map(|rule| {
            let widths = rule.suffixes.iter().filter_map(|suffix| suffix.width(target));
            Some((widths.max()?, rule))
        });
        // Of equals the first decides; whoever reads the configuration refuses repetitions.
        let narrowest = matching.reduce(|best, next| if next.0 > best.0 { next } else { best });
        narrowest.and_then(|(_, rule)| rule.parent.as_ref())
    }
}

impl ParentSuffix {
    /// How narrow it is, if it holds `target`. A network never holds a name.
    fn width(&self, target: &Target) -> Option<usize> {
        match (self, &target.host) {
            (Self::All, _) => Some(0),
            (Self::Name(suffix), Host::Name(name)) => {
                let rest = name.as_str().strip_suffix(suffix.as_str())?;
                (rest.is_empty() || rest.ends_with('.')).then_some(suffix.as_str().len())
            }
            (Self::Network(network), Host::Ip(ip)) => network
                .contains(ip)
                .then(|| 1 + usize::from(network.prefix_len())),
            (Self::Name(_), Host::Ip(_)) | (Self::Network(_), Host::Name(_)) => None,
        }
    }
}

impl std::str::FromStr for ParentSuffix {
    type Err = InvalidParentSuffix;

    fn from_str(text: &str) -> Result<Self, InvalidParentSuffix> {
        if text == "*" {
            return Ok(Self::All);
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Network(ip.into()));
        }
        text.parse().map(Self::Name).map_err(|_| InvalidParentSuffix)
    }
}

impl Parent {
    /// A proxy that asks for no credentials.
    pub const fn new(host: Host, port: Port) -> Self {
        Self {
            host,
            port,
            authorization: None,
        }
    }

    /// The same proxy, shown these credentials (RFC 7617).
    #[must_use]
    pub fn with_credentials(self, user: &str, password: &str) -> Self {
        let basic = STANDARD.encode(format!("{user}:{password}"));
        Self {
            authorization: Some(format!("Basic {basic}")),
            ..self
        }
    }

    /// Where it is.
    pub(crate) fn target(&self) -> Target {
        Target {
            host: self.host.clone(),
            port: self.port,
        }
    }

    /// Asks the proxy at the other end of `stream` to connect to `target`, and gives what the
    /// destination said already.
    pub(crate) async fn ask<S>(
        &self,
        stream: &mut S,
        target: &Target,
        limits: HeadLimits,
        patience: Duration,
    ) -> Result<Vec<u8>, ParentFailure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let asked = async {
            let question = self.question(target);
            let sent = stream.write_all(question.as_bytes()).await;
            // Whoever refuses to read may still have answered.
            let answer = answer(stream, limits).await;
            answer.and_then(|early| sent.map(|()| early).map_err(|_| ParentFailure::Unreachable))
        };
        timeout(patience, asked)
            .await
            .unwrap_or(Err(ParentFailure::Timeout))
    }

    fn question(&self, target: &Target) -> String {
        let credentials = match &self.authorization {
            Some(basic) => format!("Proxy-Authorization: {basic}\r\n"),
            None => String::new(),
        };
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credentials}\r\n")
    }
}

/// Reads an answer to CONNECT (RFC 9110 §9.3.6). After consent there is no body: what follows the
/// head is the destination's.
async fn answer<S>(stream: &mut S, limits: HeadLimits) -> Result<Vec<u8>, ParentFailure>
where
    S: AsyncRead + Unpin,
{
    let mut buffer = BytesMut::new();
    let mut left = limits.bytes;
    loop {
        match ResponseHead::split_from(&mut buffer, limits) {
            Ok(Some(head)) if head.is_interim() => continue,
            Ok(Some(head)) => {
                return match head.status() {
                    200..=299 => Ok(buffer.to_vec()),
                    407 => Err(ParentFailure::Credentials),
                    status @ 300..=499 => Err(ParentFailure::Refused(status)),
                    status @ 500..=599 => Err(ParentFailure::Failed(status)),
                    _ => Err(ParentFailure::BadResponse),
                };
            }
            Ok(None) => {}
            Err(_) => return Err(ParentFailure::BadResponse),
        }
        buffer.reserve(READ);
        match stream.read_buf(&mut buffer).await {
            Ok(read) if read > 0 && read <= left => left -= read,
            _ => return Err(ParentFailure::BadResponse),
        }
    }
}

impl ParentFailure {
    /// How the connection ended, for the record.
    pub(crate) const fn outcome(self) -> Outcome {
        match self {
            Self::Unreachable => Outcome::ParentUnreachable,
            Self::Credentials => Outcome::ParentCredentials,
            Self::Refused(_) => Outcome::ParentRefused,
            Self::Failed(_) => Outcome::ParentFailed,
            Self::BadResponse => Outcome::ParentBadResponse,
            Self::Timeout => Outcome::ParentTimeout,
        }
    }

    /// The status code of the answer in HTTP. Never 407: the credentials are not the client's.
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::Refused(_) => 403,
            Self::Timeout => 504,
            Self::Unreachable | Self::Credentials | Self::Failed(_) | Self::BadResponse => 502,
        }
    }

    /// The error type of RFC 9209 §2.3.
    pub(crate) const fn proxy_error(self) -> &'static str {
        match self {
            Self::Unreachable | Self::Failed(_) => "destination_unavailable",
            Self::Credentials => "proxy_configuration_error",
            Self::Refused(_) => "http_request_denied",
            Self::BadResponse => "http_protocol_error",
            Self::Timeout => "connection_timeout",
        }
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.target(), f)
    }
}

impl fmt::Debug for Parent {
    /// The credentials are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parent")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::duplex;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 2048,
        headers: 32,
    };

    fn target(text: &str) -> Target {
        Target::from_authority(text.as_bytes()).unwrap()
    }

    fn parent(host: &str) -> Parent {
        Parent::new(host.parse().unwrap(), Port::try_from(3128).unwrap())
    }

    /// What comes of asking a parent that says `said`, and what it was asked.
    async fn asked(parent: Parent, said: Vec<u8>) -> (Result<Vec<u8>, ParentFailure>, String) {
        let (mut near, mut far) = duplex(8 << 10);
        let asking = tokio::spawn(async move {
            let answer = parent
                .ask(
                    &mut near,
                    &target("b.example:443"),
                    LIMITS,
                    Duration::from_secs(60),
                )
                .await;
            drop(near);
            answer
        });
        far.write_all(&said).await.unwrap();
        far.shutdown().await.unwrap();
        let mut question = Vec::new();
        far.read_to_end(&mut question).await.unwrap();
        (asking.await.unwrap(), String::from_utf8(question).unwrap())
    }

    #[tokio::test]
    async fn a_parent_learns_the_authority_and_its_own_credentials_and_nothing_else() {
        let (answer, question) = asked(parent("p.example"), b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec()).await;
        assert_eq!(answer, Ok(b"hello".to_vec()));
        assert_eq!(
            question,
            "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n"
        );
        let known = parent("p.example").with_credentials("gw", "se:cret");
        let (_, question) = asked(known.clone(), b"HTTP/1.0 200 OK\r\n\r\n".to_vec()).await;
        assert!(question.contains("\r\nProxy-Authorization: Basic Z3c6c2U6Y3JldA==\r\n"));
        assert!(!format!("{known:?} {known}").contains("Z3c6"), "{known:?}");
    }

    #[tokio::test]
    async fn each_way_a_parent_says_no_has_its_own_word() {
        let endless = [&b"HTTP/1.1 200 OK\r\n"[..], &b"X: y\r\n".repeat(1000)].concat();
        let unstarted = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(200);
        for (said, failure) in [
            (
                &b"HTTP/1.1 407 No\r\nContent-Length: 3\r\n\r\nwho"[..],
                ParentFailure::Credentials,
            ),
            (b"HTTP/1.1 403 No\r\n\r\n", ParentFailure::Refused(403)),
            (
                b"HTTP/1.1 302 There\r\nLocation: http://c/\r\n\r\n",
                ParentFailure::Refused(302),
            ),
            (b"HTTP/1.1 502 No\r\n\r\n", ParentFailure::Failed(502)),
            (b"HTTP/1.1 101 Switching\r\n\r\n", ParentFailure::BadResponse),
            (b"HTTP/1.1 999 What\r\n\r\n", ParentFailure::BadResponse),
            (b"SSH-2.0-x\r\n", ParentFailure::BadResponse),
            (b"HTTP/1.1 200 OK\r\n", ParentFailure::BadResponse),
            (b"", ParentFailure::BadResponse),
            (&endless, ParentFailure::BadResponse),
            (&unstarted, ParentFailure::BadResponse),
        ] {
            assert_eq!(asked(parent("p.example"), said.to_vec()).await.0, Err(failure));
        }
        let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab".to_vec();
        assert_eq!(asked(parent("p.example"), interim).await.0, Ok(b"ab".to_vec()));
    }

    #[tokio::test]
    async fn a_parent_that_says_nothing_is_not_waited_for_for_ever() {
        let (mut near, _far) = duplex(1024);
        let (parent, target) = (parent("p.example"), target("b.example:443"));
        let asking = parent.ask(&mut near, &target, LIMITS, Duration::from_millis(5));
        assert_eq!(asking.await, Err(ParentFailure::Timeout));
    }

    #[test]
    fn the_narrowest_suffix_decides() {
        let rule = |suffixes: &[&str], parent: Option<Parent>| ParentRule {
            suffixes: suffixes.iter().map(|text| text.parse().unwrap()).collect(),
            parent,
        };
        let rules = [
            rule(&["*"], Some(parent("all.example"))),
            rule(&["b.example", "10.0.0.0/8"], None),
            rule(&["deep.b.example", "10.1.0.0/16"], Some(parent("deep.example"))),
        ];
        for (asked, chosen) in [
            ("a.example:443", Some("all.example:3128")),
            ("b.example:443", None),
            ("x.b.example:443", None),
            ("notb.example:443", Some("all.example:3128")),
            ("deep.b.example:80", Some("deep.example:3128")),
            ("very.deep.b.example:80", Some("deep.example:3128")),
            ("8.8.8.8:53", Some("all.example:3128")),
            ("10.9.9.9:53", None),
            ("10.1.9.9:53", Some("deep.example:3128")),
            ("[2001:db8::1]:1", Some("all.example:3128")),
        ] {
            let found = ParentRule::choose(&rules, &target(asked)).map(ToString::to_string);
            assert_eq!(found.as_deref(), chosen, "{asked}");
        }
        assert!(ParentRule::choose(&rules[1..], &target("a.example:443")).is_none());
    }

    #[test]
    fn a_suffix_is_a_name_a_network_or_everything() {
        for (text, read) in [
            ("B.example.", "b.example"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("8.8.8.8", "8.8.8.8/32"),
        ] {
            let suffix: ParentSuffix = text.parse().unwrap();
            let shown = match suffix {
                ParentSuffix::Name(name) => name.to_string(),
                ParentSuffix::Network(network) => network.to_string(),
                ParentSuffix::All => "*".to_owned(),
            };
            assert_eq!(shown, read);
        }
        for text in [
            "",
            "*.b.example",
            "b.example:443",
            "http://b",
            "b..example",
            "10.0.0.0/99",
        ] {
            assert_eq!(text.parse::<ParentSuffix>(), Err(InvalidParentSuffix), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic_and_it_ends(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let said = [&b"HTTP/1.1 200 OK\r\nX"[..], &raw].concat();
            for said in [&raw, &said] {
                let _ = runtime.block_on(answer(&mut &said[..], LIMITS));
            }
        }
    }
}
