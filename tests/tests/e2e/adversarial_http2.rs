//! HTTP/2 that no client would speak: heads that name two things, floods, games with windows.
//!
//! Whatever comes, the stream or the connection that it came on ends, the gateway says so in its
//! record, and whoever else is there notices nothing.

use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Frame, FrameClient, ProxyCredentials, Scenario, header_block};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::stage::{Stage, exactly};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "an_http2_request_with_two_readings_or_none_is_reset_and_recorded",
        needs: &[],
        run: malformed_requests,
    },
    Scenario {
        name: "two_runs_on_one_http2_connection_are_told_apart",
        needs: &[],
        run: two_targets,
    },
    Scenario {
        name: "requests_taken_back_in_masses_end_their_connection_and_nothing_else",
        needs: &[],
        run: rapid_reset,
    },
    Scenario {
        name: "a_flood_of_continuations_ends_its_connection_and_nothing_else",
        needs: &[],
        run: continuation_flood,
    },
    Scenario {
        name: "a_head_that_grows_when_unpacked_is_refused",
        needs: &[],
        run: header_bomb,
    },
    Scenario {
        name: "windows_that_make_no_sense_end_what_they_belong_to",
        needs: &[],
        run: window_games,
    },
    Scenario {
        name: "a_client_that_opens_no_window_stalls_only_itself_and_is_killed",
        needs: &[],
        run: no_window,
    },
    Scenario {
        name: "floods_of_pings_settings_and_empty_frames_are_outlived",
        needs: &[],
        run: small_floods,
    },
];

const TARGET: &str = "ok.example:443";
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const CONNECT_ERROR: u32 = 10;

/// The header that presents credentials.
pub fn basic(credentials: &ProxyCredentials) -> String {
    let pair = format!("{}:{}", credentials.user, credentials.password);
    format!("Basic {}", STANDARD.encode(pair))
}

fn stage() -> Result<Stage> {
    Stage::new(
        &["ok.example", "other.example"],
        &["ok.example", "other.example", "http://ok.example"],
    )
}

fn client(stage: &Stage) -> Result<FrameClient> {
    FrameClient::connect(stage.world.gateway()?)
}

fn connect(stage: &Stage, id: u32, authority: &str) -> Frame {
    let proof = basic(&stage.run.credentials);
    Frame::request(
        id,
        &[
            (":method", "CONNECT"),
            (":authority", authority),
            ("proxy-authorization", &proof),
        ],
    )
}

