//! A site in memory with real logs on disk, for tests. Everything is valid until a test says otherwise.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{ArtifactDigest, ArtifactState, Policy, RunId, Sha256Digest, Tier, Timestamp, Verdict};
use evidence::archive::{LocalStore, Store};
use evidence::{LogWriter, Origin};
use manifests::Manifest;
use reports::predicate::Period;
use seal::envelope::Unverified;
use seal::note::NoteVerifier;
use seal::{PredicateType, SigningKey};
use serde_json::json;

use crate::script::{Line, artifact, at, run, visit};
use crate::site::{
    Artifact, CrlOnFile, EarlierManifest, Gateway, PolicyOnFile, PreviousReport, Run, Site, SiteError,
};
use crate::{Auditor, Hypothesis, Night, NightOutcome, Proposal, Publication};

/// The length of the period that tests audit.
pub(crate) const NIGHT_S: i64 = 86_400;

/// A night in the making.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
    pub(crate) auditor: Auditor,
    pub(crate) artifacts: Vec<Artifact>,
    pub(crate) runs: Vec<Run>,
    pub(crate) policy: Policy,
    pub(crate) policy_signature: Option<Vec<u8>>,
    pub(crate) signed_exceptions: Vec<seal::exception::SignedException>,
    /// Checkpoints that somebody else holds, by gateway.
    pub(crate) held: BTreeMap<usize, String>,
    /// Checkpoints up to which a night before verified everything, by gateway.
    pub(crate) verified: BTreeMap<usize, String>,
    pub(crate) audited_to: Cell<Option<u64>>,
    lines: Vec<Vec<Line>>,
    /// Lines of the log that are appended and not under a checkpoint.
    pub(crate) unsigned: Vec<Line>,
    written: Cell<bool>,
    next_id: u32,
    crl_number: Cell<u64>,
    pub(crate) quarantined: RefCell<Vec<Proposal>>,
    pub(crate) asked: RefCell<Vec<Proposal>>,
    pub(crate) watched: RefCell<Vec<Proposal>>,
    pub(crate) published: RefCell<Vec<Publication>>,
    /// What reports are asked about now, as [`Site::turn_to`] was told.
    turned_to: RefCell<Option<(ArtifactDigest, Vec<RunId>)>>,
    pub(crate) fails_to_quarantine: bool,
    pub(crate) fails_to_publish: Cell<bool>,
    pub(crate) fails_to_keep: bool,
    pub(crate) lost_previous_reports: bool,
    /// Whether the site says that it has an archive.
    pub(crate) has_archive: Cell<bool>,
}

pub(crate) fn today() -> Period {
    Period {
        from: at(0),
        to: at(NIGHT_S),
    }
}

pub(crate) fn gateway_key(number: usize) -> SigningKey {
    SigningKey::ed25519_from_seed(&[u8::try_from(number).unwrap(); 32])
}

pub(crate) fn owner_key() -> SigningKey {
    SigningKey::ed25519_from_seed(&[100; 32])
}

/// Who signs policies and approvals.
pub(crate) fn certifier_key() -> SigningKey {
    SigningKey::ed25519_from_seed(&[101; 32])
}

/// The key of ada (1) or bob (2), who sign exceptions.
pub(crate) fn person_key(number: u8) -> SigningKey {
    SigningKey::ed25519_from_seed(&[110 + number; 32])
}

pub(crate) fn manifest(plugin: &str, egress: &[&str]) -> Manifest {
    let value = json!({
        "plugin_id": plugin,
        "version": "1.0.0",
        "artifact_digest": artifact(plugin),
        "owner": {"name": "The owners", "email": "owners@acme.example"},
        "allowed_egress": egress,
        "data_classes": ["official"],
        "sdk_allowlist": [],
        "built_by": "ci",
        "built_at": "2026-11-01T00:00:00Z",
    });
    Manifest::from_value(&value).unwrap()
}

