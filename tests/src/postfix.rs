//! A real mail server: Debian's postfix, in a root folder of its own.
//!
//! It is unpacked by `tests/peers` and never installed: nothing of it runs on this machine but for
//! the length of a test, inside `chroot`, on loopback ports of its own. It demands TLS on one port by
//! STARTTLS and on another from the first byte, and puts whatever it takes into one mailbox.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::peer::Peer;
use crate::wait::wait_until;
use crate::world::free_port;
use crate::{Authority, Mail};

/// Users of the little system; ids that mean nothing outside.
const PASSWD: &str = "root:x:0:0::/:/bin/sh\npostfix:x:995:995::/var/spool/postfix:/bin/false\n\
    keeper:x:993:993::/mail:/bin/false\nnobody:x:65534:65534::/:/bin/false\n";
const GROUP: &str = "root:x:0:\npostfix:x:995:\npostdrop:x:996:\nkeeper:x:993:\n";
const SERVICES: &str = "pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
postlog unix-dgram n - n - 1 postlogd
";

/// A running postfix; dropping it ends it.
pub struct Postfix {
    root: PathBuf,
    starttls: SocketAddr,
    implicit: SocketAddr,
    master: Child,
}

impl Postfix {
    /// Starts one under `root` that shows a certificate of `authority` for `localhost`, and refuses
    /// mail to `unknown@`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(root: PathBuf, authority: &Authority) -> Result<Self> {
        let unpacked = Peer::Postfix
            .find()
            .map_err(|missing| anyhow::anyhow!("{missing}"))?;
        let copied = Command::new("cp")
            .arg("-a")
            .arg(&unpacked)
            .arg(&root)
            .status()
            .context("copying postfix")?;
        ensure!(copied.success(), "copying postfix failed");
        let (starttls, implicit) = (free_port()?, free_port()?);
        furnish(&root, authority, starttls, implicit)?;
        let log = fs::File::create(root.join("log"))?;
        let master = Command::new("chroot")
            .arg(&root)
            .args(["/usr/lib/postfix/sbin/master", "-d", "-c", "/etc/postfix"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting postfix")?;
        let postfix = Self {
            root,
            starttls,
            implicit,
            master,
        };
        for address in [starttls, implicit] {
            wait_until("postfix to listen", || {
                std::net::TcpStream::connect(address).is_ok()
            })?;
        }
        Ok(postfix)
    }

    /// The port that demands STARTTLS.
    pub fn starttls_port(&self) -> u16 {
        self.starttls.port()
    }

    /// The port that speaks TLS from the first byte.
    pub fn implicit_port(&self) -> u16 {
        self.implicit.port()
    }

    /// Everything in the mailbox, in the order of delivery.
    pub fn mails(&self) -> Vec<Mail> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.root.join("mail/inbox/new"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        files.sort();
        files
            .iter()
            .filter_map(|path| fs::read(path).ok())
            .map(|bytes| {
                let mut mail = Mail {
                    from: String::new(),
                    to: Vec::new(),
                    message: String::from_utf8_lossy(&bytes).into_owned(),
                };
                mail.from = mail.header("Return-Path").unwrap_or_default();
                let to = ["X-Original-To", "Delivered-To"]
                    .into_iter()
                    .find_map(|name| mail.header(name));
                mail.to = to.into_iter().collect();
                mail
            })
            .collect()
    }

    /// What it said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.master.id()).ok().and_then(Pid::from_raw) {
            // The master ends its own children.
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.master.wait();
    }
}

/// Settings, certificate and queue folders.
fn furnish(root: &Path, authority: &Authority, starttls: SocketAddr, implicit: SocketAddr) -> Result<()> {
    let etc = root.join("etc");
    fs::create_dir_all(etc.join("postfix"))?;
    let (certificate, key) = authority.pem_pair(&["localhost"])?;
    let main = "compatibility_level = 3.6
queue_directory = /var/spool/postfix
daemon_directory = /usr/lib/postfix/sbin
data_directory = /var/lib/postfix
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.postfix.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks =
smtpd_relay_restrictions =
smtpd_recipient_restrictions = check_recipient_access inline:{ { unknown@site.example = 550 5.1.1 No such user } }, reject_unauth_destination
virtual_mailbox_domains = static:all
virtual_mailbox_maps = static:inbox/
virtual_mailbox_base = /mail
virtual_uid_maps = static:993
virtual_gid_maps = static:993
virtual_transport = virtual
smtpd_tls_cert_file = /etc/cert.pem
smtpd_tls_key_file = /etc/key.pem
smtpd_tls_security_level = encrypt
smtpd_tls_received_header = yes
maillog_file = /dev/stdout
";
    let ports = format!(
        "{starttls} inet n - n - - smtpd\n{implicit} inet n - n - - smtpd\n  -o smtpd_tls_wrappermode=yes\n"
    );
    for (name, text) in [
        ("passwd", PASSWD),
        ("group", GROUP),
        ("hosts", "127.0.0.1 localhost\n"),
        ("resolv.conf", ""),
        ("services", "smtp 25/tcp\n"),
        ("cert.pem", &certificate),
        ("key.pem", &key),
        ("postfix/main.cf", main),
        ("postfix/master.cf", &format!("{ports}{SERVICES}")),
    ] {
        fs::write(etc.join(name), text)?;
    }
    let spool = root.join("var/spool/postfix");
    for queue in [
        "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "public",
        "maildrop", "saved", "trace", "pid",
    ] {
        fs::create_dir_all(spool.join(queue))?;
    }
    fs::create_dir_all(root.join("var/lib/postfix"))?;
    fs::create_dir_all(root.join("mail"))?;
    let script = "chmod 600 etc/key.pem && chown -R 995 var/spool/postfix var/lib/postfix && chown 0 var/spool/postfix var/spool/postfix/pid && chgrp 996 var/spool/postfix/public var/spool/postfix/maildrop && chmod 730 var/spool/postfix/maildrop && chmod 710 var/spool/postfix/public && chown 993:993 mail";
    let owned = Command::new("sh")
        .args(["-ec", script])
        .current_dir(root)
        .status()?;
    ensure!(
        owned.success(),
        "postfix's folders could not be given to their owners"
    );
    Ok(())
}
