//! Nights: which audits were due, begun and finished.

use base::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::acts::{set_setting, setting};
use crate::store::NightRecord;
use crate::store::sqlite::row::{moment, optional_moment};

const AUDITED_TO: &str = "last_audited_to_us";

pub(in crate::store) fn begin_night(
    db: &Transaction<'_>,
    scheduled_for: Option<Timestamp>,
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<Option<i64>> {
    if let Some(due) = scheduled_for {
        let known: Option<(i64, Option<i64>)> = db
            .query_row(
                "SELECT night_id, finished_at_us FROM nights WHERE scheduled_for_us = ?1",
                [due.unix_us()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        match known {
            Some((_, Some(_))) => return Ok(None),
            Some((night_id, None)) => {
                db.execute(
                    "UPDATE nights SET from_us = ?2, to_us = ?3, started_at_us = ?4 WHERE night_id = ?1",
                    params![night_id, from.unix_us(), to.unix_us(), now.unix_us()],
                )?;
                return Ok(Some(night_id));
            }
            None => {}
        }
    }
    db.execute(
        "INSERT INTO nights (scheduled_for_us, from_us, to_us, started_at_us) VALUES (?1, ?2, ?3, ?4)",
        params![
            scheduled_for.map(Timestamp::unix_us),
            from.unix_us(),
            to.unix_us(),
            now.unix_us()
        ],
    )?;
    Ok(Some(db.last_insert_rowid()))
}

pub(in crate::store) fn finish_night(
    db: &Transaction<'_>,
    night_id: i64,
    now: Timestamp,
    outcome: String,
    audited_to: Option<Timestamp>,
) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE nights SET finished_at_us = ?2, outcome = ?3 WHERE night_id = ?1",
        params![night_id, now.unix_us(), outcome],
    )?;
    match (audited_to, last_audited_to(db)?) {
        (Some(to), known) if known.is_none_or(|known| known < to) => {
            set_setting(db, AUDITED_TO, to.unix_us().to_string(), None)
        }
        _ => Ok(()),
    }
}

pub(in crate::store) fn night_for(
    db: &Connection,
    scheduled_for: Timestamp,
) -> rusqlite::Result<Option<NightRecord>> {
    db.query_row(
        "SELECT * FROM nights WHERE scheduled_for_us = ?1",
        [scheduled_for.unix_us()],
        night_record,
    )
    .optional()
}

pub(in crate::store) fn latest_night(db: &Connection) -> rusqlite::Result<Option<NightRecord>> {
    db.query_row(
        "SELECT * FROM nights ORDER BY started_at_us DESC, night_id DESC LIMIT 1",
        [],
        night_record,
    )
    .optional()
}

pub(in crate::store) fn last_audited_to(db: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    setting(db, AUDITED_TO)?
        .map(|text| {
            text.parse().map(Timestamp::from_unix_us).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
            })
        })
        .transpose()
}

fn night_record(row: &Row<'_>) -> rusqlite::Result<NightRecord> {
    Ok(NightRecord {
        night_id: row.get("night_id")?,
        scheduled_for: optional_moment(row, "scheduled_for_us")?,
        from: moment(row, "from_us")?,
        to: moment(row, "to_us")?,
        started_at: moment(row, "started_at_us")?,
        finished_at: optional_moment(row, "finished_at_us")?,
        outcome: row.get("outcome")?,
    })
}
