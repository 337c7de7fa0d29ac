//! The store's promises, whatever the engine.

use base::{Reason, Verdict};

use super::*;
use crate::words::Action;

const NOW: Timestamp = Timestamp::from_unix_us(1_790_000_000_000_000);

struct Fixture {
    folder: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_sqlite(&folder.path().join("bailiwick.db"), NOW).unwrap();
        Self { folder, store }
    }

    /// What another process, or the next start, finds.
    fn reopened(&self) -> Store {
        Store::open_sqlite(&self.folder.path().join("bailiwick.db"), NOW).unwrap()
    }
}

fn digest(name: &str) -> ArtifactDigest {
    ArtifactDigest::new(Sha256Digest::of(name.as_bytes()))
}

fn plugin() -> PluginId {
    "acme.weather".parse().unwrap()
}

fn run_id(number: u8) -> RunId {
    RunId::from_parts(1_790_000_000_000, [number; 10])
}

fn admission(build: &str) -> NewAdmission {
    NewAdmission {
        plugin_id: plugin(),
        tier: Some(Tier::Medium),
        owner_name: Some("Weather team".into()),
        owner_email: None,
        artifact_digest: digest(build),
        version: Some("1.0".into()),
        file_name: format!("{build}.whl"),
        size_bytes: 12,
        supersede: false,
        admission: AdmissionRecord {
            manifest_json: "{}".into(),
            manifest_payload_sha256: Sha256Digest::of(b"payload"),
            manifest_bundle: b"bundle".to_vec(),
            approval_bundle: None,
            sbom_sha256: None,
            components: Vec::new(),
            signer: seal::SigningKey::ed25519_from_seed(&[1; 32])
                .public()
                .fingerprint(),
            admitted_at: NOW,
            admitted_by: "ops".into(),
        },
    }
}

fn act(action: Action) -> Act {
    Act {
        at: NOW,
        who: "ops".into(),
        action,
        target: "acme.weather".into(),
        reason: Some(Reason::UndeclaredHost),
        note: Some("seen by hand".into()),
        clause: None,
        enabled_by: None,
        crl_number: Some(7),
    }
}

fn run(number: u8, build: &str) -> RunRecord {
    RunRecord {
        run_id: run_id(number),
        artifact_digest: digest(build),
        plugin_id: plugin(),
        started_at: NOW,
        expires_at: NOW.plus_seconds(60),
        ended_at: None,
        exit_status: None,
        started_by: "ops".into(),
        listeners: vec!["unix:/run/bailiwick/x/proxy.sock".into(), "127.0.0.1:4711".into()],
        socket_uid: Some(1000),
        sources: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
        data_class: None,
    }
}

fn mail(message_id: &str, recipient: &str) -> NewMail {
    NewMail {
        message_id: message_id.into(),
        recipient: recipient.into(),
        sender: "bailiwick@acme.example".into(),
        subject: "A promise was broken".into(),
        topic: None,
        raw: b"Subject: x\r\n\r\nbody\r\n".to_vec(),
    }
}

#[tokio::test]
async fn an_admission_is_found_again_after_a_restart() {
    let fixture = Fixture::new();
    let new = admission("one");
    fixture
        .store
        .admit(new.clone(), vec![act(Action::Admit)])
        .await
        .unwrap();
    let store = fixture.reopened();
    let artifact = store.artifact(digest("one")).await.unwrap().unwrap();
    assert_eq!(artifact.state, ArtifactState::Admitted);
    assert_eq!(artifact.admission, new.admission);
    let plugin = store.plugin(plugin()).await.unwrap().unwrap();
    assert_eq!(plugin.tier, Some(Tier::Medium));
    assert_eq!(store.acts(10).await.unwrap(), [act(Action::Admit)]);
    assert_eq!(store.artifact(digest("two")).await.unwrap(), None);
}

