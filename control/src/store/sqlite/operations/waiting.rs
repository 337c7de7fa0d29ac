//! Acts that wait for a person or for a moment, and leases.

use base::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::acts::append;
use crate::store::sqlite::row::{integer, moment, optional_moment, text};
use crate::store::{Act, NewWaitingAct, WaitingAct, WaitingDecision};
use crate::words::WaitingState;

pub(in crate::store) fn ask_to_wait(
    db: &Transaction<'_>,
    act: NewWaitingAct,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let added = db.execute(
        "INSERT INTO waiting_acts (plugin_id, artifact_digest, action, reason, clause, enabled_by, why,
            asked_at_us, due_at_us, expires_at_us, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'waiting') ON CONFLICT DO NOTHING",
        params![
            act.plugin_id.as_str(),
            act.artifact_digest.to_string(),
            act.action.as_str(),
            act.reason.as_str(),
            act.clause,
            act.enabled_by,
            act.why,
            now.unix_us(),
            act.due_at.map(Timestamp::unix_us),
            act.expires_at.unix_us(),
        ],
    )?;
    Ok(added > 0)
}

pub(in crate::store) fn waiting_acts(
    db: &Connection,
    state: Option<WaitingState>,
    limit: u32,
) -> rusqlite::Result<Vec<WaitingAct>> {
    db.prepare_cached(
        "SELECT * FROM waiting_acts WHERE ?1 IS NULL OR state = ?1 ORDER BY waiting_id DESC LIMIT ?2",
    )?
    .query_map(params![state.map(|state| state.as_str()), limit], waiting)?
    .collect()
}

pub(in crate::store) fn waiting_act(
    db: &Connection,
    waiting_id: i64,
) -> rusqlite::Result<Option<WaitingAct>> {
    db.prepare_cached("SELECT * FROM waiting_acts WHERE waiting_id = ?1")?
        .query_row([waiting_id], waiting)
        .optional()
}

pub(in crate::store) fn due_acts(db: &Connection, now: Timestamp) -> rusqlite::Result<Vec<WaitingAct>> {
    db.prepare_cached(
        "SELECT * FROM waiting_acts WHERE state = 'waiting' AND due_at_us <= ?1 ORDER BY waiting_id",
    )?
    .query_map([now.unix_us()], waiting)?
    .collect()
}

pub(in crate::store) fn decide_waiting_act(
    db: &Transaction<'_>,
    waiting_id: i64,
    decision: WaitingDecision,
    acts: Vec<Act>,
) -> rusqlite::Result<bool> {
    let decided = db.execute(
        "UPDATE waiting_acts SET state = ?2, decided_by = ?3, decided_at_us = ?4, note = ?5, crl_number = ?6
         WHERE waiting_id = ?1 AND state = 'waiting'",
        params![
            waiting_id,
            decision.state.as_str(),
            decision.by,
            decision.at.unix_us(),
            decision.note,
            decision.crl_number.map(integer),
        ],
    )?;
    if decided > 0 {
        acts.iter().try_for_each(|act| append(db, act))?;
    }
    Ok(decided > 0)
}

pub(in crate::store) fn lapse_waiting_acts(db: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<u64> {
    let lapsed = db.execute(
        "UPDATE waiting_acts SET state = 'expired', decided_at_us = ?1
         WHERE state = 'waiting' AND due_at_us IS NULL AND expires_at_us <= ?1",
        [now.unix_us()],
    )?;
    Ok(lapsed as u64)
}

pub(in crate::store) fn take_lease(
    db: &Transaction<'_>,
    name: &str,
    holder: String,
    now: Timestamp,
    until: Timestamp,
) -> rusqlite::Result<bool> {
    let taken = db.execute(
        "INSERT INTO leases (name, holder, expires_at_us) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at_us = excluded.expires_at_us
            WHERE holder = excluded.holder OR expires_at_us <= ?4",
        params![name, holder, until.unix_us(), now.unix_us()],
    )?;
    Ok(taken > 0)
}

pub(in crate::store) fn return_lease(
    db: &Transaction<'_>,
    name: &str,
    holder: String,
) -> rusqlite::Result<()> {
    db.execute(
        "DELETE FROM leases WHERE name = ?1 AND holder = ?2",
        params![name, holder],
    )?;
    Ok(())
}

fn waiting(row: &Row<'_>) -> rusqlite::Result<WaitingAct> {
    Ok(WaitingAct {
        waiting_id: row.get("waiting_id")?,
        asked: NewWaitingAct {
            plugin_id: text(row, "plugin_id")?,
            artifact_digest: text(row, "artifact_digest")?,
            action: text(row, "action")?,
            reason: text(row, "reason")?,
            clause: row.get("clause")?,
            enabled_by: row.get("enabled_by")?,
            why: row.get("why")?,
            due_at: optional_moment(row, "due_at_us")?,
            expires_at: moment(row, "expires_at_us")?,
        },
        asked_at: moment(row, "asked_at_us")?,
        state: text(row, "state")?,
        decided_by: row.get("decided_by")?,
        decided_at: optional_moment(row, "decided_at_us")?,
        note: row.get("note")?,
        crl_number: row
            .get::<_, Option<i64>>("crl_number")?
            .and_then(|number| u64::try_from(number).ok()),
    })
}
