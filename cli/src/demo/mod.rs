//! `bailiwick demo`: the whole story on this machine, in a temporary folder, with real sockets, real
//! processes and real signatures.

mod origin;
pub mod plugin;
mod script;
mod sink;
mod story;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use base::{ArtifactDigest, ArtifactState, PluginId, Tier, Verdict};
use control::api::types::{
    AuditRequest, AuditSummary, AuditedReport, FindingLine, ListPublished, PluginList,
};
use seal::SigningKey;
use seal::trust::{Role, Scope, Signer};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::client::Client;
use crate::commands::{admit, init, key, sign};
use crate::config::{Config, MailConfig};
use crate::exit::Exit;
use crate::house::House;
use crate::output::{self, Format};
use crate::{clock, random, trust_file};
use origin::{Authority, Origin};
use sink::{Received, Sink};
use story::Story;

/// The host that both plugins declare.
const DECLARED: &str = "acme.openai.azure.com";
/// The host that nobody declared.
const UNDECLARED: &str = "api.randomsite.com";

/// `bailiwick demo` arguments.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Keep everything in this folder, which must be new or empty [default: a temporary folder, removed]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// What the demo came to; also what `--format json` prints.
#[derive(Serialize)]
struct Outcome {
    plugins: Vec<PluginOutcome>,
    crl: CrlOutcome,
    kill: KillOutcome,
    mails: Vec<MailOutcome>,
    dir: PathBuf,
    site: PathBuf,
}

#[derive(Serialize)]
struct PluginOutcome {
    plugin_id: PluginId,
    artifact_digest: ArtifactDigest,
    tier: Tier,
    state: ArtifactState,
    verdict: Option<Verdict>,
    report: Option<PathBuf>,
    findings: Vec<FindingLine>,
}

#[derive(Serialize)]
struct CrlOutcome {
    crl_number: u64,
    path: PathBuf,
}

#[derive(Serialize)]
struct KillOutcome {
    tunnels: u64,
    ms: f64,
}

#[derive(Serialize)]
struct MailOutcome {
    to: Vec<String>,
    subject: String,
    file: PathBuf,
}

/// One build of a plugin, signed.
struct Build {
    plugin_id: PluginId,
    artifact: PathBuf,
    manifest_bundle: PathBuf,
    digest: ArtifactDigest,
    owner_public: PathBuf,
}

/// Everything that stands while the demo runs.
struct Stage {
    dir: PathBuf,
    config: Config,
    owner: SigningKey,
    owner_public: PathBuf,
    authority_file: PathBuf,
    sink: Sink,
    _origins: Vec<Origin>,
    house: std::sync::Arc<House>,
}

/// Runs `bailiwick demo`.
///
/// # Errors
/// Something that should have happened did not.
pub async fn run(args: &DemoArgs, format: Format, quiet: bool) -> anyhow::Result<Exit> {
    let folder = Folder::new(args.keep.as_deref())?;
    let mut story = Story::new(format == Format::Text && !quiet);
    let stage = Stage::set(folder.path(), &mut story).await?;
    let told = tell(&stage, &mut story).await;
    stage.house.close().await;
    let outcome = told?;
    if format == Format::Json {
        output::print(format, &outcome, String::new)?;
    }
    match folder {
        Folder::Kept(path) => story.line(&format!("Everything is in {}.", path.display())),
        Folder::Temporary(_) => {
            story.line(
                "The folder is removed now. Keep it, and try the commands, with: bailiwick demo --keep DIR",
            );
        }
    }
    Ok(Exit::Done)
}

