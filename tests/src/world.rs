//! The world of one test: a site, its server, the internet it believes in, and a mailbox.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use toml::Table;

use crate::binary::bailiwick;
use crate::process::{Run, run};
use crate::server::http_get;
use crate::trial::leave_note;
use crate::wait::wait_until;
use crate::{Authority, Mail, MailSink, Origin, Plugin, PluginBuilder, Server};

/// What a client may have inherited and must not: the machine's own way to the internet.
const FOREIGN_VARIABLES: [&str; 11] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_DIR",
    "BAILIWICK_CONFIG",
    "JAVA_TOOL_OPTIONS",
];

/// A whole site in a temporary folder. Fields are dropped in order: the server first.
pub struct World {
    server: Option<Server>,
    mail: Option<MailSink>,
    origins: Vec<Arc<Origin>>,
    authority: Authority,
    folder: TempDir,
}

impl World {
    /// Makes a site with the real binary. The gateway may reach loopback here, which a site may not.
    ///
    /// # Errors
    /// When `bailiwick init` refuses or its configuration cannot be edited.
    pub fn new() -> Result<Self> {
        let mut folder = tempfile::Builder::new().prefix("bailiwick-").tempdir()?;
        folder.disable_cleanup(std::env::var_os("BAILIWICK_KEEP").is_some());
        let world = Self {
            server: None,
            mail: None,
            origins: Vec::new(),
            authority: Authority::create(folder.path().join("authority.pem"))?,
            folder,
        };
        std::fs::create_dir(world.path("home"))?;
        run(Command::new(bailiwick())
            .args(["init", "--format", "json"])
            .arg(world.site())
            .env("USER", "ops"))?
        .expect(0)?;
        world.configure(|config| {
            let gateway = table(config, "gateway");
            gateway.insert("listen".into(), vec![free_port()?.to_string()].into());
            gateway.insert("admin".into(), free_port()?.to_string().into());
            gateway.insert("allow_private".into(), vec!["127.0.0.0/8".to_owned()].into());
            table(config, "control").insert("listen".into(), free_port()?.to_string().into());
            Ok(())
        })?;
        Ok(world)
    }

    /// A path in the world's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The site's folder.
    pub fn site(&self) -> PathBuf {
        self.path("site")
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.site().join("bailiwick.toml")
    }

    /// The test authority.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Edits the configuration file; a running server has read its own already.
    ///
    /// # Errors
    /// When the file cannot be read or written, or the edit fails.
    pub fn configure(&self, edit: impl FnOnce(&mut Table) -> Result<()>) -> Result<()> {
        let mut config: Table = std::fs::read_to_string(self.config())
            .context("reading the site's configuration")?
            .parse()?;
        edit(&mut config)?;
        Ok(std::fs::write(self.config(), config.to_string())?)
    }