fn malformed_requests() -> Result<()> {
    const METHOD: (&str, &str) = (":method", "GET");
    const SCHEME: (&str, &str) = (":scheme", "http");
    const AUTHORITY: (&str, &str) = (":authority", "ok.example");
    const PATH: (&str, &str) = (":path", "/");
    const CONNECT: (&str, &str) = (":method", "CONNECT");
    let stage = stage()?;
    let proof = basic(&stage.run.credentials);
    let cases: &[&[(&str, &str)]] = &[
        &[SCHEME, AUTHORITY, PATH],
        &[METHOD, AUTHORITY, PATH],
        &[METHOD, SCHEME, AUTHORITY],
        &[METHOD, SCHEME, PATH],
        &[METHOD, SCHEME, PATH, ("host", "ok.example")],
        &[METHOD, METHOD, SCHEME, AUTHORITY, PATH],
        &[METHOD, SCHEME, AUTHORITY, (":authority", "other.example"), PATH],
        &[METHOD, SCHEME, AUTHORITY, PATH, (":path", "/other")],
        &[METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH],
        &[METHOD, SCHEME, AUTHORITY, PATH, (":evil", "1")],
        &[METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "evil.example/")],
        &[METHOD, SCHEME, AUTHORITY, (":path", ".evil.example:80/")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "@evil.example/")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "*")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("host", "other.example")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("host", "ok.example:81")],
        &[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("host", "ok.example"),
            ("host", "ok.example"),
        ],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("Host", "ok.example")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("X-Upper", "1")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("x y", "1")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("x", "1\r\nhost: evil.example")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("x", "1\0")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("x", " 1")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("connection", "close")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("transfer-encoding", "chunked")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("upgrade", "websocket")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("te", "gzip")],
        &[METHOD, SCHEME, AUTHORITY, PATH, (":protocol", "websocket")],
        &[CONNECT],
        &[CONNECT, (":authority", TARGET), PATH],
        &[CONNECT, (":authority", TARGET), SCHEME],
        &[CONNECT, (":authority", TARGET), ("host", "other.example:443")],
        &[CONNECT, (":authority", TARGET), (":protocol", "websocket")],
        &[
            CONNECT,
            (":authority", TARGET),
            (":protocol", "websocket"),
            SCHEME,
        ],
    ];
    for (number, case) in cases.iter().enumerate() {
        let mut fields = case.to_vec();
        fields.push(("proxy-authorization", &proof));
        let mut client = client(&stage)?;
        client.send(&Frame::request(1, &fields))?;
        let refusal = client.refusal(1).with_context(|| format!("{case:?}"))?;
        let reset = refusal.kind == Frame::RESET;
        ensure!(
            refusal.reason() == Some(PROTOCOL_ERROR) || !reset && refusal.reason() != Some(0),
            "{case:?}: {refusal:?}"
        );
        let refused = stage
            .wait_for("refused", number + 1)
            .with_context(|| format!("{case:?}"))?;
        let last = refused.last().context("an event")?;
        ensure!(last["reason"] == "malformed", "{case:?}: {last:#}");
        ensure!(refused.len() == number + 1, "{case:?} is on record twice");
        if reset {
            // Nothing is wrong with the connection.
            client.send(&connect(&stage, 3, TARGET))?;
            client.until(|frame| frame.stream == 3 && frame.is_success())?;
            drop(client);
            drop(stage.server.accept()?);
        }
    }
    for open in stage.events("open")? {
        ensure!(
            open["destination_host"] == "ok.example" && open["port"] == 443,
            "{open:#}"
        );
    }
    stage.is_well(TARGET)
}

fn two_targets() -> Result<()> {
    let stage = stage()?;
    let other = crate::tokens::LiveRun::start(&stage.world, &stage.plugin, &[])?;
    let mut client = client(&stage)?;
    let mut runs = Vec::new();
    for (id, authority, credentials) in [
        (1, "ok.example:443", &stage.run.credentials),
        (3, "other.example:443", &other.credentials),
    ] {
        let proof = basic(credentials);
        let fields = [
            (":method", "CONNECT"),
            (":authority", authority),
            ("proxy-authorization", proof.as_str()),
        ];
        client.send(&Frame::request(id, &fields))?;
        client.until(|frame| frame.stream == id && frame.is_success())?;
        let mut server = stage.server.accept()?;
        client.send(&Frame::new(Frame::DATA, 0, id, *b"ping"))?;
        ensure!(exactly(&mut server, 4)? == b"ping");
        server.write_all(b"pong")?;
        let data = client.until(|frame| frame.stream == id && frame.kind == Frame::DATA)?;
        ensure!(data.payload == b"pong");
        runs.push((authority, credentials.user.clone(), server));
    }
    drop(client);
    let closes = stage.wait_for("close", 2)?;
    for (authority, run, _) in &runs {
        let close = closes
            .iter()
            .find(|close| authority.starts_with(close["destination_host"].as_str().unwrap_or("~")))
            .context("a close for each")?;
        ensure!(close["run_id"] == run.as_str(), "{close:#}");
        ensure!(close["bytes_out"] == 4 && close["bytes_in"] == 4, "{close:#}");
    }
    ensure!(closes[0]["connection_id"] != closes[1]["connection_id"]);
    Ok(())
}

