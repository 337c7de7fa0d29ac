//! Sites: a folder that the shipped binary works on, made without it.
//!
//! Everything is written through the product's own rooms: keys and trust root by `seal`, logs by
//! `evidence`, registry and revocation list by `control`. Nothing is random, so the same request gives
//! the same evidence; whoever wants a site to trust makes one with `bailiwick init`.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use base::{Policy, PolicyException, Tier, Timestamp};
use control::policy::{exception_signature_name, exceptions_folder, sign_exception};
use evidence::archive::{Archive, Archiver, LocalStore, Pruned, Pruner, Store};
use evidence::{Event, LogWriter, Origin};
use seal::note::NoteVerifier;
use seal::trust::{Role, Scope, Signer, TrustRoot};
use seal::{SigningKey, key_file};

use crate::archive::{Closing, GatewayArchive};
use crate::dice::key;
use crate::registry::scratch;

/// The roles that have a key. All owners share one, which may speak for every plugin.
const ROLES: [Role; 8] = Role::ALL;
const POLICY: &str = "policy.toml";
/// Who answers for the clauses of the policy.
const MAKERS: &str = "the makers of this corpus";
/// Entries that one batch of a log has at most.
const BATCH: usize = 512;
/// A moment at which every hour of every site is over.
const LONG_AFTER: &str = "9000-01-01T00:00:00Z";
/// Entries are let go by whole bundles of so many.
const BUNDLE: u64 = 256;
/// Entries between two checkpoints, so that memory stays small.
const SEAL_EVERY: u64 = 100_000;

/// A site on disk.
#[derive(Debug)]
pub struct Site {
    /// The folder with `bailiwick.toml`.
    pub folder: PathBuf,
    /// The site's name.
    pub name: String,
    seed: u64,
}

