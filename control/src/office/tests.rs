//! The office's promises.

use base::{ArtifactDigest, ArtifactState, Reason, Sha256Digest, Tier};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use seal::{SigningKey, token};
use serde_json::json;

use super::*;
use crate::api::types::{
    AdmitRequest, Base64Bytes, ChangeRequest, EndRunRequest, KillRequest, KillTarget, ListAct, ListChange,
    RunQuery, SafeModeRequest, SetTierRequest, Target,
};
use crate::clock::HandClock;
use crate::gateways::Stop;
use crate::store::Act;
use crate::testing::{
    Build, NOW, PLUGIN, Site, Told, build, build_of, certifier_key, key, manifest, owner_key, run_key,
};
use crate::words::Action;
use crate::words::ListenerKind;

fn change(action: ListAct, target: Target, reason: Reason) -> ChangeRequest {
    ChangeRequest {
        changes: vec![ListChange {
            action,
            target,
            reason,
        }],
        who: "ada".into(),
        note: Some("seen at night".into()),
        clause: None,
        enabled_by: None,
    }
}

fn quarantine(build: &Build) -> ChangeRequest {
    change(
        ListAct::Quarantine,
        Target::Artifact(build.digest),
        Reason::UndeclaredHost,
    )
}

fn reinstate(build: &Build) -> ChangeRequest {
    change(
        ListAct::Reinstate,
        Target::Artifact(build.digest),
        Reason::FalsePositive,
    )
}

fn revoke(build: &Build) -> ChangeRequest {
    change(ListAct::Revoke, Target::Artifact(build.digest), Reason::Malware)
}

fn kill(target: KillTarget, lift: bool) -> KillRequest {
    KillRequest {
        target,
        lift,
        reason: None,
        who: "ada".into(),
        note: None,
    }
}

async fn state(office: &Office, build: &Build) -> ArtifactState {
    office.artifact(build.digest).await.unwrap().artifact.state
}

async fn run_code(office: &Office, build: &Build) -> &'static str {
    match office.start_run(build.run()).await {
        Ok(_) => "runs",
        Err(error) => error.code(),
    }
}

async fn admit_code(office: &Office, request: AdmitRequest) -> &'static str {
    match office.admit(request).await {
        Ok(_) => "admitted",
        Err(error) => error.code(),
    }
}

#[tokio::test]
async fn an_artifact_runs_until_it_is_held_and_again_once_the_hold_is_lifted() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    assert_eq!(run_code(&office, &build).await, "not_found");
    office.admit(build.admit()).await.unwrap();
    assert_eq!(run_code(&office, &build).await, "runs");

    let held = office.change_list(quarantine(&build)).await.unwrap();
    assert_eq!((held.crl_number, held.tunnels), (2, 2));
    assert_eq!(held.artifacts[0].state, ArtifactState::Quarantined);
    assert_eq!(run_code(&office, &build).await, "artifact_held");
    assert_eq!(admit_code(&office, build.admit()).await, "artifact_held");

    office.change_list(reinstate(&build)).await.unwrap();
    assert_eq!(state(&office, &build).await, ArtifactState::Reinstated);
    assert_eq!(run_code(&office, &build).await, "runs");

    office.change_list(revoke(&build)).await.unwrap();
    assert_eq!(state(&office, &build).await, ArtifactState::Revoked);
    assert_eq!(run_code(&office, &build).await, "artifact_revoked");
    let refused = office.change_list(reinstate(&build)).await.unwrap_err();
    assert_eq!(refused.code(), "revocation_is_final");
    assert!(refused.to_string().contains("admit a new build"), "{refused}");
    assert_eq!(office.list().list().crl_number(), 4, "a refusal issues no list");

    // The way back is a new build.
    let mended = crate::testing::build("1.1");
    office.admit(mended.admit()).await.unwrap();
    assert_eq!(run_code(&office, &mended).await, "runs");
}

#[tokio::test]
async fn the_gates_refusals_pass_through_with_their_codes() {
    let site = Site::new();
    let office = site.office().await;
    let good = build("1.0");
    let unsigned = AdmitRequest {
        manifest_bundle: None,
        ..good.admit()
    };
    assert_eq!(admit_code(&office, unsigned).await, "manifest_missing");
    let changed = AdmitRequest {
        artifact_digest: ArtifactDigest::new(Sha256Digest::of(b"one byte changed")),
        ..good.admit()
    };
    assert_eq!(admit_code(&office, changed).await, "artifact_mismatch");
    let mut tampered = good.admit();
    let bundle = &mut tampered.manifest_bundle.as_mut().unwrap().0;
    bundle.truncate(bundle.len() - 1);
    assert_eq!(admit_code(&office, tampered).await, "bundle_truncated");
    let stranger = build_of(&manifest("1.0"), &key(9));
    assert_eq!(admit_code(&office, stranger.admit()).await, "signer_untrusted");
    let sidecar = AdmitRequest {
        manifest_json: Some(Base64Bytes(manifest("9.9").to_string().into_bytes())),
        ..good.admit()
    };
    assert_eq!(admit_code(&office, sidecar).await, "sidecar_differs");
    assert_eq!(
        office.plugins().await.unwrap().plugins,
        [],
        "nothing was registered"
    );

    assert_eq!(admit_code(&office, build("2.0").admit()).await, "admitted");
    assert_eq!(admit_code(&office, good.admit()).await, "downgrade");
}

