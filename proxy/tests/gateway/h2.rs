//! HTTP/2: every stream is a client of its own.

use std::collections::HashSet;
use std::time::Duration;

use base::{Attribution, Outcome, RefusalReason};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use evidence::{Event, EventKind};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use proxy::{ClientAuth, KillScope, Ruling};
use sha1::{Digest as _, Sha1};
use tokio::net::TcpStream;

use crate::tls_world::TlsWorld;
use crate::world::{Origin, PATIENCE, Plan, Plugin, World};

/// A client that speaks HTTP/2 with a library's help.
struct Http2 {
    send: SendRequest<Bytes>,
    /// Ends when the connection does, with what ended it.
    connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

/// A stream on which bytes pass.
struct Tunnel {
    send: SendStream<Bytes>,
    recv: RecvStream,
    read: Vec<u8>,
}

impl Http2 {
    async fn to(world: &World) -> Self {
        let io = TcpStream::connect(world.address()).await.unwrap();
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(128 << 10)
            .handshake(io)
            .await
            .unwrap();
        Self {
            send,
            connection: tokio::spawn(connection),
        }
    }

    async fn ask(&mut self, request: Request<()>, over: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let ready = tokio::time::timeout(PATIENCE, self.send.clone().ready()).await;
        self.send = ready.expect("room for a stream").unwrap();
        self.send.send_request(request, over).unwrap()
    }

    /// A tunnel of `plugin` to `authority`, established.
    async fn tunnel(&mut self, plugin: &Plugin, authority: &str) -> Tunnel {
        let (response, send) = self.ask(connect(authority, Some(plugin)), false).await;
        let response = answer(response).await;
        assert_eq!(response.status(), StatusCode::OK);
        Tunnel {
            send,
            recv: response.into_body(),
            read: Vec::new(),
        }
    }

    /// A request without a body, and its whole answer.
    async fn fetch(&mut self, request: Request<()>) -> (Response<()>, String) {
        let (response, _) = self.ask(request, true).await;
        whole(answer(response).await).await
    }
}

impl Tunnel {
    fn say(&mut self, bytes: &'static str) {
        self.send.send_data(bytes.into(), false).unwrap();
    }

    async fn hears(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            let more = next(&mut self.recv).await.expect("more").unwrap();
            self.read.extend_from_slice(&more);
        }
        self.read.drain(..count).collect()
    }

    /// With which reason the stream is reset.
    async fn is_reset(&mut self) -> Option<Reason> {
        loop {
            match next(&mut self.recv).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error.reason(),
                None => return None,
            }
        }
    }
}

/// The next bytes; an empty frame is only the end's.
async fn next(body: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    loop {
        let data = tokio::time::timeout(PATIENCE, body.data()).await.expect("data");
        match data {
            Some(Ok(data)) if data.is_empty() => {}
            Some(Ok(data)) => {
                body.flow_control().release_capacity(data.len()).unwrap();
                return Some(Ok(data));
            }
            end => return end,
        }
    }
}

async fn answer(response: ResponseFuture) -> Response<RecvStream> {
    tokio::time::timeout(PATIENCE, response)
        .await
        .expect("an answer")
        .unwrap()
}

async fn whole(response: Response<RecvStream>) -> (Response<()>, String) {
    let (parts, mut body) = response.into_parts();
    let mut text = Vec::new();
    while let Some(data) = next(&mut body).await {
        text.extend_from_slice(&data.unwrap());
    }
    (Response::from_parts(parts, ()), String::from_utf8(text).unwrap())
}

fn with(mut request: http::request::Builder, plugin: Option<&Plugin>) -> Request<()> {
    if let Some(plugin) = plugin {
        let pair = format!("{}:{}", plugin.claims.run_id, plugin.token);
        request = request.header("proxy-authorization", format!("Basic {}", STANDARD.encode(pair)));
    }
    request.body(()).unwrap()
}

fn connect(authority: &str, plugin: Option<&Plugin>) -> Request<()> {
    with(Request::connect(authority), plugin)
}

fn get(url: &str, plugin: Option<&Plugin>) -> Request<()> {
    with(Request::get(url), plugin)
}

