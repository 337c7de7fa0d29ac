//! The command line.

use std::ffi::OsString;
use std::fmt::Display;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use lexopt::prelude::*;
use tokio_rustls::TlsAcceptor;

use crate::bulk::Bulk;
use crate::dial::{Route, SourceAddresses, Target, Via};
use crate::idle::Idle;
use crate::load::{Limit, Load, Operation};
use crate::relay::{Asking, Moving};
use crate::tls::{self, ProxyTls};
use crate::watch::Watch;

pub const USAGE: &str = "\
Usage: egress-load MODE [OPTION]...

Modes:
  connect     open a tunnel with HTTP CONNECT, make one request through it, close it; repeat
  socks5      the same with SOCKS5
  h2          the same with HTTP/2, where many tunnels share a connection
  http        absolute-form GET on connections that are kept
  direct      no proxy: one request for each connection, or with --keep-alive many
  bulk        a few tunnels that each move a large body
  idle        many tunnels that are opened and left alone
  watch       many tunnels that are opened and left until the proxy ends them; says when it did
  origin      the HTTP server that the other modes make their requests to
  relay       a bare TCP relay to --target: the floor to compare a proxy with

Where to:
  --proxy HOST:PORT         the proxy under test
  --target HOST:PORT        the origin, as the proxy is told it
  --proxy-auth USER:PASS    for HTTP Basic or the SOCKS5 password
  --via PROTOCOL            bulk, idle and watch: connect (the default), socks5, h2 or direct
  --proxy-ca FILE           speak TLS to the proxy, and trust this authority (PEM)
  --proxy-name NAME         the name in the proxy's certificate [localhost]
  --source-ips FIRST-LAST   take local IPv4 addresses in turn from this range
  --beyond-loopback         allow addresses other than loopback

How much (connect, socks5, h2, http, direct):
  --concurrency N           workers at a time [64]; for idle and watch, tunnels being
                            opened at a time
  --threads N               threads that share the workers [1]; for origin and relay, serving threads
  --seconds S               measure this long [10]; for bulk and watch, at most [300]
  --requests N              stop after this many operations if that comes first
  --warmup S                run this long before measuring [1]
  --rate R                  start this many operations a second [as fast as they go]
  --body SIZE               bytes that the origin answers [128]
  --keep-alive              direct: keep connections
  --timeout S               give up on one operation after this long [10]

bulk, idle and watch:
  --tunnels N               [bulk 4, otherwise 1000]
  --pull SIZE, --push SIZE  bulk: bytes each tunnel receives [1G] and sends [0]
  --hold S                  idle: leave the tunnels alone this long [5]

origin and relay:
  --listen ADDRESS:PORT     [origin 127.0.0.1:8080, relay 127.0.0.1:8081]
  --splice                  relay: splice instead of copying through a buffer
  --connect                 relay: have a CONNECT first, and look at nothing in it
  --socks5                  relay: have SOCKS5's questions first, and look at none of the answers
  --tls-cert FILE, --tls-key FILE  relay: serve TLS and copy, with this certificate (PEM)

What is reported:
  --pid PID                 also measure this process and its descendants; can be repeated
  --json                    one line of JSON in place of text

SIZE takes a suffix K, M or G, each a power of 1000. The exit status is 1 if anything failed.
";

pub enum Command {
    Load(Load),
    Bulk(Bulk),
    Idle(Idle),
    Watch(Watch),
    Origin {
        listen: SocketAddr,
        threads: usize,
    },
    Relay {
        listen: SocketAddr,
        threads: usize,
        target: SocketAddr,
        asking: Asking,
        moving: Moving,
        tls: Option<TlsAcceptor>,
    },
    Help,
}

pub struct Invocation {
    pub command: Command,
    /// Figures to report beside the run's own.
    pub mode: String,
    pub json: bool,
}