impl Stage {
    pub(crate) fn new() -> Self {
        let key = SigningKey::ed25519_from_seed(&[200; 32]);
        Self {
            folder: tempfile::tempdir().unwrap(),
            auditor: Auditor {
                site: "acme".to_owned(),
                id: "auditor".to_owned(),
                version: "0.1.0".to_owned(),
                key_name: "auditor.pub".to_owned(),
                security_contact: "security@acme.example".to_owned(),
                appeals: reports::AppealClocks::default(),
                trust_root: trust_root(&key),
                key,
            },
            artifacts: Vec::new(),
            runs: Vec::new(),
            policy: Policy::initial("ops"),
            policy_signature: None,
            signed_exceptions: Vec::new(),
            held: BTreeMap::new(),
            verified: BTreeMap::new(),
            audited_to: Cell::new(None),
            lines: vec![Vec::new()],
            unsigned: Vec::new(),
            written: Cell::new(false),
            next_id: 0,
            crl_number: Cell::new(41),
            quarantined: RefCell::default(),
            asked: RefCell::default(),
            watched: RefCell::default(),
            published: RefCell::default(),
            turned_to: RefCell::default(),
            fails_to_quarantine: false,
            fails_to_publish: Cell::new(false),
            fails_to_keep: false,
            lost_previous_reports: false,
            has_archive: Cell::new(false),
        }
    }

    /// A plugin in the medium tier with one artifact and one run, declaring `egress`.
    pub(crate) fn declares(mut self, plugin: &str, egress: &[&str]) -> Self {
        let manifest = manifest(plugin, egress);
        let owner = owner_key();
        let file_name = format!("{plugin}-1.0.0.whl");
        let text = base::json::canonical(&manifest.to_value()).unwrap();
        let bundle = manifests::sign(&text, &file_name, &artifact(plugin), &owner).unwrap();
        let opened = Unverified::parse(&bundle)
            .unwrap()
            .verify([&owner.public()], PredicateType::PluginManifest)
            .unwrap();
        self.artifacts.push(Artifact {
            plugin_id: plugin.parse().unwrap(),
            artifact_digest: artifact(plugin),
            file_name,
            tier: Tier::Medium,
            state: ArtifactState::Admitted,
            is_running: true,
            manifest,
            manifest_payload: opened.payload_digest(),
            manifest_bundle: bundle,
            approval_bundle: None,
            approved_until: None,
            earlier: Vec::new(),
            components: Vec::new(),
            acts: Vec::new(),
            protected_until: None,
        });
        self.runs(plugin, 1)
    }

    /// One run more, from before the period until shortly before its end.
    pub(crate) fn runs(mut self, plugin: &str, number: u8) -> Self {
        self.runs.push(Run {
            run_id: run(plugin, number),
            plugin_id: plugin.parse().unwrap(),
            artifact_digest: artifact(plugin),
            started: at(-60),
            ended: Some(at(NIGHT_S - 60)),
            data_class: None,
            bytes_before: 0,
        });
        self
    }

    pub(crate) fn tier(mut self, tier: Tier) -> Self {
        self.artifacts.last_mut().unwrap().tier = tier;
        self
    }

    /// A declaration of an artifact runs out.
    pub(crate) fn expire(&mut self, artifact: usize, declaration: usize, at: Timestamp) {
        let declared = &mut self.artifacts[artifact].manifest.allowed_egress;
        declared.change(|list| list[declaration].expires = Some(at));
    }

    /// A connection that came and went.
    pub(crate) fn observes(mut self, plugin: &str, target: &str) -> Self {
        self.next_id += 1;
        let id = format!("c{}", self.next_id);
        let lines = visit(i64::from(self.next_id) * 10, &id, plugin, target);
        self.lines[0].extend(lines);
        self
    }

    /// An event of the first gateway, as it is.
    pub(crate) fn line(mut self, line: Line) -> Self {
        self.lines[0].push(line);
        self
    }

    /// One more gateway, with these events.
    pub(crate) fn gateway(mut self, lines: &[Line]) -> Self {
        let name = format!("gw-{}", self.lines.len() + 1);
        let own = |line: &Line| line.clone().with(|event| event.gateway = name.clone());
        let lines = lines.iter().map(own).collect();
        self.lines.push(lines);
        self
    }

    /// Has both people sign every exception of the policy, and the certifier the policy.
    pub(crate) fn signed(mut self) -> Self {
        use seal::exception::{SignedException, sign, words};
        let signed = self.policy.exceptions.iter().map(|exception| SignedException {
            words: words(exception),
            signatures: [1, 2]
                .map(|number| sign(exception, &person_key(number)).unwrap())
                .into(),
        });
        self.signed_exceptions = signed.collect();
        let statement = seal::Statement {
            subjects: vec![seal::Subject::new("policy.toml", &Sha256Digest::of(b"its bytes"))],
            predicate_type: PredicateType::Policy.uri().to_owned(),
            predicate: serde_json::to_value(&self.policy).unwrap(),
        };
        self.policy_signature = Some(seal::envelope::seal(&statement, &certifier_key()).unwrap());
        self
    }

