//! Acts that wait: asked once, decided once, by another person, and done in the clause's name.

use base::{ArtifactState, Reason, Sha256Digest};

use super::*;
use crate::api::types::{DecideAppealRequest, DecideRequest, WaitingQuery};
use crate::store::{NewAppeal, NewWaitingAct};
use crate::testing::{Build, NOW, PLUGIN, Site, build};
use crate::words::{AppealOutcome, AppealReason, WaitingState};

fn act_on(build: &Build, due_at: Option<Timestamp>) -> NewWaitingAct {
    NewWaitingAct {
        plugin_id: PLUGIN.parse().unwrap(),
        artifact_digest: build.digest,
        action: Action::Quarantine,
        reason: Reason::UndeclaredHost,
        clause: "tiers.medium.on_breach".into(),
        enabled_by: "ops".into(),
        why: "11 running plugins would stop and the clause allows 10".into(),
        due_at,
        expires_at: NOW.plus_seconds(3600),
    }
}

fn decision(approve: bool, who: &str) -> DecideRequest {
    DecideRequest {
        approve,
        who: who.into(),
        note: None,
    }
}

async fn admitted(site: &Site) -> (Office, Build) {
    let (office, build) = (site.office().await, build("1.0"));
    office.admit(build.admit()).await.unwrap();
    (office, build)
}

async fn state(office: &Office, build: &Build) -> ArtifactState {
    office.artifact(build.digest).await.unwrap().artifact.state
}

async fn waiting(office: &Office) -> Vec<WaitingState> {
    let list = office.waiting(WaitingQuery::default()).await.unwrap();
    list.waiting.iter().map(|act| act.state).collect()
}

#[tokio::test]
async fn asking_for_the_same_while_it_waits_is_asking_once() {
    let site = Site::new();
    let (office, build) = admitted(&site).await;
    office.put_off(act_on(&build, None)).await.unwrap();
    office.put_off(act_on(&build, None)).await.unwrap();
    assert_eq!(waiting(&office).await, [WaitingState::Waiting]);
}

#[tokio::test]
async fn whoever_switched_the_clause_on_is_no_second_person() {
    let site = Site::new();
    let (office, build) = admitted(&site).await;
    office.put_off(act_on(&build, None)).await.unwrap();
    let refused = office.decide(1, decision(true, "Ops")).await.unwrap_err();
    assert_eq!(refused.code(), "same_person");
    assert_eq!(state(&office, &build).await, ArtifactState::Admitted);

    let done = office.decide(1, decision(true, "ada")).await.unwrap();
    assert_eq!(
        (done.state, done.decided_by.as_deref()),
        (WaitingState::Approved, Some("ada"))
    );
    assert_eq!(state(&office, &build).await, ArtifactState::Quarantined);
    let acts = office.store().acts(10).await.unwrap();
    let hold = acts.iter().find(|act| act.action == Action::Quarantine).unwrap();
    assert_eq!(hold.who, "ada");
    assert_eq!(hold.clause.as_deref(), Some("tiers.medium.on_breach"));
    assert_eq!(hold.enabled_by.as_deref(), Some("ops"));
    assert_eq!(hold.crl_number, done.crl_number);
    assert!(acts.iter().any(|act| act.action == Action::ApproveAct));
    // And once is once.
    let again = office.decide(1, decision(false, "ada")).await.unwrap_err();
    assert_eq!(again.code(), "already_decided");
}

#[tokio::test]
async fn what_was_rejected_is_not_done() {
    let site = Site::new();
    let (office, build) = admitted(&site).await;
    office
        .put_off(act_on(&build, Some(NOW.plus_seconds(60))))
        .await
        .unwrap();
    // To leave things as they are takes no second person.
    office.decide(1, decision(false, "ops")).await.unwrap();
    site.clock.advance_seconds(120);
    office.upkeep().await.unwrap();
    assert_eq!(state(&office, &build).await, ArtifactState::Admitted);
    assert_eq!(waiting(&office).await, [WaitingState::Rejected]);
}

#[tokio::test]
async fn what_nobody_decides_lapses_and_what_is_announced_is_done_when_due() {
    let site = Site::new();
    let (office, build) = admitted(&site).await;
    office.put_off(act_on(&build, None)).await.unwrap();
    let other = NewWaitingAct {
        clause: "tiers.medium.clauses.slow".into(),
        ..act_on(&build, Some(NOW.plus_seconds(7200)))
    };
    office.put_off(other).await.unwrap();
    site.clock.advance_seconds(3600);
    office.upkeep().await.unwrap();
    assert_eq!(
        waiting(&office).await,
        [WaitingState::Waiting, WaitingState::Expired]
    );
    assert_eq!(state(&office, &build).await, ArtifactState::Admitted);
    assert_eq!(
        office.decide(1, decision(true, "ada")).await.unwrap_err().code(),
        "already_decided"
    );

    site.clock.advance_seconds(3600);
    office.upkeep().await.unwrap();
    assert_eq!(
        waiting(&office).await,
        [WaitingState::Done, WaitingState::Expired]
    );
    assert_eq!(state(&office, &build).await, ArtifactState::Quarantined);
}

#[tokio::test]
async fn what_was_announced_is_not_done_once_the_owner_won_an_appeal() {
    let site = Site::new();
    let (office, build) = admitted(&site).await;
    let announced = |due_s| NewWaitingAct {
        expires_at: NOW.plus_seconds(1000 * 24 * 3600),
        ..act_on(&build, Some(NOW.plus_seconds(due_s)))
    };
    office.put_off(announced(3600)).await.unwrap();
    let new = NewAppeal {
        plugin_id: PLUGIN.parse().unwrap(),
        artifact_digest: build.digest,
        finding_id: "finding".into(),
        report_id: Sha256Digest::of(b"report"),
        finding: "undeclared_host paste.example".into(),
        reason: AppealReason::ALL[0],
        statement: Some("it is ours".into()),
        opened_by: "owner".into(),
        acknowledge_by: NOW.plus_seconds(60),
        respond_by: NOW.plus_seconds(60),
        decide_by: NOW.plus_seconds(60),
    };
    let opened = act(NOW, "owner", Action::AppealOpened, "finding", None);
    let appeal = office
        .store()
        .open_appeal(new, NOW, opened)
        .await
        .unwrap()
        .unwrap();
    let granted = DecideAppealRequest {
        outcome: AppealOutcome::Granted,
        decision: "the host was declared".into(),
        who: "ada".into(),
    };
    let granted = office.decide_appeal(appeal, granted).await.unwrap();
    let until = granted.protected_until.unwrap();

    site.clock.advance_seconds(3600);
    office.upkeep().await.unwrap();
    assert_eq!(waiting(&office).await, [WaitingState::Expired]);
    assert_eq!(state(&office, &build).await, ArtifactState::Admitted);
    let list = office.waiting(WaitingQuery::default()).await.unwrap();
    let note = list.waiting[0].note.clone().unwrap();
    assert!(note.contains("the owner won an appeal"), "{note}");

    // Once the time is over, clauses speak again.
    let protected_s = (until.unix_us() - NOW.unix_us()) / 1_000_000;
    office.put_off(announced(protected_s)).await.unwrap();
    site.clock.advance_seconds(protected_s - 3600);
    office.upkeep().await.unwrap();
    assert_eq!(state(&office, &build).await, ArtifactState::Quarantined);
}