/// Options as given, before a mode makes sense of them.
#[derive(Default)]
struct Options {
    mode: Option<String>,
    proxy: Option<String>,
    target: Option<Target>,
    proxy_auth: Option<crate::dial::Credentials>,
    via: Option<Via>,
    source_ips: SourceAddresses,
    beyond_loopback: bool,
    concurrency: Option<usize>,
    threads: Option<usize>,
    seconds: Option<Duration>,
    requests: Option<u64>,
    warmup: Option<Duration>,
    rate: Option<f64>,
    body: Option<u64>,
    keep_alive: bool,
    timeout: Option<Duration>,
    tunnels: Option<usize>,
    pull: Option<u64>,
    push: Option<u64>,
    hold: Option<Duration>,
    listen: Option<SocketAddr>,
    splice: bool,
    connect: bool,
    socks5: bool,
    proxy_ca: Option<PathBuf>,
    proxy_name: Option<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    pids: Vec<u32>,
    json: bool,
}

pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, String> {
    let options = match parse_options(args).map_err(|error| error.to_string())? {
        Some(options) => options,
        None => {
            return Ok(Invocation {
                command: Command::Help,
                mode: String::new(),
                json: false,
            });
        }
    };
    options.into_invocation()
}

fn parse_options(args: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(argument) = parser.next()? {
        match argument {
            Value(mode) if options.mode.is_none() => options.mode = Some(mode.string()?),
            Short('h') | Long("help") => return Ok(None),
            Long("proxy") => options.proxy = Some(parser.value()?.string()?),
            Long("target") => options.target = Some(value(&mut parser)?),
            Long("proxy-auth") => options.proxy_auth = Some(value(&mut parser)?),
            Long("via") => options.via = Some(value(&mut parser)?),
            Long("source-ips") => options.source_ips = value(&mut parser)?,
            Long("beyond-loopback") => options.beyond_loopback = true,
            Long("concurrency") => options.concurrency = Some(at_least_one(&mut parser)?),
            Long("threads") => options.threads = Some(at_least_one(&mut parser)?),
            Long("seconds") => options.seconds = Some(seconds(&mut parser)?),
            Long("requests") => options.requests = Some(value(&mut parser)?),
            Long("warmup") => options.warmup = Some(seconds(&mut parser)?),
            Long("rate") => options.rate = Some(positive(&mut parser)?),
            Long("body") => options.body = Some(size(&mut parser)?),
            Long("keep-alive") => options.keep_alive = true,
            Long("timeout") => options.timeout = Some(seconds(&mut parser)?),
            Long("tunnels") => options.tunnels = Some(at_least_one(&mut parser)?),
            Long("pull") => options.pull = Some(size(&mut parser)?),
            Long("push") => options.push = Some(size(&mut parser)?),
            Long("hold") => options.hold = Some(seconds(&mut parser)?),
            Long("listen") => options.listen = Some(value(&mut parser)?),
            Long("splice") => options.splice = true,
            Long("connect") => options.connect = true,
            Long("socks5") => options.socks5 = true,
            Long("proxy-ca") => options.proxy_ca = Some(parser.value()?.into()),
            Long("proxy-name") => options.proxy_name = Some(parser.value()?.string()?),
            Long("tls-cert") => options.tls_cert = Some(parser.value()?.into()),
            Long("tls-key") => options.tls_key = Some(parser.value()?.into()),
            Long("pid") => options.pids.push(value(&mut parser)?),
            Long("json") => options.json = true,
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

fn value<T>(parser: &mut lexopt::Parser) -> Result<T, lexopt::Error>
where
    T: FromStr,
    T::Err: Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
{
    parser.value()?.parse()
}

fn at_least_one(parser: &mut lexopt::Parser) -> Result<usize, lexopt::Error> {
    parser.value()?.parse_with(|text| match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number above 0"),
        Ok(number) => Ok(number),
    })
}

fn positive(parser: &mut lexopt::Parser) -> Result<f64, lexopt::Error> {
    parser.value()?.parse_with(|text| match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("expected a number above 0"),
    })
}

fn seconds(parser: &mut lexopt::Parser) -> Result<Duration, lexopt::Error> {
    parser.value()?.parse_with(|text| {
        text.parse()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or("expected a number of seconds")
    })
}

fn size(parser: &mut lexopt::Parser) -> Result<u64, lexopt::Error> {
    parser.value()?.parse_with(parse_size)
}

fn parse_size(text: &str) -> Result<u64, &'static str> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        Some(b'G') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or("expected a size such as 128, 64K, 10M or 2G")
}

