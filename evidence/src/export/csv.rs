//! CSV (RFC 4180) for spreadsheets and simple loaders: one event a line, one column per field.
//!
//! Many fields hold words that a plugin chose, and a spreadsheet takes a cell that begins with `=`
//! for a formula. So such a cell begins with an apostrophe here, as does one that began with an
//! apostrophe itself: whoever reads back strips exactly one. Every cell is quoted, and a semicolon,
//! which some spreadsheets take for the end of a cell all the same, is written `\x3b`, as the log
//! writes what it escapes.

use serde_json::{Map, Value};

use crate::InvalidEvent;

/// The columns: the fields of an event, in the order of an entry.
pub const COLUMNS: [&str; 55] = [
    "alpn",
    "artifact_digest",
    "attempts",
    "attribution",
    "bytes_in",
    "bytes_out",
    "cause",
    "claims",
    "cname_chain",
    "connect_ms",
    "connection_id",
    "count",
    "credential_fingerprint",
    "crl_number",
    "crl_stale",
    "decision",
    "destination_host",
    "dialed_ip",
    "dns_ms",
    "dns_result",
    "duration_ms",
    "entries_from",
    "entries_to",
    "file",
    "file_sha256",
    "first_byte_ms",
    "gateway",
    "host_header",
    "inner_target",
    "kind",
    "matched_entry",
    "mode",
    "outcome",
    "payload_class",
    "plugin_id",
    "policy_version",
    "port",
    "raw_target",
    "reason",
    "resolved_ips",
    "run_id",
    "scheme",
    "scope",
    "seq",
    "sni",
    "sni_visibility",
    "source_ip",
    "stripped_headers",
    "time",
    "timeout",
    "transport",
    "tunnels",
    "v",
    "via",
    "would_deny",
];

/// What a spreadsheet takes for the beginning of a formula, also in the wide letters of East Asian
/// input, and the apostrophe that keeps it from doing so.
const TRIGGERS: [char; 12] = [
    '=', '+', '-', '@', '\t', '\r', '\n', '\'', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
];

/// The first line.
pub fn header() -> String {
    let mut line = COLUMNS.map(|column| format!("\"{column}\"")).join(",");
    line.push_str("\r\n");
    line
}

/// Adds the line of an entry to `out`.
///
/// # Errors
/// [`InvalidEvent::Shape`] for bytes that are no entry.
pub fn push_line(entry: &[u8], out: &mut Vec<u8>) -> Result<(), InvalidEvent> {
    let fields: Map<String, Value> = serde_json::from_slice(entry).map_err(|error| InvalidEvent::Shape {
        detail: error.to_string(),
    })?;
    for (position, column) in COLUMNS.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        match fields.get(*column) {
            None => {}
            Some(Value::String(text)) => push_cell(text, out),
            // A list stands as JSON, so that no separator has to be guessed.
            Some(value) => push_cell(&value.to_string(), out),
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn push_cell(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    if text.starts_with(TRIGGERS) {
        out.push(b'\'');
    }
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\"\""),
            b';' => out.extend_from_slice(b"\\x3b"),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::sound_event;

    /// Reads lines of quoted or empty cells, as RFC 4180 says.
    fn cells(line: &str) -> Vec<String> {
        let mut cells = vec![String::new()];
        let mut chars = line.chars().peekable();
        let mut quoted = false;
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    cells.last_mut().unwrap().push('"');
                }
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(String::new()),
                c => cells.last_mut().unwrap().push(c),
            }
        }
        assert!(!quoted, "{line:?}");
        cells
    }

    fn line(entry: &[u8]) -> String {
        let mut out = Vec::new();
        push_line(entry, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.strip_suffix("\r\n").unwrap().to_owned()
    }

    proptest! {
        #[test]
        fn every_field_comes_back_and_no_cell_is_a_formula(event in sound_event()) {
            let entry = event.to_entry().unwrap();
            let fields: Map<String, Value> = serde_json::from_slice(&entry).unwrap();
            // A field that is added to events must be added to the columns.
            prop_assert!(fields.keys().all(|key| COLUMNS.contains(&key.as_str())));
            let cells = cells(&line(&entry));
            prop_assert_eq!(cells.len(), COLUMNS.len());
            for (column, cell) in COLUMNS.iter().zip(&cells) {
                prop_assert!(!cell.starts_with(&TRIGGERS[..7]) && !cell.contains(';'), "{column}: {cell:?}");
                let plain = cell.strip_prefix('\'').unwrap_or(cell);
                let expected = match fields.get(*column) {
                    None => String::new(),
                    Some(Value::String(text)) => text.clone(),
                    Some(value) => value.to_string(),
                };
                prop_assert_eq!(plain, expected.replace(';', "\\x3b"));
            }
        }
    }

    #[test]
    fn a_plugin_cannot_write_a_formula_into_a_spreadsheet() {
        for hostile in [
            "=HYPERLINK(1)",
            "+1",
            "-1",
            "@SUM(1)",
            "\u{ff1d}1",
            "'=1",
            "a;=1",
            "a\",\"=1",
        ] {
            let mut event = crate::Event::new(
                crate::EventKind::Refused,
                base::Timestamp::from_unix_us(0),
                "gw-1",
            );
            event.raw_target = Some(hostile.to_owned());
            let line = line(&event.to_entry().unwrap());
            let at = COLUMNS.iter().position(|column| *column == "raw_target").unwrap();
            let cell = cells(&line)[at].clone();
            assert!(cell.starts_with(['\'', 'a']), "{cell}");
            assert!(!cell.contains(';'), "{line}");
        }
    }

    #[test]
    fn the_columns_are_in_the_order_of_an_entry() {
        assert!(COLUMNS.is_sorted());
    }
}
