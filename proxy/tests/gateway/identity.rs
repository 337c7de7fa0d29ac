//! Ways to be known besides a token, and that they never contradict each other unnoticed.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use base::{Attribution, Outcome, RefusalReason, Timestamp};
use evidence::EventKind;
use proxy::{Identity, ListenAddress, Registration, RunPlace, Unattributed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, UnixStream};

use crate::world::{Origin, Plan, Plugin, Talker, World};

/// Long before every token expires.
const PAST: Timestamp = Timestamp::from_unix_us(1_700_000_000_000_000);

fn identity(plugin: &Plugin) -> Identity {
    Identity {
        plugin_id: plugin.claims.plugin_id.clone(),
        artifact_digest: plugin.claims.artifact_digest,
        run_id: plugin.claims.run_id,
        attribution: Attribution::None,
    }
}

fn register(world: &World, plugin: &Plugin, sources: &[IpAddr]) {
    let registration = Registration {
        identity: identity(plugin),
        expires: plugin.claims.expires,
        sources: sources.to_vec(),
    };
    world.runs.register(registration, PAST);
}

/// A loopback listener of this plugin's run.
fn own_port(world: &World, plugin: &Plugin) -> SocketAddr {
    register(world, plugin, &[]);
    let place = RunPlace::Tcp("127.0.0.1:0".parse().unwrap());
    let address = world.gateway.open_listener(&identity(plugin), &place).unwrap();
    address.socket_address().unwrap()
}

async fn connect(mut client: Talker, fields: &str) -> (Talker, String) {
    client
        .send(&format!("CONNECT ok.example:443 HTTP/1.1\r\n{fields}\r\n"))
        .await;
    let head = client.head().await;
    (client, head)
}

async fn from(source: &str, world: &World) -> Talker {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind((source.parse::<IpAddr>().unwrap(), 0).into())
        .unwrap();
    Talker::over(socket.connect(world.address()).await.unwrap())
}

