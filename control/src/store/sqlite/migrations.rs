//! Migrations: numbered SQL files, applied in order, each once, each remembered by its digest.
//!
//! A history that was edited, or that is newer than this program, is refused before anything is
//! touched: guessing what a table means is how registries get lost.

use std::path::Path;

use base::{Sha256Digest, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

use super::failure;
use crate::store::StoreError;

/// All migrations, by number from 1.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_registry.sql"),
    include_str!("migrations/0002_run_listeners.sql"),
    include_str!("migrations/0003_judgement.sql"),
    include_str!("migrations/0004_post.sql"),
    include_str!("migrations/0005_way_back.sql"),
    include_str!("migrations/0006_runs_together.sql"),
];

const HISTORY: &str = "CREATE TABLE IF NOT EXISTS migrations (
    number INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL,
    applied_at_us INTEGER NOT NULL
) STRICT";

pub(super) fn run(connection: &mut Connection, path: &Path, now: Timestamp) -> Result<(), StoreError> {
    apply(connection, path, now, MIGRATIONS)
}

fn apply(
    connection: &mut Connection,
    path: &Path,
    now: Timestamp,
    migrations: &[&str],
) -> Result<(), StoreError> {
    let failed = |error| failure(error, "bring the registry up to date", path);
    // One transaction for all: two processes that start together take turns, and the second finds
    // the work done.
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    transaction.execute_batch(HISTORY).map_err(failed)?;
    let newest: Option<u32> = transaction
        .query_row("SELECT max(number) FROM migrations", [], |row| row.get(0))
        .map_err(failed)?;
    if let Some(number) = newest.filter(|&number| number as usize > migrations.len()) {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            number,
        });
    }
    for (number, sql) in (1u32..).zip(migrations) {
        let digest = Sha256Digest::of(sql.as_bytes()).to_hex();
        let applied: Option<String> = transaction
            .query_row(
                "SELECT sha256 FROM migrations WHERE number = ?1",
                [number],
                |row| row.get(0),
            )
            .optional()
            .map_err(failed)?;
        match applied {
            Some(applied) if applied == digest => {}
            Some(_) => {
                return Err(StoreError::EditedHistory {
                    path: path.to_owned(),
                    number,
                });
            }
            None => {
                transaction.execute_batch(sql).map_err(failed)?;
                transaction
                    .execute(
                        "INSERT INTO migrations (number, sha256, applied_at_us) VALUES (?1, ?2, ?3)",
                        (number, digest, now.unix_us()),
                    )
                    .map_err(failed)?;
            }
        }
    }
    transaction.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_us(1_790_000_000_000_000);
    const FIRST: &str = "CREATE TABLE a (x INTEGER) STRICT;";
    const SECOND: &str = "ALTER TABLE a ADD COLUMN y INTEGER;";

    fn path() -> &'static Path {
        Path::new("registry.db")
    }

    #[test]
    fn each_migration_is_applied_once_and_in_order() {
        let mut db = Connection::open_in_memory().unwrap();
        apply(&mut db, path(), NOW, &[FIRST]).unwrap();
        apply(&mut db, path(), NOW, &[FIRST, SECOND]).unwrap();
        apply(&mut db, path(), NOW, &[FIRST, SECOND]).unwrap();
        db.execute("INSERT INTO a (x, y) VALUES (1, 2)", []).unwrap();
        let applied: u32 = db
            .query_row("SELECT count(*) FROM migrations", [], |row| row.get(0))
            .unwrap();
        assert_eq!(applied, 2);
    }

    #[test]
    fn an_edited_history_is_refused() {
        let mut db = Connection::open_in_memory().unwrap();
        apply(&mut db, path(), NOW, &[FIRST]).unwrap();
        let edited = FIRST.replace("x INTEGER", "x TEXT");
        let error = apply(&mut db, path(), NOW, &[&edited, SECOND]).unwrap_err();
        assert!(matches!(error, StoreError::EditedHistory { number: 1, .. }));
        // Refused before the second was applied.
        apply(&mut db, path(), NOW, &[FIRST]).unwrap();
    }

    #[test]
    fn a_history_from_the_future_is_refused() {
        let mut db = Connection::open_in_memory().unwrap();
        apply(&mut db, path(), NOW, &[FIRST, SECOND]).unwrap();
        let error = apply(&mut db, path(), NOW, &[FIRST]).unwrap_err();
        assert!(matches!(error, StoreError::Newer { number: 2, .. }));
    }

    #[test]
    fn a_migration_that_fails_leaves_nothing_behind() {
        let mut db = Connection::open_in_memory().unwrap();
        let broken = "CREATE TABLE b (x INTEGER) STRICT; CREATE TABLE b (x INTEGER) STRICT;";
        assert!(apply(&mut db, path(), NOW, &[FIRST, broken]).is_err());
        apply(&mut db, path(), NOW, &[FIRST, SECOND]).unwrap();
    }

    /// A registry remembers the wording of what it applied, so a migration that somebody has is never
    /// edited: a change is a new file, and a new line here.
    #[test]
    fn shipped_migrations_keep_their_wording() {
        let digests: Vec<String> = MIGRATIONS
            .iter()
            .map(|sql| Sha256Digest::of(sql.as_bytes()).to_hex())
            .collect();
        assert_eq!(
            digests,
            [
                "d7b3a2f647bc108861799cd5bd960f119a1cfad95cfc3fb24134849485e3f585",
                "16dd7fa8dd5a01cee1efaa401508470772ebe6eacec834b8795d963fbc9bd2de",
                "4aa9fa7fbb3d7cf275465870777639ed5631b0f4eef6622ab921abe3683bd54a",
                "8073f2c20dee0890f1c86511f288e4533f33f5aaa3a52b9062c90c5a17e72ce9",
                "29bef8b1b8a892d230e5ab201c3de606737c2c6a7f332eaa09fa69c0c7bdf941",
                "6b2a961a6a5bd9d8ec74d773b5a0061b1a92b9a5be8262a99d7f056890922235",
            ]
        );
    }

    #[test]
    fn the_shipped_migrations_apply() {
        let mut db = Connection::open_in_memory().unwrap();
        run(&mut db, path(), NOW).unwrap();
    }
}
