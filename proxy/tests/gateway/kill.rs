//! Kills: every state a connection can be in, and nobody else's.

use std::sync::Arc;
use std::time::Duration;

use base::{DnsResult, Mode, Outcome, RefusalReason};
use evidence::EventKind;
use proxy::{KillScope, Ruling};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{Origin, Plan, World};

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_tunnel_ends_with_a_reset_on_both_sides_and_one_close() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let (doomed, spared) = (world.plugin("acme.doomed", 1), world.plugin("acme.spared", 2));
    let mut client = world.tunnel(&doomed, "ok.example:443").await;
    let mut server = origin.accept().await;
    let mut half_closed = world.tunnel(&doomed, "ok.example:443").await;
    let mut half_server = origin.accept().await;
    half_closed.io.shutdown().await.unwrap();
    assert_eq!(half_server.rest().await, b"");
    let mut other = world.tunnel(&spared, "ok.example:443").await;
    let mut other_server = origin.accept().await;

    let scope = KillScope::Artifact(doomed.claims.artifact_digest);
    let receipt = world.gateway.kill(scope.clone()).await;
    assert_eq!(receipt.tunnels, 2);
    assert_eq!(world.gateway.live(), 1);
    assert!(client.is_reset().await);
    assert!(server.is_reset().await);
    assert!(half_closed.is_reset().await);
    // It read the end of the stream before; that the connection is gone shows when it writes.
    assert!(half_server.io.write_all(b"too late").await.is_err());
    other.send("still here").await;
    assert_eq!(other_server.exactly(10).await, b"still here");

    let kill = world.first(EventKind::Kill);
    assert_eq!(kill.scope, Some(scope.to_string()));
    assert_eq!(kill.tunnels, Some(2));
    let killed = world
        .sink
        .events()
        .iter()
        .filter(|event| event.kind == EventKind::Close && event.outcome == Some(Outcome::Killed))
        .count();
    assert_eq!(killed, 2);
    assert_eq!(world.gateway.kill(scope).await.tunnels, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_in_full_talk_is_reset_at_once_and_each_of_its_ends_is_called_a_kill() {
    const CROWD: usize = 48;
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let (doomed, spared) = (world.plugin("acme.doomed", 1), world.plugin("acme.spared", 2));
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let client = world.tunnel(&doomed, "ok.example:443").await;
        crowd.push((client, origin.accept().await));
    }
    let mut talking = Vec::new();
    for (mut client, mut server) in crowd {
        talking.push(tokio::spawn(async move {
            while client.io.write_all(b"on and on").await.is_ok() {}
        }));
        talking.push(tokio::spawn(async move {
            let mut said = vec![0; 1 << 16];
            while matches!(server.io.read(&mut said).await, Ok(1..)) {}
        }));
    }
    let mut other = world.tunnel(&spared, "ok.example:443").await;
    let mut other_server = origin.accept().await;
    let scope = KillScope::Run(doomed.claims.run_id);
    assert_eq!(world.gateway.kill(scope).await.tunnels, CROWD as u64);
    for end in talking {
        end.await.unwrap();
    }
    other.send("still here").await;
    assert_eq!(other_server.exactly(10).await, b"still here");
    let ends = world.sink.wait_for(Duration::from_secs(60), |events| {
        let closes = events.iter().filter(|event| event.kind == EventKind::Close);
        let ends: Vec<_> = closes.map(|event| event.outcome).collect();
        (ends.len() == CROWD).then_some(ends)
    });
    assert_eq!(ends, Some(vec![Some(Outcome::Killed); CROWD]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_still_being_looked_up_is_killed_with_an_answer() {
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut plan = Plan::reaching(&[]);
    plan.settings.resolver.servers = vec![silent.local_addr().unwrap()];
    plan.settings.timeouts.lookup = Duration::from_secs(600);
    let world = plan.start().await;
    let plugin = world.plugin("acme.doomed", 1);
    let mut client = world.client().await;
    client
        .send(&format!(
            "CONNECT pending.example:443 HTTP/1.1\r\n{}\r\n",
            plugin.header()
        ))
        .await;
    // The question is on its way, so the connection is in the middle of its lookup.
    silent.recv_from(&mut [0; 512]).await.unwrap();
    let receipt = world.gateway.kill(KillScope::Run(plugin.claims.run_id)).await;
    assert_eq!(receipt.tunnels, 1);
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert!(head.contains("X-Bailiwick-Reason: killed\r\n"), "{head}");
    assert_eq!(world.first(EventKind::Close).outcome, Some(Outcome::Killed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_receiver_does_not_delay_a_kill() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.doomed", 1);
    let client = world.tunnel(&plugin, "ok.example:443").await;
    let server = origin.accept().await;
    // The server reads nothing: the window closes and bytes wait in the gateway.
    let mut sender = client.io;
    let flood = tokio::spawn(async move { while sender.write_all(&[0; 65536]).await.is_ok() {} });
    world.first(EventKind::Connected);
    assert_eq!(world.gateway.kill(KillScope::All).await.tunnels, 1);
    flood.await.unwrap();
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_plain_http_connection_is_cut_too() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.doomed", 1);
    let mut client = world.client().await;
    client
        .send(&format!(
            "GET http://ok.example/ HTTP/1.1\r\nHost: ok.example\r\n{}\r\n",
            plugin.header()
        ))
        .await;
    let mut server = origin.accept().await;
    server.head().await;
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    client.head().await;
    world.first(EventKind::Close);
    let scope = KillScope::Plugin(plugin.claims.plugin_id);
    assert_eq!(world.gateway.kill(scope).await.tunnels, 1);
    assert!(client.is_reset().await);
    assert!(server.is_reset().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_slips_between_a_changed_ruling_and_the_kill() {
    let origin = Origin::start().await;
    let world = Arc::new(World::reaching(&[("ok.example", origin.address)]).await);
    let plugin = world.plugin("acme.doomed", 1);
    let connecting: Vec<_> = (0..64)
        .map(|_| {
            let (world, plugin) = (Arc::clone(&world), plugin.clone());
            tokio::spawn(async move {
                let mut client = world.client().await;
                client
                    .send(&format!(
                        "CONNECT ok.example:443 HTTP/1.1\r\n{}\r\n",
                        plugin.header()
                    ))
                    .await;
                client.sees_its_end().await;
            })
        })
        .collect();
    world.first(EventKind::Open);
    world
        .rulings
        .set(|_, _| Ruling::deny(Mode::Revoked, RefusalReason::Revoked, ""));
    world
        .gateway
        .kill(KillScope::Artifact(plugin.claims.artifact_digest))
        .await;
    // Every client sees an end: a refusal, or a cut connection. None is left relaying.
    for client in connecting {
        client.await.unwrap();
    }
    assert_eq!(world.gateway.live(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_run_is_not_called_a_kill() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = world.tunnel(&plugin, "ok.example:443").await;
    assert_eq!(world.gateway.end_run(plugin.claims.run_id).await.tunnels, 1);
    assert!(client.is_reset().await);
    assert_eq!(world.first(EventKind::Close).outcome, Some(Outcome::RunEnded));
    assert_eq!(world.count(EventKind::Kill), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_that_fails_is_still_an_attempt() {
    let mut plan = Plan::reaching(&[]);
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    plan.settings.resolver.servers = vec![silent.local_addr().unwrap()];
    plan.settings.timeouts.lookup = Duration::from_millis(50);
    let world = plan.start().await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = world.client().await;
    client
        .send(&format!(
            "CONNECT silent.example:443 HTTP/1.1\r\n{}\r\n",
            plugin.header()
        ))
        .await;
    let (head, _) = client.response().await;
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    assert!(head.contains("error=dns_timeout"), "{head}");
    let close = world.first(EventKind::Close);
    assert_eq!(close.outcome, Some(Outcome::DnsFailed));
    assert_eq!(close.dns_result, Some(DnsResult::Timeout));
    assert_eq!(close.timeout, Some(evidence::Timeout::Dns));
}
