//! Opening a byte stream to the target: directly, through HTTP CONNECT (HTTP/1.1 or
//! HTTP/2), or through SOCKS5.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpSocket, TcpStream};

use crate::h2_tunnel;
use crate::http1::{Connection, basic_credentials};
use crate::stream::Stream;
use crate::tls::ProxyTls;

/// How the first hop is asked to reach the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// No proxy protocol: the first hop is the target itself, or a relay that needs no asking.
    Direct,
    Connect,
    Socks5,
    /// CONNECT over HTTP/2; many tunnels share a connection.
    H2,
}

impl FromStr for Via {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "direct" => Ok(Self::Direct),
            "connect" => Ok(Self::Connect),
            "socks5" => Ok(Self::Socks5),
            "h2" => Ok(Self::H2),
            other => Err(format!("{other:?} is not direct, connect, socks5 or h2")),
        }
    }
}

/// The origin as the proxy is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub host: String,
    pub port: u16,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').ok_or("expected HOST:PORT")?;
        let port = port.parse().map_err(|_| format!("{port:?} is not a port"))?;
        if host.is_empty() {
            return Err("the host is empty".into());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.host, self.port)
    }
}

/// Name and password for the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

impl FromStr for Credentials {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, password) = text.split_once(':').ok_or("expected USER:PASSWORD")?;
        if user.len() > 255 || password.len() > 255 {
            return Err("SOCKS5 allows at most 255 bytes each".into());
        }
        Ok(Self {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }
}

/// Local addresses that outgoing connections take in turn, so that many of them do not run out of
/// ports.
#[derive(Debug, Default)]
pub struct SourceAddresses {
    addresses: Vec<Ipv4Addr>,
    next: AtomicUsize,
}

impl SourceAddresses {
    fn next(&self) -> Option<Ipv4Addr> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.addresses.get(turn % self.addresses.len().max(1)).copied()
    }
}

impl FromStr for SourceAddresses {
    type Err = String;

    /// Takes `127.0.0.2` or `127.0.0.2-127.0.0.9`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let parse = |part: &str| {
            part.parse::<Ipv4Addr>()
                .map(u32::from)
                .map_err(|_| format!("{part:?} is not an IPv4 address"))
        };
        let (first, last) = (parse(first)?, parse(last)?);
        if first > last || last - first > 255 {
            return Err("expected at most 256 addresses, lowest first".into());
        }
        let addresses = (first..=last).map(Ipv4Addr::from).collect();
        Ok(Self {
            addresses,
            next: AtomicUsize::new(0),
        })
    }
}

/// Everything that a worker needs to open a stream to the target.
#[derive(Debug)]
pub struct Route {
    pub via: Via,
    pub first_hop: SocketAddr,
    pub target: Target,
    pub credentials: Option<Credentials>,
    pub sources: SourceAddresses,
    /// TLS to the first hop, under whatever is spoken there.
    pub tls: Option<ProxyTls>,
}

/// Why an operation did not complete. `kind` is for counting, `detail` for the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: &'static str,
    pub detail: String,
}

impl Failure {
    pub fn new(kind: &'static str, detail: impl fmt::Display) -> Self {
        Self {
            kind,
            detail: detail.to_string(),
        }
    }

    /// For `map_err`: names the step that an I/O error belongs to.
    pub fn at(kind: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::new(kind, error)
    }
}

impl Route {
    /// Opens a stream to the first hop.
    pub async fn connect_stream(&self) -> Result<Stream, Failure> {
        let stream = self.connect_tcp().await.map_err(Failure::at("connect"))?;
        let Some(tls) = &self.tls else {
            return Ok(Stream::Tcp(stream));
        };
        let secured = tls.connect(stream).await.map_err(Failure::at("tls"))?;
        Ok(Stream::Tls(Box::new(secured)))
    }

