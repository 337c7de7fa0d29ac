//! Appeals: what was promised, what was answered, what was decided.

use base::{PluginId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::acts::append;
use crate::store::sqlite::row::{moment, optional_moment, optional_text, text};
use crate::store::{Act, AppealRecord, AppealStep, NewAppeal};

/// Opens an appeal; `None` where one about the same finding is open.
pub(in crate::store) fn open_appeal(
    db: &Transaction<'_>,
    new: NewAppeal,
    now: Timestamp,
    act: Act,
) -> rusqlite::Result<Option<i64>> {
    let opened = db.execute(
        "INSERT INTO appeals (plugin_id, artifact_digest, finding_id, report_id, finding, reason, statement,
            opened_by, opened_at_us, acknowledge_by_us, respond_by_us, decide_by_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (finding_id) WHERE decided_at_us IS NULL DO NOTHING",
        params![
            new.plugin_id.as_str(),
            new.artifact_digest.to_string(),
            new.finding_id,
            new.report_id.to_string(),
            new.finding,
            new.reason.as_str(),
            new.statement,
            new.opened_by,
            now.unix_us(),
            new.acknowledge_by.unix_us(),
            new.respond_by.unix_us(),
            new.decide_by.unix_us(),
        ],
    )?;
    if opened == 0 {
        return Ok(None);
    }
    let appeal_id = db.last_insert_rowid();
    append(db, &act)?;
    Ok(Some(appeal_id))
}

/// Goes one step further with an open appeal; `false` where it is not open.
pub(in crate::store) fn step_appeal(
    db: &Transaction<'_>,
    appeal_id: i64,
    step: AppealStep,
    now: Timestamp,
    act: Act,
) -> rusqlite::Result<bool> {
    let at = now.unix_us();
    let changed = match step {
        AppealStep::Acknowledged => db.execute(
            "UPDATE appeals SET acknowledged_at_us = coalesce(acknowledged_at_us, ?2)
             WHERE appeal_id = ?1 AND decided_at_us IS NULL",
            params![appeal_id, at],
        ),
        AppealStep::Responded { response } => db.execute(
            "UPDATE appeals SET acknowledged_at_us = coalesce(acknowledged_at_us, ?2), responded_at_us = ?2,
                response = ?3
             WHERE appeal_id = ?1 AND decided_at_us IS NULL",
            params![appeal_id, at, response],
        ),
        AppealStep::Decided {
            outcome,
            decision,
            decided_by,
            protected_until,
            crl_number,
        } => db.execute(
            "UPDATE appeals SET acknowledged_at_us = coalesce(acknowledged_at_us, ?2), decided_at_us = ?2,
                outcome = ?3, decision = ?4, decided_by = ?5, protected_until_us = ?6, crl_number = ?7
             WHERE appeal_id = ?1 AND decided_at_us IS NULL",
            params![
                appeal_id,
                at,
                outcome.as_str(),
                decision,
                decided_by,
                protected_until.map(Timestamp::unix_us),
                crl_number.map(crate::store::sqlite::row::integer)
            ],
        ),
    }?;
    if changed > 0 {
        append(db, &act)?;
    }
    Ok(changed > 0)
}

pub(in crate::store) fn appeals(db: &Connection, open_only: bool) -> rusqlite::Result<Vec<AppealRecord>> {
    db.prepare_cached("SELECT * FROM appeals WHERE NOT ?1 OR decided_at_us IS NULL ORDER BY appeal_id DESC")?
        .query_map([open_only], appeal_record)?
        .collect()
}

pub(in crate::store) fn appeal(db: &Connection, appeal_id: i64) -> rusqlite::Result<Option<AppealRecord>> {
    db.prepare_cached("SELECT * FROM appeals WHERE appeal_id = ?1")?
        .query_row([appeal_id], appeal_record)
        .optional()
}

pub(in crate::store) fn protections(
    db: &Connection,
    now: Timestamp,
) -> rusqlite::Result<Vec<(PluginId, Timestamp)>> {
    db.prepare_cached(
        "SELECT plugin_id, max(protected_until_us) AS until_us FROM appeals
         WHERE protected_until_us > ?1 GROUP BY plugin_id",
    )?
    .query_map([now.unix_us()], |row| {
        Ok((text(row, "plugin_id")?, moment(row, "until_us")?))
    })?
    .collect()
}

fn appeal_record(row: &Row<'_>) -> rusqlite::Result<AppealRecord> {
    Ok(AppealRecord {
        appeal_id: row.get("appeal_id")?,
        plugin_id: text(row, "plugin_id")?,
        artifact_digest: text(row, "artifact_digest")?,
        finding_id: row.get("finding_id")?,
        report_id: text(row, "report_id")?,
        finding: row.get("finding")?,
        reason: text(row, "reason")?,
        statement: row.get("statement")?,
        opened_by: row.get("opened_by")?,
        opened_at: moment(row, "opened_at_us")?,
        acknowledge_by: moment(row, "acknowledge_by_us")?,
        respond_by: moment(row, "respond_by_us")?,
        decide_by: moment(row, "decide_by_us")?,
        acknowledged_at: optional_moment(row, "acknowledged_at_us")?,
        responded_at: optional_moment(row, "responded_at_us")?,
        response: row.get("response")?,
        decided_at: optional_moment(row, "decided_at_us")?,
        decided_by: row.get("decided_by")?,
        outcome: optional_text(row, "outcome")?,
        decision: row.get("decision")?,
        protected_until: optional_moment(row, "protected_until_us")?,
        crl_number: row.get::<_, Option<i64>>("crl_number")?.map(i64::unsigned_abs),
    })
}
