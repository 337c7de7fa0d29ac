//! Starting, asking how it is, and stopping.

use std::time::Duration;

use base::{Outcome, RefusalReason};
use evidence::EventKind;
use proxy::{EvidenceSettings, Gateway, MemorySink, Recorder, StartError};

use crate::world::{Origin, Plan, Talker, World};

async fn admin(world: &World, path: &str) -> (String, String) {
    let mut client = Talker::to(world.gateway.admin_address().unwrap()).await;
    client
        .send(format!(
            "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"
        ))
        .await;
    let all = String::from_utf8(client.rest().await).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

async fn with_admin(hosts: &[(&str, std::net::SocketAddr)]) -> World {
    let mut plan = Plan::reaching(hosts);
    plan.settings.admin = Some("127.0.0.1:0".parse().unwrap());
    plan.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port_tells_health_readiness_and_counts_without_names() {
    let origin = Origin::start().await;
    let world = with_admin(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    drop(world.tunnel(&plugin, "ok.example:443").await);
    drop(origin.accept().await);
    world.first(EventKind::Close);
    assert!(admin(&world, "/healthz").await.0.starts_with("HTTP/1.1 200 "));
    assert!(admin(&world, "/readyz").await.0.starts_with("HTTP/1.1 200 "));
    let (_, page) = admin(&world, "/metrics").await;
    for line in [
        "bailiwick_gateway_connections_opened_total 1\n",
        "bailiwick_gateway_ended_total{outcome=\"client_closed\"} 1\n",
        "bailiwick_gateway_evidence_writable 1\n",
    ] {
        assert!(page.contains(line), "{page}");
    }
    assert!(
        !page.contains("ok.example") && !page.contains("acme.weather"),
        "{page}"
    );
    world.sink.break_with("disk full");
    let mut client = world.client().await;
    client
        .send(&format!(
            "CONNECT ok.example:443 HTTP/1.1\r\n{}\r\n",
            plugin.header()
        ))
        .await;
    client.head().await;
    let (head, why) = admin(&world, "/readyz").await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(why, "evidence cannot be written\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_waits_for_tunnels_until_the_deadline_and_cuts_the_rest() {
    let origin = Origin::start().await;
    let world = with_admin(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut patient = world.tunnel(&plugin, "ok.example:443").await;
    let mut server = origin.accept().await;
    let mut idle = world.client().await;
    idle.send("CONNECT ok.example:443 HTTP/1.1\r\n\r\n").await;
    assert!(idle.head().await.starts_with("HTTP/1.1 407 "));
    let stop = |deadline| {
        let gateway = std::sync::Arc::clone(&world.gateway);
        tokio::spawn(async move { gateway.shutdown(deadline).await })
    };
    let patiently = stop(Duration::from_secs(600));
    // While it drains, what stands goes on, and nothing new is taken.
    assert_eq!(idle.rest().await, b"");
    assert_eq!(admin(&world, "/readyz").await.1, "draining\n");
    patient.send("last words").await;
    assert_eq!(server.exactly(10).await, b"last words");
    stop(Duration::ZERO).await.unwrap();
    patiently.await.unwrap();
    assert!(patient.is_reset().await);
    assert_eq!(world.first(EventKind::Close).outcome, Some(Outcome::Shutdown));
    assert_eq!(world.kinds().last(), Some(&EventKind::Stop));
    assert_eq!(world.count(EventKind::Stop), 1);
    assert!(tokio::net::TcpStream::connect(world.address()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_without_tunnels_waits_for_nothing_and_can_be_repeated() {
    let world = World::reaching(&[]).await;
    world.gateway.shutdown(Duration::MAX).await;
    world.gateway.shutdown(Duration::MAX).await;
    assert_eq!(world.kinds(), [EventKind::Start, EventKind::Stop]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_while_draining_is_refused_with_an_answer() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let begun = "CONNECT ok.example:443 HTTP/1.1\r\n";
    let mut client = world.client().await;
    client.send(&format!("{begun}\r\n{begun}")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 407 "));
    // Whoever came in before and was not served yet is.
    let mut early = world.client().await;
    early.send(begun).await;
    // A tunnel keeps the gateway draining instead of stopping.
    let tunnel = world.tunnel(&plugin, "ok.example:443").await;
    let gateway = std::sync::Arc::clone(&world.gateway);
    let stopping = tokio::spawn(async move { gateway.shutdown(Duration::from_secs(600)).await });
    while world.gateway.is_ready() {
        tokio::task::yield_now().await;
    }
    client.send(format!("{}\r\n", plugin.header())).await;
    assert!(client.head().await.starts_with("HTTP/1.1 503 "));
    world.event(|event| event.reason == Some(RefusalReason::Draining));
    early.send(format!("{}\r\n", plugin.header())).await;
    assert!(early.head().await.starts_with("HTTP/1.1 200 "));
    drop((client, early, tunnel));
    drop([origin.accept().await, origin.accept().await]);
    stopping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_does_not_start_on_a_taken_address_or_with_another_gateways_log() {
    let world = World::reaching(&[]).await;
    let start = |name: &str, address: std::net::SocketAddr| {
        let mut settings = proxy::Settings::new("gw-test");
        settings.listen = vec![proxy::ListenAddress::Tcp(address)];
        let recorder = Recorder::start(MemorySink::new(), EvidenceSettings::new(name), None).unwrap();
        let rulings: std::sync::Arc<dyn proxy::Rulings> =
            std::sync::Arc::<crate::world::Rules>::clone(&world.rulings);
        Gateway::start(
            settings,
            std::sync::Arc::<proxy::TokenRuns>::clone(&world.runs),
            rulings,
            recorder,
        )
    };
    let taken = world.address();
    assert!(matches!(
        start("gw-test", taken).await,
        Err(StartError::Listen { address, .. }) if address == proxy::ListenAddress::Tcp(taken)
    ));
    let free = "127.0.0.1:0".parse().unwrap();
    assert!(matches!(
        start("gw-other", free).await,
        Err(StartError::OtherLog { .. })
    ));
}
