//! An S3-compatible server beside a site: moto, which nobody here wrote, with one bucket in it.
//!
//! It checks who asks. A test may have it lie for a while; `tests/python/bucket.py` says how.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result};

use crate::binary::workspace;
use crate::peer::Peer;
use crate::world::World;

/// How the server treats what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As it is.
    Honest,
    /// It says yes to a put and keeps nothing.
    Drops,
    /// It says yes to a put and keeps something else.
    Changes,
    /// It answers nothing but 503.
    Away,
}

/// A running server; dropping it ends it.
pub struct BucketServer {
    child: Child,
    manner: PathBuf,
}

impl BucketServer {
    /// The bucket's name.
    pub const NAME: &'static str = "fleet";

    /// Starts a server and has the site archive into it, below `acme`. With `tls`, it shows a certificate
    /// of the test authority.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(world: &World, tls: bool) -> Result<Self> {
        let (manner, credentials) = (world.path("bucket-manner"), world.path("bucket-credentials"));
        std::fs::write(&manner, "honest")?;
        let mut command = Peer::Bucket.command();
        command
            .arg(workspace().join("tests/python/bucket.py"))
            .arg(Self::NAME)
            .arg(&credentials)
            .arg(&manner);
        if tls {
            let (certificate, key) = world.authority().pem_pair(&["localhost"])?;
            for (name, pem) in [("bucket.pem", certificate), ("bucket.key", key)] {
                std::fs::write(world.path(name), pem)?;
                command.arg(world.path(name));
            }
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(world.path("bucket.log"))?)
            .spawn()
            .context("starting moto")?;
        let stdout = child.stdout.take();
        // From here on the child is reaped whatever happens.
        let server = Self { child, manner };
        let mut line = String::new();
        BufReader::new(stdout.context("moto has no standard output")?).read_line(&mut line)?;
        let port: u16 = line.trim().parse().context("moto did not name its port")?;
        world.configure(|config| {
            let evidence = config
                .entry("evidence")
                .or_insert_with(|| toml::Table::new().into());
            let evidence = evidence.as_table_mut().context("[evidence]")?;
            evidence.insert("archive_to".into(), format!("s3://{}/acme", Self::NAME).into());
            let mut bucket = toml::Table::new();
            let endpoint = if tls {
                format!("https://localhost:{port}")
            } else {
                format!("http://127.0.0.1:{port}")
            };
            bucket.insert("endpoint".into(), endpoint.into());
            bucket.insert(
                "credentials_file".into(),
                credentials.display().to_string().into(),
            );
            if tls {
                let authority = world.authority().pem().display().to_string();
                bucket.insert("ca_file".into(), authority.into());
            }
            evidence.insert("bucket".into(), bucket.into());
            Ok(())
        })?;
        Ok(server)
    }

    /// From now on it behaves so.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn behave(&self, manner: Manner) -> Result<()> {
        let word = match manner {
            Manner::Honest => "honest",
            Manner::Drops => "drops",
            Manner::Changes => "changes",
            Manner::Away => "away",
        };
        // Whole or not at all: it is read for every request.
        let aside = self.manner.with_extension("new");
        std::fs::write(&aside, word)?;
        Ok(std::fs::rename(aside, &self.manner)?)
    }
}

impl Drop for BucketServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
