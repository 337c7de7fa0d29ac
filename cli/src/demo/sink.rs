//! The demo's mail server: a small SMTP receiver (RFC 5321 §4.1) on loopback that keeps what it gets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Larger messages are refused.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// One message as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Recipients of the envelope.
    pub to: Vec<String>,
    /// The `Subject` header.
    pub subject: String,
    /// Where the whole message was written.
    pub file: PathBuf,
}

/// A running mail server; dropping it stops it.
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    count: watch::Receiver<usize>,
    _task: AbortOnDropHandle<()>,
}

struct Mailbox {
    folder: PathBuf,
    received: Arc<Mutex<Vec<Received>>>,
    count: watch::Sender<usize>,
}

impl Sink {
    /// Starts a mail server that writes each message into `folder`.
    ///
    /// # Errors
    /// The folder cannot be made, or no port.
    pub async fn start(folder: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("cannot listen on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let received = Arc::new(Mutex::new(Vec::new()));
        let (count, watched) = watch::channel(0);
        let mailbox = Arc::new(Mailbox {
            folder,
            received: received.clone(),
            count,
        });
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mailbox = mailbox.clone();
                // A client that hangs up mid-way has sent nothing.
                tokio::spawn(async move { converse(stream, &mailbox).await });
            }
        });
        Ok(Self {
            address,
            received,
            count: watched,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Waits until at least `count` messages are here.
    pub async fn wait_for(&self, count: usize) {
        // The sender lives in the task that this value owns.
        let _ = self.count.clone().wait_for(|&received| received >= count).await;
    }

    /// Everything received so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().clone()
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, mailbox: &Mailbox) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut to = Vec::new();
    stream.write_all(b"220 demo.bailiwick.invalid ESMTP\r\n").await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let verb = line
            .split([' ', '\r', ':'])
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let answer: &[u8] = match verb.as_str() {
            "EHLO" => b"250-demo.bailiwick.invalid\r\n250 8BITMIME\r\n",
            "RCPT" => {
                to.push(line.split(['<', '>']).nth(1).unwrap_or_default().to_owned());
                b"250 OK\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go ahead\r\n").await?;
                match read_data(&mut stream).await? {
                    Some(message) => {
                        mailbox.keep(std::mem::take(&mut to), &message)?;
                        b"250 kept\r\n"
                    }
                    None => b"552 too large\r\n",
                }
            }
            "HELO" | "MAIL" | "RSET" | "NOOP" => b"250 OK\r\n",
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => b"502 not implemented\r\n",
        };
        stream.write_all(answer).await?;
    }
}

/// Reads up to the lone dot, undoing dot-stuffing (RFC 5321 §4.5.2).
async fn read_data(stream: &mut BufReader<impl AsyncRead + Unpin>) -> std::io::Result<Option<Vec<u8>>> {
    let mut message = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok((message.len() <= MAX_MESSAGE_BYTES).then_some(message));
        }
        if message.len() <= MAX_MESSAGE_BYTES {
            message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }
}

impl Mailbox {
    fn keep(&self, to: Vec<String>, message: &[u8]) -> std::io::Result<()> {
        let mut received = self.received.lock();
        let file = self.folder.join(format!("{}.eml", received.len() + 1));
        std::fs::write(&file, message)?;
        let text = String::from_utf8_lossy(message);
        let head = text
            .split("\r\n\r\n")
            .next()
            .unwrap_or_default()
            .replace("\r\n ", " ");
        let subject = head
            .lines()
            .find_map(|line| line.strip_prefix("Subject: "))
            .unwrap_or_default();
        received.push(Received {
            to,
            subject: subject.to_owned(),
            file,
        });
        self.count.send_replace(received.len());
        Ok(())
    }
}
