//! Witnesses of a site's log: the product's own in a process of its own, and one that nobody here wrote.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::peer::search_path;
use crate::process::run;
use crate::server::http_get;
use crate::wait::{wait_for, wait_until};
use crate::world::free_port;
use crate::{Server, World};

/// `bailiwick witness`, watching the log of a world.
pub struct WitnessServer {
    server: Server,
    address: SocketAddr,
    state: PathBuf,
}

impl WitnessServer {
    /// Starts a witness called `name`, which keeps its key and its memory in the world's folder, so that
    /// the next one of this name is the same witness.
    ///
    /// # Errors
    /// With everything it printed, when it does not become ready.
    pub fn start(world: &World, name: &str) -> Result<Self> {
        Self::start_at(world, name, free_port()?)
    }

    /// As [`WitnessServer::start`], at a given address.
    ///
    /// # Errors
    /// As [`WitnessServer::start`].
    pub fn start_at(world: &World, name: &str, address: SocketAddr) -> Result<Self> {
        let mut command = Self::command(world, name, address)?;
        let server = Server::start(&mut command, address, world.path(&format!("{name}.log")))?;
        Ok(Self {
            server,
            address,
            state: Self::state_of(world, name),
        })
    }

    /// The command line of such a witness.
    ///
    /// # Errors
    /// When its key cannot be made.
    pub fn command(world: &World, name: &str, address: SocketAddr) -> Result<Command> {
        let key = world.path(&format!("{name}.pem"));
        if !key.exists() {
            world.ok(["key".as_ref(), "new".as_ref(), key.as_os_str()])?;
        }
        let mut command = world.command(["witness", "--name", name, "--log", &world.log_vkey()?]);
        command.args(["--listen", &address.to_string()]);
        command.arg("--key").arg(key);
        command.arg("--state").arg(Self::state_of(world, name));
        Ok(command)
    }

    fn state_of(world: &World, name: &str) -> PathBuf {
        world.path(&format!("{name}-memory"))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL and its key, as a configuration names it.
    ///
    /// # Errors
    /// When it has not written its key down.
    pub fn named(&self) -> Result<(String, String)> {
        let vkey = std::fs::read_to_string(self.state.join("witness.vkey"))?;
        Ok((format!("http://{}", self.address), vkey.trim().to_owned()))
    }

    /// The file in which it keeps the newest checkpoint of the gateway's log.
    pub fn kept(&self) -> PathBuf {
        let mut kept: Vec<_> = std::fs::read_dir(&self.state)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "checkpoint"))
            .collect();
        kept.pop().unwrap_or_else(|| self.state.join("none"))
    }

    /// Everything it printed so far.
    pub fn printed(&self) -> String {
        self.server.printed()
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// When it hangs or complains.
    pub fn stop(self) -> Result<()> {
        let status = self.server.stop()?;
        ensure!(status.success(), "bailiwick witness stopped with {status}");
        Ok(())
    }

    /// Kills it as a power cut would.
    ///
    /// # Errors
    /// When it cannot be reaped.
    pub fn kill(self) -> Result<()> {
        self.server.kill()
    }
}

/// Torchwood's `litewitness`, watching the log of a world, with its key in an agent.
pub struct Litewitness {
    // Dropped in order: the witness before its agent.
    _witness: Reaped,
    _agent: Reaped,
    address: SocketAddr,
    vkey: String,
}

/// A child that is killed and reaped when it goes out of sight.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Litewitness {
    /// Starts it. Call only in a scenario that declares the need.
    ///
    /// # Errors
    /// With what it printed, when it does not become ready.
    pub fn start(world: &World, name: &str) -> Result<Self> {
        let folder = world.path("litewitness");
        std::fs::create_dir(&folder)?;
        let tool = |tool: &str| {
            let mut command = Command::new(tool);
            command.env("PATH", search_path()).current_dir(&folder);
            command
        };
        run(tool("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", "key"]))?.expect(0)?;
        let socket = folder.join("agent");
        let agent = Reaped(
            tool("ssh-agent")
                .args(["-D", "-a"])
                .arg(&socket)
                .stdout(Stdio::null())
                .spawn()?,
        );
        wait_until("the agent to listen", || socket.exists())?;
        run(tool("ssh-add").arg("key").env("SSH_AUTH_SOCK", &socket))?.expect(0)?;
        let printed = run(tool("ssh-keygen").args(["-lf", "key.pub"]))?
            .expect(0)?
            .text();
        let fingerprint = printed.split(' ').nth(1).context("a fingerprint")?.to_owned();
        let vkey = world.log_vkey()?;
        let origin = vkey.split('+').next().context("a name")?;
        run(tool("witnessctl").args(["add-log", "-db", "db", "-origin", origin]))?.expect(0)?;
        run(tool("witnessctl").args(["add-key", "-db", "db", "-origin", origin, "-key", &vkey]))?
            .expect(0)?;
        let (address, log) = (free_port()?, folder.join("log"));
        let witness = Reaped(
            tool("litewitness")
                .args(["-db", "db", "-name", name, "-key", &fingerprint])
                .args(["-ssh-agent", "agent", "-listen", &address.to_string()])
                .stdout(Stdio::null())
                .stderr(File::create(&log)?)
                .spawn()?,
        );
        wait_until("litewitness to listen", || http_get(address, "/").is_ok())?;
        let own = wait_for("litewitness to print its key", || printed_key(&log))?;
        Ok(Self {
            _witness: witness,
            _agent: agent,
            address,
            vkey: own,
        })
    }

    /// Its URL and its key, as a configuration names it.
    pub fn named(&self) -> (String, String) {
        (format!("http://{}", self.address), self.vkey.clone())
    }
}

fn printed_key(log: &Path) -> Option<String> {
    let printed = std::fs::read_to_string(log).ok()?;
    let (_, after) = printed.split_once("vkey=")?;
    let key = after.split_whitespace().next()?;
    Some(key.trim_matches('"').to_owned())
}

/// The key of a witness called `name` in the form that configurations take, from its public key in PEM.
///
/// # Errors
/// When the PEM is not that of an Ed25519 key.
pub fn witness_vkey(name: &str, public: &Path) -> Result<String> {
    let pem = std::fs::read_to_string(public)?;
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(body)?;
    // RFC 8410: the key is the last 32 bytes.
    let raw = der.last_chunk::<32>().context("an Ed25519 key")?;
    let typed = [&[4], raw.as_slice()].concat();
    let id = Sha256::new()
        .chain_update(name)
        .chain_update(b"\n")
        .chain_update(&typed)
        .finalize();
    Ok(format!(
        "{name}+{}+{}",
        hex::encode(&id[..4]),
        STANDARD.encode(typed)
    ))
}
