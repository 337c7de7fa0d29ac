//! `bailiwick serve` as a child process: ready when it says so, ended by its id, always reaped.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::process;
use crate::wait::{DEADLINE, wait_for};

/// How long an orderly stop may take before it counts as hanging.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A running server.
pub struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` and waits until `admin` answers `/readyz` with 200. Everything it prints goes
    /// to `log`.
    pub(crate) fn start(command: &mut Command, admin: SocketAddr, log: PathBuf) -> Result<Self> {
        Self::start_with(command, Stdio::null(), admin, log)
    }

    /// The same, with something as its standard input.
    pub(crate) fn start_with(
        command: &mut Command,
        input: Stdio,
        admin: SocketAddr,
        log: PathBuf,
    ) -> Result<Self> {
        let mut server = Self::spawn(command, input, log)?;
        server.wait_until(|_| is_ready(admin))?;
        Ok(server)
    }

    /// Starts `command` and waits for nothing. Everything it prints goes to `log`.
    pub(crate) fn spawn(command: &mut Command, input: Stdio, log: PathBuf) -> Result<Self> {
        let output = File::options().create(true).append(true).open(&log);
        let output = output.with_context(|| format!("opening {}", log.display()))?;
        let child = command
            .stdin(input)
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("starting bailiwick serve")?;
        Ok(Self { child, log })
    }

    /// Waits until it serves, as far as it says so itself.
    ///
    /// # Errors
    /// With everything it printed, when it ends instead.
    pub fn serves(&mut self) -> Result<()> {
        self.wait_until(|server| server.printed().contains("admin    http://"))
    }

    fn wait_until(&mut self, is_there: impl Fn(&Self) -> bool) -> Result<()> {
        wait_for("bailiwick serve to be ready", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Err(status));
            }
            is_there(self).then_some(Ok(()))
        })?
        .map_err(|status| anyhow::anyhow!("bailiwick serve ended at once ({status}):\n{}", self.printed()))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it as a power cut would, and does not wait for that.
    pub fn strike(&self) {
        self.signal(Signal::KILL);
    }

    /// Keeps it from running until [`Self::thaw`].
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it run on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to start its successor.
    pub fn succeed(&self) {
        self.signal(Signal::USR2);
    }

    /// Everything it printed so far.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    /// When it does not stop in time; it is killed then.
    pub fn stop(self) -> Result<ExitStatus> {
        self.terminate();
        self.ended()
    }

    /// Asks it to stop, and does not wait for that.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Asks it to read its configuration again.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Waits until it has stopped, as it was asked to.
    ///
    /// # Errors
    /// When it does not stop in time; it is killed then.
    pub fn ended(mut self) -> Result<ExitStatus> {
        match process::wait(&mut self.child, STOP_LIMIT) {
            Some(status) => Ok(status),
            None => bail!("bailiwick serve did not stop within {}s", STOP_LIMIT.as_secs()),
        }
    }

    /// The same, with everything it printed.
    ///
    /// # Errors
    /// As there.
    pub fn ended_with(self) -> Result<(ExitStatus, String)> {
        let log = self.log.clone();
        let status = self.ended()?;
        Ok((status, std::fs::read_to_string(log).unwrap_or_default()))
    }

    /// Kills it as a power cut would, and reaps it.
    ///
    /// # Errors
    /// When it cannot be reaped.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        process::wait(&mut self.child, DEADLINE).context("a killed process was not reaped")?;
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // Gone already is as good.
            let _ = kill_process(id, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            if process::wait(&mut self.child, STOP_LIMIT).is_none() {
                let _ = self.child.kill();
            }
        }
        let _ = self.child.wait();
    }
}

fn is_ready(admin: SocketAddr) -> bool {
    http_get(admin, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// One plain GET, whole answer. Nothing cleverer: what asks the product should not depend on it.
pub(crate) fn http_get(address: SocketAddr, path: &str) -> Result<String> {
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
