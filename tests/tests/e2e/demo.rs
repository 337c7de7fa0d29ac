//! The demo: the whole story on one machine, held to its word by other people's tools.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, Scenario, bailiwick, run};
use serde_json::Value;
use tempfile::TempDir;

use crate::stock::{cosign, openssl_verifies};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "it_tells_the_whole_story",
        needs: &[],
        run: whole_story,
    },
    Scenario {
        name: "it_tells_people_the_same_story",
        needs: &[],
        run: story_for_people,
    },
    Scenario {
        name: "its_documents_verify_with_openssl",
        needs: &[Peer::Openssl],
        run: with_openssl,
    },
    Scenario {
        name: "its_documents_verify_with_cosign",
        needs: &[Peer::Cosign],
        run: with_cosign,
    },
];

/// One demo, kept for all who look at it.
struct Demo {
    dir: PathBuf,
    told: Value,
}

static FOLDER: Mutex<Option<TempDir>> = Mutex::new(None);

/// Runs the demo once.
fn demo() -> Result<&'static Demo> {
    static DEMO: OnceLock<Result<Demo, String>> = OnceLock::new();
    let made = DEMO.get_or_init(|| tell().map_err(|error| format!("{error:?}")));
    made.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn tell() -> Result<Demo> {
    let folder = tempfile::Builder::new().prefix("bailiwick-demo-").tempdir()?;
    let dir = folder.path().join("demo");
    *FOLDER.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder);
    let told = run(command().args(["demo", "--format", "json", "--keep"]).arg(&dir))?
        .expect(0)?
        .json()?;
    Ok(Demo { dir, told })
}

/// Nothing of the machine's own way to the internet, and nothing of our configuration.
fn command() -> Command {
    let mut command = Command::new(bailiwick());
    for name in ["HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE", "BAILIWICK_CONFIG"] {
        command.env_remove(name);
    }
    command
}

/// Removes what the demo kept.
pub fn clean() {
    FOLDER.lock().unwrap_or_else(PoisonError::into_inner).take();
}

fn plugin<'d>(demo: &'d Demo, id: &str) -> Result<&'d Value> {
    let plugins = demo.told["plugins"]
        .as_array()
        .context("the demo lists plugins")?;
    plugins
        .iter()
        .find(|plugin| plugin["plugin_id"] == id)
        .with_context(|| format!("no plugin {id}"))
}

fn path(value: &Value) -> Result<PathBuf> {
    Ok(value.as_str().context("a path")?.into())
}

fn whole_story() -> Result<()> {
    let demo = demo()?;
    let told = &demo.told;
    let honest = plugin(demo, "azure_openai_embeddings")?;
    assert_eq!(honest["verdict"], "conforming", "{told:#}");
    assert_eq!(honest["findings"].as_array().map(Vec::len), Some(0), "{told:#}");
    assert_eq!(honest["state"], "admitted", "{told:#}");

    let liar = plugin(demo, "invoice_ocr")?;
    assert_eq!(liar["verdict"], "non_conforming", "{told:#}");
    assert_eq!(liar["tier"], "medium", "{told:#}");
    assert_eq!(liar["state"], "quarantined", "{told:#}");
    let findings = liar["findings"].as_array().context("findings")?;
    assert!(!findings.is_empty(), "{told:#}");
    for finding in findings {
        let found = (&finding["reason"], &finding["host"]);
        assert_eq!(
            found,
            (&"undeclared_host".into(), &"api.randomsite.com".into()),
            "{told:#}"
        );
    }

    assert!(told["kill"]["tunnels"].as_u64() >= Some(1), "{told:#}");
    assert!(told["kill"]["ms"].is_number(), "{told:#}");
    assert!(told["crl"]["crl_number"].as_u64() >= Some(1), "{told:#}");
    let mails = told["mails"].as_array().context("mails")?;
    assert!(mails.len() >= 2, "owner and security are both told: {told:#}");

    for report in [path(&honest["report"])?, path(&liar["report"])?] {
        let folder = report.parent().context("a report lies in a folder")?;
        for kind in ["html", "txt"] {
            ensure!(
                files(folder)
                    .iter()
                    .any(|file| file.extension().is_some_and(|found| found == kind))
            );
        }
    }
    Ok(())
}

fn story_for_people() -> Result<()> {
    let told = run(command().arg("demo"))?.expect(0)?;
    let text = told.text();
    for word in [
        "azure_openai_embeddings",
        "invoice_ocr",
        "api.randomsite.com",
        "conforming",
        "cosign verify-blob-attestation",
        "openssl",
    ] {
        assert!(text.contains(word), "the story lacks {word:?}:\n{text}");
    }
    Ok(())
}

