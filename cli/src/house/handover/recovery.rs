//! The log taken back: what a successor that died had made of it.
//!
//! Its lock is free or it is not, and that alone decides. What was forwarded and not confirmed may stand
//! in the log all the same, because the successor died before it said so; it is looked for there, in
//! order, and not written twice.

use std::collections::BTreeSet;
use std::time::Duration;

use evidence::{Draft, Event, EventKind, LogWriter, OpenError, UnverifiedReader, is_of_session};
use proxy::{Gap, Gateway};

use crate::clock;
use crate::config::Config;
use crate::house::own_log;

/// How long a process that is dying may hold on to the lock.
const PATIENCE: Duration = Duration::from_secs(10);
const BETWEEN: Duration = Duration::from_millis(50);
const CUT_SHORT: &str = "the process that had taken over ended without stopping, and the ends of its connections are not on record";

/// Takes the log back that `gateway` had lent when it had `lent_at` entries.
///
/// # Errors
/// Another process has it, or it cannot be opened.
pub async fn take_log_back(config: &Config, gateway: &Gateway, lent_at: u64) -> anyhow::Result<()> {
    let (writer, gap) = open(config).await?;
    let session = gateway.session();
    let unconfirmed = gateway.recorder().unconfirmed();
    let folder = config.log_dir();
    let found = tokio::task::spawn_blocking(move || Found::in_log(&folder, lent_at, &session, &unconfirmed));
    let found = found.await??;
    let torn = gap.into_iter().map(|gap| {
        let mut event = Event::new(EventKind::Gap, clock::now(), gateway.recorder().gateway());
        event.cause = Some(gap.cause);
        event.count = gap.count;
        event
    });
    let cut_short = found.others.into_iter().map(|session| {
        let mut event = Event::new(EventKind::Gap, clock::now(), gateway.recorder().gateway());
        event.cause = Some(CUT_SHORT.to_owned());
        event.scope = Some(session);
        event
    });
    let first: Vec<_> = torn.chain(cut_short).collect();
    if !gateway.recorder().take_log_back(writer, found.written, &first) {
        anyhow::bail!("the log was not lent");
    }
    tracing::warn!("the evidence log was taken back from a process that had taken over and died");
    Ok(())
}

async fn open(config: &Config) -> anyhow::Result<(LogWriter, Option<Gap>)> {
    let begun = tokio::time::Instant::now();
    loop {
        let own = config.clone();
        match tokio::task::spawn_blocking(move || own_log::open(&own)).await? {
            Err(error) if is_locked(&error) && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(BETWEEN).await;
            }
            opened => return opened,
        }
    }
}

fn is_locked(error: &anyhow::Error) -> bool {
    let is_locked = |error: &OpenError| matches!(error, OpenError::Locked { .. });
    error.downcast_ref().is_some_and(is_locked)
}

/// What stands in the log since it was lent.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// How many of the unconfirmed events.
    written: usize,
    /// Sessions of other processes that made connections.
    others: BTreeSet<String>,
}

impl Found {
    fn in_log(
        folder: &std::path::Path,
        from: u64,
        session: &str,
        unconfirmed: &[Draft],
    ) -> anyhow::Result<Self> {
        let mut found = Self::default();
        let mut reader = UnverifiedReader::new(folder, from);
        loop {
            let events = reader.read_on()?;
            if events.is_empty() {
                return Ok(found);
            }
            for (seq, event) in events {
                found.take(seq, &event, session, unconfirmed);
            }
        }
    }

    fn take(&mut self, seq: u64, event: &Event, session: &str, unconfirmed: &[Draft]) {
        let next = unconfirmed.get(self.written);
        if next.is_some_and(|draft| draft.event(seq).is_ok_and(|draft| draft == *event)) {
            self.written += 1;
        }
        if let Some(id) = &event.connection_id
            && !is_of_session(id, session)
            && let Some((other, _)) = id.split_once('-')
        {
            self.others.insert(other.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, id: &str) -> Event {
        let mut event = Event::new(kind, base::Timestamp::from_unix_us(7), "gw-1");
        event.connection_id = Some(id.to_owned());
        event
    }

    #[test]
    fn what_a_dead_successor_wrote_is_found_and_so_is_whose_connections_it_had() {
        let folder = tempfile::tempdir().unwrap();
        let origin = evidence::Origin::new("acme", "gw-1").unwrap();
        let key = seal::SigningKey::ed25519_from_seed(&[7; 32]);
        let (mut writer, _) = LogWriter::open(folder.path(), &origin, key).unwrap();
        let forwarded = ["a-1", "a-2", "a-3"].map(|id| event(EventKind::Close, id));
        let mut entries = [
            event(EventKind::Close, "a-1"),
            event(EventKind::Open, "b-1"),
            forwarded[0].clone(),
            event(EventKind::Open, "b-2"),
            forwarded[1].clone(),
        ];
        writer.append(&mut entries[..3]).unwrap();
        writer.checkpoint().unwrap();
        writer.append(&mut entries[3..]).unwrap();
        let drafts = forwarded.map(|event| Draft::new(&event).unwrap());
        // The first entry is older than what was lent.
        let found = Found::in_log(folder.path(), 1, "a", &drafts).unwrap();
        assert_eq!(found.written, 2);
        assert_eq!(found.others.into_iter().collect::<Vec<_>>(), ["b"]);
    }
}
