//! Manifests: what an owner declares about one artifact.
//!
//! Seven fields are required and enough; everything else narrows or explains. A field that is not
//! known is refused, because a misspelt limit must not pass as no limit.

mod error;
pub(crate) mod fields;
mod values;

use base::{ArtifactDigest, ObservedScheme, PluginId, Sha256Digest, Target, Timestamp, json};
use serde_json::{Map, Value, json};

pub use error::ManifestError;
pub use values::{ByteSize, Cpu, DataClass, Duration, InvalidValue, Requirement, VersionRange};

use crate::coverage::{Coverage, missed};
use crate::declaration::Declaration;
use crate::declarations::Declarations;
use crate::egress::GRAMMAR;
use fields::Fields;

/// The format of manifests that this version reads and writes.
pub const MANIFEST_VERSION: u64 = 1;
/// The most declarations in one manifest. Nobody reviews more.
pub const MAX_DECLARATIONS: usize = 1000;

const FIELDS: &[&str] = &[
    "manifest_version",
    "egress_grammar",
    "plugin_id",
    "version",
    "artifact_digest",
    "owner",
    "allowed_egress",
    "data_classes",
    "retention",
    "redaction",
    "sdk_allowlist",
    "limits",
    "capabilities",
    "permissions",
    "host_version",
    "sbom",
    "provenance",
    "built_by",
    "built_at",
];

/// What an owner declares about one artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The plugin's version.
    pub version: Option<String>,
    /// The artifact; only a draft lacks it.
    pub artifact_digest: Option<ArtifactDigest>,
    /// Who answers for the plugin.
    pub owner: Option<Owner>,
    /// Where the plugin connects. Empty: nowhere.
    pub allowed_egress: Declarations,
    /// Classes of data that the plugin handles.
    pub data_classes: Vec<DataClass>,
    /// How long the plugin keeps data.
    pub retention: Option<Duration>,
    /// How the plugin redacts data, in the owner's words.
    pub redaction: Option<String>,
    /// Libraries that may be inside, with their versions.
    pub sdk_allowlist: Vec<Requirement>,
    /// What the plugin may use.
    pub limits: Option<Limits>,
    /// Features of the host that the plugin asks for.
    pub capabilities: Option<Vec<String>>,
    /// What the plugin may touch on its host.
    pub permissions: Option<Permissions>,
    /// Versions of the host that the plugin works with.
    pub host_version: Option<VersionRange>,
    /// The bill of materials.
    pub sbom: Option<BoundDocument>,
    /// The build's provenance.
    pub provenance: Option<BoundDocument>,
    /// Who or what built the artifact.
    pub built_by: String,
    /// When the artifact was built.
    pub built_at: Timestamp,
}

/// Who answers for a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The owner's name.
    pub name: String,
    /// Where reports go.
    pub email: String,
}

/// What a plugin may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory.
    pub memory: Option<ByteSize>,
    /// Processors.
    pub cpu: Option<Cpu>,
    /// How long one run may take.
    pub wall_time: Option<Duration>,
    /// Connections in any minute.
    pub connections_per_minute: Option<u64>,
    /// Bytes that one run moves, in both directions together.
    pub bytes_per_run: Option<ByteSize>,
}

/// What a plugin may touch on its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// `fs.read`: paths read.
    pub fs_read: Option<Vec<String>>,
    /// `fs.write`: paths written.
    pub fs_write: Option<Vec<String>>,
    /// `proc.exec`: programs started.
    pub proc_exec: Option<Vec<String>>,
    /// `secrets.read`: secrets asked for.
    pub secrets_read: Option<Vec<String>>,
}

/// Another document, bound by its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundDocument {
    /// The document's file name.
    pub name: String,
    /// The document's digest.
    pub digest: Sha256Digest,
}