#[tokio::test]
async fn a_second_passage_keeps_the_first_and_a_tier_that_nobody_changed() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store.admit(admission("one"), vec![]).await.unwrap();
    let mut again = admission("one");
    again.tier = None;
    again.owner_name = None;
    again.admission.manifest_payload_sha256 = Sha256Digest::of(b"wider");
    store.admit(again, vec![]).await.unwrap();
    let passages = store.admissions(digest("one")).await.unwrap();
    assert_eq!(passages.len(), 2);
    assert_eq!(passages[0].manifest_payload_sha256, Sha256Digest::of(b"payload"));
    let artifact = store.artifact(digest("one")).await.unwrap().unwrap();
    assert_eq!(
        artifact.admission.manifest_payload_sha256,
        Sha256Digest::of(b"wider")
    );
    let names = store.artifact_names().await.unwrap();
    assert_eq!(names.len(), 1);
    assert_eq!(names[0].manifest_payload_sha256, Sha256Digest::of(b"wider"));
    let plugin = store.plugin(plugin()).await.unwrap().unwrap();
    assert_eq!(plugin.tier, Some(Tier::Medium));
    assert_eq!(plugin.owner_name.as_deref(), Some("Weather team"));
}

#[tokio::test]
async fn older_artifacts_stay_admitted_unless_asked_otherwise() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store.admit(admission("one"), vec![]).await.unwrap();
    store.admit(admission("two"), vec![]).await.unwrap();
    let state = async |build| store.artifact(digest(build)).await.unwrap().unwrap().state;
    assert_eq!(state("one").await, ArtifactState::Admitted);
    let mut third = admission("three");
    third.supersede = true;
    store.admit(third, vec![]).await.unwrap();
    assert_eq!(state("one").await, ArtifactState::Superseded);
    assert_eq!(state("two").await, ArtifactState::Superseded);
    assert_eq!(state("three").await, ArtifactState::Admitted);
}

#[tokio::test]
async fn what_happened_cannot_be_changed_or_removed() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store
        .admit(admission("one"), vec![act(Action::Admit)])
        .await
        .unwrap();
    for sql in [
        "UPDATE acts SET who = 'nobody'",
        "DELETE FROM acts",
        "UPDATE admissions SET signer = 'x'",
        "DELETE FROM admissions",
    ] {
        let error = store.tamper(sql).unwrap_err();
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
    assert_eq!(store.acts(10).await.unwrap(), [act(Action::Admit)]);
}

#[tokio::test]
async fn a_revoked_artifact_never_comes_back() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store.admit(admission("one"), vec![]).await.unwrap();
    let record = async |state| {
        store
            .record_change(vec![], vec![(digest("one"), state)], NOW)
            .await
            .unwrap();
        store.artifact(digest("one")).await.unwrap().unwrap().state
    };
    assert_eq!(
        record(ArtifactState::Quarantined).await,
        ArtifactState::Quarantined
    );
    assert_eq!(record(ArtifactState::Reinstated).await, ArtifactState::Reinstated);
    assert_eq!(record(ArtifactState::Revoked).await, ArtifactState::Revoked);
    assert_eq!(record(ArtifactState::Reinstated).await, ArtifactState::Revoked);
    store.admit(admission("one"), vec![]).await.unwrap();
    let state = store.artifact(digest("one")).await.unwrap().unwrap().state;
    assert_eq!(state, ArtifactState::Revoked);
    assert!(store.tamper("UPDATE artifacts SET state = 'admitted'").is_err());
}

#[tokio::test]
async fn the_first_end_of_a_run_counts() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store.admit(admission("one"), vec![]).await.unwrap();
    store.start_run(run(1, "one")).await.unwrap();
    assert!(
        store.start_run(run(1, "one")).await.is_err(),
        "a run id is used once"
    );
    let ended = store
        .end_run(run_id(1), NOW.plus_seconds(5), Some(3))
        .await
        .unwrap();
    assert_eq!(ended.unwrap().exit_status, Some(3));
    let again = store
        .end_run(run_id(1), NOW.plus_seconds(9), Some(0))
        .await
        .unwrap();
    assert_eq!(again.unwrap().exit_status, Some(3));
    assert_eq!(store.end_run(run_id(2), NOW, None).await.unwrap(), None);
}

