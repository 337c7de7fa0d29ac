//! The house: gateway, control plane and auditor put together in one process.
//!
//! This is the only place that knows all three. Each of them owns the traits through which it asks
//! the others; here the answers are plugged in.

mod alarms;
pub mod archive;
pub mod archive_keeper;
mod budgets;
pub mod child;
mod exports;
mod gateways;
pub mod handover;
pub mod hooks;
pub mod logs;
mod nights;
pub mod own_log;
mod reload;
pub mod rulings;
pub mod run_folder;
pub mod run_places;
mod run_reports;
mod shelf;
mod site;
pub mod witnesses;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use control::api::types::WitnessingView;
use control::api::{Access, End, OperatorToken};
use control::clock::{Clock, SystemClock};
use control::configuration::Configuration as _;
use control::office::{Keys, Office, Settings};
use control::postman::Postman;
use control::smtp::{MailServer, ServerUrl};
use control::store::Store;
use evidence::Origin;
use proxy::{
    EvidenceBudget, EvidenceSettings, Gateway, HandedSockets, ListenAddress, OpenSocket, OverrideAddress,
    Purpose, Recorder,
};
use rustix::fs::{FlockOperation, flock};
use seal::key_file;
use seal::note::NoteVerifier;
use seal::trust::Role;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{self, Config};
use crate::service;
use crate::tls_config;
use archive_keeper::{ArchiveKeeper, HouseArchives};
use budgets::Budgets;
use gateways::HouseGateways;
use handover::{Predecessor, Request, Retired};
use hooks::Courier;
use nights::{HouseNights, OPENED, Readers};
use reload::HouseConfiguration;
use witnesses::Witnesses;

/// For how long a revocation list is good.
const CRL_VALIDITY: Duration = Duration::from_secs(24 * 3600);
/// How long run tokens are good unless asked otherwise, and how long a stale list lets new loads through.
const DAY_S: u32 = 24 * 3600;

/// An open house. Dropping it without [`House::close`] leaves the log to be recovered at the next
/// start, as after a crash.
pub struct House {
    config: Config,
    office: Office,
    gateways: Arc<HouseGateways>,
    nights: Arc<HouseNights>,
    router: Router,
    bell: Arc<Notify>,
    configuration: Arc<HouseConfiguration>,
    archives: Arc<HouseArchives>,
    budgets: Arc<Budgets>,
    stop: CancellationToken,
    /// Fires when requests under way cannot be waited for.
    hurry: CancellationToken,
    tasks: TaskTracker,
    /// The control API's socket, for a process that takes over.
    control: OnceLock<OpenSocket>,
    /// Held for as long as the house is open: one process per data folder.
    lock: File,
}

/// What became of a process's asking to take over.
pub enum HandedOver {
    /// Nothing: this process serves on.
    Not(Arc<House>),
    /// The other process serves.
    To(Box<Retired>),
}

/// Where a serving house can be reached.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Addresses {
    /// Where plugins connect.
    pub gateway: Vec<ListenAddress>,
    /// Health and metrics.
    pub admin: SocketAddr,
    /// The control API.
    pub control: SocketAddr,
}

impl House {
    /// Opens the data folder: registry, list, policy, trust root. No port is opened.
    ///
    /// # Errors
    /// Another process has the folder, or something in it cannot be read.
    pub async fn open(config: &Config) -> anyhow::Result<Arc<Self>> {
        Self::open_around(config, Arc::new(HouseGateways::new(config))).await
    }

