//! `bailiwick init`: a new site.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use base::{Policy, Timestamp};
use control::api::OperatorToken;
use seal::trust::{Role, Scope, Signer, TrustRoot};
use serde::Serialize;

use super::{key, tls};
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::tls_config::{default_certificate, default_key};
use crate::{clock, files, random, trust_file};

/// The roles whose keys a site makes for itself; owners bring their own. The witness key is the control
/// plane's, for the gateways of this site; witnesses elsewhere have keys of their own.
const SITE_ROLES: [Role; 7] = [
    Role::Certifier,
    Role::Auditor,
    Role::Crl,
    Role::Gateway,
    Role::Witness,
    Role::Run,
    Role::Operator,
];
const ROOT_VALID_SECONDS: i64 = 5 * 365 * 24 * 3600;

/// `bailiwick init` arguments.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The folder to make
    pub folder: PathBuf,
    /// The site's name in logs and lists; the folder's name if absent
    #[arg(long)]
    pub site: Option<String>,
    /// Who answers for the policy that init writes; the login name if absent
    #[arg(long)]
    pub operator: Option<String>,
}

/// What was made.
#[derive(Debug, Serialize)]
pub struct InitView {
    /// The site's name.
    pub site: String,
    /// Its folder.
    pub dir: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
    /// The policy file.
    pub policy: PathBuf,
    /// The trust root.
    pub root: PathBuf,
    /// The data folder.
    pub data_dir: PathBuf,
    /// The token with which commands reach the control plane.
    pub operator_token: PathBuf,
    /// The certificate that the gateway shows to clients speaking TLS to it.
    pub tls_certificate: PathBuf,
    /// Its private key.
    pub tls_key: PathBuf,
    /// The keys, the root key first.
    pub keys: Vec<InitKey>,
}

/// One key that was made.
#[derive(Debug, Serialize)]
pub struct InitKey {
    /// Its role.
    pub role: String,
    /// The private key's file.
    pub path: PathBuf,
    /// Its fingerprint.
    pub fingerprint: String,
}

/// Runs `bailiwick init`.
///
/// # Errors
/// The folder holds a site already, or something cannot be written.
pub fn run(args: &InitArgs, format: Format) -> anyhow::Result<Exit> {
    let view = make_site(args, clock::now())?;
    output::print(format, &view, || {
        let keys: Vec<_> = view
            .keys
            .iter()
            .map(|key| {
                vec![
                    key.role.clone(),
                    key.path.display().to_string(),
                    key.fingerprint.clone(),
                ]
            })
            .collect();
        format!(
            "site           {}\nconfiguration  {}\npolicy         {}\ntrust root     {}\ndata           {}\n\n{}\n\n\
             Take {} off this machine when the trust root has settled; it signs who may sign.\n\
             Next:  bailiwick --config {} serve",
            view.site,
            view.config.display(),
            view.policy.display(),
            view.root.display(),
            view.data_dir.display(),
            output::table(&["KEY", "FILE", "FINGERPRINT"], &keys),
            view.keys[0].path.display(),
            view.config.display()
        )
    })?;
    Ok(Exit::Done)
}

