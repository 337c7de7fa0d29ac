//! Names: one lookup per connection, whose answers are checked, recorded and dialled.
//!
//! A name that is looked up twice can be answered twice (DNS rebinding), so it is looked up once and
//! the addresses travel with the connection from then on. No search domain is ever appended.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base::{DnsResult, Host, HostName, PluginId, Target, canonical_ip};
use hickory_resolver::Resolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData};

use crate::name_transport::{NameTransport, is_cut_off};
use crate::settings::{OverrideAddress, ResolverSettings, Settings};
use crate::turnstile::Turnstile;

/// Looks names up.
pub(crate) struct Names {
    overrides: HashMap<HostName, Vec<OverrideAddress>>,
    /// Absent where the system has no usable configuration: then every lookup fails, and says so.
    resolver: Option<Resolver<NameTransport>>,
    timeout: Duration,
    /// Where the lookups of one plugin queue up.
    turnstile: Turnstile,
}

/// What a lookup gave.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    pub(crate) result: DnsResult,
    /// Addresses with the port to dial, in the order of the answer.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Names that the answer went through.
    pub(crate) cname_chain: Vec<String>,
    pub(crate) elapsed: Duration,
}

impl Names {
    pub(crate) fn new(settings: &ResolverSettings, timeout: Duration, lookups_per_plugin: usize) -> Self {
        let resolver = build(&settings.servers, timeout);
        if let Err(error) = &resolver {
            tracing::warn!(%error, "no name server is known; set gateway.resolver.servers");
        }
        Self {
            overrides: settings.hosts.clone(),
            resolver: resolver.ok(),
            timeout,
            turnstile: Turnstile::new(lookups_per_plugin),
        }
    }

    /// What looks names up as `settings` say.
    pub(crate) fn of(settings: &Settings) -> Self {
        let (timeout, places) = (settings.timeouts.lookup, settings.limits.lookups_per_plugin);
        Self::new(&settings.resolver, timeout, places)
    }

    /// Whether names may be looked up otherwise under `new` than under `old`. Where they are not, what is
    /// known of names and who waits for them need not be forgotten. The system's own configuration can
    /// have changed at any time.
    pub(crate) fn differ(old: &Settings, new: &Settings) -> bool {
        new.resolver.servers.is_empty()
            || old.resolver != new.resolver
            || old.timeouts.lookup != new.timeouts.lookup
            || old.limits.lookups_per_plugin != new.limits.lookups_per_plugin
    }

    /// Whether names could still be looked up as `settings` say. Where no name server is known now, there
    /// is nothing to lose.
    pub(crate) fn check(&self, settings: &Settings) -> Result<(), NetError> {
        if self.resolver.is_none() {
            return Ok(());
        }
        build(&settings.resolver.servers, settings.timeouts.lookup).map(drop)
    }

    /// Whether the override map answers for `target`.
    pub(crate) fn overrides(&self, target: &Target) -> bool {
        matches!(&target.host, Host::Name(name) if self.overrides.contains_key(name))
    }

    /// The addresses of `target`, by the override map, by a lookup that `plugin` wants, or as they were
    /// asked for.
    pub(crate) async fn look_up(&self, target: &Target, plugin: Option<&PluginId>) -> Lookup {
        let name = match &target.host {
            Host::Ip(ip) => {
                let address = SocketAddr::new(*ip, target.port.get());
                return Lookup::at_once(DnsResult::NotNeeded, vec![address]);
            }
            Host::Name(name) => name,
        };
        if let Some(overrides) = self.overrides.get(name) {
            let address = |known: &OverrideAddress| {
                SocketAddr::new(canonical_ip(known.ip), known.port.unwrap_or(target.port).get())
            };
            return Lookup::at_once(DnsResult::Override, overrides.iter().map(address).collect());
        }
        let started = Instant::now();
        // Most connections ask nobody, and should not carry what it takes.
        let ask = Box::pin(async {
            let _pass = self.turnstile.pass(plugin).await;
            self.ask(name, target.port.get()).await
        });
        let answer = tokio::time::timeout(self.timeout, ask).await;
        let (result, addresses, cname_chain) = match answer {
            Ok(Ok((addresses, cname_chain))) if !addresses.is_empty() => {
                (DnsResult::Ok, addresses, cname_chain)
            }
            Ok(Ok((_, cname_chain))) => (DnsResult::NoData, Vec::new(), cname_chain),
            Ok(Err(result)) => (result, Vec::new(), Vec::new()),
            Err(_) => (DnsResult::Timeout, Vec::new(), Vec::new()),
        };
        Lookup {
            result,
            addresses,
            cname_chain,
            elapsed: started.elapsed(),
        }
    }

