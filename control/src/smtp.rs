//! The mail server: how it is named in the configuration, and one conversation with it.
//!
//! `smtp://host` means plain text to most libraries, and a report names who broke which promise. So
//! the setting is read here, word for word: plain text goes to this machine alone, or to a server
//! for which somebody wrote `plaintext=allowed`. A certificate is always checked.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tokio::net::TcpStream;

/// Longest wait for connection, greeting, TLS and login together.
const CONNECT: Duration = Duration::from_secs(30);
/// Longest wait for a server to take one letter.
pub(crate) const DELIVERY: Duration = Duration::from_secs(120);

/// How the conversation is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Not at all: this machine, or by explicit permission.
    Plain,
    /// STARTTLS, and no letter without it (RFC 3207).
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Tls,
}

/// Where letters are handed in: `smtp://host:port`, `smtp://host?starttls=required` or
/// `smtps://host`, with an optional `user@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    host: String,
    port: u16,
    user: Option<String>,
    protection: Protection,
}

/// Why a mail server setting is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServerUrl {
    /// Neither `smtp://` nor `smtps://`.
    #[error("a mail server is written smtp://host:port, smtp://host?starttls=required or smtps://host")]
    Scheme,
    /// No host, or one with characters that no host has.
    #[error("the mail server {url:?} names no host; write for example smtps://mail.acme.example")]
    Host {
        /// What was written.
        url: String,
    },
    /// Not a port.
    #[error("{port:?} is not a port; a port is a number from 1 to 65535")]
    Port {
        /// What was written.
        port: String,
    },
    /// A secret in the configuration file.
    #[error("a password does not belong into the mail server's address; put it into a file and name that")]
    Password,
    /// An option that does not exist, or not with this scheme.
    #[error(
        "{option:?} is not an option here; known: starttls=required, plaintext=allowed (both with smtp://)"
    )]
    Option {
        /// What was written.
        option: String,
    },
    /// Plain text over a network.
    #[error(
        "{host} is not this machine, and smtp:// alone would send reports in plain text; add ?starttls=required, or use smtps://"
    )]
    PlainText {
        /// The host.
        host: String,
    },
}

impl ServerUrl {
    /// How the conversation is protected.
    pub const fn protection(&self) -> Protection {
        self.protection
    }

    /// The account, if there is one.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

impl FromStr for ServerUrl {
    type Err = InvalidServerUrl;

    fn from_str(text: &str) -> Result<Self, InvalidServerUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidServerUrl::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, authority) = match rest.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(InvalidServerUrl::Password),
            Some((user, authority)) => (Some(user.to_owned()), authority),
            None => (None, rest),
        };
        let (host, port) = split_port(authority, text)?;
        let options: Vec<&str> = query.split('&').filter(|option| !option.is_empty()).collect();
        let protection = match (scheme, options.as_slice()) {
            ("smtps", []) => Protection::Tls,
            ("smtp", ["starttls=required"]) => Protection::StartTls,
            ("smtp", ["plaintext=allowed"]) => Protection::Plain,
            ("smtp", []) if is_this_machine(&host) => Protection::Plain,
            ("smtp", []) => return Err(InvalidServerUrl::PlainText { host }),
            ("smtp" | "smtps", options) => {
                return Err(InvalidServerUrl::Option {
                    option: options.join("&"),
                });
            }
            _ => return Err(InvalidServerUrl::Scheme),
        };
        // RFC 8314 §3.3, RFC 6409 §3.1 and RFC 5321 §4.5.4.2.
        let default = match protection {
            Protection::Tls => 465,
            Protection::StartTls => 587,
            Protection::Plain => 25,
        };
        Ok(Self {
            host,
            port: port.unwrap_or(default),
            user,
            protection,
        })
    }
}