    /// Opens the data folder around a gateway that may run already.
    async fn open_around(config: &Config, gateways: Arc<HouseGateways>) -> anyhow::Result<Arc<Self>> {
        let lock = lock(&config.data_dir())?;
        let data = config.data_dir();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::open_sqlite(&data.join("bailiwick.db"), clock.now())?;
        if store.setting(OPENED).await?.is_none() {
            store.set_setting(OPENED, clock.now().to_string(), None).await?;
        }
        let bell = Arc::new(Notify::new());
        let budgets = Arc::new(Budgets::new(config));
        let nights = Arc::new(HouseNights::new(
            config,
            readers(config)?,
            Arc::clone(&bell),
            Arc::clone(&budgets),
        ));
        let settings = Settings {
            site: config.file.site.clone(),
            root_path: config.trust_root_path(),
            policy_path: config.policy_path(),
            crl_folder: data.join("crl"),
            crl_validity: CRL_VALIDITY,
            crl_grace_s: DAY_S,
            policy_signature: config.file.policy_signature.into(),
            run_valid_for_s: DAY_S,
            appeals: config.file.appeals.clocks().map_err(anyhow::Error::msg)?,
            security_contact: nights::security_contact(config),
        };
        let keys = Keys {
            crl: key_file::read_private(&config.key_path(Role::Crl))?,
            run: key_file::read_private(&config.key_path(Role::Run))?,
        };
        let office = Office::open(settings, keys, store, clock, Arc::clone(&gateways) as _).await?;
        nights.attach(office.clone());
        let token = OperatorToken::load_or_create(&data.join("operator.token"))?;
        let access = Access::new(token, config.file.control.listen);
        let configuration = Arc::new(HouseConfiguration::new(
            config,
            office.clone(),
            Arc::clone(&gateways),
        ));
        let archives = Arc::<HouseArchives>::default();
        let router = control::api::router(
            office.clone(),
            Arc::clone(&nights) as _,
            Arc::clone(&configuration) as _,
            Arc::clone(&archives) as _,
            access,
        );
        Ok(Arc::new(Self {
            config: config.clone(),
            office,
            gateways,
            nights,
            router,
            bell,
            configuration,
            archives,
            budgets,
            stop: CancellationToken::new(),
            hurry: CancellationToken::new(),
            tasks: TaskTracker::new(),
            control: OnceLock::new(),
            lock,
        }))
    }

    /// Opens the house and its ports, and starts what works by itself: upkeep, post, schedule. Of the
    /// sockets in `handed`, those at a configured address are used.
    ///
    /// # Errors
    /// As [`House::open`]; or a port cannot be had, or the evidence log cannot be opened.
    pub async fn serve(config: &Config, mut handed: HandedSockets) -> anyhow::Result<(Arc<Self>, Addresses)> {
        let house = Self::open(config).await?;
        let addresses = house.open_ports(config, &mut handed).await?;
        Ok((house, addresses))
    }

    /// The same, in the place of the process that serves the site now and hands its sockets over. That
    /// one goes on as before unless this succeeds.
    ///
    /// # Errors
    /// As [`House::serve`]; or nobody serves the site, or whoever does refuses.
    pub async fn take_over(config: &Config) -> anyhow::Result<(Arc<Self>, Addresses)> {
        check_before_taking_over(config)?;
        let mut handed = HandedSockets::default();
        let mut predecessor = Predecessor::ask(config, &mut handed).await?;
        let session = handed.predecessor().unwrap_or_default().to_owned();
        predecessor.release().await?;
        let house = Self::open(config).await?;
        let addresses = house.open_ports(config, &mut handed).await?;
        if let Some(gateway) = house.gateways.gateway() {
            gateway.own_socket_files();
        }
        let follower = predecessor.follow(&session, Arc::clone(&house.gateways)).await;
        house.gateways.attach_follower(Arc::clone(&follower));
        // What changed before there was somebody to tell.
        follower.tell_facts(&house.gateways.rulings).await;
        Ok((house, addresses))
    }

    async fn open_ports(&self, config: &Config, handed: &mut HandedSockets) -> anyhow::Result<Addresses> {
        let listen = config.file.control.listen;
        let failed = || format!("cannot listen on {listen} (control.listen)");
        let listener = control_listener(listen, handed).await.with_context(failed)?;
        let control = listener.local_addr()?;
        self.keep_control(&listener)?;
        let gateway = self.start_gateway(config, control, handed).await?;
        let addresses = Addresses {
            gateway: gateway.addresses().to_vec(),
            admin: gateway.admin_address().unwrap_or(config.file.gateway.admin),
            control,
        };
        self.gateways.attach(gateway, &self.office.facts(), handed);
        service::warn_of_unused(handed);
        // What was told while the gateway started is told again.
        self.gateways.tell_run_keys(&self.office.facts().trust);
        self.begin_work(config, listener)?;
        Ok(addresses)
    }

    fn keep_control(&self, listener: &TcpListener) -> io::Result<()> {
        let kept = OpenSocket {
            address: ListenAddress::Tcp(self.config.file.control.listen),
            purpose: Some(Purpose::Control),
            socket: listener.as_fd().try_clone_to_owned()?,
            has_file: false,
        };
        assert!(self.control.set(kept).is_ok(), "a house has one control API");
        Ok(())
    }