#[tokio::test]
async fn gateways_hear_of_ended_runs_until_their_tokens_expire() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store.admit(admission("one"), vec![]).await.unwrap();
    store.start_run(run(1, "one")).await.unwrap();
    store.start_run(run(2, "one")).await.unwrap();
    store.end_run(run_id(1), NOW, None).await.unwrap();
    assert_eq!(store.ended_runs(NOW).await.unwrap(), [run_id(1)]);
    assert_eq!(store.ended_runs(NOW.plus_seconds(60)).await.unwrap(), []);
    assert_eq!(store.running_plugins(NOW).await.unwrap(), 1);
    assert_eq!(store.running_plugins(NOW.plus_seconds(60)).await.unwrap(), 0);
}

#[tokio::test]
async fn runs_are_found_by_the_time_they_were_live() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store.admit(admission("one"), vec![]).await.unwrap();
    store.start_run(run(1, "one")).await.unwrap();
    store
        .end_run(run_id(1), NOW.plus_seconds(10), None)
        .await
        .unwrap();
    let live = async |from: i64, before: i64| {
        let filter = RunFilter {
            live_from: Some(NOW.plus_seconds(from)),
            started_before: Some(NOW.plus_seconds(before)),
            ..RunFilter::default()
        };
        store.runs(filter).await.unwrap().len()
    };
    assert_eq!(live(5, 20).await, 1);
    assert_eq!(live(10, 20).await, 0, "it ended before");
    assert_eq!(live(-20, 0).await, 0, "it started after");
}

#[tokio::test]
async fn a_night_is_held_once() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let (from, to) = (NOW.plus_seconds(-86_400), NOW);
    let first = store
        .begin_night(Some(NOW), from, to, NOW)
        .await
        .unwrap()
        .unwrap();
    let taken_up = store
        .begin_night(Some(NOW), from, to, NOW.plus_seconds(9))
        .await
        .unwrap();
    assert_eq!(
        taken_up,
        Some(first),
        "the crash in between does not make it a second night"
    );
    store
        .finish_night(first, NOW.plus_seconds(10), "clean".into(), Some(to))
        .await
        .unwrap();
    assert_eq!(store.begin_night(Some(NOW), from, to, NOW).await.unwrap(), None);
    assert_eq!(store.last_audited_to().await.unwrap(), Some(to));
    let by_hand = store
        .begin_night(None, from, from, NOW.plus_seconds(20))
        .await
        .unwrap();
    assert_ne!(by_hand, Some(first));
    store
        .finish_night(by_hand.unwrap(), NOW, "clean".into(), Some(from))
        .await
        .unwrap();
    assert_eq!(
        store.last_audited_to().await.unwrap(),
        Some(to),
        "never further back"
    );
}

#[tokio::test]
async fn a_report_is_registered_once_and_found_as_the_one_before() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let report = |day: i64| ReportRecord {
        report_id: Sha256Digest::of(&day.to_be_bytes()),
        plugin_id: plugin(),
        artifact_digest: Some(digest("one")),
        run_id: None,
        from: NOW.plus_seconds(day * 86_400),
        to: NOW.plus_seconds((day + 1) * 86_400),
        verdict: Verdict::Conforming,
        folder: "reports/x".into(),
        line: None,
        created_at: NOW,
    };
    assert_eq!(store.add_reports(vec![report(0)]).await.unwrap(), 1);
    assert_eq!(store.add_reports(vec![report(0), report(1)]).await.unwrap(), 1);
    let before = async |day: i64, run| {
        store
            .report_history(plugin(), digest("one"), run, NOW.plus_seconds(day * 86_400), 1)
            .await
            .unwrap()
    };
    assert_eq!(before(2, None).await, [report(1)]);
    assert_eq!(before(1, None).await, [report(0)]);
    assert_eq!(before(0, None).await, []);
    assert_eq!(before(2, Some(run_id(1))).await, []);
    assert_eq!(
        store.reports(Some(plugin()), 10).await.unwrap(),
        [report(1), report(0)]
    );
    assert!(store.tamper("DELETE FROM reports").is_err());
}

