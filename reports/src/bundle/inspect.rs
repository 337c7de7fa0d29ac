//! Inspecting: what of a bundle's contents is what it claims to be, file by file.
//!
//! Nothing is believed because it is in the bundle. Keys count if the trust root names them; the trust
//! root is the reader's own or, where they have none, the bundle's, and then the answer is only as good
//! as that file.

use std::collections::{BTreeMap, BTreeSet};

use base::{PluginId, Policy, Sha256Digest};
use evidence::witness::Cosigned;
use evidence::{Checkpoint, Event, verify_proof};
use seal::cosignature::CosignatureVerifier;
use seal::note::NoteVerifier;
use seal::trust::{Role, TrustRoot};
use seal::{PredicateType, PublicKey};

use super::{About, exceptions, layout};
use crate::sealed::open_report;

/// What was found out about a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The plugin that its documents name, where they agree on one.
    pub plugin_id: Option<PluginId>,
    /// Its files, in order.
    pub items: Vec<Item>,
    /// Events in it.
    pub events: u64,
    /// Those of them whose proof holds.
    pub proven: u64,
}

/// One file and what it is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name in the bundle.
    pub name: String,
    /// What it is worth.
    pub finding: Finding,
}

/// What a file is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is what it claims to be, and this is what it says.
    Verified(String),
    /// It is not what it claims to be.
    Refused(String),
    /// Nobody signed it, or nobody whom the trust root knows.
    Unsigned(String),
}

impl Inspection {
    /// Whether nothing in the bundle was refused.
    pub fn is_clean(&self) -> bool {
        self.items
            .iter()
            .all(|item| !matches!(item.finding, Finding::Refused(_)))
    }
}

/// Inspects the files of a bundle that was read, by the keys that `root` names.
pub fn inspect(files: &BTreeMap<String, Vec<u8>>, root: &TrustRoot) -> Inspection {
    let mut inspector = Inspector {
        files,
        root,
        logs: log_keys(files),
        witnesses: witness_keys(files),
        plugins: BTreeSet::new(),
        events: 0,
        proven: 0,
    };
    let mut items: Vec<Item> = files
        .iter()
        .map(|(name, bytes)| Item {
            name: name.clone(),
            finding: inspector.look(name, bytes),
        })
        .collect();
    let mut plugins = inspector.plugins.into_iter();
    let plugin_id = plugins.next();
    let others: Vec<String> = plugins.map(|plugin| plugin.to_string()).collect();
    if !others.is_empty() {
        items.push(Item {
            name: layout::VERIFY.to_owned(),
            finding: Finding::Refused(format!(
                "the bundle is about more than one plugin: also about {}",
                others.join(", ")
            )),
        });
    }
    Inspection {
        plugin_id,
        items,
        events: inspector.events,
        proven: inspector.proven,
    }
}

/// The keys of logs in the bundle, by the folder of their events.
fn log_keys(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, NoteVerifier> {
    let mut keys = BTreeMap::new();
    for (name, bytes) in files {
        let key = std::str::from_utf8(bytes)
            .ok()
            .filter(|_| name.starts_with("keys/") && name.ends_with(".vkey"))
            .and_then(|text| NoteVerifier::from_vkey(text.trim_end()).ok());
        if let Some(key) = key.filter(|key| layout::log_key(key.name()) == *name) {
            keys.insert(layout::events_of(key.name()), key);
        }
    }
    keys
}

fn witness_keys(files: &BTreeMap<String, Vec<u8>>) -> Vec<CosignatureVerifier> {
    let keys = files.iter().filter_map(|(name, bytes)| {
        let text = std::str::from_utf8(bytes).ok()?;
        let key = CosignatureVerifier::from_vkey(text.trim_end()).ok()?;
        (layout::witness_vkey(key.name()) == *name).then_some(key)
    });
    keys.collect()
}

struct Inspector<'a> {
    files: &'a BTreeMap<String, Vec<u8>>,
    root: &'a TrustRoot,
    logs: BTreeMap<String, NoteVerifier>,
    witnesses: Vec<CosignatureVerifier>,
    plugins: BTreeSet<PluginId>,
    events: u64,
    proven: u64,
}