#[tokio::test]
async fn a_token_verifies_under_the_run_key_and_says_what_was_registered() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    let started = office.start_run(build.run()).await.unwrap();
    let keys = [run_key().public()];
    let claims = token::verify(started.run_id, &started.token, &keys, NOW).unwrap();
    assert_eq!(claims.plugin_id.as_str(), PLUGIN);
    assert_eq!(claims.artifact_digest, build.digest);
    assert_eq!(claims.expires, started.expires_at);
    assert_eq!(started.gateways[0].listen, ["127.0.0.1:3128"]);
    assert!(token::verify(started.run_id, &started.token, &[key(3).public()], NOW).is_err());

    let live = async || {
        let query = RunQuery {
            live: true,
            ..RunQuery::default()
        };
        office.runs(query).await.unwrap().runs
    };
    assert_eq!(live().await[0].run_id, started.run_id);
    site.gateways.news();
    let status = EndRunRequest { exit_status: Some(7) };
    let ended = office.end_run(started.run_id, status).await.unwrap();
    assert_eq!((ended.exit_status, ended.live), (Some(7), false));
    assert_eq!(site.gateways.news(), [Told::EndRun(started.run_id)]);
    assert_eq!(live().await, []);
    office.upkeep().await.unwrap();
    assert!(site.gateways.facts().ended_runs.contains(&started.run_id));

    let long = crate::api::types::StartRunRequest {
        valid_for_s: Some(u32::MAX),
        ..build.run()
    };
    assert_eq!(office.start_run(long).await.unwrap_err().code(), "bad_request");
}

#[tokio::test]
async fn a_run_that_sends_a_key_is_given_a_certificate_that_expires_with_its_token() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    let key = SigningKey::p256_from_seed(&[9; 32]).unwrap();
    let mut request = build.run();
    assert_eq!(
        office
            .start_run(request.clone())
            .await
            .unwrap()
            .client_certificate,
        None
    );
    request.client_key = Some(key.public().to_pem());
    let started = office.start_run(request.clone()).await.unwrap();
    let pem = started.client_certificate.unwrap();
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let read = seal::certificate::read_run(&der, &"acme".parse().unwrap()).unwrap();
    assert_eq!(read.run.run_id, started.run_id);
    assert_eq!(read.run.plugin_id, started.plugin_id);
    assert_eq!(read.run.artifact_digest, build.digest);
    assert_eq!(read.expires, started.expires_at);
    // A private key is nothing that is sent here, and is not taken for a public one.
    request.client_key = Some(key.to_pem().to_string());
    let error = office.start_run(request).await.unwrap_err();
    assert_eq!(error.code(), "bad_request");
    assert!(!error.to_string().contains(&key.to_pem()[30..60]), "{error}");
}

#[tokio::test]
async fn an_acknowledged_change_is_there_after_a_restart_and_was_enforced() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    site.gateways.news();
    office.change_list(quarantine(&build)).await.unwrap();
    let stop = Stop {
        artifacts: [build.digest].into(),
        ..Stop::default()
    };
    assert_eq!(site.gateways.news(), [Told::List { number: 2, stop }]);
    drop(office);

    let office = site.office().await;
    assert_eq!(office.list().list().crl_number(), 2);
    assert!(
        site.gateways.news().contains(&Told::List {
            number: 2,
            stop: Stop::default()
        }),
        "gateways refuse the digest from the first accept"
    );
    assert_eq!(run_code(&office, &build).await, "artifact_held");
    let acts = office.store().acts(1).await.unwrap();
    assert_eq!(acts[0].action, Action::Quarantine);
    assert_eq!((acts[0].who.as_str(), acts[0].crl_number), ("ada", Some(2)));
    assert_eq!(acts[0].reason, Some(Reason::UndeclaredHost));
    assert_eq!(acts[0].note.as_deref(), Some("seen at night"));
}