    pub(crate) fn change(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn night(&self) -> Night<'_> {
        Night {
            auditor: &self.auditor,
            period: today(),
            now: at(NIGHT_S + 60),
            plugin_id: None,
            run_id: None,
            what_if: Hypothesis::default(),
            dry_run: false,
            lists_observed: true,
        }
    }

    pub(crate) fn audit(&self) -> NightOutcome {
        self.night().run(self).unwrap()
    }

    /// Audits, and gives the verdict on the plugin's artifact.
    pub(crate) fn verdict(&self, plugin: &str) -> Verdict {
        self.report(plugin, None).verdict
    }

    pub(crate) fn report(&self, plugin: &str, run: Option<RunId>) -> crate::Reported {
        let outcome = self.audit();
        assert_eq!(outcome.troubles, Vec::<String>::new());
        outcome
            .report(&plugin.parse().unwrap(), &artifact(plugin), run)
            .unwrap()
            .clone()
    }

    /// Audits, and gives the plugins that were put on hold.
    pub(crate) fn quarantined_by_night(&self) -> Vec<String> {
        self.audit();
        let held = self.quarantined.take();
        held.iter()
            .map(|proposal| proposal.plugin_id.to_string())
            .collect()
    }

    pub(crate) fn log_folder(&self, gateway: usize) -> PathBuf {
        self.folder.path().join(format!("gw-{gateway}"))
    }

    /// The archive, where there is one.
    fn archive(&self) -> Option<Arc<dyn Store>> {
        self.has_archive
            .get()
            .then(|| Arc::new(LocalStore::new(&self.archive_folder())) as Arc<dyn Store>)
    }

    /// The revocation list is what it was before anybody was stopped.
    pub(crate) fn reset_crl(&self) {
        self.crl_number.set(41);
    }

