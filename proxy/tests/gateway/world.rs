//! A gateway, its plugins, and servers for it to reach.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::{ArtifactDigest, RunId, Sha256Digest, Target, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::{Event, EventKind};
use parking_lot::Mutex;
use proxy::{
    EvidenceSettings, Gateway, Identity, ListenAddress, MemorySink, OverrideAddress, Recorder, Ruling,
    Rulings, Settings, TokenRuns,
};
use seal::SigningKey;
use seal::token::{self, RunClaims};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How long a test waits for what must come. Never reached unless the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct World {
    pub gateway: Arc<Gateway>,
    pub sink: MemorySink,
    pub runs: Arc<TokenRuns>,
    pub rulings: Arc<Rules>,
    /// The run key.
    pub key: SigningKey,
}

/// Everything about a gateway that a test may want otherwise.
pub struct Plan {
    pub settings: Settings,
    pub evidence: EvidenceSettings,
}

type Rule = dyn Fn(Option<&Identity>, &Target) -> Ruling + Send + Sync;

/// Rulings that a test can change while the gateway runs.
pub struct Rules(Mutex<Arc<Rule>>);

impl Rules {
    pub fn set(&self, rule: impl Fn(Option<&Identity>, &Target) -> Ruling + Send + Sync + 'static) {
        *self.0.lock() = Arc::new(rule);
    }
}

impl Rulings for Rules {
    fn rule(&self, identity: Option<&Identity>, target: &Target) -> Ruling {
        let rule = Arc::clone(&self.0.lock());
        rule(identity, target)
    }
}

/// One run of one plugin, with the credentials it was given.
#[derive(Clone)]
pub struct Plugin {
    pub claims: RunClaims,
    pub token: String,
}

impl Plugin {
    /// The header that proves who it is.
    pub fn header(&self) -> String {
        let pair = format!("{}:{}", self.claims.run_id, self.token);
        format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(pair))
    }
}

impl Plan {
    /// A gateway that may reach loopback, where each of `hosts` is really at the given address.
    pub fn reaching(hosts: &[(&str, SocketAddr)]) -> Self {
        let mut settings = Settings::new("gw-test");
        settings.listen = vec![ListenAddress::Tcp("127.0.0.1:0".parse().unwrap())];
        settings.allow_private = vec!["127.0.0.0/8".parse().unwrap()];
        settings.timeouts.announce = Duration::ZERO;
        let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
        for (name, address) in hosts {
            by_name
                .entry(name.parse().unwrap())
                .or_default()
                .push(OverrideAddress {
                    ip: address.ip(),
                    port: Some(address.port().try_into().unwrap()),
                });
        }
        settings.resolver.hosts = by_name;
        Self {
            settings,
            evidence: EvidenceSettings::new("gw-test"),
        }
    }

    pub async fn start(self) -> World {
        let sink = MemorySink::new();
        let key = SigningKey::ed25519_from_seed(&[7; 32]);
        let runs = Arc::new(TokenRuns::new(vec![key.public()]));
        let rulings = Arc::new(Rules(Mutex::new(Arc::new(|_: Option<&Identity>, _: &Target| {
            Ruling::allow()
        }))));
        let recorder = Recorder::start(sink.clone(), self.evidence, None).unwrap();
        let asked: Arc<dyn Rulings> = Arc::<Rules>::clone(&rulings);
        let gateway = Gateway::start(self.settings, Arc::<TokenRuns>::clone(&runs), asked, recorder)
            .await
            .unwrap();
        World {
            gateway: Arc::new(gateway),
            sink,
            runs,
            rulings,
            key,
        }
    }
}

impl World {
    /// A gateway as [`Plan::reaching`] has it.
    pub async fn reaching(hosts: &[(&str, SocketAddr)]) -> Self {
        Plan::reaching(hosts).start().await
    }

    pub fn plugin(&self, name: &str, run: u8) -> Plugin {
        self.plugin_until(name, run, Timestamp::from_unix_us(4_000_000_000_000_000))
    }

    pub fn plugin_until(&self, name: &str, run: u8, expires: Timestamp) -> Plugin {
        let claims = RunClaims {
            run_id: RunId::from_parts(1_700_000_000_000, [run; 10]),
            plugin_id: name.parse().unwrap(),
            artifact_digest: ArtifactDigest::new(Sha256Digest::of(name.as_bytes())),
            expires,
        };
        Plugin {
            token: token::mint(&claims, &self.key).unwrap(),
            claims,
        }
    }

