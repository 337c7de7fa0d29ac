//! Admission: an artifact passes the load gate and enters the registry.

use std::cmp::Ordering;

use base::{PluginId, Tier};
use manifests::gate::{self, Admission, Floor, GatePolicy, GateRequest, compare_versions};
use seal::trust::TrustRoot;

use super::names::{check_components, check_file_name, check_note, check_who};
use super::{Office, OfficeError, act};
use crate::api::types::{AdmitRequest, Admitted, ArtifactView, PluginView, SetTierRequest};
use crate::policy::PolicyInForce;
use crate::revocations::ListAsRevocations;
use crate::store::{AdmissionRecord, ArtifactRecord, NewAdmission};
use crate::trust;
use crate::words::Action;

/// The documents of this moment that the gate rests on.
pub(super) struct Ground {
    trust: TrustRoot,
    policy: PolicyInForce,
    safe_mode: bool,
}

impl Office {
    /// Takes an artifact through the load gate and registers it.
    ///
    /// The plugin's other artifacts stay as they are unless the request says `supersede`: two
    /// versions side by side are ordinary, and taking one away is a decision of its own.
    ///
    /// # Errors
    /// [`OfficeError::Gate`] with the gate's own code, or whatever kept it from being asked.
    pub async fn admit(&self, request: AdmitRequest) -> Result<Admitted, OfficeError> {
        check_who(&request.who)?;
        check_file_name(&request.file_name)?;
        check_components(&request.components)?;
        let office = self.clone();
        self.to_the_end(async move { office.admit_now(request).await })
            .await
    }

    async fn admit_now(&self, request: AdmitRequest) -> Result<Admitted, OfficeError> {
        self.try_renew_list().await;
        let ground = self.ground().await?;
        let known = self.inner.store.artifact(request.artifact_digest).await?;
        let bundle = request.manifest_bundle.as_ref().map(|bytes| bytes.0.as_slice());
        let approval = request.approval_bundle.as_ref().map(|bytes| bytes.0.as_slice());
        let plugin = bundle.and_then(|bundle| claimed_plugin(bundle, &ground.trust));
        let siblings = match &plugin {
            Some(plugin_id) => self.inner.store.artifacts(Some(plugin_id.clone())).await?,
            None => Vec::new(),
        };
        let tier = match (request.tier, &plugin) {
            (Some(tier), _) => tier,
            (None, Some(plugin_id)) => self.tier_of(plugin_id, &ground.policy).await?,
            (None, None) => ground.policy.policy.default_tier,
        };
        let floor = floor(&siblings);
        let list = self.list();
        let admission = gate::admit(&GateRequest {
            now: self.now(),
            trust: &ground.trust,
            revocations: &ListAsRevocations(list.list()),
            artifact: &request.artifact_digest,
            bundle,
            first_seen: first_seen(known.as_ref(), bundle, approval),
            sidecar: request.manifest_json.as_ref().map(|bytes| bytes.0.as_slice()),
            approval,
            sbom: request.sbom_digest.as_ref(),
            floor: floor.as_ref(),
            policy: self.gate_policy(&ground, tier),
        })?;
        for notice in &admission.notices {
            tracing::warn!(artifact = %request.artifact_digest, %notice, "admitted");
        }
        if let Some(known) = known.filter(|known| known.plugin_id != admission.signed.manifest.plugin_id) {
            return Err(OfficeError::OtherPlugin {
                admitted: known.plugin_id,
                found: admission.signed.manifest.plugin_id,
            });
        }
        let mends = match request.mends {
            Some(finding_id) => {
                let manifest = &admission.signed.manifest;
                let is_approved = request.approval_bundle.is_some();
                Some(
                    self.mends(&finding_id, request.artifact_digest, manifest, is_approved)
                        .await?,
                )
            }
            None => None,
        };
        let (who, digest) = (request.who.clone(), request.artifact_digest);
        let mut admitted = self.register(request, admission, &siblings).await?;
        if let Some(mends) = mends {
            let (new, view) = mends.into_parts();
            let note = format!("mends finding {} on the {} lane", view.finding_id, view.lane);
            let act = act(self.now(), &who, Action::Remediate, digest, Some(note));
            self.inner.store.add_remediation(new, self.now(), act).await?;
            admitted.mends = Some(view);
        }
        Ok(admitted)
    }