    /// Starts what works by itself.
    fn begin_work(&self, config: &Config, listener: TcpListener) -> anyhow::Result<()> {
        self.spawn_witnesses(config)?;
        self.spawn_archive(config)?;
        self.spawn_exports(config)?;
        self.spawn_work(config, listener)
    }

    async fn start_gateway(
        &self,
        config: &Config,
        control: SocketAddr,
        handed: &mut HandedSockets,
    ) -> anyhow::Result<Gateway> {
        let own = config.clone();
        let (writer, gap) = tokio::task::spawn_blocking(move || own_log::open(&own)).await??;
        let evidence = EvidenceSettings {
            durability: match config.file.evidence.durability {
                config::Durability::Group => proxy::Durability::Group,
                config::Durability::Strict => proxy::Durability::Strict,
            },
            on_failure: match config.file.evidence.on_failure {
                config::OnFailure::Refuse => proxy::OnFailure::Refuse,
                config::OnFailure::Continue => proxy::OnFailure::Continue,
            },
            budget: evidence_budget(&config.file.evidence),
            ..EvidenceSettings::new(config.file.gateway.name.as_str())
        };
        let recorder = Recorder::start(writer, evidence, gap)?;
        let (runs, rulings) = (
            Arc::clone(&self.gateways.runs),
            Arc::clone(&self.gateways.rulings),
        );
        let mut settings = gateway_settings(config, control)?;
        if let Some(tls) = &mut settings.tls {
            tls.run_keys = self.office.facts().trust.keys(Role::Run).cloned().collect();
        }
        Ok(Gateway::start_on(handed, settings, runs, rulings, recorder).await?)
    }

    /// New checkpoints go to witnesses in the background; the gateway does not know of it.
    fn spawn_witnesses(&self, config: &Config) -> anyhow::Result<()> {
        let key = key_file::read_private(&config.key_path(Role::Gateway))?.public();
        let origin = Origin::new(&config.file.site, &config.file.gateway.name)?;
        let log = NoteVerifier::new(origin.as_str(), &key)?;
        let witnesses = Arc::new(Witnesses::open(config, log)?);
        self.gateways.attach_witnesses(Arc::clone(&witnesses));
        let gateways = Arc::clone(&self.gateways);
        let tell = move |view: &WitnessingView| {
            if let Some(gateway) = gateways.gateway() {
                gateway.witnessed(proxy::Witnessed {
                    entries: view.size,
                    cosignatures: view.cosignatures.len() as u64,
                    quorum_is_met: view.met,
                });
            }
        };
        self.tasks.spawn(witnesses.keep(tell, self.stop.clone()));
        Ok(())
    }

    /// Closed hours go into the archive in the background, where the site wants it, and by hand wherever
    /// it is asked for; the gateway does not know of it.
    fn spawn_archive(&self, config: &Config) -> anyhow::Result<()> {
        let budgets = Arc::clone(&self.budgets);
        self.tasks
            .spawn(budgets.keep(Arc::clone(&self.gateways), self.stop.clone()));
        let key = key_file::read_private(&config.key_path(Role::Gateway))?.public();
        let origin = Origin::new(&config.file.site, &config.file.gateway.name)?;
        let log = NoteVerifier::new(origin.as_str(), &key)?;
        let (gateways, budgets) = (Arc::clone(&self.gateways), Arc::clone(&self.budgets));
        let keeper = Arc::new(ArchiveKeeper::new(
            config,
            log,
            self.office.clone(),
            gateways,
            budgets,
        )?);
        self.archives.attach(Arc::clone(&keeper));
        if config.file.evidence.archive {
            self.tasks.spawn(keeper.keep(self.stop.clone()));
        }
        Ok(())
    }

