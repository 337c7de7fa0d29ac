//! The stage: a site, its services, and the builds that appear on it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base::{ArtifactDigest, PluginId};
use proxy::ListenAddress;
use seal::SigningKey;
use seal::trust::{Role, Scope, Signer};
use tokio::process::Command;

use super::origin::{Authority, Origin};
use super::process::Process;
use super::sink::Sink;
use super::story::Story;
use super::{DECLARED, UNDECLARED};
use crate::commands::{init, key, sign};
use crate::config::{Config, MailConfig};
use crate::house::House;
use crate::{clock, random, trust_file};

/// One build of a plugin, signed.
pub(super) struct Build {
    pub(super) plugin_id: PluginId,
    pub(super) artifact: PathBuf,
    pub(super) manifest_bundle: PathBuf,
    pub(super) digest: ArtifactDigest,
    pub(super) owner_public: PathBuf,
}

/// Everything that stands while the demo runs.
pub(super) struct Stage {
    pub(super) dir: PathBuf,
    pub(super) config: Config,
    owner: SigningKey,
    pub(super) owner_public: PathBuf,
    authority_file: PathBuf,
    pub(super) sink: Sink,
    _origins: Vec<Origin>,
    pub(super) house: Arc<House>,
}

impl Stage {
    pub(super) async fn set(dir: &Path, story: &mut Story) -> anyhow::Result<Self> {
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
        let (house, addresses) = House::serve(&config, proxy::HandedSockets::default()).await?;
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
    pub(super) fn build(
        &self,
        plugin: &str,
        version: &str,
        steps: &[(&str, &str, &str)],
    ) -> anyhow::Result<Build> {
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

    /// Waits until the gateway has seen the end of everything but the one tunnel that is held. A plugin is
    /// done with a connection before the gateway is, and what is only known to be open proves little.
    pub(super) async fn wait_for_ends(&self) -> anyhow::Result<()> {
        let seen = async {
            while self.house.live() > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), seen)
            .await
            .context("connections that the plugins closed are still open at the gateway")
    }

    /// `bailiwick run --artifact … -- bailiwick demo-plugin …`, as a process.
    pub(super) fn start(&self, build: &Build) -> anyhow::Result<Process> {
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
        Ok(Process::new(build.plugin_id.to_string(), child, stdout))
    }
}

/// The configuration of the demo: free ports, the override map, the mail server.
fn configure(path: &Path, origins: &[Origin], sink: &Sink) -> anyhow::Result<Config> {
    let mut file = Config::read(path)?.file;
    let free = || -> anyhow::Result<std::net::SocketAddr> {
        Ok(std::net::TcpListener::bind(("127.0.0.1", 0))
            .context("no free port on 127.0.0.1")?
            .local_addr()?)
    };
    file.gateway.listen = vec![ListenAddress::Tcp(free()?)];
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
        ca_file: None,
        from: "bailiwick@demo.example".to_owned(),
        security: vec!["security@demo.example".to_owned()],
    });
    std::fs::write(path, toml::to_string(&file)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Config::read(path)?)
}