fn events(world: &World, kind: EventKind, count: usize) -> Vec<Event> {
    world.sees(&format!("{count} {kind:?}"), |events| {
        let found: Vec<_> = events
            .iter()
            .filter(|event| event.kind == kind)
            .cloned()
            .collect();
        (found.len() == count).then_some(found)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stream_is_named_by_its_own_credentials_and_recorded_for_itself() {
    let (first, second) = (Origin::start().await, Origin::start().await);
    let world = World::reaching(&[("one.example", first.address), ("two.example", second.address)]).await;
    let (weather, news) = (world.plugin("acme.weather", 1), world.plugin("acme.news", 2));
    let mut client = Http2::to(&world).await;
    let mut to_one = client.tunnel(&weather, "one.example:443").await;
    let mut to_two = client.tunnel(&news, "two.example:8443").await;
    let (mut one, mut two) = (first.accept().await, second.accept().await);
    for (tunnel, server, host, plugin) in [
        (&mut to_one, &mut one, "one.example:443", &weather),
        (&mut to_two, &mut two, "two.example:8443", &news),
    ] {
        tunnel.say("question");
        assert_eq!(server.exactly(8).await, b"question");
        server.send("answer").await;
        assert_eq!(tunnel.hears(6).await, b"answer");
        // A half-closed direction is half-closed on the other side, both ways.
        tunnel.send.send_data(Bytes::new(), true).unwrap();
        assert_eq!(server.rest().await, b"");
        server.send("late").await;
        assert_eq!(tunnel.hears(4).await, b"late");
        tokio::io::AsyncWriteExt::shutdown(&mut server.io).await.unwrap();
        assert!(next(&mut tunnel.recv).await.is_none());
        let close = world.event(|event| {
            let target = event.destination_host.as_ref().zip(event.port);
            event.kind == EventKind::Close
                && target.is_some_and(|(name, port)| format!("{name}:{port}") == host)
        });
        assert_eq!(close.run_id, Some(plugin.claims.run_id));
        assert_eq!(close.plugin_id, Some(plugin.claims.plugin_id.clone()));
        assert_eq!(close.attribution, Some(Attribution::Token));
        assert_eq!(close.outcome, Some(Outcome::ClientClosed));
        assert_eq!((close.bytes_out, close.bytes_in), (Some(8), Some(10)));
    }
    let opens = events(&world, EventKind::Open, 2);
    assert_ne!(opens[0].connection_id, opens[1].connection_id);
    assert_eq!(world.count(EventKind::Close), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn much_passes_both_ways_through_windows_that_are_smaller() {
    let origin = Origin::start().await;
    let mut plan = Plan::reaching(&[("ok.example", origin.address)]);
    plan.settings.limits.http2.stream_window = 70_000;
    let world = plan.start().await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = Http2::to(&world).await;
    let Tunnel {
        mut send, mut recv, ..
    } = client.tunnel(&plugin, "ok.example:443").await;
    let server = origin.accept().await;
    let sent: Vec<u8> = (0..500_000_u32).flat_map(u32::to_be_bytes).collect();
    let echo = tokio::spawn(async move {
        let (mut from, mut to) = server.io.into_split();
        tokio::io::copy(&mut from, &mut to).await.unwrap();
    });
    let upload = sent.clone();
    let uploading = tokio::spawn(async move {
        let mut rest = Bytes::from(upload);
        while !rest.is_empty() {
            send.reserve_capacity(rest.len());
            let room = std::future::poll_fn(|cx| send.poll_capacity(cx))
                .await
                .unwrap()
                .unwrap();
            send.send_data(rest.split_to(room.min(rest.len())), false)
                .unwrap();
        }
        send.send_data(Bytes::new(), true).unwrap();
    });
    let mut back = Vec::new();
    while let Some(data) = next(&mut recv).await {
        back.extend_from_slice(&data.unwrap());
    }
    uploading.await.unwrap();
    echo.await.unwrap();
    assert!(back == sent, "{} bytes of {}", back.len(), sent.len());
    let close = world.first(EventKind::Close);
    assert_eq!(
        (close.bytes_out, close.bytes_in),
        (Some(2_000_000), Some(2_000_000))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_407_on_one_stream_keeps_the_connection() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = Http2::to(&world).await;
    for request in [connect("ok.example:443", None), get("http://ok.example/", None)] {
        let (response, body) = client.fetch(request).await;
        assert_eq!(response.status(), StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        let headers = response.headers();
        assert_eq!(headers["proxy-authenticate"], "Basic realm=\"bailiwick\"");
        assert_eq!(headers["x-bailiwick-reason"], "credentials_missing");
        assert!(!headers.contains_key("connection"), "{headers:?}");
        assert_eq!(body, "");
    }
    let mut tunnel = client.tunnel(&plugin, "ok.example:443").await;
    tunnel.say("still here");
    assert_eq!(origin.accept().await.exactly(10).await, b"still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_they_say_on_http_1() {
    let world = World::reaching(&[]).await;
    let plugin = world.plugin("acme.weather", 1);
    world
        .rulings
        .set(|_, _| Ruling::deny(base::Mode::Revoked, RefusalReason::Revoked, "Ask the operators."));
    let mut client = Http2::to(&world).await;
    let (response, body) = client.fetch(connect("bad.example:443", Some(&plugin))).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let headers = response.headers();
    assert_eq!(headers["x-bailiwick-reason"], "revoked");
    assert_eq!(
        headers["proxy-status"],
        "bailiwick; error=http_request_denied; details=\"revoked\""
    );
    assert_eq!(
        body,
        "bailiwick refused bad.example:443 (revoked). Ask the operators.\n"
    );
    for (request, status, reason) in [
        (
            get("https://ok.example/", Some(&plugin)),
            501,
            RefusalReason::Unsupported,
        ),
        (
            with(
                Request::connect("https://ok.example/chat")
                    .extension(h2::ext::Protocol::from_static("websocket")),
                Some(&plugin),
            ),
            501,
            RefusalReason::Unsupported,
        ),
        (connect("127.1:443", Some(&plugin)), 400, RefusalReason::Malformed),
    ] {
        let before = world.count(EventKind::Refused);
        let (response, body) = client.fetch(request).await;
        assert_eq!(response.status(), status, "{body}");
        let refused = events(&world, EventKind::Refused, before + 1).pop().unwrap();
        assert_eq!(refused.reason, Some(reason));
        assert!(refused.raw_target.is_some());
        assert!(body.starts_with("bailiwick refused this request"), "{body}");
    }
    assert_eq!(world.count(EventKind::Open), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_on_as_http_1_and_its_answer_comes_back() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = Http2::to(&world).await;
    let request = Request::post("http://ok.example/path?query")
        .header("te", "trailers")
        .header("expect", "100-continue")
        .header("x-run-id", "somebody")
        .header("via", "1.1 me")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("x-kept", "yes");
    let (mut response, mut send) = client.ask(with(request, Some(&plugin)), false).await;
    let mut server = origin.accept().await;
    assert_eq!(
        server.head().await,
        "POST /path?query HTTP/1.1\r\nhost: ok.example\r\nexpect: 100-continue\r\nx-kept: yes\r\n\
         cookie: a=1; b=2\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    server.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    let interim = std::future::poll_fn(|cx| response.poll_informational(cx));
    let interim = tokio::time::timeout(PATIENCE, interim)
        .await
        .expect("an interim answer");
    assert_eq!(interim.unwrap().unwrap().status(), 100);
    send.send_data("hello".into(), false).unwrap();
    assert_eq!(server.exactly(10).await, b"5\r\nhello\r\n");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    send.send_trailers(trailers).unwrap();
    assert_eq!(server.exactly(15).await, b"0\r\nx-sum: 1\r\n\r\n");
    server
        .send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Odd: 1\r\n\
             Trailer: X-Sum\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Sum: 2\r\n\r\n",
        )
        .await;
    let (parts, mut body) = answer(response).await.into_parts();
    assert_eq!(parts.status, 200);
    assert_eq!(parts.headers["x-odd"], "1");
    assert!(!parts.headers.contains_key("transfer-encoding") && !parts.headers.contains_key("x-hop"));
    let mut text = Vec::new();
    while let Some(data) = next(&mut body).await {
        text.extend_from_slice(&data.unwrap());
    }
    assert_eq!(text, b"abcde");
    assert_eq!(body.trailers().await.unwrap().unwrap()["x-sum"], "2");
    let close = world.first(EventKind::Close);
    assert_eq!(close.outcome, Some(Outcome::Completed));
    assert_eq!(close.stripped_headers, ["x-run-id"]);
    assert_eq!(close.run_id, Some(plugin.claims.run_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_end_where_their_server_says_so() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = Http2::to(&world).await;
    for (method, said, status, expected, closes) in [
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            200,
            "hello",
            false,
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", false),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            200,
            "",
            false,
        ),
        (
            "GET",
            "HTTP/1.0 200 OK\r\n\r\nuntil the end",
            200,
            "until the end",
            true,
        ),
        (
            "GET",
            "HTTP/1.1 302 Found\r\nLocation: http://x.example/\r\nContent-Length: 0\r\n\r\n",
            302,
            "",
            false,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            502,
            "~",
            false,
        ),
        ("GET", "nonsense\r\n\r\n", 502, "~", false),
    ] {
        let request = Request::builder().method(method).uri("http://ok.example/");
        let (response, _) = client.ask(with(request, Some(&plugin)), true).await;
        let mut server = origin.accept().await;
        server.head().await;
        server.send(said).await;
        if closes {
            drop(server);
        }
        let (response, body) = whole(answer(response).await).await;
        assert_eq!(response.status(), status, "{said}");
        if expected != "~" {
            assert_eq!(body, expected);
        } else {
            assert_eq!(response.headers()["x-bailiwick-reason"], "bad_response");
        }
    }
    assert_eq!(events(&world, EventKind::Close, 7).len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_answer_is_never_taken_for_a_whole_one() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = Http2::to(&world).await;
    let (response, _) = client.ask(get("http://ok.example/", Some(&plugin)), true).await;
    let mut server = origin.accept().await;
    server.head().await;
    server
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
        .await;
    let mut body = answer(response).await.into_body();
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "hel");
    drop(server);
    let error = next(&mut body).await.expect("an error").unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    assert_eq!(world.first(EventKind::Close).outcome, Some(Outcome::ServerReset));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_come_before_the_end_of_the_question() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = Http2::to(&world).await;
    let request = with(Request::post("http://ok.example/"), Some(&plugin));
    let (response, mut send) = client.ask(request, false).await;
    send.send_data("some".into(), false).unwrap();
    let mut server = origin.accept().await;
    server.head().await;
    server
        .send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        .await;
    let (response, body) = whole(answer(response).await).await;
    assert_eq!((response.status().as_u16(), body.as_str()), (413, "no"));
    // RFC 9113 §8.1: no more of the question is wanted, and nothing went wrong.
    let reset = std::future::poll_fn(|cx| send.poll_reset(cx));
    let reset = tokio::time::timeout(PATIENCE, reset).await.expect("a reset");
    assert_eq!(reset.unwrap(), Reason::NO_ERROR);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_server_connection_is_shared_between_streams() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let mut client = Http2::to(&world).await;
    for run in 1..=3 {
        let plugin = world.plugin("acme.weather", run);
        let (response, _) = client.ask(get("http://ok.example/", Some(&plugin)), true).await;
        let mut server = origin.accept().await;
        server.head().await;
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(answer(response).await.status(), 200);
    }
    assert_eq!(origin.connections(), 3);
    let runs: HashSet<_> = events(&world, EventKind::Close, 3)
        .iter()
        .map(|event| event.run_id)
        .collect();
    assert_eq!(runs.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_opened_in_the_clients_place() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = Http2::to(&world).await;
    let request = || {
        let request = Request::connect("http://ok.example/chat")
            .extension(h2::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "chat");
        with(request, Some(&plugin))
    };
    for answer_with in ["right", "wrong", "none"] {
        let (response, mut send) = client.ask(request(), false).await;
        let mut server = origin.accept().await;
        let head = server.head().await;
        assert!(
            head.starts_with("GET /chat HTTP/1.1\r\nhost: ok.example\r\n"),
            "{head}"
        );
        assert!(
            head.contains("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"),
            "{head}"
        );
        let (_, key) = head.split_once("sec-websocket-key: ").unwrap();
        let key = key.lines().next().unwrap();
        let right = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
        let accept = match answer_with {
            "right" => STANDARD.encode(right),
            _ => STANDARD.encode([0; 20]),
        };
        let upgrade = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Accept: {accept}\r\n\r\nhi"
        );
        let said = match answer_with {
            "none" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
            _ => &upgrade,
        };
        server.send(said).await;
        let response = answer(response).await;
        if answer_with != "right" {
            assert_eq!(response.status(), 502);
            let close = events(
                &world,
                EventKind::Close,
                if answer_with == "wrong" { 2 } else { 3 },
            );
            assert_eq!(close.last().unwrap().outcome, Some(Outcome::BadResponse));
            continue;
        }
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
        assert!(!response.headers().contains_key("sec-websocket-accept"));
        let mut body = response.into_body();
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "hi");
        send.send_data("frame".into(), true).unwrap();
        assert_eq!(server.rest().await, b"frame");
        drop(server);
        assert!(next(&mut body).await.is_none());
        assert_eq!(world.first(EventKind::Close).outcome, Some(Outcome::ClientClosed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_resets_its_streams_and_no_others() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let (doomed, spared) = (world.plugin("acme.doomed", 1), world.plugin("acme.spared", 2));
    let mut client = Http2::to(&world).await;
    let mut dead = client.tunnel(&doomed, "ok.example:443").await;
    let mut dead_server = origin.accept().await;
    let mut alive = client.tunnel(&spared, "ok.example:443").await;
    let mut alive_server = origin.accept().await;
    let scope = KillScope::Plugin(doomed.claims.plugin_id.clone());
    assert_eq!(world.gateway.kill(scope).await.tunnels, 1);
    assert_eq!(dead.is_reset().await, Some(Reason::CONNECT_ERROR));
    assert!(dead_server.is_reset().await);
    assert_eq!(world.first(EventKind::Close).outcome, Some(Outcome::Killed));
    alive.say("still here");
    assert_eq!(alive_server.exactly(10).await, b"still here");
    assert_eq!(world.gateway.end_run(spared.claims.run_id).await.tunnels, 1);
    assert_eq!(alive.is_reset().await, Some(Reason::CONNECT_ERROR));
    world.event(|event| event.outcome == Some(Outcome::RunEnded));
    // The connection is nobody's run, and serves the next one.
    let later = world.plugin("acme.later", 3);
    let _standing = client.tunnel(&later, "ok.example:443").await;
    assert_eq!(world.gateway.live(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_carried_through_both_ways() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = Http2::to(&world).await;
    let mut tunnel = client.tunnel(&plugin, "ok.example:443").await;
    let mut server = origin.accept().await;
    tunnel.send.send_reset(Reason::CANCEL);
    assert!(server.is_reset().await);
    assert_eq!(
        events(&world, EventKind::Close, 1)[0].outcome,
        Some(Outcome::ClientReset)
    );
    let mut tunnel = client.tunnel(&plugin, "ok.example:443").await;
    origin.accept().await.reset();
    assert_eq!(tunnel.is_reset().await, Some(Reason::CONNECT_ERROR));
    assert_eq!(
        events(&world, EventKind::Close, 2)[1].outcome,
        Some(Outcome::ServerReset)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_stream_that_is_reset_ends_though_nothing_is_sent_to_it() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    for vanishes in [false, true] {
        let mut client = Http2::to(&world).await;
        let mut tunnel = client.tunnel(&plugin, "ok.example:443").await;
        let mut server = origin.accept().await;
        tunnel.send.send_data(Bytes::new(), true).unwrap();
        assert_eq!(server.rest().await, b"");
        if vanishes {
            client.connection.abort();
        } else {
            drop(tunnel);
        }
        let closes = events(&world, EventKind::Close, if vanishes { 2 } else { 1 });
        assert_eq!(closes.last().unwrap().outcome, Some(Outcome::ClientReset));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beginning_that_is_none_or_never_ends_is_refused() {
    let mut plan = Plan::reaching(&[]);
    plan.settings.timeouts.head = Duration::from_millis(200);
    let world = plan.start().await;
    for (count, beginning, reason) in [
        (1, &b"PRI * HTTP/2.0\r\n\r\nSM"[..], RefusalReason::Timeout),
        (
            2,
            b"PRI * HTTP/1.1\r\nHost: a.example\r\n\r\n",
            RefusalReason::Malformed,
        ),
        (3, b"PRI", RefusalReason::Timeout),
    ] {
        let mut client = world.client().await;
        client.send(beginning).await;
        client.sees_its_end().await;
        let refused = events(&world, EventKind::Refused, count).pop().unwrap();
        assert_eq!(refused.reason, Some(reason));
        assert_eq!(refused.attribution, Some(Attribution::None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_certificate_speaks_for_every_stream_that_says_nothing_else() {
    let origin = Origin::start().await;
    let tls = TlsWorld::start(ClientAuth::Optional, &[("ok.example", origin.address)]).await;
    let (weather, news) = (
        tls.world.plugin("acme.weather", 1),
        tls.world.plugin("acme.news", 2),
    );
    let talker = tls
        .connect_with(Some(tls.proof(&weather)), &["h2"])
        .await
        .unwrap();
    let alpn = talker.io.get_ref().1.alpn_protocol();
    assert_eq!(alpn, Some(&b"h2"[..]));
    let (send, connection) = h2::client::handshake(talker.io).await.unwrap();
    let mut client = Http2 {
        send,
        connection: tokio::spawn(connection),
    };
    let (response, mut send) = client.ask(connect("ok.example:443", None), false).await;
    assert_eq!(answer(response).await.status(), 200);
    send.send_data("through".into(), true).unwrap();
    assert_eq!(origin.accept().await.rest().await, b"through");
    let open = tls.world.first(EventKind::Open);
    assert_eq!(open.run_id, Some(weather.claims.run_id));
    assert_eq!(open.attribution, Some(Attribution::Mtls));
    // Two proofs that disagree on one stream are that stream's affair.
    let (response, _) = client.fetch(connect("ok.example:443", Some(&news))).await;
    assert_eq!(response.status(), StatusCode::PROXY_AUTHENTICATION_REQUIRED);
    assert_eq!(response.headers()["x-bailiwick-reason"], "credentials_conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_ends_all_of_its_streams() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = Http2::to(&world).await;
    let _tunnels = [
        client.tunnel(&plugin, "ok.example:443").await,
        client.tunnel(&plugin, "ok.example:444").await,
    ];
    client.connection.abort();
    for close in events(&world, EventKind::Close, 2) {
        assert_eq!(close.outcome, Some(Outcome::ClientReset));
    }
    for _ in 0..2 {
        assert!(origin.accept().await.is_reset().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_answers_no_ping_is_gone() {
    let origin = Origin::start().await;
    let mut plan = Plan::reaching(&[("ok.example", origin.address)]);
    plan.settings.timeouts.ping = Duration::from_millis(20);
    plan.settings.timeouts.pong = Duration::from_millis(200);
    let world = plan.start().await;
    let plugin = world.plugin("acme.weather", 1);
    let io = TcpStream::connect(world.address()).await.unwrap();
    let (send, mut connection) = h2::client::handshake(io).await.unwrap();
    let mut send = send.ready().await.unwrap();
    let (response, _body) = send
        .send_request(connect("ok.example:443", Some(&plugin)), false)
        .unwrap();
    tokio::select! {
        response = answer(response) => assert_eq!(response.status(), 200),
        _ = &mut connection => panic!("the connection has ended"),
    }
    // From here on nobody drives the client, and the socket stays open.
    assert_eq!(world.first(EventKind::Close).outcome, Some(Outcome::ClientReset));
    assert!(origin.accept().await.is_reset().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_streams_is_sent_away_in_order() {
    let mut plan = Plan::reaching(&[]);
    plan.settings.timeouts.keep_alive = Duration::from_millis(50);
    let world = plan.start().await;
    let client = Http2::to(&world).await;
    let ended = tokio::time::timeout(PATIENCE, client.connection)
        .await
        .expect("an end");
    ended.unwrap().unwrap();
    assert_eq!(world.count(EventKind::Refused), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_gateway_lets_streams_end_and_takes_no_new_ones() {
    let origin = Origin::start().await;
    let world = World::reaching(&[("ok.example", origin.address)]).await;
    let plugin = world.plugin("acme.weather", 1);
    let mut client = Http2::to(&world).await;
    let mut tunnel = client.tunnel(&plugin, "ok.example:443").await;
    let mut server = origin.accept().await;
    let gateway = std::sync::Arc::clone(&world.gateway);
    let shutdown = tokio::spawn(async move { gateway.shutdown(PATIENCE).await });
    // The second GOAWAY says that nothing new is taken; until then it is refused by an answer.
    while let Ok(ready) = client.send.clone().ready().await {
        client.send = ready;
        match client
            .send
            .send_request(connect("ok.example:443", Some(&plugin)), true)
        {
            Ok((response, _)) => match response.await {
                Ok(response) => assert_ne!(response.status(), 407),
                Err(_) => break,
            },
            Err(_) => break,
        }
    }
    tunnel.say("still here");
    assert_eq!(server.exactly(10).await, b"still here");
    tunnel.send.send_data(Bytes::new(), true).unwrap();
    drop(server);
    assert_eq!(tunnel.is_reset().await, None);
    tokio::time::timeout(PATIENCE, shutdown)
        .await
        .expect("an end")
        .unwrap();
    tokio::time::timeout(PATIENCE, client.connection)
        .await
        .expect("an end")
        .unwrap()
        .unwrap();
}
