//! Printing: text for people, JSON for programs.

use std::io::{IsTerminal as _, Write as _};

use clap::ValueEnum;
use evidence::export::Form;
use serde::Serialize;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document, stable and documented.
    Json,
}

/// What may stand after `--format`: how results are printed, or the form of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FormatWord {
    /// For people.
    #[default]
    Text,
    /// One JSON document, stable and documented.
    Json,
    /// Of an export: the entries themselves, one a line
    #[value(hide = true)]
    Jsonl,
    /// Of an export: OCSF objects, one a line
    #[value(hide = true)]
    Ocsf,
    /// Of an export: CSV
    #[value(hide = true)]
    Csv,
    /// Of an export: Parquet files in a folder
    #[value(hide = true)]
    Parquet,
}

/// What an export is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportForm {
    /// Lines, one after the other.
    Lines(Form),
    /// Parquet files.
    Parquet,
}

impl FormatWord {
    /// How results are printed.
    ///
    /// # Errors
    /// The word is the form of an export.
    pub fn printed(self) -> anyhow::Result<Format> {
        match self {
            Self::Text => Ok(Format::Text),
            Self::Json => Ok(Format::Json),
            Self::Jsonl | Self::Ocsf | Self::Csv | Self::Parquet => {
                anyhow::bail!(
                    "--format is text or json here; the other forms belong to: bailiwick evidence export"
                )
            }
        }
    }

    /// The form of an export; the entries themselves unless said otherwise.
    pub const fn exported(self) -> ExportForm {
        match self {
            Self::Text | Self::Json | Self::Jsonl => ExportForm::Lines(Form::Jsonl),
            Self::Ocsf => ExportForm::Lines(Form::Ocsf),
            Self::Csv => ExportForm::Lines(Form::Csv),
            Self::Parquet => ExportForm::Parquet,
        }
    }
}

/// Prints a result in the format asked for. A reader that went away (`| head`) is not an error.
///
/// # Errors
/// Whatever standard output says, except a closed pipe.
pub fn print<T: Serialize>(format: Format, value: &T, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    match format {
        Format::Text => line(&text()),
        // What was found out on a large site is not put together once more before it is written.
        Format::Json => {
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            let written = serde_json::to_writer_pretty(&mut out, value);
            let written = written.map_err(std::io::Error::from);
            match written.and_then(|()| writeln!(out)).and_then(|()| out.flush()) {
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
                other => other.map_err(Into::into),
            }
        }
    }
}

/// Prints one line or block to standard output.
///
/// # Errors
/// Whatever standard output says, except a closed pipe.
pub fn line(text: &str) -> anyhow::Result<()> {
    line_while_read(text).map(|_| ())
}

/// Like [`line`], and says whether anybody still reads: `false` ends what would go on for ever.
///
/// # Errors
/// As [`line`].
pub fn line_while_read(text: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true).map_err(Into::into),
    }
}

/// Text from a file that anybody may have written, so that a terminal shows it and obeys nothing in
/// it: control characters and those that turn the direction of writing are escaped.
pub fn for_terminal(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if obeyed(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Prints progress or a notice to standard error, unless `--quiet`.
pub fn note(quiet: bool, text: &str) {
    if !quiet {
        // Nothing can be done about a standard error that is gone.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// Colour where people look at a terminal and did not say no (no-color.org).
pub fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stdout().is_terminal()
}

/// `text` in an SGR style, where colour is wanted.
pub fn styled(style: &str, text: &str) -> String {
    if colour() {
        format!("\x1b[{style}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// A table with a header line; columns as wide as their widest cell.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    std::iter::once(line(&head))
        .chain(rows.iter().map(|row| line(row)))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_nothing_by_text_from_files() {
        assert_eq!(for_terminal("api.example \u{e9}"), "api.example \u{e9}");
        assert_eq!(
            for_terminal("\x1b[2J\u{202e}\r\n\u{9b}"),
            "\\u{1b}[2J\\u{202e}\\u{d}\\u{a}\\u{9b}"
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![
            vec!["a".to_owned(), "long cell".to_owned()],
            vec!["wider".to_owned(), "b".to_owned()],
        ];
        assert_eq!(table(&["X", "Y"], &rows), "X      Y\na      long cell\nwider  b");
    }
}
