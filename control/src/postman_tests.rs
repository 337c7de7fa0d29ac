//! The postman's promises, held against a mail server that does what a script says.

use std::collections::VecDeque;
use std::sync::Mutex;

use base::Timestamp;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::clock::HandClock;
use crate::outbox::tests::letter;
use crate::outbox::{Letter, queue};
use crate::store::MailRecord;
use crate::words::MailState;

const NOW: Timestamp = Timestamp::from_unix_us(1_790_000_000_000_000);

/// What the server does with one letter.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// 250.
    Take,
    /// 451 to the recipient.
    Greylist,
    /// 550 to the recipient.
    NoSuchUser,
    /// 530 to the sender.
    WantLogin,
    /// Reads half a letter and hangs up.
    DropMidData,
    /// 552 after the last byte.
    TooLarge,
    /// Takes the letter and hangs up before saying so.
    TakeAndDrop,
}

/// One letter as the server got it, dots undone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Received {
    from: String,
    to: String,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Script {
    next: VecDeque<Does>,
    received: Vec<Received>,
    /// What AUTH PLAIN (RFC 4616) must say before anything is taken; nothing is asked where it is `None`.
    account: Option<&'static str>,
}

/// A mail server on loopback.
struct Server {
    url: String,
    script: Arc<Mutex<Script>>,
}

impl Server {
    async fn start(script: &[Does]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script {
            next: script.iter().copied().collect(),
            ..Script::default()
        }));
        let shared = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&shared)));
            }
        });
        Self { url, script }
    }

    fn received(&self) -> Vec<Received> {
        self.script.lock().unwrap().received.clone()
    }

    fn then(&self, does: &[Does]) {
        self.script.lock().unwrap().next.extend(does);
    }

    fn mail_server(&self) -> MailServer {
        MailServer::new(self.url.parse().unwrap(), None, None).unwrap()
    }
}

/// One conversation (RFC 5321, as little of it as clients need).
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: S, script: Arc<Mutex<Script>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    say(&mut stream, "220 sink").await?;
    let (mut from, mut to) = (String::new(), String::new());
    let account = script.lock().unwrap().account;
    let mut is_known = account.is_none();
    loop {
        let does = script.lock().unwrap().next.front().copied().unwrap_or(Does::Take);
        let line = hear(&mut stream).await?;
        let verb = line.get(..4).unwrap_or("").to_ascii_uppercase();
        match (verb.as_str(), does) {
            ("EHLO", _) if account.is_some() => {
                say(&mut stream, "250-sink\r\n250-AUTH PLAIN LOGIN\r\n250 8BITMIME").await?;
            }
            ("EHLO", _) => say(&mut stream, "250-sink\r\n250 8BITMIME").await?,
            ("AUTH", _) => {
                is_known = account.is_some_and(|account| line == format!("AUTH PLAIN {account}"));
                let answer = if is_known {
                    "235 2.7.0 Authentication successful"
                } else {
                    "535 5.7.8 Authentication credentials invalid"
                };
                say(&mut stream, answer).await?;
            }
            ("MAIL", _) if !is_known => say(&mut stream, "530 5.7.0 Authentication required").await?,
            ("MAIL", Does::WantLogin) => {
                next(&script);
                say(&mut stream, "530 5.7.0 Authentication required").await?;
            }
            ("MAIL", _) => {
                from = line;
                say(&mut stream, "250 ok").await?;
            }
            ("RCPT", Does::Greylist) => {
                next(&script);
                say(&mut stream, "451 4.7.1 Greylisted, come back later").await?;
            }
            ("RCPT", Does::NoSuchUser) => {
                next(&script);
                say(&mut stream, "550 5.1.1 No such user").await?;
            }
            ("RCPT", _) => {
                to = line;
                say(&mut stream, "250 ok").await?;
            }
            ("DATA", Does::DropMidData) => {
                next(&script);
                say(&mut stream, "354 go on").await?;
                hear(&mut stream).await?;
                return None;
            }
            ("DATA", does) => {
                say(&mut stream, "354 go on").await?;
                let bytes = data(&mut stream).await?;
                next(&script);
                if matches!(does, Does::TooLarge) {
                    say(&mut stream, "552 5.3.4 Too large").await?;
                    continue;
                }
                let (from, to) = (from.clone(), to.clone());
                script.lock().unwrap().received.push(Received { from, to, bytes });
                if matches!(does, Does::TakeAndDrop) {
                    return None;
                }
                say(&mut stream, "250 taken").await?;
            }
            ("QUIT", _) => {
                say(&mut stream, "221 bye").await?;
                return Some(());
            }
            _ => say(&mut stream, "250 ok").await?,
        }
    }
}