fn split_port(authority: &str, url: &str) -> Result<(String, Option<u16>), InvalidServerUrl> {
    let no_host = || InvalidServerUrl::Host { url: url.to_owned() };
    let (host, port) = match authority.strip_prefix('[') {
        Some(literal) => {
            let (host, after) = literal.split_once(']').ok_or_else(no_host)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| no_host())?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(no_host()),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(fits) {
        return Err(no_host());
    }
    let port = port
        .map(|text| match text.parse::<u16>() {
            Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
            _ => Err(InvalidServerUrl::Port {
                port: text.to_owned(),
            }),
        })
        .transpose()?;
    Ok((host.to_owned(), port))
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protection {
            Protection::Tls => "smtps",
            Protection::StartTls | Protection::Plain => "smtp",
        };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// A mail server that can be talked to.
#[derive(Clone)]
pub struct MailServer {
    url: ServerUrl,
    tls: Option<TlsParameters>,
    credentials: Option<Credentials>,
    hello: ClientId,
}

/// Why a mail server cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum MailServerError {
    /// The certificates to trust cannot be used.
    #[error("the certificates to trust for {server} cannot be used; give a PEM file with at least one")]
    Certificates {
        /// The server.
        server: String,
        /// What the library said.
        source: lettre::transport::smtp::Error,
    },
    /// A password without an account, or an account without a password.
    #[error("the mail server needs both an account (smtps://user@host) and a password file, or neither")]
    Half,
    /// A password over plain text to another machine.
    #[error("a password is not sent to {server} in plain text; add ?starttls=required, or use smtps://")]
    PlainPassword {
        /// The server.
        server: String,
    },
}

impl MailServer {
    /// A server to be talked to under `url`, with a password for its account and the only
    /// certificate authorities to trust (PEM), or else the system's.
    ///
    /// # Errors
    /// [`MailServerError`].
    pub fn new(
        url: ServerUrl,
        password: Option<String>,
        authorities: Option<&[u8]>,
    ) -> Result<Self, MailServerError> {
        let credentials = match (url.user.clone(), password) {
            (None, None) => None,
            (Some(user), Some(password)) => Some(Credentials::new(user, password)),
            _ => return Err(MailServerError::Half),
        };
        if credentials.is_some() && url.protection == Protection::Plain && !is_this_machine(&url.host) {
            return Err(MailServerError::PlainPassword {
                server: url.to_string(),
            });
        }
        let tls = match url.protection {
            Protection::Plain => None,
            Protection::StartTls | Protection::Tls => {
                Some(
                    tls(&url, authorities).map_err(|source| MailServerError::Certificates {
                        server: url.to_string(),
                        source,
                    })?,
                )
            }
        };
        Ok(Self {
            url,
            tls,
            credentials,
            hello: ClientId::default(),
        })
    }

    /// Connects, protects and logs in.
    pub(crate) async fn connect(&self) -> Result<Line, Unreachable> {
        let conversation = async {
            let server = (self.url.host.as_str(), self.url.port);
            let mut connection = match (self.url.protection, &self.tls) {
                (Protection::Tls, Some(tls)) => {
                    let tls = Some(tls.clone());
                    AsyncSmtpConnection::connect_tokio1(server, Some(CONNECT), &self.hello, tls, None).await
                }
                _ => {
                    let stream = TcpStream::connect(server)
                        .await
                        .map_err(|error| one_line(&error))?;
                    // A letter ends in a small packet of its own, which would wait for the server to
                    // acknowledge the one before: 40 ms each (RFC 896).
                    let _ = stream.set_nodelay(true);
                    AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello).await
                }
            }
            .map_err(|error| one_line(&error))?;
            if let (Protection::StartTls, Some(tls)) = (self.url.protection, &self.tls) {
                let upgraded = connection.starttls(tls.clone(), &self.hello).await;
                upgraded.map_err(|error| one_line(&error))?;
            }
            if let Some(credentials) = &self.credentials {
                connection
                    .auth(&[Mechanism::Plain, Mechanism::Login], credentials)
                    .await
                    .map_err(|error| one_line(&error))?;
            }
            Ok(connection)
        };
        let unreachable = |why: String| Unreachable {
            server: self.url.to_string(),
            why,
        };
        match tokio::time::timeout(CONNECT, conversation).await {
            Ok(Ok(connection)) => Ok(Line { connection }),
            Ok(Err(why)) => Err(unreachable(why)),
            Err(_) => Err(unreachable(format!("no answer within {} s", CONNECT.as_secs()))),
        }
    }
}