async fn tell(stage: &Stage, story: &mut Story) -> anyhow::Result<Outcome> {
    story.chapter("Two plugins are signed by their owner and admitted through the load gate");
    let client = Client::running(&stage.config).await?;
    let embeddings = stage.build(
        "azure_openai_embeddings",
        "1.4.2",
        &[("call", DECLARED, "/openai/deployments/embed/embeddings")],
    )?;
    let invoices = stage.build(
        "invoice_ocr",
        "2.0.0",
        &[
            ("call", DECLARED, "/openai/deployments/ocr/chat/completions"),
            ("call", UNDECLARED, "/collect"),
            ("call", UNDECLARED, "/collect"),
            ("call-namelessly", UNDECLARED, "/collect"),
            ("hold", UNDECLARED, "/stream"),
        ],
    )?;
    for build in [&embeddings, &invoices] {
        let admitted = admit::admit(&client, &build.artifact, None, Some(Tier::Medium), false).await?;
        story.line(&format!(
            "{}  {}  tier {}, {}",
            build.plugin_id, build.digest, admitted.artifact.tier, admitted.artifact.state
        ));
    }
    story.line("Both promised hosts under openai.azure.com and nothing else.");

    story.chapter("Each runs as a process of its own, with its proxy in its environment");
    let mut run = stage.start(&embeddings)?;
    run.print_to_end(story).await?;
    let mut held = stage.start(&invoices)?;
    held.print_until(story, "holding the stream open").await?;
    story.line("invoice_ocr keeps that tunnel open. Nothing was blocked: the gateway observes.");

    story.chapter("The night: the log is verified, folded and compared with the manifests");
    let request = AuditRequest {
        who: "demo".to_owned(),
        ..AuditRequest::default()
    };
    let summary: AuditSummary = client.post("/v1/audits", &request).await?;
    story.verdicts(&summary);

    story.chapter("The tier acts: invoice_ocr is in medium, so its digest goes on the revocation list");
    let cut = stage
        .house
        .last_cut()
        .context("nothing was put on the revocation list")?;
    held.print_to_end(story).await?;
    story.line(&format!(
        "list {} signed; {} live tunnel(s) cut {:.1} ms later",
        cut.crl_number, cut.tunnels, cut.ms
    ));
    for act in &summary.acts {
        let clause = act.clause.as_deref().unwrap_or("by hand");
        story.line(&format!(
            "{} {} by {clause}, enabled by {}",
            act.action,
            act.target,
            act.enabled_by.as_deref().unwrap_or("-")
        ));
    }
    story.line("Starting it again:");
    let mut refused = stage.start(&invoices)?;
    let status = refused.print_to_end(story).await?;
    anyhow::ensure!(
        status == Some(1),
        "a held artifact was started, exit status {status:?}"
    );

    story.chapter("Mail went out to the owner and to security");
    stage.sink.wait_for(expected_letters(&summary)).await;
    let mails = stage.sink.received();
    for mail in &mails {
        story.line(&format!("to {}: {}", mail.to.join(", "), mail.subject));
    }

    story.chapter("The owner mends it: a new build, signed again, is admitted at once");
    let mended = stage.build(
        "invoice_ocr",
        "2.0.1",
        &[("call", DECLARED, "/openai/deployments/ocr/chat/completions")],
    )?;
    let admitted = admit::admit(&client, &mended.artifact, None, None, false).await?;
    story.line(&format!(
        "{} {}  {}",
        mended.plugin_id, mended.digest, admitted.artifact.state
    ));
    let status = stage.start(&mended)?.print_to_end(story).await?;
    anyhow::ensure!(
        status == Some(0),
        "the mended build did not run, exit status {status:?}"
    );

    let plugins: PluginList = client.get("/v1/plugins").await?;
    let outcome = stage.outcome(&plugins, &summary, &cut, mails);
    story.chapter("Check it without us");
    story.verification(&stage.commands(&outcome, &invoices));
    Ok(outcome)
}

/// How many letters the night queued: each Message-ID to each of its readers, here one apiece.
fn expected_letters(summary: &AuditSummary) -> usize {
    summary.mails.len()
}

