//! The postman: takes letters out of the outbox and hands them to the mail server.
//!
//! Delivery is at least once. A letter counts as sent when the server has answered 250 *and* that
//! was written down; a crash in between sends it again, with the same bytes and the same Message-ID,
//! by which mailboxes recognise a repetition. Short of a crash no letter goes out twice: an answer
//! that could not be written down is remembered and written down later.
//!
//! A server that is down says nothing about any letter, so it costs no letter an attempt. Only
//! letters that a server declined many times, or once for good, are given up; they stay in the
//! outbox as `dead` until somebody sends them again.
//!
//! A letter that was in the hands of a postman who was killed waits for nobody: each life of a postman
//! takes letters under a name of its own, and the data folder has one process, so what another life
//! took is free when the next one begins.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lettre::address::{Address, Envelope};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::smtp::{DELIVERY, Line, MailServer, NotTaken};
use crate::store::{LeasedMail, MailFate, Store, StoreError};

/// Letters taken at a time.
const BATCH: u32 = 10;
/// How long a taken letter is out of everybody else's reach. Longer than a batch can take.
const LEASE_S: u32 = 1800;
const _: () = assert!(LEASE_S as u64 > BATCH as u64 * DELIVERY.as_secs());
/// Wait after the first failure; each further one doubles it.
const FIRST_WAIT_S: i64 = 60;
/// The longest wait.
const LONGEST_WAIT_S: i64 = 4 * 3600;
/// After this many attempts (about four days, as RFC 5321 §4.5.4.1 advises) a letter is given up.
pub const MAX_ATTEMPTS: u32 = 30;
/// How long a server that is slow with a letter may hold up the end of the process.
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(10);
/// The longest nap between two looks into the outbox.
const NAP: Duration = Duration::from_secs(30);

/// What one round did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Letters that the server took.
    pub sent: u64,
    /// Letters that will be tried again.
    pub postponed: u64,
    /// Letters given up.
    pub dead: u64,
    /// What an operator should know; one line.
    pub trouble: Option<String>,
}

/// Delivers one site's letters.
#[derive(Debug)]
pub struct Postman {
    store: Store,
    server: MailServer,
    clock: Arc<dyn Clock>,
    /// The name under which this life takes letters.
    name: String,
    /// Whether the letters of earlier lives were freed.
    moved_in: bool,
    /// Told when the process ends.
    stop: CancellationToken,
    /// Answers that the store would not take yet.
    unsettled: HashMap<i64, MailFate>,
    /// Rounds in a row in which the server could not be used.
    failures: u32,
}

impl Postman {
    /// A postman between `store` and `server`.
    pub fn new(store: Store, server: MailServer, clock: Arc<dyn Clock>) -> Self {
        Self {
            // Without randomness two lives could share a name, and a letter of the dead one's would
            // wait for its lease: late, and not lost.
            name: format!("{:08x}-{}", getrandom::u32().unwrap_or(0), clock.now().unix_us()),
            moved_in: false,
            stop: CancellationToken::new(),
            store,
            server,
            clock,
            unsettled: HashMap::new(),
            failures: 0,
        }
    }

    /// Delivers for as long as the process lives; `bell` rings when letters were queued.
    pub async fn run(mut self, bell: Arc<Notify>, stop: CancellationToken) {
        self.stop = stop.clone();
        loop {
            match self.round().await {
                Ok(round) => {
                    if let Some(trouble) = &round.trouble {
                        tracing::warn!(trouble, postponed = round.postponed, dead = round.dead, "mail");
                    }
                }
                Err(error) => tracing::error!(error = %crate::error_line(&error), "outbox"),
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = bell.notified() => {}
                () = tokio::time::sleep(NAP) => {}
            }
        }
    }

    /// Delivers whatever is due now.
    ///
    /// # Errors
    /// [`StoreError`] where the outbox cannot be read or written; what was sent until then is
    /// remembered.
    pub async fn round(&mut self) -> Result<Round, StoreError> {
        let mut round = Round::default();
        self.settle_remembered().await?;
        if !self.moved_in {
            let freed = self.store.free_mails(self.clock.now(), self.name.clone()).await?;
            if freed > 0 {
                tracing::info!(freed, "letters that a killed process had in hand go out again");
            }
            self.moved_in = true;
        }
        let mut line = None;
        loop {
            let now = self.clock.now();
            let batch = self
                .store
                .lease_mails(now, LEASE_S, BATCH, self.name.clone())
                .await?;
            if batch.is_empty() {
                break;
            }
            let mut letters = batch.into_iter();
            while let Some(letter) = letters.next() {
                if self.stop.is_cancelled() {
                    // The next life finds them free.
                    return Ok(round);
                }
                if let Err(trouble) = self.deliver(&mut line, &letter, &mut round).await? {
                    // Nobody is there to ask about the others either.
                    self.failures = self.failures.saturating_add(1);
                    let wait = wait_s(self.failures);
                    for letter in std::iter::once(letter).chain(letters) {
                        self.postpone(&letter, wait, trouble.clone(), false).await?;
                        round.postponed += 1;
                    }
                    round.trouble = Some(trouble);
                    return Ok(round);
                }
            }
        }
        if let Some(line) = line {
            line.close().await;
        }
        Ok(round)
    }