#[tokio::test]
async fn a_crash_before_the_list_was_written_leaves_nothing() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    let acts = office.store().acts(100).await.unwrap();
    let pending = act(NOW, "ada", Action::Quarantine, build.digest, None);
    office.store().note_change(2, vec![pending]).await.unwrap();
    drop(office);

    let office = site.office().await;
    assert_eq!(office.list().list().crl_number(), 1);
    assert_eq!(office.store().pending_change().await.unwrap(), None);
    assert_eq!(office.store().acts(100).await.unwrap(), acts);
    assert_eq!(run_code(&office, &build).await, "runs");
}

#[tokio::test]
async fn a_crash_after_the_list_was_written_is_finished_at_the_next_start() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    site.gateways.news();
    let jam = "CREATE TRIGGER jam BEFORE INSERT ON acts BEGIN SELECT RAISE(ABORT, 'jammed'); END";
    office.store().tamper(jam).unwrap();
    let error = office.change_list(quarantine(&build)).await.unwrap_err();
    assert_eq!(error.code(), "in_force_unrecorded");
    assert_eq!(site.gateways.news().len(), 1, "the tunnels were cut all the same");
    assert_eq!(run_code(&office, &build).await, "artifact_held");
    office.store().tamper("DROP TRIGGER jam").unwrap();
    drop(office);

    let office = site.office().await;
    assert_eq!(office.list().list().crl_number(), 2);
    assert_eq!(state(&office, &build).await, ArtifactState::Quarantined);
    let acts = office.store().acts(1).await.unwrap();
    assert_eq!((acts[0].who.as_str(), acts[0].crl_number), ("ada", Some(2)));
}

#[tokio::test]
async fn a_list_that_cannot_be_written_is_not_in_force() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    site.gateways.news();
    let folder = site.path("data/crl");
    std::fs::rename(&folder, site.path("aside")).unwrap();
    let error = office.change_list(quarantine(&build)).await.unwrap_err();
    assert_eq!(error.code(), "list_not_saved");
    assert_eq!(site.gateways.news(), []);
    assert_eq!(office.list().list().crl_number(), 1);
    assert_eq!(state(&office, &build).await, ArtifactState::Admitted);
    assert_eq!(office.store().pending_change().await.unwrap(), None);

    std::fs::rename(site.path("aside"), &folder).unwrap();
    let published = office.change_list(quarantine(&build)).await.unwrap();
    assert_eq!(published.crl_number, 2);
}

#[tokio::test]
async fn doing_what_is_done_changes_nothing_but_cuts_again() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    office.change_list(quarantine(&build)).await.unwrap();
    let acts = office.store().acts(100).await.unwrap();
    site.gateways.news();
    let again = office.change_list(quarantine(&build)).await.unwrap();
    assert_eq!((again.crl_number, again.tunnels), (2, 2));
    assert_eq!(office.store().acts(100).await.unwrap(), acts);
    assert_eq!(site.gateways.news().len(), 1);
}

#[tokio::test]
async fn two_operators_at_once_get_two_lists_in_a_row() {
    let site = Site::new();
    let office = site.office().await;
    let (one, two) = (build("1.0"), build("1.1"));
    office.admit(one.admit()).await.unwrap();
    office.admit(two.admit()).await.unwrap();
    let (first, second) = tokio::join!(
        office.change_list(quarantine(&one)),
        office.change_list(quarantine(&two))
    );
    let mut numbers = [first.unwrap().crl_number, second.unwrap().crl_number];
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3]);
    assert_eq!(state(&office, &one).await, ArtifactState::Quarantined);
    assert_eq!(state(&office, &two).await, ArtifactState::Quarantined);
}

#[tokio::test]
async fn an_act_goes_on_when_its_caller_hangs_up() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    {
        let asked = office.change_list(quarantine(&build));
        tokio::pin!(asked);
        // Polled once, so that it has begun, and dropped.
        let begun = futures_poll_once(asked.as_mut()).await;
        assert!(begun.is_none());
    }
    // The next act waits for its turn, so the one before is over.
    let next = office.change_list(revoke(&build)).await.unwrap();
    assert_eq!(next.crl_number, 3);
}

async fn futures_poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn revoking_a_key_stops_what_it_signed_and_nothing_else() {
    let site = Site::new();
    let mut root = site.first_root();
    let mut other = root.signers[0].clone();
    other.key = key(8).public();
    root.signers.push(other);
    site.write_root(&root);
    let office = site.office().await;
    let (one, two) = (build("1.0"), build_of(&manifest("1.1"), &key(8)));
    office.admit(one.admit()).await.unwrap();
    office.admit(two.admit()).await.unwrap();
    site.gateways.news();
    let signer = Target::Signer(owner_key().public().fingerprint());
    let published = office
        .change_list(change(ListAct::Revoke, signer, Reason::KeyCompromise))
        .await
        .unwrap();
    assert_eq!(published.artifacts.len(), 1);
    let stop = Stop {
        artifacts: [one.digest].into(),
        ..Stop::default()
    };
    assert_eq!(site.gateways.news(), [Told::List { number: 2, stop }]);
    assert_eq!(state(&office, &one).await, ArtifactState::Revoked);
    assert_eq!(run_code(&office, &one).await, "signer_revoked");
    assert_eq!(run_code(&office, &two).await, "runs");
}

