//! A cell of the matrix: one client, asked for one column, and what three sides say about it.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Origin, Plugin, Run, run};
use serde_json::Value;

use super::clients::Client;
use super::stage::{PLAIN, SECURE, Stage};
use super::table::Outcome;

/// How a client is asked to reach its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Http,
    Https,
    /// `https://`, and `ALL_PROXY` alone, which names the gateway as a SOCKS5 proxy that resolves names.
    Socks,
    Ws,
    Wss,
    /// `http://127.0.0.1:PORT`: the one address at which a client that bypasses the gateway succeeds
    /// here. That others go through the gateway even there shows that it is the client's doing.
    Loopback,
    /// `ws://127.0.0.1:PORT`.
    WsLoopback,
}

impl Column {
    pub const fn title(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks => "socks5h",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Loopback => "loopback",
            Self::WsLoopback => "ws-loop",
        }
    }

    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Socks | Self::Wss)
    }

    pub const fn is_loopback(self) -> bool {
        matches!(self, Self::Loopback | Self::WsLoopback)
    }

    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Http | Self::Loopback => "http",
            Self::Https | Self::Socks => "https",
            Self::Ws | Self::WsLoopback => "ws",
            Self::Wss => "wss",
        }
    }
}

/// One client, asked for one column.
pub struct Cell<'s> {
    pub stage: &'s Stage,
    pub client: &'static Client,
    pub plugin: Plugin,
    pub column: Column,
    pub expected: Outcome,
}

impl Cell<'_> {
    pub fn marker(&self) -> String {
        format!("{}-{}", self.client.id, self.column.title())
    }

    pub fn folder(&self) -> PathBuf {
        self.stage.world.path("cells").join(self.marker())
    }

    fn origin(&self) -> &Origin {
        if self.column.is_tls() {
            &self.stage.secure
        } else {
            &self.stage.plain
        }
    }

    /// Where the client believes its origin to be.
    fn destination(&self) -> (&'static str, u16) {
        match self.column {
            column if column.is_loopback() => ("127.0.0.1", self.stage.plain.address().port()),
            column if column.is_tls() => (SECURE, 443),
            _ => (PLAIN, 80),
        }
    }

    fn url(&self) -> String {
        let (scheme, marker) = (self.column.scheme(), self.marker());
        match self.destination() {
            (host, 80 | 443) => format!("{scheme}://{host}/{marker}"),
            (host, port) => format!("{scheme}://{host}:{port}/{marker}"),
        }
    }

    pub fn run(&self) -> Result<Run> {
        let steer = if self.column == Column::Socks {
            "ALL_PROXY=socks5h${ALL_PROXY#http} all_proxy=$ALL_PROXY
            unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy"
        } else {
            ""
        };
        let line = format!(
            "echo \"$BAILIWICK_RUN_ID\" >run-id\n{steer}\n{}",
            self.client.line
        );
        let mut command = self.stage.world.command(["run", "--artifact"]);
        command
            .arg(&self.plugin.artifact)
            .args(self.client.way.options())
            .args(["--", "sh", "-c", &line]);
        self.stage.tell(&mut command);
        run(command
            .current_dir(self.folder())
            .env("HOME", self.folder())
            .env("URL", self.url()))
    }

    pub const fn is_proxied(&self) -> bool {
        matches!(self.expected, Outcome::Through | Outcome::Leaks)
    }

    /// Judges the cell by what client, origin and gateway say, and returns the run's id.
    pub fn judge(&self, run: &Run, events: &[Value]) -> Result<String> {
        let id = std::fs::read_to_string(self.folder().join("run-id"))?;
        let id = id.trim().to_owned();
        let marker = self.marker();
        let seen = self.origin().seen();
        let seen = seen
            .iter()
            .find(|seen| seen.path.split('/').any(|part| part == marker));
        let of_run: Vec<_> = events.iter().filter(|event| event["run_id"] == id).collect();
        run.clone().expect(0)?;
        let seen = seen.context("the client is content, but its origin never saw it")?;
        ensure!(
            seen.header("proxy-authorization").is_some() == (self.expected == Outcome::Leaks),
            "whether the origin is shown the credentials is not as it was: {:?}",
            seen.headers
        );
        if self.expected == Outcome::Bypasses {
            ensure!(of_run.is_empty(), "known to bypass, but seen: {of_run:#?}");
            return Ok(id);
        }
        self.attributed(&of_run)?;
        Ok(id)
    }

    /// The gateway knows who this was and where it went.
    fn attributed(&self, of_run: &[&Value]) -> Result<()> {
        let (host, port) = self.destination();
        for event in of_run {
            let right = event["plugin_id"] == self.plugin.id
                && event["artifact_digest"] == self.plugin.digest
                && event["attribution"] == self.client.way.attribution()
                && event["decision"] == "allow"
                && event["destination_host"] == host
                && event["port"] == port;
            ensure!(right, "told wrongly: {event:#}");
        }
        let scheme = if self.column.is_tls() { "tls" } else { "http" };
        let told = |event: &&Value| event["kind"] == "close" && event["scheme"] == scheme;
        ensure!(
            of_run.iter().any(told),
            "no close event in scheme {scheme}: {of_run:#?}"
        );
        Ok(())
    }
}
