//! `bailiwick manifest`: write, check and compare manifests.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base::PluginId;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use manifests::lint::{Lint, Severity, lint};
use manifests::{Manifest, diff::diff};
use serde::Serialize;
use serde_json::{Value, json};

use super::suggest::{self, SuggestArgs};
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::{clock, files};

/// What to do with a manifest.
#[derive(Debug, Subcommand)]
pub enum ManifestCommand {
    /// Write a manifest to start from
    New {
        /// The plugin
        plugin: PluginId,
        /// Where it connects, for example api.example.com; may be repeated
        #[arg(long = "allow", value_name = "ENTRY")]
        allow: Vec<String>,
        /// Who or what builds it
        #[arg(long, default_value = "by hand")]
        built_by: String,
        /// Where to write it
        #[arg(long, default_value = "PLUGIN_MANIFEST.json", value_name = "FILE")]
        out: PathBuf,
    },
    /// Check a manifest and say what its entries do not cover
    Lint {
        /// The manifest
        manifest: PathBuf,
    },
    /// Compare two manifests: what was added, widened, removed
    Diff {
        /// The earlier one; signed or not
        old: PathBuf,
        /// The later one; signed or not
        new: PathBuf,
    },
    /// Propose the smallest manifest that covers what the latest runs were seen to do
    Suggest(SuggestArgs),
    /// Show a manifest in canonical form; signed or not, nothing is verified
    Show {
        /// The manifest
        manifest: PathBuf,
    },
}

#[derive(Serialize)]
struct LintView {
    ok: bool,
    findings: Vec<LintRow>,
}

#[derive(Serialize)]
struct LintRow {
    rule: &'static str,
    severity: &'static str,
    field: String,
    entry: String,
    message: String,
    not_covered: Vec<String>,
}

#[derive(Serialize)]
struct DiffView {
    same: bool,
    widens: bool,
    added: Vec<String>,
    widened: Vec<String>,
    removed: Vec<String>,
    fields: Vec<String>,
}

/// Runs `bailiwick manifest`.
///
/// # Errors
/// A manifest cannot be read or is not valid; a suggestion needs the control plane.
pub fn run(
    command: &ManifestCommand,
    config: impl Fn() -> anyhow::Result<Config>,
    format: Format,
) -> anyhow::Result<Exit> {
    match command {
        ManifestCommand::New {
            plugin,
            allow,
            built_by,
            out,
        } => new(plugin, allow, built_by, out, format),
        ManifestCommand::Lint { manifest } => check(manifest, format),
        ManifestCommand::Diff { old, new } => compare(old, new, format),
        ManifestCommand::Suggest(own) => super::wait(suggest::run(own, &config()?, format)),
        ManifestCommand::Show { manifest } => {
            let value = read(manifest)?.to_value();
            output::line(&serde_json::to_string_pretty(&value)?)?;
            Ok(Exit::Done)
        }
    }
}

fn new(
    plugin: &PluginId,
    allow: &[String],
    built_by: &str,
    out: &Path,
    format: Format,
) -> anyhow::Result<Exit> {
    anyhow::ensure!(
        !out.exists(),
        "{} exists; choose another name with --out",
        out.display()
    );
    let document = json!({
        "plugin_id": plugin,
        "allowed_egress": allow,
        "data_classes": [],
        "sdk_allowlist": [],
        "built_by": built_by,
        "built_at": clock::now(),
    });
    // Without the digest, which `sign` fills in.
    Manifest::draft_from_value(&document)?;
    files::replace(out, format!("{document:#}\n").as_bytes())
        .with_context(|| format!("cannot write {}", out.display()))?;
    output::print(format, &json!({"manifest": out}), || {
        format!(
            "{}\nNext:  bailiwick sign ARTIFACT --manifest {} --key owner.pem",
            out.display(),
            out.display()
        )
    })?;
    Ok(Exit::Done)
}

fn check(path: &Path, format: Format) -> anyhow::Result<Exit> {
    let lints = lint(&read(path)?);
    let worst = lints.iter().any(|lint| lint.severity == Severity::Error);
    let view = LintView {
        ok: !worst,
        findings: lints.into_iter().map(row).collect(),
    };
    output::print(format, &view, || {
        if view.findings.is_empty() {
            return "nothing to remark".to_owned();
        }
        let line = |row: &LintRow| {
            let not_covered = match row.not_covered.as_slice() {
                [] => String::new(),
                hosts => format!("\n    does not cover: {}", hosts.join(", ")),
            };
            format!(
                "{}  {}  {} ({})\n    {}{not_covered}",
                row.severity, row.rule, row.entry, row.field, row.message
            )
        };
        view.findings.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(if worst { Exit::Finding } else { Exit::Done })
}

fn row(lint: Lint) -> LintRow {
    LintRow {
        rule: lint.rule.id(),
        severity: lint.severity.as_str(),
        field: lint.field,
        entry: lint.entry,
        message: lint.why,
        not_covered: lint.not_covered,
    }
}

fn compare(old: &Path, new: &Path, format: Format) -> anyhow::Result<Exit> {
    let difference = diff(&read(old)?, &read(new)?);
    let entries =
        |changes: &[manifests::diff::EgressChange]| changes.iter().map(|c| c.entry.to_string()).collect();
    let view = DiffView {
        same: difference.is_empty(),
        widens: difference.widens_egress(),
        added: entries(&difference.added),
        widened: entries(&difference.widened),
        removed: entries(&difference.removed),
        fields: difference
            .fields
            .iter()
            .map(|change| change.field.clone())
            .collect(),
    };
    output::print(format, &view, || {
        if view.same {
            "the same".to_owned()
        } else {
            difference.to_string()
        }
    })?;
    Ok(Exit::Done)
}

/// Reads a manifest as written, a draft without its digest included, or out of a signed bundle.
fn read(path: &Path) -> anyhow::Result<Manifest> {
    let bytes = files::read_limited(path, base::json::MAX_BYTES)
        .with_context(|| format!("cannot read manifest {}", path.display()))?;
    let document = base::json::parse(&bytes).with_context(|| format!("{}", path.display()))?;
    let document = match document.pointer("/dsseEnvelope/payload").and_then(Value::as_str) {
        Some(payload) => {
            let payload = STANDARD
                .decode(payload)
                .with_context(|| format!("{}", path.display()))?;
            base::json::parse(&payload)?
                .get("predicate")
                .cloned()
                .unwrap_or(Value::Null)
        }
        None => document,
    };
    Manifest::draft_from_value(&document).with_context(|| format!("{}", path.display()))
}