    async fn ask(&self, name: &HostName, port: u16) -> Result<(Vec<SocketAddr>, Vec<String>), DnsResult> {
        let resolver = self.resolver.as_ref().ok_or(DnsResult::Failed)?;
        // With the dot at its end the name is complete, and no search domain can make another of it.
        let name = Name::from_ascii(format!("{name}.")).map_err(|_| DnsResult::Failed)?;
        let lookup = resolver
            .lookup_ip(name)
            .await
            .map_err(|error| classify_error(&error))?;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for ip in lookup.iter() {
            let address = SocketAddr::new(canonical_ip(ip), port);
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let mut cname_chain = Vec::new();
        for record in lookup.as_lookup().answers() {
            if let RData::CNAME(cname) = &record.data {
                let cname = cname.to_ascii().trim_end_matches('.').to_ascii_lowercase();
                if !cname_chain.contains(&cname) {
                    cname_chain.push(cname);
                }
            }
        }
        Ok((addresses, cname_chain))
    }
}

impl Lookup {
    const fn at_once(result: DnsResult, addresses: Vec<SocketAddr>) -> Self {
        Self {
            result,
            addresses,
            cname_chain: Vec::new(),
            elapsed: Duration::ZERO,
        }
    }
}

fn build(servers: &[SocketAddr], timeout: Duration) -> Result<Resolver<NameTransport>, NetError> {
    let mut builder = if servers.is_empty() {
        Resolver::builder(NameTransport::default())?
    } else {
        let servers = servers.iter().map(name_server).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        Resolver::builder_with_config(config, NameTransport::default())
    };
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // Two attempts fit into the time that a lookup has.
    options.timeout = timeout / 2;
    options.attempts = 2;
    builder.build()
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

fn classify_error(error: &NetError) -> DnsResult {
    let by_code = |code: ResponseCode| match code {
        ResponseCode::NXDomain => DnsResult::NxDomain,
        ResponseCode::ServFail => DnsResult::ServFail,
        ResponseCode::NoError => DnsResult::NoData,
        _ => DnsResult::Failed,
    };
    match error {
        NetError::Timeout => DnsResult::Timeout,
        NetError::Truncated => DnsResult::Truncated,
        NetError::Io(error) if is_cut_off(error) => DnsResult::Truncated,
        NetError::Dns(DnsError::NoRecordsFound(none)) => by_code(none.response_code),
        NetError::Dns(DnsError::ResponseCode(code)) => by_code(*code),
        _ => DnsResult::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_resolver::proto::op::{Message, MessageType};
    use hickory_resolver::proto::rr::rdata::{A, CNAME};
    use hickory_resolver::proto::rr::{Record, RecordType};
    use tokio::net::UdpSocket;

    use super::*;

    /// A name server that answers by the first label of the question.
    async fn name_server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let question = Message::from_vec(&buffer[..length]).unwrap();
                let query = question.queries[0].clone();
                let name = query.name().clone();
                let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
                answer.metadata.message_type = MessageType::Response;
                answer.metadata.recursion_available = true;
                answer.add_query(query.clone());
                let a = |name: &Name, last| {
                    Record::from_rdata(name.clone(), 60, RData::A(A(Ipv4Addr::new(192, 0, 2, last))))
                };
                let first = name.to_ascii();
                match first.split('.').next().unwrap() {
                    "nx" => answer.metadata.response_code = ResponseCode::NXDomain,
                    "broken" => answer.metadata.response_code = ResponseCode::ServFail,
                    "silent" => continue,
                    // Nobody listens where the rest would be had.
                    "cut" => answer.metadata.truncation = true,
                    "empty" => {}
                    "alias" if query.query_type() == RecordType::A => {
                        let real = Name::from_ascii("real.example.").unwrap();
                        answer.add_answer(Record::from_rdata(name, 60, RData::CNAME(CNAME(real.clone()))));
                        answer.add_answer(a(&real, 2));
                    }
                    _ if query.query_type() == RecordType::A => {
                        answer.add_answer(a(&name, 1));
                        answer.add_answer(a(&name, 2));
                    }
                    _ => {}
                }
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        address
    }

    async fn names(timeout: Duration) -> Names {
        let settings = ResolverSettings {
            servers: vec![name_server().await],
            hosts: HashMap::from([(
                "mapped.example".parse().unwrap(),
                vec![
                    OverrideAddress {
                        ip: "127.0.0.1".parse().unwrap(),
                        port: Some(8443.try_into().unwrap()),
                    },
                    OverrideAddress {
                        ip: "::ffff:127.0.0.2".parse().unwrap(),
                        port: None,
                    },
                ],
            )]),
        };
        Names::new(&settings, timeout, 8)
    }

    async fn look_up(names: &Names, authority: &str) -> (DnsResult, Vec<String>, Vec<String>) {
        let target = Target::from_authority(authority.as_bytes()).unwrap();
        let lookup = names.look_up(&target, None).await;
        let addresses = lookup.addresses.iter().map(ToString::to_string).collect();
        (lookup.result, addresses, lookup.cname_chain)
    }

    #[tokio::test]
    async fn each_way_a_lookup_can_end_has_its_own_word() {
        let names = names(Duration::from_secs(60)).await;
        let ok = |addresses: &[&str], chain: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
            (DnsResult::Ok, owned(addresses), owned(chain))
        };
        assert_eq!(
            look_up(&names, "two.example:443").await,
            ok(&["192.0.2.1:443", "192.0.2.2:443"], &[])
        );
        assert_eq!(
            look_up(&names, "alias.example:443").await,
            ok(&["192.0.2.2:443"], &["real.example"])
        );
        for (authority, result) in [
            ("nx.example:443", DnsResult::NxDomain),
            ("broken.example:443", DnsResult::ServFail),
            ("empty.example:443", DnsResult::NoData),
            ("cut.example:443", DnsResult::Truncated),
        ] {
            assert_eq!(look_up(&names, authority).await.0, result, "{authority}");
        }
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_a_timeout() {
        let names = names(Duration::from_millis(50)).await;
        assert_eq!(look_up(&names, "silent.example:443").await.0, DnsResult::Timeout);
    }

    #[tokio::test]
    async fn overrides_and_addresses_ask_nobody() {
        let names = names(Duration::from_secs(60)).await;
        let (result, addresses, _) = look_up(&names, "mapped.example:443").await;
        assert_eq!(result, DnsResult::Override);
        assert_eq!(addresses, ["127.0.0.1:8443", "127.0.0.2:443"]);
        let (result, addresses, _) = look_up(&names, "192.0.2.9:22").await;
        assert_eq!(
            (result, addresses),
            (DnsResult::NotNeeded, vec!["192.0.2.9:22".to_owned()])
        );
    }
}
