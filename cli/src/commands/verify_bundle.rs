//! `bailiwick verify BUNDLE`: an evidence bundle, on a machine that may never have seen the site.
//!
//! The bundle is read in memory and nothing of it is unpacked. No configuration is needed: without
//! `--root` its own trust root is used, and the answer says so.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base::{PluginId, Sha256Digest};
use reports::bundle::{Finding, Inspection, MAX_BUNDLE_BYTES, ReadBundleError, inspect, read_bundle};
use seal::trust::TrustRoot;
use serde::Serialize;

use crate::exit::{Exit, Refused};
use crate::output::{self, Format};
use crate::{files, trust_file};

/// The trust root in a bundle.
const ROOT: &str = "root.json";

#[derive(Serialize)]
struct BundleView {
    verified: bool,
    bundle: PathBuf,
    sha256: Sha256Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin_id: Option<PluginId>,
    root: RootView,
    events: u64,
    proven: u64,
    files: Vec<FileView>,
}

#[derive(Serialize)]
struct RootView {
    /// Whether it was the reader's own, and not the bundle's.
    given: bool,
    version: u64,
    sha256: Sha256Digest,
}

#[derive(Serialize)]
struct FileView {
    name: String,
    state: &'static str,
    detail: String,
}

/// Whether a file is to be taken for an evidence bundle: it is called like one, and no manifest says
/// that it is an artifact.
pub fn is_bundle(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let manifest = path.with_file_name(format!("{name}.PLUGIN_MANIFEST.sigstore.json"));
    name.ends_with(".tar.zst") && !manifest.exists()
}

/// Verifies a bundle: exit status 0 where everything in it is what it claims to be, 1 where not.
///
/// # Errors
/// The file cannot be read (2), or is no bundle that is safe to read (1).
pub fn run(path: &Path, root: Option<&Path>, format: Format) -> anyhow::Result<Exit> {
    let bytes = files::read_limited(path, MAX_BUNDLE_BYTES)
        .with_context(|| format!("cannot read evidence bundle {}", path.display()))?;
    let contents = read_bundle(&bytes).map_err(|error| hostile(path, error))?;
    let (trust, root_bytes) = match root {
        Some(root) => (
            trust_file::read(root)?,
            files::read_limited(root, base::json::MAX_BYTES)?,
        ),
        None => {
            let bytes = contents.get(ROOT).with_context(|| {
                format!(
                    "{} holds no {ROOT}; name the site's trust root with --root",
                    path.display()
                )
            })?;
            let trust = TrustRoot::parse(bytes).map_err(|error| Refused {
                code: "root".to_owned(),
                message: format!("{}: {ROOT}: {error}", path.display()),
            })?;
            (trust, bytes.clone())
        }
    };
    let inspection = inspect(&contents, &trust);
    let view = BundleView {
        verified: inspection.is_clean(),
        bundle: path.to_owned(),
        sha256: Sha256Digest::of(&bytes),
        plugin_id: inspection.plugin_id.clone(),
        root: RootView {
            given: root.is_some(),
            version: trust.version,
            sha256: Sha256Digest::of(&root_bytes),
        },
        events: inspection.events,
        proven: inspection.proven,
        files: rows(&inspection),
    };
    output::print(format, &view, || text(&view))?;
    if view.verified {
        return Ok(Exit::Done);
    }
    let refused = view.files.iter().filter(|file| file.state == "refused").count();
    output::note(
        false,
        &format!(
            "error: {}: {refused} of {} files are not what they claim to be; do not rely on this bundle",
            path.display(),
            view.files.len()
        ),
    );
    Ok(Exit::Finding)
}

fn hostile(path: &Path, error: ReadBundleError) -> anyhow::Error {
    match error {
        // Perhaps it was not copied whole.
        ReadBundleError::Archive(_) => anyhow::Error::new(error).context(path.display().to_string()),
        error => Refused {
            code: "bundle".to_owned(),
            message: format!("{}: {error}", path.display()),
        }
        .into(),
    }
}

fn rows(inspection: &Inspection) -> Vec<FileView> {
    let row = |item: &reports::bundle::Item| {
        let (state, detail) = match &item.finding {
            Finding::Verified(detail) => ("verified", detail),
            Finding::Refused(detail) => ("refused", detail),
            Finding::Unsigned(detail) => ("unsigned", detail),
        };
        FileView {
            name: item.name.clone(),
            state,
            detail: detail.clone(),
        }
    };
    inspection.items.iter().map(row).collect()
}

fn text(view: &BundleView) -> String {
    let mut lines = vec![match &view.plugin_id {
        Some(plugin) if view.verified => format!("verifies: evidence about {plugin}"),
        Some(plugin) => format!("DOES NOT VERIFY: evidence about {plugin}"),
        None => "DOES NOT VERIFY: it is about no plugin".to_owned(),
    }];
    let whose = if view.root.given {
        "yours"
    } else {
        "the bundle's own: compare it with a copy that you had before"
    };
    lines.push(format!(
        "trust root version {} sha256 {} ({whose})",
        view.root.version,
        view.root.sha256.to_hex()
    ));
    lines.push(format!("{} of {} events proven", view.proven, view.events));
    // Events that are proven are many and all alike.
    let shown = view
        .files
        .iter()
        .filter(|file| !(file.name.starts_with("events/") && file.state == "verified"));
    lines.extend(shown.map(|file| {
        format!(
            "{:9} {}  {}",
            file.state,
            file.name,
            output::for_terminal(&file.detail)
        )
    }));
    lines.join("\n")
}