impl Stage {
    async fn set(dir: &Path, story: &mut Story) -> anyhow::Result<Self> {
        story.chapter("A site is made: keys, trust root, gateway, control plane, auditor");
        let site = init::InitArgs {
            folder: dir.join("site"),
            site: Some("demo".to_owned()),
            operator: Some("the demo's operator".to_owned()),
        };
        let made = init::make_site(&site, clock::now())?;
        let authority = Authority::new()?;
        let authority_file = dir.join("demo-ca.pem");
        authority.write_certificate(&authority_file)?;
        let origins = vec![
            authority.start_origin(DECLARED).await?,
            authority.start_origin(UNDECLARED).await?,
        ];
        let sink = Sink::start(dir.join("mail")).await?;
        let config = configure(&made.config, &origins, &sink)?;
        let owner_file = dir.join("owner").join("owner.pem");
        std::fs::create_dir_all(dir.join("owner"))?;
        let owner = random::ed25519_key();
        let owner_public = key::write_pair(&owner_file, &owner)?;
        let next = trust_file::read(&config.trust_root_path())?.with_signer(Signer {
            name: "the owner of both plugins".to_owned(),
            key: owner.public(),
            role: Role::Owner,
            scopes: vec![
                "azure_openai_embeddings".parse::<Scope>()?,
                "invoice_ocr".parse::<Scope>()?,
            ],
            valid_from: clock::now(),
            valid_until: None,
        });
        trust_file::replace(&config, &next)?;
        let (house, addresses) = House::serve(&config).await?;
        story.line(&format!("folder   {}", dir.display()));
        story.line(&format!(
            "gateway  {}, control http://{}",
            addresses.gateway[0], addresses.control
        ));
        story.line(&format!("{DECLARED} and {UNDECLARED} are TLS servers on this machine; only the gateway's resolver override knows."));
        Ok(Self {
            dir: dir.to_owned(),
            config,
            owner,
            owner_public,
            authority_file,
            sink,
            _origins: origins,
            house,
        })
    }

    /// Writes, signs and returns a build.
    fn build(&self, plugin: &str, version: &str, steps: &[(&str, &str, &str)]) -> anyhow::Result<Build> {
        let plugin_id: PluginId = plugin.parse()?;
        let folder = self.dir.join("plugins");
        std::fs::create_dir_all(&folder)?;
        let artifact = folder.join(format!("{plugin}-{version}.plugin"));
        let mut text = format!("# {plugin} {version}; `bailiwick demo-plugin` runs it\n");
        for (verb, host, path) in steps {
            text.push_str(&format!("{verb} https://{host}{path}\n"));
        }
        std::fs::write(&artifact, text).with_context(|| format!("cannot write {}", artifact.display()))?;
        let manifest = folder.join(format!("{plugin}-{version}.json"));
        let document = serde_json::json!({
            "plugin_id": plugin,
            "version": version,
            "owner": {"name": format!("Owners of {plugin}"), "email": format!("{}@owner.example", plugin.replace('_', "-"))},
            "allowed_egress": [{"to": "*.openai.azure.com", "purpose": "inference"}],
            "data_classes": ["official"],
            "sdk_allowlist": [],
            "built_by": "the demo",
            "built_at": clock::now(),
        });
        std::fs::write(&manifest, format!("{document:#}\n"))?;
        let signed = sign::sign_file(&artifact, &manifest, &self.owner, None)?;
        Ok(Build {
            plugin_id,
            artifact,
            manifest_bundle: signed.bundle,
            digest: signed.artifact_digest,
            owner_public: self.owner_public.clone(),
        })
    }