fn next(script: &Mutex<Script>) {
    script.lock().unwrap().next.pop_front();
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, line: &str) -> Option<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

async fn hear<S: tokio::io::AsyncBufRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut line = String::new();
    match stream.read_line(&mut line).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim_end().to_owned()),
    }
}

async fn data<S: tokio::io::AsyncBufRead + Unpin>(stream: &mut S) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await.ok()? == 0 {
            return None;
        }
        if line == b".\r\n" {
            return Some(bytes);
        }
        bytes.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}

struct Office {
    _folder: tempfile::TempDir,
    store: Store,
    clock: Arc<HandClock>,
}

impl Office {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_sqlite(&folder.path().join("bailiwick.db"), NOW).unwrap();
        Self {
            _folder: folder,
            store,
            clock: Arc::new(HandClock::new(NOW)),
        }
    }

    fn postman(&self, server: &MailServer) -> Postman {
        let clock: Arc<HandClock> = Arc::clone(&self.clock);
        Postman::new(self.store.clone(), server.clone(), clock)
    }

    async fn queue(&self, message_id: &str) {
        let letter = Letter {
            to: vec!["weather@acme.example".into()],
            ..letter(message_id)
        };
        queue(&self.store, &[letter], self.clock.now()).await.unwrap();
    }

    async fn mails(&self) -> Vec<MailRecord> {
        self.store.mails(None, 100).await.unwrap()
    }

    fn wait(&self, seconds: i64) {
        self.clock.advance_seconds(seconds);
    }
}

#[tokio::test]
async fn letters_reach_the_server_byte_for_byte_and_once() {
    let (office, server) = (Office::new(), Server::start(&[]).await);
    let letter = letter("<1@acme.example>");
    queue(&office.store, std::slice::from_ref(&letter), NOW)
        .await
        .unwrap();
    let mut postman = office.postman(&server.mail_server());
    assert_eq!(postman.round().await.unwrap().sent, 2);
    assert_eq!(postman.round().await.unwrap(), Round::default());
    let received = server.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].from, "MAIL FROM:<bailiwick@acme.example>");
    assert_eq!(received[0].to, "RCPT TO:<security@acme.example>");
    let raw = letter.write_out().unwrap().remove(0).raw;
    assert!(received.iter().all(|letter| letter.bytes == raw));
    queue(&office.store, &[letter], NOW).await.unwrap();
    assert_eq!(
        postman.round().await.unwrap(),
        Round::default(),
        "queued again is not sent again"
    );
    assert!(
        office
            .mails()
            .await
            .iter()
            .all(|mail| mail.state == MailState::Sent)
    );
}

