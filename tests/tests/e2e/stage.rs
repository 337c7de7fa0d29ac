//! What adversarial scenarios start from: a running site, one plugin with a live run, and one server
//! behind every name, which a test can ask whether anybody came.

use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Answer, Plugin, RawClient, RawServer, World, wait_until};
use serde_json::Value;

use crate::tokens::LiveRun;

/// Fields are dropped in order: a run ends while its server still runs.
pub struct Stage {
    pub run: LiveRun,
    pub plugin: Plugin,
    pub server: RawServer,
    pub world: World,
}

impl Stage {
    /// A site where `names` lead to one server, and a plugin in tier `high` that declares `egress`.
    pub fn new(names: &[&str], egress: &[&str]) -> Result<Self> {
        Self::prepared(egress, |world, server| {
            world.lead(names, &[server.address().to_string()])
        })
    }

    /// A site that `prepare` configures before it is served.
    pub fn prepared(
        egress: &[&str],
        prepare: impl FnOnce(&mut World, &RawServer) -> Result<()>,
    ) -> Result<Self> {
        let mut world = World::new()?;
        let server = RawServer::start()?;
        prepare(&mut world, &server)?;
        world.serve()?;
        let plugin = world.plugin("acme.weather").declares(egress).admit("high")?;
        let run = LiveRun::start(&world, &plugin, &[])?;
        Ok(Self {
            run,
            plugin,
            server,
            world,
        })
    }

    /// A connection to the gateway.
    pub fn client(&self) -> Result<RawClient> {
        let client = RawClient::connect(self.world.gateway()?)?;
        client.socket().set_nodelay(true)?;
        Ok(client)
    }

    /// The answer to `CONNECT` with a target of any bytes, by the run of this stage.
    pub fn connect(&self, target: impl AsRef<[u8]>) -> Result<Answer> {
        let mut client = self.client()?;
        self.send_connect(&mut client, target)?;
        client.answer()
    }

    /// `CONNECT`, without waiting for the answer.
    pub fn send_connect(&self, client: &mut RawClient, target: impl AsRef<[u8]>) -> Result<()> {
        let credentials = self.run.credentials.header();
        let head = format!(" HTTP/1.1\r\n{credentials}\r\n");
        client.send(&[b"CONNECT ", target.as_ref(), head.as_bytes()].concat())
    }

    /// The answer to a request: `line` without its version, `fields` each with its line end.
    pub fn request(&self, line: &str, fields: &str) -> Result<Answer> {
        let mut client = self.client()?;
        self.send_request(&mut client, line, fields)?;
        client.answer()
    }

    /// A request, without waiting for the answer.
    pub fn send_request(&self, client: &mut RawClient, line: &str, fields: &str) -> Result<()> {
        let credentials = self.run.credentials.header();
        client.send(format!("{line} HTTP/1.1\r\n{fields}{credentials}\r\n").as_bytes())
    }

    /// A tunnel, and its other end.
    pub fn tunnel(&self, target: &str) -> Result<(RawClient, TcpStream)> {
        let mut client = self.client()?;
        self.send_connect(&mut client, target)?;
        let answer = client.answer()?;
        ensure!(answer.status == 200, "{target}: {answer:?}");
        Ok((client, self.server.accept()?))
    }

    /// Every event of one kind, in order; that of their connections where they end one, because two
    /// that end at once may do so in any order.
    pub fn events(&self, kind: &str) -> Result<Vec<Value>> {
        let mut events = self.world.events()?;
        if kind == "close" {
            let opened: Vec<_> = events
                .iter()
                .filter(|event| event["kind"] == "open")
                .map(|event| event["connection_id"].clone())
                .collect();
            events.sort_by_key(|event| opened.iter().position(|id| *id == event["connection_id"]));
        }
        events.retain(|event| event["kind"] == kind);
        Ok(events)
    }

    /// Waits for `count` events of one kind, and gives all of that kind.
    pub fn wait_for(&self, kind: &str, count: usize) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        wait_until(&format!("{count} {kind} events"), || {
            found = self.events(kind).unwrap_or_default();
            found.len() >= count
        })?;
        Ok(found)
    }

    /// Whether the process is alive, and does what it should for those who ask properly.
    pub fn is_well(&self, target: &str) -> Result<()> {
        let health = self.world.admin_page("/healthz")?;
        ensure!(health.starts_with("HTTP/1.1 200"), "{health}");
        let (mut client, mut server) = self.tunnel(target)?;
        client.send(b"ping")?;
        ensure!(exactly(&mut server, 4)? == b"ping");
        server.write_all(b"pong")?;
        ensure!(client.exactly(4)? == b"pong");
        Ok(())
    }

    /// What an audit now reports on the plugin's artifact, as people read it, on one line.
    pub fn report(&self) -> Result<String> {
        let audit = self.world.cli(["audit"])?.json()?;
        let report = crate::story::artifact_report(&audit, &self.plugin)?;
        let path = report["text"].as_str().context("the report's text")?;
        let text = std::fs::read_to_string(path)?;
        Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// The findings of an audit now: reason and `host:port`.
    pub fn findings(&self) -> Result<Vec<(String, String)>> {
        let audit = self.world.cli(["audit", "--dry-run"])?.json()?;
        let report = crate::story::artifact_report(&audit, &self.plugin)?;
        let mut findings: Vec<_> = crate::story::findings(report)
            .into_iter()
            .map(|(reason, host, port)| (reason, format!("{host}:{port}")))
            .collect();
        findings.sort();
        Ok(findings)
    }
}

/// Exactly so many bytes.
pub fn exactly(stream: &mut TcpStream, count: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).context("reading at the server")?;
    Ok(bytes)
}

/// A head, with the empty line that ends it.
pub fn head(stream: &mut TcpStream) -> Result<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.extend(exactly(stream, 1)?);
    }
    Ok(String::from_utf8(bytes)?)
}

/// Whether the other side ended the connection; how does not matter.
pub fn has_ended(stream: &mut impl Read) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Ends a connection with a reset.
pub fn reset(stream: &TcpStream) -> Result<()> {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    Ok(())
}