    /// The configuration as it stands.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn configuration(&self) -> Result<Table> {
        Ok(std::fs::read_to_string(self.config())?.parse()?)
    }

    /// The gateway's first address.
    ///
    /// # Errors
    /// When the configuration names none.
    pub fn gateway(&self) -> Result<SocketAddr> {
        let config = self.configuration()?;
        let listen = config["gateway"]["listen"][0]
            .as_str()
            .context("gateway.listen")?;
        Ok(listen.parse()?)
    }

    fn admin(&self) -> Result<SocketAddr> {
        let config = self.configuration()?;
        Ok(config["gateway"]["admin"]
            .as_str()
            .context("gateway.admin")?
            .parse()?)
    }

    /// An HTTPS origin that the gateway's resolver leads `names` to.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn origin(&mut self, names: &[&str]) -> Result<Arc<Origin>> {
        let origin = Origin::tls(&self.authority, names)?;
        self.adopt(origin)
    }

    /// An HTTPS origin that serves the files under `folder`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn file_origin(&mut self, names: &[&str], folder: &Path) -> Result<Arc<Origin>> {
        let origin = Origin::files(&self.authority, names, folder)?;
        self.adopt(origin)
    }

    /// A plain HTTP origin that the gateway's resolver leads `names` to.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn plain_origin(&mut self, names: &[&str]) -> Result<Arc<Origin>> {
        self.adopt(Origin::plain(names)?)
    }

    /// Names the gateway's witnesses, as pairs of URL and key, and how many of them are needed.
    ///
    /// # Errors
    /// When the configuration cannot be edited.
    pub fn witnessed_by(&self, witnesses: &[(String, String)], quorum: Option<i64>) -> Result<()> {
        self.configure(|config| {
            let named = witnesses.iter().map(|(url, key)| {
                let pairs = [("url", url), ("key", key)];
                let named = pairs.map(|(name, value)| (name.to_owned(), value.clone().into()));
                toml::Value::Table(named.into_iter().collect())
            });
            let evidence = table(config, "evidence");
            evidence.insert("witnesses".into(), named.collect::<Vec<_>>().into());
            if let Some(quorum) = quorum {
                evidence.insert("quorum".into(), quorum.into());
            }
            Ok(())
        })
    }

    /// The key of this site's log, as stock tools take it.
    ///
    /// # Errors
    /// When the product does not print it.
    pub fn log_vkey(&self) -> Result<String> {
        let printed = self.ok(["evidence", "key"])?;
        let key = printed["keys"][0]["vkey"].as_str();
        Ok(key.context("evidence key prints {\"keys\": […]}")?.to_owned())
    }

    /// Leads `names` to `addresses`, as a hosts file does.
    ///
    /// # Errors
    /// When the configuration cannot be edited.
    pub fn lead<N: AsRef<str>>(&self, names: &[N], addresses: &[String]) -> Result<()> {
        self.configure(|config| {
            let hosts = table(table(table(config, "gateway"), "resolver"), "hosts");
            for name in names {
                hosts.insert(name.as_ref().to_owned(), addresses.to_vec().into());
            }
            Ok(())
        })
    }

    /// Has all other names looked up by `server`.
    ///
    /// # Errors
    /// When the configuration cannot be edited.
    pub fn resolve_with(&self, server: SocketAddr) -> Result<()> {
        self.configure(|config| {
            let resolver = table(table(config, "gateway"), "resolver");
            resolver.insert("servers".into(), vec![server.to_string()].into());
            Ok(())
        })
    }

    /// Lifts these networks from the floor, and no others.
    ///
    /// # Errors
    /// When the configuration cannot be edited.
    pub fn allow_private(&self, networks: &[&str]) -> Result<()> {
        self.configure(|config| {
            let networks: Vec<String> = networks.iter().map(|&network| network.to_owned()).collect();
            table(config, "gateway").insert("allow_private".into(), networks.into());
            Ok(())
        })
    }

    fn adopt(&mut self, origin: Origin) -> Result<Arc<Origin>> {
        self.lead(origin.names(), &[origin.address().to_string()])?;
        let origin = Arc::new(origin);
        self.origins.push(origin.clone());
        Ok(origin)
    }

    /// A mail server, and the configuration that sends mail to it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn receive_mail(&mut self) -> Result<()> {
        let sink = MailSink::start(self.path("mail"), SocketAddr::from(([127, 0, 0, 1], 0)))?;
        self.send_mail_to(sink.address())?;
        self.mail = Some(sink);
        Ok(())
    }

    /// Configures mail to `address`, whoever listens there.
    ///
    /// # Errors
    /// When the configuration cannot be edited.
    pub fn send_mail_to(&self, address: SocketAddr) -> Result<()> {
        self.configure(|config| {
            let mail = table(config, "mail");
            mail.insert("server".into(), format!("smtp://{address}").into());
            mail.insert("from".into(), "bailiwick@site.example".into());
            mail.insert("security".into(), vec!["security@site.example".to_owned()].into());
            Ok(())
        })
    }

    /// Configures mail to `server`, as the setting is written, whose certificate `authority` vouches for.
    ///
    /// # Errors
    /// When the configuration cannot be edited.
    pub fn send_mail_over_tls(&self, server: &str, authority: &Path) -> Result<()> {
        self.configure(|config| {
            let mail = table(config, "mail");
            mail.insert("server".into(), server.into());
            mail.insert("ca_file".into(), authority.display().to_string().into());
            mail.insert("from".into(), "bailiwick@site.example".into());
            mail.insert("security".into(), vec!["security@site.example".to_owned()].into());
            Ok(())
        })
    }

    /// Starts the mail server that [`World::send_mail_to`] promised.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn start_mail_at(&mut self, address: SocketAddr) -> Result<()> {
        self.mail = Some(MailSink::start(self.path("mail"), address)?);
        Ok(())
    }

    /// Every mail received so far.
    pub fn mails(&self) -> Vec<Mail> {
        self.mail.as_ref().map(MailSink::mails).unwrap_or_default()
    }

    /// Starts `bailiwick serve` and waits until it is ready.
    ///
    /// # Errors
    /// With everything it printed, when it does not become ready.
    pub fn serve(&mut self) -> Result<()> {
        let mut command = self.command(["serve"]);
        self.server = Some(Server::start(
            &mut command,
            self.admin()?,
            self.path("serve.log"),
        )?);
        Ok(())
    }

    /// Starts the server through another command line: `wrapper` is given the binary and its
    /// arguments, and must end up as that very process.
    ///
    /// # Errors
    /// As for [`World::serve`].
    pub fn serve_through(&mut self, wrapper: &[&str]) -> Result<()> {
        let mut command = Command::new(wrapper[0]);
        command
            .args(&wrapper[1..])
            .arg(bailiwick())
            .arg("--config")
            .arg(self.config())
            .arg("serve");
        self.prepare_client(&mut command);
        self.server = Some(Server::start(
            &mut command,
            self.admin()?,
            self.path("serve.log"),
        )?);
        Ok(())
    }

    /// Starts the server with `socket` handed over to it, as a service manager does that holds it.
    ///
    /// # Errors
    /// As for [`World::serve`].
    pub fn serve_on(&mut self, socket: &TcpListener) -> Result<()> {
        // Whatever is handed over begins at descriptor 3 (sd_listen_fds(3)).
        const HAND_OVER: &str = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", HAND_OVER, "sh"]).arg(bailiwick());
        command.arg("--config").arg(self.config()).arg("serve");
        self.prepare_client(&mut command);
        let handed = OwnedFd::from(socket.try_clone()?);
        let (admin, log) = (self.admin()?, self.path("serve.log"));
        self.server = Some(Server::start_with(&mut command, handed.into(), admin, log)?);
        Ok(())
    }

    /// Starts a process that takes over from the server, and waits for nothing.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn begin_take_over(&self) -> Result<Server> {
        let logs = (2..).map(|number| self.path(&format!("serve-{number}.log")));
        let log = logs
            .into_iter()
            .find(|log| !log.exists())
            .context("a free name")?;
        let mut command = self.command(["serve", "--take-over"]);
        Server::spawn(&mut command, Stdio::null(), log)
    }

    /// Has another process take over from the server, and gives the one before it.
    ///
    /// # Errors
    /// With everything it printed, when it does not come to serve.
    pub fn take_over(&mut self) -> Result<Server> {
        let mut successor = self.begin_take_over()?;
        successor.serves()?;
        self.replace_server(successor)
    }

    /// From now on `successor` is the server; gives the one before it.
    ///
    /// # Errors
    /// When there was none.
    pub fn replace_server(&mut self, successor: Server) -> Result<Server> {
        let before = self.server.replace(successor);
        before.context("no server runs in this world")
    }

    /// Waits for the server to stop that was asked to; its exit status must be 0.
    ///
    /// # Errors
    /// When it hangs or complains.
    pub fn ended(&mut self) -> Result<()> {
        let server = self.server.take().context("no server runs in this world")?;
        let status = server.ended()?;
        anyhow::ensure!(status.success(), "bailiwick serve stopped with {status}");
        Ok(())
    }

    /// The running server.
    ///
    /// # Errors
    /// When none runs.
    pub fn server(&self) -> Result<&Server> {
        self.server.as_ref().context("no server runs in this world")
    }

    /// Stops the server in good order; its exit status must be 0.
    ///
    /// # Errors
    /// When it hangs or complains.
    pub fn stop(&mut self) -> Result<()> {
        self.server()?.terminate();
        self.ended()
    }

    /// Kills the server as a power cut would.
    ///
    /// # Errors
    /// When it cannot be reaped.
    pub fn kill_server(&mut self) -> Result<()> {
        self.server.take().context("no server runs in this world")?.kill()
    }

    /// What an admin page says.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn admin_page(&self, path: &str) -> Result<String> {
        http_get(self.admin()?, path)
    }

    /// The binary with these arguments and this site's configuration, in an environment where clients
    /// trust the test authority and know no other proxy.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(bailiwick());
        command.arg("--config").arg(self.config()).args(args);
        self.prepare_client(&mut command);
        command
    }

    /// Gives `command` the environment of a client in this world.
    pub fn prepare_client(&self, command: &mut Command) {
        for name in FOREIGN_VARIABLES {
            command.env_remove(name);
        }
        command
            .envs(self.authority.environment())
            .env("HOME", self.path("home"))
            .env("PATH", crate::peer::search_path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("NO_COLOR", "1")
            .current_dir(self.folder.path());
    }

    /// Runs a command of the product, asking for JSON.
    ///
    /// # Errors
    /// When it cannot be started or hangs.
    pub fn cli<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Run> {
        run(self.command(["--format", "json"]).args(args))
    }

    /// Runs a command of the product that must succeed, and reads its JSON.
    ///
    /// # Errors
    /// When its exit status is not 0 or its output not JSON.
    pub fn ok<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Value> {
        self.cli(args)?.expect(0)?.json()
    }

    /// Begins a plugin.
    pub fn plugin(&self, id: &str) -> PluginBuilder<'_> {
        PluginBuilder::new(self, id)
    }

    /// `bailiwick sign` for a prepared plugin.
    ///
    /// # Errors
    /// When it cannot be started or hangs.
    pub fn sign(&self, plugin: &Plugin) -> Result<Run> {
        self.cli([
            "sign".as_ref(),
            plugin.artifact.as_os_str(),
            "--manifest".as_ref(),
            plugin.manifest.as_os_str(),
            "--key".as_ref(),
            plugin.key.as_os_str(),
        ])
    }

    /// `bailiwick verify` for a signed plugin.
    ///
    /// # Errors
    /// When it cannot be started or hangs.
    pub fn verify(&self, plugin: &Plugin) -> Result<Run> {
        self.cli(["verify".as_ref(), plugin.artifact.as_os_str()])
    }

    /// `bailiwick admit` for a signed plugin.
    ///
    /// # Errors
    /// When it cannot be started or hangs.
    pub fn admit(&self, plugin: &Plugin, tier: &str) -> Result<Run> {
        self.cli([
            "admit".as_ref(),
            plugin.artifact.as_os_str(),
            "--tier".as_ref(),
            tier.as_ref(),
        ])
    }

    /// `bailiwick run --artifact … -- COMMAND`, ready to be started.
    pub fn plugin_command<A: AsRef<OsStr>>(
        &self,
        plugin: &Plugin,
        command: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut run = self.command(["run".as_ref(), "--artifact".as_ref(), plugin.artifact.as_os_str()]);
        run.arg("--").args(command);
        run
    }

    /// Runs a plugin's command to its end.
    ///
    /// # Errors
    /// When it cannot be started or hangs.
    pub fn run_plugin<A: AsRef<OsStr>>(
        &self,
        plugin: &Plugin,
        command: impl IntoIterator<Item = A>,
    ) -> Result<Run> {
        run(&mut self.plugin_command(plugin, command))
    }

    /// Every event in the evidence log.
    ///
    /// # Errors
    /// When the product cannot read it.
    pub fn events(&self) -> Result<Vec<Value>> {
        let printed = self.ok(["events"])?;
        printed["events"]
            .as_array()
            .cloned()
            .context("events prints {\"events\": […]}")
    }

    /// Waits until an event satisfies `wanted`.
    ///
    /// # Errors
    /// When none does in time.
    pub fn wait_for_event(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<()> {
        wait_until(what, || {
            self.events().is_ok_and(|events| events.iter().any(&wanted))
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let later = (2..).map(|number| self.path(&format!("serve-{number}.log")));
        for log in std::iter::once(self.path("serve.log")).chain(later) {
            let Ok(printed) = std::fs::read_to_string(&log) else {
                break;
            };
            let log = log.display();
            leave_note(format!("--- what bailiwick serve printed: {log}\n{printed}---"));
        }
    }
}

/// The ports that fixed addresses are taken from: below those that the kernel hands out by itself
/// ("ephemeral", from 32768 on with Linux's defaults), so that no outgoing connection of a test that
/// runs beside this one can sit on a port between its choice here and the server's `bind`.
const FIXED_PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A loopback address that nobody listens on, and that no other caller in this process is given.
///
/// # Errors
/// When every port of the range is taken.
pub fn free_port() -> Result<SocketAddr> {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    let size = u32::from(FIXED_PORTS.end - FIXED_PORTS.start);
    // Test programs that run at the same time begin at different places.
    let next = NEXT.get_or_init(|| AtomicU32::new(std::process::id().wrapping_mul(787) % size));
    for _ in 0..size {
        let offset = next.fetch_add(1, Ordering::Relaxed) % size;
        let port = FIXED_PORTS.start + u16::try_from(offset).expect("below the range's size");
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!(
        "every port from {} to {} is in use",
        FIXED_PORTS.start,
        FIXED_PORTS.end - 1
    )
}

fn table<'t>(parent: &'t mut Table, name: &str) -> &'t mut Table {
    let entry = parent.entry(name).or_insert_with(|| Table::new().into());
    if !entry.is_table() {
        *entry = Table::new().into();
    }
    entry.as_table_mut().expect("made a table just now")
}