    /// Signed events go to their receivers in the background; the gateway does not know of it.
    fn spawn_exports(&self, config: &Config) -> anyhow::Result<()> {
        let key = key_file::read_private(&config.key_path(Role::Gateway))?.public();
        let origin = Origin::new(&config.file.site, &config.file.gateway.name)?;
        let log = NoteVerifier::new(origin.as_str(), &key)?;
        for exporter in exports::open(config, log)? {
            let gateways = Arc::clone(&self.gateways);
            let tell = move |name: &str, standing: exports::Standing| {
                if let Some(gateway) = gateways.gateway() {
                    gateway.exported(
                        name,
                        proxy::Exported {
                            entries_behind: standing.behind,
                            seconds_behind: standing.behind_s,
                            failures: u64::from(standing.failures),
                        },
                    );
                }
            };
            self.tasks.spawn(exporter.keep(tell, self.stop.clone()));
        }
        Ok(())
    }

    fn spawn_work(&self, config: &Config, listener: TcpListener) -> anyhow::Result<()> {
        let end = End {
            stop: self.stop.clone(),
            hurry: self.hurry.clone(),
        };
        self.tasks.spawn(control::api::serve(
            listener,
            self.router.clone(),
            end,
            self.configuration.drain(),
        ));
        self.tasks
            .spawn(self.office.clone().run_upkeep(self.stop.clone()));
        self.tasks.spawn(service::keep_watchdog(self.stop.clone()));
        self.tasks
            .spawn(Arc::clone(&self.nights).keep_schedule(self.stop.clone()));
        self.tasks
            .spawn(Arc::clone(&self.nights).keep_watch(self.stop.clone()));
        let sights = self.gateways.rulings.watch();
        self.tasks
            .spawn(Arc::clone(&self.nights).raise_alarms(sights, self.stop.clone()));
        if let Some(webhook) = &config.file.webhook {
            let courier = Courier::new(config, webhook, self.office.store().clone())?;
            self.tasks
                .spawn(courier.run(self.nights.hook_bell(), self.stop.clone()));
        }
        if let Some(mail) = &config.file.mail {
            let server = mail_server(config, mail)?;
            let postman = Postman::new(
                self.office.store().clone(),
                server,
                Arc::clone(self.office.clock()),
            );
            self.tasks
                .spawn(postman.run(Arc::clone(&self.bell), self.stop.clone()));
        }
        Ok(())
    }

    /// Hands the gateway over to the process that asks for it in `request`. It is refused, and nothing
    /// changes, where this is no time for it; where that process dies before it serves, this one takes
    /// everything back and serves on.
    ///
    /// # Errors
    /// Everything was given up and cannot be had back.
    pub async fn hand_over(self: Arc<Self>, request: Request) -> anyhow::Result<HandedOver> {
        let Some(gateway) = self.gateways.gateway() else {
            return Ok(HandedOver::Not(self));
        };
        // Held until this process serves again, if it does.
        let Some(rest) = self.nights.rest() else {
            request
                .refuse("a night or an audit is under way; try again when it is over")
                .await;
            return Ok(HandedOver::Not(self));
        };
        let mut sockets = match gateway.open_sockets() {
            Ok(sockets) => sockets,
            Err(error) => {
                request
                    .refuse(&format!("the sockets cannot be handed over: {error}"))
                    .await;
                return Ok(HandedOver::Not(self));
            }
        };
        if let Some(control) = self.control.get() {
            sockets.push(OpenSocket {
                address: control.address.clone(),
                purpose: control.purpose,
                socket: control.socket.try_clone()?,
                has_file: false,
            });
        }
        let Some(request) = request.welcome(&gateway.session(), sockets).await else {
            tracing::warn!("a process that asked to take over has not gone on with it; nothing has changed");
            return Ok(HandedOver::Not(self));
        };
        tracing::info!(process = request.process, "another process takes over");
        // Whoever asks something of the control plane waits meanwhile.
        if tokio::time::timeout(REQUESTS, self.stop_work()).await.is_err() {
            self.hurry.cancel();
            self.stop_work().await;
        }
        self.office.settled().await;
        let config = self.config.clone();
        let gateways = Arc::clone(&self.gateways);
        let (trust, drain) = (self.office.facts().trust.clone(), self.configuration.drain());
        let control = self
            .control
            .get()
            .and_then(|control| control.socket.try_clone().ok());
        // Commands that open the folder by themselves wait for the lock until the successor has it.
        flock(&self.lock, FlockOperation::Unlock)?;
        drop(self);
        let given = gateways.give_log_to(request, &config, trust, drain).await?;
        match given {
            Some(retired) => Ok(HandedOver::To(Box::new(retired))),
            None => {
                drop(rest);
                Ok(HandedOver::Not(Self::resume(&config, gateways, control).await?))
            }
        }
    }

