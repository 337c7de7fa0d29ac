//! Addresses: who answered from one, and which a server refused for good.

use base::{Sha256Digest, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::acts::append;
use crate::store::sqlite::row::optional_moment;
use crate::store::{Act, ContactRecord};
use crate::words::Action;

pub(in crate::store) fn contacts(db: &Connection) -> rusqlite::Result<Vec<ContactRecord>> {
    db.prepare_cached(
        "SELECT address, asked_at_us, verified_at_us, bounced_at_us, bounce FROM contacts ORDER BY address",
    )?
    .query_map([], |row| {
        Ok(ContactRecord {
            address: row.get("address")?,
            asked_at: optional_moment(row, "asked_at_us")?,
            verified_at: optional_moment(row, "verified_at_us")?,
            bounced_at: optional_moment(row, "bounced_at_us")?,
            bounce: row.get("bounce")?,
        })
    })?
    .collect()
}

pub(in crate::store) fn ask_contact(
    db: &Transaction<'_>,
    address: String,
    token_sha256: Sha256Digest,
    now: Timestamp,
    act: Act,
) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO contacts (address, token_sha256, asked_at_us) VALUES (?1, ?2, ?3)
         ON CONFLICT (address) DO UPDATE SET token_sha256 = ?2, asked_at_us = ?3",
        params![address, token_sha256.to_string(), now.unix_us()],
    )?;
    append(db, &act)
}

pub(in crate::store) fn confirm_contact(
    db: &Transaction<'_>,
    token_sha256: Sha256Digest,
    now: Timestamp,
    who: String,
) -> rusqlite::Result<Option<String>> {
    // A token is good once.
    let address: Option<String> = db
        .query_row(
            "UPDATE contacts SET token_sha256 = NULL, verified_at_us = ?2, bounced_at_us = NULL, bounce = NULL
             WHERE token_sha256 = ?1 RETURNING address",
            params![token_sha256.to_string(), now.unix_us()],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(address) = &address {
        append(
            db,
            &Act {
                at: now,
                who,
                action: Action::ContactVerified,
                target: address.clone(),
                reason: None,
                note: None,
                clause: None,
                enabled_by: None,
                crl_number: None,
            },
        )?;
    }
    Ok(address)
}

pub(in crate::store) fn bounce_contact(
    db: &Transaction<'_>,
    address: String,
    why: String,
    now: Timestamp,
    act: Act,
) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO contacts (address, bounced_at_us, bounce) VALUES (?1, ?2, ?3)
         ON CONFLICT (address) DO UPDATE SET bounced_at_us = ?2, bounce = ?3",
        params![address, now.unix_us(), why],
    )?;
    append(db, &act)
}
