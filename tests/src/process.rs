//! Child processes that end: run to completion within a deadline, with all they printed.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// A command that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(180);

/// What a finished command left behind.
#[derive(Clone, Debug)]
pub struct Run {
    /// The command line, for messages.
    pub command: String,
    /// Exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error, as text.
    pub stderr: String,
}

/// Runs `command` without standard input until it ends.
///
/// # Errors
/// When it cannot be started or does not end in time (it is killed and reaped then).
pub fn run(command: &mut Command) -> Result<Run> {
    let line = describe(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {line}"))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = wait(&mut child, LIMIT);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let gather = |reader: thread::JoinHandle<Vec<u8>>| reader.join().unwrap_or_default();
    let (stdout, stderr) = (
        gather(stdout),
        String::from_utf8_lossy(&gather(stderr)).into_owned(),
    );
    match status {
        Some(status) => Ok(Run {
            command: line,
            status: status.code(),
            stdout,
            stderr,
        }),
        None => bail!("{line} did not end within {}s\n{stderr}", LIMIT.as_secs()),
    }
}

/// Waits for a child at most `limit`; `None` when it still runs then.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if started.elapsed() < limit => thread::sleep(Duration::from_millis(5)),
            _ => return None,
        }
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

impl Run {
    /// Passes the run on if its exit status is `status`.
    ///
    /// # Errors
    /// With everything the command printed, otherwise.
    pub fn expect(self, status: i32) -> Result<Self> {
        ensure!(
            self.status == Some(status),
            "{}\n  exit status {:?}, expected {status}\n  stdout: {}\n  stderr: {}",
            self.command,
            self.status,
            self.text(),
            self.stderr
        );
        Ok(self)
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as one JSON document.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.stdout).with_context(|| {
            format!(
                "{} printed no JSON document\n  stdout: {}\n  stderr: {}",
                self.command,
                self.text(),
                self.stderr
            )
        })
    }

    /// The one line that says what went wrong.
    ///
    /// # Errors
    /// When there is none, or more than one line beside it.
    pub fn error_line(&self) -> Result<&str> {
        let lines: Vec<&str> = self
            .stderr
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        match lines[..] {
            [line] if line.starts_with("error: ") => Ok(line),
            _ => bail!(
                "{}: standard error is not one line starting \"error: \":\n{}",
                self.command,
                self.stderr
            ),
        }
    }
}