async fn socks_without_credentials(address: SocketAddr) -> Talker {
    let mut client = Talker::to(address).await;
    client.send([5, 1, 0]).await;
    assert_eq!(client.exactly(2).await, [5, 0]);
    client
        .send([&[5, 1, 0, 3, 10][..], b"ok.example", &443u16.to_be_bytes()].concat())
        .await;
    assert_eq!(client.exactly(10).await[1], 0);
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_runs_own_port_no_credentials_are_needed_and_others_are_a_contradiction() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let (ours, theirs) = (world.plugin("acme.weather", 1), world.plugin("acme.other", 2));
    let port = own_port(&world, &ours);
    let (_http, head) = connect(Talker::to(port).await, "").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let _socks = socks_without_credentials(port).await;
    let opens = world.sees("an open event for each", |events| {
        let opens: Vec<_> = events
            .iter()
            .filter(|event| event.kind == EventKind::Open)
            .map(|event| (event.attribution, event.run_id))
            .collect();
        (opens.len() == 2).then_some(opens)
    });
    let by_the_port = (Some(Attribution::Listener), Some(ours.claims.run_id));
    assert_eq!(opens, [by_the_port; 2]);
    // The same run's token agrees, and is the stronger proof.
    let (_both, head) = connect(Talker::to(port).await, &ours.header()).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    world.event(|event| {
        event.kind == EventKind::Open
            && event.attribution == Some(Attribution::Token)
            && event.run_id == Some(ours.claims.run_id)
    });
    let (_, head) = connect(Talker::to(port).await, &theirs.header()).await;
    assert!(head.starts_with("HTTP/1.1 407 "), "{head}");
    let refused = world.first(EventKind::Refused);
    assert_eq!(refused.reason, Some(RefusalReason::CredentialsConflict));
    assert_eq!((refused.run_id, refused.plugin_id), (None, None));
    let claimed: Vec<_> = refused
        .claims
        .iter()
        .map(|claim| (claim.attribution, claim.run_id))
        .collect();
    assert_eq!(
        claimed,
        [
            (Attribution::Token, theirs.claims.run_id),
            (Attribution::Listener, ours.claims.run_id)
        ]
    );
    // A bad token is not made good by the right door.
    let (_, head) = connect(Talker::to(port).await, "Proxy-Authorization: Basic YTpi\r\n").await;
    assert!(head.starts_with("HTTP/1.1 407 "), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socks_client_that_offers_a_password_it_has_not_got_is_known_by_the_port() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let ours = world.plugin("acme.weather", 1);
    let port = own_port(&world, &ours);
    for (at, verdict) in [(port, 0), (world.address(), 1)] {
        let mut client = Talker::to(at).await;
        client.send([5, 2, 0, 2]).await;
        assert_eq!(client.exactly(2).await, [5, 2]);
        client.send([&[1, 4][..], b"root", &[0]].concat()).await;
        assert_eq!(client.exactly(2).await, [1, verdict]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runs_own_port_is_below_the_floor_and_gone_with_the_run() {
    let world = World::reaching(&[]).await;
    let (ours, theirs) = (world.plugin("acme.weather", 1), world.plugin("acme.other", 2));
    let port = own_port(&world, &ours);
    // Through the gateway, another plugin would come in as ours.
    let mut client = world.client().await;
    client
        .send(&format!("CONNECT {port} HTTP/1.1\r\n{}\r\n", theirs.header()))
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!(world.first(EventKind::Refused).reason, Some(RefusalReason::Floor));
    let mut waiting = Talker::to(port).await;
    world.runs.end_run(ours.claims.run_id, ours.claims.expires, PAST);
    world.gateway.end_run(ours.claims.run_id).await;
    assert!(tokio::net::TcpStream::connect(port).await.is_err());
    // Whoever was in already is told.
    waiting.send("CONNECT ok.example:443 HTTP/1.1\r\n\r\n").await;
    let head = waiting.head().await;
    assert!(head.contains("X-Bailiwick-Reason: run_ended"), "{head}");
    assert_eq!(world.gateway.run_listeners(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runs_own_port_is_on_loopback_or_nowhere() {
    let world = World::reaching(&[]).await;
    let ours = identity(&world.plugin("acme.weather", 1));
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let place = RunPlace::Tcp(address.parse().unwrap());
        assert!(world.gateway.open_listener(&ours, &place).is_err(), "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runs_own_socket_is_for_one_user_and_is_removed() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let ours = world.plugin("acme.weather", 1);
    register(&world, &ours, &[]);
    let folder = tempfile::tempdir().unwrap();
    let uid = std::fs::metadata(folder.path()).unwrap().uid();
    let path = folder.path().join("run/proxy.sock");
    let place = RunPlace::Unix {
        path: path.clone(),
        uid,
    };
    let address = world.gateway.open_listener(&identity(&ours), &place).unwrap();
    assert_eq!(address, ListenAddress::Unix(path.clone()));
    let mut client = UnixStream::connect(&path).await.unwrap();
    client
        .write_all(b"CONNECT ok.example:443 HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let open = world.first(EventKind::Open);
    assert_eq!(
        (open.attribution, open.run_id),
        (Some(Attribution::Listener), Some(ours.claims.run_id))
    );
    drop((client, origin.accept().await));
    world.gateway.close_listeners(ours.claims.run_id).await;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_source_is_known_until_two_runs_have_it() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let (ours, theirs) = (world.plugin("acme.weather", 1), world.plugin("acme.other", 2));
    let source = "127.0.0.77".parse().unwrap();
    register(&world, &ours, &[source]);
    let (_kept, head) = connect(from("127.0.0.77", &world).await, "").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let open = world.first(EventKind::Open);
    assert_eq!(
        (open.attribution, open.run_id),
        (Some(Attribution::Source), Some(ours.claims.run_id))
    );
    // SOCKS5 needs no credentials there either.
    let mut socks = from("127.0.0.77", &world).await;
    socks.send([5, 1, 0]).await;
    assert_eq!(socks.exactly(2).await, [5, 0]);
    let (_, head) = connect(from("127.0.0.77", &world).await, &theirs.header()).await;
    assert!(
        head.contains("X-Bailiwick-Reason: credentials_conflict"),
        "{head}"
    );
    register(&world, &theirs, &[source]);
    let (_, head) = connect(from("127.0.0.77", &world).await, "").await;
    assert!(head.contains("X-Bailiwick-Reason: credentials_missing"), "{head}");
    let refused = world.sink.events().pop().unwrap();
    assert_eq!(refused.run_id, None);
    let claimed: Vec<_> = refused
        .claims
        .iter()
        .map(|claim| (claim.attribution, claim.run_id))
        .collect();
    assert_eq!(
        claimed,
        [
            (Attribution::Source, ours.claims.run_id),
            (Attribution::Source, theirs.claims.run_id)
        ]
    );
    let (_token, head) = connect(from("127.0.0.77", &world).await, &theirs.header()).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

fn proxy_header(source: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(source) = source else {
        panic!("{source}")
    };
    [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..],
        &source.ip().octets(),
        &[10, 0, 0, 1],
        &source.port().to_be_bytes(),
        &3128u16.to_be_bytes(),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_header_counts_from_listed_peers_only_and_they_must_send_it() {
    let origin = Origin::start().await;
    let mut plan = Plan::reaching(&[("ok.example", origin.address)]);
    plan.settings.proxy_protocol = vec!["127.0.0.88/32".parse().unwrap()];
    let world = plan.start().await;
    let ours = world.plugin("acme.weather", 1);
    register(&world, &ours, &["203.0.113.5".parse().unwrap()]);
    let header = proxy_header("203.0.113.5:4711".parse().unwrap());
    // In one piece with the request, and byte by byte.
    for step in [header.len(), 1] {
        let mut client = from("127.0.0.88", &world).await;
        client.io.set_nodelay(true).unwrap();
        for piece in header.chunks(step) {
            client.send(piece).await;
        }
        let (_client, head) = connect(client, "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        world.event(|event| {
            event.kind == EventKind::Open
                && event.attribution == Some(Attribution::Source)
                && event.run_id == Some(ours.claims.run_id)
        });
    }
    // A health check: the balancer speaks for itself.
    let mut check = from("127.0.0.88", &world).await;
    check
        .send(&b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00GET / HTTP/1.1\r\n\r\n"[..])
        .await;
    assert!(check.head().await.starts_with("HTTP/1.1 400 "));
    let opened = world.count(EventKind::Open);
    for (source, bytes) in [
        ("127.0.0.1", header.clone()),
        ("127.0.0.1", b"PROXY TCP4 203.0.113.5 10.0.0.1 1 2\r\n".to_vec()),
        ("127.0.0.88", b"PROXY TCP4 203.0.113.5 10.0.0.1 1 2\r\n".to_vec()),
        ("127.0.0.88", b"\r\n\r\n\0\r\nQUIT\n\x21\x41\x00\x00".to_vec()),
        ("127.0.0.88", Vec::new()),
    ] {
        let before = world.count(EventKind::Refused);
        let mut client = from(source, &world).await;
        client.send(bytes).await;
        let request = format!("CONNECT ok.example:443 HTTP/1.1\r\n{}\r\n", ours.header());
        client.send(request).await;
        // Closed without a word; whether by a reset is the kernel's.
        let _ = client.is_reset().await;
        assert!(client.read.is_empty(), "{:?}", client.read);
        let refused = world.sees("the refusal", |events| {
            let mut refused = events.iter().filter(|event| event.kind == EventKind::Refused);
            refused.nth(before).cloned()
        });
        assert_eq!(refused.reason, Some(RefusalReason::UntrustedPeer));
        assert_eq!(refused.source_ip, Some(source.parse().unwrap()));
        assert_eq!(
            (refused.attribution, refused.run_id),
            (Some(Attribution::None), None)
        );
    }
    assert_eq!(world.count(EventKind::Open), opened);
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_of_an_ended_run_may_finish_within_the_grace_and_no_longer() {
    let origin = Origin::start().await;
    for (grace, outcome) in [
        (Duration::from_secs(600), Outcome::ClientClosed),
        (Duration::ZERO, Outcome::RunEnded),
    ] {
        let mut plan = Plan::reaching(&[("ok.example", origin.address)]);
        plan.settings.timeouts.run_grace = grace;
        let world = plan.start().await;
        let ours = world.plugin("acme.weather", 1);
        let mut client = world.tunnel(&ours, "ok.example:443").await;
        let mut server = origin.accept().await;
        let run_id = ours.claims.run_id;
        world.runs.end_run(run_id, ours.claims.expires, PAST);
        let gateway = std::sync::Arc::clone(&world.gateway);
        let ending = tokio::spawn(async move { gateway.end_run(run_id).await });
        // Nothing new from the first moment.
        let (_, head) = connect(world.client().await, &ours.header()).await;
        assert!(head.contains("X-Bailiwick-Reason: run_ended"), "{head}");
        if grace > Duration::ZERO {
            client.send("the last of it").await;
            drop(client);
            assert_eq!(server.rest().await, b"the last of it");
            drop(server);
            assert_eq!(ending.await.unwrap().tunnels, 0, "nothing was left to cut");
        } else {
            client.sees_its_end().await;
            assert_eq!(ending.await.unwrap().tunnels, 1);
        }
        assert_eq!(world.first(EventKind::Close).outcome, Some(outcome));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_on_one_client_connection_never_share_a_server_connection() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugins = [world.plugin("acme.weather", 1), world.plugin("acme.weather", 2)];
    let mut client = world.client().await;
    let mut servers = Vec::new();
    for plugin in [&plugins[0], &plugins[1], &plugins[0]] {
        let request = format!(
            "GET http://ok.example/ HTTP/1.1\r\nHost: ok.example\r\n{}\r\n",
            plugin.header()
        );
        client.send(request).await;
        let mut server = origin.accept().await;
        server.head().await;
        server
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        assert_eq!(client.head().await.lines().next(), Some("HTTP/1.1 200 OK"));
        assert_eq!(client.exactly(2).await, b"ok");
        servers.push(server);
    }
    assert_eq!(origin.connections(), 3);
    let runs = world.sees("three closes", |events| {
        let closes: Vec<_> = events
            .iter()
            .filter(|event| event.kind == EventKind::Close)
            .map(|event| event.run_id)
            .collect();
        (closes.len() == 3).then_some(closes)
    });
    let id = |at: usize| Some(plugins[at].claims.run_id);
    assert_eq!(runs, [id(0), id(1), id(0)]);
    // The first run's server connection was let go when the second took over.
    assert_eq!(servers[0].rest().await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_need_prove_anything_two_proofs_must_still_agree() {
    let origin = Origin::start().await;
    let mut plan = Plan::reaching(&[("ok.example", origin.address)]);
    plan.settings.unattributed = Unattributed::Observe;
    let world = plan.start().await;
    let (ours, theirs) = (world.plugin("acme.weather", 1), world.plugin("acme.other", 2));
    let port = own_port(&world, &ours);
    let (_, head) = connect(Talker::to(port).await, &theirs.header()).await;
    assert!(
        head.contains("X-Bailiwick-Reason: credentials_conflict"),
        "{head}"
    );
    // An address of two runs is as good as none.
    let source = "127.0.0.77".parse().unwrap();
    register(&world, &ours, &[source]);
    register(&world, &theirs, &[source]);
    let (_open, head) = connect(from("127.0.0.77", &world).await, "").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let open = world.first(EventKind::Open);
    assert_eq!(
        (open.attribution, open.run_id, open.plugin_id),
        (Some(Attribution::None), None, None)
    );
}
