//! What a night's mail costs: 2,000 letters of 40 kB through one line to a server on loopback, each
//! written down before and after.
//!
//! `cargo bench -p bailiwick-control --bench mail`; the target is half a minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bailiwick_control::clock::{Clock as _, SystemClock};
use bailiwick_control::outbox::{AttachedFile, Letter, queue};
use bailiwick_control::postman::Postman;
use bailiwick_control::smtp::MailServer;
use bailiwick_control::store::Store;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

const LETTERS: u64 = 2_000;

#[tokio::main]
async fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("smtp://{}", listener.local_addr().expect("an address"));
    let (taken, lines) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (counted, opened) = (Arc::clone(&taken), Arc::clone(&lines));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            opened.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(converse(stream, Arc::clone(&counted)));
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let clock = SystemClock;
    let store = Store::open_sqlite(&folder.path().join("bailiwick.db"), clock.now()).expect("a registry");
    let letters: Vec<Letter> = (0..LETTERS).map(letter).collect();
    let begun = Instant::now();
    queue(&store, &letters, clock.now())
        .await
        .expect("letters are queued");
    let queued = begun.elapsed();
    let server = MailServer::new(url.parse().expect("a server"), None, None).expect("a server");
    let mut postman = Postman::new(store, server, Arc::new(clock));
    let begun = Instant::now();
    let round = postman.round().await.expect("the outbox can be read and written");
    let took = begun.elapsed();
    assert_eq!((round.sent, taken.load(Ordering::Relaxed)), (LETTERS, LETTERS));
    println!(
        "{LETTERS} letters: queued in {:.1} s, sent in {:.1} s over {} line(s), {:.2} ms each",
        queued.as_secs_f64(),
        took.as_secs_f64(),
        lines.load(Ordering::Relaxed),
        took.as_secs_f64() * 1000.0 / LETTERS as f64
    );
}

fn letter(number: u64) -> Letter {
    Letter {
        from: "bailiwick@acme.example".to_owned(),
        to: vec![format!("owner-{number}@acme.example")],
        subject: format!("plugin {number} did not keep its word"),
        message_id: format!("<{number}@acme.example>"),
        date: SystemClock.now(),
        headers: Vec::new(),
        text: "It connected to api.randomsite.com.\n".repeat(60),
        html: Some("<p>It connected to <b>api.randomsite.com</b>.</p>".repeat(100)),
        pictures: Vec::new(),
        attachments: vec![AttachedFile {
            name: "report.sigstore.json".to_owned(),
            media_type: "application/json".to_owned(),
            bytes: vec![b'x'; 24_000],
        }],
        topic: None,
    }
}

/// Takes every letter (RFC 5321, as little of it as this needs).
async fn converse(stream: TcpStream, taken: Arc<AtomicU64>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 sink\r\n").await?;
    let mut line = Vec::new();
    let mut in_data = false;
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let answer: &[u8] = match (in_data, line.get(..4).unwrap_or(&line)) {
            (true, _) if line == b".\r\n" => {
                in_data = false;
                taken.fetch_add(1, Ordering::Relaxed);
                b"250 taken\r\n"
            }
            (true, _) => continue,
            (false, b"DATA") => {
                in_data = true;
                b"354 go on\r\n"
            }
            (false, b"EHLO") => b"250-sink\r\n250 8BITMIME\r\n",
            (false, b"QUIT") => b"221 bye\r\n",
            (false, _) => b"250 ok\r\n",
        };
        stream.write_all(answer).await?;
    }
}