    async fn register(
        &self,
        request: AdmitRequest,
        admission: Admission,
        siblings: &[ArtifactRecord],
    ) -> Result<Admitted, OfficeError> {
        let digest = request.artifact_digest;
        let notices = admission.notices.iter().map(ToString::to_string).collect();
        let superseded = siblings
            .iter()
            .filter(|sibling| request.supersede && sibling.artifact_digest != digest)
            .filter(|sibling| sibling.state.may_run())
            .map(|sibling| sibling.artifact_digest)
            .collect::<Vec<_>>();
        let manifest = admission.signed.manifest;
        let mut acts = vec![act(self.now(), &request.who, Action::Admit, digest, None)];
        acts.extend(
            superseded
                .iter()
                .map(|older| act(self.now(), &request.who, Action::Supersede, older, None)),
        );
        if let Some(tier) = request.tier {
            let note = Some(format!("tier {tier}, with the admission"));
            acts.push(act(
                self.now(),
                &request.who,
                Action::SetTier,
                &manifest.plugin_id,
                note,
            ));
        }
        let manifest_json = base::json::canonical(&admission.signed.document)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .expect("what was signed has a canonical form, and it is UTF-8");
        let new = NewAdmission {
            plugin_id: manifest.plugin_id,
            tier: request.tier,
            owner_name: manifest.owner.as_ref().map(|owner| owner.name.clone()),
            owner_email: manifest.owner.map(|owner| owner.email),
            artifact_digest: digest,
            version: manifest.version,
            file_name: request.file_name,
            size_bytes: request.size_bytes,
            supersede: request.supersede,
            admission: AdmissionRecord {
                manifest_json,
                manifest_payload_sha256: admission.signed.payload_digest,
                manifest_bundle: request.manifest_bundle.map(|bytes| bytes.0).unwrap_or_default(),
                approval_bundle: request.approval_bundle.map(|bytes| bytes.0),
                sbom_sha256: request.sbom_digest,
                components: request.components,
                signer: admission.signed.signer,
                admitted_at: self.now(),
                admitted_by: request.who,
            },
        };
        self.inner.store.admit(new, acts).await?;
        self.tell_facts().await?;
        let record = self.known_artifact(digest).await?;
        Ok(Admitted {
            artifact: ArtifactView::new(&record, admission.tier),
            superseded,
            notices,
            mends: None,
        })
    }

    /// Puts a plugin into a tier.
    ///
    /// # Errors
    /// [`OfficeError::Unknown`] where there is no such plugin.
    pub async fn set_tier(&self, request: SetTierRequest) -> Result<PluginView, OfficeError> {
        check_who(&request.who)?;
        check_note(request.note.as_deref())?;
        let mut act = act(
            self.now(),
            &request.who,
            Action::SetTier,
            &request.plugin_id,
            request.note,
        );
        // The act says which tier, whatever else the note says.
        act.note = Some(match act.note {
            Some(note) => format!("tier {}; {note}", request.tier),
            None => format!("tier {}", request.tier),
        });
        let plugin_id = request.plugin_id.clone();
        let office = self.clone();
        self.to_the_end(async move {
            let store = &office.inner.store;
            if !store.set_tier(plugin_id.clone(), request.tier, act).await? {
                return Err(unknown_plugin(&plugin_id));
            }
            office.tell_facts().await?;
            office.plugin(&plugin_id).await
        })
        .await
    }

    /// Asks the gate again about an artifact that was admitted: keys, lists and switches of this
    /// moment, the manifest of then. There is no floor, because the version was admitted before.
    pub(super) async fn ask_again(&self, record: &ArtifactRecord) -> Result<(Admission, Tier), OfficeError> {
        let ground = self.ground().await?;
        let tier = self.tier_of(&record.plugin_id, &ground.policy).await?;
        let list = self.list();
        let admission = gate::admit(&GateRequest {
            now: self.now(),
            trust: &ground.trust,
            revocations: &ListAsRevocations(list.list()),
            artifact: &record.artifact_digest,
            bundle: Some(&record.admission.manifest_bundle),
            first_seen: Some(record.admission.admitted_at),
            sidecar: None,
            approval: record.admission.approval_bundle.as_deref(),
            sbom: record.admission.sbom_sha256.as_ref(),
            floor: None,
            policy: self.gate_policy(&ground, tier),
        })?;
        Ok((admission, tier))
    }

    /// The tier in force for a plugin.
    pub(super) async fn tier_of(
        &self,
        plugin_id: &PluginId,
        policy: &PolicyInForce,
    ) -> Result<Tier, OfficeError> {
        let chosen = self.inner.store.plugin(plugin_id.clone()).await?;
        let chosen = chosen.and_then(|plugin| plugin.tier);
        Ok(chosen.unwrap_or(policy.policy.default_tier))
    }