    /// The gateway's first port.
    pub fn address(&self) -> SocketAddr {
        self.gateway.addresses()[0].socket_address().unwrap()
    }

    pub async fn client(&self) -> Talker {
        Talker::to(self.address()).await
    }

    /// A tunnel of `plugin` to `authority`, established.
    pub async fn tunnel(&self, plugin: &Plugin, authority: &str) -> Talker {
        let mut client = self.client().await;
        client
            .send(&format!(
                "CONNECT {authority} HTTP/1.1\r\n{}\r\n",
                plugin.header()
            ))
            .await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        client
    }

    /// Waits for an event that `wanted` likes.
    pub fn event(&self, wanted: impl Fn(&Event) -> bool) -> Event {
        self.sees("the event", |events| {
            events.iter().find(|event| wanted(event)).cloned()
        })
    }

    /// Waits for the first event of a kind.
    pub fn first(&self, kind: EventKind) -> Event {
        self.event(|event| event.kind == kind)
    }

    pub fn sees<T>(&self, what: &str, wanted: impl Fn(&[Event]) -> Option<T>) -> T {
        tokio::task::block_in_place(|| self.sink.wait_for(PATIENCE, wanted))
            .unwrap_or_else(|| panic!("{what} is not among {:#?}", self.sink.events()))
    }

    pub fn kinds(&self) -> Vec<EventKind> {
        self.sink.events().iter().map(|event| event.kind).collect()
    }

    /// Events of one kind that were written by now.
    pub fn count(&self, kind: EventKind) -> usize {
        self.kinds().into_iter().filter(|found| *found == kind).count()
    }
}

/// Somebody with a socket who speaks plainly.
pub struct Talker {
    pub io: TcpStream,
    pub read: Vec<u8>,
}

impl Talker {
    pub async fn to(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub fn over(io: TcpStream) -> Self {
        Self { io, read: Vec::new() }
    }

    pub async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.io.write_all(text.as_ref()).await.unwrap();
    }

    async fn fill(&mut self) -> std::io::Result<usize> {
        tokio::time::timeout(PATIENCE, self.io.read_buf(&mut self.read))
            .await
            .expect("something to read")
    }

    /// Everything up to and with the first empty line.
    pub async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.read.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            assert_ne!(self.fill().await.unwrap(), 0, "{:?}", self.text());
        }
    }

    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert_ne!(self.fill().await.unwrap(), 0, "{:?}", self.text());
        }
        self.read.drain(..count).collect()
    }

    /// A response whose body has a length, as head and body.
    pub async fn response(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .expect("a length")
            .parse()
            .unwrap();
        let body = self.exactly(length).await;
        (head, String::from_utf8(body).unwrap())
    }

    /// Everything until the other side closes in order.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await.unwrap() > 0 {}
        std::mem::take(&mut self.read)
    }

    /// Waits until the connection breaks; whether it broke by a reset.
    pub async fn is_reset(&mut self) -> bool {
        loop {
            match self.fill().await {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }

    /// Waits for a refusal, or for the end of the connection in whatever way.
    pub async fn sees_its_end(&mut self) {
        while !self.text().contains(" 403 ") && matches!(self.fill().await, Ok(1..)) {}
    }

    pub fn reset(self) {
        self.io.set_zero_linger().unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }
}

/// A server that hands its connections to the test.
pub struct Origin {
    pub address: SocketAddr,
    accepted: tokio::sync::Mutex<tokio::sync::mpsc::UnboundedReceiver<TcpStream>>,
    count: Arc<AtomicUsize>,
}

impl Origin {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, accepted) = tokio::sync::mpsc::unbounded_channel();
        let count = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counting.fetch_add(1, Ordering::SeqCst);
                if sender.send(stream).is_err() {
                    return;
                }
            }
        });
        Self {
            address,
            accepted: tokio::sync::Mutex::new(accepted),
            count,
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> Talker {
        let accepted = async { self.accepted.lock().await.recv().await };
        let stream = tokio::time::timeout(PATIENCE, accepted)
            .await
            .expect("a connection");
        Talker::over(stream.unwrap())
    }

    /// How many connections came in by now.
    pub fn connections(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}