fn rapid_reset() -> Result<()> {
    let stage = stage()?;
    let mut client = client(&stage)?;
    let mut flood = Vec::new();
    for number in 0..20_000 {
        let id = 2 * number + 1;
        flood.extend(connect(&stage, id, TARGET).bytes());
        flood.extend(Frame::reset(id, 8).bytes());
    }
    // The gateway hangs up before it has read all of it.
    let _ = client.send_bytes(&flood);
    client.drain();
    let refused = stage.wait_for("refused", 1)?;
    ensure!(
        refused.iter().all(|event| event["reason"] == "limit"),
        "{refused:#?}"
    );
    let opens = stage.events("open")?.len();
    ensure!(opens < 2_000, "{opens} of 20000 requests were served");
    stage.wait_for("close", opens)?;
    let mut later = self::client(&stage)?;
    later.send(&connect(&stage, 1, "other.example:443"))?;
    later.until(|frame| frame.stream == 1 && frame.is_success())?;
    Ok(())
}

fn continuation_flood() -> Result<()> {
    let stage = stage()?;
    for filler in [&b""[..], &[0x10, 1, b'x', 1, b'y'][..]] {
        let before = stage.events("refused")?.len();
        let mut client = client(&stage)?;
        client.send(&Frame::new(
            Frame::HEADERS,
            0,
            1,
            header_block(&[(":method", "CONNECT"), (":authority", TARGET)]),
        ))?;
        let more = Frame::new(Frame::CONTINUATION, 0, 1, filler.repeat(200))
            .bytes()
            .repeat(100);
        // Four hundred thousand frames, if somebody takes them.
        let _ = (0..4_000).try_for_each(|_| client.send_bytes(&more));
        // All of it may fit between two sockets; that the connection ends is the point.
        client.drain();
        let refused = stage.wait_for("refused", before + 1)?;
        let reason = refused.last().context("an event")?["reason"].clone();
        ensure!(reason == "limit" || reason == "malformed", "{reason}");
        stage.is_well(TARGET)?;
    }
    Ok(())
}

/// One large field in HPACK's table, named again and again by a byte each.
fn header_bomb() -> Result<()> {
    let stage = stage()?;
    let mut client = client(&stage)?;
    let mut block = header_block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "ok.example"),
        (":path", "/"),
    ]);
    // Literal with indexing: the name `x`, a value of 4000 bytes.
    block.extend([0x40, 1, b'x', 127, 0xa1, 0x1e]);
    block.extend([b'y'; 4000]);
    block.extend([0xbe; 8000]);
    client.send(&Frame::new(
        Frame::HEADERS,
        Frame::END_HEADERS | Frame::END_STREAM,
        1,
        block,
    ))?;
    let answer = client.until(|frame| {
        frame.kind == Frame::GOAWAY
            || frame.stream == 1 && matches!(frame.kind, Frame::HEADERS | Frame::RESET)
    })?;
    ensure!(!answer.is_success(), "{answer:?}");
    let refused = stage.wait_for("refused", 1)?;
    ensure!(
        refused[0]["reason"] == "limit" || refused[0]["reason"] == "malformed",
        "{refused:#?}"
    );
    assert_eq!(stage.events("open")?.len(), 0);
    stage.is_well(TARGET)
}