    async fn ground(&self) -> Result<Ground, OfficeError> {
        let trust = self.trust_root().await?;
        trust::check_expiry(&self.inner.settings.root_path, &trust, self.now())?;
        Ok(Ground {
            trust,
            policy: self.policy().await?,
            safe_mode: self.safe_mode().await?,
        })
    }

    fn gate_policy(&self, ground: &Ground, tier: Tier) -> GatePolicy {
        GatePolicy {
            tier,
            approval_required: ground.policy.policy.approval_required(tier),
            revocation_grace_s: self.inner.settings.crl_grace_s,
            safe_mode: ground.safe_mode,
        }
    }
}

pub(super) fn unknown_plugin(plugin_id: &PluginId) -> OfficeError {
    OfficeError::Unknown {
        what: "plugin",
        name: plugin_id.to_string(),
        command: "plugins",
    }
}

/// The plugin that a bundle is about, if any owner's key signed it. Only chooses which floor and
/// which tier the gate is asked about; whether the key may speak for that plugin is for the gate.
fn claimed_plugin(bundle: &[u8], trust: &TrustRoot) -> Option<PluginId> {
    let opened = trust
        .open(
            bundle,
            seal::trust::Role::Owner,
            seal::PredicateType::PluginManifest,
        )
        .ok()?;
    let claimed = opened.statement.predicate.get("plugin_id")?.as_str()?;
    claimed.parse().ok()
}

/// The documents' first passage through this gate, if these very bytes passed before, manifest and
/// approval alike. The registry is the witness: a key that ran out since was good when it signed. An
/// approval that is new was not signed then, however long the manifest has been known.
fn first_seen(
    known: Option<&ArtifactRecord>,
    bundle: Option<&[u8]>,
    approval: Option<&[u8]>,
) -> Option<base::Timestamp> {
    let admission = &known?.admission;
    let same_manifest = bundle == Some(admission.manifest_bundle.as_slice());
    let same_approval = approval.is_none() || approval == admission.approval_bundle.as_deref();
    (same_manifest && same_approval).then_some(admission.admitted_at)
}

/// The latest of what was admitted before, whatever became of it.
fn floor(siblings: &[ArtifactRecord]) -> Option<Floor> {
    let floors = siblings.iter().filter_map(|sibling| {
        let manifest = manifests::Manifest::parse(sibling.admission.manifest_json.as_bytes()).ok()?;
        Some(Floor {
            artifact: sibling.artifact_digest,
            version: manifest.version,
            built_at: manifest.built_at,
            signer: sibling.admission.signer,
        })
    });
    floors.max_by(|a, b| {
        let versions = match (&a.version, &b.version) {
            (Some(a), Some(b)) => compare_versions(a, b),
            (Some(_), None) => Ordering::Greater,
            (None, Some(_)) => Ordering::Less,
            (None, None) => Ordering::Equal,
        };
        versions.then(a.built_at.cmp(&b.built_at))
    })
}

#[cfg(test)]
mod tests {
    use base::{ArtifactState, Timestamp};

    use super::*;
    use crate::store::AdmissionRecord;

    #[test]
    fn documents_were_seen_before_only_together() {
        let moment = Timestamp::from_unix_us(1_795_000_000_000_000);
        let digest = base::Sha256Digest::of(b"x");
        let mut known = ArtifactRecord {
            artifact_digest: base::ArtifactDigest::new(digest),
            plugin_id: "acme.weather".parse().unwrap(),
            version: None,
            state: ArtifactState::Admitted,
            file_name: "plugin.whl".to_owned(),
            size_bytes: 1,
            created_at: moment,
            changed_at: moment,
            admission: AdmissionRecord {
                manifest_json: "{}".to_owned(),
                manifest_payload_sha256: digest,
                manifest_bundle: b"manifest".to_vec(),
                approval_bundle: None,
                sbom_sha256: None,
                components: Vec::new(),
                signer: seal::SigningKey::ed25519_from_seed(&[1; 32])
                    .public()
                    .fingerprint(),
                admitted_at: moment,
                admitted_by: "ops".to_owned(),
            },
        };
        let seen = |known: &ArtifactRecord, bundle: &[u8], approval: Option<&[u8]>| {
            first_seen(Some(known), Some(bundle), approval)
        };
        assert_eq!(seen(&known, b"manifest", None), Some(moment));
        assert_eq!(seen(&known, b"other", None), None);
        assert_eq!(seen(&known, b"manifest", Some(b"approval")), None);
        known.admission.approval_bundle = Some(b"approval".to_vec());
        assert_eq!(seen(&known, b"manifest", Some(b"approval")), Some(moment));
        assert_eq!(seen(&known, b"manifest", Some(b"another")), None);
        assert_eq!(first_seen(None, Some(b"manifest"), None), None);
    }
}
