//! Software of other people: found on `PATH` first, then where `tests/peers` puts it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::binary::{target_folder, workspace};

/// A piece of software that a scenario needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// `curl`.
    Curl,
    /// `git`, with its HTTPS transport.
    Git,
    /// `wget`.
    Wget,
    /// `node`.
    Node,
    /// `go`, with its toolchain.
    Go,
    /// `openssl` 3.
    Openssl,
    /// `cosign` 3: earlier ones read no Sigstore bundle v0.3.
    Cosign,
    /// `spicy`, which verifies tlog-proofs.
    Spicy,
    /// `litewitness` and `witnessctl`, a witness that nobody here wrote, and the agent that holds its
    /// key.
    Litewitness,
    /// Python with the packages of `tests/requirements.txt`.
    Python,
    /// Python with the packages of `tests/readers.txt`: what reads exports and archives elsewhere.
    Readers,
    /// Python with the packages of `tests/bucket.txt`: an S3-compatible server.
    Bucket,
    /// Python with the packages of `tests/spark.txt`, and Java.
    Spark,
    /// A PostgreSQL server that can be started, by root for somebody else.
    Postgres,
    /// `rsyslogd`, with its TLS driver.
    Rsyslog,
    /// The wheel of the `openai` package, as published.
    OpenaiWheel,
    /// Debian's `chromium`, a browser that needs no screen.
    Chromium,
    /// `axe-core` from npm, which finds what people who hear or zoom a page would stumble over.
    AxeCore,
    /// Debian's `postfix`, unpacked into a folder, and the right to `chroot` there.
    Postfix,
    /// Any of the clients that the matrix drives.
    AnyClient,
    /// `ssh`, the client.
    Ssh,
    /// nmap's `ncat`.
    Ncat,
    /// The means to be another user: root, and `setpriv`.
    AnotherUser,
    /// The means to mount a small filesystem of our own.
    Tmpfs,
    /// `systemd-analyze`, which says what is wrong with a unit.
    SystemdAnalyze,
    /// The means to have a network of our own, with nothing in it but loopback.
    OwnNetwork,
}

/// A peer that is not there, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingPeer {
    /// Which.
    pub peer: Peer,
    /// Why it counts as missing.
    pub why: String,
}

impl std::fmt::Display for MissingPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "needs {}: {}", self.peer.name(), self.why)
    }
}

impl Peer {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::Git => "git",
            Self::Wget => "wget",
            Self::Node => "node",
            Self::Go => "go",
            Self::Openssl => "openssl",
            Self::Cosign => "cosign",
            Self::Spicy => "spicy",
            Self::Litewitness => "litewitness",
            Self::Python => "python with the packages of tests/requirements.txt",
            Self::Readers => "python with the packages of tests/readers.txt",
            Self::Bucket => "python with the packages of tests/bucket.txt",
            Self::Spark => "PySpark and Java",
            Self::Postgres => "a PostgreSQL server, and root to start it for somebody else",
            Self::Rsyslog => "rsyslogd with its TLS driver",
            Self::OpenaiWheel => "the openai wheel",
            Self::Chromium => "chromium",
            Self::AxeCore => "axe-core",
            Self::Postfix => "postfix, unpacked",
            Self::AnyClient => "any client",
            Self::Ssh => "ssh",
            Self::Ncat => "ncat",
            Self::AnotherUser => "the right to become another user",
            Self::Tmpfs => "the right to mount a tmpfs",
            Self::SystemdAnalyze => "systemd-analyze",
            Self::OwnNetwork => "the right to a network namespace",
        }
    }

    /// Where it is.
    ///
    /// # Errors
    /// [`MissingPeer`] when it is nowhere, or too old.
    pub fn find(self) -> Result<PathBuf, MissingPeer> {
        let missing = |why: &str| MissingPeer {
            peer: self,
            why: why.to_owned(),
        };
        let nowhere = "neither on PATH nor in target/peers; tests/peers installs it";
        match self {
            Self::Python => python_of("venv").ok_or_else(|| missing(NOT_INSTALLED)),
            Self::Readers => python_of("readers").ok_or_else(|| missing(NOT_INSTALLED)),
            Self::Bucket => python_of("bucket").ok_or_else(|| missing(NOT_INSTALLED)),
            Self::Spark => python_of("spark")
                .filter(|_| which("java").is_some())
                .ok_or_else(|| missing("tests/peers installs it where java is on PATH")),
            Self::Postgres => postgres().ok_or_else(|| missing("it takes root, setpriv, psql and initdb")),
            Self::Rsyslog => {
                rsyslog().ok_or_else(|| missing("tests/peers installs rsyslog and rsyslog-gnutls"))
            }
            Self::OpenaiWheel => wheel("openai-")
                .ok_or_else(|| missing("not in target/peers/wheels; tests/peers downloads it")),
            Self::AnyClient => ["curl", "wget", "git", "node", "go", "java", "ncat"]
                .into_iter()
                .find_map(which)
                .or_else(|| python_of("venv"))
                .ok_or_else(|| missing(nowhere)),
            Self::AxeCore => Some(peers().join("node/node_modules/axe-core/axe.min.js"))
                .filter(|script| script.is_file())
                .ok_or_else(|| missing("not in target/peers/node; tests/peers installs it")),
            Self::Postfix => Some(peers().join("postfix"))
                .filter(|root| root.join("usr/lib/postfix/sbin/master").is_file())
                .filter(|_| rustix::process::geteuid().is_root())
                .ok_or_else(|| missing("it takes root, and tests/peers unpacks it into target/peers")),
            Self::AnotherUser => which("setpriv")
                .filter(|_| rustix::process::geteuid().is_root())
                .ok_or_else(|| missing("it takes root and setpriv")),
            Self::Tmpfs => {
                tmpfs().ok_or_else(|| missing("mount needs root, and not every container grants it"))
            }
            Self::OwnNetwork => own_network().ok_or_else(|| missing("it takes root, unshare and ip")),
            Self::Litewitness => {
                for tool in ["witnessctl", "ssh-agent", "ssh-add", "ssh-keygen"] {
                    which(tool).ok_or_else(|| missing(&format!("{tool} is {nowhere}")))?;
                }
                which("litewitness").ok_or_else(|| missing(nowhere))
            }
            Self::Cosign => {
                let path = which("cosign").ok_or_else(|| missing(nowhere))?;
                if is_cosign_3(&path) {
                    Ok(path)
                } else {
                    Err(missing(
                        "the one found is older than 3; tests/peers installs a newer one",
                    ))
                }
            }
            other => which(other.name()).ok_or_else(|| missing(nowhere)),
        }
    }

    /// Where `tests/peers` puts what it installs.
    pub fn folder() -> PathBuf {
        peers()
    }

    /// A command line that starts it. Call only in a scenario that declares the need.
    ///
    /// # Panics
    /// When the peer is missing.
    pub fn command(self) -> Command {
        let found = self.find();
        assert!(found.is_ok(), "a scenario must declare its needs: {found:?}");
        Command::new(found.unwrap_or_else(|_| self.name().into()))
    }
}