#[tokio::test]
async fn a_hold_on_the_plugin_outlives_a_hold_on_the_build() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    let plugin = Target::Plugin(PLUGIN.parse().unwrap());
    let mut both = quarantine(&build);
    both.changes.push(ListChange {
        action: ListAct::Quarantine,
        target: plugin.clone(),
        reason: Reason::OwnerRequest,
    });
    let published = office.change_list(both).await.unwrap();
    assert_eq!(published.crl_number, 2, "all changes go out in one list");
    office.change_list(reinstate(&build)).await.unwrap();
    assert_eq!(state(&office, &build).await, ArtifactState::Quarantined);
    assert_eq!(run_code(&office, &build).await, "plugin_held");
    office
        .change_list(change(ListAct::Reinstate, plugin, Reason::FalsePositive))
        .await
        .unwrap();
    assert_eq!(state(&office, &build).await, ArtifactState::Reinstated);
}

#[tokio::test]
async fn the_kill_switch_stops_a_plugin_or_everything_and_gives_it_back() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    site.gateways.news();
    let plugin = || KillTarget::Plugin(PLUGIN.parse().unwrap());
    for (target, stop) in [
        (
            plugin(),
            Stop {
                plugins: [PLUGIN.parse().unwrap()].into(),
                ..Stop::default()
            },
        ),
        (
            KillTarget::All,
            Stop {
                everything: true,
                ..Stop::default()
            },
        ),
    ] {
        let killed = office.kill(kill(target.clone(), false)).await.unwrap();
        let number = killed.crl_number;
        assert_eq!(site.gateways.news(), [Told::List { number, stop }]);
        assert_eq!(run_code(&office, &build).await, "killed");
        assert_eq!(state(&office, &build).await, ArtifactState::Admitted);
        assert_eq!(
            office.status().await.unwrap().crl.kill_switch,
            [target.to_string()]
        );
        office.kill(kill(target, true)).await.unwrap();
        assert_eq!(run_code(&office, &build).await, "runs");
        site.gateways.news();
    }
    office.kill(kill(KillTarget::All, false)).await.unwrap();
    let error = office.kill(kill(plugin(), true)).await.unwrap_err();
    assert_eq!(error.code(), "killed_for_everything");
}

#[tokio::test]
async fn killing_one_build_holds_it() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    let target = KillTarget::Artifact(build.digest);
    let error = office.kill(kill(target.clone(), false)).await.unwrap_err();
    assert!(error.to_string().contains("--reason"), "{error}");
    let request = KillRequest {
        reason: Some(Reason::Malware),
        ..kill(target.clone(), false)
    };
    office.kill(request).await.unwrap();
    assert_eq!(state(&office, &build).await, ArtifactState::Quarantined);
    assert_eq!(office.store().acts(1).await.unwrap()[0].action, Action::Kill);
    let error = office.kill(kill(target, true)).await.unwrap_err();
    assert!(error.to_string().contains("bailiwick reinstate"), "{error}");
    office.change_list(reinstate(&build)).await.unwrap();
    assert_eq!(run_code(&office, &build).await, "runs");
}

#[tokio::test]
async fn an_automatic_act_names_its_clause_and_who_enabled_it() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    let automatic = ChangeRequest {
        who: "policy".into(),
        clause: Some("tiers.medium.on_breach".into()),
        enabled_by: Some("ada".into()),
        ..quarantine(&build)
    };
    let nobody = ChangeRequest {
        enabled_by: None,
        ..automatic.clone()
    };
    assert_eq!(
        office.change_list(nobody).await.unwrap_err().code(),
        "bad_request"
    );
    office.change_list(automatic).await.unwrap();
    let acts = office.store().acts(1).await.unwrap();
    assert_eq!(acts[0].clause.as_deref(), Some("tiers.medium.on_breach"));
    assert_eq!(acts[0].enabled_by.as_deref(), Some("ada"));
}

#[tokio::test]
async fn somebody_stands_behind_every_act() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    for who in ["", "  ", "a\nb", &"x".repeat(201)] {
        let request = AdmitRequest {
            who: who.to_owned(),
            ..build.admit()
        };
        assert_eq!(admit_code(&office, request).await, "bad_request", "{who:?}");
    }
    let request = AdmitRequest {
        file_name: "../weather.whl".into(),
        ..build.admit()
    };
    assert_eq!(admit_code(&office, request).await, "bad_request");
    let empty = ChangeRequest {
        changes: vec![],
        ..quarantine(&build)
    };
    assert_eq!(office.change_list(empty).await.unwrap_err().code(), "bad_request");
}

