//! Plugins, artifacts and their passages through the load gate.

use base::{ArtifactDigest, PluginId, Sha256Digest, Tier};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::acts::append;
use crate::store::sqlite::row::{count, integer, json, moment, optional_text, text, to_json};
use crate::store::{Act, AdmissionRecord, ArtifactNames, ArtifactRecord, NewAdmission, PluginRecord};

/// An artifact with its latest admission.
const ARTIFACT: &str = "SELECT a.*, d.manifest_json, d.manifest_payload_sha256, d.manifest_bundle,
        d.approval_bundle, d.sbom_sha256, d.components_json, d.signer, d.admitted_at_us, d.admitted_by
    FROM artifacts a JOIN admissions d ON d.artifact_digest = a.artifact_digest
        AND d.admission_id = (SELECT max(admission_id) FROM admissions l
            WHERE l.artifact_digest = a.artifact_digest)";

pub(in crate::store) fn admit(
    db: &Transaction<'_>,
    new: NewAdmission,
    acts: Vec<Act>,
) -> rusqlite::Result<()> {
    let at_us = new.admission.admitted_at.unix_us();
    let digest = new.artifact_digest.to_string();
    db.execute(
        "INSERT INTO plugins (plugin_id, tier, owner_name, owner_email, created_at_us)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (plugin_id) DO UPDATE SET
            tier = coalesce(excluded.tier, tier),
            owner_name = coalesce(excluded.owner_name, owner_name),
            owner_email = coalesce(excluded.owner_email, owner_email)",
        params![
            new.plugin_id.as_str(),
            new.tier.map(|tier| tier.as_str()),
            new.owner_name,
            new.owner_email,
            at_us
        ],
    )?;
    // An artifact that may run keeps the state it has; `watch` and `reinstated` say more than
    // `admitted`. The gate does not let held or revoked artifacts through.
    db.execute(
        "INSERT INTO artifacts (artifact_digest, plugin_id, version, state, file_name, size_bytes,
            created_at_us, changed_at_us)
         VALUES (?1, ?2, ?3, 'admitted', ?4, ?5, ?6, ?6)
         ON CONFLICT (artifact_digest) DO UPDATE SET
            version = excluded.version,
            file_name = excluded.file_name,
            state = CASE WHEN state IN ('watch', 'reinstated', 'revoked') THEN state ELSE 'admitted' END,
            changed_at_us = CASE WHEN state IN ('admitted', 'watch', 'reinstated', 'revoked')
                THEN changed_at_us ELSE excluded.changed_at_us END",
        params![
            digest,
            new.plugin_id.as_str(),
            new.version,
            new.file_name,
            integer(new.size_bytes),
            at_us
        ],
    )?;
    if new.supersede {
        db.execute(
            "UPDATE artifacts SET state = 'superseded', changed_at_us = ?3
             WHERE plugin_id = ?1 AND artifact_digest <> ?2
                AND state IN ('certified', 'admitted', 'watch', 'reinstated')",
            params![new.plugin_id.as_str(), digest, at_us],
        )?;
    }
    let admission = &new.admission;
    db.execute(
        "INSERT INTO admissions (artifact_digest, manifest_json, manifest_payload_sha256, manifest_bundle,
            approval_bundle, sbom_sha256, signer, admitted_at_us, admitted_by, components_json)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            digest,
            admission.manifest_json,
            admission.manifest_payload_sha256.to_string(),
            admission.manifest_bundle,
            admission.approval_bundle,
            admission.sbom_sha256.map(|digest| digest.to_string()),
            admission.signer.to_string(),
            at_us,
            admission.admitted_by,
            to_json(&admission.components)?,
        ],
    )?;
    acts.iter().try_for_each(|act| append(db, act))
}

pub(in crate::store) fn plugins(db: &Connection) -> rusqlite::Result<Vec<PluginRecord>> {
    db.prepare_cached("SELECT * FROM plugins ORDER BY plugin_id")?
        .query_map([], plugin_record)?
        .collect()
}

pub(in crate::store) fn plugin(
    db: &Connection,
    plugin_id: PluginId,
) -> rusqlite::Result<Option<PluginRecord>> {
    db.prepare_cached("SELECT * FROM plugins WHERE plugin_id = ?1")?
        .query_row([plugin_id.as_str()], plugin_record)
        .optional()
}

