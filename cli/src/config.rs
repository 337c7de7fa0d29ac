//! The configuration file: one TOML file, read whole and checked whole before anything starts.
//!
//! Unknown keys are errors, because a misspelt safeguard is worse than none. Secrets are paths.
//! Relative paths are relative to the file, so that a site folder can be moved.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::{Path, PathBuf};
use std::time::Duration;

use auditor::{InvalidSchedule, Schedule};
use base::HostName;
use evidence::witness::Quorum;
use proxy::ListenAddress;
use seal::cosignature::CosignatureVerifier;
use serde::{Deserialize, Serialize};

use crate::bucket_config::{self, BucketAddress, BucketConfig};
use crate::export_config::{self, ExportConfig};
use crate::house::hooks::HookUrl;
use crate::limits::{LimitsConfig, TimeoutsConfig};
use crate::parent_config::{self, ParentConfig};
use crate::retention::Retention;
use crate::tls_config::{self, TlsConfig};
use crate::witness::WitnessUrl;

/// The variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "BAILIWICK_CONFIG";
const SYSTEM_CONFIG: &str = "/etc/bailiwick/bailiwick.toml";
const LOCAL_CONFIG: &str = "bailiwick.toml";
/// A run that has ended is over; ten minutes are for uploads, not for going on.
const LONGEST_GRACE: Duration = Duration::from_secs(600);

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that was read.
    pub path: PathBuf,
    /// Its content.
    pub file: ConfigFile,
}

/// The file's content.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// The site's name; the first part of every log's origin.
    pub site: String,
    /// Where data lives.
    #[serde(default = "default_data_dir")]
    pub data_dir: PathBuf,
    /// The trust root.
    #[serde(default = "default_trust_root")]
    pub trust_root: PathBuf,
    /// The policy.
    #[serde(default = "default_policy")]
    pub policy: PathBuf,
    /// Whether the policy has to be signed by a certifier.
    #[serde(default, skip_serializing_if = "PolicySignatureConfig::is_default")]
    pub policy_signature: PolicySignatureConfig,
    /// The folder with one private key per role.
    #[serde(default = "default_keys_dir")]
    pub keys_dir: PathBuf,
    /// The egress gateway.
    pub gateway: GatewayConfig,
    /// The evidence log.
    #[serde(default)]
    pub evidence: EvidenceConfig,
    /// The control plane.
    pub control: ControlConfig,
    /// The nightly audit.
    #[serde(default)]
    pub audit: AuditConfig,
    /// To whom signed events are handed on as they come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub export: Vec<ExportConfig>,
    /// Outgoing mail; without this section reports are written and nobody is mailed.
    #[serde(default)]
    pub mail: Option<MailConfig>,
    /// How soon appeals are answered.
    #[serde(default)]
    pub appeals: AppealsConfig,
    /// Who else is told, as JSON over HTTPS.
    #[serde(default)]
    pub webhook: Option<WebhookConfig>,
}

/// `policy_signature`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicySignatureConfig {
    /// A signature beside the policy must hold; without one the file counts as it is.
    #[default]
    IfPresent,
    /// Without a signature that holds nothing is done.
    Required,
}

impl PolicySignatureConfig {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
    fn is_default(&self) -> bool {
        *self == Self::IfPresent
    }
}

impl From<PolicySignatureConfig> for control::policy::PolicySignature {
    fn from(config: PolicySignatureConfig) -> Self {
        match config {
            PolicySignatureConfig::IfPresent => Self::IfPresent,
            PolicySignatureConfig::Required => Self::Required,
        }
    }
}

