//! A mail server that keeps what it gets: aiosmtpd where it is installed, else a receiver of our own.
//!
//! The first is software that nobody here wrote, so it is preferred; which of the two took a message
//! makes no difference to a test.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result};

use crate::binary::workspace;
use crate::peer::Peer;

/// One message as it came.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The sender of the envelope.
    pub from: String,
    /// The recipients of the envelope.
    pub to: Vec<String>,
    /// Headers and body as sent.
    pub message: String,
}

impl Mail {
    /// A header's value, unfolded.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.message.replace("\r\n", "\n");
        let head = head
            .split("\n\n")
            .next()?
            .replace("\n ", " ")
            .replace("\n\t", " ");
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// A running mail server; dropping it ends it.
pub struct MailSink {
    folder: PathBuf,
    address: SocketAddr,
    server: Backend,
}

enum Backend {
    Aiosmtpd(Child),
    Own(Arc<AtomicBool>),
}

impl MailSink {
    /// Starts a server on `address` (port 0 for a free one) that keeps its messages in `folder`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(folder: PathBuf, address: SocketAddr) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        match Peer::Python.find() {
            Ok(python) => Self::aiosmtpd(&python, folder, address),
            Err(_) => Self::own(folder, address),
        }
    }

    fn aiosmtpd(python: &Path, folder: PathBuf, address: SocketAddr) -> Result<Self> {
        let mut child = Command::new(python)
            .arg(workspace().join("tests/python/mail_sink.py"))
            .arg(&folder)
            .args([address.ip().to_string(), address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting aiosmtpd")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("aiosmtpd has no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        // From here on the child is reaped whatever happens.
        let mut sink = Self {
            folder,
            address,
            server: Backend::Aiosmtpd(child),
        };
        let port = line.trim().parse().context("aiosmtpd did not name its port")?;
        sink.address.set_port(port);
        Ok(sink)
    }

    fn own(folder: PathBuf, address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (keep, ended) = (folder.clone(), stop.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let keep = keep.clone();
                // A client that hangs up mid-way has sent nothing.
                thread::spawn(move || converse(&stream, &keep));
            }
        });
        Ok(Self {
            folder,
            address,
            server: Backend::Own(stop),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every message so far, in order of arrival.
    pub fn mails(&self) -> Vec<Mail> {
        read_mails(&self.folder)
    }
}

impl Drop for MailSink {
    fn drop(&mut self) {
        match &mut self.server {
            Backend::Aiosmtpd(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Backend::Own(stop) => {
                stop.store(true, Ordering::SeqCst);
                // Wakes the listener, which then sees that it is over.
                let _ = TcpStream::connect(self.address);
            }
        }
    }
}

/// Reads what either server wrote: `N.eml`, whose first lines are the envelope.
fn read_mails(folder: &Path) -> Vec<Mail> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let number: u32 = path.file_stem()?.to_str()?.parse().ok()?;
            path.extension()
                .is_some_and(|kind| kind == "eml")
                .then_some((number, path))
        })
        .collect();
    files.sort();
    files.into_iter().filter_map(|(_, path)| parse(&path)).collect()
}

fn parse(path: &Path) -> Option<Mail> {
    let text = String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned();
    let (envelope, message) = text.split_once("\n\n")?;
    let (from, to) = envelope.split_once('\n')?;
    Some(Mail {
        from: from.to_owned(),
        to: to.split(',').map(str::to_owned).collect(),
        message: message.to_owned(),
    })
}

/// Enough of RFC 5321 for one polite client.
fn converse(stream: &TcpStream, folder: &Path) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    let (mut from, mut to) = (String::new(), Vec::new());
    let mailbox = |line: &str| line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
    writer.write_all(b"220 sink.invalid ESMTP\r\n").ok()?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let answer: &[u8] = match verb.as_str() {
            "EHLO" => b"250-sink.invalid\r\n250 8BITMIME\r\n",
            "MAIL" => {
                from = mailbox(&line);
                b"250 OK\r\n"
            }
            "RCPT" => {
                to.push(mailbox(&line));
                b"250 OK\r\n"
            }
            "DATA" => {
                writer.write_all(b"354 go ahead\r\n").ok()?;
                let message = data(&mut reader)?;
                keep(folder, &from, &std::mem::take(&mut to), &message).ok()?;
                b"250 kept\r\n"
            }
            "QUIT" => return writer.write_all(b"221 bye\r\n").ok(),
            _ => b"250 OK\r\n",
        };
        writer.write_all(answer).ok()?;
    }
}

/// Reads up to the lone dot, undoing dot-stuffing (RFC 5321 §4.5.2).
fn data(reader: &mut BufReader<&TcpStream>) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        if line == b".\r\n" {
            return Some(message);
        }
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}

fn keep(folder: &Path, from: &str, to: &[String], message: &[u8]) -> std::io::Result<()> {
    let mut text = format!("{from}\n{}\n\n", to.join(",")).into_bytes();
    text.extend_from_slice(message);
    let partial = folder.join(format!("{:?}.part", thread::current().id()));
    std::fs::write(&partial, text)?;
    let number = read_mails(folder).len() + 1;
    std::fs::rename(partial, folder.join(format!("{number}.eml")))
}
