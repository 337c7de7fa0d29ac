//! Acts that wait: for a second person, because too much would stop, or for the end of a clause's grace.
//!
//! Whoever switched the clause on is the first person; the one who approves is another. What was
//! approved goes on the list in the clause's name, and the act says both.

use std::collections::HashMap;

use base::{ArtifactDigest, Timestamp};

use super::names::{check_note, check_who};
use super::{Office, OfficeError, act};
use crate::api::types::{
    ChangeRequest, DecideRequest, ListAct, ListChange, ListPublished, Target, WaitingList, WaitingQuery,
    WaitingView,
};
use crate::store::{Act, NewWaitingAct, WaitingAct, WaitingDecision};
use crate::words::{Action, WaitingState};

/// Rows listed unless asked otherwise, and at most.
const LISTED: u32 = 100;
const MAX_LISTED: u32 = 10_000;
/// Who an act is ascribed to that nobody decided.
const POLICY: &str = "policy";

impl Office {
    /// Acts that wait or waited, the latest first.
    ///
    /// # Errors
    /// [`OfficeError::Store`].
    pub async fn waiting(&self, query: WaitingQuery) -> Result<WaitingList, OfficeError> {
        self.inner.store.lapse_waiting_acts(self.now()).await?;
        let limit = query.limit.unwrap_or(LISTED).min(MAX_LISTED);
        let waiting = self.inner.store.waiting_acts(query.state, limit).await?;
        Ok(WaitingList {
            waiting: waiting.into_iter().map(WaitingView::from).collect(),
        })
    }

    /// Puts an act off; asked again while the same waits, it changes nothing.
    ///
    /// # Errors
    /// [`OfficeError::Store`].
    pub async fn put_off(&self, act: NewWaitingAct) -> Result<(), OfficeError> {
        self.inner.store.ask_to_wait(act, self.now()).await?;
        Ok(())
    }

    /// Puts an artifact that may run into the state `watch`, in a clause's name.
    ///
    /// # Errors
    /// [`OfficeError::Store`].
    pub async fn watch(
        &self,
        artifact_digest: ArtifactDigest,
        clause: &str,
        enabled_by: &str,
    ) -> Result<(), OfficeError> {
        let watch = Act {
            clause: Some(clause.to_owned()),
            enabled_by: Some(enabled_by.to_owned()),
            ..act(self.now(), POLICY, Action::Watch, artifact_digest, None)
        };
        self.inner.store.watch_artifact(artifact_digest, watch).await?;
        Ok(())
    }

    /// Approves an act that waits, which is then done at once, or rejects it.
    ///
    /// # Errors
    /// [`OfficeError::Unknown`] where there is none, [`OfficeError::Decided`] where it waits no more,
    /// [`OfficeError::SamePerson`] where the one who approves is the one who switched the clause on.
    pub async fn decide(&self, waiting_id: i64, request: DecideRequest) -> Result<WaitingView, OfficeError> {
        check_who(&request.who)?;
        check_note(request.note.as_deref())?;
        let office = self.clone();
        self.to_the_end(async move {
            office.inner.store.lapse_waiting_acts(office.now()).await?;
            let waiting = office.known_waiting(waiting_id).await?;
            if waiting.state != WaitingState::Waiting {
                return Err(OfficeError::Decided {
                    waiting_id,
                    state: waiting.state,
                });
            }
            let same = waiting
                .asked
                .enabled_by
                .trim()
                .eq_ignore_ascii_case(request.who.trim());
            if request.approve && same {
                return Err(OfficeError::SamePerson { who: request.who });
            }
            let crl_number = match request.approve {
                true => Some(office.carry_out(&waiting, &request.who).await?.crl_number),
                false => None,
            };
            let (state, action) = match request.approve {
                true => (WaitingState::Approved, Action::ApproveAct),
                false => (WaitingState::Rejected, Action::RejectAct),
            };
            let decision = WaitingDecision {
                state,
                by: request.who,
                at: office.now(),
                note: request.note,
                crl_number,
            };
            office.settle_waiting(waiting, decision, Some(action)).await
        })
        .await
    }