#[tokio::test]
async fn safe_mode_refuses_every_load_and_says_so() {
    let site = Site::new();
    let office = site.office().await;
    let (one, two) = (build("1.0"), build("1.1"));
    office.admit(one.admit()).await.unwrap();
    let switch = |on| SafeModeRequest {
        on,
        who: "ada".into(),
        note: None,
    };
    assert!(office.set_safe_mode(switch(true)).await.unwrap().safe_mode);
    assert_eq!(run_code(&office, &one).await, "safe_mode");
    assert_eq!(admit_code(&office, two.admit()).await, "safe_mode");
    drop(office);
    let office = site.office().await;
    assert_eq!(
        run_code(&office, &one).await,
        "safe_mode",
        "it survives a restart"
    );
    assert!(!office.set_safe_mode(switch(false)).await.unwrap().safe_mode);
    office.set_safe_mode(switch(false)).await.unwrap();
    assert_eq!(run_code(&office, &one).await, "runs");
    let acts = office.store().acts(100).await.unwrap();
    let switched = |act: &&Act| matches!(act.action, Action::SafeModeOn | Action::SafeModeOff);
    assert_eq!(
        acts.iter().filter(switched).count(),
        2,
        "switching off twice is one act"
    );
}

#[tokio::test]
async fn the_list_is_renewed_before_its_time() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    office.change_list(quarantine(&build)).await.unwrap();
    site.clock.advance_seconds(11 * 3600);
    office.upkeep().await.unwrap();
    assert_eq!(office.list().list().crl_number(), 2);
    site.clock.advance_seconds(2 * 3600);
    site.gateways.news();
    office.upkeep().await.unwrap();
    assert_eq!(office.list().list().crl_number(), 3);
    let renewed = Told::List {
        number: 3,
        stop: Stop::default(),
    };
    assert!(site.gateways.news().contains(&renewed));
    assert_eq!(run_code(&office, &build).await, "artifact_held");
    // A clock that jumped back a year keeps nobody from issuing lists, and frees nobody.
    site.clock.advance_seconds(-3 * 3600);
    assert_eq!(run_code(&office, &build).await, "artifact_held");
    assert_eq!(office.list().list().crl_number(), 4);
}

#[tokio::test]
async fn a_list_that_ran_out_with_nobody_to_renew_it_lets_nothing_new_in() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    // The key that signs lists is taken out of the trust root, so none can be issued.
    let mut root = site.first_root();
    root.version = 2;
    let old = root.signers[1].clone();
    root.signers[1].valid_until = Some(NOW.plus_seconds(3600));
    assert_eq!(old.role, Role::Crl);
    site.write_root(&root);
    for (hours, code) in [(13, "runs"), (47, "runs"), (49, "revocation_list_stale")] {
        let clock = HandClock::new(NOW);
        clock.advance_seconds(hours * 3600);
        let ahead = clock.now().unix_s() - site.clock.now().unix_s();
        site.clock.advance_seconds(ahead);
        assert_eq!(run_code(&office, &build).await, code, "after {hours} h");
    }
    assert_eq!(office.upkeep().await.unwrap_err().code(), "key_not_authorised");
    let office = site.office().await;
    assert_eq!(
        office.list().list().crl_number(),
        1,
        "what is stopped stays stopped"
    );
}

#[tokio::test]
async fn a_trust_root_of_strangers_or_of_yesterday_is_refused() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();

    let mut stranger = site.first_root();
    stranger.version = 2;
    stranger.root_keys = vec![key(66).public()];
    std::fs::write(site.path("root.json"), stranger.sign(&[&key(66)]).unwrap()).unwrap();
    assert_eq!(run_code(&office, &build).await, "trust_root_unusable");
    assert!(
        site.try_office()
            .await
            .unwrap_err()
            .to_string()
            .contains("not signed by")
    );

    // Versions may be skipped; signatures may not.
    let mut next = site.first_root();
    next.version = 5;
    site.write_root(&next);
    assert_eq!(run_code(&office, &build).await, "runs");
    site.write_root(&site.first_root());
    let error = office.start_run(build.run()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("has version 1 and version 5 was used already"),
        "{error}"
    );

    next.expires = NOW.plus_seconds(-1);
    next.version = 6;
    site.write_root(&next);
    let error = office.start_run(build.run()).await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    // Revoking must work on the worst of days.
    let office = site.office().await;
    office.change_list(quarantine(&build)).await.unwrap();
    assert_eq!(state(&office, &build).await, ArtifactState::Quarantined);
    std::fs::remove_file(site.path("root.json")).unwrap();
    assert_eq!(run_code(&office, &build).await, "trust_root_unusable");
}