/// Every bundle that the demo made, with the key that must have signed it and the kind of document.
fn documents(demo: &Demo) -> Result<Vec<(PathBuf, PathBuf, &'static str)>> {
    let all = files(&demo.dir);
    let key = |name: &str| {
        let found = all.iter().find(|file| file.ends_with(format!("keys/{name}.pub")));
        found
            .cloned()
            .with_context(|| format!("no {name}.pub in the demo's folder"))
    };
    let (auditor, crl) = (key("auditor")?, key("crl")?);
    let mut documents = vec![(
        path(&demo.told["crl"]["path"])?,
        crl,
        "https://bailiwick.dev/crl/v1",
    )];
    for plugin in demo.told["plugins"].as_array().context("plugins")? {
        let kind = "https://bailiwick.dev/conformance-report/v1";
        documents.push((path(&plugin["report"])?, auditor.clone(), kind));
    }
    Ok(documents)
}

fn with_openssl() -> Result<()> {
    let demo = demo()?;
    let scratch = tempfile::tempdir()?;
    let documents = documents(demo)?;
    for (bundle, public, kind) in &documents {
        let statement = openssl_verifies(bundle, public, scratch.path())?;
        assert_eq!(statement["predicateType"], *kind);
    }
    let manifests: Vec<_> = signed_manifests(demo);
    assert!(
        manifests.len() >= 3,
        "two plugins and a mended build: {manifests:?}"
    );
    for (_, bundle) in manifests {
        let owner = owner_key(demo, |public| {
            openssl_verifies(&bundle, public, scratch.path()).is_ok()
        })?;
        ensure!(owner.exists());
    }
    Ok(())
}

fn with_cosign() -> Result<()> {
    let demo = demo()?;
    for (bundle, public, kind) in documents(demo)? {
        let subject = subject_file(demo, &bundle)?;
        cosign(&bundle, &public, kind, &subject)?.expect(0)?;
    }
    for (artifact, bundle) in signed_manifests(demo) {
        let kind = "https://bailiwick.dev/plugin-manifest/v1";
        owner_key(demo, |public| {
            cosign(&bundle, public, kind, &artifact).is_ok_and(|run| run.status == Some(0))
        })?;
    }
    Ok(())
}

/// Artifacts with their signed manifests beside them.
fn signed_manifests(demo: &Demo) -> Vec<(PathBuf, PathBuf)> {
    let suffix = ".PLUGIN_MANIFEST.sigstore.json";
    let mut found: Vec<_> = files(&demo.dir)
        .into_iter()
        .filter_map(|file| {
            let artifact = file.to_str()?.strip_suffix(suffix)?;
            Path::new(artifact)
                .is_file()
                .then(|| (artifact.into(), file.clone()))
        })
        .collect();
    found.sort();
    found
}

/// The public key in the demo's folder that satisfies `verifies`.
fn owner_key(demo: &Demo, verifies: impl Fn(&Path) -> bool) -> Result<PathBuf> {
    let keys = files(&demo.dir)
        .into_iter()
        .filter(|file| file.extension().is_some_and(|kind| kind == "pub"));
    keys.into_iter()
        .find(|key| verifies(key))
        .context("no public key in the demo's folder verifies a manifest")
}

/// The file that a bundle speaks of: found by digest, because names may repeat.
fn subject_file(demo: &Demo, bundle: &Path) -> Result<PathBuf> {
    use base64::Engine as _;
    use sha2::Digest as _;
    let document: Value = serde_json::from_slice(&std::fs::read(bundle)?)?;
    let payload = document["dsseEnvelope"]["payload"].as_str().context("payload")?;
    let payload = base64::engine::general_purpose::STANDARD.decode(payload)?;
    let statement: Value = serde_json::from_slice(&payload)?;
    let wanted = statement["subject"][0]["digest"]["sha256"]
        .as_str()
        .context("a subject has a digest")?;
    let digest = |file: &PathBuf| std::fs::read(file).map(|bytes| hex::encode(sha2::Sha256::digest(bytes)));
    files(&demo.dir)
        .into_iter()
        .find(|file| digest(file).is_ok_and(|found| found == wanted))
        .with_context(|| {
            format!(
                "{}: its subject {wanted} is not in the demo's folder",
                bundle.display()
            )
        })
}

/// Every file under `folder`.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}
