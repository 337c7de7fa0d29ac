//! The stage of the matrix: two origins, the files that they serve, and the clients that are there.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use bailiwick_tests::{Origin, Peer, Run, World, run, wait_until, workspace};
use serde_json::Value;

use super::cell::Cell;
use super::clients::Client;
use super::table::Outcome;
use crate::clients::repository;

/// Where TLS is spoken.
pub const SECURE: &str = "secure.matrix.example";
/// Where it is not.
pub const PLAIN: &str = "plain.matrix.example";

/// What is known of a client that is there.
pub struct Found {
    pub version: String,
    /// Whether this version asks its environment, though earlier ones did not.
    pub learnt: bool,
}

/// The internet of the matrix: one origin in TLS, one in clear, both serving the same files.
pub struct Stage {
    pub world: World,
    pub secure: Origin,
    pub plain: Origin,
}

impl Stage {
    pub fn new() -> Result<Self> {
        let mut world = World::new()?;
        let www = world.path("www");
        serve_files(&world, &www)?;
        let secure = Origin::files(world.authority(), &[SECURE], &www)?;
        let plain = Origin::plain_files(&[PLAIN], &www)?;
        world.lead(&[SECURE], &[secure.address().to_string()])?;
        world.lead(&[PLAIN], &[plain.address().to_string()])?;
        for folder in ["built", "cells"] {
            std::fs::create_dir(world.path(folder))?;
        }
        crate::tls::listen(&world, "tls://127.0.0.1:0", "optional")?;
        world.serve()?;
        Ok(Self { world, secure, plain })
    }

    /// What command lines may refer to.
    pub fn tell(&self, command: &mut Command) {
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
    pub fn find(&self, client: &Client) -> Result<Option<Found>> {
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
    pub fn cells(&self, client: &'static Client, learnt: bool) -> Result<Vec<Cell<'_>>> {
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
    pub fn settled_events(&self) -> Result<Vec<Value>> {
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

/// The first thing in `said` that looks like a version: `v20.20.2`, `go1.19.8`, `2.47`.
fn version(said: &str) -> Option<String> {
    said.split_whitespace()
        .map(|word| word.trim_matches(|letter: char| !letter.is_ascii_digit()))
        .find(|word| word.contains('.'))
        .map(str::to_owned)
}

/// A repository to clone, and for each package manager an index with one package.
fn serve_files(world: &World, www: &Path) -> Result<()> {
    if Peer::Git.find().is_ok() {
        repository(world, &www.join("git"))?;
    }
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
