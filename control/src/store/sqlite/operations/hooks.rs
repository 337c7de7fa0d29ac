//! What waits for a webhook.

use base::Timestamp;
use rusqlite::{Connection, Transaction, params};

use super::acts::append;
use crate::store::sqlite::row::count;
use crate::store::{Act, HookRecord, MailFate};
use crate::words::Action;

pub(in crate::store) fn queue_hook(
    db: &Transaction<'_>,
    delivery_id: String,
    body: Vec<u8>,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let queued = db.execute(
        "INSERT INTO hooks (delivery_id, body, state, next_attempt_at_us, created_at_us)
         VALUES (?1, ?2, 'queued', ?3, ?3) ON CONFLICT (delivery_id) DO NOTHING",
        params![delivery_id, body, now.unix_us()],
    )?;
    Ok(queued > 0)
}

pub(in crate::store) fn due_hooks(
    db: &Connection,
    now: Timestamp,
    limit: u32,
) -> rusqlite::Result<Vec<HookRecord>> {
    db.prepare_cached(
        "SELECT hook_id, delivery_id, body, attempts FROM hooks
         WHERE state = 'queued' AND next_attempt_at_us <= ?1 ORDER BY hook_id LIMIT ?2",
    )?
    .query_map(params![now.unix_us(), limit], |row| {
        Ok(HookRecord {
            hook_id: row.get("hook_id")?,
            delivery_id: row.get("delivery_id")?,
            body: row.get("body")?,
            attempts: row.get("attempts")?,
        })
    })?
    .collect()
}

pub(in crate::store) fn settle_hook(
    db: &Transaction<'_>,
    hook_id: i64,
    now: Timestamp,
    fate: MailFate,
) -> rusqlite::Result<()> {
    match fate {
        MailFate::Sent => db.execute(
            "UPDATE hooks SET state = 'sent', attempts = attempts + 1, sent_at_us = ?2, last_error = NULL
             WHERE hook_id = ?1",
            params![hook_id, now.unix_us()],
        ),
        MailFate::Later { at, error, asked } => db.execute(
            "UPDATE hooks SET attempts = attempts + ?4, next_attempt_at_us = ?2, last_error = ?3
             WHERE hook_id = ?1 AND state = 'queued'",
            params![hook_id, at.unix_us(), error, i64::from(asked)],
        ),
        MailFate::Dead { error, .. } => db.execute(
            "UPDATE hooks SET state = 'dead', attempts = attempts + 1, last_error = ?2
             WHERE hook_id = ?1 AND state = 'queued'",
            params![hook_id, error],
        ),
    }?;
    Ok(())
}

pub(in crate::store) fn hook_counts(db: &Connection) -> rusqlite::Result<(u64, u64)> {
    db.query_row(
        "SELECT count(*) FILTER (WHERE state = 'queued') AS queued,
            count(*) FILTER (WHERE state = 'dead') AS dead FROM hooks",
        [],
        |row| Ok((count(row, "queued")?, count(row, "dead")?)),
    )
}

pub(in crate::store) fn hooks_again(
    db: &Transaction<'_>,
    now: Timestamp,
    who: String,
) -> rusqlite::Result<u64> {
    let revived = db.execute(
        "UPDATE hooks SET state = 'queued', attempts = 0, next_attempt_at_us = ?1 WHERE state = 'dead'",
        [now.unix_us()],
    )?;
    if revived > 0 {
        append(
            db,
            &Act {
                at: now,
                who,
                action: Action::MailAgain,
                target: "webhook".to_owned(),
                reason: None,
                note: Some(format!("{revived} given up before")),
                clause: None,
                enabled_by: None,
                crl_number: None,
            },
        )?;
    }
    Ok(revived as u64)
}