#[tokio::test]
async fn a_signer_who_lost_trust_keeps_nothing_running() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    let without = site
        .first_root()
        .without_signer(&owner_key().public().fingerprint(), None)
        .unwrap();
    site.write_root(&without);
    assert_eq!(run_code(&office, &build).await, "signer_untrusted");
}

#[tokio::test]
async fn older_builds_stay_admitted_unless_superseded_by_request() {
    let site = Site::new();
    let office = site.office().await;
    let (one, two, three) = (build("1.0"), build("1.1"), build("1.2"));
    office.admit(one.admit()).await.unwrap();
    office.admit(two.admit()).await.unwrap();
    assert_eq!(run_code(&office, &one).await, "runs");
    let request = AdmitRequest {
        supersede: true,
        ..three.admit()
    };
    let admitted = office.admit(request).await.unwrap();
    assert_eq!(admitted.superseded.len(), 2);
    assert_eq!(run_code(&office, &one).await, "artifact_superseded");
    assert_eq!(run_code(&office, &three).await, "runs");
    // A lifted hold does not revive what was superseded.
    office.change_list(quarantine(&one)).await.unwrap();
    office.change_list(reinstate(&one)).await.unwrap();
    assert_eq!(state(&office, &one).await, ArtifactState::Superseded);
}

#[tokio::test]
async fn the_tier_is_the_operators_choice_or_the_policys_default() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    let admitted = office.admit(build.admit()).await.unwrap();
    assert_eq!(admitted.artifact.tier, Tier::Low);
    assert!(!office.plugins().await.unwrap().plugins[0].tier_chosen);
    let request = SetTierRequest {
        plugin_id: PLUGIN.parse().unwrap(),
        tier: Tier::Medium,
        who: "ada".into(),
        note: None,
    };
    let plugin = office.set_tier(request.clone()).await.unwrap();
    assert_eq!((plugin.tier, plugin.tier_chosen), (Tier::Medium, true));
    assert_eq!(plugin.owner_email.as_deref(), Some("weather@acme.example"));
    assert_eq!(
        site.gateways.facts().artifacts[&build.digest].tier,
        Tier::Medium,
        "the gateways were told"
    );
    let unknown = SetTierRequest {
        plugin_id: "nobody".parse().unwrap(),
        ..request
    };
    assert_eq!(office.set_tier(unknown).await.unwrap_err().code(), "not_found");
    let act = &office.store().acts(1).await.unwrap()[0];
    assert_eq!((act.action, act.target.as_str()), (Action::SetTier, PLUGIN));
    assert_eq!(act.note.as_deref(), Some("tier medium"));
}

#[tokio::test]
async fn gateways_are_told_every_admitted_manifest() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    let facts = site.gateways.facts();
    let artifact = &facts.artifacts[&build.digest];
    assert_eq!(artifact.plugin_id.as_str(), PLUGIN);
    assert_eq!(artifact.signer, owner_key().public().fingerprint());
    assert_eq!(artifact.manifest.allowed_egress.len(), 1);
    assert_eq!(facts.policy.policy.version, 1);
    drop(office);
    let _office = site.office().await;
    assert!(site.gateways.facts().artifacts.contains_key(&build.digest));
}

#[tokio::test]
async fn a_broken_policy_refuses_loads_and_leaves_the_gateways_with_the_last_good_one() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    let good = std::fs::read_to_string(site.path("policy.toml")).unwrap();
    std::fs::write(site.path("policy.toml"), "version = ").unwrap();
    assert_eq!(run_code(&office, &build).await, "policy_unusable");
    assert_eq!(office.upkeep().await.unwrap_err().code(), "policy_unusable");
    assert_eq!(office.facts().policy.policy.version, 1);
    let newer = good.replacen("version = 1", "version = 2", 1);
    std::fs::write(site.path("policy.toml"), newer).unwrap();
    office.upkeep().await.unwrap();
    assert_eq!(site.gateways.facts().policy.policy.version, 2);
}

#[tokio::test]
async fn an_older_policy_or_the_same_version_in_other_words_is_refused_across_restarts() {
    let site = Site::new();
    let office = site.office().await;
    let path = site.path("policy.toml");
    let first = std::fs::read_to_string(&path).unwrap();
    let second = first.replacen("version = 1", "version = 2", 1);
    std::fs::write(&path, &second).unwrap();
    assert_eq!(office.policy().await.unwrap().policy.version, 2);

    let refused = |error: OfficeError| crate::error_line(&error);
    std::fs::write(&path, &first).unwrap();
    let older = refused(office.policy().await.unwrap_err());
    assert!(
        older.contains("has version 1, and version 2 was in force already"),
        "{older}"
    );
    // What is in force stays in force.
    assert_eq!(office.upkeep().await.unwrap_err().code(), "policy_unusable");
    drop(office);
    let older = refused(site.try_office().await.unwrap_err());
    assert!(older.contains("version 2 was in force already"), "{older}");

    std::fs::write(&path, format!("{second}# a remark\n")).unwrap();
    let changed = refused(site.try_office().await.unwrap_err());
    assert!(
        changed.contains("still has version 2; raise its version"),
        "{changed}"
    );

    std::fs::write(&path, &second).unwrap();
    let office = site.office().await;
    let third = first.replacen("version = 1", "version = 7", 1);
    std::fs::write(&path, third).unwrap();
    office.upkeep().await.unwrap();
    assert_eq!(site.gateways.facts().policy.policy.version, 7);
}