/// Where `tests/peers` puts things.
fn peers() -> PathBuf {
    if let Some(path) = std::env::var_os("BAILIWICK_PEERS") {
        return path.into();
    }
    let beside_build = target_folder().0.join("peers");
    if beside_build.is_dir() {
        beside_build
    } else {
        workspace().join("target/peers")
    }
}

fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([peers().join("bin")])
        .map(|folder| folder.join(name))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

const NOT_INSTALLED: &str = "not in target/peers; tests/peers installs it";

/// The Python of an environment that was installed whole.
fn python_of(folder: &str) -> Option<PathBuf> {
    let folder = peers().join(folder);
    let python = folder.join("bin/python");
    (is_executable(&python) && folder.join("installed.txt").is_file()).then_some(python)
}

/// The folder with `initdb` may not be on `PATH`, but what is there leads to it.
fn postgres() -> Option<PathBuf> {
    let initdb = which("initdb").or_else(|| {
        let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
            .ok()?
            .flatten()
            .map(|version| version.path().join("bin/initdb"))
            .filter(|initdb| is_executable(initdb))
            .collect();
        versions.sort();
        versions.pop()
    })?;
    let is_root = rustix::process::geteuid().is_root();
    (is_root && which("setpriv").is_some() && which("psql").is_some())
        .then(|| std::fs::canonicalize(initdb).ok())
        .flatten()
}

fn rsyslog() -> Option<PathBuf> {
    let daemon = which("rsyslogd").or_else(|| Some("/usr/sbin/rsyslogd".into()))?;
    let libraries = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let has_driver = libraries
        .map(|folder| folder.path().join("rsyslog/lmnsd_gtls.so"))
        .any(|driver| driver.is_file());
    (is_executable(&daemon) && has_driver).then_some(daemon)
}

fn wheel(prefix: &str) -> Option<PathBuf> {
    let mut wheels: Vec<_> = std::fs::read_dir(peers().join("wheels"))
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(prefix) && name.ends_with(".whl")
        })
        .collect();
    wheels.sort();
    wheels.pop()
}

fn is_cosign_3(path: &Path) -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        // Distributors print "devel" as the version; but 3 reads new bundles always, so the option is gone.
        let output = Command::new(path)
            .args(["verify-blob-attestation", "--help"])
            .output();
        output.is_ok_and(|output| {
            output.status.success()
                && !String::from_utf8_lossy(&output.stdout).contains("--new-bundle-format")
        })
    })
}

fn tmpfs() -> Option<PathBuf> {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    let works = ANSWER.get_or_init(|| {
        // In a mount namespace of its own, so that nothing is left behind whatever happens.
        let status = Command::new("unshare")
            .args([
                "--mount", "--", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/mnt",
            ])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    });
    works.then(|| PathBuf::from("unshare"))
}

fn own_network() -> Option<PathBuf> {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    let works = ANSWER.get_or_init(|| {
        let status = Command::new("unshare")
            .args(["--net", "--", "ip", "link", "set", "lo", "up"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    });
    works.then(|| PathBuf::from("unshare"))
}

/// The client tools' own `PATH`: the system's, then `target/peers/bin`.
pub(crate) fn search_path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path)
        .chain([peers().join("bin")])
        .collect();
    std::env::join_paths(folders).unwrap_or(path)
}
