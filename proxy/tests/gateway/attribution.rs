//! Whose connection it is, and that nobody's word for it is taken.

use base::{Attribution, Mode, RefusalReason, Timestamp};
use evidence::EventKind;
use proxy::{Ruling, Unattributed};
use seal::token::token_fingerprint;

use crate::world::{Origin, Plan, Plugin, World};

async fn connect(world: &World, fields: &str) -> String {
    let mut client = world.client().await;
    client
        .send(&format!("CONNECT ok.example:443 HTTP/1.1\r\n{fields}\r\n"))
        .await;
    client.head().await
}

fn pretending(plugin: &Plugin, token: &str) -> String {
    Plugin {
        token: token.to_owned(),
        ..plugin.clone()
    }
    .header()
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_prove_nothing_are_refused_and_named_by_fingerprint_only() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let first = world.plugin("acme.weather", 1);
    let second = world.plugin("acme.other", 2);
    let past = Timestamp::from_unix_us(1_700_000_000_000_000);
    let expired = world.plugin_until("acme.weather", 3, past);
    let ended = world.plugin("acme.weather", 4);
    world
        .runs
        .end_run(ended.claims.run_id, ended.claims.expires, past);
    for (fields, reason, run_id) in [
        (
            pretending(&second, &first.token),
            RefusalReason::CredentialsInvalid,
            None,
        ),
        (
            pretending(&first, "hunter2"),
            RefusalReason::CredentialsInvalid,
            None,
        ),
        (
            "Proxy-Authorization: Bearer x\r\n".to_owned(),
            RefusalReason::CredentialsInvalid,
            None,
        ),
        (
            expired.header(),
            RefusalReason::CredentialsExpired,
            Some(expired.claims.run_id),
        ),
        (ended.header(), RefusalReason::RunEnded, Some(ended.claims.run_id)),
    ] {
        let head = connect(&world, &fields).await;
        assert!(head.starts_with("HTTP/1.1 407 "), "{head}");
        let refused = world.sink.events().pop().unwrap();
        assert_eq!(refused.reason, Some(reason));
        assert_eq!(refused.run_id, run_id);
        assert_eq!(refused.plugin_id, None);
        assert_eq!(refused.attribution, Some(Attribution::None));
    }
    let record = format!("{:?}", world.sink.events());
    assert!(
        !record.contains("hunter2") && !record.contains(&first.token),
        "{record}"
    );
    world.event(|event| event.credential_fingerprint == Some(token_fingerprint(b"hunter2")));
    assert_eq!(origin.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_a_site_may_observe_and_never_guesses() {
    let origin = Origin::start().await;
    let mut plan = Plan::reaching(&[("ok.example", origin.address)]);
    plan.settings.unattributed = Unattributed::Observe;
    let world = plan.start().await;
    let forged = "X-Plugin-Id: acme.weather\r\nX-Run-Id: r\r\nX-Bailiwick-Artifact: a\r\n";
    assert!(connect(&world, forged).await.starts_with("HTTP/1.1 200 "));
    let open = world.first(EventKind::Open);
    assert_eq!(
        (open.plugin_id, open.run_id, open.artifact_digest),
        (None, None, None)
    );
    assert_eq!(open.attribution, Some(Attribution::None));
    assert_eq!(
        open.stripped_headers,
        ["x-bailiwick-artifact", "x-plugin-id", "x-run-id"]
    );
    let wrong = connect(&world, "Proxy-Authorization: Basic YTpi\r\n").await;
    assert!(
        wrong.starts_with("HTTP/1.1 407 "),
        "bad credentials are not none: {wrong}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ruling_is_asked_with_the_parsed_target_and_written_down_whole() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    world.rulings.set(|identity, target| {
        assert_eq!(identity.unwrap().plugin_id.as_str(), "acme.weather");
        assert_eq!(target.to_string(), "ok.example:443");
        let mut ruling = Ruling::deny(Mode::Enforce, RefusalReason::Tier, "Ask ops@acme.example.");
        ruling.matched_entry = Some("*.ok.example:443".to_owned());
        ruling.would_deny = Some(true);
        ruling.crl_number = Some(42);
        ruling.crl_stale = true;
        ruling.policy_version = Some(7);
        ruling
    });
    let mut client = world.client().await;
    client
        .send(&format!(
            "CONNECT OK.EXAMPLE:443 HTTP/1.1\r\n{}\r\n",
            plugin.header()
        ))
        .await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!(
        body,
        "bailiwick refused ok.example:443 (tier by *.ok.example:443). Ask ops@acme.example.\n"
    );
    let refused = world.first(EventKind::Refused);
    assert_eq!(refused.plugin_id, Some(plugin.claims.plugin_id));
    assert_eq!(refused.mode, Some(Mode::Enforce));
    assert_eq!(refused.matched_entry.as_deref(), Some("*.ok.example:443"));
    assert_eq!(
        (
            refused.would_deny,
            refused.crl_number,
            refused.crl_stale,
            refused.policy_version
        ),
        (Some(true), Some(42), true, Some(7))
    );
    assert_eq!(world.count(EventKind::Open), 0);
    assert_eq!(origin.connections(), 0);
}