    /// Opens the house again around its gateway, which never stopped.
    async fn resume(
        config: &Config,
        gateways: Arc<HouseGateways>,
        control: Option<OwnedFd>,
    ) -> anyhow::Result<Arc<Self>> {
        let begun = Instant::now();
        let house = loop {
            match Self::open_around(config, Arc::clone(&gateways)).await {
                // The process that is about to die may still have the folder.
                Err(error) if is_in_use(&error) && begun.elapsed() < RESUME => {
                    tokio::time::sleep(RESUME / 200).await;
                }
                opened => break opened?,
            }
        };
        let listener = match control {
            Some(socket) => TcpListener::from_std(std::net::TcpListener::from(socket))?,
            None => TcpListener::bind(config.file.control.listen).await?,
        };
        house.keep_control(&listener)?;
        house.begin_work(config, listener)?;
        tracing::warn!("the process that took over is gone; this one serves on");
        Ok(house)
    }

    /// Ends what only one process may do. The gateway serves on.
    async fn stop_work(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(witnesses) = self.gateways.witnesses() {
            witnesses.finish().await;
        }
        self.gateways.detach_witnesses();
    }

    /// Closes the door to successors while one process before this one still has connections; `None`
    /// where there is none.
    pub fn follower(&self) -> Option<Arc<handover::Follower>> {
        self.gateways.follower()
    }

    /// The registry, the list and what governs both.
    pub const fn office(&self) -> &Office {
        &self.office
    }

    /// The API's routes, for commands in this process.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Connections that the gateway makes or relays now.
    pub fn live(&self) -> usize {
        usize::try_from(self.gateways.live()).unwrap_or(usize::MAX)
    }

    /// What the last automatic act cut.
    pub fn last_cut(&self) -> Option<control::api::types::ListPublished> {
        self.nights.last_cut()
    }

    /// Reads the configuration again, and says in the log what came of it.
    pub async fn reload(&self, who: &str) {
        // It said so itself.
        let _ = self.configuration.reload(who.to_owned()).await;
    }

    /// Stops in good order: no new connections, tunnels drained, log signed.
    pub async fn close(&self) {
        self.stop.cancel();
        if let Some(gateway) = self.gateways.gateway() {
            let drain = self.configuration.drain();
            if let Some(follower) = self.gateways.follower() {
                // It writes through us, so the log stays open for as long as it may go on.
                tokio::join!(gateway.drain(drain), follower.outlive(drain));
                gateway.shutdown(Duration::ZERO).await;
            } else {
                gateway.shutdown(drain).await;
            }
        }
        self.stop_work().await;
    }
}

/// How long requests under way may keep another process from taking over.
const REQUESTS: Duration = Duration::from_secs(10);
/// How long a process that dies may keep the data folder from whoever takes it back.
const RESUME: Duration = Duration::from_secs(10);

/// What can be seen to be wrong before another process gives anything up.
fn check_before_taking_over(config: &Config) -> anyhow::Result<()> {
    gateway_settings(config, config.file.control.listen)?;
    for role in [Role::Crl, Role::Run, Role::Gateway] {
        key_file::read_private(&config.key_path(role))?;
    }
    readers(config)?;
    if let Some(mail) = &config.file.mail {
        mail_server(config, mail)?;
    }
    let key = key_file::read_private(&config.key_path(Role::Gateway))?.public();
    let origin = Origin::new(&config.file.site, &config.file.gateway.name)?;
    exports::open(config, NoteVerifier::new(origin.as_str(), &key)?)?;
    Ok(())
}

fn is_in_use(error: &anyhow::Error) -> bool {
    let is_locked = |error: &rustix::io::Errno| *error == rustix::io::Errno::WOULDBLOCK;
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref())
        .any(is_locked)
}

async fn control_listener(address: SocketAddr, handed: &mut HandedSockets) -> io::Result<TcpListener> {
    match handed.take_tcp(address, Purpose::Control) {
        Some(listener) => {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        }
        None => TcpListener::bind(address).await,
    }
}

fn lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| {
            format!(
                "cannot open {}; make a site with: bailiwick init site",
                path.display()
            )
        })?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
        anyhow::Error::new(error).context(format!(
            "{} is in use by another bailiwick process that does not answer on its control address; stop it, or check control.listen",
            data.display()
        ))
    })?;
    Ok(file)
}