impl Options {
    fn into_invocation(mut self) -> Result<Invocation, String> {
        let mode = self.mode.take().ok_or("no mode given; --help lists them")?;
        let json = self.json;
        let command = match mode.as_str() {
            "connect" => self.into_load(Via::Connect, Operation::Tunnel)?,
            "socks5" => self.into_load(Via::Socks5, Operation::Tunnel)?,
            "h2" => self.into_load(Via::H2, Operation::Tunnel)?,
            "http" => self.into_load(Via::Direct, Operation::KeepAlive)?,
            "direct" if self.proxy.is_some() => {
                return Err("direct takes no --proxy".into());
            }
            "direct" if self.keep_alive => self.into_load(Via::Direct, Operation::KeepAlive)?,
            "direct" => self.into_load(Via::Direct, Operation::Tunnel)?,
            "bulk" => Command::Bulk(Bulk {
                tunnels: self.tunnels.unwrap_or(4),
                pull: self.pull.unwrap_or(1_000_000_000),
                push: self.push.unwrap_or(0),
                time: self.seconds.unwrap_or(Duration::from_secs(300)),
                timeout: self.timeout(),
                pids: std::mem::take(&mut self.pids),
                route: self.into_route(Via::Connect)?,
            }),
            "idle" => Command::Idle(Idle {
                tunnels: self.tunnels.unwrap_or(1000),
                concurrency: self.concurrency.unwrap_or(64),
                hold: self.hold.unwrap_or(Duration::from_secs(5)),
                timeout: self.timeout(),
                pids: std::mem::take(&mut self.pids),
                route: Rc::new(self.into_route(Via::Connect)?),
            }),
            "watch" => Command::Watch(Watch {
                tunnels: self.tunnels.unwrap_or(1000),
                concurrency: self.concurrency.unwrap_or(64),
                time: self.seconds.unwrap_or(Duration::from_secs(300)),
                timeout: self.timeout(),
                route: Rc::new(self.into_route(Via::Connect)?),
            }),
            "origin" => Command::Origin {
                listen: self.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
                threads: self.threads.unwrap_or(1),
            },
            "relay" => Command::Relay {
                listen: self.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8081))),
                threads: self.threads.unwrap_or(1),
                asking: match (self.connect, self.socks5) {
                    (false, false) => Asking::Nothing,
                    (true, false) => Asking::Connect,
                    (false, true) => Asking::Socks5,
                    (true, true) => return Err("--connect and --socks5 do not go together".into()),
                },
                moving: if self.splice { Moving::Splice } else { Moving::Copy },
                tls: match (self.tls_cert.take(), self.tls_key.take()) {
                    (Some(certificates), Some(key)) => Some(tls::acceptor(&certificates, &key)?),
                    (None, None) => None,
                    _ => return Err("--tls-cert and --tls-key go together".into()),
                },
                target: self.into_route(Via::Direct)?.first_hop,
            },
            other => return Err(format!("unknown mode {other:?}; --help lists them")),
        };
        Ok(Invocation { command, mode, json })
    }

    fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(10))
    }

    fn into_load(mut self, via: Via, operation: Operation) -> Result<Command, String> {
        self.via = None; // the mode says it
        let path = format!("/bytes/{}", self.body.unwrap_or(128));
        let absolute = operation == Operation::KeepAlive && self.proxy.is_some();
        let target = self.target.as_ref().ok_or("--target is needed")?;
        let request_target = if absolute {
            format!("http://{target}{path}")
        } else {
            path
        };
        Ok(Command::Load(Load {
            operation,
            request_target,
            concurrency: self.concurrency.unwrap_or(64),
            threads: self.threads.unwrap_or(1),
            rate: self.rate,
            warmup: self.warmup.unwrap_or(Duration::from_secs(1)),
            limit: Limit {
                operations: self.requests,
                time: self.seconds.unwrap_or(Duration::from_secs(10)),
            },
            timeout: self.timeout(),
            pids: std::mem::take(&mut self.pids),
            route: self.into_route(via)?,
        }))
    }

    fn into_route(self, default: Via) -> Result<Route, String> {
        let via = self.via.unwrap_or(default);
        let target = self.target.ok_or("--target is needed")?;
        let first_hop = match self.proxy {
            Some(proxy) => resolve(&proxy)?,
            None if via == Via::Direct => resolve(&target.to_string())?,
            None => return Err("--proxy is needed".into()),
        };
        let name = self.proxy_name.as_deref().unwrap_or("localhost");
        let alpn: &[u8] = if via == Via::H2 { b"h2" } else { b"http/1.1" };
        let tls = match &self.proxy_ca {
            Some(ca) => Some(ProxyTls::new(ca, name, alpn)?),
            None => None,
        };
        if !first_hop.ip().is_loopback() && !self.beyond_loopback {
            return Err(format!(
                "{first_hop} is not a loopback address; see --beyond-loopback"
            ));
        }
        Ok(Route {
            via,
            first_hop,
            target,
            credentials: self.proxy_auth,
            sources: self.source_ips,
            tls,
        })
    }
}