/// `[gateway]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// The gateway's name; the second part of its log's origin.
    pub name: String,
    /// Where clients connect.
    pub listen: Vec<ListenAddress>,
    /// Where health and metrics are served.
    pub admin: SocketAddr,
    /// What happens to a connection without identity.
    #[serde(default)]
    pub unattributed: Unattributed,
    /// CIDRs lifted from the floor.
    #[serde(default)]
    pub allow_private: Vec<String>,
    /// CIDRs of the peers that speak for others: they must send a PROXY protocol header (version 2),
    /// and nobody else may.
    #[serde(default)]
    pub proxy_protocol: Vec<String>,
    /// How long the connections of a run that has ended may take to end by themselves, for example
    /// "2s". New ones are refused at once.
    #[serde(default = "default_run_grace")]
    pub run_grace: String,
    /// The folder for the Unix sockets of single runs; `runs` in the data folder if absent.
    #[serde(default)]
    pub run_dir: Option<PathBuf>,
    /// How names are resolved.
    #[serde(default)]
    pub resolver: ResolverConfig,
    /// How much of things there may be.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// How long things may take.
    #[serde(default)]
    pub timeouts: TimeoutsConfig,
    /// What clients see that speak TLS to the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Which destinations go through a parent proxy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parent: Vec<ParentConfig>,
}

/// `gateway.unattributed`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unattributed {
    /// 407, recorded.
    #[default]
    Refuse,
    /// Relayed and recorded as unattributed.
    Observe,
}

/// `[gateway.resolver]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolverConfig {
    /// Name servers; empty means the system's.
    #[serde(default)]
    pub servers: Vec<SocketAddr>,
    /// Overrides, as in a hosts file: an address, or address:port for the port asked.
    #[serde(default)]
    pub hosts: BTreeMap<HostName, Vec<String>>,
}

/// `[evidence]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceConfig {
    /// When an event counts as written.
    #[serde(default)]
    pub durability: Durability,
    /// What happens when evidence cannot be written.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Mebibytes of events that may wait in memory, of all plugins together.
    #[serde(default)]
    pub queue_mib: Option<NonZeroU16>,
    /// Mebibytes of events that may wait in memory, of one plugin.
    #[serde(default)]
    pub plugin_queue_mib: Option<NonZeroU16>,
    /// Mebibytes of events that one plugin may add to the log in one day (UTC); without it, any number.
    #[serde(default)]
    pub plugin_mib_per_day: Option<NonZeroU32>,
    /// Mebibytes that the gateway's log may take on disk; without it, what there is. At the limit
    /// `on_failure` decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_mib: Option<NonZeroU32>,
    /// Mebibytes that the gateway's files in the archive may take; without it, any number. At the limit
    /// nothing more is archived, and entries stay in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_mib: Option<NonZeroU32>,
    /// Whether closed hours of the log, and every 50,000 events, become files of the archive.
    #[serde(default)]
    pub archive: bool,
    /// The folder that archive files go to, or a bucket, `s3://BUCKET/PREFIX`; `archive` in the data folder
    /// if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_to: Option<String>,
    /// How the bucket is reached, where `archive_to` names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketConfig>,
    /// Whether the log's hash tiles and its checkpoint go there too, below `log/`, so that whoever reads the
    /// archive can hold it against them without the gateway's disk.
    #[serde(default)]
    pub publish_log: bool,
    /// How long entries stay in the log after they were archived, for example "30d"; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_entries: Option<String>,
    /// How long what was archived is kept, by data class, with `default` for all else; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<BTreeMap<String, String>>,
    /// Whose cosignatures count, and where to ask for them.
    #[serde(default)]
    pub witnesses: Vec<WitnessConfig>,
    /// How many of them a checkpoint needs; all of them unless said otherwise.
    #[serde(default)]
    pub quorum: Option<usize>,
}

/// One of `evidence.witnesses`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// Its submission prefix: `http://host:port`, `https://host/prefix`.
    pub url: String,
    /// Its key, as it publishes it: `name+hash+key`.
    pub key: String,
    /// The authorities that its certificate is believed by, in place of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl EvidenceConfig {
    /// The witnesses and the quorum, or the key that is wrong and why.
    ///
    /// # Errors
    /// A witness's key is none, or the quorum can never be met.
    pub fn quorum(&self) -> Result<Quorum, (&'static str, String)> {
        let keys = self.witnesses.iter().map(|witness| {
            CosignatureVerifier::from_vkey(&witness.key).map_err(|_| {
                let message = format!(
                    "{:?} is no witness's key (name+hash+key); a witness prints its own",
                    witness.key
                );
                ("evidence.witnesses.key", message)
            })
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let needed = self.quorum.unwrap_or(keys.len());
        Quorum::new(keys, needed).map_err(|error| ("evidence.quorum", error.to_string()))
    }
}

/// `evidence.durability`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Written at once, flushed to disk in groups.
    #[default]
    Group,
    /// Flushed to disk before the first byte leaves.
    Strict,
}