    /// Does what is due: acts whose grace is over, unless the artifact is stopped by now or its owner was
    /// right in an appeal meanwhile; what nobody decided in time lapses.
    pub(super) async fn do_what_is_due(&self) -> Result<(), OfficeError> {
        let now = self.now();
        self.inner.store.lapse_waiting_acts(now).await?;
        let due = self.inner.store.due_acts(now).await?;
        if due.is_empty() {
            return Ok(());
        }
        let protected: HashMap<_, _> = self.inner.store.protections(now).await?.into_iter().collect();
        for waiting in due {
            let office = self.clone();
            let protected_until = protected.get(&waiting.asked.plugin_id).copied();
            self.to_the_end(async move {
                let (state, note, crl_number) = match protected_until {
                    // What was announced before is no less automatic than what is done at once.
                    Some(until) => {
                        let note = format!("the owner won an appeal; until {until} a person decides");
                        (WaitingState::Expired, Some(note), None)
                    }
                    None => office.do_one(&waiting).await?,
                };
                let decision = WaitingDecision {
                    state,
                    by: POLICY.to_owned(),
                    at: office.now(),
                    note,
                    crl_number,
                };
                office.settle_waiting(waiting, decision, None).await
            })
            .await?;
        }
        Ok(())
    }

    /// Does one act that is due, and says how it ended.
    async fn do_one(
        &self,
        waiting: &WaitingAct,
    ) -> Result<(WaitingState, Option<String>, Option<u64>), OfficeError> {
        match self.carry_out(waiting, POLICY).await {
            Ok(published) => Ok((WaitingState::Done, None, Some(published.crl_number))),
            // It was revoked meanwhile, which is more than was asked for.
            Err(OfficeError::Change(refused)) => Ok((WaitingState::Expired, Some(refused.to_string()), None)),
            Err(error) => Err(error),
        }
    }

    async fn known_waiting(&self, waiting_id: i64) -> Result<WaitingAct, OfficeError> {
        let waiting = self.inner.store.waiting_act(waiting_id).await?;
        waiting.ok_or_else(|| OfficeError::Unknown {
            what: "waiting act",
            name: waiting_id.to_string(),
            command: "approve-act --list",
        })
    }

    /// Puts the artifact on the list in the clause's name. What the list says already is no act, so that
    /// doing it once more after a crash does nothing.
    async fn carry_out(&self, waiting: &WaitingAct, who: &str) -> Result<ListPublished, OfficeError> {
        let asked = &waiting.asked;
        let action = match asked.action {
            Action::Revoke => ListAct::Revoke,
            _ => ListAct::Quarantine,
        };
        self.change_list(ChangeRequest {
            changes: vec![ListChange {
                action,
                target: Target::Artifact(asked.artifact_digest),
                reason: asked.reason,
            }],
            who: who.to_owned(),
            note: Some(format!("waiting act {}: {}", waiting.waiting_id, asked.why)),
            clause: Some(asked.clause.clone()),
            enabled_by: Some(asked.enabled_by.clone()),
        })
        .await
    }

    async fn settle_waiting(
        &self,
        waiting: WaitingAct,
        decision: WaitingDecision,
        action: Option<Action>,
    ) -> Result<WaitingView, OfficeError> {
        let waiting_id = waiting.waiting_id;
        let acts = action.map(|action| decided(&waiting, &decision, action));
        let store = &self.inner.store;
        store
            .decide_waiting_act(waiting_id, decision, acts.into_iter().collect())
            .await?;
        self.known_waiting(waiting_id).await.map(WaitingView::from)
    }
}

fn decided(waiting: &WaitingAct, decision: &WaitingDecision, action: Action) -> Act {
    let asked = &waiting.asked;
    let at: Timestamp = decision.at;
    Act {
        reason: Some(asked.reason),
        crl_number: decision.crl_number,
        ..act(
            at,
            &decision.by,
            action,
            asked.artifact_digest,
            decision.note.clone(),
        )
    }
}