impl Manifest {
    /// Reads a manifest that says which artifact it is about.
    ///
    /// # Errors
    /// [`ManifestError`], naming the first field that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        Self::from_value(&json::parse(bytes)?)
    }

    /// Reads a manifest that may still lack `artifact_digest`.
    ///
    /// # Errors
    /// [`ManifestError`], naming the first field that is wrong.
    pub fn parse_draft(bytes: &[u8]) -> Result<Self, ManifestError> {
        Self::draft_from_value(&json::parse(bytes)?)
    }

    /// Takes a JSON value for a manifest that says which artifact it is about.
    ///
    /// # Errors
    /// [`ManifestError`], naming the first field that is wrong.
    pub fn from_value(value: &Value) -> Result<Self, ManifestError> {
        let manifest = Self::draft_from_value(value)?;
        match manifest.artifact_digest {
            Some(_) => Ok(manifest),
            None => Err(ManifestError::Missing {
                field: "artifact_digest".to_owned(),
            }),
        }
    }

    /// Takes a JSON value for a manifest that may still lack `artifact_digest`.
    ///
    /// # Errors
    /// [`ManifestError`], naming the first field that is wrong.
    pub fn draft_from_value(value: &Value) -> Result<Self, ManifestError> {
        let fields = Fields::of("", value, FIELDS)?;
        check_versions(&fields)?;
        Ok(Self {
            plugin_id: fields::parsed("plugin_id", fields.required("plugin_id")?)?,
            version: version(&fields)?,
            artifact_digest: fields.parsed("artifact_digest")?,
            owner: fields.optional("owner").map(Owner::from_value).transpose()?,
            allowed_egress: declarations(fields.required("allowed_egress")?)?.into(),
            data_classes: fields::list("data_classes", fields.required("data_classes")?)?,
            retention: fields.parsed("retention")?,
            redaction: fields.phrase("redaction")?,
            sdk_allowlist: fields::list("sdk_allowlist", fields.required("sdk_allowlist")?)?,
            limits: fields.optional("limits").map(Limits::from_value).transpose()?,
            capabilities: phrases(&fields, "capabilities")?,
            permissions: fields
                .optional("permissions")
                .map(Permissions::from_value)
                .transpose()?,
            host_version: fields.parsed("host_version")?,
            sbom: bound_document(&fields, "sbom")?,
            provenance: bound_document(&fields, "provenance")?,
            built_by: fields::phrase("built_by", fields.required("built_by")?)?,
            built_at: fields::parsed("built_at", fields.required("built_at")?)?,
        })
    }

    /// The manifest as JSON, every value in its one spelling. What was *signed* is the document as
    /// its owner wrote it; this is the same promise in canonical words.
    pub fn to_value(&self) -> Value {
        let mut object = Object::default();
        object.put("manifest_version", MANIFEST_VERSION);
        object.put("egress_grammar", GRAMMAR);
        object.put("plugin_id", self.plugin_id.as_str());
        object.maybe("version", self.version.as_deref());
        object.maybe(
            "artifact_digest",
            self.artifact_digest.map(|digest| digest.to_string()),
        );
        object.maybe(
            "owner",
            self.owner
                .as_ref()
                .map(|owner| json!({"name": owner.name, "email": owner.email})),
        );
        let egress: Vec<Value> = self.allowed_egress.iter().map(Declaration::to_value).collect();
        object.put("allowed_egress", egress);
        object.put("data_classes", fields::texts(&self.data_classes));
        object.maybe("retention", self.retention.as_ref().map(Duration::as_str));
        object.maybe("redaction", self.redaction.as_deref());
        object.put("sdk_allowlist", fields::texts(&self.sdk_allowlist));
        object.maybe("limits", self.limits.as_ref().map(Limits::to_value));
        object.maybe("capabilities", self.capabilities.clone());
        object.maybe(
            "permissions",
            self.permissions.as_ref().map(Permissions::to_value),
        );
        object.maybe(
            "host_version",
            self.host_version.as_ref().map(ToString::to_string),
        );
        object.maybe("sbom", self.sbom.as_ref().map(BoundDocument::to_value));
        object.maybe(
            "provenance",
            self.provenance.as_ref().map(BoundDocument::to_value),
        );
        object.put("built_by", self.built_by.as_str());
        object.put("built_at", self.built_at.to_string());
        Value::Object(object.0)
    }

    /// Whether a declaration covers a connection to `target` at the moment `at`, and if not, which
    /// comes nearest. Where nobody spoke yet (`None`), host and port decide.
    pub fn coverage(&self, target: &Target, observed: Option<ObservedScheme>, at: Timestamp) -> Coverage<'_> {
        match self.covering(target, observed, at) {
            Some(entry) => Coverage::Covered { entry },
            None => missed(&self.allowed_egress, target, observed, at),
        }
    }

    /// The declaration that covers a connection, as [`Self::coverage`] finds it. A miss is not explained,
    /// which makes it cheap.
    pub fn covering(
        &self,
        target: &Target,
        observed: Option<ObservedScheme>,
        at: Timestamp,
    ) -> Option<&Declaration> {
        self.allowed_egress.covering(target, observed, at)
    }
}

