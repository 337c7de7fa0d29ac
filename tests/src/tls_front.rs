//! TLS in front of a server that speaks none, as an operator's reverse proxy would stand there.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result};

use crate::{Peer, World, workspace};

/// A process that speaks TLS for another; ended when dropped.
pub struct TlsFront {
    child: Child,
    address: SocketAddr,
}

impl TlsFront {
    /// Puts TLS before `behind`, with a certificate of the world's authority. Needs [`Peer::Python`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(world: &World, behind: SocketAddr) -> Result<Self> {
        let (certificate, key) = world.authority().pem_pair(&["127.0.0.1"])?;
        let paths = ["crt", "key"].map(|kind| world.path(&format!("front-{}.{kind}", behind.port())));
        std::fs::write(&paths[0], certificate)?;
        std::fs::write(&paths[1], key)?;
        let mut child = Peer::Python
            .command()
            .arg(workspace().join("tests/python/tls_front.py"))
            .args(&paths)
            .arg(behind.port().to_string())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("it prints its port")?;
        let mut front = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let mut port = String::new();
        BufReader::new(stdout).read_line(&mut port)?;
        front
            .address
            .set_port(port.trim().parse().context("it prints its port")?);
        Ok(front)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
