//! Plugins: an artifact, what its owner says about it, and the owner's key.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::World;

/// A signed plugin.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// Its id.
    pub id: String,
    /// The artifact's file.
    pub artifact: PathBuf,
    /// `sha256:…` of the artifact, computed here and not by the product.
    pub digest: String,
    /// The manifest as the owner wrote it.
    pub manifest: PathBuf,
    /// The signed bundle beside the artifact.
    pub bundle: PathBuf,
    /// The owner's private key.
    pub key: PathBuf,
    /// The owner's public key.
    pub public: PathBuf,
}

/// Builds a plugin; everything not said is valid.
pub struct PluginBuilder<'w> {
    world: &'w World,
    id: String,
    artifact: PathBuf,
    manifest: Value,
}

impl<'w> PluginBuilder<'w> {
    pub(crate) fn new(world: &'w World, id: &str) -> Self {
        // The seven fields that every manifest has, and an owner to write to.
        let manifest = json!({
            "plugin_id": id,
            "artifact_digest": null,
            "owner": {"name": format!("Owner of {id}"), "email": format!("{}@owner.example", id.replace('_', "-"))},
            "allowed_egress": [],
            "data_classes": ["official"],
            "sdk_allowlist": [],
            "built_by": "ci/tests",
            "built_at": "2026-11-01T10:32:01Z",
        });
        Self {
            world,
            id: id.to_owned(),
            artifact: PathBuf::new(),
            manifest,
        }
    }

    /// Declares these destinations.
    #[must_use]
    pub fn declares(mut self, egress: &[&str]) -> Self {
        self.manifest["allowed_egress"] = json!(egress);
        self
    }

    /// Sets any other field of the manifest.
    #[must_use]
    pub fn says(mut self, field: &str, value: Value) -> Self {
        self.manifest[field] = value;
        self
    }

    /// Takes a copy of `file` as the artifact.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn artifact(mut self, file: &Path) -> Result<Self> {
        let name = file.file_name().context("an artifact is a file")?;
        self.artifact = self.world.path(&name.to_string_lossy());
        std::fs::copy(file, &self.artifact).with_context(|| format!("copying {}", file.display()))?;
        Ok(self)
    }

    /// Writes `bytes` as the artifact `name`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn bytes(mut self, name: &str, bytes: &[u8]) -> Result<Self> {
        self.artifact = self.world.path(name);
        std::fs::write(&self.artifact, bytes)?;
        Ok(self)
    }

    /// Writes the manifest and makes the owner's key (once per plugin id), trusted for this plugin.
    /// Nothing is signed yet.
    ///
    /// # Errors
    /// When the product refuses.
    pub fn prepare(mut self) -> Result<Plugin> {
        if self.artifact.as_os_str().is_empty() {
            let (name, bytes) = (format!("{}.bin", self.id), format!("the code of {}\n", self.id));
            self = self.bytes(&name, bytes.as_bytes())?;
        }
        let digest = format!(
            "sha256:{}",
            hex::encode(Sha256::digest(std::fs::read(&self.artifact)?))
        );
        // `sign` fills the digest in; the owner need not compute it.
        if let Some(fields) = self.manifest.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        let key = self.world.path(&format!("owner-{}.pem", self.id));
        let plugin = Plugin {
            manifest: with_suffix(&self.artifact, ".manifest.json"),
            bundle: with_suffix(&self.artifact, ".PLUGIN_MANIFEST.sigstore.json"),
            public: key.with_extension("pub"),
            key,
            digest,
            id: self.id,
            artifact: self.artifact,
        };
        std::fs::write(&plugin.manifest, serde_json::to_vec_pretty(&self.manifest)?)?;
        if !plugin.key.exists() {
            self.world
                .ok(["key".as_ref(), "new".as_ref(), plugin.key.as_os_str()])?;
            self.world.ok([
                "trust".as_ref(),
                "add".as_ref(),
                plugin.public.as_os_str(),
                "--role".as_ref(),
                "owner".as_ref(),
                "--scope".as_ref(),
                plugin.id.as_ref(),
            ])?;
        }
        Ok(plugin)
    }

    /// Prepares and signs.
    ///
    /// # Errors
    /// When the product refuses.
    pub fn sign(self) -> Result<Plugin> {
        let world = self.world;
        let plugin = self.prepare()?;
        world.sign(&plugin)?.expect(0)?;
        Ok(plugin)
    }

    /// Prepares, signs and admits into `tier`.
    ///
    /// # Errors
    /// When the product refuses.
    pub fn admit(self, tier: &str) -> Result<Plugin> {
        let world = self.world;
        let plugin = self.sign()?;
        world.admit(&plugin, tier)?.expect(0)?;
        Ok(plugin)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