impl Site {
    /// Makes folders, keys, trust root, policy and configuration. `gateway` is the one that the
    /// configuration names; others are known by their logs. Keys are valid from `opened` on.
    ///
    /// # Errors
    /// The folder holds something, or cannot be written.
    pub fn make(folder: &Path, name: &str, seed: u64, gateway: &str, opened: Timestamp) -> Result<Self> {
        anyhow::ensure!(
            name.parse::<base::PluginId>().is_ok(),
            "a site's name uses a-z 0-9 . _ - and has at most 128 characters, unlike {name:?}"
        );
        let is_used = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
        anyhow::ensure!(
            !is_used,
            "{} holds something already; name a new folder",
            folder.display()
        );
        for (path, mode) in [("", 0o755), ("keys", 0o700), ("data", 0o700), ("data/log", 0o700)] {
            let path = folder.join(path);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(&path)
                .with_context(|| format!("cannot make {}", path.display()))?;
        }
        let site = Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            seed,
        };
        site.write_keys(opened)?;
        site.write(POLICY, &toml::to_string_pretty(&policy())?)?;
        site.write("bailiwick.toml", &configuration(name, gateway))?;
        Ok(site)
    }

    /// The configuration's file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("bailiwick.toml")
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The private key of a role.
    pub fn key(&self, role: Role) -> SigningKey {
        key(self.seed, role.as_str())
    }

    /// The folder of a gateway's log.
    pub fn log_folder(&self, gateway: &str) -> PathBuf {
        self.data().join("log").join(gateway)
    }

    /// Makes a gateway known of which there is no log.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn expect_gateway(&self, gateway: &str) -> Result<()> {
        let folder = self.log_folder(gateway);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))
    }

    /// Begins the log of a gateway.
    ///
    /// # Errors
    /// The gateway's name cannot stand in an origin, or the folder cannot be written.
    pub fn log(&self, gateway: &str) -> Result<GatewayLog> {
        self.log_in(gateway, &self.log_folder(gateway))
    }

    fn log_in(&self, gateway: &str, folder: &Path) -> Result<GatewayLog> {
        let origin = Origin::new(&self.name, gateway)
            .with_context(|| format!("gateway {gateway:?} cannot name a log"))?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let (writer, _) = LogWriter::open(folder, &origin, self.key(Role::Gateway))?;
        Ok(GatewayLog {
            writer,
            batch: Vec::with_capacity(BATCH),
        })
    }

    /// Begins the log of a gateway, each hour of which is archived as soon as it is over.
    ///
    /// # Errors
    /// As for [`Self::log`].
    pub fn archived_log(&self, gateway: &str) -> Result<ArchivedLog> {
        let scratch = scratch()?;
        Ok(ArchivedLog {
            log: self.log_in(gateway, &scratch.path().join(gateway))?,
            archive: self.archive(gateway, Closing::Hours)?,
            scratch,
            gateway: gateway.to_owned(),
        })
    }

    /// Begins the archive of a gateway of which there is no log.
    ///
    /// # Errors
    /// The gateway's name cannot stand in an origin.
    pub fn archive(&self, gateway: &str, closing: Closing) -> Result<GatewayArchive> {
        let origin = Origin::new(&self.name, gateway)
            .with_context(|| format!("gateway {gateway:?} cannot name a log"))?;
        Ok(GatewayArchive::new(&self.data().join("archive"), origin, closing))
    }

    /// Writes a policy that lets these pass, each signed by as many of its two as is said: the operator
    /// and the certifier.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn except(&self, exceptions: Vec<(PolicyException, usize)>) -> Result<()> {
        let policy_path = self.folder.join(POLICY);
        let folder = exceptions_folder(&policy_path);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (exception, signatures) in &exceptions {
            for role in [Role::Operator, Role::Certifier].into_iter().take(*signatures) {
                let key = self.key(role);
                let name = exception_signature_name(exception, &key.public().fingerprint());
                fs::write(folder.join(&name), sign_exception(exception, &key)?)
                    .with_context(|| format!("cannot write {name}"))?;
            }
        }
        let policy = Policy {
            exceptions: exceptions.into_iter().map(|(exception, _)| exception).collect(),
            ..self::policy()
        };
        self.write(POLICY, &toml::to_string_pretty(&policy)?)
    }

    /// Archives the log of a gateway, hour by hour, as its archiver would have; then its entries may go.
    ///
    /// # Errors
    /// The log cannot be read as it was signed, or the disk refuses.
    pub fn archive_log(&self, gateway: &str, prune: bool) -> Result<()> {
        let folder = self.log_folder(gateway);
        let key = self.key(Role::Gateway);
        let verifier = NoteVerifier::new(&format!("{}/{gateway}", self.name), &key.public())?;
        let store: Arc<dyn Store> = Arc::new(LocalStore::new(&self.data().join("archive")));
        let mut log = self.log(gateway)?;
        // Every hour is over for somebody who comes long after.
        let now: Timestamp = LONG_AFTER.parse()?;
        let mut last = None;
        loop {
            let archiver = Archiver::open(&folder, &verifier, &store)?;
            let Some(bound) =
                archiver.put_next(archiver.archived_to()?, evidence::archive::Closing::Due, now)?
            else {
                break;
            };
            let file = std::fs::read(self.data().join("archive").join(bound.name.to_string()))?;
            let times = Archive::read(file)?.numbers("time")?;
            let time = Timestamp::from_unix_us(times.numbers().iter().copied().max().unwrap_or_default());
            log.append(bound.event(time))?;
            log.seal()?;
            last = Some(time);
        }
        if let Some(time) = last.filter(|_| prune) {
            let open = || Pruner::open(&folder, &verifier, &store);
            if let Some(pruned) = open()?.due(now)? {
                log.append(pruned.event(time, gateway))?;
                log.seal()?;
                open()?.remove("../../archive")?;
            }
        }
        log.finish()?;
        Ok(())
    }

    fn write_keys(&self, opened: Timestamp) -> Result<()> {
        let keys = self.folder.join("keys");
        let write = |name: &str, key: &SigningKey| -> Result<()> {
            key_file::write_private(&keys.join(format!("{name}.pem")), key)?;
            Ok(key_file::write_public(
                &keys.join(format!("{name}.pub")),
                &key.public(),
            )?)
        };
        let root_key = key(self.seed, "root");
        write("root", &root_key)?;
        // A corpus is audited long after it was made.
        let expires = opened.plus_seconds(50 * 365 * 24 * 3600);
        let mut root = TrustRoot::first(vec![root_key.public()], 1, expires);
        for role in ROLES {
            let key = self.key(role);
            write(role.as_str(), &key)?;
            root.signers.push(Signer {
                name: format!("{} {role}", self.name),
                key: key.public(),
                role,
                scopes: vec![Scope::All],
                valid_from: opened.plus_seconds(-365 * 24 * 3600),
                valid_until: None,
            });
        }
        let signed = root.sign(&[&root_key])?;
        let path = self.folder.join("root.json");
        fs::write(&path, signed).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes a file into the site's folder.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A log in the making.
#[derive(Debug)]
pub struct GatewayLog {
    writer: LogWriter,
    batch: Vec<Event>,
}

impl GatewayLog {
    /// Appends an event; the log gives it its `seq`.
    ///
    /// # Errors
    /// The event is too large, or the disk refuses.
    pub fn append(&mut self, event: Event) -> Result<()> {
        self.batch.push(event);
        if self.batch.len() == BATCH {
            self.flush()?;
        }
        Ok(())
    }

    /// Signs what was appended.
    fn seal(&mut self) -> Result<()> {
        self.flush()?;
        self.writer.checkpoint()?;
        Ok(())
    }

    /// Signs what was appended and closes the log. Gives its size.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn finish(mut self) -> Result<u64> {
        self.flush()?;
        self.writer.checkpoint()?;
        Ok(self.writer.size())
    }

    /// Entries so far.
    pub fn size(&self) -> u64 {
        self.writer.size() + self.batch.len() as u64
    }

    fn flush(&mut self) -> Result<()> {
        self.writer.append(&mut self.batch)?;
        self.batch.clear();
        if self.writer.waiting() >= SEAL_EVERY {
            self.writer.checkpoint()?;
        }
        Ok(())
    }
}

