//! Changing the revocation list: signed, durable, enforced, recorded, and only then acknowledged.
//!
//! The list is a folder of its own and the registry a database, so no transaction spans the two. The
//! order is: note in the registry what the next list will carry; make that list durable; tell the
//! gateways; record acts and states, and drop the note. Whatever is interrupted is finished at the
//! next start ([`Office::settle`]): if the noted list made it to disk its acts are recorded, and if
//! not, nothing happened and nobody was told that it had.

use std::collections::BTreeSet;
use std::time::Instant;

use base::{ArtifactDigest, ArtifactState};
use crl::{Change, Effect, KillScope, List, Listed};
use seal::trust::Role;

use super::names::{check_note, check_who};
use super::{Office, OfficeError, act, authorise};
use crate::api::types::{
    ChangeRequest, KillRequest, KillTarget, KillView, ListAct, ListPublished, StateView, Target,
};
use crate::gateways::{KillReport, Stop};
use crate::store::{Act, ArtifactNames, StoreError};
use crate::words::Action;

/// Changes that go out in one list at most.
const MAX_CHANGES: usize = 256;

impl Office {
    /// Quarantines, revokes and reinstates; all changes in one list, or none.
    ///
    /// # Errors
    /// [`OfficeError::Change`] where a change may not be made (a revocation is final), or whatever
    /// kept the list from being issued.
    pub async fn change_list(&self, request: ChangeRequest) -> Result<ListPublished, OfficeError> {
        check_who(&request.who)?;
        check_note(request.note.as_deref())?;
        if !(1..=MAX_CHANGES).contains(&request.changes.len()) {
            return Err(OfficeError::Request {
                what: format!(
                    "a request has 1 to {MAX_CHANGES} changes, not {}",
                    request.changes.len()
                ),
            });
        }
        if request.clause.is_some() != request.enabled_by.is_some() {
            return Err(OfficeError::Request {
                what: "an automatic act names both its clause and who enabled it".to_owned(),
            });
        }
        let mut changes = Vec::new();
        let mut acts = Vec::new();
        for change in &request.changes {
            let listed = listed(&change.target);
            let (change_of_list, action) = match change.action {
                ListAct::Quarantine => (Change::hold(listed, change.reason), Action::Quarantine),
                ListAct::Revoke => (Change::revoke(listed, change.reason), Action::Revoke),
                ListAct::Reinstate => (Change::release(listed, change.reason), Action::Reinstate),
            };
            changes.push(change_of_list);
            acts.push(Act {
                reason: Some(change.reason),
                clause: request.clause.clone(),
                enabled_by: request.enabled_by.clone(),
                ..act(
                    self.now(),
                    &request.who,
                    action,
                    &change.target,
                    request.note.clone(),
                )
            });
        }
        self.publish(changes, acts).await
    }

    /// Throws the kill switch, or releases it.
    ///
    /// # Errors
    /// As [`Office::change_list`].
    pub async fn kill(&self, request: KillRequest) -> Result<ListPublished, OfficeError> {
        check_who(&request.who)?;
        check_note(request.note.as_deref())?;
        let scope = match &request.target {
            KillTarget::All => KillScope::Everything,
            KillTarget::Plugin(plugin_id) => KillScope::Plugins([plugin_id.clone()].into()),
            KillTarget::Artifact(digest) => return self.kill_artifact(*digest, request).await,
        };
        let (change, action) = if request.lift {
            (Change::KillOff(scope), Action::LiftKill)
        } else {
            (Change::KillOn(scope), Action::Kill)
        };
        let act = Act {
            reason: request.reason,
            ..act(self.now(), &request.who, action, &request.target, request.note)
        };
        self.publish(vec![change], vec![act]).await
    }

    /// One build is stopped by holding it: the switch knows plugins, and a hold is as reversible.
    async fn kill_artifact(
        &self,
        digest: ArtifactDigest,
        request: KillRequest,
    ) -> Result<ListPublished, OfficeError> {
        if request.lift {
            return Err(OfficeError::Request {
                what: format!("a killed artifact is on hold; lift that with: bailiwick reinstate {digest}"),
            });
        }
        let Some(reason) = request.reason else {
            return Err(OfficeError::Request {
                what: "killing one artifact puts it on hold, which needs a reason; add --reason".to_owned(),
            });
        };
        let act = Act {
            reason: Some(reason),
            ..act(self.now(), &request.who, Action::Kill, digest, request.note)
        };
        self.publish(vec![Change::hold(Listed::Artifact(digest), reason)], vec![act])
            .await
    }

