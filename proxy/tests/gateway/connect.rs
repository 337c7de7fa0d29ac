//! CONNECT: tunnels from request to record.

use std::time::Duration;

use base::{Attribution, Decision, DnsResult, ObservedScheme, Outcome};
use evidence::EventKind;
use tokio::io::AsyncWriteExt as _;

use crate::world::{Origin, Plan, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_carries_every_byte_and_is_recorded_from_open_to_close() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = world.tunnel(&plugin, "OK.example.:443").await;
    let mut server = origin.accept().await;
    let question: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
    let answer: Vec<u8> = question.iter().rev().copied().collect();
    client.send(&question[..10]).await;
    assert_eq!(server.exactly(10).await, question[..10]);
    let (to_server, mut write) = (question[10..].to_vec(), client.io);
    let sending = tokio::spawn(async move {
        write.write_all(&to_server).await.unwrap();
        write
    });
    assert_eq!(server.exactly(question.len() - 10).await, question[10..].to_vec());
    let mut client = crate::world::Talker::over(sending.await.unwrap());
    let back = answer.clone();
    let answering = tokio::spawn(async move {
        server.send(&back).await;
        server
    });
    assert_eq!(client.exactly(answer.len()).await, answer);
    let mut server = answering.await.unwrap();
    client.io.shutdown().await.unwrap();
    assert_eq!(server.rest().await, b"");
    drop(server);
    assert_eq!(client.rest().await, b"");

    let close = world.first(EventKind::Close);
    let open = world.first(EventKind::Open);
    assert_eq!(open.destination_host.unwrap().to_string(), "ok.example");
    assert_eq!(open.raw_target.as_deref(), Some("OK.example.:443"));
    assert_eq!(open.plugin_id, Some(plugin.claims.plugin_id));
    assert_eq!(open.artifact_digest, Some(plugin.claims.artifact_digest));
    assert_eq!(open.run_id, Some(plugin.claims.run_id));
    assert_eq!(open.attribution, Some(Attribution::Token));
    assert_eq!(open.decision, Some(Decision::Allow));
    assert_eq!(close.connection_id, open.connection_id);
    assert_eq!(close.bytes_out, Some(question.len() as u64));
    assert_eq!(close.bytes_in, Some(answer.len() as u64));
    assert_eq!(close.outcome, Some(Outcome::ClientClosed));
    assert_eq!(close.dns_result, Some(DnsResult::Override));
    assert_eq!(close.dialed_ip, Some(origin.address.ip()));
    assert_eq!(close.scheme, Some(ObservedScheme::Tcp));
    world.gateway.shutdown(Duration::ZERO).await;
    assert_eq!(world.kinds().first(), Some(&EventKind::Start));
    assert_eq!(world.kinds().last(), Some(&EventKind::Stop));
    assert_eq!(world.count(EventKind::Close), 1);
    assert_eq!(world.sink.checkpointed(), world.sink.events().len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_authenticate_on_the_connection_that_was_refused() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let mut client = world.client().await;
    client
        .send("CONNECT ok.example:443 HTTP/1.1\r\nHost: ok.example:443\r\n\r\n")
        .await;
    let (head, body) = client.response().await;
    assert!(
        head.starts_with("HTTP/1.1 407 ") && head.contains("Proxy-Authenticate: Basic"),
        "{head}"
    );
    assert_eq!(body, "");
    let plugin = world.plugin("acme.weather", 1);
    client
        .send(&format!(
            "CONNECT ok.example:443 HTTP/1.1\r\n{}\r\n",
            plugin.header()
        ))
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    let refused = world.first(EventKind::Refused);
    assert_eq!(refused.reason, Some(base::RefusalReason::CredentialsMissing));
    assert_eq!(refused.destination_host.unwrap().to_string(), "ok.example");
    assert_eq!(refused.plugin_id, None);
    assert_eq!(world.count(EventKind::Open), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_without_host_and_connection_close_still_make_a_tunnel() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    for (version, fields) in [("1.0", ""), ("1.1", "Connection: close\r\nHost: ok.example\r\n")] {
        let mut client = world.client().await;
        client
            .send(&format!(
                "CONNECT ok.example:80 HTTP/{version}\r\n{fields}{}\r\n",
                plugin.header()
            ))
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        let mut server = origin.accept().await;
        client.send("ping").await;
        assert_eq!(server.exactly(4).await, b"ping");
        server.send("pong").await;
        assert_eq!(client.exactly(4).await, b"pong");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_sent_with_the_request_belong_to_the_tunnel() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = world.client().await;
    client
        .send(&format!(
            "CONNECT ok.example:22 HTTP/1.1\r\n{}\r\nSSH-2.0-x\r\n",
            plugin.header()
        ))
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    let mut server = origin.accept().await;
    assert_eq!(server.exactly(11).await, b"SSH-2.0-x\r\n");
    let connected = world.first(EventKind::Connected);
    assert_eq!(connected.scheme, Some(ObservedScheme::Ssh));
    drop(client);
    drop(server);
    assert_eq!(world.first(EventKind::Close).bytes_out, Some(11));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_inside_tls_is_recorded_beside_the_name_asked_for() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let mut client = world
        .tunnel(&world.plugin("acme.weather", 1), "ok.example:443")
        .await;
    let hello = client_hello("evil.example");
    for byte in hello.chunks(100) {
        client.send(byte).await;
    }
    assert_eq!(origin.accept().await.exactly(hello.len()).await, hello);
    let connected = world.first(EventKind::Connected);
    assert_eq!(connected.destination_host.unwrap().to_string(), "ok.example");
    assert_eq!(connected.scheme, Some(ObservedScheme::Tls));
    assert_eq!(connected.sni.as_deref(), Some("evil.example"));
    assert_eq!(connected.alpn.as_deref(), Some("h2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_first_is_not_kept_waiting() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("mail.example", origin.address)]).await;
    let mut client = world
        .tunnel(&world.plugin("acme.weather", 1), "mail.example:25")
        .await;
    let mut server = origin.accept().await;
    server.send("220 hello\r\n").await;
    assert_eq!(client.exactly(11).await, b"220 hello\r\n");
    assert_eq!(
        world.first(EventKind::Connected).scheme,
        Some(ObservedScheme::Tcp)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_tunnel_goes_on_in_the_other_direction() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let mut client = world
        .tunnel(&world.plugin("acme.weather", 1), "ok.example:443")
        .await;
    let mut server = origin.accept().await;
    client.send("question").await;
    client.io.shutdown().await.unwrap();
    assert_eq!(server.rest().await, b"question");
    server.send("answer").await;
    assert_eq!(client.exactly(6).await, b"answer");
    drop(server);
    assert_eq!(client.rest().await, b"");
    let close = world.first(EventKind::Close);
    assert_eq!(close.outcome, Some(Outcome::ClientClosed));
    assert_eq!((close.bytes_out, close.bytes_in), (Some(8), Some(6)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_on_one_side_is_a_reset_on_the_other() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);

    let mut client = world.tunnel(&plugin, "ok.example:443").await;
    origin.accept().await.reset();
    assert!(client.is_reset().await);
    world.event(|event| event.outcome == Some(Outcome::ServerReset));

    let client = world.tunnel(&plugin, "ok.example:443").await;
    let mut server = origin.accept().await;
    client.reset();
    assert!(server.is_reset().await);
    world.event(|event| event.outcome == Some(Outcome::ClientReset));

    world.gateway.shutdown(Duration::ZERO).await;
    assert_eq!(world.count(EventKind::Close), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_noticed_while_the_receiver_takes_nothing() {
    let origin = Origin::start().await;
    let mut plan = Plan::reaching(&[("ok.example", origin.address)]);
    plan.settings.timeouts.stalled = Duration::from_millis(20);
    let world = plan.start().await;
    let plugin = world.plugin("acme.weather", 1);
    let client = world.tunnel(&plugin, "ok.example:443").await;
    let server = origin.accept().await;
    // The server reads nothing, until neither the gateway nor anybody's socket takes any more.
    let mut refusals = 0;
    while refusals < 10_000 {
        refusals = match client.io.try_write(&[0; 65536]) {
            Ok(_) => 0,
            Err(_) => refusals + 1,
        };
        tokio::task::yield_now().await;
    }
    client.reset();
    world.event(|event| event.outcome == Some(Outcome::ClientReset));
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_cannot_be_reached_is_answered_and_recorded() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let world = World::reaching(&[("down.example", closed)]).await;
    let mut client = world.client().await;
    let plugin = world.plugin("acme.weather", 1);
    client
        .send(&format!(
            "CONNECT down.example:443 HTTP/1.1\r\n{}\r\n",
            plugin.header()
        ))
        .await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert!(
        head.contains("Proxy-Status: bailiwick; error=connection_refused"),
        "{head}"
    );
    assert!(head.contains("X-Bailiwick-Reason: connect_failed"), "{head}");
    assert!(body.contains("down.example:443"), "{body}");
    let close = world.first(EventKind::Close);
    assert_eq!(close.outcome, Some(Outcome::ConnectFailed));
    assert_eq!(close.payload_class.as_deref(), Some("empty out=0 in=0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_in_which_nothing_moves_is_ended_and_one_that_lasts_says_so() {
    let origin = Origin::start().await;
    let mut plan = Plan::reaching(&[("ok.example", origin.address)]);
    plan.settings.timeouts.idle = Duration::from_millis(100);
    plan.settings.timeouts.progress = Duration::from_millis(20);
    let world = plan.start().await;
    let mut client = world
        .tunnel(&world.plugin("acme.weather", 1), "ok.example:443")
        .await;
    client.send("hello").await;
    let mut server = origin.accept().await;
    assert_eq!(server.exactly(5).await, b"hello");
    assert!(client.is_reset().await);
    assert!(server.is_reset().await);
    let close = world.first(EventKind::Close);
    assert_eq!(close.outcome, Some(Outcome::IdleTimeout));
    assert_eq!(close.timeout, Some(evidence::Timeout::Idle));
    let progress = world.first(EventKind::Progress);
    assert_eq!(progress.connection_id, close.connection_id);
    assert_eq!(progress.bytes_out, Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_tunnel_says_everything_in_its_close() {
    let origin = Origin::start().await;
    let mut plan = Plan::reaching(&[("ok.example", origin.address)]);
    plan.settings.timeouts.announce = Duration::from_secs(600);
    let world = plan.start().await;
    let mut client = world
        .tunnel(&world.plugin("acme.weather", 1), "ok.example:80")
        .await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    drop(client);
    drop(origin.accept().await);
    assert_eq!(world.first(EventKind::Close).scheme, Some(ObservedScheme::Http));
    assert_eq!(
        world.kinds(),
        [EventKind::Start, EventKind::Open, EventKind::Close]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_above_the_limit_is_told_so_and_does_not_disturb_the_others() {
    let origin = Origin::start().await;
    let mut plan = Plan::reaching(&[("ok.example", origin.address)]);
    plan.settings.limits.connections = 1;
    let world = plan.start().await;
    let plugin = world.plugin("acme.weather", 1);
    let mut first = world.tunnel(&plugin, "ok.example:443").await;
    let mut second = world.client().await;
    let head = second.head().await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("X-Bailiwick-Reason: limit\r\n"), "{head}");
    let mut server = origin.accept().await;
    first.send("still here").await;
    assert_eq!(server.exactly(10).await, b"still here");
}

/// A ClientHello as small as one can be: name and one protocol.
fn client_hello(name: &str) -> Vec<u8> {
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
    let entry = [&[0][..], &length(name.as_bytes()), name.as_bytes()].concat();
    let names = [&length(&entry)[..], &entry].concat();
    let protocols = [0, 3, 2, b'h', b'2'];
    let extensions = [
        &[0, 0][..],
        &length(&names),
        &names,
        &[0, 16],
        &length(&protocols),
        &protocols,
    ]
    .concat();
    let body = [
        &[3, 3][..],
        &[9; 32],
        &[0],
        &[0, 2, 0x13, 1],
        &[1, 0],
        &length(&extensions),
        &extensions,
    ]
    .concat();
    let message = [&[1, 0][..], &length(&body), &body].concat();
    [&[22, 3, 1][..], &length(&message), &message].concat()
}
