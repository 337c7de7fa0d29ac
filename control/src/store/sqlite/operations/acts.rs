//! Settings, acts, and the changes of the revocation list that tie the registry to the list.

use base::{ArtifactDigest, ArtifactState, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use crate::store::sqlite::row::{count, integer, moment, optional_text, text};
use crate::store::{Act, Counts};

pub(in crate::store) fn setting(db: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT value FROM settings WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

pub(in crate::store) fn set_setting(
    db: &Transaction<'_>,
    name: &str,
    value: String,
    act: Option<Act>,
) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO settings (name, value) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        params![name, value],
    )?;
    act.iter().try_for_each(|act| append(db, act))
}

/// Changes a setting where it has another value, and says who did it only then.
pub(in crate::store) fn change_setting(
    db: &Transaction<'_>,
    name: &str,
    value: String,
    act: Act,
) -> rusqlite::Result<bool> {
    let is_new = setting(db, name)?.as_ref() != Some(&value);
    if is_new {
        set_setting(db, name, value, Some(act))?;
    }
    Ok(is_new)
}

/// Appends one act; part of whatever transaction the act belongs to.
pub(super) fn append(db: &Connection, act: &Act) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO acts (at_us, who, action, target, reason, note, clause, enabled_by, crl_number)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        act.at.unix_us(),
        act.who,
        act.action.as_str(),
        act.target,
        act.reason.map(|reason| reason.as_str()),
        act.note,
        act.clause,
        act.enabled_by,
        act.crl_number.map(integer),
    ])?;
    Ok(())
}

pub(in crate::store) fn acts(db: &Connection, limit: u32) -> rusqlite::Result<Vec<Act>> {
    db.prepare_cached("SELECT * FROM acts ORDER BY act_id DESC LIMIT ?1")?
        .query_map([limit], act)?
        .collect()
}

pub(in crate::store) fn automatic_acts(db: &Connection, from: Timestamp) -> rusqlite::Result<Vec<Act>> {
    db.prepare_cached("SELECT * FROM acts WHERE clause IS NOT NULL AND at_us >= ?1 ORDER BY act_id")?
        .query_map([from.unix_us()], act)?
        .collect()
}

pub(in crate::store) fn watch_artifact(
    db: &Transaction<'_>,
    artifact_digest: ArtifactDigest,
    act: Act,
) -> rusqlite::Result<bool> {
    let changed = db.execute(
        "UPDATE artifacts SET state = 'watch', changed_at_us = ?2
         WHERE artifact_digest = ?1 AND state IN ('certified', 'admitted', 'reinstated')",
        params![artifact_digest.to_string(), act.at.unix_us()],
    )?;
    if changed > 0 {
        append(db, &act)?;
    }
    Ok(changed > 0)
}

fn act(row: &Row<'_>) -> rusqlite::Result<Act> {
    Ok(Act {
        at: moment(row, "at_us")?,
        who: row.get("who")?,
        action: text(row, "action")?,
        target: row.get("target")?,
        reason: optional_text(row, "reason")?,
        note: row.get("note")?,
        clause: row.get("clause")?,
        enabled_by: row.get("enabled_by")?,
        crl_number: row
            .get::<_, Option<i64>>("crl_number")?
            .and_then(|number| u64::try_from(number).ok()),
    })
}

pub(in crate::store) fn note_change(
    db: &Transaction<'_>,
    crl_number: u64,
    acts: Vec<Act>,
) -> rusqlite::Result<()> {
    let json = serde_json::to_string(&acts)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    drop_change(db)?;
    db.execute(
        "INSERT INTO pending_change (crl_number, acts_json) VALUES (?1, ?2)",
        params![integer(crl_number), json],
    )?;
    Ok(())
}

pub(in crate::store) fn pending_change(db: &Connection) -> rusqlite::Result<Option<(u64, Vec<Act>)>> {
    db.query_row("SELECT crl_number, acts_json FROM pending_change", [], |row| {
        let json: String = row.get("acts_json")?;
        let acts = serde_json::from_str(&json).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error))
        })?;
        Ok((count(row, "crl_number")?, acts))
    })
    .optional()
}

pub(in crate::store) fn record_change(
    db: &Transaction<'_>,
    acts: Vec<Act>,
    states: Vec<(ArtifactDigest, ArtifactState)>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    acts.iter().try_for_each(|act| append(db, act))?;
    for (artifact_digest, state) in states {
        db.prepare_cached(
            "UPDATE artifacts SET state = ?2, changed_at_us = ?3
             WHERE artifact_digest = ?1 AND state <> ?2 AND state <> 'revoked'",
        )?
        .execute(params![
            artifact_digest.to_string(),
            state.as_str(),
            now.unix_us()
        ])?;
    }
    drop_change(db)
}

pub(in crate::store) fn drop_change(db: &Transaction<'_>) -> rusqlite::Result<()> {
    db.execute("DELETE FROM pending_change", [])?;
    Ok(())
}

pub(in crate::store) fn counts(db: &Connection, now: Timestamp) -> rusqlite::Result<Counts> {
    let number = |sql: &str| db.query_row(sql, [], |row| count(row, "n"));
    let artifacts = db
        .prepare_cached("SELECT state, count(*) AS n FROM artifacts GROUP BY state ORDER BY state")?
        .query_map([], |row| Ok((text(row, "state")?, count(row, "n")?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Counts {
        plugins: number("SELECT count(*) AS n FROM plugins")?,
        artifacts,
        live_runs: db.query_row(
            "SELECT count(*) AS n FROM runs WHERE ended_at_us IS NULL AND expires_at_us > ?1",
            [now.unix_us()],
            |row| count(row, "n"),
        )?,
        reports: number("SELECT count(*) AS n FROM reports")?,
        mails_queued: number("SELECT count(*) AS n FROM mails WHERE state = 'queued'")?,
        mails_dead: number("SELECT count(*) AS n FROM mails WHERE state = 'dead'")?,
    })
}