impl fmt::Debug for MailServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MailServer({})", self.url)
    }
}

fn tls(url: &ServerUrl, authorities: Option<&[u8]>) -> Result<TlsParameters, lettre::transport::smtp::Error> {
    let builder = TlsParameters::builder(url.host.clone());
    match authorities {
        Some(pem) => builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(Certificate::from_pem(pem)?),
        None => builder,
    }
    .build_rustls()
}

/// Why there is no conversation at all. Says nothing about any letter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mail server {server} cannot be used: {why}; letters stay in the outbox and are tried again")]
pub(crate) struct Unreachable {
    server: String,
    why: String,
}

/// Why one letter was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// The server refuses this letter for good (5yz, RFC 5321 §4.2.1).
    Refused(String),
    /// The server says that nobody reads mail at this address.
    NoSuchAddress(String),
    /// Not now: greylisted, mailbox busy, or nobody knows because the line dropped.
    Later(String),
    /// The server will take no letter of ours until somebody changes a setting.
    Unwelcome(String),
}

impl NotTaken {
    /// What the server said.
    pub(crate) fn into_words(self) -> String {
        match self {
            Self::Refused(words)
            | Self::NoSuchAddress(words)
            | Self::Later(words)
            | Self::Unwelcome(words) => words,
        }
    }
}

/// One conversation, for as many letters as the server takes.
pub(crate) struct Line {
    connection: AsyncSmtpConnection,
}

impl Line {
    /// Hands in one letter. `Ok` means reply 250 to its last byte, and nothing less.
    pub(crate) async fn deliver(&mut self, envelope: &Envelope, raw: &[u8]) -> Result<(), NotTaken> {
        // The library ends the last line itself (RFC 5321 §4.1.1.4).
        let raw = raw.strip_suffix(b"\r\n").unwrap_or(raw);
        let error = match tokio::time::timeout(DELIVERY, self.connection.send(envelope, raw)).await {
            Ok(Ok(response)) if response.is_positive() => return Ok(()),
            Ok(Ok(response)) => return Err(NotTaken::Later(response.first_line().unwrap_or("").to_owned())),
            Ok(Err(error)) => error,
            Err(_) => {
                let why = format!(
                    "the server did not take the letter within {} s",
                    DELIVERY.as_secs()
                );
                return Err(NotTaken::Later(why));
            }
        };
        let line = one_line(&error);
        // RFC 4954 §6 and RFC 3207 §4: replies about who we are, not about the letter.
        let about_us = error
            .status()
            .is_some_and(|code| matches!(u16::from(code), 454 | 530 | 534 | 535 | 538));
        let code = error.status().map_or(0, u16::from);
        Err(match (about_us, error.is_permanent()) {
            (true, _) => NotTaken::Unwelcome(line),
            (false, true) if is_about_the_address(code, &line) => NotTaken::NoSuchAddress(line),
            (false, true) => NotTaken::Refused(line),
            (false, false) => NotTaken::Later(line),
        })
    }

    /// Whether another letter may go over this line.
    pub(crate) fn is_good(&self) -> bool {
        !self.connection.has_broken()
    }

    /// Says goodbye.
    pub(crate) async fn close(mut self) {
        let goodbye = async {
            if self.is_good() {
                // Whatever the server answers, every letter's fate is settled already.
                let _ = self.connection.quit().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), goodbye).await;
    }
}

/// Whether a permanent reply says that the mailbox is not there: by its enhanced code where it has one
/// (RFC 3463 §3.2, and 5.2.1, a mailbox that takes nothing any more), else by its basic code.
fn is_about_the_address(code: u16, line: &str) -> bool {
    let enhanced = line
        .split([' ', ':', '-'])
        .find(|word| word.starts_with("5.") && word.split('.').count() == 3);
    match enhanced {
        Some(enhanced) => enhanced.starts_with("5.1.") || enhanced == "5.2.1",
        None => matches!(code, 550 | 551 | 553),
    }
}

