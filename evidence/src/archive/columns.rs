//! The columns of an archive file: one for each field of an event, named as the field, and `raw`.
//!
//! Types are those that every reader of Parquet knows. A fact that an event does not state is null. An
//! entry that could not be written again from its columns stands whole in `raw`; then all others but
//! `seq` are null.

use crate::key::Key;

/// What a column holds, and so how a value is written in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8 text.
    Text,
    /// A list of texts.
    Texts,
    /// A list of objects, each as canonical JSON.
    Objects,
    /// A number below 2³¹.
    Int32,
    /// A number below 2⁵³.
    Int64,
    /// `true` or `false`.
    Flag,
    /// A moment in UTC, in microseconds since 1970-01-01T00:00:00Z.
    Time,
}

/// One column.
#[derive(Debug)]
pub struct Column {
    key: Key,
    kind: ColumnType,
}

impl Column {
    const fn new(key: &'static [u8], kind: ColumnType) -> Self {
        Self {
            key: Key::new(key),
            kind,
        }
    }

    /// The event's field, or `raw`.
    pub fn name(&self) -> &'static str {
        let name = &self.key.text[..self.key.text.len() - 1];
        std::str::from_utf8(name).expect("the names below are ASCII")
    }

    /// What it holds.
    pub const fn kind(&self) -> ColumnType {
        self.kind
    }

    /// Whether no row lacks it.
    pub(crate) fn is_required(&self) -> bool {
        self.key.text == COLUMNS[SEQ].key.text
    }

    pub(crate) const fn key(&self) -> &Key {
        &self.key
    }
}

/// Where `seq` stands in [`COLUMNS`].
pub(crate) const SEQ: usize = position(b"seq\"");
/// Where `time` stands.
pub(crate) const TIME: usize = position(b"time\"");
/// Where `raw` stands: after all fields.
pub(crate) const RAW: usize = COLUMNS.len() - 1;

/// Every column, in the order of an entry's fields, and `raw`.
pub const COLUMNS: &[Column] = &[
    Column::new(b"alpn\"", ColumnType::Text),
    Column::new(b"artifact_digest\"", ColumnType::Text),
    Column::new(b"attempts\"", ColumnType::Texts),
    Column::new(b"attribution\"", ColumnType::Text),
    Column::new(b"bytes_in\"", ColumnType::Int64),
    Column::new(b"bytes_out\"", ColumnType::Int64),
    Column::new(b"cause\"", ColumnType::Text),
    Column::new(b"claims\"", ColumnType::Objects),
    Column::new(b"cname_chain\"", ColumnType::Texts),
    Column::new(b"connect_ms\"", ColumnType::Int64),
    Column::new(b"connection_id\"", ColumnType::Text),
    Column::new(b"count\"", ColumnType::Int64),
    Column::new(b"credential_fingerprint\"", ColumnType::Text),
    Column::new(b"crl_number\"", ColumnType::Int64),
    Column::new(b"crl_stale\"", ColumnType::Flag),
    Column::new(b"decision\"", ColumnType::Text),
    Column::new(b"destination_host\"", ColumnType::Text),
    Column::new(b"dialed_ip\"", ColumnType::Text),
    Column::new(b"dns_ms\"", ColumnType::Int64),
    Column::new(b"dns_result\"", ColumnType::Text),
    Column::new(b"duration_ms\"", ColumnType::Int64),
    Column::new(b"entries_from\"", ColumnType::Int64),
    Column::new(b"entries_to\"", ColumnType::Int64),
    Column::new(b"file\"", ColumnType::Text),
    Column::new(b"file_sha256\"", ColumnType::Text),
    Column::new(b"first_byte_ms\"", ColumnType::Int64),
    Column::new(b"gateway\"", ColumnType::Text),
    Column::new(b"host_header\"", ColumnType::Text),
    Column::new(b"inner_target\"", ColumnType::Text),
    Column::new(b"kind\"", ColumnType::Text),
    Column::new(b"matched_entry\"", ColumnType::Text),
    Column::new(b"mode\"", ColumnType::Text),
    Column::new(b"outcome\"", ColumnType::Text),
    Column::new(b"payload_class\"", ColumnType::Text),
    Column::new(b"plugin_id\"", ColumnType::Text),
    Column::new(b"policy_version\"", ColumnType::Int64),
    Column::new(b"port\"", ColumnType::Int32),
    Column::new(b"raw_target\"", ColumnType::Text),
    Column::new(b"reason\"", ColumnType::Text),
    Column::new(b"resolved_ips\"", ColumnType::Texts),
    Column::new(b"run_id\"", ColumnType::Text),
    Column::new(b"scheme\"", ColumnType::Text),
    Column::new(b"scope\"", ColumnType::Text),
    Column::new(b"seq\"", ColumnType::Int64),
    Column::new(b"sni\"", ColumnType::Text),
    Column::new(b"sni_visibility\"", ColumnType::Text),
    Column::new(b"source_ip\"", ColumnType::Text),
    Column::new(b"stripped_headers\"", ColumnType::Texts),
    Column::new(b"time\"", ColumnType::Time),
    Column::new(b"timeout\"", ColumnType::Text),
    Column::new(b"transport\"", ColumnType::Text),
    Column::new(b"tunnels\"", ColumnType::Int64),
    Column::new(b"v\"", ColumnType::Int32),
    Column::new(b"via\"", ColumnType::Text),
    Column::new(b"would_deny\"", ColumnType::Flag),
    Column::new(b"raw\"", ColumnType::Text),
];

/// Where the column of that name stands.
pub fn column(name: &str) -> Option<usize> {
    COLUMNS.iter().position(|column| column.name() == name)
}

const fn position(key: &[u8]) -> usize {
    let mut at = 0;
    while at < COLUMNS.len() {
        if equal(COLUMNS[at].key.text, key) {
            return at;
        }
        at += 1;
    }
    COLUMNS.len()
}

const fn equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_in_the_order_of_fields_and_raw_follows() {
        let fields: Vec<&str> = COLUMNS[..RAW].iter().map(Column::name).collect();
        assert!(fields.is_sorted_by(|one, other| one < other));
        assert_eq!(COLUMNS[RAW].name(), "raw");
        assert_eq!(COLUMNS[SEQ].name(), "seq");
        assert_eq!(column("would_deny"), Some(RAW - 1));
    }
}
