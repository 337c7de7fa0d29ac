//! Reports: where each one lies and what it said.

use base::{ArtifactDigest, PluginId, RunId, Sha256Digest, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use crate::store::sqlite::row::{count, integer, moment, optional_text, text};
use crate::store::{Line, ReportRecord, WeekRecord};

pub(in crate::store) fn add_reports(
    db: &Transaction<'_>,
    reports: Vec<ReportRecord>,
) -> rusqlite::Result<usize> {
    let mut added = 0;
    for report in reports {
        added += add_report(db, report)?;
    }
    Ok(added)
}

fn add_report(db: &Transaction<'_>, report: ReportRecord) -> rusqlite::Result<usize> {
    db.prepare_cached(
        "INSERT INTO reports (report_id, plugin_id, artifact_digest, run_id, from_us, to_us, verdict, folder,
            created_at_us, line_at, line_bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (report_id) DO NOTHING",
    )?
    .execute(params![
        report.report_id.to_string(),
        report.plugin_id.as_str(),
        report.artifact_digest.map(|digest| digest.to_string()),
        report.run_id.map(|run_id| run_id.to_string()),
        report.from.unix_us(),
        report.to.unix_us(),
        report.verdict.as_str(),
        report.folder,
        report.created_at.unix_us(),
        report.line.map(|line| integer(line.at)),
        report.line.map(|line| integer(line.bytes)),
    ])
}

pub(in crate::store) fn reports(
    db: &Connection,
    plugin_id: Option<PluginId>,
    limit: u32,
) -> rusqlite::Result<Vec<ReportRecord>> {
    db.prepare_cached(
        "SELECT * FROM reports WHERE ?1 IS NULL OR plugin_id = ?1
         ORDER BY to_us DESC, created_at_us DESC, rowid DESC LIMIT ?2",
    )?
    .query_map(
        params![plugin_id.as_ref().map(PluginId::as_str), limit],
        report_record,
    )?
    .collect()
}

pub(in crate::store) fn reports_to(
    db: &Connection,
    plugin_id: PluginId,
    artifact_digest: ArtifactDigest,
    to: Timestamp,
) -> rusqlite::Result<Vec<ReportRecord>> {
    db.prepare_cached(
        "SELECT * FROM reports WHERE plugin_id = ?1 AND to_us = ?3 AND artifact_digest = ?2
         ORDER BY created_at_us DESC, rowid DESC",
    )?
    .query_map(
        params![plugin_id.as_str(), artifact_digest.to_string(), to.unix_us()],
        report_record,
    )?
    .collect()
}

pub(in crate::store) fn weeks(db: &Connection, since: Timestamp) -> rusqlite::Result<Vec<WeekRecord>> {
    // The epoch was a Thursday; a period that ends on the first moment of a Monday belongs to the week
    // before.
    const DAY_US: i64 = 24 * 3600 * 1_000_000;
    const WEEK_US: i64 = 7 * DAY_US;
    const TO_MONDAY_US: i64 = 3 * DAY_US;
    db.prepare_cached(
        "SELECT (to_us - 1 + ?2) / ?1 AS week,
            count(*) FILTER (WHERE verdict = 'conforming') AS conforming,
            count(*) FILTER (WHERE verdict = 'non_conforming') AS non_conforming,
            count(*) FILTER (WHERE verdict = 'inconclusive') AS inconclusive,
            count(*) FILTER (WHERE verdict = 'no_traffic') AS no_traffic,
            count(DISTINCT artifact_digest) FILTER (WHERE verdict = 'non_conforming') AS broke
         FROM reports WHERE run_id IS NULL AND to_us > ?3 GROUP BY week ORDER BY week DESC",
    )?
    .query_map(params![WEEK_US, TO_MONDAY_US, since.unix_us()], |row| {
        let week: i64 = row.get("week")?;
        Ok(WeekRecord {
            from: Timestamp::from_unix_us(week * WEEK_US - TO_MONDAY_US),
            conforming: count(row, "conforming")?,
            non_conforming: count(row, "non_conforming")?,
            inconclusive: count(row, "inconclusive")?,
            no_traffic: count(row, "no_traffic")?,
            artifacts_not_conforming: count(row, "broke")?,
        })
    })?
    .collect()
}

pub(in crate::store) fn report(
    db: &Connection,
    report_id: Sha256Digest,
) -> rusqlite::Result<Option<ReportRecord>> {
    db.prepare_cached("SELECT * FROM reports WHERE report_id = ?1")?
        .query_row([report_id.to_string()], report_record)
        .optional()
}

pub(in crate::store) fn reports_before(
    db: &Connection,
    plugin_id: PluginId,
    artifact_digest: ArtifactDigest,
    runs: Vec<RunId>,
    from: Timestamp,
) -> rusqlite::Result<Vec<ReportRecord>> {
    let mut found = Vec::new();
    for run_id in std::iter::once(None).chain(runs.into_iter().map(Some)) {
        found.extend(report_history(
            db,
            plugin_id.clone(),
            artifact_digest,
            run_id,
            from,
            1,
        )?);
    }
    Ok(found)
}

pub(in crate::store) fn report_history(
    db: &Connection,
    plugin_id: PluginId,
    artifact_digest: ArtifactDigest,
    run_id: Option<RunId>,
    from: Timestamp,
    limit: u32,
) -> rusqlite::Result<Vec<ReportRecord>> {
    // Two statements, because each has an index of its own.
    const OF_RUN: &str = "SELECT * FROM reports
         WHERE run_id = ?5 AND plugin_id = ?1 AND artifact_digest = ?2 AND from_us < ?3
         ORDER BY to_us DESC, created_at_us DESC, rowid DESC LIMIT ?4";
    const OF_ARTIFACT: &str = "SELECT * FROM reports
         WHERE run_id IS NULL AND plugin_id = ?1 AND artifact_digest = ?2 AND from_us < ?3 AND ?5 IS NULL
         ORDER BY to_us DESC, created_at_us DESC, rowid DESC LIMIT ?4";
    db.prepare_cached(if run_id.is_some() { OF_RUN } else { OF_ARTIFACT })?
        .query_map(
            params![
                plugin_id.as_str(),
                artifact_digest.to_string(),
                from.unix_us(),
                limit,
                run_id.map(|run_id| run_id.to_string()),
            ],
            report_record,
        )?
        .collect()
}

fn report_line(row: &Row<'_>) -> rusqlite::Result<Option<Line>> {
    let at: Option<i64> = row.get("line_at")?;
    at.map(|_| {
        Ok(Line {
            at: count(row, "line_at")?,
            bytes: count(row, "line_bytes")?,
        })
    })
    .transpose()
}

fn report_record(row: &Row<'_>) -> rusqlite::Result<ReportRecord> {
    Ok(ReportRecord {
        report_id: text(row, "report_id")?,
        plugin_id: text(row, "plugin_id")?,
        artifact_digest: optional_text(row, "artifact_digest")?,
        run_id: optional_text(row, "run_id")?,
        from: moment(row, "from_us")?,
        to: moment(row, "to_us")?,
        verdict: text(row, "verdict")?,
        folder: row.get("folder")?,
        line: report_line(row)?,
        created_at: moment(row, "created_at_us")?,
    })
}