type Look = Result<Finding, String>;

impl Inspector<'_> {
    fn look(&mut self, name: &str, bytes: &[u8]) -> Finding {
        let last = name.rsplit('/').next().unwrap_or(name);
        let looked = match name {
            layout::VERIFY => unsigned("commands to run; read them before you do"),
            layout::ABOUT => self.about(bytes),
            layout::INPUTS => self.inputs(),
            layout::NOTIFICATIONS => unsigned("as the site tells it"),
            layout::POLICY => self.policy(bytes),
            layout::POLICY_SIGNATURE => self.policy_signature(bytes),
            layout::TRUST_ROOT => self.trust_root(bytes),
            layout::CRL_HEAD => self.list_head(bytes),
            layout::CRL_BODY => self.list_body(bytes),
            _ if last == layout::MANIFEST => self.document(bytes, Role::Owner, PredicateType::PluginManifest),
            _ if name.contains("approvals/") => {
                self.document(bytes, Role::Certifier, PredicateType::Approval)
            }
            _ if name.starts_with("exceptions/") => self.exception(name, bytes),
            _ if name.starts_with("reports/") => self.report(bytes),
            _ if name.starts_with("events/") => self.event(name, bytes),
            _ if name.starts_with("checkpoints/") => self.checkpoint(name, bytes),
            _ if name.starts_with("keys/") => self.key(name, bytes),
            _ => Err("no file of a bundle has this name".to_owned()),
        };
        looked.unwrap_or_else(Finding::Refused)
    }

    fn about(&mut self, bytes: &[u8]) -> Look {
        let about = About::parse(bytes).map_err(|error| error.to_string())?;
        let words = format!(
            "about {} at {} from {} to {}",
            about.plugin_id, about.site, about.period.from, about.period.to
        );
        self.plugins.insert(about.plugin_id);
        Ok(Finding::Unsigned(words))
    }

    /// The site's own telling; what it says it relied on has to be here.
    fn inputs(&self) -> Look {
        for used in exceptions::uses(self.files)? {
            let place = format!(
                "{}{}",
                layout::folder_of_exception(&used.sha256),
                layout::EXCEPTION
            );
            if !self.files.contains_key(&place) {
                return Err(format!("it names an exception that is missing: {place}"));
            }
        }
        unsigned("as the site tells it")
    }

    /// The policy itself carries no signature; the one beside it may be about these very words.
    fn policy(&self, bytes: &[u8]) -> Look {
        let Some(bundle) = self.files.get(layout::POLICY_SIGNATURE) else {
            return unsigned("reports name its digest");
        };
        let (version, signer) = self.opened_policy(bundle, bytes)?;
        Ok(Finding::Verified(format!(
            "version {version}, signed by certifier key {signer}"
        )))
    }

    fn policy_signature(&self, bytes: &[u8]) -> Look {
        let policy = self
            .files
            .get(layout::POLICY)
            .ok_or("the policy that it signs is missing")?;
        self.opened_policy(bytes, policy)?;
        Ok(Finding::Verified(
            "the signature of the policy beside it".to_owned(),
        ))
    }

    /// The version of the policy whose words these are, and who signed it.
    fn opened_policy(&self, bundle: &[u8], words: &[u8]) -> Result<(u64, seal::Fingerprint), String> {
        let opened = self
            .root
            .open(bundle, Role::Certifier, PredicateType::Policy)
            .map_err(|error| error.to_string())?;
        let signed: Policy =
            serde_json::from_value(opened.statement.predicate).map_err(|error| error.to_string())?;
        if base::json::canonical(&signed).map_err(|error| error.to_string())? != words {
            return Err("the policy and its signature are about different words".to_owned());
        }
        Ok((signed.version, opened.signer))
    }

    fn exception(&mut self, name: &str, bytes: &[u8]) -> Look {
        if !name.ends_with(&format!("/{}", layout::EXCEPTION)) {
            return self.exception_signature(name, bytes);
        }
        let said = exceptions::verify(self.files, name, bytes, self.root)?;
        let exception = exceptions::read(name, bytes)?;
        self.plugins.insert(exception.plugin_id.clone());
        let policy = self
            .files
            .get(layout::POLICY)
            .ok_or("the policy that holds it is missing")?;
        let policy: Policy = base::json::parse(policy)
            .ok()
            .and_then(|value| serde_json::from_value(value).ok())
            .ok_or("the policy beside it cannot be read")?;
        if !policy.exceptions.contains(&exception) {
            return Err("the policy beside it does not hold it".to_owned());
        }
        Ok(Finding::Verified(said))
    }

    fn exception_signature(&self, name: &str, bytes: &[u8]) -> Look {
        let (folder, _) = name.rsplit_once('/').ok_or("no exception is beside it")?;
        let place = format!("{folder}/{}", layout::EXCEPTION);
        let words = self
            .files
            .get(&place)
            .ok_or("the exception that it signs is missing")?;
        let exception = exceptions::read(&place, words)?;
        let signer = seal::exception::signer(&exception, bytes, self.root)?;
        Ok(Finding::Verified(format!(
            "signed by {}, {} key {}",
            crate::escape::visible(&signer.name),
            signer.role,
            signer.key.fingerprint()
        )))
    }

    fn trust_root(&self, bytes: &[u8]) -> Look {
        let root = TrustRoot::parse(bytes).map_err(|error| error.to_string())?;
        let is_same = root == *self.root;
        let words = format!("version {}, signed by its own root keys", root.version);
        Ok(if is_same {
            Finding::Verified(words)
        } else {
            Finding::Unsigned(format!("{words}; not the one that was used here"))
        })
    }

    fn document(&mut self, bytes: &[u8], role: Role, predicate: PredicateType) -> Look {
        let opened = self
            .root
            .open(bytes, role, predicate)
            .map_err(|error| error.to_string())?;
        let plugin = opened.statement.predicate.get("plugin_id");
        if let Some(plugin) = plugin.and_then(|plugin| plugin.as_str()?.parse().ok()) {
            self.plugins.insert(plugin);
        }
        let subject = opened.statement.subjects.first();
        let about = subject.map_or("nothing", |subject| subject.name.as_str());
        Ok(Finding::Verified(format!(
            "about {}, signed by {role} key {}",
            crate::escape::visible(about),
            opened.signer
        )))
    }

    fn list_head(&self, bytes: &[u8]) -> Look {
        let opened = self
            .root
            .open(bytes, Role::Crl, PredicateType::Crl)
            .map_err(|error| error.to_string())?;
        let number = opened.statement.predicate.get("crl_number").cloned();
        Ok(Finding::Verified(format!(
            "list {}, signed by crl key {}",
            number.unwrap_or_default(),
            opened.signer
        )))
    }

    fn list_body(&self, bytes: &[u8]) -> Look {
        let head = self.files.get(layout::CRL_HEAD).ok_or("its head is missing")?;
        let opened = self
            .root
            .open(head, Role::Crl, PredicateType::Crl)
            .map_err(|_| "its head does not verify")?;
        let digest = Some(Sha256Digest::of(bytes));
        let is_named = |subject: &seal::Subject| subject.sha256() == digest;
        if opened.statement.subjects.iter().any(is_named) {
            Ok(Finding::Verified("as its head says".to_owned()))
        } else {
            Err("its head names another body".to_owned())
        }
    }

    fn report(&mut self, bytes: &[u8]) -> Look {
        let opened = open_report(bytes, self.root).map_err(|error| error.to_string())?;
        let report = opened.report;
        let words = format!(
            "{} from {} to {}, {} entries, signed by auditor key {}",
            report.verdict, report.period.from, report.period.to, report.coverage.events, opened.signer
        );
        self.plugins.insert(report.plugin_id);
        Ok(Finding::Verified(words))
    }

    fn event(&mut self, name: &str, bytes: &[u8]) -> Look {
        if let Some(entry) = name.strip_suffix(".tlog-proof") {
            return if self.files.contains_key(entry) {
                Ok(Finding::Verified("the proof of the entry beside it".to_owned()))
            } else {
                Err("the entry that it proves is missing".to_owned())
            };
        }
        self.events += 1;
        let (folder, file) = name.rsplit_once('/').ok_or("no log holds it")?;
        let event = Event::from_entry(bytes).map_err(|error| error.to_string())?;
        if file != format!("{}.json", event.seq) {
            return Err(format!("it says that it is entry {}", event.seq));
        }
        self.plugins.extend(event.plugin_id.clone());
        let proof = self.files.get(&format!("{name}.tlog-proof"));
        let Some(proof) = proof else {
            return unsigned("without proof");
        };
        let key = self.logs.get(folder).ok_or("the key of its log is missing")?;
        self.known_log(key)?;
        let text = std::str::from_utf8(proof).map_err(|_| "its proof is no text")?;
        let proven = verify_proof(text, bytes, key).map_err(|error| error.to_string())?;
        self.proven += 1;
        Ok(Finding::Verified(format!(
            "entry {} of {}, proven",
            proven.index,
            key.name()
        )))
    }

    /// Whether the trust root gives this key to a gateway.
    fn known_log(&self, key: &NoteVerifier) -> Result<(), String> {
        let is_same = |known: &PublicKey| NoteVerifier::new(key.name(), known).as_ref() == Ok(key);
        if self.root.keys(Role::Gateway).any(is_same) {
            Ok(())
        } else {
            Err("the trust root gives the key of its log to no gateway".to_owned())
        }
    }

    fn checkpoint(&self, name: &str, bytes: &[u8]) -> Look {
        let key = self
            .logs
            .values()
            .find(|key| {
                [layout::checkpoint(key.name()), layout::cosigned(key.name())].contains(&name.to_owned())
            })
            .ok_or("the key of its log is missing")?;
        self.known_log(key)?;
        let checkpoint = Checkpoint::open(bytes, key).map_err(|error| error.to_string())?;
        let mut words = format!("{} entries of {}", checkpoint.size(), checkpoint.origin());
        let cosigned = Cosigned::open(bytes, key).map_err(|error| error.to_string())?;
        for witness in &self.witnesses {
            match cosigned.cosigned_at(witness) {
                Ok(at) => {
                    let at = base::Timestamp::from_unix_us(
                        i64::try_from(at).unwrap_or(0).saturating_mul(1_000_000),
                    );
                    words.push_str(&format!(", cosigned by {} at {at}", witness.name()));
                }
                Err(seal::note::NoteError::Unsigned) => {}
                Err(_) => return Err(format!("the cosignature by {} does not verify", witness.name())),
            }
        }
        Ok(Finding::Verified(words))
    }

    fn key(&self, name: &str, bytes: &[u8]) -> Look {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is no text")?;
        if name.ends_with(".vkey") {
            if let Ok(witness) = CosignatureVerifier::from_vkey(text.trim_end()) {
                let is_known = self.root.keys(Role::Witness).any(|key| key == witness.key());
                return Ok(of_witness(witness.name(), is_known));
            }
            let key = NoteVerifier::from_vkey(text.trim_end()).map_err(|error| error.to_string())?;
            self.known_log(&key)?;
            return Ok(Finding::Verified(format!("the key of log {}", key.name())));
        }
        let key = PublicKey::from_pem(text).map_err(|error| error.to_string())?;
        if let Some(witness) = self.witnesses.iter().find(|witness| *witness.key() == key) {
            let is_known = self.root.keys(Role::Witness).any(|known| *known == key);
            return Ok(of_witness(witness.name(), is_known));
        }
        let roles = Role::ALL
            .into_iter()
            .filter(|role| self.root.keys(*role).any(|known| *known == key))
            .map(Role::as_str)
            .collect::<Vec<_>>();
        if roles.is_empty() {
            return Err("the trust root does not name this key".to_owned());
        }
        Ok(Finding::Verified(format!(
            "{} key {} of the trust root",
            roles.join(" and "),
            key.fingerprint()
        )))
    }
}

fn of_witness(name: &str, is_known: bool) -> Finding {
    if is_known {
        Finding::Verified(format!("the key of witness {name}"))
    } else {
        Finding::Unsigned(format!(
            "the key of witness {name}, which the trust root does not name; ask the witness"
        ))
    }
}

fn unsigned(words: &str) -> Look {
    Ok(Finding::Unsigned(words.to_owned()))
}
