//! The floor: what no connection reaches.

use base::{Decision, Outcome, RefusalReason};
use evidence::EventKind;

use crate::world::{Origin, Plan};

#[tokio::test(flavor = "multi_thread")]
async fn addresses_below_the_floor_are_refused_before_anything_is_opened() {
    let mut plan = Plan::reaching(&[]);
    plan.settings.allow_private.clear();
    let world = plan.start().await;
    let plugin = world.plugin("acme.weather", 1);
    for target in [
        "127.0.0.1:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]:80",
        "[::127.0.0.1]:80",
        "[64:ff9b::7f00:1]:80",
        "[2002:7f00:1::]:80",
        "169.254.169.254:80",
        "10.0.0.1:80",
        "0.0.0.0:80",
    ] {
        let mut client = world.client().await;
        client
            .send(&format!("CONNECT {target} HTTP/1.1\r\n{}\r\n", plugin.header()))
            .await;
        let (head, _) = client.response().await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{target}: {head}");
        assert!(head.contains("error=destination_ip_prohibited"), "{head}");
        let refused = world.sink.events().pop().unwrap();
        assert_eq!(refused.kind, EventKind::Refused, "{target}");
        assert_eq!(refused.reason, Some(RefusalReason::Floor), "{target}");
    }
    assert_eq!(world.count(EventKind::Open), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_resolves_below_the_floor_is_an_attempt_that_came_to_nothing() {
    let origin = Origin::start().await;
    let mut plan = Plan::reaching(&[("10.0.0.1.nip.example", origin.address)]);
    plan.settings.allow_private.clear();
    let world = plan.start().await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = world.client().await;
    client
        .send(&format!(
            "CONNECT 10.0.0.1.nip.example:443 HTTP/1.1\r\n{}\r\n",
            plugin.header()
        ))
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 403 "));
    let close = world.first(EventKind::Close);
    assert_eq!(close.outcome, Some(Outcome::FloorRefused));
    assert_eq!(close.reason, Some(RefusalReason::Floor));
    assert_eq!(close.decision, Some(Decision::Deny));
    assert_eq!(close.resolved_ips, [origin.address.ip()]);
    assert_eq!(close.dialed_ip, None);
    assert_eq!(origin.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_mixed_answer_only_what_is_above_the_floor_is_dialled() {
    let above = Origin::start().await;
    // Both are on loopback; the floor is lifted for one of the two only.
    let below = "127.0.0.2:9".parse().unwrap();
    let mut plan = Plan::reaching(&[("mixed.example", below), ("mixed.example", above.address)]);
    plan.settings.allow_private = vec!["127.0.0.1/32".parse().unwrap()];
    let world = plan.start().await;
    let client = world
        .tunnel(&world.plugin("acme.weather", 1), "mixed.example:443")
        .await;
    drop(client);
    drop(above.accept().await);
    let close = world.first(EventKind::Close);
    assert_eq!(close.dialed_ip, Some(above.address.ip()));
    assert_eq!(close.resolved_ips, [below.ip(), above.address.ip()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_own_listeners_are_never_dialled() {
    let mut plan = Plan::reaching(&[]);
    plan.settings.admin = Some("127.0.0.1:0".parse().unwrap());
    let control = Origin::start().await;
    plan.settings.own_addresses = vec![control.address];
    let world = plan.start().await;
    let plugin = world.plugin("acme.weather", 1);
    let own = [
        world.address(),
        world.gateway.admin_address().unwrap(),
        control.address,
    ];
    for address in own {
        let mut client = world.client().await;
        client
            .send(&format!("CONNECT {address} HTTP/1.1\r\n{}\r\n", plugin.header()))
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 403 "), "{address}");
    }
    assert_eq!(control.connections(), 0);
}