/// What a fresh site has, and the medium tier asks for approvals.
fn policy() -> Policy {
    let mut policy = Policy::initial(MAKERS);
    if let Some(medium) = policy.tiers.get_mut(&Tier::Medium) {
        medium.approval_required = true;
    }
    policy
}

/// A log in the making, and its archive.
#[derive(Debug)]
pub struct ArchivedLog {
    log: GatewayLog,
    archive: GatewayArchive,
    /// Every checkpoint waits for the disk, and most of the log is let go again: it grows in memory.
    scratch: tempfile::TempDir,
    gateway: String,
}

impl ArchivedLog {
    /// Appends an event, and before it the entry that binds the hour that is over.
    ///
    /// # Errors
    /// The event is too large, or the disk refuses.
    pub fn append(&mut self, event: Event) -> Result<()> {
        if let Some(binding) = self.archive.append(&event)? {
            self.log.append(binding)?;
        }
        self.log.append(event)
    }

    /// Entries so far.
    pub fn size(&self) -> u64 {
        self.log.size()
    }

    /// Signs what was appended, lets go what the archive has if that is asked for, and puts the log into its
    /// place.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn finish(self, site: &Site, last: &Event, prune: bool) -> Result<()> {
        let Self {
            mut log,
            archive,
            scratch,
            gateway,
        } = self;
        let (binding, archived_to) = archive.finish(last)?;
        if let Some(binding) = binding {
            log.append(binding)?;
        }
        let to = archived_to - archived_to % BUNDLE;
        let is_pruned = prune && to > 0;
        if is_pruned {
            log.append(Pruned { from: 0, to }.event(last.time, &gateway))?;
        }
        log.finish()?;
        let folder = scratch.path().join(&gateway);
        if is_pruned {
            let verifier = NoteVerifier::new(
                &format!("{}/{gateway}", site.name),
                &site.key(Role::Gateway).public(),
            )?;
            let store: Arc<dyn Store> = Arc::new(LocalStore::new(&site.data().join("archive")));
            Pruner::open(&folder, &verifier, &store)?.remove("../../archive")?;
        }
        let place = site.log_folder(&gateway);
        copy(&folder, &place).with_context(|| format!("cannot write {}", place.display()))
    }
}

/// Copies a folder with everything in it.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &place)?;
        } else {
            fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}

/// Ports are the system's to choose: a corpus is audited, and hardly ever served.
fn configuration(site: &str, gateway: &str) -> String {
    format!(
        r#"# Made by bailiwick-synth: synthetic evidence under keys that anybody can make again. Trust nothing in it.
site = "{site}"
data_dir = "data"
trust_root = "root.json"
policy = "policy.toml"
keys_dir = "keys"

[gateway]
name = "{gateway}"
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"

[control]
listen = "127.0.0.1:0"
"#
    )
}
