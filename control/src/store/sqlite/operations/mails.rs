//! The outbox.

use base::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::acts::append;
use crate::store::sqlite::row::{moment, optional_moment, text};
use crate::store::{Act, LeasedMail, MailFate, MailRecord, NewMail};
use crate::words::MailState;

/// Letters that one recipient gets within an hour.
const MAX_PER_HOUR: u32 = 60;

pub(in crate::store) fn queue_mails(
    db: &Transaction<'_>,
    mails: Vec<NewMail>,
    now: Timestamp,
) -> rusqlite::Result<u64> {
    let mut queued = 0;
    for mail in mails {
        let at = paced(db, &mail.recipient, now)?;
        queued += db
            .prepare_cached(
                "INSERT INTO mails (message_id, recipient, sender, subject, raw, topic, state, due_at_us,
                    next_attempt_at_us, created_at_us)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'queued', ?7, ?7, ?8)
                 ON CONFLICT (message_id, recipient) DO NOTHING",
            )?
            .execute(params![
                mail.message_id,
                mail.recipient,
                mail.sender,
                mail.subject,
                mail.raw,
                mail.topic,
                at.unix_us(),
                now.unix_us()
            ])?;
    }
    Ok(queued as u64)
}

/// When the next letter to `recipient` may go out: at once, or an hour after the one that is as many
/// letters back as an hour allows. Nothing is dropped; whoever is written to a lot is written to later.
fn paced(db: &Connection, recipient: &str, now: Timestamp) -> rusqlite::Result<Timestamp> {
    let hour_us = 3600 * 1_000_000;
    let back: Option<i64> = db
        .prepare_cached(
            "SELECT due_at_us FROM mails WHERE recipient = ?1 AND due_at_us > ?2
             ORDER BY due_at_us DESC LIMIT 1 OFFSET ?3",
        )?
        .query_row(
            params![recipient, now.unix_us() - hour_us, MAX_PER_HOUR - 1],
            |row| row.get(0),
        )
        .optional()?;
    Ok(back.map_or(now, |due_us| {
        Timestamp::from_unix_us((due_us + hour_us).max(now.unix_us()))
    }))
}

pub(in crate::store) fn lease_mails(
    db: &Transaction<'_>,
    now: Timestamp,
    lease_s: u32,
    limit: u32,
    postman: String,
) -> rusqlite::Result<Vec<LeasedMail>> {
    let mut leased: Vec<LeasedMail> = db
        .prepare_cached(
            "UPDATE mails SET next_attempt_at_us = ?2, taken_by = ?4
             WHERE mail_id IN (SELECT mail_id FROM mails
                WHERE state = 'queued' AND next_attempt_at_us <= ?1
                ORDER BY next_attempt_at_us, mail_id LIMIT ?3)
             RETURNING *",
        )?
        .query_map(
            params![
                now.unix_us(),
                now.plus_seconds(i64::from(lease_s)).unix_us(),
                limit,
                postman
            ],
            |row| {
                Ok(LeasedMail {
                    mail_id: row.get("mail_id")?,
                    message_id: row.get("message_id")?,
                    recipient: row.get("recipient")?,
                    sender: row.get("sender")?,
                    raw: row.get("raw")?,
                    attempts: row.get("attempts")?,
                })
            },
        )?
        .collect::<rusqlite::Result<_>>()?;
    // RETURNING promises no order; the oldest letter goes first.
    leased.sort_by_key(|mail| mail.mail_id);
    Ok(leased)
}

pub(in crate::store) fn free_mails(
    db: &Transaction<'_>,
    now: Timestamp,
    postman: String,
) -> rusqlite::Result<u64> {
    let freed = db.execute(
        "UPDATE mails SET next_attempt_at_us = ?1, taken_by = NULL
         WHERE state = 'queued' AND taken_by <> ?2",
        params![now.unix_us(), postman],
    )?;
    Ok(freed as u64)
}