#[tokio::test]
async fn reports_about_runs_are_found_by_their_runs_with_their_lines() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let report = |day: u64, run: Option<u8>| ReportRecord {
        report_id: Sha256Digest::of(format!("{day} {run:?}").as_bytes()),
        plugin_id: plugin(),
        artifact_digest: Some(digest("one")),
        run_id: run.map(run_id),
        from: NOW.plus_seconds(day.cast_signed() * 86_400),
        to: NOW.plus_seconds((day.cast_signed() + 1) * 86_400),
        verdict: Verdict::Conforming,
        folder: "reports/x".into(),
        line: run.map(|run| Line {
            at: day << 40 | u64::from(run),
            bytes: 2000,
        }),
        created_at: NOW,
    };
    let all: Vec<ReportRecord> = (0..2)
        .flat_map(|day| [report(day, None), report(day, Some(1)), report(day, Some(2))])
        .collect();
    store.add_reports(all.clone()).await.unwrap();
    assert_eq!(
        store.report(all[4].report_id).await.unwrap(),
        Some(all[4].clone())
    );
    // A run that is new has none, whatever others of the artifact have.
    let before = store
        .reports_before(
            plugin(),
            digest("one"),
            vec![run_id(2), run_id(3)],
            NOW.plus_seconds(2 * 86_400),
        )
        .await
        .unwrap();
    assert_eq!(before, [report(1, None), report(1, Some(2))]);
    let of_day = store
        .reports_to(plugin(), digest("one"), NOW.plus_seconds(86_400))
        .await
        .unwrap();
    assert_eq!(of_day.len(), 3);
    assert!(of_day.iter().all(|record| all[..3].contains(record)));
    // A line without a length is none.
    assert!(store.tamper("INSERT INTO reports SELECT 'x', plugin_id, artifact_digest, run_id, from_us, to_us, verdict, folder, created_at_us, 1, NULL FROM reports LIMIT 1").is_err());
}

#[tokio::test]
async fn a_letter_is_queued_once_per_recipient() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let both = vec![mail("<1@acme>", "a@x.example"), mail("<1@acme>", "b@x.example")];
    assert_eq!(store.queue_mails(both.clone(), NOW).await.unwrap(), 2);
    assert_eq!(store.queue_mails(both, NOW).await.unwrap(), 0);
    assert_eq!(store.mails(None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_leased_letter_comes_back_when_the_lease_runs_out() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store
        .queue_mails(vec![mail("<1@acme>", "a@x.example")], NOW)
        .await
        .unwrap();
    let leased = store.lease_mails(NOW, 60, 10, "one".into()).await.unwrap();
    assert_eq!(leased.len(), 1);
    assert_eq!(store.lease_mails(NOW, 60, 10, "one".into()).await.unwrap(), []);
    let later = NOW.plus_seconds(60);
    assert_eq!(
        fixture
            .reopened()
            .lease_mails(later, 60, 10, "one".into())
            .await
            .unwrap(),
        leased
    );
    store
        .settle_mail(leased[0].mail_id, later, MailFate::Sent)
        .await
        .unwrap();
    assert_eq!(
        store
            .lease_mails(later.plus_seconds(600), 60, 10, "one".into())
            .await
            .unwrap(),
        []
    );
    assert_eq!(store.next_mail_at().await.unwrap(), None);
}

#[tokio::test]
async fn only_a_dead_letter_is_sent_again() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store
        .queue_mails(vec![mail("<1@acme>", "a@x.example")], NOW)
        .await
        .unwrap();
    let id = store.mails(None, 1).await.unwrap()[0].mail_id;
    assert!(!store.send_again(id, NOW, act(Action::MailAgain)).await.unwrap());
    let error = "550 no such user".to_owned();
    store
        .settle_mail(
            id,
            NOW,
            MailFate::Dead {
                error,
                unreachable: false,
            },
        )
        .await
        .unwrap();
    let dead = store.mails(Some(MailState::Dead), 10).await.unwrap();
    assert_eq!(dead[0].last_error.as_deref(), Some("550 no such user"));
    assert!(store.send_again(id, NOW, act(Action::MailAgain)).await.unwrap());
    assert_eq!(
        store.lease_mails(NOW, 60, 10, "one".into()).await.unwrap().len(),
        1
    );
    assert_eq!(store.acts(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_disk_is_one_clear_line_and_leaves_nothing_half_written() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store.admit(admission("one"), vec![]).await.unwrap();
    store.limit_pages(1);
    let mut large = admission("two");
    large.admission.manifest_bundle = vec![7; 1 << 20];
    let error = store.admit(large, vec![act(Action::Admit)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    let line = error.to_string();
    assert!(
        line.starts_with("could not record an admission: the disk") && line.contains("free some space"),
        "{line}"
    );
    let store = fixture.reopened();
    assert_eq!(store.artifact(digest("two")).await.unwrap(), None);
    assert_eq!(store.acts(10).await.unwrap(), []);
    assert_eq!(store.artifacts(None).await.unwrap().len(), 1);
    assert_eq!(store.plugins().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_registry_from_the_future_and_one_that_is_none_are_refused() {
    let fixture = Fixture::new();
    let path = fixture.folder.path().join("bailiwick.db");
    fixture
        .store
        .tamper("INSERT INTO migrations (number, sha256, applied_at_us) VALUES (900, 'x', 0)")
        .unwrap();
    let error = Store::open_sqlite(&path, NOW).unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { number: 900, .. }),
        "{error:?}"
    );

    let path = fixture.folder.path().join("text.db");
    std::fs::write(
        &path,
        "this is a letter, not a database, and it is long enough to be read as one",
    )
    .unwrap();
    assert!(Store::open_sqlite(&path, NOW).is_err());
    let error = Store::open_sqlite(&fixture.folder.path().join("no/such/folder.db"), NOW).unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }));
}

#[test]
fn the_registry_is_nobody_elses_to_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = Fixture::new();
    let entries = std::fs::read_dir(fixture.folder.path()).unwrap();
    for entry in entries {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
    }
}

