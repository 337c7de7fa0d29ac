//! Remediations: which build mends which finding.

use base::{Sha256Digest, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::acts::append;
use crate::store::sqlite::row::{moment, optional_moment, optional_text, text};
use crate::store::{Act, NewRemediation, RemediationRecord};

pub(in crate::store) fn add_remediation(
    db: &Transaction<'_>,
    new: NewRemediation,
    now: Timestamp,
    act: Act,
) -> rusqlite::Result<()> {
    let added = db.execute(
        "INSERT INTO remediations (plugin_id, finding_id, report_id, finding, finding_key, mends_digest,
            artifact_digest, lane, difference, admitted_at_us, admitted_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (finding_id, artifact_digest) DO NOTHING",
        params![
            new.plugin_id.as_str(),
            new.finding_id,
            new.report_id.to_string(),
            new.finding,
            new.finding_key,
            new.mends_digest.to_string(),
            new.artifact_digest.to_string(),
            new.lane.as_str(),
            new.difference,
            now.unix_us(),
            act.who
        ],
    )?;
    if added > 0 {
        append(db, &act)?;
    }
    Ok(())
}

pub(in crate::store) fn remediations(
    db: &Connection,
    open_only: bool,
) -> rusqlite::Result<Vec<RemediationRecord>> {
    db.prepare_cached(
        "SELECT * FROM remediations WHERE NOT ?1 OR closed_at_us IS NULL ORDER BY remediation_id DESC",
    )?
    .query_map([open_only], remediation_record)?
    .collect()
}

pub(in crate::store) fn remediation(
    db: &Connection,
    remediation_id: i64,
) -> rusqlite::Result<Option<RemediationRecord>> {
    db.prepare_cached("SELECT * FROM remediations WHERE remediation_id = ?1")?
        .query_row([remediation_id], remediation_record)
        .optional()
}

/// Closes a remediation; `false` where it was closed before.
pub(in crate::store) fn close_remediation(
    db: &Transaction<'_>,
    remediation_id: i64,
    closed_by: Sha256Digest,
    folder: String,
    now: Timestamp,
    act: Act,
) -> rusqlite::Result<bool> {
    let closed = db.execute(
        "UPDATE remediations SET closed_at_us = ?2, closed_by = ?3, folder = ?4
         WHERE remediation_id = ?1 AND closed_at_us IS NULL",
        params![remediation_id, now.unix_us(), closed_by.to_string(), folder],
    )?;
    if closed > 0 {
        append(db, &act)?;
    }
    Ok(closed > 0)
}

fn remediation_record(row: &Row<'_>) -> rusqlite::Result<RemediationRecord> {
    Ok(RemediationRecord {
        remediation_id: row.get("remediation_id")?,
        plugin_id: text(row, "plugin_id")?,
        finding_id: row.get("finding_id")?,
        report_id: text(row, "report_id")?,
        finding: row.get("finding")?,
        finding_key: row.get("finding_key")?,
        mends_digest: text(row, "mends_digest")?,
        artifact_digest: text(row, "artifact_digest")?,
        lane: text(row, "lane")?,
        difference: row.get("difference")?,
        admitted_at: moment(row, "admitted_at_us")?,
        admitted_by: row.get("admitted_by")?,
        closed_at: optional_moment(row, "closed_at_us")?,
        closed_by: optional_text(row, "closed_by")?,
        folder: row.get("folder")?,
    })
}