    async fn publish(&self, changes: Vec<Change>, acts: Vec<Act>) -> Result<ListPublished, OfficeError> {
        let office = self.clone();
        self.to_the_end(async move { office.publish_now(changes, acts).await })
            .await
    }

    async fn publish_now(&self, changes: Vec<Change>, acts: Vec<Act>) -> Result<ListPublished, OfficeError> {
        let inner = &self.inner;
        let _one_at_a_time = inner.changing.lock().await;
        self.settle_locked().await?;
        let before = inner.keeper.current();
        let effects = crl::preview(Some(before.list()), &changes)?;
        // What the list says already is no act; the tunnels are cut once more all the same.
        let acts: Vec<Act> = acts
            .into_iter()
            .zip(&effects)
            .filter(|(_, effect)| **effect == Effect::Changed)
            .map(|(act, _)| act)
            .collect();
        let number = before.list().crl_number() + u64::from(!acts.is_empty());
        let acts: Vec<Act> = acts
            .into_iter()
            .map(|act| Act {
                crl_number: Some(number),
                ..act
            })
            .collect();
        // Asked before the list is issued: from then on nothing may keep the gateways waiting.
        let stop = stop(&changes, &inner.store.artifact_names().await?);
        if !acts.is_empty() {
            self.issue(changes, Some((number, acts.clone()))).await?;
        }
        let signed = Instant::now();
        let list = inner.keeper.current();
        let reports = inner.gateways.apply_list(list.list().clone().into(), stop).await;
        let elapsed_ms = signed.elapsed().as_secs_f64() * 1000.0;
        let states = match acts.is_empty() {
            true => Vec::new(),
            false => {
                self.record(list.list(), acts)
                    .await
                    .map_err(|source| OfficeError::InForceUnrecorded {
                        crl_number: number,
                        source,
                    })?
            }
        };
        Ok(published(list.list(), &states, reports, elapsed_ms))
    }

    /// Records the acts that `list` carries and the states that follow from it.
    async fn record(
        &self,
        list: &List,
        acts: Vec<Act>,
    ) -> Result<Vec<(ArtifactDigest, ArtifactState)>, StoreError> {
        let store = &self.inner.store;
        let states = states(list, &store.artifact_names().await?);
        store.record_change(acts, states.clone(), self.now()).await?;
        Ok(states)
    }

    /// Notes `acts`, then issues the list that carries them.
    async fn issue(&self, changes: Vec<Change>, acts: Option<(u64, Vec<Act>)>) -> Result<(), OfficeError> {
        let inner = &self.inner;
        let root = self.trust_root().await?;
        authorise(&root, &inner.keys.crl, Role::Crl, self.now())?;
        let noted = acts.is_some();
        if let Some((number, acts)) = acts {
            inner.store.note_change(number, acts).await?;
        }
        let (now, validity) = (self.now(), inner.settings.crl_validity);
        let issued = inner
            .keeper
            .issue(changes, &root, now, validity, &inner.keys.crl)
            .await;
        if let Err(error) = issued {
            if noted {
                // A note without its list is dropped at the next start anyway.
                let _ = inner.store.drop_change().await;
            }
            return Err(error);
        }
        Ok(())
    }

    /// Issues the first list, or renews the one in force if half its time is over.
    pub(super) async fn renew_list(&self) -> Result<(), OfficeError> {
        let office = self.clone();
        self.to_the_end(async move {
            let _one_at_a_time = office.inner.changing.lock().await;
            let now = office.now();
            let due = match office.inner.keeper.in_force() {
                None => true,
                Some(accepted) => {
                    let head = accepted.list().head();
                    let half_us = (head.next_update.unix_us() - head.this_update.unix_us()) / 2;
                    let renewal = base::Timestamp::from_unix_us(head.next_update.unix_us() - half_us);
                    now >= renewal || !accepted.list().freshness(now).is_fresh()
                }
            };
            if due {
                office.issue(Vec::new(), None).await?;
                office.tell_list().await;
            }
            Ok(())
        })
        .await
    }

    /// Renews the list if it is time and it can be done. Where it cannot, the list in force is asked,
    /// and the gate says for how long an old one will do.
    pub(super) async fn try_renew_list(&self) {
        if let Err(error) = self.renew_list().await {
            tracing::error!(error = %crate::error_line(&error), "the revocation list was not renewed");
        }
    }

    /// Tells the gateways which list is in force, without cutting anything.
    pub(super) async fn tell_list(&self) {
        let list = self.inner.keeper.current().list().clone();
        self.inner.gateways.apply_list(list.into(), Stop::default()).await;
    }