/// A JSON object under construction.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn maybe(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }
}

fn check_versions(fields: &Fields<'_>) -> Result<(), ManifestError> {
    if let Some(version) = fields.optional("manifest_version") {
        let Some(number) = version.as_u64() else {
            return Err(ManifestError::wrong_type(
                "manifest_version",
                "the number 1",
                version,
            ));
        };
        if number != MANIFEST_VERSION {
            return Err(ManifestError::Unsupported {
                field: "manifest_version",
                found: number.to_string(),
                known: "1",
            });
        }
    }
    if let Some(grammar) = fields.optional("egress_grammar") {
        let name = fields::text("egress_grammar", grammar)?;
        if name != GRAMMAR {
            return Err(ManifestError::Unsupported {
                field: "egress_grammar",
                found: format!("{:?}", name.chars().take(40).collect::<String>()),
                known: GRAMMAR,
            });
        }
    }
    Ok(())
}

fn version(fields: &Fields<'_>) -> Result<Option<String>, ManifestError> {
    let Some(value) = fields.optional("version") else {
        return Ok(None);
    };
    let text = fields::text("version", value)?;
    if values::is_version(text) {
        Ok(Some(text.to_owned()))
    } else {
        Err(ManifestError::value(
            "version".to_owned(),
            "write a version such as \"1.4.2\" (letters, digits and .+!_~:-)",
        ))
    }
}

fn declarations(value: &Value) -> Result<Vec<Declaration>, ManifestError> {
    let items = fields::items("allowed_egress", value)?;
    if items.len() > MAX_DECLARATIONS {
        return Err(ManifestError::value(
            "allowed_egress".to_owned(),
            format_args!(
                "{} entries are more than the {MAX_DECLARATIONS} allowed; use wildcards or networks",
                items.len()
            ),
        ));
    }
    items
        .iter()
        .enumerate()
        .map(|(index, item)| Declaration::from_value(&format!("allowed_egress[{index}]"), item))
        .collect()
}

