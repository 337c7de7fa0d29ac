//! The compatibility matrix: clients that people really use, unchanged, under `bailiwick run`.
//!
//! A cell is one run. It holds when the client itself succeeded, its origin saw it, and the gateway's
//! events attribute it by its token to that run of that plugin. For a client that is known to ignore its
//! environment it holds when the client reached its origin and the gateway saw nothing: only the
//! network around a plugin closes that gap, so the matrix names it.

mod clients;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Origin, Peer, Plugin, Run, Scenario, World, run, wait_until, workspace};
use serde_json::Value;

use crate::clients::repository;
use clients::{CLIENTS, Client};
use table::{Outcome, Row};

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "clients_are_attributed_or_known_to_bypass",
    needs: &[Peer::AnyClient],
    run: matrix,
}];

const SECURE: &str = "secure.matrix.example";
const PLAIN: &str = "plain.matrix.example";

/// Two cores keep this many clients busy; most of them wait for most of their time.
const AT_ONCE: usize = 4;

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

    const fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Socks | Self::Wss)
    }

    const fn is_loopback(self) -> bool {
        matches!(self, Self::Loopback | Self::WsLoopback)
    }

    const fn scheme(self) -> &'static str {
        match self {
            Self::Http | Self::Loopback => "http",
            Self::Https | Self::Socks => "https",
            Self::Ws | Self::WsLoopback => "ws",
            Self::Wss => "wss",
        }
    }
}

/// One client, asked for one column.
struct Cell<'s> {
    stage: &'s Stage,
    client: &'static Client,
    plugin: Plugin,
    column: Column,
    expected: Outcome,
}

/// What is known of a client that is there.
struct Found {
    version: String,
    learnt: bool,
}

fn matrix() -> Result<()> {
    let stage = Stage::new()?;
    let found = at_once(CLIENTS, |client| stage.find(client));
    let (mut rows, mut cells) = (Vec::new(), Vec::new());
    for (client, found) in CLIENTS.iter().zip(found) {
        let found = found?;
        if let Some(found) = &found {
            cells.extend(stage.cells(client, found.learnt)?);
        }
        rows.push(Row {
            client,
            version: found.map(|found| found.version),
            cells: Vec::new(),
        });
    }
    let runs = at_once(&cells, Cell::run);
    let events = stage.settled_events()?;
    let (mut wrong, mut proxied) = (Vec::new(), Vec::new());
    for (cell, run) in cells.iter().zip(runs) {
        let judged = run.and_then(|run| cell.judge(&run, &events));
        let outcome = if judged.is_ok() {
            cell.expected
        } else {
            Outcome::Wrong
        };
        for row in &mut rows {
            if row.client.id == cell.client.id {
                row.cells.push((cell.column, outcome));
            }
        }
        match judged {
            Ok(id) if cell.is_proxied() => proxied.push(id),
            Ok(_) => {}
            Err(why) => wrong.push(format!("{}: {why:#}", cell.marker())),
        }
    }
    table::print(&rows);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Nothing went through on nobody's account, least of all what should have bypassed.
    for event in events.iter().filter(|event| event["kind"] == "open") {
        let run = event["run_id"].as_str().unwrap_or_default();
        assert!(proxied.iter().any(|id| id == run), "{event:#}");
    }
    Ok(())
}

/// Does `work` on every item, a few at a time; answers are in the order of the items.
fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((index, item)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    items.get(index).map(|item| (index, item))
                } {
                    let answer = work(item);
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((index, answer));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, answer)| answer).collect()
}

/// The internet of the matrix: one origin in TLS, one in clear, both serving the same files.
struct Stage {
    world: World,
    secure: Origin,
    plain: Origin,
}

impl Stage {
    fn new() -> Result<Self> {
        let mut world = World::new()?;
        let www = world.path("www");
        serve_files(&world, &www)?;
        let secure = Origin::files(world.authority(), &[SECURE], &www)?;
        let plain = Origin::plain_files(&[PLAIN], &www)?;
        world.configure(|config| {
            let gateway = config["gateway"].as_table_mut().context("[gateway]")?;
            let lead = |name: &str, origin: &Origin| {
                let addresses: toml::Value = vec![origin.address().to_string()].into();
                (name.to_owned(), addresses)
            };
            let hosts: toml::Table = [lead(SECURE, &secure), lead(PLAIN, &plain)].into_iter().collect();
            let mut resolver = toml::Table::new();
            resolver.insert("hosts".into(), hosts.into());
            gateway.insert("resolver".into(), resolver.into());
            Ok(())
        })?;
        for folder in ["built", "cells"] {
            std::fs::create_dir(world.path(folder))?;
        }
        world.serve()?;
        Ok(Self { world, secure, plain })
    }

    /// What command lines may refer to.
    fn tell(&self, command: &mut Command) {
        let python = Peer::folder().join("venv/bin/python");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        command
            .env("BUILT", self.world.path("built"))
            .env("CLIENTS", workspace().join("tests/clients"))
            .env("PYTHON", python)
            .env("WHEELS", Peer::folder().join("wheels"))
            .env("NODE_PATH", Peer::folder().join("node/node_modules"))
            .env("CARGO", cargo);
    }

    fn sh(&self, line: &str) -> Result<Run> {
        let mut command = Command::new("sh");
        self.world.prepare_client(&mut command);
        self.tell(&mut command);
        run(command.args(["-c", line]))
    }