#[tokio::test]
async fn that_a_version_of_the_policy_came_into_force_is_an_act_once_even_across_restarts() {
    let site = Site::new();
    let path = site.path("policy.toml");
    let policies = |acts: Vec<Act>| -> Vec<Act> {
        acts.into_iter()
            .filter(|act| act.action == Action::Policy)
            .collect()
    };
    let office = site.office().await;
    let first = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, first.replacen("version = 1", "version = 2", 1)).unwrap();
    // Several who read it at one time write one act.
    let (one, other) = tokio::join!(office.policy(), office.policy());
    one.unwrap();
    other.unwrap();
    office.upkeep().await.unwrap();
    drop(office);
    let office = site.office().await;
    office.upkeep().await.unwrap();
    let acts = policies(office.store().acts(100).await.unwrap());
    let targets: Vec<&str> = acts.iter().map(|act| act.target.as_str()).collect();
    assert_eq!(targets, ["policy version 2", "policy version 1"]);
    let digest = base::Sha256Digest::of(&std::fs::read(&path).unwrap()).to_hex();
    assert_eq!(
        acts[0].note.as_deref(),
        Some(format!("sha256:{digest}, not signed").as_str())
    );
    assert_eq!(acts[0].clause, None);
    assert!(acts[0].enabled_by.is_some());
}

#[tokio::test]
async fn a_policy_that_was_signed_is_followed_by_no_unsigned_one() {
    let site = Site::new();
    let path = site.path("policy.toml");
    let signature = crate::policy::signature_path(&path);
    let office = site.office().await;
    let sign = || {
        let (_, bundle) = crate::policy::sign(&path, &certifier_key()).unwrap();
        std::fs::write(&signature, bundle).unwrap();
    };
    // The same words, signed since, are the same version.
    sign();
    let signed = office.policy().await.unwrap();
    assert_eq!(signed.signed_by, Some(certifier_key().public().fingerprint()));
    let acts = office.store().acts(100).await.unwrap();
    assert_eq!(acts.iter().filter(|act| act.action == Action::Policy).count(), 1);

    std::fs::remove_file(&signature).unwrap();
    for version in ["version = 1", "version = 2"] {
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("version = 1", version, 1)).unwrap();
        let gone = crate::error_line(&office.policy().await.unwrap_err());
        assert!(
            gone.contains("version 1, was; sign it with: bailiwick policy sign"),
            "{gone}"
        );
    }
    sign();
    assert_eq!(office.policy().await.unwrap().policy.version, 2);
    let newest = office.store().acts(1).await.unwrap().remove(0);
    assert_eq!(
        (newest.who.as_str(), newest.action),
        ("certifier", Action::Policy)
    );
    assert!(newest.note.unwrap().contains(", signed by SHA256:"));
}

#[tokio::test]
async fn the_same_bytes_are_never_two_plugins() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    let mut other = manifest("1.0");
    other["plugin_id"] = json!("acme.other");
    let bytes = base::json::canonical(&other).unwrap();
    let bundle = manifests::sign(&bytes, "weather.whl", &build.digest, &owner_key()).unwrap();
    let request = AdmitRequest {
        manifest_bundle: Some(Base64Bytes(bundle)),
        ..build.admit()
    };
    assert_eq!(admit_code(&office, request).await, "artifact_of_other_plugin");
    assert_eq!(office.plugins().await.unwrap().plugins.len(), 1);
}

#[tokio::test]
async fn a_full_disk_refuses_the_admission_whole() {
    let site = Site::new();
    let office = site.office().await;
    office.store().limit_pages(1);
    let mut large = manifest("1.0");
    large["redaction"] = json!("x".repeat(200));
    large["built_by"] = json!("y".repeat(200));
    large["allowed_egress"] = json!(
        (0..900)
            .map(|n| format!("h{n}.weather.example"))
            .collect::<Vec<_>>()
    );
    let error = office
        .admit(build_of(&large, &owner_key()).admit())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "disk_full");
    assert!(error.to_string().contains("free some space"), "{error}");
    assert_eq!(office.plugins().await.unwrap().plugins, []);
}