pub(in crate::store) fn set_tier(
    db: &Transaction<'_>,
    plugin_id: PluginId,
    tier: Tier,
    act: Act,
) -> rusqlite::Result<bool> {
    let changed = db.execute(
        "UPDATE plugins SET tier = ?2 WHERE plugin_id = ?1",
        params![plugin_id.as_str(), tier.as_str()],
    )?;
    if changed > 0 {
        append(db, &act)?;
    }
    Ok(changed > 0)
}

pub(in crate::store) fn artifacts(
    db: &Connection,
    plugin_id: Option<PluginId>,
) -> rusqlite::Result<Vec<ArtifactRecord>> {
    db.prepare_cached(&format!(
        "{ARTIFACT} WHERE ?1 IS NULL OR a.plugin_id = ?1
         ORDER BY a.created_at_us DESC, a.rowid DESC"
    ))?
    .query_map([plugin_id.as_ref().map(PluginId::as_str)], artifact_record)?
    .collect()
}

pub(in crate::store) fn artifact(
    db: &Connection,
    artifact_digest: ArtifactDigest,
) -> rusqlite::Result<Option<ArtifactRecord>> {
    db.prepare_cached(&format!("{ARTIFACT} WHERE a.artifact_digest = ?1"))?
        .query_row([artifact_digest.to_string()], artifact_record)
        .optional()
}

pub(in crate::store) fn admissions(
    db: &Connection,
    artifact_digest: ArtifactDigest,
) -> rusqlite::Result<Vec<AdmissionRecord>> {
    db.prepare_cached("SELECT * FROM admissions WHERE artifact_digest = ?1 ORDER BY admission_id")?
        .query_map([artifact_digest.to_string()], admission_record)?
        .collect()
}

pub(in crate::store) fn artifact_names(db: &Connection) -> rusqlite::Result<Vec<ArtifactNames>> {
    // max() in an aggregate picks the row that the other columns come from (SQLite, "bare columns").
    db.prepare_cached(
        "SELECT a.artifact_digest, a.plugin_id, a.state, d.manifest_payload_sha256, d.signer,
            d.manifest_json, max(d.admission_id)
         FROM artifacts a JOIN admissions d ON d.artifact_digest = a.artifact_digest
         GROUP BY a.artifact_digest ORDER BY a.artifact_digest",
    )?
    .query_map([], |row| {
        Ok(ArtifactNames {
            artifact_digest: text(row, "artifact_digest")?,
            plugin_id: text(row, "plugin_id")?,
            state: text(row, "state")?,
            manifest_payload_sha256: text(row, "manifest_payload_sha256")?,
            signer: text(row, "signer")?,
            manifest_json: row.get("manifest_json")?,
        })
    })?
    .collect()
}

fn plugin_record(row: &Row<'_>) -> rusqlite::Result<PluginRecord> {
    Ok(PluginRecord {
        plugin_id: text(row, "plugin_id")?,
        tier: optional_text(row, "tier")?,
        owner_name: row.get("owner_name")?,
        owner_email: row.get("owner_email")?,
        created_at: moment(row, "created_at_us")?,
    })
}

fn artifact_record(row: &Row<'_>) -> rusqlite::Result<ArtifactRecord> {
    Ok(ArtifactRecord {
        artifact_digest: text(row, "artifact_digest")?,
        plugin_id: text(row, "plugin_id")?,
        version: row.get("version")?,
        state: text(row, "state")?,
        file_name: row.get("file_name")?,
        size_bytes: count(row, "size_bytes")?,
        created_at: moment(row, "created_at_us")?,
        changed_at: moment(row, "changed_at_us")?,
        admission: admission_record(row)?,
    })
}

fn admission_record(row: &Row<'_>) -> rusqlite::Result<AdmissionRecord> {
    Ok(AdmissionRecord {
        manifest_json: row.get("manifest_json")?,
        manifest_payload_sha256: text::<Sha256Digest>(row, "manifest_payload_sha256")?,
        manifest_bundle: row.get("manifest_bundle")?,
        approval_bundle: row.get("approval_bundle")?,
        sbom_sha256: optional_text(row, "sbom_sha256")?,
        components: json(row, "components_json")?,
        signer: text(row, "signer")?,
        admitted_at: moment(row, "admitted_at_us")?,
        admitted_by: row.get("admitted_by")?,
    })
}