    /// One letter. The inner error is the server's: it concerns all letters alike.
    async fn deliver(
        &mut self,
        line: &mut Option<Line>,
        letter: &LeasedMail,
        round: &mut Round,
    ) -> Result<Result<(), String>, StoreError> {
        let envelope = match envelope(letter) {
            Ok(envelope) => envelope,
            Err(error) => {
                round.dead += 1;
                let unreachable = false;
                self.settle(letter.mail_id, MailFate::Dead { error, unreachable })
                    .await?;
                return Ok(Ok(()));
            }
        };
        let open = match line.take().filter(Line::is_good) {
            Some(open) => open,
            None => {
                let connected = tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return Ok(Ok(())),
                    connected = self.server.connect() => connected,
                };
                match connected {
                    Ok(open) => open,
                    Err(unreachable) => return Ok(Err(unreachable.to_string())),
                }
            }
        };
        let stopped = async {
            self.stop.cancelled().await;
            tokio::time::sleep(PATIENCE_AT_THE_END).await;
        };
        let taken = tokio::select! {
            taken = line.insert(open).deliver(&envelope, &letter.raw) => taken,
            // Nobody knows whether the server has it, so the next life repeats it.
            () = stopped => return Ok(Ok(())),
        };
        if let Err(NotTaken::Unwelcome(why)) = taken {
            return Ok(Err(why));
        }
        self.failures = 0;
        match taken {
            Ok(()) => {
                round.sent += 1;
                self.settle(letter.mail_id, MailFate::Sent).await?;
            }
            Err(NotTaken::Later(error)) if letter.attempts + 1 < MAX_ATTEMPTS => {
                round.postponed += 1;
                round.trouble = Some(format!("{} was not taken yet: {error}", letter.message_id));
                // After silence or a dropped line the next letter gets a line of its own.
                *line = None;
                self.postpone(letter, wait_s(letter.attempts + 1), error, true)
                    .await?;
            }
            Err(refused) => {
                let unreachable = matches!(refused, NotTaken::NoSuchAddress(_));
                let error = refused.into_words();
                round.dead += 1;
                round.trouble = Some(format!("{} was given up: {error}", letter.message_id));
                self.settle(letter.mail_id, MailFate::Dead { error, unreachable })
                    .await?;
            }
        }
        Ok(Ok(()))
    }

    async fn postpone(
        &mut self,
        letter: &LeasedMail,
        wait_s: i64,
        error: String,
        asked: bool,
    ) -> Result<(), StoreError> {
        let at = self.clock.now().plus_seconds(wait_s);
        self.settle(letter.mail_id, MailFate::Later { at, error, asked })
            .await
    }

    async fn settle(&mut self, mail_id: i64, fate: MailFate) -> Result<(), StoreError> {
        let settled = self
            .store
            .settle_mail(mail_id, self.clock.now(), fate.clone())
            .await;
        if settled.is_err() {
            self.unsettled.insert(mail_id, fate);
        }
        settled
    }

    /// What was answered before the store failed is written down before anything else is asked.
    async fn settle_remembered(&mut self) -> Result<(), StoreError> {
        for mail_id in self.unsettled.keys().copied().collect::<Vec<_>>() {
            let fate = self.unsettled[&mail_id].clone();
            self.store.settle_mail(mail_id, self.clock.now(), fate).await?;
            self.unsettled.remove(&mail_id);
        }
        Ok(())
    }
}

fn envelope(letter: &LeasedMail) -> Result<Envelope, String> {
    let address = |text: &str| {
        text.parse::<Address>()
            .map_err(|error| format!("{text:?}: {error}"))
    };
    let (from, to) = (address(&letter.sender)?, address(&letter.recipient)?);
    Envelope::new(Some(from), vec![to]).map_err(|error| error.to_string())
}

/// The wait before attempt `failures + 1`: doubling, capped, and spread by a quarter each way so
/// that letters which failed together do not come back together.
pub fn wait_s(failures: u32) -> i64 {
    let doubled = FIRST_WAIT_S.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let wait = doubled.min(LONGEST_WAIT_S);
    // Without randomness they do come back together, which is a burden and no mistake.
    let dice = getrandom::u32().unwrap_or(u32::MAX / 2);
    let spread = wait / 2;
    wait - spread / 2 + i64::from(dice) * spread / i64::from(u32::MAX)
}

#[cfg(test)]
#[path = "postman_tests.rs"]
mod tests;
