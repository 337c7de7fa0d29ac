//! Plain HTTP with absolute targets.

use base::{ObservedScheme, Outcome};
use evidence::EventKind;

use crate::world::{Origin, World};

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_to_two_hosts_makes_an_event_for_each() {
    let (first, second) = (Origin::start().await, Origin::start().await);
    let world = World::reaching(&[("one.example", first.address), ("two.example", second.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = world.client().await;
    for (host, origin) in [("one.example", &first), ("two.example", &second)] {
        client
            .send(&format!(
                "GET http://{host}/path?query HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n{}\r\n",
                plugin.header()
            ))
            .await;
        let mut server = origin.accept().await;
        assert_eq!(
            server.head().await,
            format!("GET /path?query HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n")
        );
        server
            .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Odd: 1\r\n\r\nhello")
            .await;
        let (head, body) = client.response().await;
        assert_eq!(head, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Odd: 1\r\n\r\n");
        assert_eq!(body, "hello");
    }
    let closes = world.sees("two closes", |events| {
        let closes: Vec<_> = events
            .iter()
            .filter(|event| event.kind == EventKind::Close)
            .cloned()
            .collect();
        (closes.len() == 2).then_some(closes)
    });
    let hosts: Vec<_> = closes
        .iter()
        .map(|close| close.destination_host.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(hosts, ["one.example", "two.example"]);
    assert_ne!(closes[0].connection_id, closes[1].connection_id);
    for close in &closes {
        assert_eq!(close.outcome, Some(Outcome::Completed));
        assert_eq!(close.scheme, Some(ObservedScheme::Http));
        assert_eq!(close.payload_class.as_deref(), Some("http out<1KiB in<1KiB"));
    }
    let record = format!("{:?}", world.sink.events());
    assert!(!record.contains("query") && !record.contains("path?"), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_connection_is_used_again_for_the_same_host_and_run_only() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let (first, other) = (world.plugin("acme.weather", 1), world.plugin("acme.weather", 2));
    let mut client = world.client().await;
    let mut server = None;
    for (plugin, is_new, connections) in [(&first, true, 1), (&first, false, 1), (&other, true, 2)] {
        client
            .send(&format!(
                "GET http://ok.example/ HTTP/1.1\r\nHost: ok.example\r\n{}\r\n",
                plugin.header()
            ))
            .await;
        if is_new {
            server = Some(origin.accept().await);
        }
        let server = server.as_mut().unwrap();
        server.head().await;
        server.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(client.head().await, "HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(origin.connections(), connections);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_left_meanwhile_is_dialled_again() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = world.client().await;
    for _ in 0..2 {
        client
            .send(&format!(
                "GET http://ok.example/ HTTP/1.1\r\nHost: ok.example\r\n{}\r\n",
                plugin.header()
            ))
            .await;
        let mut server = origin.accept().await;
        server.head().await;
        server
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        assert_eq!(client.response().await.1, "ok");
        drop(server);
    }
    assert_eq!(world.count(EventKind::Open), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_and_its_trailers_pass_as_they_came_both_ways() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = world.client().await;
    let body = "5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n";
    client
        .send(&format!(
            "POST http://ok.example/ HTTP/1.1\r\nHost: ok.example\r\nContent-Type: application/json; charset=utf-8\r\n\
             Transfer-Encoding: chunked\r\n{}\r\n{}",
            plugin.header(),
            &body[..20]
        ))
        .await;
    let mut server = origin.accept().await;
    let head = server.head().await;
    assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
    client.send(&body[20..]).await;
    assert_eq!(server.exactly(body.len()).await, body.as_bytes());
    server
        .send(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        ))
        .await;
    assert_eq!(
        client.head().await,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    assert_eq!(client.exactly(body.len()).await, body.as_bytes());
    let close = world.first(EventKind::Close);
    assert_eq!(close.payload_class.as_deref(), Some("json out<1KiB in<1KiB"));
    assert_eq!(close.bytes_out, Some((head.len() + body.len()) as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_decides_and_a_differing_host_header_is_rewritten_and_noted() {
    let (ok, evil) = (Origin::start().await, Origin::start().await);
    let world = World::reaching(&[("ok.example", ok.address), ("evil.example", evil.address)]).await;
    let mut client = world.client().await;
    client
        .send(&format!(
            "GET http://ok.example:8080/ HTTP/1.1\r\nHost: evil.example\r\nX-Plugin-Id: other\r\nVia: 1.1 x\r\n{}\r\n",
            world.plugin("acme.weather", 1).header()
        ))
        .await;
    let head = ok.accept().await.head().await;
    assert_eq!(head, "GET / HTTP/1.1\r\nHost: ok.example:8080\r\n\r\n");
    let open = world.first(EventKind::Open);
    assert_eq!(open.host_header.as_deref(), Some("evil.example"));
    assert_eq!(open.stripped_headers, ["x-plugin-id"]);
    assert_eq!(evil.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_100_continue_gets_it_from_the_server() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let mut client = world.client().await;
    client
        .send(&format!(
            "PUT http://ok.example/ HTTP/1.1\r\nHost: ok.example\r\nExpect: 100-continue\r\nContent-Length: 4\r\n{}\r\n",
            world.plugin("acme.weather", 1).header()
        ))
        .await;
    let mut server = origin.accept().await;
    assert!(server.head().await.contains("Expect: 100-continue\r\n"));
    server.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    assert_eq!(server.exactly(4).await, b"body");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_becomes_a_tunnel_with_the_same_id() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let mut client = world.client().await;
    client
        .send(&format!(
            "GET http://ok.example/ws HTTP/1.1\r\nHost: ok.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{}\r\n",
            world.plugin("acme.weather", 1).header()
        ))
        .await;
    let mut server = origin.accept().await;
    let request = server.head().await;
    assert!(
        request.contains("Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        "{request}"
    );
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    server.send(format!("{answer}early")).await;
    assert_eq!(client.head().await, answer);
    assert_eq!(client.exactly(5).await, b"early");
    client.send("opaque").await;
    assert_eq!(server.exactly(6).await, b"opaque");
    drop(client);
    drop(server);
    let close = world.first(EventKind::Close);
    assert_eq!(close.connection_id, world.first(EventKind::Open).connection_id);
    assert_eq!(close.scheme, Some(ObservedScheme::Http));
    assert_eq!(close.bytes_out, Some((request.len() + 6) as u64));
    assert_eq!(close.bytes_in, Some((answer.len() + 5) as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_ends_with_the_connection_ends_the_clients_too() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let mut client = world.client().await;
    client
        .send(&format!(
            "GET http://ok.example/ HTTP/1.0\r\n{}\r\n",
            world.plugin("acme.weather", 1).header()
        ))
        .await;
    let mut server = origin.accept().await;
    assert_eq!(server.head().await, "GET / HTTP/1.0\r\nHost: ok.example\r\n\r\n");
    server.send("HTTP/1.0 200 OK\r\n\r\nall of it").await;
    drop(server);
    assert_eq!(
        client.rest().await,
        b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nall of it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_answer_is_never_passed_off_as_a_whole_one() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let request = format!(
        "GET http://ok.example/ HTTP/1.1\r\nHost: ok.example\r\n{}\r\n",
        plugin.header()
    );
    let mut client = world.client().await;
    client.send(&request).await;
    let mut server = origin.accept().await;
    server.head().await;
    server
        .send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        .await;
    client.head().await;
    drop(server);
    assert!(client.is_reset().await);

    for answer in [
        "SSH-2.0-x\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let mut client = world.client().await;
        client.send(&request).await;
        let mut server = origin.accept().await;
        server.head().await;
        server.send(answer).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        assert!(head.contains("X-Bailiwick-Reason: bad_response\r\n"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = world.client().await;
    let request = |path: &str| {
        format!(
            "GET http://ok.example/{path} HTTP/1.1\r\nHost: ok.example\r\n{}\r\n",
            plugin.header()
        )
    };
    client
        .send([request("a"), request("b"), request("c")].concat())
        .await;
    let mut server = origin.accept().await;
    for path in ["a", "b", "c"] {
        assert!(server.head().await.starts_with(&format!("GET /{path} ")));
        server
            .send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{path}"))
            .await;
        assert_eq!(client.response().await.1, path);
    }
    assert_eq!(world.count(EventKind::Open), 3);
}