/// Makes a site: folders, keys, trust root, configuration, policy.
///
/// # Errors
/// The folder holds a site already, or something cannot be written.
pub fn make_site(args: &InitArgs, now: Timestamp) -> anyhow::Result<InitView> {
    let folder = &args.folder;
    let config = folder.join("bailiwick.toml");
    anyhow::ensure!(
        !config.exists(),
        "{} exists; a site is made once, choose another folder",
        config.display()
    );
    let site = site_name(args)?;
    let (keys_dir, data_dir) = (folder.join("keys"), folder.join("data"));
    for (dir, mode) in [(folder, 0o755), (&keys_dir, 0o700), (&data_dir, 0o700)] {
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(dir)
            .with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let mut keys = Vec::new();
    let mut make_key = |role: &str| -> anyhow::Result<seal::SigningKey> {
        let key = random::ed25519_key();
        let path = keys_dir.join(format!("{role}.pem"));
        key::write_pair(&path, &key)?;
        keys.push(InitKey {
            role: role.to_owned(),
            path,
            fingerprint: key.public().fingerprint().to_string(),
        });
        Ok(key)
    };
    let root_key = make_key("root")?;
    let mut root = TrustRoot::first(vec![root_key.public()], 1, now.plus_seconds(ROOT_VALID_SECONDS));
    for role in SITE_ROLES {
        root.signers.push(Signer {
            name: format!("{site} {role}"),
            key: make_key(role.as_str())?.public(),
            role,
            scopes: vec![Scope::All],
            valid_from: now,
            valid_until: None,
        });
    }
    let trust_root = folder.join("root.json");
    trust_file::create(&trust_root, &root, &root_key)?;
    let tls_certificate = folder.join(default_certificate());
    let tls_key = folder.join(default_key());
    tls::make_first(&tls_certificate, &tls_key, now)?;
    let operator_token = data_dir.join("operator.token");
    OperatorToken::load_or_create(&operator_token)?;
    let policy = folder.join("policy.toml");
    files::replace(&policy, policy_text(args)?.as_bytes())?;
    // Last, because its presence says that the site is whole.
    files::replace(&config, config_text(&site).as_bytes())?;
    Ok(InitView {
        site,
        dir: folder.clone(),
        config,
        policy,
        root: trust_root,
        data_dir,
        operator_token,
        tls_certificate,
        tls_key,
        keys,
    })
}

fn site_name(args: &InitArgs) -> anyhow::Result<String> {
    let derived = || {
        let name = std::path::absolute(&args.folder).unwrap_or_else(|_| args.folder.clone());
        let name = name
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let name = name.trim_matches('-').to_owned();
        if name.is_empty() { "site".to_owned() } else { name }
    };
    let name = args.site.clone().unwrap_or_else(derived);
    match name.parse::<base::PluginId>() {
        Ok(_) => Ok(name),
        Err(_) => {
            anyhow::bail!("--site {name:?}: a site's name uses a-z 0-9 . _ - and has at most 128 characters")
        }
    }
}

fn policy_text(args: &InitArgs) -> anyhow::Result<String> {
    let login = || {
        ["USER", "LOGNAME"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
    };
    let operator = args
        .operator
        .clone()
        .or_else(login)
        .unwrap_or_else(|| "operator".to_owned());
    let policy = toml::to_string_pretty(&Policy::initial(&operator))?;
    Ok(format!(
        "# What each tier does on a breach, and who said so. Raise `version` with every change: reports\n\
         # and events name it. A tier without a clause does nothing on its own.\n\
         #\n\
         # A clause acts once its reasons were seen on `min_connections` established connections or in\n\
         # `min_runs` runs; one failed lookup never suffices. It may also have `within_s` (seconds in which\n\
         # they must lie), `grace_s` (seconds between alert and act), `live = true` (judged as events arrive)\n\
         # and `approval_expires_s`. Actions: alert, watch, quarantine, revoke. See: bailiwick policy show.\n\n{policy}"
    ))
}

fn config_text(site: &str) -> String {
    format!(
        r#"# Bailiwick: one site. Unknown keys are errors; relative paths are relative to this file.
site = "{site}"
data_dir = "data"
trust_root = "root.json"
policy = "policy.toml"
keys_dir = "keys"

[gateway]
name = "gw-1"
listen = ["127.0.0.1:3128"]
admin = "127.0.0.1:9128"                 # /metrics, /healthz, /readyz
unattributed = "refuse"                  # or "observe"
allow_private = []                       # CIDRs lifted from the floor
proxy_protocol = []                      # CIDRs of load balancers, which must send PROXY headers (v2)
run_grace = "2s"                         # how long tunnels of an ended run may finish; new ones are refused
# run_dir = "/run/bailiwick"             # sockets of `run --listener unix`; for runs of other users

[gateway.limits]                         # what is left out is as shipped
# connections_per_run = 10000
# connections_per_plugin = 10000
# connections_per_second = 2000          # of one plugin

[gateway.timeouts]
# idle = "1h"                            # without a byte in either direction
# drain = "10s"                          # what tunnels are given when the gateway stops

# For clients that speak TLS to the gateway, and for `bailiwick run --mtls`: add "tls://127.0.0.1:3129"
# to listen. The certificate is read again when its files change.
[gateway.tls]
certificate = "keys/gateway-tls.crt"     # made by init for loopback; others: bailiwick tls new
key = "keys/gateway-tls.key"
client_auth = "optional"                 # or "required", "none"

[gateway.resolver]
servers = []                             # empty = the system's

[gateway.resolver.hosts]                 # overrides, as in a hosts file: address, or address:port
# "service.example" = ["192.0.2.7:8443"]

# Destinations that go out through a proxy of the site's own (CONNECT, plain HTTP too); the longest suffix
# decides, an entry without url goes out directly, and names overridden above never go through a proxy.
# [[gateway.parent]]
# suffixes = ["*"]                       # or names, addresses, CIDRs
# url = "http://proxy.example:3128"
# username = "bailiwick"
# password_file = "keys/parent.password"  # mode 0600

[evidence]
durability = "group"                     # or "strict": the first byte waits for the disk
on_failure = "refuse"                    # or "continue": a gap is recorded, the verdict is inconclusive
# Somebody on another machine who vouches for the log's length (bailiwick witness --help), and how many it takes:
# witnesses = [{{ url = "http://witness.example:7380", key = "witness.example/w1+…" }}]
# quorum = 1
queue_mib = 64                           # events that may wait in memory: of all plugins,
plugin_queue_mib = 8                     # and of one
# plugin_mib_per_day = 1024              # what one plugin may add to the log in a day; without it, anything

# archive = true                         # closed hours become Parquet files, which stock tools read
# archive_to = "data/archive"            # or a bucket, "s3://BUCKET/PREFIX"; see runbooks/the-archive.md for [evidence.bucket]
# keep_entries = "30d"                   # how long entries stay in the log once the archive gives them back
# retention = {{ default = "7y", secret = "90d" }}   # how long the archive keeps events, by the runs' data class; without it, for ever
# publish_log = true                     # hash tiles and checkpoint go where the archive goes
# log_mib = 10240                        # disk that the log may take; then on_failure decides
# archive_mib = 102400                   # what this gateway's files in the archive may take

[control]
listen = "127.0.0.1:8128"

[audit]
schedule = "0 2 * * *"
time_zone = "UTC"

# Without this section reports are written and nobody is mailed.
# [mail]
# server = "smtp://mail.example:587?starttls=required"   # or smtps://mail.example:465
# from = "bailiwick@example.com"
# security = ["security@example.com"]
# password_file = "keys/mail.password"                   # of the account in server, as in smtps://me@mail.example
# ca_file = "mail-authority.pem"                         # instead of the system's authorities
# Signed JSON for another program (standardwebhooks.com); make the secret with: echo whsec_$(openssl rand -base64 32)
# [webhook]
# url = "https://hooks.example.com/bailiwick"
# secret_file = "keys/webhook.secret"
# ca_file = "hooks-authority.pem"                        # instead of the system's authorities
"#
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::Config;

    fn args(folder: PathBuf) -> InitArgs {
        InitArgs {
            folder,
            site: Some("acme".to_owned()),
            operator: Some("ops".to_owned()),
        }
    }

    #[test]
    fn a_new_site_has_a_configuration_a_policy_and_a_trust_root_that_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let view = make_site(&args(folder.path().join("site")), clock::now()).unwrap();
        let config = Config::read(&view.config).unwrap();
        let policy = control::policy::PolicyInForce::read(&config.policy_path()).unwrap();
        assert_eq!(policy.policy, Policy::initial("ops"));
        let root = trust_file::read(&config.trust_root_path()).unwrap();
        assert_eq!(root.version, 1);
        assert_eq!(root.signers.len(), SITE_ROLES.len());
        for role in SITE_ROLES {
            let key = seal::key_file::read_private(&config.key_path(role))
                .unwrap()
                .public();
            assert!(
                root.authorises(&key.fingerprint(), role, None, clock::now())
                    .is_ok()
            );
        }
        let token = fs::metadata(config.data_dir().join("operator.token")).unwrap();
        assert_eq!(token.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_site_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        make_site(&args(folder.path().to_owned()), clock::now()).unwrap();
        let before = fs::read(folder.path().join("root.json")).unwrap();
        let error = make_site(&args(folder.path().to_owned()), clock::now()).unwrap_err();
        assert!(error.to_string().contains("a site is made once"));
        assert_eq!(fs::read(folder.path().join("root.json")).unwrap(), before);
    }
}
