//! Rows into records: every value is parsed into its type again, because the file could hold anything.

use std::error::Error;
use std::str::FromStr;

use base::Timestamp;
use rusqlite::Row;
use rusqlite::types::Type;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn misread(error: impl Into<Box<dyn Error + Send + Sync>>, column: &str, kind: Type) -> rusqlite::Error {
    let error: Box<dyn Error + Send + Sync> = format!("column {column}: {}", error.into()).into();
    rusqlite::Error::FromSqlConversionFailure(0, kind, error)
}

/// A column whose text is the only form of its type.
pub(super) fn text<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error| misread(error, column, Type::Text))
}

/// The same, where the column may be NULL.
pub(super) fn optional_text<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse())
        .transpose()
        .map_err(|error| misread(error, column, Type::Text))
}

/// A column that holds JSON.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| misread(error, column, Type::Text))
}

/// What such a column holds.
pub(super) fn to_json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// A moment.
pub(super) fn moment(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_unix_us)
}

/// A moment, or none.
pub(super) fn optional_moment(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    let us: Option<i64> = row.get(column)?;
    Ok(us.map(Timestamp::from_unix_us))
}

/// A count.
pub(super) fn count(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|error| misread(error, column, Type::Integer))
}

/// A number that fits SQLite's 64 signed bits; ours all do.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
