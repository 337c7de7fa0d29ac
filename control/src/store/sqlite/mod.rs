//! The SQLite engine: one connection that writes, one that reads, neither on an async thread.
//!
//! Write-ahead log, foreign keys on, `synchronous=FULL`: what was answered survives a power cut.

mod migrations;
pub(super) mod operations;
mod row;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::{EngineError, StoreError};

/// How long to wait for another process before giving up.
const BUSY: Duration = Duration::from_secs(5);

/// The two connections. Cloning shares them.
#[derive(Clone, Debug)]
pub(super) struct Sqlite {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl From<rusqlite::Error> for EngineError {
    fn from(error: rusqlite::Error) -> Self {
        Self(Box::new(error))
    }
}

impl Sqlite {
    pub(super) fn open(path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        let failed = |source: EngineError| StoreError::Open {
            path: path.to_owned(),
            source,
        };
        // The file holds addresses and letters: nobody else's business. SQLite gives its log and
        // shared memory the mode of the database, so it is settled before SQLite sees the file.
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| failed(EngineError(Box::new(error))))?;
        let mut writer = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|e| failed(e.into()))?;
        writer
            .pragma_update(None, "journal_mode", "WAL")
            .and_then(|()| writer.pragma_update(None, "synchronous", "FULL"))
            .and_then(|()| writer.pragma_update(None, "foreign_keys", true))
            .map_err(|error| failed(error.into()))?;
        migrations::run(&mut writer, path, now)?;
        let reader = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|e| failed(e.into()))?;
        Ok(Self {
            shared: Arc::new(Shared {
                path: path.to_owned(),
                writer: Mutex::new(writer),
                reader: Mutex::new(reader),
            }),
        })
    }

    /// Runs `work` on the reading connection.
    pub(super) async fn read<T, F>(&self, operation: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.off_thread(operation, move |shared| {
            // One transaction, so that what is read together belongs together.
            let mut reader = lock(&shared.reader);
            let transaction = reader.transaction()?;
            work(&transaction)
        })
        .await
    }

    /// Runs `work` in one transaction of the writing connection.
    pub(super) async fn write<T, F>(&self, operation: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.off_thread(operation, move |shared| {
            let mut writer = lock(&shared.writer);
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })
        .await
    }

    async fn off_thread<T, F>(&self, operation: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Shared) -> rusqlite::Result<T> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(result) => result.map_err(|error| failure(error, operation, &self.shared.path)),
            Err(join) => Err(StoreError::Engine {
                operation,
                path: self.shared.path.clone(),
                source: EngineError(Box::new(join)),
            }),
        }
    }

    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: u32) {
        lock(&self.shared.writer)
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
            .unwrap();
    }

    #[cfg(test)]
    pub(super) fn tamper(&self, sql: &str) -> Result<(), String> {
        lock(&self.shared.writer)
            .execute_batch(sql)
            .map_err(|error| error.to_string())
    }
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// A panic elsewhere rolled its transaction back; the connection is as good as before.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failure(error: rusqlite::Error, operation: &'static str, path: &Path) -> StoreError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { operation, path },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { operation, path },
        _ => StoreError::Engine {
            operation,
            path,
            source: error.into(),
        },
    }
}