    /// `bailiwick run --artifact … -- bailiwick demo-plugin …`, as a process.
    fn start(&self, build: &Build) -> anyhow::Result<Process> {
        let bailiwick = std::env::current_exe().context("cannot find this program")?;
        let mut child = Command::new(&bailiwick)
            .args(["--quiet", "--config"])
            .arg(&self.config.path)
            .args(["run", "--artifact"])
            .arg(&build.artifact)
            .arg("--")
            .arg(&bailiwick)
            .arg("demo-plugin")
            .arg(&build.artifact)
            .env("SSL_CERT_FILE", &self.authority_file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a plugin's process")?;
        let stdout = child.stdout.take().context("the plugin's output is not piped")?;
        Ok(Process {
            name: build.plugin_id.to_string(),
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }

    fn outcome(
        &self,
        plugins: &PluginList,
        summary: &AuditSummary,
        cut: &ListPublished,
        mails: Vec<Received>,
    ) -> Outcome {
        let artifacts = plugins.plugins.iter().flat_map(|plugin| &plugin.artifacts);
        let plugins = artifacts.filter_map(|artifact| {
            let about = |report: &&AuditedReport| {
                report.artifact_digest == Some(artifact.artifact_digest) && report.run_id.is_none()
            };
            // A build that the night has not seen yet has no verdict, and none is made up.
            let report = summary.reports.iter().find(about)?;
            Some(PluginOutcome {
                plugin_id: artifact.plugin_id.clone(),
                artifact_digest: artifact.artifact_digest,
                tier: artifact.tier,
                state: artifact.state,
                verdict: Some(report.verdict),
                report: report
                    .folder
                    .as_ref()
                    .map(|folder| Path::new(folder).join(auditor::BUNDLE_NAME)),
                findings: report.findings.clone(),
            })
        });
        let mail = |mail: Received| MailOutcome {
            to: mail.to,
            subject: mail.subject,
            file: mail.file,
        };
        Outcome {
            plugins: plugins.collect(),
            crl: CrlOutcome {
                crl_number: cut.crl_number,
                path: self.config.data_dir().join("crl").join(crl::HEAD_FILE),
            },
            kill: KillOutcome {
                tunnels: cut.tunnels,
                ms: cut.ms,
            },
            mails: mails.into_iter().map(mail).collect(),
            dir: self.dir.clone(),
            site: self.dir.join("site"),
        }
    }

    /// The stock commands that check the manifest, the report and the list of this very run.
    fn commands(&self, outcome: &Outcome, build: &Build) -> Vec<(String, String)> {
        let cosign = |bundle: &Path, key: &Path, kind: seal::PredicateType, file: &Path| {
            format!(
                "cosign verify-blob-attestation --bundle {} \\\n  --key {} --insecure-ignore-tlog \\\n  --type {} {}",
                bundle.display(),
                key.display(),
                kind.uri(),
                file.display()
            )
        };
        let keys = self.config.keys_dir();
        let mut commands = vec![(
            "The owner's manifest".to_owned(),
            cosign(
                &build.manifest_bundle,
                &build.owner_public,
                seal::PredicateType::PluginManifest,
                &build.artifact,
            ),
        )];
        let breach = outcome
            .plugins
            .iter()
            .find(|plugin| plugin.artifact_digest == build.digest);
        if let Some(report) = breach.and_then(|plugin| plugin.report.as_deref()) {
            commands.push((
                "The auditor's report".to_owned(),
                cosign(
                    report,
                    &keys.join("auditor.pub"),
                    seal::PredicateType::ConformanceReport,
                    &build.artifact,
                ),
            ));
            commands.push((
                "The report, to read".to_owned(),
                report.with_file_name("report.html").display().to_string(),
            ));
            commands.push((
                "The same signature with openssl and jq alone".to_owned(),
                openssl(report, &keys.join("auditor.pub")),
            ));
        }
        let body = outcome
            .crl
            .path
            .with_file_name(crl::body_file(outcome.crl.crl_number));
        commands.push((
            "The revocation list".to_owned(),
            cosign(
                &outcome.crl.path,
                &keys.join("crl.pub"),
                seal::PredicateType::Crl,
                &body,
            ),
        ));
        commands.push((
            "The evidence log".to_owned(),
            format!(
                "bailiwick --config {} evidence verify",
                self.config.path.display()
            ),
        ));
        commands
    }
}

/// DSSE's pre-authentication encoding by hand, then a plain Ed25519 verification.
fn openssl(bundle: &Path, key: &Path) -> String {
    format!(
        "jq -j .dsseEnvelope.payload {b} | base64 -d > payload\n\
         jq -j '.dsseEnvelope.signatures[0].sig' {b} | base64 -d > sig\n\
         printf 'DSSEv1 28 application/vnd.in-toto+json %d ' \"$(wc -c < payload)\" | cat - payload > pae\n\
         openssl pkeyutl -verify -pubin -inkey {k} -rawin -in pae -sigfile sig",
        b = bundle.display(),
        k = key.display()
    )
}

/// The configuration of the demo: free ports, the override map, the mail server.
fn configure(path: &Path, origins: &[Origin], sink: &Sink) -> anyhow::Result<Config> {
    let mut file = Config::read(path)?.file;
    let free = || -> anyhow::Result<std::net::SocketAddr> {
        Ok(std::net::TcpListener::bind(("127.0.0.1", 0))
            .context("no free port on 127.0.0.1")?
            .local_addr()?)
    };
    file.gateway.listen = vec![free()?];
    file.gateway.admin = free()?;
    file.control.listen = free()?;
    file.gateway.allow_private = vec!["127.0.0.0/8".to_owned()];
    for (name, origin) in [DECLARED, UNDECLARED].into_iter().zip(origins) {
        file.gateway
            .resolver
            .hosts
            .insert(name.parse()?, vec![origin.address.to_string()]);
    }
    file.mail = Some(MailConfig {
        server: format!("smtp://{}", sink.address),
        password_file: None,
        from: "bailiwick@demo.example".to_owned(),
        security: vec!["security@demo.example".to_owned()],
    });
    std::fs::write(path, toml::to_string(&file)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Config::read(path)?)
}

/// A plugin's process and what it prints.
struct Process {
    name: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    async fn print_until(&mut self, story: &mut Story, word: &str) -> anyhow::Result<()> {
        while let Some(line) = self.lines.next_line().await? {
            story.said(&self.name, &line);
            if line.contains(word) {
                return Ok(());
            }
        }
        anyhow::bail!("{} ended before it said {word:?}", self.name)
    }

    async fn print_to_end(&mut self, story: &mut Story) -> anyhow::Result<Option<i32>> {
        while let Some(line) = self.lines.next_line().await? {
            story.said(&self.name, &line);
        }
        if let Some(stderr) = self.child.stderr.take() {
            let mut errors = BufReader::new(stderr).lines();
            while let Some(line) = errors.next_line().await? {
                story.said(&self.name, &line);
            }
        }
        Ok(self.child.wait().await?.code())
    }
}

/// Where the demo happens.
enum Folder {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Folder {
    fn new(keep: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = keep else {
            let folder = tempfile::Builder::new().prefix("bailiwick-demo-").tempdir();
            return Ok(Self::Temporary(folder.context("cannot make a temporary folder")?));
        };
        std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let is_empty = std::fs::read_dir(path)?.next().is_none();
        anyhow::ensure!(is_empty, "{} is not empty; name a new folder", path.display());
        Ok(Self::Kept(std::path::absolute(path)?))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("precious"), b"x").unwrap();
        let error = Folder::new(Some(folder.path())).err().unwrap();
        assert!(error.to_string().contains("is not empty"));
    }

    #[test]
    fn the_pre_authentication_encoding_names_the_length_of_the_payload_type() {
        let command = openssl(Path::new("b"), Path::new("k"));
        let payload_type = seal::envelope::PAYLOAD_TYPE;
        assert!(command.contains(&format!("DSSEv1 {} {payload_type} %d ", payload_type.len())));
    }
}