#[tokio::test]
async fn a_server_that_is_down_costs_no_letter_an_attempt_and_loses_none() {
    let office = Office::new();
    for id in ["<1@acme.example>", "<2@acme.example>", "<3@acme.example>"] {
        office.queue(id).await;
    }
    // A port that nobody listens on: it was given to us a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    drop(listener);
    let down = MailServer::new(url.parse().unwrap(), None, None).unwrap();
    let mut postman = office.postman(&down);
    for _ in 0..40 {
        let round = postman.round().await.unwrap();
        assert_eq!((round.sent, round.postponed, round.dead), (0, 3, 0));
        let trouble = round.trouble.unwrap();
        assert!(
            trouble.starts_with(&format!("mail server {url} cannot be used: ")),
            "{trouble}"
        );
        assert!(
            trouble.ends_with("are tried again") && !trouble.contains('\n'),
            "{trouble}"
        );
        office.wait(LONGEST_WAIT_S * 2);
    }
    for mail in office.mails().await {
        assert_eq!((mail.state, mail.attempts), (MailState::Queued, 0));
        assert!(mail.last_error.unwrap().contains("refused"));
    }
    let server = Server::start(&[]).await;
    let round = office.postman(&server.mail_server()).round().await.unwrap();
    assert_eq!(round.sent, 3);
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn a_greylisted_letter_goes_out_later() {
    let (office, server) = (Office::new(), Server::start(&[Does::Greylist]).await);
    office.queue("<1@acme.example>").await;
    office.queue("<2@acme.example>").await;
    let mut postman = office.postman(&server.mail_server());
    let round = postman.round().await.unwrap();
    assert_eq!(
        (round.sent, round.postponed),
        (1, 1),
        "the other letter does not wait"
    );
    assert!(round.trouble.unwrap().contains("Greylisted"));
    assert_eq!(
        postman.round().await.unwrap(),
        Round::default(),
        "not before its time"
    );
    office.wait(FIRST_WAIT_S * 2);
    assert_eq!(postman.round().await.unwrap().sent, 1);
    let mails = office.mails().await;
    assert_eq!((mails[1].attempts, mails[1].state), (2, MailState::Sent));
}

#[tokio::test]
async fn a_letter_refused_for_good_is_given_up_and_can_be_sent_again() {
    let (office, server) = (
        Office::new(),
        Server::start(&[Does::NoSuchUser, Does::TooLarge]).await,
    );
    for id in ["<1@acme.example>", "<2@acme.example>", "<3@acme.example>"] {
        office.queue(id).await;
    }
    let mut postman = office.postman(&server.mail_server());
    let round = postman.round().await.unwrap();
    assert_eq!((round.sent, round.dead), (1, 2));
    office.wait(LONGEST_WAIT_S * 100);
    assert_eq!(postman.round().await.unwrap(), Round::default());
    let dead = office.store.mails(Some(MailState::Dead), 10).await.unwrap();
    assert_eq!(dead.len(), 2);
    assert!(dead[1].last_error.as_ref().unwrap().contains("No such user"));
    let act = crate::store::Act {
        at: NOW,
        who: "ada".into(),
        action: crate::words::Action::MailAgain,
        target: dead[1].mail_id.to_string(),
        reason: None,
        note: None,
        clause: None,
        enabled_by: None,
        crl_number: None,
    };
    let now = office.clock.now();
    assert!(office.store.send_again(dead[1].mail_id, now, act).await.unwrap());
    assert_eq!(postman.round().await.unwrap().sent, 1);
}

#[tokio::test]
async fn a_line_that_drops_in_the_middle_of_a_letter_delivers_it_later_and_once() {
    let (office, server) = (Office::new(), Server::start(&[Does::DropMidData]).await);
    office.queue("<1@acme.example>").await;
    office.queue("<2@acme.example>").await;
    let mut postman = office.postman(&server.mail_server());
    let round = postman.round().await.unwrap();
    assert_eq!(
        (round.sent, round.postponed),
        (1, 1),
        "the next letter gets a line of its own"
    );
    office.wait(FIRST_WAIT_S * 2);
    assert_eq!(postman.round().await.unwrap().sent, 1);
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn a_letter_whose_250_was_lost_is_repeated_under_the_same_message_id() {
    let (office, server) = (Office::new(), Server::start(&[Does::TakeAndDrop]).await);
    office.queue("<1@acme.example>").await;
    let mut postman = office.postman(&server.mail_server());
    assert_eq!(postman.round().await.unwrap().postponed, 1, "no 250, not sent");
    office.wait(FIRST_WAIT_S * 2);
    assert_eq!(postman.round().await.unwrap().sent, 1);
    let received = server.received();
    assert_eq!(received.len(), 2);
    assert_eq!(
        received[0], received[1],
        "mailboxes can tell that it is the same letter"
    );
}

#[tokio::test]
async fn a_setting_that_is_wrong_kills_no_letter() {
    let (office, server) = (Office::new(), Server::start(&[Does::WantLogin]).await);
    office.queue("<1@acme.example>").await;
    office.queue("<2@acme.example>").await;
    let mut postman = office.postman(&server.mail_server());
    let round = postman.round().await.unwrap();
    assert_eq!((round.sent, round.postponed, round.dead), (0, 2, 0));
    assert!(round.trouble.unwrap().contains("Authentication required"));
    assert!(office.mails().await.iter().all(|mail| mail.attempts == 0));
    office.wait(FIRST_WAIT_S * 2);
    assert_eq!(postman.round().await.unwrap().sent, 2);
}

#[tokio::test]
async fn a_server_that_asks_who_we_are_is_told_and_nobody_else_hears_the_password() {
    let (office, server) = (Office::new(), Server::start(&[]).await);
    // NUL, `me`, NUL, `test vector` in base64.
    server.script.lock().unwrap().account = Some("AG1lAHRlc3QgdmVjdG9y");
    let url = server.url.replace("smtp://", "smtp://me@");
    let with =
        |password: &str| MailServer::new(url.parse().unwrap(), Some(password.to_owned()), None).unwrap();
    office.queue("<1@acme.example>").await;
    let mut postman = office.postman(&with("not the password"));
    let round = postman.round().await.unwrap();
    assert_eq!((round.sent, round.dead), (0, 0));
    let trouble = round.trouble.unwrap();
    assert!(
        trouble.contains("Authentication credentials invalid") && !trouble.contains("not the password"),
        "{trouble}"
    );
    assert!(server.received().is_empty());
    assert!(office.mails().await.iter().all(|mail| mail.attempts == 0));

    office.wait(FIRST_WAIT_S * 2);
    let mut postman = office.postman(&with("test vector"));
    assert_eq!(postman.round().await.unwrap().sent, 1);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_letter_that_is_never_taken_is_given_up_in_the_end() {
    let (office, server) = (Office::new(), Server::start(&[]).await);
    office.queue("<1@acme.example>").await;
    let mut postman = office.postman(&server.mail_server());
    for attempt in 1..=MAX_ATTEMPTS {
        server.then(&[Does::Greylist]);
        let round = postman.round().await.unwrap();
        let expected = if attempt < MAX_ATTEMPTS { (1, 0) } else { (0, 1) };
        assert_eq!((round.postponed, round.dead), expected, "attempt {attempt}");
        office.wait(LONGEST_WAIT_S * 2);
    }
    assert_eq!(office.mails().await[0].state, MailState::Dead);
}

/// SQL that lets nobody mark a letter as sent.
const JAM: &str = "CREATE TRIGGER jam BEFORE UPDATE OF state ON mails WHEN new.state = 'sent'
    BEGIN SELECT RAISE(ABORT, 'jammed'); END";

#[tokio::test]
async fn an_answer_that_could_not_be_written_down_is_written_down_later() {
    let (office, server) = (Office::new(), Server::start(&[]).await);
    office.queue("<1@acme.example>").await;
    let mut postman = office.postman(&server.mail_server());
    office.store.tamper(JAM).unwrap();
    assert!(postman.round().await.is_err());
    office.wait(i64::from(LEASE_S) + 1);
    assert!(postman.round().await.is_err(), "first things first");
    office.store.tamper("DROP TRIGGER jam").unwrap();
    assert_eq!(postman.round().await.unwrap(), Round::default());
    assert_eq!(server.received().len(), 1, "it went out once");
    assert_eq!(office.mails().await[0].state, MailState::Sent);
}

#[tokio::test]
async fn a_crash_between_sending_and_writing_it_down_repeats_the_very_same_letter() {
    let (office, server) = (Office::new(), Server::start(&[]).await);
    office.queue("<1@acme.example>").await;
    office.store.tamper(JAM).unwrap();
    let mut postman = office.postman(&server.mail_server());
    assert!(postman.round().await.is_err());
    drop(postman);
    office.store.tamper("DROP TRIGGER jam").unwrap();
    // The next life of the postman waits for no lease of the last one.
    let mut postman = office.postman(&server.mail_server());
    assert_eq!(postman.round().await.unwrap().sent, 1);
    let received = server.received();
    assert_eq!(received.len(), 2, "at least once is what is promised");
    assert_eq!(received[0], received[1]);
}

#[tokio::test]
async fn an_address_that_a_server_does_not_know_is_remembered_until_mail_is_taken_there() {
    let (office, server) = (Office::new(), Server::start(&[Does::NoSuchUser]).await);
    office.queue("<1@acme.example>").await;
    let mut postman = office.postman(&server.mail_server());
    assert_eq!(postman.round().await.unwrap().dead, 1);
    let known = office.store.contacts().await.unwrap();
    assert_eq!(known[0].address, "weather@acme.example");
    assert!(known[0].bounced_at.is_some() && known[0].bounce.as_ref().unwrap().contains("No such user"));
    server.then(&[Does::TooLarge]);
    office.queue("<2@acme.example>").await;
    assert_eq!(postman.round().await.unwrap().dead, 1);
    assert!(office.store.contacts().await.unwrap()[0].bounced_at.is_some());
    office.queue("<3@acme.example>").await;
    assert_eq!(postman.round().await.unwrap().sent, 1);
    assert_eq!(office.store.contacts().await.unwrap()[0].bounced_at, None);
}

#[tokio::test]
async fn many_letters_to_one_reader_are_spread_over_hours_and_none_is_dropped() {
    let (office, server) = (Office::new(), Server::start(&[]).await);
    for number in 0..130 {
        office.queue(&format!("<{number}@acme.example>")).await;
    }
    let mut postman = office.postman(&server.mail_server());
    let mut hours = Vec::new();
    while hours.iter().sum::<u64>() < 130 {
        hours.push(postman.round().await.unwrap().sent);
        office.wait(3600);
    }
    assert_eq!(hours, [60, 60, 10]);
}

#[tokio::test]
async fn a_process_that_ends_does_not_wait_for_a_silent_server() {
    // A server that accepts and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    let office = Office::new();
    office.queue("<1@acme.example>").await;
    let silent = MailServer::new(url.parse().unwrap(), None, None).unwrap();
    let (stop, bell) = (CancellationToken::new(), Arc::new(Notify::new()));
    let running = tokio::spawn(office.postman(&silent).run(bell, stop.clone()));
    let (_line, _) = listener.accept().await.unwrap();
    stop.cancel();
    running.await.unwrap();
    // It was not asked to take the letter, and the next life has it at once.
    let server = Server::start(&[]).await;
    assert_eq!(
        office.postman(&server.mail_server()).round().await.unwrap().sent,
        1
    );
    assert_eq!(office.mails().await[0].attempts, 1);
}

#[tokio::test]
async fn a_letter_goes_over_tls_or_not_at_all() {
    // The server offers no STARTTLS, and an eavesdropper could have struck the offer out.
    let server = Server::start(&[]).await;
    let url = format!("{}?starttls=required", server.url);
    let office = Office::new();
    office.queue("<1@acme.example>").await;
    let strict = MailServer::new(url.parse().unwrap(), None, Some(&Tls::new().pem)).unwrap();
    let round = office.postman(&strict).round().await.unwrap();
    assert_eq!((round.sent, round.postponed), (0, 1));
    assert!(round.trouble.unwrap().contains("STARTTLS"));
    assert_eq!(server.received(), []);
}

/// A certificate for `localhost` and a server that shows it.
struct Tls {
    pem: Vec<u8>,
    acceptor: tokio_rustls::TlsAcceptor,
}

impl Tls {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        Self {
            pem: made.cert.pem().into_bytes(),
            acceptor: tokio_rustls::TlsAcceptor::from(Arc::new(config)),
        }
    }
}

#[tokio::test]
async fn a_certificate_is_checked_before_a_letter_is_shown() {
    let tls = Tls::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtps://localhost:{}", listener.local_addr().unwrap().port());
    let script = Arc::new(Mutex::new(Script::default()));
    let (shared, acceptor) = (Arc::clone(&script), tls.acceptor.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    converse(stream, shared).await;
                }
            });
        }
    });
    let office = Office::new();
    office.queue("<1@acme.example>").await;
    let another = MailServer::new(url.parse().unwrap(), None, Some(&Tls::new().pem)).unwrap();
    let round = office.postman(&another).round().await.unwrap();
    assert_eq!((round.sent, round.postponed), (0, 1));
    assert!(round.trouble.unwrap().contains("certificate"));
    assert_eq!(script.lock().unwrap().received, []);

    office.wait(FIRST_WAIT_S * 2);
    let trusted = MailServer::new(url.parse().unwrap(), None, Some(&tls.pem)).unwrap();
    assert_eq!(office.postman(&trusted).round().await.unwrap().sent, 1);
    assert_eq!(script.lock().unwrap().received.len(), 1);
}

#[test]
fn waits_double_up_to_a_limit_and_are_spread() {
    for (failures, wait) in [(1, 60), (2, 120), (3, 240), (9, 14_400), (4_000_000_000, 14_400)] {
        for _ in 0..50 {
            let spread = wait_s(failures);
            assert!(
                (wait - wait / 4..=wait + wait / 4).contains(&spread),
                "{failures}: {spread}"
            );
        }
    }
}