    /// Finishes what a crash interrupted.
    pub(super) async fn settle(&self) -> Result<(), OfficeError> {
        let _one_at_a_time = self.inner.changing.lock().await;
        self.settle_locked().await
    }

    async fn settle_locked(&self) -> Result<(), OfficeError> {
        let inner = &self.inner;
        let Some((number, acts)) = inner.store.pending_change().await? else {
            return Ok(());
        };
        match inner.keeper.in_force() {
            Some(accepted) if accepted.list().crl_number() >= number => {
                self.record(accepted.list(), acts).await?;
            }
            _ => inner.store.drop_change().await?,
        }
        Ok(())
    }
}

fn listed(target: &Target) -> Listed {
    match target {
        Target::Artifact(digest) => Listed::Artifact(*digest),
        Target::Signer(fingerprint) => Listed::Signer(*fingerprint),
        Target::Manifest(digest) => Listed::Manifest(*digest),
        Target::Plugin(plugin_id) => Listed::Plugin(plugin_id.clone()),
    }
}

/// What the changes stop, with keys and manifests resolved to the builds that rest on them.
fn stop(changes: &[Change], names: &[ArtifactNames]) -> Stop {
    let mut stop = Stop::default();
    for change in changes {
        match change {
            Change::KillOn(KillScope::Everything) => stop.everything = true,
            Change::KillOn(KillScope::Plugins(plugins)) => stop.plugins.extend(plugins.iter().cloned()),
            Change::KillOff(_) => {}
            Change::Entry {
                action: crl::Action::Release,
                ..
            } => {}
            Change::Entry { listed, .. } => match listed {
                Listed::Plugin(plugin_id) => {
                    stop.plugins.insert(plugin_id.clone());
                }
                Listed::Artifact(digest) => {
                    stop.artifacts.insert(*digest);
                }
                Listed::Signer(_) | Listed::Manifest(_) => {
                    stop.artifacts.extend(resting_on(listed, names));
                }
            },
        }
    }
    stop
}

fn resting_on(listed: &Listed, names: &[ArtifactNames]) -> BTreeSet<ArtifactDigest> {
    let rests = |names: &&ArtifactNames| names_of(names).contains(listed);
    names
        .iter()
        .filter(rests)
        .map(|names| names.artifact_digest)
        .collect()
}

/// Everything by which a list could name an artifact.
fn names_of(names: &ArtifactNames) -> [Listed; 4] {
    [
        Listed::Artifact(names.artifact_digest),
        Listed::Manifest(names.manifest_payload_sha256),
        Listed::Signer(names.signer),
        Listed::Plugin(names.plugin_id.clone()),
    ]
}

/// The states that follow from a list, for the artifacts that have another state now. The kill
/// switch changes no state: it is a switch, and when it is released everything is as it was.
fn states(list: &List, names: &[ArtifactNames]) -> Vec<(ArtifactDigest, ArtifactState)> {
    let mut changed = Vec::new();
    for artifact in names {
        let entries = names_of(artifact);
        let says = |action| {
            entries
                .iter()
                .filter_map(|listed| list.entry(listed))
                .any(|entry| entry.action == action)
        };
        let state = if artifact.state == ArtifactState::Revoked || says(crl::Action::Revoke) {
            ArtifactState::Revoked
        } else if says(crl::Action::Hold) && artifact.state.may_run() {
            ArtifactState::Quarantined
        } else if artifact.state == ArtifactState::Quarantined && !says(crl::Action::Hold) {
            ArtifactState::Reinstated
        } else {
            // What could not run anyway keeps its state, so that a lifted hold does not revive it.
            artifact.state
        };
        if state != artifact.state {
            changed.push((artifact.artifact_digest, state));
        }
    }
    changed
}

fn published(
    list: &List,
    states: &[(ArtifactDigest, ArtifactState)],
    reports: Vec<KillReport>,
    ms: f64,
) -> ListPublished {
    ListPublished {
        crl_number: list.crl_number(),
        this_update: list.head().this_update,
        artifacts: states
            .iter()
            .map(|&(artifact_digest, state)| StateView {
                artifact_digest,
                state,
            })
            .collect(),
        tunnels: reports.iter().map(|report| report.tunnels).sum(),
        ms,
        gateways: reports
            .into_iter()
            .map(|report| KillView {
                gateway: report.gateway,
                tunnels: report.tunnels,
                ms: report.elapsed.as_secs_f64() * 1000.0,
                error: report.error,
            })
            .collect(),
    }
}
