//! TLS listeners: the same gateway behind them, with its ends and its kills intact, and a certificate
//! that is replaced while connections stand.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use base::{Attribution, Outcome, RefusalReason};
use evidence::EventKind;
use proxy::{ClientAuth, Gateway, KillScope, ListenAddress, StartError, TlsError};
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::tls_world::{
    TlsTalker, TlsWorld, certificate_path, client_config, key_path, plan, server_pair, write_pair,
};
use crate::world::{Origin, Talker, World};

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_of_a_tunnel_goes_through_tls_both_ways_and_ends_in_order() {
    let origin = Origin::start().await;
    let tls = TlsWorld::start(ClientAuth::Optional, &[("ok.example", origin.address)]).await;
    let plugin = tls.world.plugin("acme.weather", 1);
    let mut client = tls.tunnel(tls.proof(&plugin), "ok.example:443").await;
    let mut server = origin.accept().await;
    let question: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
    let answer: Vec<u8> = question.iter().rev().copied().collect();
    let to_server = question.clone();
    let asking = tokio::spawn(async move {
        client.send(&to_server).await;
        // The end is said in TLS; the other direction stays open.
        client.io.shutdown().await.unwrap();
        client
    });
    assert_eq!(server.rest().await, question);
    let mut client = asking.await.unwrap();
    let back = answer.clone();
    let answering = tokio::spawn(async move { server.send(&back).await });
    assert_eq!(client.rest().await, answer);
    answering.await.unwrap();
    let close = tls.world.first(EventKind::Close);
    assert_eq!(close.attribution, Some(Attribution::Mtls));
    assert_eq!(close.outcome, Some(Outcome::ClientClosed));
    assert_eq!(close.bytes_out, Some(question.len() as u64));
    assert_eq!(close.bytes_in, Some(answer.len() as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_its_end_first_leaves_the_client_talking() {
    let origin = Origin::start().await;
    let tls = TlsWorld::start(ClientAuth::Optional, &[("ok.example", origin.address)]).await;
    let plugin = tls.world.plugin("acme.weather", 1);
    let mut client = tls.tunnel(tls.proof(&plugin), "ok.example:443").await;
    let mut server = origin.accept().await;
    server.send("that is all").await;
    server.io.shutdown().await.unwrap();
    assert_eq!(client.rest().await, b"that is all");
    client.send("and yet").await;
    assert_eq!(server.exactly(7).await, b"and yet");
    client.io.shutdown().await.unwrap();
    assert_eq!(server.rest().await, b"");
    let close = tls.world.first(EventKind::Close);
    assert_eq!(close.outcome, Some(Outcome::ServerClosed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_without_saying_so_in_tls_still_delivers_what_it_sent() {
    let origin = Origin::start().await;
    let tls = TlsWorld::start(ClientAuth::Optional, &[("ok.example", origin.address)]).await;
    let plugin = tls.world.plugin("acme.weather", 1);
    let mut client = tls.tunnel(tls.proof(&plugin), "ok.example:443").await;
    let mut server = origin.accept().await;
    client.send("last words").await;
    let (mut socket, _session) = client.io.into_inner();
    socket.shutdown().await.unwrap();
    assert_eq!(server.rest().await, b"last words");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_goes_through_in_both_directions() {
    let origin = Origin::start().await;
    let tls = TlsWorld::start(ClientAuth::Optional, &[("ok.example", origin.address)]).await;
    let plugin = tls.world.plugin("acme.weather", 1);
    let client = tls.tunnel(tls.proof(&plugin), "ok.example:443").await;
    let mut server = origin.accept().await;
    client.io.get_ref().0.set_zero_linger().unwrap();
    drop(client);
    assert!(server.is_reset().await);
    let close = tls.world.first(EventKind::Close);
    assert_eq!(close.outcome, Some(Outcome::ClientReset));

    let mut client = tls.tunnel(tls.proof(&plugin), "ok.example:443").await;
    let server = origin.accept().await;
    server.reset();
    assert_eq!(client.breaks().await.kind(), std::io::ErrorKind::ConnectionReset);
    tls.world
        .event(|event| event.outcome == Some(Outcome::ServerReset));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_cuts_tls_tunnels_and_returns_when_their_sockets_are_closed() {
    let origin = Origin::start().await;
    let tls = TlsWorld::start(ClientAuth::Optional, &[("ok.example", origin.address)]).await;
    let plugin = tls.world.plugin("acme.weather", 1);
    let mut idle = tls.tunnel(tls.proof(&plugin), "ok.example:443").await;
    let mut idle_server = origin.accept().await;
    let stalled = tls.tunnel(tls.proof(&plugin), "ok.example:443").await;
    let mut flooding = origin.accept().await;
    let flood = tokio::spawn(async move {
        let chunk = vec![1; 64 << 10];
        while flooding.io.write_all(&chunk).await.is_ok() {}
    });
    let scope = KillScope::Artifact(plugin.claims.artifact_digest);
    assert_eq!(tls.world.gateway.kill(scope).await.tunnels, 2);
    assert_eq!(tls.world.gateway.live(), 0);
    assert_eq!(idle.breaks().await.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(idle_server.is_reset().await);
    flood.await.unwrap();
    drop(stalled);
    let mut again = tls.connect(Some(tls.proof(&plugin))).await.unwrap();
    again.send("CONNECT ok.example:443 HTTP/1.1\r\n\r\n").await;
    assert!(again.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn absolute_form_keep_alive_and_socks_work_inside_tls() {
    let origin = Origin::start().await;
    let tls = TlsWorld::start(ClientAuth::Optional, &[("ok.example", origin.address)]).await;
    let plugin = tls.world.plugin("acme.weather", 1);
    let mut client = tls
        .connect_with(Some(tls.proof(&plugin)), &["http/1.1"])
        .await
        .unwrap();
    assert_eq!(client.io.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    for turn in 0..2 {
        client
            .send("GET http://ok.example/x HTTP/1.1\r\nHost: ok.example\r\n\r\n")
            .await;
        if turn == 0 {
            let mut server = origin.accept().await;
            assert!(server.head().await.starts_with("GET /x HTTP/1.1\r\n"));
            server
                .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                .await;
            assert!(client.head().await.starts_with("HTTP/1.1 200 "));
            assert_eq!(client.exactly(5).await, b"hello");
            // Closed without another answer: the next request takes a connection of its own.
            drop(server);
        } else {
            let mut server = origin.accept().await;
            server.head().await;
            server.send("HTTP/1.1 204 No Content\r\n\r\n").await;
            assert!(client.head().await.starts_with("HTTP/1.1 204 "));
        }
    }

    let mut socks = tls.connect(None).await.unwrap();
    socks.send([5, 1, 2]).await;
    assert_eq!(socks.exactly(2).await, [5, 2]);
    let (user, token) = (plugin.claims.run_id.to_string(), &plugin.token);
    let lengths = [user.len(), token.len()].map(|length| u8::try_from(length).unwrap());
    socks
        .send([&[1, lengths[0]], user.as_bytes(), &[lengths[1]], token.as_bytes()].concat())
        .await;
    assert_eq!(socks.exactly(2).await, [1, 0]);
    socks
        .send([&[5, 1, 0, 3, 10][..], b"ok.example", &443_u16.to_be_bytes()].concat())
        .await;
    assert_eq!(socks.exactly(10).await[..2], [5, 0]);
    let mut server = origin.accept().await;
    socks.send("through").await;
    assert_eq!(server.exactly(7).await, b"through");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_inside_tls_is_the_plugins_own_byte_for_byte() {
    let origin = Origin::start().await;
    let tls = TlsWorld::start(ClientAuth::Optional, &[("ok.example", origin.address)]).await;
    let plugin = tls.world.plugin("acme.weather", 1);
    let (certificate, key) = server_pair(60, 3600);
    let (chain, key) = (pem_chain(&certificate), pem_key(&key));
    let server_config =
        rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key)
            .unwrap();
    let outer = tls.tunnel(tls.proof(&plugin), "ok.example:443").await;
    let accepted = origin.accept().await;
    let serving = tokio::spawn(async move {
        let mut server = TlsAcceptor::from(std::sync::Arc::new(server_config))
            .accept(accepted.io)
            .await
            .unwrap();
        let mut question = vec![0; 100_000];
        server.read_exact(&mut question).await.unwrap();
        server.write_all(&question).await.unwrap();
        server.shutdown().await.unwrap();
    });
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let name = "localhost".try_into().unwrap();
    let mut inner = TlsConnector::from(client_config(roots, None, &["h2"]))
        .connect(name, outer.io)
        .await
        .unwrap();
    let question: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    inner.write_all(&question).await.unwrap();
    let mut answer = Vec::new();
    inner.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, question);
    serving.await.unwrap();
    inner.shutdown().await.unwrap();
    let close = tls.world.first(EventKind::Close);
    assert_eq!(close.sni.as_deref(), Some("localhost"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_presented_without_touching_who_is_connected() {
    let origin = Origin::start().await;
    let tls = TlsWorld::start(ClientAuth::Optional, &[("ok.example", origin.address)]).await;
    let plugin = tls.world.plugin("acme.weather", 1);
    let mut standing = tls.tunnel(tls.proof(&plugin), "ok.example:443").await;
    let mut server = origin.accept().await;
    let old = presented(&standing);
    let before = tls.world.gateway.tls_status().unwrap();

    let (certificate, key) = server_pair(41, 7200);
    write_pair(&tls.folder, &certificate, &key);
    let mut fresh = loop {
        // The client trusts the new certificate only: it gets in as soon as that is presented.
        if let Ok(fresh) = tls.connect(Some(tls.proof(&plugin))).await {
            break fresh;
        }
    };
    assert_ne!(presented(&fresh), old);
    let after = tls.world.gateway.tls_status().unwrap();
    assert!(after.expires > before.expires);
    fresh.send("CONNECT ok.example:443 HTTP/1.1\r\n\r\n").await;
    assert!(fresh.head().await.starts_with("HTTP/1.1 200 "));
    standing.send("still here").await;
    assert_eq!(server.exactly(10).await, b"still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_replaces_nothing_and_is_told() {
    let tls = TlsWorld::start(ClientAuth::Optional, &[]).await;
    let folder = &tls.folder;
    let good = std::fs::read_to_string(certificate_path(folder)).unwrap();
    let good_key = std::fs::read_to_string(key_path(folder)).unwrap();
    let (other, other_key) = server_pair(41, 7200);
    let (expired, expired_key) = server_pair(42, -60);
    let gateway = &tls.world.gateway;
    for (certificate, key, wanted) in [
        (&other, &good_key, "cannot be used together"),
        (&good, &other_key, "cannot be used together"),
        (&expired, &expired_key, "expired at"),
        (&"no certificate".to_owned(), &good_key, "holds no certificate"),
        (&good, &"no key".to_owned(), "holds no private key"),
    ] {
        write_pair(folder, certificate, key);
        assert!(
            gateway.reload_tls().unwrap_err().to_string().contains(wanted),
            "{wanted}"
        );
        let failure = gateway.tls_status().unwrap().failure.unwrap();
        assert!(failure.contains(wanted), "{failure}");
        // The key itself stands in no message.
        assert!(!failure.contains("PRIVATE KEY"));
    }
    write_pair(folder, &good, &good_key);
    std::fs::set_permissions(key_path(folder), std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = gateway.reload_tls().unwrap_err();
    assert!(matches!(error, TlsError::Key(_)), "{error}");
    // Nobody noticed.
    tls.connect(None).await.unwrap();
    std::fs::set_permissions(key_path(folder), std::fs::Permissions::from_mode(0o600)).unwrap();
    gateway.reload_tls().unwrap();
    assert_eq!(gateway.tls_status().unwrap().failure, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_asks_new_clients_for_certificates_from_other_files_and_keeps_who_is_connected() {
    let origin = Origin::start().await;
    let tls = TlsWorld::start(ClientAuth::Optional, &[("ok.example", origin.address)]).await;
    let plugin = tls.world.plugin("acme.weather", 1);
    let mut standing = tls.tunnel(tls.proof(&plugin), "ok.example:443").await;
    let mut server = origin.accept().await;
    let old = presented(&standing);
    let gateway = &tls.world.gateway;

    let elsewhere = tempfile::tempdir().unwrap();
    let mut settings = plan(&elsewhere, ClientAuth::Required, &[]).settings;
    let wanted = settings.tls.as_mut().unwrap();
    // The keys that are believed are not the configuration's to say.
    wanted.run_keys.clear();
    wanted.certificate = elsewhere.path().join("nothing");
    let error = gateway.reload(settings.clone()).unwrap_err();
    assert!(matches!(error, proxy::ReloadError::Tls(TlsError::Read { .. })));
    // Nothing changed: whoever has no certificate still comes in.
    tls.connect(None).await.unwrap().send("CONNECT").await;

    let (certificate, key) = server_pair(43, 7200);
    write_pair(&elsewhere, &certificate, &key);
    settings.tls.as_mut().unwrap().certificate = certificate_path(&elsewhere);
    gateway.reload(settings).unwrap();
    // The client trusts what lies where it always lay.
    write_pair(&tls.folder, &certificate, &key);
    let fresh = tls.connect(Some(tls.proof(&plugin))).await.unwrap();
    assert_ne!(presented(&fresh), old);
    // In TLS 1.3 a client learns after its own handshake that it had to show one.
    if let Ok(mut nobody) = tls.connect(None).await {
        nobody.breaks().await;
    }
    standing.send("still here").await;
    assert_eq!(server.exactly(10).await, b"still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_without_a_usable_certificate_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let start = async |change: &dyn Fn(&mut proxy::Settings)| {
        let mut plan = plan(&folder, ClientAuth::Optional, &[]);
        change(&mut plan.settings);
        let sink = proxy::MemorySink::new();
        let recorder = proxy::Recorder::start(sink, plan.evidence, None).unwrap();
        let runs = std::sync::Arc::new(proxy::TokenRuns::new(Vec::new()));
        let world = World::reaching(&[]).await;
        let rulings: std::sync::Arc<dyn proxy::Rulings> = world.rulings.clone();
        Gateway::start(plan.settings, runs, rulings, recorder).await.err()
    };
    let missing = start(&|settings| settings.tls = None).await;
    assert!(matches!(missing, Some(StartError::Tls(TlsError::Missing))));
    std::fs::write(folder.path().join("empty"), "").unwrap();
    let empty = folder.path().join("empty");
    let broken = start(&|settings| settings.tls.as_mut().unwrap().certificate.clone_from(&empty)).await;
    assert!(matches!(
        broken,
        Some(StartError::Tls(TlsError::NoCertificate { .. }))
    ));
    // Without a listener that speaks TLS nobody reads the files.
    let unused = |settings: &mut proxy::Settings| {
        settings.tls.as_mut().unwrap().certificate.clone_from(&empty);
        settings
            .listen
            .retain(|address| matches!(address, ListenAddress::Tcp(_)));
    };
    assert!(start(&unused).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_tls_is_told_so_and_recorded() {
    let tls = TlsWorld::start(ClientAuth::Optional, &[]).await;
    let mut plain = Talker::to(tls.address()).await;
    plain.send("CONNECT ok.example:443 HTTP/1.1\r\n\r\n").await;
    let (head, body) = plain.response().await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert!(body.contains("https://"), "{body}");
    let mut noise = Talker::to(tls.address()).await;
    noise.send([22, 3, 1, 0, 5, 99, 0, 0, 1, 7]).await;
    // An alert (21), and then the end.
    assert_eq!(noise.rest().await[0], 21);
    let recorded = tls.world.sees("two refusals", |events| {
        let refused = events.iter().filter(|event| event.kind == EventKind::Refused);
        let reasons: Vec<_> = refused.map(|event| event.reason.unwrap()).collect();
        (reasons.len() == 2).then_some(reasons)
    });
    assert_eq!(recorded, [RefusalReason::Malformed; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_finish_its_handshake_is_given_the_time_of_a_head() {
    let folder = tempfile::tempdir().unwrap();
    let mut slow = plan(&folder, ClientAuth::Optional, &[]);
    slow.settings.timeouts.head = Duration::from_millis(50);
    let world = slow.start().await;
    let tls = TlsWorld { world, folder };
    let mut silent = Talker::to(tls.address()).await;
    let mut stuck = Talker::to(tls.address()).await;
    stuck.send([22, 3, 1]).await;
    assert_eq!(silent.rest().await, b"");
    stuck.sees_its_end().await;
    let refused = tls.world.first(EventKind::Refused);
    assert_eq!(refused.reason, Some(RefusalReason::Timeout));
    assert_eq!(tls.world.count(EventKind::Refused), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_trust_the_gateway_is_counted_and_accused_of_nothing() {
    let tls = TlsWorld::start(ClientAuth::Optional, &[]).await;
    let socket = TcpStream::connect(tls.address()).await.unwrap();
    let config = client_config(RootCertStore::empty(), None, &[]);
    let name = "127.0.0.1".try_into().unwrap();
    assert!(TlsConnector::from(config).connect(name, socket).await.is_err());
    // A second client proves that the first was dealt with, or will be without a refusal.
    tls.connect(None).await.unwrap();
    tls.world.gateway.shutdown(Duration::from_secs(5)).await;
    assert_eq!(tls.world.count(EventKind::Refused), 0);
}

fn presented(talker: &TlsTalker) -> Vec<u8> {
    talker.io.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn pem_chain(pem: &str) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject as _;
    vec![rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()]
}

fn pem_key(pem: &str) -> rustls::pki_types::PrivateKeyDer<'static> {
    use rustls::pki_types::pem::PemObject as _;
    rustls::pki_types::PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()
}