/// `evidence.on_failure`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// No connection without a record.
    #[default]
    Refuse,
    /// Connections go on; a `gap` follows.
    Continue,
}

/// `[control]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlConfig {
    /// Where the API listens.
    pub listen: SocketAddr,
}

/// `[audit]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// When the night falls, as a five-field cron line.
    #[serde(default = "default_schedule")]
    pub schedule: String,
    /// The IANA time zone of the schedule.
    #[serde(default = "default_time_zone")]
    pub time_zone: String,
    /// Every how many nights each log is verified whole. The nights between begin where the one before ended,
    /// and read older entries only where they need them. `1` verifies whole every night.
    #[serde(default = "default_verify_whole_every")]
    pub verify_whole_every: u32,
}

/// `[mail]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    /// `smtps://host:port`, `smtp://host:port?starttls=required`, or plain `smtp://` to loopback.
    pub server: String,
    /// The file with the password of the account that `server` names, if it names one.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The only certificate authorities that `server` may show a certificate of, as PEM; the system's
    /// if absent.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The sender.
    pub from: String,
    /// Who reads for security.
    pub security: Vec<String>,
}

/// `[appeals]`: the clocks that owners are told, as durations such as "24h" or "10d".
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppealsConfig {
    /// Until somebody has read an appeal.
    pub acknowledge: String,
    /// Until somebody answers it.
    pub respond: String,
    /// Until it is decided.
    pub decide: String,
    /// For how long a plugin whose owner was right is protected from automatic acts.
    pub protect: String,
}

impl Default for AppealsConfig {
    fn default() -> Self {
        Self {
            acknowledge: "1d".to_owned(),
            respond: "3d".to_owned(),
            decide: "10d".to_owned(),
            protect: "30d".to_owned(),
        }
    }
}

impl AppealsConfig {
    /// The clocks.
    ///
    /// # Errors
    /// The key and what is wrong with its value.
    pub fn clocks(&self) -> Result<reports::AppealClocks, String> {
        let clocks = reports::AppealClocks {
            acknowledge_s: seconds("acknowledge", &self.acknowledge)?,
            respond_s: seconds("respond", &self.respond)?,
            decide_s: seconds("decide", &self.decide)?,
            protect_s: seconds("protect", &self.protect)?,
        };
        if clocks.acknowledge_s <= clocks.respond_s && clocks.respond_s <= clocks.decide_s {
            Ok(clocks)
        } else {
            Err("appeals: acknowledge comes before respond, and respond before decide".to_owned())
        }
    }
}

/// From an hour to a year.
fn seconds(key: &str, text: &str) -> Result<u32, String> {
    let wrong =
        || format!("appeals.{key}: {text:?} is no time between 1h and 366d, such as \"24h\" or \"10d\"");
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(unit)
        .filter(|seconds| (3600..=366 * 86_400).contains(seconds))
        .ok_or_else(wrong)
}

/// `[webhook]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where documents are posted: `https://…`, or `http://` to this machine.
    pub url: String,
    /// The file with the secret that signs them: `whsec_` and base64, as stock libraries take it.
    pub secret_file: PathBuf,
    /// The authorities that the receiver's certificate is believed by, in place of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// Where archive files go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchivePlace {
    /// A folder of this machine, or one that is mounted.
    Folder(PathBuf),
    /// An S3-compatible bucket.
    Bucket(BucketAddress),
}

/// Why the configuration was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No file anywhere.
    #[error(
        "no configuration found: neither --config, ${CONFIG_VARIABLE}, ./{LOCAL_CONFIG} nor {SYSTEM_CONFIG}; \
         make a site with: bailiwick init site"
    )]
    Missing,
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{path}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, key and what is wrong, in one line.
        message: String,
    },
    /// A value that cannot work.
    #[error("{path}: {key}: {message}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key's full name.
        key: String,
        /// What is wrong with it and what to write instead.
        message: String,
    },
}

