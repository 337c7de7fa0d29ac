//! SOCKS5 on the same port.

use base::{Attribution, RefusalReason, Transport};
use evidence::EventKind;

use crate::world::{Origin, Plan, Plugin, Talker, World};

/// Greets and authenticates; the server's verdict on the credentials.
async fn authenticate(world: &World, plugin: &Plugin) -> (Talker, u8) {
    let mut client = world.client().await;
    client.send([5, 2, 0, 2]).await;
    assert_eq!(client.exactly(2).await, [5, 2]);
    let user = plugin.claims.run_id.to_string();
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    let message = [
        &[1, length(&user)],
        user.as_bytes(),
        &[length(&plugin.token)],
        plugin.token.as_bytes(),
    ]
    .concat();
    client.send(message).await;
    let answer = client.exactly(2).await;
    (client, answer[1])
}

fn ask(command: u8, host: &[u8], port: u16) -> Vec<u8> {
    let length = u8::try_from(host.len()).unwrap();
    [&[5, command, 0, 3, length], host, &port.to_be_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socks_tunnel_is_named_relayed_and_recorded_like_any_other() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let (mut client, verdict) = authenticate(&world, &plugin).await;
    assert_eq!(verdict, 0);
    client.send(ask(1, b"OK.example", 443)).await;
    assert_eq!(client.exactly(10).await, [5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let mut server = origin.accept().await;
    client.send("GET / HTTP/1.1\r\n").await;
    assert_eq!(server.exactly(16).await, b"GET / HTTP/1.1\r\n");
    drop(client);
    drop(server);
    let close = world.first(EventKind::Close);
    assert_eq!(close.plugin_id, Some(plugin.claims.plugin_id));
    assert_eq!(close.attribution, Some(Attribution::Token));
    assert_eq!(close.destination_host.unwrap().to_string(), "ok.example");
    assert_eq!(close.raw_target.as_deref(), Some("OK.example"));
    assert_eq!(close.scheme, Some(base::ObservedScheme::Http));
}

#[tokio::test(flavor = "multi_thread")]
async fn socks_without_or_with_wrong_credentials_is_refused_and_recorded() {
    let world = World::reaching(&[]).await;
    let mut client = world.client().await;
    client.send([5, 1, 0]).await;
    assert_eq!(client.rest().await, [5, 0xff]);
    let mut plugin = world.plugin("acme.weather", 1);
    plugin.token = "wrong".to_owned();
    let (mut client, verdict) = authenticate(&world, &plugin).await;
    assert_eq!(verdict, 1);
    assert_eq!(client.rest().await, b"");
    let reasons: Vec<_> = world
        .sink
        .events()
        .iter()
        .filter_map(|event| event.reason)
        .collect();
    assert_eq!(
        reasons,
        [
            RefusalReason::CredentialsMissing,
            RefusalReason::CredentialsInvalid
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_socks_asks_for_and_does_not_get_is_answered_and_recorded() {
    let origin = Origin::start().await;
    let mut plan = Plan::reaching(&[("evil.com", origin.address), ("ok.com", origin.address)]);
    plan.settings.allow_private.clear();
    let world = plan.start().await;
    let plugin = world.plugin("acme.weather", 1);
    for (message, code, reason) in [
        (ask(3, b"ok.com", 53), 7, RefusalReason::Unsupported),
        (ask(2, b"ok.com", 80), 7, RefusalReason::Unsupported),
        // As clients of UDP say it that do not know yet where they will send from (RFC 1928 §7).
        (vec![5, 3, 0, 1, 0, 0, 0, 0, 0, 0], 7, RefusalReason::Unsupported),
        (ask(1, b"evil.com\0.ok.com", 443), 1, RefusalReason::Malformed),
        (ask(1, b"", 443), 1, RefusalReason::Malformed),
        (ask(1, &[b'a'; 255], 443), 1, RefusalReason::Malformed),
        (vec![5, 1, 0, 9], 8, RefusalReason::Malformed),
        (
            [&[5, 1, 0, 1][..], &[127, 0, 0, 1], &[0, 80]].concat(),
            2,
            RefusalReason::Floor,
        ),
        (ask(1, b"ok.com", 443), 2, RefusalReason::Floor),
    ] {
        let (mut client, _) = authenticate(&world, &plugin).await;
        client.send(&message).await;
        assert_eq!(client.exactly(10).await[1], code, "{message:?}");
        client.rest().await;
        world.event(|event| event.reason == Some(reason));
    }
    let udp = world.event(|event| event.transport == Some(Transport::Udp));
    assert_eq!(udp.plugin_id, Some(plugin.claims.plugin_id));
    assert_eq!(udp.destination_host.unwrap().to_string(), "ok.com");
    assert_eq!(origin.connections(), 0);
}