fn readers(config: &Config) -> anyhow::Result<Option<Readers>> {
    let Some(mail) = &config.file.mail else {
        return Ok(None);
    };
    server_url(mail)?;
    Ok(Some(Readers {
        from: mail.from.parse().context("mail.from")?,
        security: mail
            .security
            .iter()
            .map(|address| address.parse())
            .collect::<Result<_, _>>()
            .context("mail.security")?,
    }))
}

fn server_url(mail: &config::MailConfig) -> anyhow::Result<ServerUrl> {
    mail.server.parse().context("mail.server")
}

/// The mail server as it is configured, with its password and authorities.
///
/// # Errors
/// A file cannot be read, or the settings contradict each other.
pub fn mail_server(config: &Config, mail: &config::MailConfig) -> anyhow::Result<MailServer> {
    let authorities = match mail.ca_file.as_ref().map(|path| config.resolve(path)) {
        Some(path) => Some(
            std::fs::read(&path).with_context(|| format!("cannot read {} (mail.ca_file)", path.display()))?,
        ),
        None => None,
    };
    let password = password(config, mail)?;
    Ok(MailServer::new(
        server_url(mail)?,
        password,
        authorities.as_deref(),
    )?)
}

fn password(config: &Config, mail: &config::MailConfig) -> anyhow::Result<Option<String>> {
    let Some(path) = mail.password_file.as_ref().map(|path| config.resolve(path)) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {} (mail.password_file)", path.display()))?;
    Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// The gateway's settings, as the configuration says.
///
/// # Errors
/// A value that cannot be read, or a password that cannot be used.
pub fn gateway_settings(config: &Config, control: SocketAddr) -> anyhow::Result<proxy::Settings> {
    let own = &config.file.gateway;
    let mut settings = proxy::Settings::new(own.name.as_str());
    settings.listen = own
        .listen
        .iter()
        .map(|address| config.listen_address(address))
        .collect();
    settings.admin = Some(own.admin);
    settings.limits = own.limits.limits();
    settings.limits.connections = service::within_open_files(settings.limits.connections);
    settings.timeouts = own.timeouts.timeouts();
    settings.unattributed = match own.unattributed {
        config::Unattributed::Refuse => proxy::Unattributed::Refuse,
        config::Unattributed::Observe => proxy::Unattributed::Observe,
    };
    settings.allow_private = own
        .allow_private
        .iter()
        .map(|cidr| cidr.parse())
        .collect::<Result<_, _>>()?;
    settings.proxy_protocol = own
        .proxy_protocol
        .iter()
        .map(|cidr| cidr.parse())
        .collect::<Result<_, _>>()?;
    settings.timeouts.run_grace = config.run_grace().map_err(anyhow::Error::msg)?;
    settings.own_addresses = vec![control];
    settings.parents = own
        .parent
        .iter()
        .map(|entry| entry.rule(|path| config.resolve(path)))
        .collect::<anyhow::Result<_>>()?;
    settings.tls = tls_config::settings(config);
    settings.resolver.servers = own.resolver.servers.clone();
    for (host, addresses) in &own.resolver.hosts {
        let parsed = addresses
            .iter()
            .map(|text| override_address(text))
            .collect::<anyhow::Result<_>>()?;
        settings.resolver.hosts.insert(host.clone(), parsed);
    }
    Ok(settings)
}

fn override_address(text: &str) -> anyhow::Result<OverrideAddress> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(OverrideAddress {
            ip: address.ip(),
            port: Some(address.port().try_into()?),
        });
    }
    Ok(OverrideAddress {
        ip: text.parse()?,
        port: None,
    })
}

fn evidence_budget(config: &config::EvidenceConfig) -> EvidenceBudget {
    let shipped = EvidenceBudget::default();
    let mib = |mib: Option<NonZeroU16>, shipped| mib.map_or(shipped, |mib| usize::from(mib.get()) << 20);
    EvidenceBudget {
        queue_bytes: mib(config.queue_mib, shipped.queue_bytes),
        plugin_queue_bytes: mib(config.plugin_queue_mib, shipped.plugin_queue_bytes),
        plugin_bytes_per_day: config.plugin_mib_per_day.map(|mib| u64::from(mib.get()) << 20),
    }
}