/// What a server said may hold line breaks and worse; people read it in listings and logs.
fn one_line(error: &dyn fmt::Display) -> String {
    base::escape_untrusted(error.to_string().as_bytes(), 400)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_way_to_name_a_server_means_one_thing() {
        for (text, shown, protection) in [
            (
                "smtp://127.0.0.1:2525",
                "smtp://127.0.0.1:2525",
                Protection::Plain,
            ),
            ("smtp://localhost", "smtp://localhost:25", Protection::Plain),
            ("smtp://[::1]:2525/", "smtp://[::1]:2525", Protection::Plain),
            (
                "smtp://mail.acme.example?starttls=required",
                "smtp://mail.acme.example:587",
                Protection::StartTls,
            ),
            (
                "smtps://bailiwick@mail.acme.example",
                "smtps://mail.acme.example:465",
                Protection::Tls,
            ),
            (
                "smtp://relay.acme.example:25?plaintext=allowed",
                "smtp://relay.acme.example:25",
                Protection::Plain,
            ),
        ] {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.protection(), protection, "{text}");
        }
        let url: ServerUrl = "smtps://bailiwick@mail.acme.example".parse().unwrap();
        assert_eq!(url.user(), Some("bailiwick"));
    }

    #[test]
    fn plain_text_never_leaves_this_machine_by_accident() {
        for text in [
            "smtp://mail.acme.example",
            "smtp://192.0.2.1:25",
            "smtp://localhost.acme.example",
            "smtp://[2001:db8::1]",
        ] {
            let error = text.parse::<ServerUrl>().unwrap_err();
            assert!(
                matches!(error, InvalidServerUrl::PlainText { .. }),
                "{text}: {error}"
            );
            assert!(error.to_string().contains("starttls=required"));
        }
    }

    #[test]
    fn what_is_not_a_server_is_refused() {
        for bad in [
            "",
            "mail.acme.example",
            "http://mail.acme.example",
            "smtp://",
            "smtps://:25",
            "smtps://a b",
            "smtps://[::1",
            "smtps://[::1]x",
            "smtps://[acme]",
            "smtps://host:0",
            "smtps://host:65536",
            "smtps://host:+25",
            "smtps://user:secret@host",
            "smtps://host?starttls=required",
            "smtp://host?starttls=maybe",
            "smtp://host?starttls=required&plaintext=allowed",
        ] {
            assert!(bad.parse::<ServerUrl>().is_err(), "{bad:?}");
        }
        let error = "smtps://user:secret@host".parse::<ServerUrl>().unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn a_reply_about_the_letter_is_not_one_about_the_address() {
        for (code, line, about) in [
            (550, "permanent error (550): 5.1.1 No such user", true),
            (550, "permanent error (550): 5.7.1 This looks like spam", false),
            (550, "permanent error (550): no mailbox here by that name", true),
            (550, "permanent error (550): 5.2.1 Mailbox disabled", true),
            (552, "permanent error (552): 5.3.4 Too large", false),
            (552, "permanent error (552): too large", false),
            (554, "permanent error (554): 5.1.10 Null MX", true),
        ] {
            assert_eq!(is_about_the_address(code, line), about, "{line}");
        }
    }

    #[test]
    fn a_password_needs_an_account_and_a_protected_line() {
        let url = |text: &str| text.parse::<ServerUrl>().unwrap();
        let password = || Some("secret".to_owned());
        assert!(MailServer::new(url("smtp://localhost"), password(), None).is_err());
        assert!(MailServer::new(url("smtp://me@localhost"), None, None).is_err());
        assert!(MailServer::new(url("smtp://me@localhost"), password(), None).is_ok());
        let error = MailServer::new(url("smtp://me@mail.example?plaintext=allowed"), password(), None);
        assert!(matches!(error, Err(MailServerError::PlainPassword { .. })));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,60}") {
            let _ = text.parse::<ServerUrl>();
            let _ = format!("smtp://{text}").parse::<ServerUrl>();
        }
    }
}