fn phrases(fields: &Fields<'_>, name: &str) -> Result<Option<Vec<String>>, ManifestError> {
    let Some(value) = fields.optional(name) else {
        return Ok(None);
    };
    let path = fields.at(name);
    let items = fields::items(&path, value)?.iter().enumerate();
    items
        .map(|(index, item)| fields::phrase(&format!("{path}[{index}]"), item))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn bound_document(fields: &Fields<'_>, name: &str) -> Result<Option<BoundDocument>, ManifestError> {
    fields
        .optional(name)
        .map(|value| BoundDocument::from_value(name, value))
        .transpose()
}

impl Owner {
    fn from_value(value: &Value) -> Result<Self, ManifestError> {
        let fields = Fields::of("owner", value, &["name", "email"])?;
        let email = fields::text("owner.email", fields.required("email")?)?;
        if !values::is_mail_address(email) {
            return Err(ManifestError::value(
                "owner.email".to_owned(),
                "write one plain mail address such as \"team@example.com\"",
            ));
        }
        Ok(Self {
            name: fields::phrase("owner.name", fields.required("name")?)?,
            email: email.to_owned(),
        })
    }
}

impl Limits {
    fn from_value(value: &Value) -> Result<Self, ManifestError> {
        let known = [
            "memory",
            "cpu",
            "wall_time",
            "connections_per_minute",
            "bytes_per_run",
        ];
        let fields = Fields::of("limits", value, &known)?;
        let wall_time = fields.optional("wall_time").map(|value| {
            Duration::parse_exact(fields::text("limits.wall_time", value)?)
                .map_err(|error| ManifestError::value("limits.wall_time".to_owned(), error))
        });
        Ok(Self {
            memory: fields.parsed("memory")?,
            cpu: fields.parsed("cpu")?,
            wall_time: wall_time.transpose()?,
            connections_per_minute: fields.count("connections_per_minute")?,
            bytes_per_run: fields.parsed("bytes_per_run")?,
        })
    }

    fn to_value(&self) -> Value {
        let mut object = Object::default();
        object.maybe("memory", self.memory.map(|size| size.to_string()));
        object.maybe("cpu", self.cpu.map(|cpu| cpu.to_string()));
        object.maybe("wall_time", self.wall_time.as_ref().map(Duration::as_str));
        object.maybe("connections_per_minute", self.connections_per_minute);
        object.maybe("bytes_per_run", self.bytes_per_run.map(|size| size.to_string()));
        Value::Object(object.0)
    }
}

impl Permissions {
    fn from_value(value: &Value) -> Result<Self, ManifestError> {
        let known = ["fs.read", "fs.write", "proc.exec", "secrets.read"];
        let fields = Fields::of("permissions", value, &known)?;
        Ok(Self {
            fs_read: phrases(&fields, "fs.read")?,
            fs_write: phrases(&fields, "fs.write")?,
            proc_exec: phrases(&fields, "proc.exec")?,
            secrets_read: phrases(&fields, "secrets.read")?,
        })
    }

    fn to_value(&self) -> Value {
        let mut object = Object::default();
        object.maybe("fs.read", self.fs_read.clone());
        object.maybe("fs.write", self.fs_write.clone());
        object.maybe("proc.exec", self.proc_exec.clone());
        object.maybe("secrets.read", self.secrets_read.clone());
        Value::Object(object.0)
    }
}

impl BoundDocument {
    fn from_value(path: &str, value: &Value) -> Result<Self, ManifestError> {
        let fields = Fields::of(path, value, &["name", "digest"])?;
        let name_path = fields.at("name");
        let name = fields::phrase(&name_path, fields.required("name")?)?;
        if name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(ManifestError::value(
                name_path,
                "write a file name without a folder",
            ));
        }
        let digest_path = fields.at("digest");
        let digest = Fields::of(&digest_path, fields.required("digest")?, &["sha256"])?;
        let hex_path = digest.at("sha256");
        let hex = fields::text(&hex_path, digest.required("sha256")?)?;
        Ok(Self {
            name,
            digest: Sha256Digest::from_hex(hex).map_err(|error| ManifestError::value(hex_path, error))?,
        })
    }

    fn to_value(&self) -> Value {
        json!({"name": self.name, "digest": {"sha256": self.digest.to_hex()}})
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn classic() -> Value {
        json!({
            "plugin_id": "azure_openai_embeddings",
            "artifact_digest": DIGEST,
            "allowed_egress": ["acme.openai.azure.com"],
            "data_classes": ["official", "secret"],
            "sdk_allowlist": ["openai>=2.0,<3.0"],
            "built_by": "ci/elspeth",
            "built_at": "2025-10-15T10:32:01Z",
        })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut manifest = classic();
        manifest[field] = value;
        manifest
    }

    fn refusal(value: &Value) -> ManifestError {
        Manifest::from_value(value).unwrap_err()
    }

    #[test]
    fn the_seven_classic_fields_are_enough_and_each_is_needed() {
        let manifest = Manifest::from_value(&classic()).unwrap();
        assert_eq!(manifest.plugin_id.as_str(), "azure_openai_embeddings");
        assert_eq!(manifest.version, None);
        for field in classic().as_object().unwrap().keys() {
            let mut value = classic();
            value.as_object_mut().unwrap().remove(field);
            let field = field.clone();
            assert_eq!(refusal(&value), ManifestError::Missing { field });
        }
    }

    #[test]
    fn a_draft_may_lack_the_digest_alone() {
        let mut value = classic();
        value.as_object_mut().unwrap().remove("artifact_digest");
        let draft = Manifest::draft_from_value(&value).unwrap();
        assert_eq!(draft.artifact_digest, None);
        value.as_object_mut().unwrap().remove("built_by");
        assert!(Manifest::draft_from_value(&value).is_err());
    }

    #[test]
    fn an_empty_allowlist_declares_nothing_and_an_absent_one_is_no_manifest() {
        let manifest = Manifest::from_value(&with("allowed_egress", json!([]))).unwrap();
        assert!(manifest.allowed_egress.is_empty());
        let mut absent = classic();
        absent.as_object_mut().unwrap().remove("allowed_egress");
        assert_eq!(
            refusal(&absent).to_string(),
            "the manifest lacks \"allowed_egress\"; write [] to declare that nothing is connected to"
        );
        for other in [json!(null), json!("*"), json!({}), json!(true)] {
            assert_eq!(
                refusal(&with("allowed_egress", other)).code(),
                "manifest_field_type"
            );
        }
    }

    #[test]
    fn an_unknown_field_is_refused_with_the_nearest_known_name() {
        for (field, message) in [
            (
                "alowed_egress",
                "the manifest has an unknown field \"alowed_egress\"; did you mean \"allowed_egress\"?",
            ),
            (
                "built_by_whom",
                "the manifest has an unknown field \"built_by_whom\"; remove it",
            ),
        ] {
            assert_eq!(refusal(&with(field, json!([]))).to_string(), message);
        }
        let nested = with("limits", json!({"memmory": "1GiB"}));
        assert_eq!(
            refusal(&nested).to_string(),
            "the manifest has an unknown field \"limits.memmory\"; did you mean \"memory\"?"
        );
        let entry = with(
            "allowed_egress",
            json!([{"to": "a.example", "expire": "2027-01-01T00:00:00Z"}]),
        );
        assert_eq!(
            refusal(&entry).to_string(),
            "the manifest has an unknown field \"allowed_egress[0].expire\"; did you mean \"expires\"?"
        );
    }

    fn full() -> Value {
        json!({
            "manifest_version": 1, "egress_grammar": "bw-egress/1",
            "plugin_id": "azure_openai_embeddings", "version": "1.4.2",
            "artifact_digest": DIGEST,
            "owner": {"name": "Embeddings team", "email": "embeddings@acme.example"},
            "allowed_egress": [
                "acme.openai.azure.com",
                {"to": "*.blob.acme.example:443", "purpose": "model cache", "data_classes": ["official"]},
                {"to": "http://a.example", "methods": ["GET", "HEAD"], "expires": "2027-01-01T00:00:00Z"},
            ],
            "data_classes": ["official", "secret"], "retention": "P30D", "redaction": "hash-identifiers",
            "sdk_allowlist": ["openai>=2.0,<3.0"],
            "limits": {"memory": "512MiB", "cpu": "1", "wall_time": "15m", "connections_per_minute": 600},
            "capabilities": [],
            "permissions": {"fs.read": [], "fs.write": [], "proc.exec": [], "secrets.read": []},
            "host_version": ">=1.0",
            "sbom": {"name": "bom.cdx.json", "digest": {"sha256": &DIGEST[7..]}},
            "provenance": {"name": "provenance.sigstore.json", "digest": {"sha256": &DIGEST[7..]}},
            "built_by": "ci/elspeth", "built_at": "2025-10-15T10:32:01Z",
        })
    }

    #[test]
    fn every_field_is_read_and_written_back_as_the_same_promise() {
        let manifest = Manifest::from_value(&full()).unwrap();
        assert_eq!(Manifest::from_value(&manifest.to_value()).unwrap(), manifest);
        let limits = manifest.limits.as_ref().unwrap();
        assert_eq!(limits.memory.unwrap().bytes, 512 << 20);
        assert_eq!(limits.wall_time.as_ref().unwrap().whole_seconds(), Some(900));
        let written = manifest.to_value();
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&written).len(), names(&full()).len());
        assert_eq!(written["allowed_egress"][1]["to"], "*.blob.acme.example");
        assert_eq!(written["limits"]["wall_time"], "PT15M");
        assert_eq!(written["sbom"], full()["sbom"]);
        assert_eq!(written["permissions"], full()["permissions"]);
    }

    #[test]
    fn a_value_that_a_field_cannot_have_is_refused_with_the_path_of_the_field() {
        for (field, value, path) in [
            ("plugin_id", json!("Bad Id"), "plugin_id"),
            ("version", json!("1 2"), "version"),
            ("artifact_digest", json!("sha256:00"), "artifact_digest"),
            ("artifact_digest", json!(DIGEST.to_uppercase()), "artifact_digest"),
            (
                "owner",
                json!({"name": "x", "email": "a@b\r\nBcc: c@d"}),
                "owner.email",
            ),
            (
                "owner",
                json!({"name": "x\u{202e}", "email": "a@b.example"}),
                "owner.name",
            ),
            ("allowed_egress", json!(["a.example", "*"]), "allowed_egress[1]"),
            (
                "allowed_egress",
                json!([{"to": "a.example", "methods": []}]),
                "allowed_egress[0].methods",
            ),
            (
                "allowed_egress",
                json!([{"to": "a.example", "methods": ["get"]}]),
                "allowed_egress[0].methods[0]",
            ),
            (
                "allowed_egress",
                json!([{"to": "a.example", "expires": "tomorrow"}]),
                "allowed_egress[0].expires",
            ),
            ("allowed_egress", json!([7]), "allowed_egress[0]"),
            ("data_classes", json!(["official", ""]), "data_classes[1]"),
            ("retention", json!("30 days"), "retention"),
            ("sdk_allowlist", json!(["openai^2"]), "sdk_allowlist[0]"),
            ("limits", json!({"memory": "lots"}), "limits.memory"),
            (
                "limits",
                json!({"connections_per_minute": 0}),
                "limits.connections_per_minute",
            ),
            ("limits", json!({"wall_time": "P1M"}), "limits.wall_time"),
            ("permissions", json!({"fs.read": [1]}), "permissions.fs.read[0]"),
            ("host_version", json!("^1"), "host_version"),
            (
                "sbom",
                json!({"name": "../x", "digest": {"sha256": &DIGEST[7..]}}),
                "sbom.name",
            ),
            (
                "sbom",
                json!({"name": "x", "digest": {"sha256": DIGEST}}),
                "sbom.digest.sha256",
            ),
            ("built_by", json!(" "), "built_by"),
            ("built_by", json!("a\nb"), "built_by"),
            ("built_at", json!("2025-10-15"), "built_at"),
        ] {
            let message = refusal(&with(field, value.clone())).to_string();
            assert!(
                message.starts_with(&format!("{path}: ")),
                "{field} = {value}: {message}"
            );
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn a_later_format_is_refused_and_not_guessed() {
        for (field, value) in [
            ("manifest_version", json!(2)),
            ("egress_grammar", json!("bw-egress/2")),
        ] {
            assert_eq!(
                refusal(&with(field, value)).code(),
                "manifest_version_unsupported"
            );
        }
        for (field, value) in [("manifest_version", json!("1")), ("egress_grammar", json!(1))] {
            assert_eq!(refusal(&with(field, value)).code(), "manifest_field_type");
        }
    }

    #[test]
    fn a_document_that_could_be_read_in_two_ways_has_a_code_of_its_own() {
        let text = classic().to_string();
        let parse = |bytes: &[u8]| Manifest::parse(bytes).map_err(|error| error.code());
        assert!(parse(text.as_bytes()).is_ok());
        let twice = text.replacen('{', "{\"allowed_egress\":[\"b.example\"],", 1);
        assert_eq!(parse(twice.as_bytes()), Err("manifest_duplicate_key"));
        assert_eq!(
            parse(format!("\u{feff}{text}").as_bytes()),
            Err("manifest_byte_order_mark")
        );
        assert_eq!(
            parse(&text.as_bytes()[..text.len() - 1]),
            Err("manifest_not_json")
        );
        assert_eq!(parse("[".repeat(100).as_bytes()), Err("manifest_too_deep"));
        assert_eq!(parse(&vec![b' '; 10 << 20]), Err("manifest_too_large"));
        assert_eq!(parse(b"[]"), Err("manifest_field_type"));
    }

    #[test]
    fn more_declarations_than_anybody_reviews_are_refused() {
        let entries: Vec<String> = (0..=MAX_DECLARATIONS).map(|n| format!("h{n}.example")).collect();
        assert!(Manifest::from_value(&with("allowed_egress", json!(entries[1..]))).is_ok());
        assert_eq!(
            refusal(&with("allowed_egress", json!(entries))).code(),
            "manifest_field_value"
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-9i64..9).prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            Just(json!("a.example")),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("to|name|email|cpu|digest|sha256|[a-z]{1,4}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_value_of_any_field_makes_the_reader_panic(field in prop::sample::select(FIELDS), value in any_json()) {
            if let Ok(manifest) = Manifest::from_value(&with(field, value)) {
                prop_assert_eq!(Manifest::from_value(&manifest.to_value()).unwrap(), manifest);
            }
        }
    }
}
