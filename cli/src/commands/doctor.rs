//! `bailiwick doctor`: what is misconfigured, and how to mend it.

use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use proxy::{ClientAuth, ListenAddress};
use seal::key_file;
use seal::trust::Role;
use serde::Serialize;

use super::evidence::witnessing::Panel;
use crate::config::{Config, PolicySignatureConfig};
use crate::exit::Exit;
use crate::house::{self, logs, run_places};
use crate::output::{self, Format, styled};
use crate::witness::WitnessUrl;
use crate::{clock, tls_config, trust_file};

/// How long a witness may take to be reached.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Serialize)]
struct DoctorView {
    healthy: bool,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

/// Runs `bailiwick doctor`: exit status 0 where nothing is wrong, 1 where something is.
///
/// # Errors
/// Standard output is gone.
pub fn run(config: &Config, format: Format) -> anyhow::Result<Exit> {
    let mut checks = Vec::new();
    let mut check = |name, result: anyhow::Result<String>| {
        let (ok, detail) = match result {
            Ok(detail) => (true, detail),
            Err(error) => (false, format!("{error:#}")),
        };
        checks.push(Check { name, ok, detail });
    };
    check("trust root", trust_root(config));
    check("keys", keys(config));
    check("policy", policy(config));
    check("data folder", data_folder(config));
    check("evidence log", evidence_log(config));
    check("archive", archive(config));
    check("retention", retention(config));
    check("witnesses", witnesses(config));
    check("tls", tls(config));
    check("ports", ports(config));
    check("run sockets", run_sockets(config));
    check("mail", mail(config));
    let view = DoctorView {
        healthy: checks.iter().all(|check| check.ok),
        checks,
    };
    output::print(format, &view, || {
        let line = |check: &Check| {
            let mark = if check.ok {
                styled("32", "ok  ")
            } else {
                styled("31", "MEND")
            };
            format!("{mark}  {:<13} {}", check.name, check.detail)
        };
        view.checks.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(if view.healthy { Exit::Done } else { Exit::Finding })
}

fn trust_root(config: &Config) -> anyhow::Result<String> {
    let root = trust_file::read(&config.trust_root_path())?;
    anyhow::ensure!(
        clock::now() < root.expires,
        "version {} expired at {}; sign a newer one, for example with: bailiwick trust add",
        root.version,
        root.expires
    );
    let owners = root.keys(Role::Owner).count();
    let hint = if owners == 0 {
        "; no owner yet, add one with: bailiwick trust add KEY.pub --role owner"
    } else {
        ""
    };
    Ok(format!(
        "version {}, until {}, {owners} owner key(s){hint}",
        root.version, root.expires
    ))
}

fn keys(config: &Config) -> anyhow::Result<String> {
    let root = trust_file::read(&config.trust_root_path())?;
    let roles = [Role::Crl, Role::Run, Role::Gateway, Role::Auditor];
    for role in roles {
        let key = key_file::read_private(&config.key_path(role))?;
        root.authorises(&key.public().fingerprint(), role, None, clock::now())?;
    }
    Ok(format!(
        "{} private keys are private and hold their roles",
        roles.len()
    ))
}

fn policy(config: &Config) -> anyhow::Result<String> {
    let read = super::policy::in_force(config)?;
    let policy = read.policy;
    let required = config.file.policy_signature != PolicySignatureConfig::default();
    let signed = match read.signed_by {
        Some(signer) if required => format!("signed by {signer}, as policy_signature asks"),
        Some(signer) => format!("signed by {signer}; from now on an unsigned one is refused"),
        None => "not signed: whoever can write the file decides what is done; sign it with: bailiwick policy sign, and \
                 refuse unsigned ones with policy_signature = \"required\""
            .to_owned(),
    };
    for (at, exception) in policy.exceptions.iter().enumerate() {
        if let base::Backing::Lacking { what } = &exception.backing {
            anyhow::bail!(
                "exceptions[{at}] lets nothing pass: {what}; see: bailiwick policy sign-exception --help"
            );
        }
    }
    Ok(format!(
        "version {}, {signed}, plugins without a chosen tier are in {}",
        policy.version, policy.default_tier
    ))
}

fn data_folder(config: &Config) -> anyhow::Result<String> {
    let data = config.data_dir();
    let mode = std::fs::metadata(&data)
        .map_err(|error| anyhow::anyhow!("{}: {error}; make a site with: bailiwick init", data.display()))?
        .permissions()
        .mode();
    anyhow::ensure!(
        mode & 0o077 == 0,
        "{} is open to others; run: chmod 700 {}",
        data.display(),
        data.display()
    );
    let probe = data.join(format!(".probe-{}", std::process::id()));
    std::fs::write(&probe, b"probe").map_err(|error| {
        anyhow::anyhow!(
            "{} cannot be written: {error}; without it no connection goes out",
            data.display()
        )
    })?;
    std::fs::remove_file(&probe)?;
    Ok(format!("{} is private and can be written", data.display()))
}

fn evidence_log(config: &Config) -> anyhow::Result<String> {
    let places = logs::all(config, &trust_file::read(&config.trust_root_path())?)?;
    let mut words = Vec::new();
    for place in places {
        let signed = std::fs::read(place.folder.join("checkpoint"));
        match signed {
            Ok(signed) => {
                let checkpoint = evidence::Checkpoint::open(&signed, &place.verifier)?;
                words.push(format!("{}: {} entries signed", place.origin, checkpoint.size()));
            }
            Err(_) => words.push(format!("{}: not written yet", place.origin)),
        }
    }
    Ok(words.join("; "))
}

/// Whether the archive answers, to us.
fn archive(config: &Config) -> anyhow::Result<String> {
    if !config.file.evidence.archive {
        return Ok("not kept; archive = true under [evidence] keeps one".to_owned());
    }
    let store = house::archive::store(config);
    let shown = store.get(&format!("log/{}/checkpoint", config.file.gateway.name))?;
    let shows = if shown.is_some() {
        ", and shows the log"
    } else {
        ""
    };
    Ok(format!("{} answers{shows}", store.place()))
}

/// What is kept for how long.
fn retention(config: &Config) -> anyhow::Result<String> {
    let retention = config
        .retention()
        .map_err(|(_, message)| anyhow::anyhow!(message))?;
    let Some(retention) = retention else {
        return Ok("nothing expires; [evidence.retention] says what may".to_owned());
    };
    Ok(format!(
        "{}; what would go now says: bailiwick evidence expire --dry-run",
        retention.spelling()
    ))
}

fn witnesses(config: &Config) -> anyhow::Result<String> {
    let trust = trust_file::read(&config.trust_root_path())?;
    let panel = Panel::of_site(config, &trust)?;
    let mut unreachable = Vec::new();
    for other in &config.file.evidence.witnesses {
        let url: WitnessUrl = other.url.parse()?;
        let addresses = (url.host(), url.port()).to_socket_addrs();
        let reached =
            addresses.is_ok_and(|mut all| all.any(|one| TcpStream::connect_timeout(&one, PATIENCE).is_ok()));
        if !reached {
            unreachable.push(url.to_string());
        }
    }
    anyhow::ensure!(
        unreachable.is_empty(),
        "{} cannot be reached; see runbooks/the-quorum-is-not-met.md",
        unreachable.join(", ")
    );
    let mut words = Vec::new();
    for place in logs::all(config, &trust)? {
        let signed = std::fs::read(place.folder.join("checkpoint")).unwrap_or_default();
        let Ok(checkpoint) = evidence::Checkpoint::open(&signed, &place.verifier) else {
            continue;
        };
        if checkpoint.size() == 0 {
            continue;
        }
        let (_, forged) = panel.held(&place, None)?;
        let view = panel.view(&place, checkpoint.size(), forged);
        let line = format!("{}: {}", place.origin, view.line());
        anyhow::ensure!(
            view.exit() == Exit::Done,
            "{line}; see runbooks/the-quorum-is-not-met.md"
        );
        words.push(line);
    }
    if words.is_empty() {
        words.push("nothing to vouch for yet".to_owned());
    }
    Ok(words.join("; "))
}

/// How long before its end a certificate is called due.
const DUE_S: i64 = 30 * 24 * 3600;

fn tls(config: &Config) -> anyhow::Result<String> {
    let Some(settings) = tls_config::settings(config) else {
        return Ok("no tls:// listener".to_owned());
    };
    let expires = settings.check()?;
    let due = match clock::now() {
        now if now >= expires => Some("expired"),
        now if now.plus_seconds(DUE_S) >= expires => Some("expires soon"),
        _ => None,
    };
    if let Some(due) = due {
        anyhow::bail!(
            "the certificate {} {due} (at {expires}); if bailiwick made it: bailiwick tls new --renew",
            settings.certificate.display()
        );
    }
    Ok(format!(
        "certificate until {expires}, client certificates: {}",
        match settings.client_auth {
            ClientAuth::None => "none",
            ClientAuth::Optional => "optional",
            ClientAuth::Required => "required",
        }
    ))
}

fn ports(config: &Config) -> anyhow::Result<String> {
    let control = config.file.control.listen;
    if TcpStream::connect(control).is_ok() {
        return Ok(format!(
            "something answers at {control}; if that is `bailiwick serve`, good"
        ));
    }
    let gateway = &config.file.gateway;
    let network = gateway.listen.iter().filter_map(ListenAddress::socket_address);
    for address in network.chain([gateway.admin, control]) {
        TcpListener::bind(address).map_err(|error| {
            anyhow::anyhow!(
                "{address} cannot be had: {error}; choose another in {}",
                config.path.display()
            )
        })?;
    }
    Ok("free; nothing is serving".to_owned())
}

fn run_sockets(config: &Config) -> anyhow::Result<String> {
    let longest = run_places::longest(&config.run_dir());
    anyhow::ensure!(
        longest <= run_places::LONGEST_SOCKET_PATH,
        "{} is too long for sockets, so `run --listener unix` will not work; set gateway.run_dir to a shorter path",
        config.run_dir().display()
    );
    Ok(config.run_dir().display().to_string())
}

fn mail(config: &Config) -> anyhow::Result<String> {
    let Some(mail) = &config.file.mail else {
        return Ok("no [mail] section: reports are written and nobody is mailed".to_owned());
    };
    let server: control::smtp::ServerUrl = mail.server.parse()?;
    crate::house::mail_server(config, mail)?;
    Ok(format!("{server}, to {}", mail.security.join(", ")))
}