fn window_games() -> Result<()> {
    let stage = stage()?;
    let settings = |id: u16, value: u32| {
        let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        Frame::new(Frame::SETTINGS, 0, 0, payload)
    };
    for (number, game) in [
        // No window at all more; more than there can be; a first window that large; a frame size
        // that no frame may have.
        Frame::window(0, 0),
        Frame::window(0, 0x7fff_ffff),
        settings(4, 0x8000_0000),
        settings(5, 1),
        Frame::new(Frame::SETTINGS, 0, 0, *b"odd"),
        Frame::new(Frame::PING, 0, 0, *b"short"),
    ]
    .iter()
    .enumerate()
    {
        let mut client = client(&stage)?;
        client.send(game)?;
        let away = client.until(|frame| frame.kind == Frame::GOAWAY)?;
        ensure!(away.reason() != Some(0), "{game:?}: {away:?}");
        let refused = stage.wait_for("refused", number + 1)?;
        ensure!(
            refused[number]["reason"] == "malformed",
            "{game:?}: {:#}",
            refused[number]
        );
    }
    // A stream's window that grows beyond all measure ends the stream, and the tunnel on it.
    let mut client = client(&stage)?;
    client.send(&connect(&stage, 1, TARGET))?;
    client.until(|frame| frame.stream == 1 && frame.is_success())?;
    let _server = stage.server.accept()?;
    client.send(&Frame::window(1, 0x7fff_ffff))?;
    let end = client.refusal(1)?;
    ensure!(end.reason() == Some(FLOW_CONTROL_ERROR), "{end:?}");
    stage.wait_for("close", 1)?;
    // More data than there is window for ends the connection.
    let mut greedy = self::client(&stage)?;
    greedy.send(&connect(&stage, 1, TARGET))?;
    greedy.until(|frame| frame.stream == 1 && frame.is_success())?;
    let _stalled = stage.server.accept()?;
    let data = Frame::new(Frame::DATA, 0, 1, vec![0; 16 << 10]).bytes();
    let hung_up = (0..8_000).any(|_| greedy.send_bytes(&data).is_err());
    ensure!(hung_up, "more was taken than there was window for");
    stage.wait_for("close", 2)?;
    stage.is_well(TARGET)
}

fn no_window() -> Result<()> {
    let stage = stage()?;
    let mut client = client(&stage)?;
    // SETTINGS_INITIAL_WINDOW_SIZE 0: answers, and not a byte of a body.
    client.send(&Frame::new(Frame::SETTINGS, 0, 0, [0, 4, 0, 0, 0, 0]))?;
    client.send(&connect(&stage, 1, TARGET))?;
    client.until(|frame| frame.stream == 1 && frame.is_success())?;
    let mut server = stage.server.accept()?;
    server.set_write_timeout(Some(std::time::Duration::from_millis(500)))?;
    // The sender is stopped long before this is gone: nothing but the kernel's buffers takes it.
    let taken = (0..4_096)
        .take_while(|_| server.write_all(&[7; 64 << 10]).is_ok())
        .count();
    ensure!(taken < 4_096, "somebody keeps what nobody reads");
    client.send(&connect(&stage, 3, "other.example:443"))?;
    client.until(|frame| frame.stream == 3 && frame.is_success())?;
    stage.world.cli(["kill", stage.plugin.id.as_str()])?.expect(0)?;
    let end = client.refusal(1)?;
    ensure!(end.reason() == Some(CONNECT_ERROR), "{end:?}");
    for close in stage.wait_for("close", 2)? {
        ensure!(close["outcome"] == "killed", "{close:#}");
    }
    Ok(())
}

fn small_floods() -> Result<()> {
    let stage = stage()?;
    for (frame, opens) in [
        (Frame::new(Frame::PING, 0, 0, *b"12345678"), false),
        (Frame::new(Frame::SETTINGS, 0, 0, []), false),
        (Frame::window(0, 1), false),
        // PRIORITY, and a type that nobody knows.
        (Frame::new(2, 0, 1, [0, 0, 0, 0, 1]), false),
        (Frame::new(0xbb, 0, 0, *b"?"), false),
        (Frame::new(Frame::DATA, 0, 1, []), true),
    ] {
        let mut client = client(&stage)?;
        if opens {
            client.send(&connect(&stage, 1, TARGET))?;
            client.until(|frame| frame.stream == 1 && frame.is_success())?;
            drop(stage.server.accept()?);
        }
        let many = frame.bytes().repeat(1_000);
        // Nobody reads the answers; the gateway stops reading or hangs up, as it likes.
        client.stop_waiting()?;
        let _ = (0..200).all(|_| client.send_bytes(&many).is_ok());
        stage.is_well(TARGET)?;
    }
    let reasons = stage.events("refused")?;
    ensure!(
        reasons
            .iter()
            .all(|event| event["reason"] == "limit" || event["reason"] == "malformed"),
        "{reasons:#?}"
    );
    Ok(())
}