fn default_data_dir() -> PathBuf {
    "data".into()
}

fn default_trust_root() -> PathBuf {
    "root.json".into()
}

fn default_policy() -> PathBuf {
    "policy.toml".into()
}

fn default_keys_dir() -> PathBuf {
    "keys".into()
}

fn default_run_grace() -> String {
    "2s".to_owned()
}

/// A week.
const fn default_verify_whole_every() -> u32 {
    7
}

fn default_schedule() -> String {
    "0 2 * * *".to_owned()
}

fn default_time_zone() -> String {
    "UTC".to_owned()
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            schedule: default_schedule(),
            time_zone: default_time_zone(),
            verify_whole_every: default_verify_whole_every(),
        }
    }
}

impl Config {
    /// Finds, reads and checks the configuration: `--config`, `$BAILIWICK_CONFIG`,
    /// `./bailiwick.toml`, `/etc/bailiwick/bailiwick.toml`, in that order.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn find(named: Option<&Path>) -> Result<Self, ConfigError> {
        let variable = std::env::var_os(CONFIG_VARIABLE)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from);
        if let Some(path) = named.map(Path::to_owned).or(variable) {
            return Self::read(&path);
        }
        let known = [LOCAL_CONFIG, SYSTEM_CONFIG]
            .into_iter()
            .map(Path::new)
            .find(|path| path.exists());
        Self::read(known.ok_or(ConfigError::Missing)?)
    }

    /// Reads and checks one file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(read)?;
        let path = std::path::absolute(path).map_err(read)?;
        let file = toml::from_str(&text).map_err(|e| ConfigError::Syntax {
            path: path.clone(),
            message: one_line(&e, &text),
        })?;
        let config = Self { path, file };
        config.check()?;
        Ok(config)
    }

    /// A path of the file, made absolute.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("/")).join(path)
    }

    /// The data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.resolve(&self.file.data_dir)
    }

    /// The evidence log of this gateway.
    pub fn log_dir(&self) -> PathBuf {
        self.data_dir().join("log").join(&self.file.gateway.name)
    }

    /// Where archive files go.
    pub fn archive_place(&self) -> ArchivePlace {
        match &self.file.evidence.archive_to {
            None => ArchivePlace::Folder(self.data_dir().join("archive")),
            Some(place) => match place.parse() {
                Ok(address) => ArchivePlace::Bucket(address),
                Err(_) => ArchivePlace::Folder(self.resolve(Path::new(place))),
            },
        }
    }

    /// How many seconds entries stay in the log after they were archived, if not for ever.
    ///
    /// # Errors
    /// The text is no duration of at least an hour.
    pub fn keep_entries_s(&self) -> Result<Option<i64>, String> {
        let keep = self.file.evidence.keep_entries.as_deref();
        keep.map(|text| match keep_s(text)? {
            seconds @ 3600.. => Ok(seconds),
            _ => Err(format!(
                "{text:?} is shorter than an hour, and an hour is archived whole"
            )),
        })
        .transpose()
    }

    /// How long what was archived is kept; `None` where nothing expires.
    ///
    /// # Errors
    /// The key that is wrong, and what to do.
    pub fn retention(&self) -> Result<Option<Retention>, (String, String)> {
        Retention::of(&self.file.evidence)
    }

    /// An address to listen on, with its path made absolute.
    pub fn listen_address(&self, address: &ListenAddress) -> ListenAddress {
        match address {
            ListenAddress::Unix(path) => ListenAddress::Unix(self.resolve(path)),
            other => other.clone(),
        }
    }

    /// Where the control plane, as a witness, remembers what it cosigned.
    pub fn witness_dir(&self) -> PathBuf {
        self.data_dir().join("witness")
    }

    /// How long the connections of a run that has ended may take to end by themselves.
    ///
    /// # Errors
    /// The text is no duration from nothing to [`LONGEST_GRACE`].
    pub fn run_grace(&self) -> Result<Duration, String> {
        let text = &self.file.gateway.run_grace;
        let parsed: jiff::SignedDuration = text
            .parse()
            .map_err(|_| format!("{text:?} is not a duration; write for example \"2s\" or \"500ms\""))?;
        match Duration::try_from(parsed) {
            Ok(grace) if grace <= LONGEST_GRACE => Ok(grace),
            _ => Err(format!("{text:?} is not between \"0s\" and \"10m\"")),
        }
    }

    /// The folder for the Unix sockets of single runs.
    pub fn run_dir(&self) -> PathBuf {
        match &self.file.gateway.run_dir {
            Some(folder) => self.resolve(folder),
            None => self.data_dir().join("runs"),
        }
    }

    /// The private key of `role`.
    pub fn key_path(&self, role: seal::trust::Role) -> PathBuf {
        self.resolve(&self.file.keys_dir).join(format!("{role}.pem"))
    }

    /// The folder of private keys.
    pub fn keys_dir(&self) -> PathBuf {
        self.resolve(&self.file.keys_dir)
    }

    /// The trust root.
    pub fn trust_root_path(&self) -> PathBuf {
        self.resolve(&self.file.trust_root)
    }

    /// The policy file.
    pub fn policy_path(&self) -> PathBuf {
        self.resolve(&self.file.policy)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, message: String| {
            Err(ConfigError::Value {
                path: self.path.clone(),
                key: key.to_owned(),
                message,
            })
        };
        let file = &self.file;
        for (key, name) in [("site", &file.site), ("gateway.name", &file.gateway.name)] {
            if name.parse::<base::PluginId>().is_err() {
                return refuse(
                    key,
                    format!("{name:?} is not a name of a-z 0-9 . _ - of at most 128 characters"),
                );
            }
        }
        if file.gateway.listen.is_empty() {
            return refuse(
                "gateway.listen",
                "name at least one address, for example \"127.0.0.1:3128\"".to_owned(),
            );
        }
        for cidr in &file.gateway.allow_private {
            if let Err(error) = cidr.parse::<ipnet::IpNet>() {
                return refuse("gateway.allow_private", format!("{cidr:?}: {error}"));
            }
        }
        if let Err((key, message)) = tls_config::check(file) {
            return refuse(key, message);
        }
        if let Err((key, message)) = parent_config::check(&file.gateway.parent) {
            return refuse(key, message);
        }
        for cidr in &file.gateway.proxy_protocol {
            match cidr.parse::<ipnet::IpNet>() {
                // Whoever may send the header may speak for any address: "everybody" cannot be meant.
                Ok(network) if network.prefix_len() == 0 => {
                    let message = format!("{cidr:?} lists everybody; name your load balancers");
                    return refuse("gateway.proxy_protocol", message);
                }
                Ok(_) => {}
                Err(error) => return refuse("gateway.proxy_protocol", format!("{cidr:?}: {error}")),
            }
        }
        if let Err(message) = self.run_grace() {
            return refuse("gateway.run_grace", message);
        }
        for (host, addresses) in &file.gateway.resolver.hosts {
            for address in addresses {
                if address.parse::<SocketAddr>().is_err() && address.parse::<std::net::IpAddr>().is_err() {
                    let message = format!("{address:?} is neither an address nor address:port");
                    return refuse(&format!("gateway.resolver.hosts.\"{host}\""), message);
                }
            }
        }
        if let Err((key, message)) = file.gateway.limits.check() {
            return refuse(&format!("gateway.limits.{key}"), message);
        }
        if let Err((key, message)) = file.gateway.timeouts.check() {
            return refuse(&format!("gateway.timeouts.{key}"), message);
        }
        for witness in &file.evidence.witnesses {
            if let Err(error) = witness.url.parse::<WitnessUrl>() {
                return refuse("evidence.witnesses.url", format!("{:?}: {error}", witness.url));
            }
        }
        if let Err((key, message)) = file.evidence.quorum() {
            return refuse(key, message);
        }
        match self.keep_entries_s() {
            Err(message) => return refuse("evidence.keep_entries", message),
            _ if file.evidence.publish_log && !file.evidence.archive => {
                let message = "it goes where the archive goes; add archive = true".to_owned();
                return refuse("evidence.publish_log", message);
            }
            _ if file.evidence.archive_mib.is_some() && !file.evidence.archive => {
                let message = "nothing is archived; add archive = true".to_owned();
                return refuse("evidence.archive_mib", message);
            }
            Ok(Some(_)) if !file.evidence.archive => {
                let message = "nothing may go that was not archived; add archive = true".to_owned();
                return refuse("evidence.keep_entries", message);
            }
            Ok(_) => {}
        }
        if let Err((key, message)) = self.retention() {
            return refuse(&key, message);
        }
        let (archive_to, bucket) = (&file.evidence.archive_to, &file.evidence.bucket);
        if let Err((key, message)) = bucket_config::check(archive_to.as_deref(), bucket.as_ref()) {
            return refuse(key, message);
        }
        if let Err((key, message)) = export_config::check(&file.export) {
            return refuse(key, message);
        }
        if !file.control.listen.ip().is_loopback() {
            let message = format!(
                "{} is not loopback; the control API has no TLS and stays on this machine",
                file.control.listen
            );
            return refuse("control.listen", message);
        }
        match Schedule::parse(&file.audit.schedule, &file.audit.time_zone) {
            Err(error @ InvalidSchedule::Zone { .. }) => return refuse("audit.time_zone", error.to_string()),
            Err(error @ InvalidSchedule::Line { .. }) => return refuse("audit.schedule", error.to_string()),
            Ok(_) => {}
        }
        if let Err(message) = file.appeals.clocks() {
            return refuse("appeals", message);
        }
        if let Some(webhook) = &file.webhook
            && let Err(error) = webhook.url.parse::<HookUrl>()
        {
            return refuse("webhook.url", error.to_string());
        }
        if let Some(mail) = &file.mail
            && mail.security.is_empty()
        {
            return refuse(
                "mail.security",
                "name at least one reader, for example [\"security@acme.example\"]".to_owned(),
            );
        }
        Ok(())
    }
}