#[tokio::test]
async fn a_key_without_its_role_opens_no_office() {
    let site = Site::new();
    let mut root = site.first_root();
    root.signers.retain(|signer| signer.role != Role::Run);
    site.write_root(&root);
    let error = site.try_office().await.unwrap_err();
    assert_eq!(error.code(), "key_not_authorised");
    assert!(error.to_string().contains("bailiwick trust add"), "{error}");
}

#[tokio::test]
async fn the_status_says_how_old_everything_is() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    office.start_run(build.run()).await.unwrap();
    let status = office.status().await.unwrap();
    assert_eq!((status.plugins, status.live_runs), (1, 1));
    assert_eq!(status.crl.crl_number, 1);
    assert!(!status.crl.stale);
    assert_eq!(status.artifacts[0].state, ArtifactState::Admitted);
    assert_eq!(office.unready().await, None);
    site.gateways
        .ready
        .store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(
        office.unready().await.as_deref(),
        Some("gateway gw-1 is not ready")
    );
    site.clock.advance_seconds(25 * 3600);
    assert!(office.status().await.unwrap().crl.stale);
    assert!(office.unready().await.unwrap().contains("past its time"));
}

#[tokio::test]
async fn a_run_with_ways_in_of_its_own_is_known_to_the_gateways_from_its_start_to_its_end() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    site.gateways.news();
    let request = crate::api::types::StartRunRequest {
        listeners: vec![ListenerKind::Unix, ListenerKind::Tcp, ListenerKind::Unix],
        uid: Some(1000),
        sources: ["::ffff:192.0.2.7", "192.0.2.7"]
            .map(|ip| ip.parse().unwrap())
            .to_vec(),
        ..build.run()
    };
    let started = office.start_run(request.clone()).await.unwrap();
    let addresses = ["unix:/run/bailiwick/0/proxy.sock", "127.0.0.1:4711"];
    assert_eq!(started.listeners, addresses);
    assert_eq!(started.shared_sources, [] as [std::net::IpAddr; 0]);
    let told = site.gateways.news();
    let [Told::OpenRun(run)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(
        (run.run_id, run.socket_uid, run.sources.len()),
        (started.run_id, Some(1000), 1)
    );
    // The next one with the address is told that it proves nothing any more.
    let second = office.start_run(request).await.unwrap();
    assert_eq!(second.shared_sources, run.sources);
    office.upkeep().await.unwrap();
    // Two runs of one millisecond have no order.
    let known = |site: &Site| -> std::collections::BTreeSet<RunId> {
        let facts = site.gateways.facts();
        facts.registered_runs.iter().map(|run| run.run_id).collect()
    };
    assert_eq!(known(&site), [second.run_id, started.run_id].into());
    let facts = site.gateways.facts();
    assert!(facts.registered_runs.iter().all(|run| run.listeners == addresses));
    office
        .end_run(started.run_id, EndRunRequest::default())
        .await
        .unwrap();
    office.upkeep().await.unwrap();
    assert_eq!(known(&site), [second.run_id].into());
}

#[tokio::test]
async fn ways_in_that_cannot_be_meant_are_refused_before_anything_is_registered() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    let sources = |sources: &[&str]| crate::api::types::StartRunRequest {
        sources: sources.iter().map(|ip| ip.parse().unwrap()).collect(),
        ..build.run()
    };
    let many: Vec<String> = (0..17).map(|n| format!("192.0.2.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for request in [
        sources(&["127.0.0.1"]),
        sources(&["::1"]),
        sources(&["::ffff:127.0.0.1"]),
        sources(&["0.0.0.0"]),
        sources(&["224.0.0.1"]),
        sources(&["255.255.255.255"]),
        sources(&many),
        crate::api::types::StartRunRequest {
            uid: Some(1000),
            listeners: vec![ListenerKind::Tcp],
            ..build.run()
        },
    ] {
        let error = office.start_run(request).await.unwrap_err();
        assert_eq!(error.code(), "bad_request", "{error}");
    }
    assert_eq!(office.runs(RunQuery::default()).await.unwrap().runs, []);
    let mut meant = sources(&["127.0.0.1"]);
    meant.loopback_sources = true;
    assert!(office.start_run(meant).await.is_ok());
}

#[tokio::test]
async fn a_run_whose_listener_cannot_be_opened_does_not_start() {
    let site = Site::new();
    let office = site.office().await;
    let build = build("1.0");
    office.admit(build.admit()).await.unwrap();
    site.gateways
        .without_listeners
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let mut request = build.run();
    request.listeners = vec![ListenerKind::Unix];
    let error = office.start_run(request).await.unwrap_err();
    assert_eq!(error.code(), "gateway_failed", "{error}");
    assert_eq!(office.runs(RunQuery::default()).await.unwrap().runs, []);
}