    /// Looks for a client, and builds what it needs.
    fn find(&self, client: &Client) -> Result<Option<Found>> {
        let said = self.sh(client.version)?;
        if said.status != Some(0) {
            return Ok(None);
        }
        if let Some(build) = client.build {
            self.sh(build)?.expect(0)?;
        }
        let learnt = match client.learnt {
            Some(line) => self.sh(line)?.status == Some(0),
            None => false,
        };
        let version = version(&said.text())
            .with_context(|| format!("{} says no version: {}", client.name, said.text()))?;
        Ok(Some(Found { version, learnt }))
    }

    /// Makes a client the plugin that it stands for, with a file to fetch and a folder for each cell.
    fn cells(&self, client: &'static Client, learnt: bool) -> Result<Vec<Cell<'_>>> {
        let plugin = self
            .world
            .plugin(&format!("client.{}", client.id))
            .declares(&[SECURE, &format!("http://{PLAIN}")])
            .admit("high")?;
        let bypasses = if learnt {
            Outcome::Through
        } else {
            Outcome::Bypasses
        };
        let expected = [
            (client.through, Outcome::Through),
            (client.leaks, Outcome::Leaks),
            (client.bypasses, bypasses),
            (client.fails, Outcome::Fails),
        ];
        let expected = expected
            .iter()
            .flat_map(|(columns, outcome)| columns.iter().map(|column| (*column, *outcome)));
        let mut cells = Vec::new();
        for (column, expected) in expected {
            let cell = Cell {
                stage: self,
                client,
                plugin: plugin.clone(),
                column,
                expected,
            };
            std::fs::create_dir(cell.folder())?;
            let served = self.world.path("www").join(cell.marker());
            match client.serves {
                Some(folder) => std::os::unix::fs::symlink(folder, served)?,
                None => std::fs::write(served, "rain\n")?,
            }
            cells.push(cell);
        }
        Ok(cells)
    }

    /// All events, once every connection's last has come: it comes after the client has gone.
    fn settled_events(&self) -> Result<Vec<Value>> {
        let ids = |events: &[Value], kind: &str| -> Vec<String> {
            let of_kind = events.iter().filter(|event| event["kind"] == kind);
            of_kind.map(|event| event["connection_id"].to_string()).collect()
        };
        wait_until("the last event of every connection", || {
            let events = self.world.events().unwrap_or_default();
            let closed = ids(&events, "close");
            ids(&events, "open").iter().all(|id| closed.contains(id))
        })?;
        self.world.events()
    }
}

impl Cell<'_> {
    fn marker(&self) -> String {
        format!("{}-{}", self.client.id, self.column.title())
    }

    fn folder(&self) -> PathBuf {
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

    fn run(&self) -> Result<Run> {
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
        let mut command = self.stage.world.plugin_command(&self.plugin, ["sh", "-c", &line]);
        self.stage.tell(&mut command);
        run(command
            .current_dir(self.folder())
            .env("HOME", self.folder())
            .env("URL", self.url()))
    }

    const fn is_proxied(&self) -> bool {
        matches!(self.expected, Outcome::Through | Outcome::Leaks)
    }

    /// Judges the cell by what client, origin and gateway say, and returns the run's id.
    fn judge(&self, run: &Run, events: &[Value]) -> Result<String> {
        let id = std::fs::read_to_string(self.folder().join("run-id"))?;
        let id = id.trim().to_owned();
        let marker = self.marker();
        let seen = self.origin().seen();
        let seen = seen
            .iter()
            .find(|seen| seen.path.split('/').any(|part| part == marker));
        let of_run: Vec<_> = events.iter().filter(|event| event["run_id"] == id).collect();
        if self.expected == Outcome::Fails {
            ensure!(run.status != Some(0), "known to fail, but it succeeded");
            ensure!(seen.is_none(), "the client failed, but its origin saw it");
            ensure!(of_run.is_empty(), "nobody was identified, but: {of_run:#?}");
            return Ok(id);
        }
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
                && event["attribution"] == "token"
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

/// The first thing in `said` that looks like a version: `v20.20.2`, `go1.19.8`, `2.47`.
fn version(said: &str) -> Option<String> {
    said.split_whitespace()
        .map(|word| word.trim_matches(|letter: char| !letter.is_ascii_digit()))
        .find(|word| word.contains('.'))
        .map(str::to_owned)
}

/// A repository to clone, and for each package manager an index with one package.
fn serve_files(world: &World, www: &Path) -> Result<()> {
    repository(world, &www.join("git"))?;
    let put = |path: &str, text: &[u8]| {
        let path = www.join(path);
        std::fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
        std::fs::write(path, text).context("writing what origins serve")
    };
    if let Ok(wheel) = Peer::OpenaiWheel.find() {
        let name = wheel.file_name().unwrap_or_default().to_string_lossy();
        let link = format!("<a href=\"{name}\">{name}</a>\n");
        put("pip/simple/openai/index.html", link.as_bytes())?;
        put(&format!("pip/simple/openai/{name}"), &std::fs::read(&wheel)?)?;
    }
    put(
        "npm/forecast",
        br#"{"name": "forecast", "dist-tags": {"latest": "1.0.0"},
             "versions": {"1.0.0": {"name": "forecast", "version": "1.0.0", "dist": {}}}}"#,
    )?;
    put("cargo/config.json", br#"{"dl": "https://crates.matrix.example"}"#)?;
    let index = format!(
        r#"{{"name": "forecast", "vers": "1.0.0", "deps": [], "cksum": "{}", "features": {{}}, "yanked": false}}"#,
        "0".repeat(64)
    );
    put("cargo/fo/re/forecast", index.as_bytes())
}
