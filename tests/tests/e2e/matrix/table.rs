//! The matrix as people read it.

use super::cell::Column;
use super::clients::Client;

/// What became of a cell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Through,
    Bypasses,
    Leaks,
    Wrong,
}

impl Outcome {
    const fn word(self) -> &'static str {
        match self {
            Self::Through => "through",
            Self::Bypasses => "bypasses",
            Self::Leaks => "leaks",
            Self::Wrong => "WRONG",
        }
    }
}

/// One client.
pub struct Row {
    pub client: &'static Client,
    /// `None` where it is not installed.
    pub version: Option<String>,
    pub cells: Vec<(Column, Outcome)>,
}

const COLUMNS: [Column; 7] = [
    Column::Http,
    Column::Https,
    Column::Socks,
    Column::Ws,
    Column::Wss,
    Column::Loopback,
    Column::WsLoopback,
];

/// Prints the rows, what was skipped, and the sum.
pub fn print(rows: &[Row]) {
    let mut text = String::from("\n");
    let mut line = |cells: [&str; 9]| {
        let [name, version, cells @ ..] = cells;
        let mut line = format!("{name:<26}{version:<15}");
        for cell in cells {
            line.push_str(&format!("{cell:<10}"));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    let [a, b, c, d, e, f, g] = COLUMNS.map(Column::title);
    line(["client", "version", a, b, c, d, e, f, g]);
    for row in rows {
        let [a, b, c, d, e, f, g] = COLUMNS.map(|column| {
            let cell = row.cells.iter().find(|(known, _)| *known == column);
            cell.map_or("-", |(_, outcome)| outcome.word())
        });
        let version = row.version.as_deref().unwrap_or("not installed");
        line([row.client.name, version, a, b, c, d, e, f, g]);
    }
    let count = |wanted: Outcome| {
        let cells = rows.iter().flat_map(|row| &row.cells);
        cells.filter(|(_, outcome)| *outcome == wanted).count()
    };
    let missing: Vec<_> = rows.iter().filter(|row| row.version.is_none()).collect();
    text.push_str(
        "through:  the client succeeded, and the gateway attributed it to its run: by its token, or by what\n\
         \u{20}         the row says (its certificate, a port or a socket of its own)\n\
         leaks:    the same, but inside TLS the client showed its origin the proxy's credentials\n\
         bypasses: the client succeeded, and the gateway saw nothing\n",
    );
    text.push_str(&format!(
        "{} clients, {} of them not installed and skipped; cells: {} through, {} leak, {} bypass, \
         {} other than expected\n",
        rows.len(),
        missing.len(),
        count(Outcome::Through),
        count(Outcome::Leaks),
        count(Outcome::Bypasses),
        count(Outcome::Wrong),
    ));
    for row in missing {
        text.push_str(&format!(
            "SKIPPED matrix {}: not installed; tests/peers says why\n",
            row.client.name
        ));
    }
    eprint!("{text}");
}