    async fn connect_tcp(&self) -> io::Result<TcpStream> {
        let socket = match self.first_hop {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(source) = self.sources.next() {
            socket.set_reuseaddr(true)?;
            socket.bind((source, 0).into())?;
        }
        let stream = socket.connect(self.first_hop).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Opens a stream that reaches the target.
    pub async fn open(&self) -> Result<Connection, Failure> {
        if self.via == Via::H2 {
            return Ok(Connection::new(Stream::H2(h2_tunnel::open(self).await?)));
        }
        let mut connection = Connection::new(self.connect_stream().await?);
        match self.via {
            Via::Direct | Via::H2 => {}
            Via::Connect => self.ask_http_proxy(&mut connection).await?,
            Via::Socks5 => self.ask_socks_proxy(&mut connection).await?,
        }
        Ok(connection)
    }

    /// The `Proxy-Authorization` line, or nothing.
    pub fn authorization_line(&self) -> String {
        match &self.credentials {
            Some(Credentials { user, password }) => {
                format!("Proxy-Authorization: {}\r\n", basic_credentials(user, password))
            }
            None => String::new(),
        }
    }

    async fn ask_http_proxy(&self, connection: &mut Connection) -> Result<(), Failure> {
        let target = &self.target;
        let authorization = self.authorization_line();
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n");
        connection
            .write_all(request.as_bytes())
            .await
            .map_err(Failure::at("handshake"))?;
        let head = connection
            .read_response_head()
            .await
            .map_err(Failure::at("handshake"))?;
        // A 2xx answer to CONNECT has no body, whatever its headers say.
        if (200..300).contains(&head.status) {
            Ok(())
        } else {
            Err(Failure::new(
                "refused",
                format_args!("proxy answered {}", head.status),
            ))
        }
    }

    async fn ask_socks_proxy(&self, connection: &mut Connection) -> Result<(), Failure> {
        let failed = Failure::at("handshake");
        let method = if self.credentials.is_some() { 2 } else { 0 };
        connection.write_all(&[5, 1, method]).await.map_err(&failed)?;
        let mut choice = [0; 2];
        connection.read_exact(&mut choice).await.map_err(&failed)?;
        if choice != [5, method] {
            return Err(Failure::new("refused", format_args!("SOCKS method {choice:?}")));
        }
        if let Some(credentials) = &self.credentials {
            connection
                .write_all(&password_request(credentials))
                .await
                .map_err(&failed)?;
            let mut verdict = [0; 2];
            connection.read_exact(&mut verdict).await.map_err(&failed)?;
            if verdict[1] != 0 {
                return Err(Failure::new("refused", "SOCKS password not accepted"));
            }
        }
        connection
            .write_all(&socks_connect(&self.target))
            .await
            .map_err(&failed)?;
        let mut reply = [0; 4];
        connection.read_exact(&mut reply).await.map_err(&failed)?;
        if reply[1] != 0 {
            return Err(Failure::new("refused", format_args!("SOCKS reply {}", reply[1])));
        }
        let bound_length = match reply[3] {
            1 => 4,
            4 => 16,
            3 => {
                let mut length = [0];
                connection.read_exact(&mut length).await.map_err(&failed)?;
                u64::from(length[0])
            }
            other => {
                return Err(Failure::new("handshake", format_args!("address type {other}")));
            }
        };
        connection.discard(bound_length + 2).await.map_err(&failed)
    }
}

fn password_request(Credentials { user, password }: &Credentials) -> Vec<u8> {
    let mut request = vec![1, user.len() as u8];
    request.extend_from_slice(user.as_bytes());
    request.push(password.len() as u8);
    request.extend_from_slice(password.as_bytes());
    request
}

fn socks_connect(target: &Target) -> Vec<u8> {
    let mut request = vec![5, 1, 0];
    match target.host.parse() {
        Ok(IpAddr::V4(address)) => {
            request.push(1);
            request.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(4);
            request.extend_from_slice(&address.octets());
        }
        Err(_) => {
            let name = &target.host.as_bytes()[..target.host.len().min(255)];
            request.push(3);
            request.push(name.len() as u8);
            request.extend_from_slice(name);
        }
    }
    request.extend_from_slice(&target.port.to_be_bytes());
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_addresses_are_taken_in_turn() {
        let sources: SourceAddresses = "127.0.0.2-127.0.0.3".parse().unwrap();
        let taken: Vec<_> = (0..3).map(|_| sources.next().unwrap().to_string()).collect();
        assert_eq!(taken, ["127.0.0.2", "127.0.0.3", "127.0.0.2"]);
        assert_eq!(SourceAddresses::default().next(), None);
    }

    #[test]
    fn source_addresses_refuse_a_backward_range() {
        assert!("127.0.0.9-127.0.0.2".parse::<SourceAddresses>().is_err());
    }

    #[test]
    fn socks_request_names_each_kind_of_target() {
        let request = |target: &str| socks_connect(&target.parse().unwrap());
        assert_eq!(request("127.0.0.1:80"), [5, 1, 0, 1, 127, 0, 0, 1, 0, 80]);
        assert_eq!(request("ab:258"), [5, 1, 0, 3, 2, b'a', b'b', 1, 2]);
        assert_eq!(request("::1:80")[..4], [5, 1, 0, 4]);
    }

    #[test]
    fn socks_password_request_carries_lengths() {
        let credentials = "u:pw".parse().unwrap();
        assert_eq!(password_request(&credentials), [1, 1, b'u', 2, b'p', b'w']);
    }

    #[test]
    fn target_needs_host_and_port() {
        assert!("example".parse::<Target>().is_err());
        assert!(":80".parse::<Target>().is_err());
        assert!("example:http".parse::<Target>().is_err());
    }
}