fn resolve(address: &str) -> Result<SocketAddr, String> {
    let explain = |error: &dyn Display| format!("{address:?}: {error}");
    address
        .to_socket_addrs()
        .map_err(|error| explain(&error))?
        .next()
        .ok_or_else(|| explain(&"no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &str) -> Result<Invocation, String> {
        parse(words.split(' ').map(OsString::from))
    }

    fn load(words: &str) -> Load {
        match parse_words(words).unwrap().command {
            Command::Load(load) => load,
            _ => panic!("{words} is no load"),
        }
    }

    #[test]
    fn mode_decides_protocol_and_request() {
        let target = "--target 127.0.0.1:80";
        let connect = load(&format!("connect --proxy 127.0.0.1:3128 {target}"));
        assert_eq!(connect.route.via, Via::Connect);
        assert_eq!(connect.request_target, "/bytes/128");
        let http = load(&format!("http --proxy 127.0.0.1:3128 {target} --body 2K"));
        assert_eq!(http.operation, Operation::KeepAlive);
        assert_eq!(http.request_target, "http://127.0.0.1:80/bytes/2000");
        let direct = load(&format!("direct {target} --keep-alive"));
        assert_eq!(direct.route.first_hop.port(), 80);
        assert_eq!(direct.request_target, "/bytes/128");
    }

    #[test]
    fn addresses_beyond_loopback_need_saying_so() {
        let words = "direct --target 192.0.2.1:80";
        assert!(parse_words(words).err().unwrap().contains("--beyond-loopback"));
        assert!(parse_words(&format!("{words} --beyond-loopback")).is_ok());
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        for words in [
            "connect --target 127.0.0.1:80",
            "connect --proxy 127.0.0.1:3128",
            "relay",
            "direct --proxy 127.0.0.1:3128 --target 127.0.0.1:80",
            "direct --target 127.0.0.1:80 --concurrency 0",
            "direct --target 127.0.0.1:80 --rate nan",
            "direct --target 127.0.0.1:80 --seconds -1",
            "dance",
            "--json",
        ] {
            assert!(parse_words(words).is_err(), "{words}");
        }
    }

    #[test]
    fn sizes_take_decimal_suffixes() {
        assert_eq!(parse_size("2G"), Ok(2_000_000_000));
        assert_eq!(parse_size("0"), Ok(0));
        assert!(parse_size("G").is_err());
        assert!(parse_size("99999999999999999999").is_err());
        assert!(parse_size("99999999999999G").is_err());
    }
}
