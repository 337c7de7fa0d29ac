//! What happens to connections while evidence cannot be written.

use base::RefusalReason;
use evidence::{EventKind, LogWriter, Origin as LogOrigin};
use proxy::{Durability, EvidenceSettings, Gap, OnFailure, Recorder};
use seal::SigningKey;

use crate::world::{Origin, Plan};

#[tokio::test(flavor = "multi_thread")]
async fn under_refuse_no_connection_is_made_without_a_record() {
    let origin = Origin::start().await;
    let world = Plan::reaching(&[("ok.example", origin.address)]).start().await;
    let plugin = world.plugin("acme.weather", 1);
    world.first(EventKind::Start);
    world.sink.break_with("disk full");
    let mut client = world.client().await;
    let request = format!("CONNECT ok.example:443 HTTP/1.1\r\n{}\r\n", plugin.header());
    client.send(&request).await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(
        head.contains("X-Bailiwick-Reason: evidence_unavailable\r\n"),
        "{head}"
    );
    assert!(body.contains("no connection without a record"), "{body}");
    assert!(!world.gateway.is_ready());
    assert_eq!(origin.connections(), 0);

    world.sink.mend();
    client.send(&request).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    world.gateway.checkpoint().await.unwrap();
    assert!(world.gateway.is_ready());
    let refused = world.first(EventKind::Refused);
    assert_eq!(refused.reason, Some(RefusalReason::EvidenceUnavailable));
    assert_eq!(refused.plugin_id, Some(plugin.claims.plugin_id));
    // Everything that happened is on record, late; nothing is missing.
    assert_eq!(world.count(EventKind::Open), 1);
    assert_eq!(world.count(EventKind::Gap), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_continue_connections_go_on_and_the_log_says_so_afterwards() {
    let origin = Origin::start().await;
    let mut plan = Plan::reaching(&[("ok.example", origin.address)]);
    plan.evidence.on_failure = OnFailure::Continue;
    let world = plan.start().await;
    let plugin = world.plugin("acme.weather", 1);
    world.first(EventKind::Start);
    world.sink.break_with("disk full");
    let mut client = world.tunnel(&plugin, "ok.example:443").await;
    let mut server = origin.accept().await;
    client.send("unwatched").await;
    assert_eq!(server.exactly(9).await, b"unwatched");
    assert!(world.gateway.is_ready());
    assert!(world.gateway.checkpoint().await.is_err());
    world.sink.mend();
    let gap = world.first(EventKind::Gap);
    assert_eq!(gap.count, Some(1));
    let cause = gap.cause.unwrap();
    assert!(
        cause.contains("disk full") && cause.contains("1 connections went on"),
        "{cause}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_waits_for_the_disk_and_group_does_not() {
    for durability in [Durability::Strict, Durability::Group] {
        let origin = Origin::start().await;
        let mut plan = Plan::reaching(&[("ok.example", origin.address)]);
        plan.evidence.durability = durability;
        let world = plan.start().await;
        let plugin = world.plugin("acme.weather", 1);
        if durability == Durability::Strict {
            drop(world.tunnel(&plugin, "ok.example:443").await);
            assert!(world.sink.syncs() > 0);
        } else {
            world.sink.stall();
            drop(world.tunnel(&plugin, "ok.example:443").await);
            assert_eq!(world.sink.syncs(), 0);
            world.sink.mend();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_on_demand_covers_everything_recorded_before() {
    let origin = Origin::start().await;
    let mut plan = Plan::reaching(&[("ok.example", origin.address)]);
    plan.evidence.checkpoint_interval = std::time::Duration::from_secs(3600);
    let world = plan.start().await;
    let plugin = world.plugin("acme.weather", 1);
    drop(world.tunnel(&plugin, "ok.example:443").await);
    let size = world.gateway.checkpoint().await.unwrap();
    assert!(size >= 2, "start and open");
    assert_eq!(world.sink.checkpointed(), size);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_found_at_opening_is_the_first_event() {
    let sink = proxy::MemorySink::new();
    let gap = Gap {
        cause: "a torn record".to_owned(),
        count: None,
    };
    let recorder = Recorder::start(sink.clone(), EvidenceSettings::new("gw-test"), Some(gap)).unwrap();
    recorder.close().await;
    let events = sink.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, EventKind::Gap);
    assert_eq!(events[0].cause.as_deref(), Some("a torn record"));
    assert_eq!(sink.checkpointed(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_log_takes_what_the_gateway_writes() {
    let folder = tempfile::tempdir().unwrap();
    let log_origin: LogOrigin = "acme/gw-test".parse().unwrap();
    let key = SigningKey::ed25519_from_seed(&[3; 32]);
    let (log, recovery) = LogWriter::open(folder.path(), &log_origin, key).unwrap();
    assert_eq!(Gap::found_by(&recovery), None);
    let recorder = Recorder::start(log, EvidenceSettings::new("gw-test"), None).unwrap();
    let event = evidence::Event::new(
        EventKind::Start,
        base::Timestamp::from_unix_us(1_700_000_000_000_000),
        "gw-test",
    );
    recorder.record_and_wait(&event).await.unwrap();
    let mut too_large = event.clone();
    too_large.cause = Some("x".repeat(evidence::MAX_EVENT_BYTES));
    recorder.record(too_large);
    recorder.record(event);
    assert_eq!(recorder.checkpoint().await.unwrap(), 3);
    recorder.close().await;
    assert!(folder.path().join("checkpoint").exists());
}