pub(in crate::store) fn settle_mail(
    db: &Transaction<'_>,
    mail_id: i64,
    now: Timestamp,
    fate: MailFate,
) -> rusqlite::Result<()> {
    // Only a queued letter is settled: whoever comes second, after a lease ran out, changes nothing
    // about a letter that was sent.
    match fate {
        MailFate::Sent => {
            let sent = db
                .prepare_cached(
                    "UPDATE mails SET state = 'sent', attempts = attempts + 1, sent_at_us = ?2,
                        last_error = NULL, taken_by = NULL
                     WHERE mail_id = ?1 AND state <> 'sent'",
                )?
                .execute(params![mail_id, now.unix_us()])?;
            // Whatever was refused before, somebody takes mail there now.
            db.prepare_cached(
                "UPDATE contacts SET bounced_at_us = NULL, bounce = NULL
                 WHERE bounced_at_us IS NOT NULL
                   AND address = (SELECT recipient FROM mails WHERE mail_id = ?1)",
            )?
            .execute([mail_id])?;
            Ok(sent)
        }
        MailFate::Later { at, error, asked } => db.execute(
            "UPDATE mails SET attempts = attempts + ?4, next_attempt_at_us = ?2, last_error = ?3,
                taken_by = NULL
             WHERE mail_id = ?1 AND state = 'queued'",
            params![mail_id, at.unix_us(), error, i64::from(asked)],
        ),
        MailFate::Dead { error, unreachable } => {
            if unreachable {
                db.execute(
                    "INSERT INTO contacts (address, bounced_at_us, bounce)
                     SELECT recipient, ?2, ?3 FROM mails WHERE mail_id = ?1
                     ON CONFLICT (address) DO UPDATE SET bounced_at_us = ?2, bounce = ?3",
                    params![mail_id, now.unix_us(), error],
                )?;
            }
            db.execute(
                "UPDATE mails SET state = 'dead', attempts = attempts + 1, last_error = ?2, taken_by = NULL
                 WHERE mail_id = ?1 AND state = 'queued'",
                params![mail_id, error],
            )
        }
    }?;
    Ok(())
}

pub(in crate::store) fn mails(
    db: &Connection,
    state: Option<MailState>,
    limit: u32,
) -> rusqlite::Result<Vec<MailRecord>> {
    db.prepare_cached(
        "SELECT mail_id, message_id, recipient, subject, state, attempts, next_attempt_at_us, last_error,
            created_at_us, sent_at_us
         FROM mails WHERE ?1 IS NULL OR state = ?1 ORDER BY mail_id DESC LIMIT ?2",
    )?
    .query_map(params![state.map(MailState::as_str), limit], mail_record)?
    .collect()
}

pub(in crate::store) fn send_again(
    db: &Transaction<'_>,
    mail_id: i64,
    now: Timestamp,
    act: Act,
) -> rusqlite::Result<bool> {
    let revived = db.execute(
        "UPDATE mails SET state = 'queued', attempts = 0, next_attempt_at_us = ?2
         WHERE mail_id = ?1 AND state = 'dead'",
        params![mail_id, now.unix_us()],
    )?;
    if revived > 0 {
        append(db, &act)?;
    }
    Ok(revived > 0)
}

pub(in crate::store) fn last_letter_about(
    db: &Connection,
    topic: String,
) -> rusqlite::Result<Option<Timestamp>> {
    let last: Option<i64> = db
        .prepare_cached("SELECT max(created_at_us) FROM mails WHERE topic = ?1")?
        .query_row([topic], |row| row.get(0))?;
    Ok(last.map(Timestamp::from_unix_us))
}

pub(in crate::store) fn next_mail_at(db: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let next: Option<Option<i64>> = db
        .query_row(
            "SELECT min(next_attempt_at_us) FROM mails WHERE state = 'queued'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Ok(next.flatten().map(Timestamp::from_unix_us))
}

fn mail_record(row: &Row<'_>) -> rusqlite::Result<MailRecord> {
    Ok(MailRecord {
        mail_id: row.get("mail_id")?,
        message_id: row.get("message_id")?,
        recipient: row.get("recipient")?,
        subject: row.get("subject")?,
        state: text(row, "state")?,
        attempts: row.get("attempts")?,
        next_attempt_at: moment(row, "next_attempt_at_us")?,
        last_error: row.get("last_error")?,
        created_at: moment(row, "created_at_us")?,
        sent_at: optional_moment(row, "sent_at_us")?,
    })
}
