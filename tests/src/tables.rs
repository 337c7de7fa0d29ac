//! The tables that say where each promise is shown, and whether what they name is there.
//!
//! A table in Markdown is believed only as far as its proofs exist: scenarios that
//! `cargo test --test e2e` runs, tests in a source file, and benchmarks whose results are kept.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use crate::workspace;

/// What can be named as a proof.
pub struct Proofs {
    scenarios: BTreeSet<String>,
    results: String,
}

/// One line of a table, its cells without the spaces around them.
pub type Row = Vec<String>;

/// The rows of every table in a file of `tests`, without heads and rules. Headings are not among them.
///
/// # Errors
/// When the file cannot be read.
pub fn rows(file: &str) -> Result<Vec<Row>> {
    let path = workspace().join("tests").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let lines: Vec<_> = text.lines().collect();
    let is_rule = |line: Option<&&str>| line.is_some_and(|line| line.starts_with("|---"));
    let rows = lines
        .iter()
        .enumerate()
        .filter(|(at, line)| line.starts_with('|') && !is_rule(Some(line)) && !is_rule(lines.get(at + 1)));
    Ok(rows.map(|(_, line)| cells(line)).collect())
}

fn cells(line: &str) -> Row {
    let inside = line.trim().trim_matches('|');
    inside.split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// The proofs that a cell names.
pub fn named(cell: &str) -> impl Iterator<Item = &str> {
    cell.split(", ").map(|name| name.trim_matches('`'))
}

impl Proofs {
    /// Everything there is to be named.
    ///
    /// # Errors
    /// When the sources cannot be read.
    pub fn find() -> Result<Self> {
        Ok(Self {
            scenarios: scenarios()?,
            results: std::fs::read_to_string(workspace().join("benches/RESULTS.md"))?,
        })
    }

    /// Whether there is what `name` names: `group::scenario`, `path/file.rs::test`, or `benches/NAME`.
    ///
    /// # Errors
    /// What is missing.
    pub fn has(&self, name: &str) -> Result<()> {
        if let Some(bench) = name.strip_prefix("benches/") {
            ensure!(workspace().join(name).is_file(), "no program {name}");
            ensure!(
                self.results.contains(&format!("\n<!-- {bench} -->\n")),
                "no results of {name} in benches/RESULTS.md"
            );
            return Ok(());
        }
        match name.split_once(".rs::") {
            Some((file, test)) => is_test(&format!("{file}.rs"), test),
            None => {
                ensure!(self.scenarios.contains(name), "no scenario {name}");
                Ok(())
            }
        }
    }
}

/// Whether a source file has a test of this name.
fn is_test(file: &str, test: &str) -> Result<()> {
    let text = std::fs::read_to_string(workspace().join(file)).with_context(|| format!("reading {file}"))?;
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let begins = format!("fn {test}(");
    let at = lines
        .iter()
        .position(|line| line.trim_start_matches("async ").starts_with(&begins))
        .with_context(|| format!("{file} has no {test}"))?;
    let is_marked = lines[..at]
        .iter()
        .rev()
        .take_while(|line| line.starts_with("#["))
        .any(|line| *line == "#[test]" || line.starts_with("#[tokio::test"));
    ensure!(is_marked, "{file}: {test} is no test");
    Ok(())
}

/// Every scenario that `cargo test --test e2e` runs, as `group::name`.
fn scenarios() -> Result<BTreeSet<String>> {
    let e2e = workspace().join("tests/tests/e2e");
    let main = std::fs::read_to_string(e2e.join("main.rs"))?;
    let groups = main.lines().filter_map(|line| {
        let (group, rest) = line.trim().strip_prefix("(\"")?.split_once("\", ")?;
        rest.ends_with("::SCENARIOS),").then_some(group)
    });
    let mut scenarios = BTreeSet::new();
    for group in groups {
        let file = Some(e2e.join(format!("{group}.rs"))).filter(|file| file.exists());
        let file: PathBuf = file.unwrap_or_else(|| e2e.join(group).join("mod.rs"));
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let names = text
            .lines()
            .filter_map(|line| name_in(&text, line.trim().strip_prefix("name: ")?.strip_suffix(',')?));
        scenarios.extend(names.map(|name| format!("{group}::{name}")));
    }
    Ok(scenarios)
}

/// A scenario's name, which stands there or is a constant of the same file.
fn name_in<'t>(text: &'t str, written: &'t str) -> Option<&'t str> {
    let literal = |written: &'t str| written.strip_prefix('"')?.strip_suffix('"');
    literal(written).or_else(|| {
        let constant = format!("const {written}: &str = ");
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(&constant))?;
        literal(line.strip_suffix(';')?)
    })
}
