//! Settings: what the operator decided, typed and checked before the gateway sees it.
//!
//! Reading the configuration file is the caller's work; nothing here can be wrong by the time it
//! arrives.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base::{HostName, Port};
use ipnet::IpNet;

use crate::listen_address::ListenAddress;
use crate::parent::ParentRule;
use crate::quota::Quotas;
use crate::tls::TlsSettings;

/// Everything that a gateway needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The gateway's name; written into every event.
    pub name: String,
    /// Where clients connect. Port 0 takes any free port.
    pub listen: Vec<ListenAddress>,
    /// What TLS listeners present and whom they believe; there is none without.
    pub tls: Option<TlsSettings>,
    /// Where health and metrics are served, if anywhere.
    pub admin: Option<SocketAddr>,
    /// What happens to a connection that proves no identity.
    pub unattributed: Unattributed,
    /// Loopback, link-local and private ranges that the operator lifted from the floor.
    pub allow_private: Vec<IpNet>,
    /// The peers that speak for others: each must say with a PROXY protocol header (version 2) where
    /// its client came from. From anybody else such a header is refused.
    pub proxy_protocol: Vec<IpNet>,
    /// Further addresses of this installation that are never dialled, for example the control
    /// plane's. The gateway's own listeners need not be named.
    pub own_addresses: Vec<SocketAddr>,
    /// How names are looked up.
    pub resolver: ResolverSettings,
    /// Which destinations go through a parent proxy. Names of the override map never do.
    pub parents: Vec<ParentRule>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How much of things there may be.
    pub limits: Limits,
}

/// What happens to a connection that proves no identity. It is never guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unattributed {
    /// Refused and recorded.
    Refuse,
    /// Ruled on and recorded without plugin, artifact and run.
    Observe,
}

/// How names are looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolverSettings {
    /// Name servers; none means the system's.
    pub servers: Vec<SocketAddr>,
    /// Names answered from here and from nowhere else, as in a hosts file.
    pub hosts: HashMap<HostName, Vec<OverrideAddress>>,
}

/// An address in the override map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverrideAddress {
    /// The address.
    pub ip: IpAddr,
    /// The port to dial instead of the one asked for.
    pub port: Option<Port>,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Between two requests on one connection.
    pub keep_alive: Duration,
    /// A name lookup, all attempts together.
    pub lookup: Duration,
    /// From the first dial to an established connection, all addresses together.
    pub connect: Duration,
    /// Without a byte in either direction.
    pub idle: Duration,
    /// Between two looks at a tunnel whose receiver takes nothing: its sender may be gone meanwhile.
    pub stalled: Duration,
    /// A connection's whole life, if it has an end.
    pub total: Option<Duration>,
    /// How long a connection must stand before it gets a `connected` event of its own; shorter ones
    /// say everything in `close`.
    pub announce: Duration,
    /// Between two `progress` events of a long connection.
    pub progress: Duration,
    /// Between two questions whether an HTTP/2 client with open streams is still there.
    pub ping: Duration,
    /// How long its answer may take.
    pub pong: Duration,
    /// How long the connections of a run that has ended may still take to end by themselves. New ones
    /// are refused from the first moment.
    pub run_grace: Duration,
}

/// How much of things there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Client connections at once.
    pub connections: usize,
    /// Bytes of one request or response head.
    pub head_bytes: usize,
    /// Headers in one request or response head.
    pub headers: usize,
    /// Name lookups of one plugin under way at once; further ones wait.
    pub lookups_per_plugin: usize,
    /// How much of the gateway one run and one plugin may use.
    pub quotas: Quotas,
    /// Of one HTTP/2 connection.
    pub http2: Http2Limits,
}

/// How much of things there may be on one HTTP/2 connection.
#[derive(Clone, Copy, Debug)]
pub struct Http2Limits {
    /// Streams at once.
    pub streams: u32,
    /// Bytes that a client may send on one stream before the gateway has passed any on.
    pub stream_window: u32,
    /// The same on all streams together.
    pub connection_window: u32,
    /// Requests that a client may take back before they are answered: so many at once, and a
    /// sixteenth of that each second. One that takes back more is sent away.
    pub resets: u32,
}

impl Settings {
    /// The settings as shipped, with no listener yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            listen: Vec::new(),
            tls: None,
            admin: None,
            unattributed: Unattributed::Refuse,
            allow_private: Vec::new(),
            proxy_protocol: Vec::new(),
            own_addresses: Vec::new(),
            resolver: ResolverSettings::default(),
            parents: Vec::new(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(60),
            lookup: Duration::from_secs(5),
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(3600),
            stalled: Duration::from_secs(5),
            total: None,
            announce: Duration::from_millis(200),
            progress: Duration::from_secs(600),
            ping: Duration::from_secs(60),
            pong: Duration::from_secs(30),
            run_grace: Duration::from_secs(2),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            head_bytes: 64 << 10,
            headers: 128,
            lookups_per_plugin: 256,
            quotas: Quotas::default(),
            http2: Http2Limits::default(),
        }
    }
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            streams: 256,
            stream_window: 256 << 10,
            connection_window: 1 << 20,
            resets: 256,
        }
    }
}
