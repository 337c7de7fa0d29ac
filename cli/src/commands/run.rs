//! `bailiwick run`: a registered run of an artifact.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitStatus;

use anyhow::Context as _;
use base::ArtifactDigest;
use control::api::types::{EndRunRequest, GatewayView, RunStarted, RunView, StartRunRequest};
use control::words::ListenerKind;
use proxy::{ClientAuth, ListenAddress};

use super::who;
use crate::client::Client;
use crate::config::Config;
use crate::exit::{Exit, NotThere, Refused};
use crate::house::child::{self, RunFacts, TlsFacts};
use crate::house::run_folder::RunFolder;
use crate::output;
use crate::tls_config;

const MTLS_HELP: &str = "\
Prove the run by a client certificate instead of a token.

The gateway needs a tls:// listener. The run's key and its certificate, which expires with the run, are put into a \
private folder that is removed at the end. The command is told:

  BAILIWICK_PROXY_URL   https://ADDRESS:PORT, as the six proxy variables say too; no token is in any of them
  BAILIWICK_PROXY_CERT  the client certificate (PEM)
  BAILIWICK_PROXY_KEY   its private key (PEM)
  BAILIWICK_PROXY_CA    what vouches for the gateway (PEM)

No common client takes a client certificate for its proxy from the environment, except git, which is told. For \
curl: curl --proxy-cacert $BAILIWICK_PROXY_CA --proxy-cert $BAILIWICK_PROXY_CERT --proxy-key $BAILIWICK_PROXY_KEY. \
Go: the TLSClientConfig of http.Transport. Clients that present nothing are refused.";

/// `bailiwick run` arguments.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["artifact", "digest"])))]
pub struct RunArgs {
    /// The artifact that will run; its digest is taken from the file now
    #[arg(long, value_name = "FILE")]
    artifact: Option<PathBuf>,
    /// The artifact that will run, by digest
    #[arg(long)]
    digest: Option<ArtifactDigest>,
    /// How long the run's credentials are valid, in seconds
    #[arg(long, value_name = "SECONDS")]
    valid_for: Option<u32>,
    /// Prove the run by a client certificate instead of a token
    #[arg(long, long_help = MTLS_HELP)]
    mtls: bool,
    /// Open a listener of the run's own, where it needs no credentials: a Unix socket that only one
    /// user may open, or a loopback port (any process of this machine that finds it is taken for the
    /// run); may be given for each
    #[arg(long, value_name = "KIND", value_enum, value_delimiter = ',')]
    listener: Vec<Listener>,
    /// The user, by number, who may open the run's Unix socket [default: the one who runs this]
    #[arg(long, value_name = "UID")]
    uid: Option<u32>,
    /// Take connections from this address for the run, while no other live run has the same address;
    /// may be repeated
    #[arg(long, value_name = "ADDRESS")]
    source: Vec<IpAddr>,
    /// Let --source be a loopback address: every process of the gateway's machine is then taken for
    /// the run
    #[arg(long, requires = "source")]
    loopback_source: bool,
    /// The class of data that the run handles, for example official; the night holds it against what
    /// each destination is declared for
    #[arg(long, value_name = "CLASS")]
    data_class: Option<String>,
    /// The command, after --
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// `--listener`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Listener {
    /// BAILIWICK_PROXY_SOCKET names a Unix socket; the usual variables go on carrying credentials
    Unix,
    /// The usual variables and BAILIWICK_PROXY name a loopback port, without credentials
    Tcp,
}

impl From<Listener> for ListenerKind {
    fn from(listener: Listener) -> Self {
        match listener {
            Listener::Unix => Self::Unix,
            Listener::Tcp => Self::Tcp,
        }
    }
}

/// Runs `bailiwick run`. The exit status is the command's own.
///
/// # Errors
/// The load gate refuses the artifact, the control plane does not answer, or the command cannot be
/// started.
pub async fn run(args: &RunArgs, config: &Config, quiet: bool) -> anyhow::Result<Exit> {
    let artifact_digest = match (&args.artifact, args.digest) {
        (Some(path), _) => super::artifact_file::digest(path)?.0,
        (None, Some(digest)) => digest,
        (None, None) => anyhow::bail!("name the artifact with --artifact FILE or --digest DIGEST"),
    };
    anyhow::ensure!(
        !(args.mtls && args.listener.contains(&Listener::Tcp)),
        "--mtls and --listener tcp each set the proxy variables; choose one, or --listener unix beside --mtls"
    );
    let folder = match args.mtls {
        true => Some(certificate_folder(config)?),
        false => None,
    };
    let client = Client::running(config).await?;
    let request = StartRunRequest {
        artifact_digest,
        valid_for_s: args.valid_for,
        client_key: folder.as_ref().map(RunFolder::public_key),
        listeners: args.listener.iter().map(|kind| (*kind).into()).collect(),
        uid: args.uid.or_else(|| {
            let unix = args.listener.contains(&Listener::Unix);
            unix.then(|| rustix::process::geteuid().as_raw())
        }),
        sources: args.source.clone(),
        loopback_sources: args.loopback_source,
        data_class: args.data_class.clone(),
        who: who(),
    };
    let started: RunStarted = client.post("/v1/runs", &request).await.map_err(|error| {
        // There is no unsigned path: what never passed the gate is refused by it.
        match error.downcast::<NotThere>() {
            Ok(_) => Refused {
                code: "artifact_not_admitted".to_owned(),
                message: format!(
                    "{artifact_digest} was never admitted; admit it with: bailiwick admit ARTIFACT"
                ),
            }
            .into(),
            Err(other) => other,
        }
    })?;
    let ended = start(args, config, &started, folder.as_ref(), quiet).await;
    let exit_status = ended
        .as_ref()
        .ok()
        .map(|status| i32::from(child::exit_code(*status)));
    let path = format!("/v1/runs/{}/end", started.run_id);
    let end: anyhow::Result<RunView> = client.post(&path, &EndRunRequest { exit_status }).await;
    if let Err(error) = end {
        // The command's own status stands; the token expires by itself.
        output::note(
            false,
            &format!("warning: the run's end was not registered: {error:#}"),
        );
    }
    Ok(Exit::Child(child::exit_code(ended?)))
}