/// How many seconds a duration such as "30d" has; a day has 24 hours.
///
/// # Errors
/// It is none, or lies before its beginning.
pub fn keep_s(text: &str) -> Result<i64, String> {
    let seconds = text.parse::<jiff::Span>().ok().and_then(|span| {
        // Nobody is promised a year and given less: it has 366 days, and a month 31.
        let days = i64::from(span.get_years()) * 366 + i64::from(span.get_months()) * 31;
        let rest = span.years(0).months(0);
        let rest = rest.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
        days.checked_mul(24 * 3600)?.checked_add(rest.as_secs())
    });
    seconds
        .filter(|seconds| *seconds >= 0)
        .ok_or_else(|| format!("{text:?} is not a duration; write for example \"30d\" or \"12h\""))
}

/// A TOML error as one line: where, and what.
fn one_line(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    match error.span() {
        Some(span) => {
            let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
            format!("line {line}: {message}")
        }
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"
site = "acme"
[gateway]
name = "gw-1"
listen = ["127.0.0.1:3128"]
admin = "127.0.0.1:9128"
[gateway.resolver.hosts]
"acme.openai.azure.com" = ["127.0.0.1:8443"]
[control]
listen = "127.0.0.1:8128"
"#;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bailiwick.toml");
        std::fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let config = read(SAMPLE).unwrap();
        assert_eq!(config.data_dir(), config.path.parent().unwrap().join("data"));
        assert_eq!(config.log_dir(), config.data_dir().join("log/gw-1"));
    }

    #[test]
    fn a_grace_is_written_as_people_write_durations() {
        assert_eq!(read(SAMPLE).unwrap().run_grace(), Ok(Duration::from_secs(2)));
        for (text, ms) in [
            ("0s", 0),
            ("500ms", 500),
            ("1 minute 30 seconds", 90_000),
            ("10m", 600_000),
        ] {
            let config =
                read(&SAMPLE.replace("admin =", &format!("run_grace = \"{text}\"\nadmin ="))).unwrap();
            assert_eq!(config.run_grace(), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_line_and_key() {
        let error = read(&SAMPLE.replace("admin =", "admim = 1\nadmin ="))
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 6") && error.contains("admim"), "{error}");
        assert_eq!(error.lines().count(), 1);
    }

    #[test]
    fn values_that_cannot_work_are_refused_before_anything_starts() {
        for (from, to, key) in [
            ("\"acme\"", "\"Acme Corp\"", "site"),
            ("[\"127.0.0.1:3128\"]", "[]", "gateway.listen"),
            (
                "listen = \"127.0.0.1:8128\"",
                "listen = \"0.0.0.0:8128\"",
                "control.listen",
            ),
            (
                "[\"127.0.0.1:8443\"]",
                "[\"localhost\"]",
                "gateway.resolver.hosts",
            ),
            (
                "admin =",
                "proxy_protocol = [\"10.0.0.0/33\"]\nadmin =",
                "gateway.proxy_protocol",
            ),
            (
                "admin =",
                "proxy_protocol = [\"::/0\"]\nadmin =",
                "gateway.proxy_protocol",
            ),
            ("admin =", "run_grace = \"soon\"\nadmin =", "gateway.run_grace"),
            ("admin =", "run_grace = \"-1s\"\nadmin =", "gateway.run_grace"),
            ("admin =", "run_grace = \"1h\"\nadmin =", "gateway.run_grace"),
            ("[control]", "[audit]\nschedule = \"hourly\"\n[control]", "audit"),
            (
                "[control]",
                "[evidence]\nquorum = 1\n[control]",
                "evidence.quorum",
            ),
            (
                "[control]",
                "[[evidence.witnesses]]\nurl = \"witness.example\"\nkey = \"k\"\n[control]",
                "evidence.witnesses.url",
            ),
            (
                "[control]",
                "[[evidence.witnesses]]\nurl = \"http://w.example\"\nkey = \"k\"\n[control]",
                "evidence.witnesses.key",
            ),
            (
                "[control]",
                "[evidence]\nkeep_entries = \"30d\"\n[control]",
                "evidence.keep_entries",
            ),
            (
                "[control]",
                "[evidence]\narchive = true\nkeep_entries = \"soon\"\n[control]",
                "evidence.keep_entries",
            ),
            (
                "[control]",
                "[evidence]\narchive = true\nkeep_entries = \"5m\"\n[control]",
                "evidence.keep_entries",
            ),
            (
                "[control]",
                "[evidence.retention]\ndefault = \"7y\"\n[control]",
                "evidence.retention",
            ),
            (
                "[control]",
                "[evidence]\narchive = true\nkeep_entries = \"30d\"\n[evidence.retention]\ndefault = \"7y\"\nsecret = \"1d\"\n[control]",
                "evidence.retention.secret",
            ),
            (
                "[control]",
                "[evidence]\npublish_log = true\n[control]",
                "evidence.publish_log",
            ),
            (
                "[control]",
                "[evidence]\narchive_mib = 5\n[control]",
                "evidence.archive_mib",
            ),
            (
                "[control]",
                "[evidence]\narchive_to = \"\"\n[control]",
                "evidence.archive_to",
            ),
            (
                "[control]",
                "[evidence]\narchive_to = \"s3://bucket/../logs\"\n[control]",
                "evidence.archive_to",
            ),
            (
                "[control]",
                "[evidence.bucket]\nregion = \"eu-central-1\"\n[control]",
                "evidence.bucket",
            ),
            (
                "[control]",
                "[[export]]\nname = \"siem\"\nto = \"udp://siem.example\"\n[control]",
                "export.to",
            ),
            (
                "[control]",
                "[evidence]\nplugin_queue_mib = 0\n[control]",
                "line 10",
            ),
            (
                "[control]",
                "[audit]\ntime_zone = \"Mars/Olympus\"\n[control]",
                "audit",
            ),
        ] {
            let error = read(&SAMPLE.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(key), "{key}: {error}");
        }
    }
}
