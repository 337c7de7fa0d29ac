//! Runs.

use base::{PluginId, RunId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use crate::store::sqlite::row::{count, json, moment, optional_moment, text, to_json};
use crate::store::{RunFilter, RunRecord};

pub(in crate::store) fn start_run(db: &Transaction<'_>, run: RunRecord) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO runs (run_id, artifact_digest, plugin_id, started_at_us, expires_at_us, started_by,
            listeners_json, socket_uid, sources_json, data_class)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            run.run_id.to_string(),
            run.artifact_digest.to_string(),
            run.plugin_id.as_str(),
            run.started_at.unix_us(),
            run.expires_at.unix_us(),
            run.started_by,
            to_json(&run.listeners)?,
            run.socket_uid,
            to_json(&run.sources)?,
            run.data_class,
        ],
    )?;
    Ok(())
}

pub(in crate::store) fn end_run(
    db: &Transaction<'_>,
    run_id: RunId,
    at: Timestamp,
    exit_status: Option<i32>,
) -> rusqlite::Result<Option<RunRecord>> {
    db.execute(
        "UPDATE runs SET ended_at_us = ?2, exit_status = ?3 WHERE run_id = ?1 AND ended_at_us IS NULL",
        params![run_id.to_string(), at.unix_us(), exit_status],
    )?;
    run(db, run_id)
}

pub(in crate::store) fn run(db: &Connection, run_id: RunId) -> rusqlite::Result<Option<RunRecord>> {
    db.prepare_cached("SELECT * FROM runs WHERE run_id = ?1")?
        .query_row([run_id.to_string()], run_record)
        .optional()
}

pub(in crate::store) fn runs(db: &Connection, filter: RunFilter) -> rusqlite::Result<Vec<RunRecord>> {
    db.prepare_cached(
        "SELECT * FROM runs
         WHERE (?1 IS NULL OR plugin_id = ?1)
            AND (?2 IS NULL OR artifact_digest = ?2)
            AND (?3 IS NULL OR min(coalesce(ended_at_us, expires_at_us), expires_at_us) > ?3)
            AND (?4 IS NULL OR started_at_us < ?4)
         ORDER BY started_at_us DESC, run_id DESC LIMIT ?5",
    )?
    .query_map(
        params![
            filter.plugin_id.as_ref().map(PluginId::as_str),
            filter.artifact_digest.map(|digest| digest.to_string()),
            filter.live_from.map(Timestamp::unix_us),
            filter.started_before.map(Timestamp::unix_us),
            // SQLite reads a negative limit as none.
            filter.limit.map_or(-1, i64::from),
        ],
        run_record,
    )?
    .collect()
}

pub(in crate::store) fn ended_runs(db: &Connection, now: Timestamp) -> rusqlite::Result<Vec<RunId>> {
    db.prepare_cached(
        "SELECT run_id FROM runs WHERE expires_at_us > ?1 AND ended_at_us IS NOT NULL ORDER BY run_id",
    )?
    .query_map([now.unix_us()], |row| text(row, "run_id"))?
    .collect()
}

pub(in crate::store) fn running_plugins(db: &Connection, now: Timestamp) -> rusqlite::Result<u64> {
    db.prepare_cached(
        "SELECT count(DISTINCT plugin_id) AS n FROM runs WHERE ended_at_us IS NULL AND expires_at_us > ?1",
    )?
    .query_row([now.unix_us()], |row| count(row, "n"))
}

fn run_record(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    Ok(RunRecord {
        run_id: text(row, "run_id")?,
        artifact_digest: text(row, "artifact_digest")?,
        plugin_id: text(row, "plugin_id")?,
        started_at: moment(row, "started_at_us")?,
        expires_at: moment(row, "expires_at_us")?,
        ended_at: optional_moment(row, "ended_at_us")?,
        exit_status: row.get("exit_status")?,
        started_by: row.get("started_by")?,
        listeners: json(row, "listeners_json")?,
        socket_uid: row.get("socket_uid")?,
        sources: json(row, "sources_json")?,
        data_class: row.get("data_class")?,
    })
}