/// Runs the command with the settings of a registered run.
async fn start(
    args: &RunArgs,
    config: &Config,
    started: &RunStarted,
    folder: Option<&RunFolder>,
    quiet: bool,
) -> anyhow::Result<ExitStatus> {
    let ready = started.gateways.iter().find(|gateway| gateway.ready);
    if ready.is_none() && !started.gateways.is_empty() {
        output::note(
            false,
            "warning: no gateway is ready, connections will be refused; see: bailiwick status",
        );
    }
    for source in &started.shared_sources {
        output::note(
            false,
            &format!("warning: another live run has source {source} too; it proves nothing for either"),
        );
    }
    let gateway = ready
        .or(started.gateways.first())
        .context("no gateway is running; start it with: bailiwick serve")?;
    let own = |address: &String| address.parse::<SocketAddr>().ok();
    let (proxy, speaks_tls, token) = match started.listeners.iter().find_map(own) {
        // Coming in there is the proof.
        Some(proxy) => (proxy, false, None),
        None => {
            let (proxy, speaks_tls) = way_in(gateway, folder.is_some())?;
            (proxy, speaks_tls, Some(started.token.clone()))
        }
    };
    let tls = match speaks_tls {
        true => Some(tls_facts(config, started, folder)?),
        false => None,
    };
    let socket = |address: &String| address.strip_prefix("unix:").map(PathBuf::from);
    let facts = RunFacts {
        run_id: started.run_id,
        plugin_id: started.plugin_id.clone(),
        artifact_digest: started.artifact_digest,
        proxy,
        token,
        tls,
        socket: started.listeners.iter().find_map(socket),
    };
    output::note(
        quiet,
        &format!("run {} of {} through {proxy}", started.run_id, started.plugin_id),
    );
    child::run(&args.command, &facts).await
}

/// The folder for a run's certificate, if this site's gateway asks for such.
fn certificate_folder(config: &Config) -> anyhow::Result<RunFolder> {
    let tls = tls_config::settings(config).with_context(|| {
        format!(
            "--mtls needs a listener that speaks TLS; add \"tls://127.0.0.1:3129\" to gateway.listen and [gateway.tls] in {}",
            config.path.display()
        )
    })?;
    anyhow::ensure!(
        tls.client_auth != ClientAuth::None,
        "--mtls needs a gateway that asks for certificates; set gateway.tls.client_auth = \"optional\" in {}",
        config.path.display()
    );
    RunFolder::make()
}

/// Where the run goes in, and whether TLS is spoken there: with a certificate it must be; with a
/// token a plain listener on this machine serves more clients.
fn way_in(gateway: &GatewayView, by_certificate: bool) -> anyhow::Result<(SocketAddr, bool)> {
    let addresses: Vec<ListenAddress> = gateway.listen.iter().flat_map(|text| text.parse()).collect();
    let plain = addresses.iter().find_map(|address| match address {
        ListenAddress::Tcp(address) if !by_certificate => Some((*address, false)),
        _ => None,
    });
    let tls = addresses.iter().find_map(|address| match address {
        ListenAddress::Tls(address) => Some((*address, true)),
        _ => None,
    });
    let (address, speaks_tls) = plain.or(tls).with_context(|| {
        format!(
            "gateway {} listens nowhere that this run could use ({}); restart it if gateway.listen was changed, or add --listener tcp",
            gateway.name,
            gateway.listen.join(" ")
        )
    })?;
    Ok((reachable(address), speaks_tls))
}

fn tls_facts(config: &Config, started: &RunStarted, folder: Option<&RunFolder>) -> anyhow::Result<TlsFacts> {
    let own = config.file.gateway.tls.as_ref();
    let authority = own.context("the gateway speaks TLS and [gateway.tls] is gone from the configuration")?;
    let client = match folder {
        None => None,
        Some(folder) => {
            let certificate = started.client_certificate.as_ref();
            let certificate = certificate
                .context("the control plane issued no certificate; is it older than this command?")?;
            Some(folder.receive(certificate)?)
        }
    };
    Ok(TlsFacts {
        authority: authority.authority(config),
        client,
    })
}

/// A gateway that listens everywhere is reached on loopback from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(_) => (Ipv6Addr::LOCALHOST, address.port()).into(),
    }
}
