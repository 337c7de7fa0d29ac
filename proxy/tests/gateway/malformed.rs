//! Requests that could be read in two ways: 400, a record, and no connection.

use base::RefusalReason;
use evidence::EventKind;

use crate::world::{Origin, Plan, World};

/// Sends one broken request and returns the answer's head and the recorded refusal.
async fn refused(world: &World, request: impl AsRef<[u8]>) -> (String, evidence::Event) {
    let before = world.count(EventKind::Refused);
    let mut client = world.client().await;
    client.send(request).await;
    let head = client.head().await;
    let event = world.sees("the refusal", |events| {
        let mut refusals = events.iter().filter(|event| event.kind == EventKind::Refused);
        refusals.nth(before).cloned()
    });
    (head, event)
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_with_two_readings_are_refused_recorded_and_never_dialled() {
    let origin = Origin::start().await;
    let hosts = [
        "evil.com",
        "ok.com",
        "example.com",
        "example.com.evil.com",
        "host",
        "a",
    ]
    .map(|name| (name, origin.address));
    let world = World::reaching(&hosts).await;
    let plugin = world.plugin("acme.weather", 1);
    for (target, raw) in [
        ("example.com..:443", "example.com..:443"),
        ("a..b:443", "a..b:443"),
        (".example.com:443", ".example.com:443"),
        (":443", ":443"),
        ("[example.com]:443", "[example.com]:443"),
        ("[[::1]]:443", "[[::1]]:443"),
        ("[::1:443", "[::1:443"),
        ("evil.com\0.ok.com:443", "evil.com\\x00.ok.com:443"),
        ("evil.com\t:443", "evil.com\\x09:443"),
        ("evil.com\u{7f}:443", "evil.com\\x7f:443"),
        ("evil .com:443", "evil .com:443"),
        ("ok.com@evil.com:443", "\\~@evil.com:443"),
        ("user:pw@host:443", "\\~@host:443"),
        ("a\\b:443", "a\\x5cb:443"),
        ("a/b:443", "a/\\~"),
        ("a?b:443", "a?\\~"),
        ("a#b:443", "a#\\~"),
        ("a%2eb:443", "a%2eb:443"),
        ("a%00:443", "a%00:443"),
        ("a\u{3002}b:443", "a\\xe3\\x80\\x82b:443"),
        ("127.1:80", "127.1:80"),
        ("0x7f.1:80", "0x7f.1:80"),
        ("017700000001:80", "017700000001:80"),
        ("2130706433:80", "2130706433:80"),
        ("[fe80::1%eth0]:80", "[fe80::1%eth0]:80"),
        ("example.com", "example.com"),
        ("example.com:", "example.com:"),
        ("example.com:0", "example.com:0"),
        ("example.com:65536", "example.com:65536"),
        ("example.com:+443", "example.com:+443"),
        ("example.com:0443", "example.com:0443"),
        ("example.com:443:443", "example.com:443:443"),
        ("http://example.com:443", "http://example.com:443"),
    ] {
        let request = format!("CONNECT {target} HTTP/1.1\r\n{}\r\n", plugin.header());
        let (head, event) = refused(&world, request).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{target:?}: {head}");
        assert!(head.contains("X-Bailiwick-Reason: malformed\r\n"), "{head}");
        assert_eq!(event.reason, Some(RefusalReason::Malformed), "{target:?}");
        assert_eq!(event.raw_target.as_deref(), Some(raw), "{target:?}");
        assert_eq!(event.destination_host, None, "{target:?}");
    }
    assert_eq!(world.count(EventKind::Open), 0);
    assert_eq!(origin.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_smuggle_are_refused_and_the_connection_is_closed() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    for (line, fields) in [
        (
            "GET http://ok.example/",
            "Host: ok.example\r\nHost: ok.example\r\n",
        ),
        ("GET http://ok.example/", "Host: a, b\r\n"),
        ("GET http://ok.example/", "Host: ok.example\r\nX: a\r\n b\r\n"),
        ("GET http://ok.example/", "Host : ok.example\r\n"),
        ("GET http://ok.example/", ""),
        (
            "POST http://ok.example/",
            "Host: ok.example\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            "POST http://ok.example/",
            "Host: ok.example\r\nContent-Length: 3\r\nContent-Length: 4\r\n",
        ),
        (
            "POST http://ok.example/",
            "Host: ok.example\r\nTransfer-Encoding: chunked, identity\r\n",
        ),
        (
            "POST http://ok.example/",
            "Host: ok.example\r\nContent-Length: +5\r\n",
        ),
        (
            "POST http://ok.example/",
            "Host: ok.example\r\nContent-Length: 0x5\r\n",
        ),
        ("GET http://ok.example/", "Host: ok.example\n"),
        ("CONNECT ok.example:443", "Content-Length: 0\r\n"),
        ("CONNECT ok.example:443", "Transfer-Encoding: chunked\r\n"),
        ("GET /admin", "Host: ok.example\r\n"),
        ("GET http://user:secret@ok.example/", "Host: ok.example\r\n"),
    ] {
        let request = format!("{line} HTTP/1.1\r\n{}{fields}\r\n", plugin.header());
        let mut client = world.client().await;
        client.send(&request).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{request:?}: {head}");
        assert!(head.contains("Connection: close\r\n"), "{head}");
        client.rest().await;
    }
    assert_eq!(world.count(EventKind::Refused), 15);
    assert_eq!(world.count(EventKind::Open), 0);
    assert_eq!(origin.connections(), 0);
    let record = format!("{:?}", world.sink.events());
    assert!(!record.contains("secret"), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_chunked_as_it_says_ends_both_connections() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = world.client().await;
    client
        .send(&format!(
            "POST http://ok.example/ HTTP/1.1\r\nHost: ok.example\r\nTransfer-Encoding: chunked\r\n{}\r\n\
             5\r\nhello\r\n+5\r\nGET http://evil.example/ HTTP/1.1\r\n\r\n",
            plugin.header()
        ))
        .await;
    let mut server = origin.accept().await;
    assert!(client.head().await.starts_with("HTTP/1.1 400 "));
    assert!(server.is_reset().await);
    let close = world.first(EventKind::Close);
    assert_eq!(close.reason, Some(RefusalReason::Malformed));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_port_does_not_serve_is_said_so() {
    let world = World::reaching(&[]).await;
    let request = "GET https://ok.example/ HTTP/1.1\r\nHost: ok.example\r\n\r\n";
    let (head, event) = refused(&world, request).await;
    assert!(head.starts_with("HTTP/1.1 501 "), "{head}");
    assert_eq!(event.reason, Some(RefusalReason::Unsupported));
    for (hello, answer) in [
        (&[4, 1, 0, 80, 127, 0, 0, 1, 0][..], &[0, 91][..]),
        (&[22, 3, 1, 0, 5], &[21, 3, 1, 0, 2, 2, 40]),
    ] {
        let mut client = world.client().await;
        client.send(hello).await;
        assert_eq!(client.exactly(answer.len()).await, answer);
    }
    let (head, _) = refused(&world, [0x80, 0, 1]).await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert_eq!(world.count(EventKind::Refused), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_large_or_too_slow_are_refused() {
    let mut plan = Plan::reaching(&[]);
    plan.settings.limits.head_bytes = 4096;
    plan.settings.timeouts.head = std::time::Duration::from_millis(200);
    let world = plan.start().await;
    let long = format!(
        "CONNECT a.example:443 HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(8192)
    );
    let many = format!("CONNECT a.example:443 HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(200));
    for request in [long, many] {
        let (head, event) = refused(&world, request).await;
        assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
        assert_eq!(event.reason, Some(RefusalReason::Limit));
        assert_eq!(event.raw_target.as_deref(), Some("a.example:443"));
    }
    let (head, event) = refused(&world, "CONNECT slow.example:443 HTT").await;
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert_eq!(event.reason, Some(RefusalReason::Timeout));
    assert_eq!(event.timeout, Some(evidence::Timeout::Head));
}