    pub(crate) fn archive_folder(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    /// The signed checkpoint of a gateway, as a witness would keep it.
    pub(crate) fn checkpoint(&self, gateway: usize) -> String {
        self.write_logs();
        fs::read_to_string(self.log_folder(gateway).join("checkpoint")).unwrap()
    }

    /// Every file of entries in a gateway's log.
    pub(crate) fn entry_files(&self, gateway: usize) -> Vec<PathBuf> {
        self.write_logs();
        let mut files = Vec::new();
        collect(&self.log_folder(gateway).join("tile/entries"), &mut files);
        assert!(!files.is_empty());
        files
    }

    pub(crate) fn write_logs(&self) {
        if self.written.replace(true) {
            return;
        }
        for (at, lines) in self.lines.iter().enumerate() {
            let number = at + 1;
            let origin: Origin = format!("acme/gw-{number}").parse().unwrap();
            let folder = self.log_folder(number);
            fs::create_dir_all(&folder).unwrap();
            let (mut log, _) = LogWriter::open(&folder, &origin, gateway_key(number)).unwrap();
            let mut events: Vec<_> = lines.iter().map(|line| line.0.clone()).collect();
            log.append(&mut events).unwrap();
            log.checkpoint().unwrap();
            if number == 1 && !self.unsigned.is_empty() {
                let mut events: Vec<_> = self.unsigned.iter().map(|line| line.0.clone()).collect();
                log.append(&mut events).unwrap();
            }
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
    files.sort();
}

fn trust_root(auditor: &SigningKey) -> Vec<u8> {
    use seal::trust::{Role, Signer, TrustRoot};
    let root_key = SigningKey::ed25519_from_seed(&[201; 32]);
    let signer = |role: Role, key: &SigningKey| Signer {
        name: role.to_string(),
        key: key.public(),
        role,
        scopes: vec!["*".parse().unwrap()],
        valid_from: at(-1000),
        valid_until: None,
    };
    let person = |name: &str, key: &SigningKey| Signer {
        name: name.to_owned(),
        ..signer(Role::Operator, key)
    };
    let root = TrustRoot::first(vec![root_key.public()], 1, at(1000 * NIGHT_S))
        .with_signer(signer(Role::Auditor, auditor))
        .with_signer(signer(Role::Owner, &owner_key()))
        .with_signer(signer(Role::Certifier, &certifier_key()))
        .with_signer(person("ada", &person_key(1)))
        .with_signer(person("bob", &person_key(2)));
    root.sign(&[&root_key]).unwrap()
}

impl Site for Stage {
    fn artifacts(&self, _: Period) -> Result<Vec<Artifact>, SiteError> {
        let mut artifacts = self.artifacts.clone();
        for artifact in &mut artifacts {
            let held = self.quarantined.borrow();
            if held
                .iter()
                .any(|proposal| proposal.artifact_digest == artifact.artifact_digest)
            {
                artifact.state = ArtifactState::Quarantined;
            }
        }
        Ok(artifacts)
    }

    fn runs(&self, period: Period) -> Result<Vec<Run>, SiteError> {
        let overlaps = |run: &&Run| run.started < period.to && run.ended.is_none_or(|end| end >= period.from);
        Ok(self.runs.iter().filter(overlaps).cloned().collect())
    }

    fn gateways(&self, _: Period) -> Result<Vec<Gateway>, SiteError> {
        self.write_logs();
        let gateway = |number: usize| Gateway {
            folder: self.log_folder(number),
            verifier: NoteVerifier::new(&format!("acme/gw-{number}"), &gateway_key(number).public()).unwrap(),
            known_checkpoint: self.held.get(&number).cloned(),
            verified: self.verified.get(&number).cloned(),
            witnesses: Vec::new(),
            audited_to: self.audited_to.get(),
            archive: self.archive(),
        };
        Ok((1..=self.lines.len()).map(gateway).collect())
    }

    fn policy(&self) -> Result<PolicyOnFile, SiteError> {
        Ok(PolicyOnFile {
            policy: self.policy.clone(),
            signature: self.policy_signature.clone(),
            exceptions: self.signed_exceptions.clone(),
        })
    }

    fn crl(&self) -> Result<CrlOnFile, SiteError> {
        Ok(CrlOnFile {
            crl_number: self.crl_number.get(),
            head_payload: Sha256Digest::of(b"head"),
            head_bundle: b"{}".to_vec(),
            body: Vec::new(),
        })
    }

    fn turn_to(&self, artifact: &Artifact, runs: &[RunId], _: Period) {
        *self.turned_to.borrow_mut() = Some((artifact.artifact_digest, runs.to_vec()));
    }

    fn previous_report(
        &self,
        artifact: &Artifact,
        run_id: Option<RunId>,
        period: Period,
    ) -> Result<Option<PreviousReport>, SiteError> {
        let turned_to = self.turned_to.borrow();
        let is_told = |(digest, runs): &(ArtifactDigest, Vec<RunId>)| {
            *digest == artifact.artifact_digest && run_id.is_none_or(|run_id| runs.contains(&run_id))
        };
        assert!(
            turned_to.as_ref().is_some_and(is_told),
            "asked about what nobody was told of"
        );
        if self.lost_previous_reports {
            return Err("no such file".into());
        }
        let published = self.published.borrow();
        let before = published.iter().rev().find(|publication| {
            let report = &publication.report;
            report.artifact_digest == artifact.artifact_digest
                && report.run_id == run_id
                && report.period.to <= period.from
        });
        Ok(before.map(|publication| PreviousReport {
            payload: publication.payload,
            report: publication.report.clone(),
        }))
    }

    fn stop(&self, proposal: &Proposal) -> Result<u64, SiteError> {
        if self.fails_to_quarantine {
            return Err("the disk is full".into());
        }
        self.quarantined.borrow_mut().push(proposal.clone());
        self.crl_number.set(self.crl_number.get() + 1);
        Ok(self.crl_number.get())
    }

    fn watch(&self, proposal: &Proposal) -> Result<(), SiteError> {
        self.watched.borrow_mut().push(proposal.clone());
        Ok(())
    }

    fn put_off(&self, proposal: &Proposal) -> Result<(), SiteError> {
        self.asked.borrow_mut().push(proposal.clone());
        Ok(())
    }

    fn publish(&self, publication: &Publication) -> Result<String, SiteError> {
        if self.fails_to_publish.replace(false) {
            return Err("the disk is full".into());
        }
        self.published.borrow_mut().push(publication.clone());
        Ok(format!("reports/{}", publication.payload))
    }

    fn keep(&self) -> Result<(), SiteError> {
        match self.fails_to_keep {
            true => Err("the disk went away".into()),
            false => Ok(()),
        }
    }
}

/// A manifest that was in force for an artifact until `until`.
pub(crate) fn was_in_force(until: Timestamp, manifest: Manifest, payload: &[u8]) -> EarlierManifest {
    EarlierManifest {
        until,
        manifest,
        payload: Sha256Digest::of(payload),
        bundle: Vec::new(),
        approval_bundle: None,
        approved_until: None,
    }
}

/// The digest by which tests name an artifact.
pub(crate) fn digest(plugin: &str) -> ArtifactDigest {
    artifact(plugin)
}

/// A moment of the day, for tests that only name the hour.
pub(crate) fn hour(hour: i64) -> Timestamp {
    at(hour * 3600)
}