#[tokio::test]
async fn a_pending_change_survives_until_it_is_recorded() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store.admit(admission("one"), vec![]).await.unwrap();
    store.note_change(7, vec![act(Action::Quarantine)]).await.unwrap();
    let pending = fixture.reopened().pending_change().await.unwrap();
    assert_eq!(pending, Some((7, vec![act(Action::Quarantine)])));
    assert_eq!(
        store.acts(10).await.unwrap(),
        [],
        "not an act before it is in force"
    );
    store
        .record_change(
            vec![act(Action::Quarantine)],
            vec![(digest("one"), ArtifactState::Quarantined)],
            NOW,
        )
        .await
        .unwrap();
    assert_eq!(store.pending_change().await.unwrap(), None);
    assert_eq!(store.acts(10).await.unwrap().len(), 1);
    let counts = store.counts(NOW).await.unwrap();
    assert_eq!(counts.artifacts, [(ArtifactState::Quarantined, 1)]);
    store.note_change(8, vec![]).await.unwrap();
    store.drop_change().await.unwrap();
    assert_eq!(store.pending_change().await.unwrap(), None);
}

#[tokio::test]
async fn a_lease_has_one_holder_until_it_expires_or_is_given_back() {
    let fixture = Fixture::new();
    let take = |holder: &'static str, at: i64| {
        let now = NOW.plus_seconds(at);
        let store = fixture.store.clone();
        async move {
            let until = now.plus_seconds(20);
            store
                .take_lease("night", holder.to_owned(), now, until)
                .await
                .unwrap()
        }
    };
    assert!(take("one", 0).await);
    assert!(!take("two", 19).await);
    // Renewing moves the end.
    assert!(take("one", 19).await);
    assert!(!take("two", 38).await);
    // Not renewed in time, it is anybody's, and the first one's no more.
    assert!(take("two", 39).await);
    assert!(!take("one", 40).await);
    fixture
        .store
        .return_lease("night", "one".to_owned())
        .await
        .unwrap();
    assert!(!take("one", 41).await);
    fixture
        .store
        .return_lease("night", "two".to_owned())
        .await
        .unwrap();
    assert!(take("one", 42).await);
}
