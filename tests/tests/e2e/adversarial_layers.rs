//! Layers that say different things: the target, the name inside TLS, the Host header, the framing.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use anyhow::{Result, ensure};
use bailiwick_tests::{RawClient, RawServer, Scenario, wait_until};
use serde_json::json;

use crate::stage::{Stage, exactly, has_ended, head, reset};

pub const SCENARIOS: &[Scenario] = &[
    // First, because it waits for the gateway's own patience to end.
    Scenario {
        name: "a_head_that_is_too_slow_or_too_large_ends_alone",
        needs: &[],
        run: slow_and_large_heads,
    },
    Scenario {
        name: "the_name_inside_tls_is_held_against_the_declarations_too",
        needs: &[],
        run: other_name_inside,
    },
    Scenario {
        name: "tls_without_a_name_is_said_to_have_none",
        needs: &[],
        run: no_name_inside,
    },
    Scenario {
        name: "a_name_that_may_be_hidden_is_said_to_be_and_matches_nothing",
        needs: &[],
        run: hidden_names,
    },
    Scenario {
        name: "plain_http_inside_a_tunnel_is_held_against_the_declarations_by_its_host",
        needs: &[],
        run: plain_http_inside,
    },
    Scenario {
        name: "a_proxy_behind_the_gateway_is_recorded_as_far_as_it_can_be_seen",
        needs: &[],
        run: second_proxy,
    },
    Scenario {
        name: "a_lookup_over_https_is_seen_as_its_host_and_the_report_says_so",
        needs: &[],
        run: lookups_inside,
    },
    Scenario {
        name: "a_client_hello_in_pieces_is_read_and_relayed_byte_for_byte",
        needs: &[],
        run: hello_in_pieces,
    },
    Scenario {
        name: "a_client_hello_that_cannot_be_read_is_called_unparsed_and_still_relayed",
        needs: &[],
        run: unreadable_hellos,
    },
    Scenario {
        name: "what_is_spoken_where_tls_was_declared_is_called_by_its_name",
        needs: &[],
        run: not_tls,
    },
    Scenario {
        name: "a_host_header_that_disagrees_leads_nowhere_and_is_a_finding",
        needs: &[],
        run: other_host_header,
    },
    Scenario {
        name: "no_request_with_two_readings_reaches_a_server",
        needs: &[],
        run: two_readings,
    },
    Scenario {
        name: "a_body_that_breaks_its_framing_takes_its_server_connection_with_it",
        needs: &[],
        run: broken_bodies,
    },
    Scenario {
        name: "two_hosts_on_one_client_connection_are_two_records",
        needs: &[],
        run: two_hosts,
    },
    Scenario {
        name: "nothing_of_the_installations_own_is_reached_through_the_gateway",
        needs: &[],
        run: own_ports,
    },
    Scenario {
        name: "headers_that_would_steer_a_proxy_are_taken_out_and_steer_nothing",
        needs: &[],
        run: steering_headers,
    },
    Scenario {
        name: "an_upgraded_connection_keeps_its_id_and_its_bytes",
        needs: &[],
        run: upgrades,
    },
    Scenario {
        name: "a_redirect_is_passed_on_and_not_followed",
        needs: &[],
        run: redirect,
    },
    Scenario {
        name: "however_a_tunnel_ends_it_is_closed_once_with_the_bytes_that_passed",
        needs: &[],
        run: endings,
    },
];

const TARGET: &str = "ok.example:443";

/// A vector of TLS: its length in two bytes, and it.
fn vector16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("short enough for TLS");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// The handshake message of a ClientHello with `name`, if any, and a share of `padding` bytes.
fn hello_message(name: Option<&str>, padding: usize) -> Vec<u8> {
    hello_with(name, padding, &[])
}

/// The same, with more extensions.
fn hello_with(name: Option<&str>, padding: usize, more: &[u8]) -> Vec<u8> {
    let mut extensions = more.to_vec();
    if let Some(name) = name {
        let list = vector16(&[&[0][..], &vector16(name.as_bytes())].concat());
        extensions.extend([&[0, 0][..], &vector16(&list)].concat());
    }
    // A group that nobody knows, as large as those after quantum computers.
    extensions.extend([&[0xfe, 0x33][..], &vector16(&vec![7; padding])].concat());
    extensions.extend([&[0, 16][..], &vector16(&vector16(&[2, b'h', b'2']))].concat());
    let body = [
        &[3, 3][..],
        &[9; 32],
        &[0],
        &vector16(&[0x13, 1]),
        &[1, 0],
        &vector16(&extensions),
    ]
    .concat();
    let length = u32::try_from(body.len())
        .expect("short enough for TLS")
        .to_be_bytes();
    [&[1][..], &length[1..], &body].concat()
}

/// The message in handshake records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |piece: &[u8]| [&[22, 3, 1][..], &vector16(piece)].concat();
    message.chunks(size).flat_map(record).collect()
}

/// Sends `bytes` in pieces through a tunnel, and holds what arrives against them.
fn relay(stage: &Stage, target: &str, bytes: &[u8], piece: usize) -> Result<()> {
    let (mut client, mut server) = stage.tunnel(target)?;
    for piece in bytes.chunks(piece) {
        client.send(piece)?;
    }
    ensure!(
        exactly(&mut server, bytes.len())? == bytes,
        "the bytes were changed"
    );
    server.write_all(b"\x15\x03\x03\x00\x02\x02\x28")?;
    ensure!(client.exactly(7)? == b"\x15\x03\x03\x00\x02\x02\x28");
    Ok(())
}

fn other_name_inside() -> Result<()> {
    let stage = Stage::new(&["ok.example", "also.example"], &["ok.example", "also.example"])?;
    for (host, inside) in [
        ("ok.example", "ok.example"),
        ("ok.example", "OK.Example"),
        ("ok.example", "evil.example"),
        ("ok.example", "ok.example.evil.example"),
    ] {
        relay(
            &stage,
            &format!("{host}:443"),
            &records(&hello_message(Some(inside), 16), 1 << 14),
            1 << 14,
        )?;
    }
    let closes = stage.wait_for("close", 4)?;
    let names: Vec<_> = closes.iter().map(|event| event["sni"].clone()).collect();
    assert_eq!(
        names,
        [
            "ok.example",
            "ok.example",
            "evil.example",
            "ok.example.evil.example"
        ]
    );
    for close in closes {
        assert_eq!(close["destination_host"], "ok.example", "{close:#}");
        assert_eq!(
            (&close["scheme"], &close["alpn"], &close["decision"]),
            (&json!("tls"), &json!("h2"), &json!("allow")),
            "{close:#}"
        );
    }
    let findings = stage.findings()?;
    ensure!(!findings.is_empty(), "a name that nobody declared is a finding");
    ensure!(
        findings.iter().all(|(reason, _)| reason == "sni_mismatch"),
        "{findings:?}"
    );
    Ok(())
}

fn no_name_inside() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["ok.example"])?;
    relay(
        &stage,
        TARGET,
        &records(&hello_message(None, 16), 1 << 14),
        1 << 14,
    )?;
    // A name of no bytes is no name, and cannot be read as one.
    relay(
        &stage,
        TARGET,
        &records(&hello_message(Some(""), 16), 1 << 14),
        1 << 14,
    )?;
    let closes = stage.wait_for("close", 2)?;
    assert_eq!(
        (&closes[0]["sni"], &closes[1]["sni"]),
        (&json!("absent"), &json!("unparsed"))
    );
    assert_eq!(
        (&closes[0]["sni_visibility"], &closes[1]["sni_visibility"]),
        (&json!("absent"), &json!("unparsed"))
    );
    // Information, and no breach: the host asked for was declared.
    let audit = stage.world.cli(["audit", "--dry-run"])?.expect(0)?.json()?;
    let report = crate::story::artifact_report(&audit, &stage.plugin)?;
    assert_eq!(report["verdict"], "conforming", "{report:#}");
    for finding in report["findings"].as_array().into_iter().flatten() {
        assert_eq!(
            (&finding["reason"], &finding["severity"]),
            (&json!("sni_mismatch"), &json!("info")),
            "{finding:#}"
        );
    }
    Ok(())
}

fn hidden_names() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["ok.example"])?;
    // What a client sends that hides a name, and what one sends that only looks so: nobody can tell.
    let hidden = [&[0xfe, 0x0d][..], &vector16(&[5; 186])].concat();
    for name in [Some("cloudflare-ech.com"), Some("ok.example"), None] {
        relay(
            &stage,
            TARGET,
            &records(&hello_with(name, 16, &hidden), 1 << 14),
            1 << 14,
        )?;
    }
    relay(
        &stage,
        TARGET,
        &records(&hello_message(Some("ok.example"), 16), 1 << 14),
        1 << 14,
    )?;
    let closes = stage.wait_for("close", 4)?;
    let said: Vec<_> = closes
        .iter()
        .map(|close| (&close["sni"], &close["sni_visibility"]))
        .collect();
    assert_eq!(
        said,
        [
            (&json!("cloudflare-ech.com"), &json!("ech")),
            (&json!("ok.example"), &json!("ech")),
            (&json!("absent"), &json!("ech")),
            (&json!("ok.example"), &json!("clear")),
        ]
    );
    let audit = stage.world.cli(["audit", "--dry-run"])?.expect(0)?.json()?;
    let report = crate::story::artifact_report(&audit, &stage.plugin)?;
    assert_eq!(report["verdict"], "conforming", "{report:#}");
    let findings = report["findings"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    assert_eq!(findings.len(), 1, "{report:#}");
    assert_eq!(
        (
            &findings[0]["reason"],
            &findings[0]["severity"],
            &findings[0]["connections"]
        ),
        (&json!("no_coverage"), &json!("info"), &json!(3)),
        "{report:#}"
    );
    Ok(())
}

fn plain_http_inside() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["http://ok.example"])?;
    let request =
        |host: &str| format!("GET /chat?key=1 HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\r\n");
    for (told, (host, piece)) in [("ok.example", 999), ("OK.example:80", 1), ("evil.example", 7)]
        .into_iter()
        .enumerate()
    {
        let (mut client, mut server) = stage.tunnel("ok.example:80")?;
        let bytes = request(host);
        for piece in bytes.as_bytes().chunks(piece) {
            client.send(piece)?;
        }
        assert_eq!(head(&mut server)?, bytes, "not a byte was changed");
        drop((client, server));
        let close = stage.wait_for("close", told + 1)?.remove(told);
        assert_eq!(
            (&close["scheme"], &close["host_header"], &close["inner_target"]),
            (&json!("http"), &json!(host), &json!(null)),
            "{close:#}"
        );
    }
    ensure!(
        !format!("{:?}", stage.world.events()?).contains("key=1"),
        "a query was written down"
    );
    assert_eq!(
        stage.findings()?,
        [("sni_mismatch".to_owned(), "ok.example:80".to_owned())]
    );
    Ok(())
}

fn second_proxy() -> Result<()> {
    let declared = ["http://proxy.example:3128", "http://proxy.example:9999"];
    let stage = Stage::new(&["proxy.example"], &declared)?;
    let (usual, unusual) = ("proxy.example:3128", "proxy.example:9999");
    for (target, request, inner) in [
        (
            usual,
            "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
            "evil.example:443",
        ),
        (
            unusual,
            "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
            "evil.example:443",
        ),
        (
            usual,
            "GET http://evil.example/path HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            "evil.example:80",
        ),
    ] {
        let before = stage.events("close")?.len();
        let (mut client, mut server) = stage.tunnel(target)?;
        client.send(request.as_bytes())?;
        assert_eq!(head(&mut server)?, request);
        server.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        ensure!(client.exactly(19)? == b"HTTP/1.1 200 OK\r\n\r\n");
        drop((client, server));
        let close = stage.wait_for("close", before + 1)?.remove(before);
        assert_eq!(
            (
                &close["scheme"],
                &close["inner_target"],
                &close["destination_host"]
            ),
            (&json!("http"), &json!(inner), &json!("proxy.example")),
            "{close:#}"
        );
        ensure!(close["first_byte_ms"].is_u64(), "{close:#}");
    }
    // Only the first hop can be judged; what it was asked to do is said beside.
    let findings = stage.findings()?;
    for target in [usual, unusual] {
        ensure!(
            findings.contains(&("no_coverage".to_owned(), target.to_owned())),
            "{findings:?}"
        );
    }
    let report = stage.report()?;
    for words in [
        "proxy.example:3128 is a proxy-like destination",
        "the destination is a proxy: where connections went from there is not seen",
    ] {
        ensure!(report.contains(words), "{words}: {report}");
    }
    Ok(())
}

fn lookups_inside() -> Result<()> {
    let stage = Stage::new(&["cdn.example"], &["cdn.example", "tls://cdn.example:853"])?;
    let hello = records(&hello_message(Some("cdn.example"), 16), 1 << 14);
    for port in [443, 853] {
        relay(&stage, &format!("cdn.example:{port}"), &hello, 1 << 14)?;
    }
    // In clear, a lookup that HTTP carries is a request to that host, and its question is not kept.
    let question =
        "GET /dns-query?dns=AAABAAABAAAAAAAABGV2aWwHZXhhbXBsZQAAAQAB HTTP/1.1\r\nHost: cdn.example\r\n\r\n";
    let (mut client, mut server) = stage.tunnel("cdn.example:443")?;
    client.send(question.as_bytes())?;
    assert_eq!(head(&mut server)?, question);
    drop((client, server));
    let closes = stage.wait_for("close", 3)?;
    let told: Vec<_> = closes
        .iter()
        .map(|close| (&close["destination_host"], &close["port"], &close["scheme"]))
        .collect();
    let host = &json!("cdn.example");
    assert_eq!(
        told,
        [
            (host, &json!(443), &json!("tls")),
            (host, &json!(853), &json!("tls")),
            (host, &json!(443), &json!("http")),
        ]
    );
    let record = serde_json::to_string(&stage.world.events()?)?;
    ensure!(!record.contains("dns-query") && !record.contains("AAABAAAB"));
    // Lookups inside TLS are no finding, and no silence either.
    let findings = stage.findings()?;
    assert_eq!(
        findings,
        [("undeclared_scheme".to_owned(), "cdn.example:443".to_owned())]
    );
    let report = stage.report()?;
    ensure!(report.contains("name lookups over HTTPS or TLS"), "{report}");
    Ok(())
}

fn hello_in_pieces() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["ok.example"])?;
    let short = hello_message(Some("ok.example"), 16);
    let long = hello_message(Some("ok.example"), 40_000);
    let cases = [
        // One byte to a segment; one byte to a record; both.
        (records(&short, 1 << 14), 1),
        (records(&short, 1), 1 << 14),
        (records(&short, 1), 1),
        (records(&short, 3), 4),
        // Beyond one record, as keys after quantum computers are.
        (records(&long, 1 << 14), 1 << 14),
        (records(&long, 700), 999),
    ];
    for (bytes, piece) in &cases {
        relay(&stage, TARGET, bytes, *piece)?;
    }
    // However long a client takes for the rest, what it has sent is at the server meanwhile.
    let slow = records(&short, 1 << 14);
    let (mut client, mut server) = stage.tunnel(TARGET)?;
    for byte in &slow {
        client.send(&[*byte])?;
        ensure!(exactly(&mut server, 1)? == [*byte]);
    }
    drop((client, server));
    let slow = stage
        .wait_for("close", cases.len() + 1)?
        .pop()
        .unwrap_or_default();
    assert_eq!(
        (&slow["sni"], &slow["sni_visibility"]),
        (&json!("ok.example"), &json!("clear"))
    );
    for (close, (bytes, _)) in stage.wait_for("close", cases.len())?.iter().zip(&cases) {
        assert_eq!(close["sni"], "ok.example", "{close:#}");
        assert_eq!(close["alpn"], "h2", "{close:#}");
        assert_eq!(close["bytes_out"], bytes.len(), "{close:#}");
        assert_eq!(close["bytes_in"], 7, "{close:#}");
    }
    assert_eq!(stage.findings()?, []);
    Ok(())
}

fn unreadable_hellos() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["ok.example"])?;
    let good = hello_message(Some("ok.example"), 16);
    let mut longer = good.clone();
    longer[3] += 1;
    let mut twice = hello_message(Some("ok.example"), 16);
    let again = vector16(&vector16(&[&[0][..], &vector16(b"evil.example")].concat()));
    twice.extend([&[0, 0][..], &again].concat());
    let grown = u16::try_from(again.len() + 2).expect("short");
    // The lengths of the message and of its extensions, grown by the second name.
    let extensions = 4 + 2 + 32 + 1 + 4 + 2;
    for at in [2, extensions] {
        let old = u16::from_be_bytes([twice[at], twice[at + 1]]);
        twice[at..at + 2].copy_from_slice(&(old + grown).to_be_bytes());
    }
    let cases = [
        // More than is looked at: forwarded, and not read for ever.
        [records(
            &[&[1, 1, 0x11, 0x70][..], &vec![0; 70_000]].concat(),
            1 << 14,
        )]
        .concat(),
        // A stranger's record inside the message.
        [
            &records(&good[..20], 20)[..],
            &[23, 3, 3, 0, 1, 0],
            &records(&good[20..], 999),
        ]
        .concat(),
        // An empty record.
        [&[22, 3, 1, 0, 0][..], &records(&good, 999)].concat(),
        // A record longer than any may be.
        [&[22, 3, 1, 0x50, 0][..], &vec![1; 0x5000]].concat(),
        // Another message than a ClientHello.
        records(&[&[2][..], &good[1..]].concat(), 999),
        // Two names: a server might take the other one.
        records(&twice, 999),
        // A name with bytes that no name has.
        records(&hello_message(Some("ok.example\0evil"), 16), 999),
    ];
    for bytes in &cases {
        relay(&stage, TARGET, bytes, 1 << 14)?;
    }
    // A message that promises a byte more than it has: whoever stops in the middle is unparsed as well.
    relay(&stage, TARGET, &records(&longer, 999), 1 << 14)?;
    let closes = stage.wait_for("close", cases.len() + 1)?;
    for (index, close) in closes.iter().enumerate() {
        assert_eq!(close["scheme"], "tls", "{index}: {close:#}");
        let sni = if index == 6 {
            "ok.example\\x00evil"
        } else {
            "unparsed"
        };
        assert_eq!(close["sni"], sni, "{index}: {close:#}");
    }
    Ok(())
}

fn not_tls() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["https://ok.example"])?;
    let mut told = 0;
    for (spoken, scheme) in [
        (&b"SSH-2.0-OpenSSH_9.9\r\n"[..], "ssh"),
        (b"EHLO client.example\r\n", "tcp"),
        (b"\x00\x01\x02\x03", "tcp"),
        (b"GET / HTTP/1.1\r\nHost: ok.example\r\n\r\n", "http"),
        (b"CONNECT evil.example:443 HTTP/1.1\r\n\r\n", "http"),
    ] {
        let (mut client, mut server) = stage.tunnel(TARGET)?;
        client.send(spoken)?;
        ensure!(exactly(&mut server, spoken.len())? == spoken);
        drop((client, server));
        told += 1;
        let closes = stage.wait_for("close", told)?;
        assert_eq!(closes[told - 1]["scheme"], scheme);
    }
    let findings = stage.findings()?;
    ensure!(
        findings
            .iter()
            .any(|(reason, to)| reason == "undeclared_scheme" && to == TARGET),
        "{findings:?}"
    );
    // A server that speaks first is somebody too, and is not kept waiting.
    let (mut client, mut server) = stage.tunnel(TARGET)?;
    server.write_all(b"220 mail.example ESMTP\r\n")?;
    ensure!(client.exactly(24)? == b"220 mail.example ESMTP\r\n");
    Ok(())
}

fn other_host_header() -> Result<()> {
    let evil = RawServer::start()?;
    let address = evil.address().to_string();
    let stage = Stage::prepared(&["http://ok.example"], |world, server| {
        world.lead(&["ok.example"], &[server.address().to_string()])?;
        world.lead(&["evil.example"], &[address])
    })?;
    let mut client = stage.client()?;
    stage.send_request(&mut client, "GET http://ok.example/p", "Host: evil.example\r\n")?;
    let mut server = stage.server.accept()?;
    assert_eq!(head(&mut server)?, "GET /p HTTP/1.1\r\nHost: ok.example\r\n\r\n");
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    assert_eq!(client.answer()?.status, 204);
    ensure!(!evil.was_dialled(), "the Host header led somewhere");
    let close = &stage.wait_for("close", 1)?[0];
    assert_eq!(
        (&close["destination_host"], &close["host_header"]),
        (&json!("ok.example"), &json!("evil.example")),
        "{close:#}"
    );
    let findings = stage.findings()?;
    ensure!(
        findings.iter().any(|(reason, _)| reason == "sni_mismatch"),
        "{findings:?}"
    );
    Ok(())
}

fn two_readings() -> Result<()> {
    let stage = Stage::new(&["ok.example", "a", "b", "evil.example"], &["http://ok.example"])?;
    let get = "GET http://ok.example/";
    let post = "POST http://ok.example/";
    let connect = "CONNECT ok.example:443";
    let cases = [
        (get, "Host: ok.example\r\nHost: evil.example\r\n"),
        (get, "Host: ok.example\r\nhost: ok.example\r\n"),
        (get, "Host: a, b\r\n"),
        (get, "Host: ok.example,evil.example\r\n"),
        (get, "Host: ok.example\r\n evil.example\r\n"),
        (get, "Host: ok.example\r\nX: a\r\n\tb\r\n"),
        (get, "Host:\r\n ok.example\r\n"),
        (get, "Host : ok.example\r\n"),
        (get, " Host: ok.example\r\n"),
        (get, "Host: ok.example\r\nX Y: z\r\n"),
        (get, "Host: ok.example\r\n: z\r\n"),
        (get, "Host: ok.example\r\nnonsense\r\n"),
        (get, "Host: ok.example\r\nX: a\0b\r\n"),
        (get, "Host: ok.example\r\nX: a\rb\r\n"),
        (get, "Host: ok.example\r\nX\0: a\r\n"),
        (get, "Host: ok.example\r\nX: a\n"),
        (get, ""),
        (get, "Host:\r\n"),
        (
            post,
            "Host: ok.example\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            post,
            "Host: ok.example\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        ),
        (
            post,
            "Host: ok.example\r\nContent-Length: 3\r\nContent-Length: 4\r\n",
        ),
        (
            post,
            "Host: ok.example\r\nContent-Length: 3\r\nContent-Length: 3\r\n",
        ),
        (post, "Host: ok.example\r\nContent-Length: 3, 3\r\n"),
        (post, "Host: ok.example\r\nContent-Length: +5\r\n"),
        (post, "Host: ok.example\r\nContent-Length: -5\r\n"),
        (post, "Host: ok.example\r\nContent-Length: 0x5\r\n"),
        (post, "Host: ok.example\r\nContent-Length: 5 5\r\n"),
        (post, "Host: ok.example\r\nContent-Length: 5;\r\n"),
        (post, "Host: ok.example\r\nContent-Length:\r\n"),
        (
            post,
            "Host: ok.example\r\nContent-Length: 18446744073709551621\r\n",
        ),
        (
            post,
            "Host: ok.example\r\nTransfer-Encoding: chunked, identity\r\n",
        ),
        (
            post,
            "Host: ok.example\r\nTransfer-Encoding: identity, chunked\r\n",
        ),
        (post, "Host: ok.example\r\nTransfer-Encoding: gzip, chunked\r\n"),
        (
            post,
            "Host: ok.example\r\nTransfer-Encoding: chunked, chunked\r\n",
        ),
        (
            post,
            "Host: ok.example\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ),
        (post, "Host: ok.example\r\nTransfer-Encoding: xchunked\r\n"),
        (post, "Host: ok.example\r\nTransfer-Encoding: \x0bchunked\r\n"),
        (post, "Host: ok.example\r\nTransfer-Encoding: \"chunked\"\r\n"),
        (post, "Host: ok.example\r\nTransfer-Encoding : chunked\r\n"),
        (post, "Host: ok.example\r\nTransfer-Encoding:\r\n"),
        (connect, "Content-Length: 0\r\n"),
        (connect, "Content-Length: 5\r\n"),
        (connect, "Transfer-Encoding: chunked\r\n"),
        ("GET  http://ok.example/", "Host: ok.example\r\n"),
        ("GET\thttp://ok.example/", "Host: ok.example\r\n"),
        ("G\0T http://ok.example/", "Host: ok.example\r\n"),
        ("GET /admin", "Host: ok.example\r\n"),
        ("OPTIONS *", "Host: ok.example\r\n"),
        (
            "POST /v1/kill",
            "Host: ok.example\r\nContent-Type: application/json\r\n",
        ),
    ];
    for (line, fields) in &cases {
        let mut client = stage.client()?;
        stage.send_request(&mut client, line, fields)?;
        // What follows in the same breath is nobody's request.
        let _ = client.send(b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        let answer = client.answer()?;
        ensure!(
            (answer.status, answer.reason()) == (400, "malformed"),
            "{line:?} {fields:?}: {answer:?}"
        );
        ensure!(
            answer.header("connection") == Some("close"),
            "{fields:?}: {answer:?}"
        );
        client.drain();
    }
    // A bare line feed anywhere in a head.
    let credentials = stage.run.credentials.header();
    for raw in [
        format!("GET http://ok.example/ HTTP/1.1\nHost: ok.example\r\n{credentials}\r\n"),
        format!(
            "GET http://ok.example/ HTTP/1.1\nHost: ok.example\n{}\n\n",
            credentials.trim_end()
        ),
        format!("GET http://ok.example/ HTTP/1.1\r\nHost: ok.example\r\n{credentials}\n"),
        format!("GET http://ok.example/ HTTP/1.1\r\rHost: ok.example\r\n{credentials}\r\n"),
    ] {
        let mut client = stage.client()?;
        client.send(raw.as_bytes())?;
        let answer = client.answer()?;
        ensure!(answer.status == 400, "{raw:?}: {answer:?}");
        client.drain();
    }
    let refused = stage.events("refused")?;
    assert_eq!(refused.len(), cases.len() + 4, "one record for each connection");
    ensure!(stage.events("open")?.is_empty() && !stage.server.was_dialled());
    stage.is_well(TARGET)
}

fn broken_bodies() -> Result<()> {
    let stage = Stage::new(&["ok.example", "evil.example"], &["http://ok.example"])?;
    let bodies = [
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\nhello",
        ";5\r\nhello",
        "\r\n0\r\n\r\n",
        "0\r\nX: 1\n\r\n",
    ];
    for body in bodies {
        let mut client = stage.client()?;
        stage.send_request(
            &mut client,
            "POST http://ok.example/",
            "Host: ok.example\r\nTransfer-Encoding: chunked\r\n",
        )?;
        let smuggled = "GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n";
        client.send(format!("{body}{smuggled}").as_bytes())?;
        let mut server = stage.server.accept()?;
        let answer = client.answer()?;
        ensure!(
            (answer.status, answer.header("connection")) == (400, Some("close")),
            "{body:?}: {answer:?}"
        );
        let mut seen = Vec::new();
        let _ = server.read_to_end(&mut seen);
        ensure!(
            !String::from_utf8_lossy(&seen).contains("evil.example"),
            "{body:?}: smuggled to the server"
        );
        client.drain();
        ensure!(!stage.server.was_dialled(), "{body:?}: and used again");
    }
    for close in stage.wait_for("close", bodies.len())? {
        assert_eq!(close["reason"], "malformed", "{close:#}");
    }
    Ok(())
}

fn two_hosts() -> Result<()> {
    let other = RawServer::start()?;
    let address = other.address().to_string();
    let stage = Stage::prepared(&["http://one.example"], |world, server| {
        world.lead(&["one.example"], &[server.address().to_string()])?;
        world.lead(&["two.example"], &[address])
    })?;
    let mut client = stage.client()?;
    // Both requests at once: the second one is not the first one's.
    stage.send_request(&mut client, "GET http://one.example/", "Host: one.example\r\n")?;
    stage.send_request(&mut client, "GET http://two.example/", "Host: two.example\r\n")?;
    for (name, server) in [("one.example", &stage.server), ("two.example", &other)] {
        let mut server = server.accept()?;
        assert_eq!(
            head(&mut server)?,
            format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n")
        );
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        assert_eq!(client.answer()?.body, "ok");
    }
    let closes = stage.wait_for("close", 2)?;
    assert_eq!(
        (&closes[0]["destination_host"], &closes[1]["destination_host"]),
        (&json!("one.example"), &json!("two.example"))
    );
    assert_ne!(closes[0]["connection_id"], closes[1]["connection_id"]);
    assert_eq!(
        stage.findings()?,
        [("undeclared_host".to_owned(), "two.example:80".to_owned())]
    );
    Ok(())
}

fn own_ports() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["ok.example"])?;
    let config = stage.world.configuration()?;
    let text = |value: &toml::Value| value.as_str().unwrap_or_default().to_owned();
    let own = [
        stage.world.gateway()?.to_string(),
        text(&config["gateway"]["admin"]),
        text(&config["control"]["listen"]),
    ];
    for address in &own {
        let port = address.rsplit(':').next().unwrap_or_default();
        for host in [
            address.clone(),
            format!("127.0.0.2:{port}"),
            format!("[::ffff:127.0.0.1]:{port}"),
        ] {
            let answer = stage.request(&format!("GET http://{host}/readyz"), &format!("Host: {host}\r\n"))?;
            // Another loopback address is refused as long as somebody of ours listens there too.
            ensure!(matches!(answer.status, 403 | 502), "{host}: {answer:?}");
            let expected = if host.starts_with("127.0.0.2") { 502 } else { 403 };
            ensure!(answer.status == expected, "{host}: {answer:?}");
        }
    }
    for line in [
        "GET /metrics",
        "GET /readyz",
        "POST /v1/kill",
        "GET /v1/status",
        "GET /admin",
    ] {
        let answer = stage.request(line, "Host: localhost\r\n")?;
        ensure!(answer.status == 400, "{line}: {answer:?}");
    }
    stage.is_well(TARGET)
}

fn steering_headers() -> Result<()> {
    let elsewhere = RawServer::start()?;
    let stage = Stage::new(&["ok.example"], &["http://ok.example"])?;
    let proxy = elsewhere.address();
    let fields = format!(
        "Host: ok.example\r\nX-Upstream-Https-Proxy: http://{proxy}\r\nForwarded: for=10.0.0.1;host={proxy}\r\n\
         Via: 1.1 elsewhere\r\nMax-Forwards: 0\r\nProxy-Connection: keep-alive\r\nProxy: http://{proxy}\r\n\
         Keep-Alive: timeout=5\r\nTE: trailers\r\nProxy-Authenticate: Basic\r\n\
         Connection: keep-alive, X-Secret-Hop, Cookie\r\nX-Secret-Hop: 1\r\nCookie: c\r\nX-Kept: yes\r\n"
    );
    for line in [
        "GET http://ok.example/",
        "TRACE http://ok.example/",
        "OPTIONS http://ok.example/",
    ] {
        let mut client = stage.client()?;
        stage.send_request(&mut client, line, &fields)?;
        let mut server = stage.server.accept()?;
        let method = line.split(' ').next().unwrap_or_default();
        assert_eq!(
            head(&mut server)?,
            format!("{method} / HTTP/1.1\r\nHost: ok.example\r\nX-Kept: yes\r\n\r\n")
        );
        server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        assert_eq!(client.answer()?.status, 204);
    }
    ensure!(!elsewhere.was_dialled(), "a header steered the gateway");
    assert_eq!(stage.findings()?, []);
    Ok(())
}

fn upgrades() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["http://ok.example"])?;
    for protocol in ["websocket", "h2c"] {
        let mut client = stage.client()?;
        stage.send_request(
            &mut client,
            "GET http://ok.example/ws",
            &format!("Host: ok.example\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n"),
        )?;
        let mut server = stage.server.accept()?;
        let request = head(&mut server)?;
        ensure!(
            request.contains(&format!("\r\nUpgrade: {protocol}\r\n")),
            "{request}"
        );
        let agreed =
            format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n");
        server.write_all(agreed.as_bytes())?;
        assert_eq!(client.answer()?.status, 101);
        // From here on it is nobody's business what is said, even if it looks like a request.
        let opaque = b"GET http://evil.example/ HTTP/1.1\r\n\r\n";
        client.send(opaque)?;
        ensure!(exactly(&mut server, opaque.len())? == opaque);
        server.write_all(b"\x00\xff")?;
        ensure!(client.exactly(2)? == b"\x00\xff");
        drop((client, server));
    }
    let (opens, closes) = (stage.events("open")?, stage.wait_for("close", 2)?);
    assert_eq!(opens.len(), 2, "an upgrade is no second connection");
    for (open, close) in opens.iter().zip(&closes) {
        assert_eq!(open["connection_id"], close["connection_id"]);
        assert_eq!(close["scheme"], "http", "{close:#}");
    }
    assert_eq!(stage.findings()?, []);
    Ok(())
}

fn redirect() -> Result<()> {
    let evil = RawServer::start()?;
    let address = evil.address().to_string();
    let stage = Stage::prepared(&["http://ok.example"], |world, server| {
        world.lead(&["ok.example"], &[server.address().to_string()])?;
        world.lead(&["evil.example"], &[address])
    })?;
    for status in [
        "301 Moved",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let mut client = stage.client()?;
        stage.send_request(&mut client, "GET http://ok.example/", "Host: ok.example\r\n")?;
        let mut server = stage.server.accept()?;
        head(&mut server)?;
        let answer = format!(
            "HTTP/1.1 {status}\r\nLocation: http://evil.example/\r\nX-Bailiwick-Reason: floor\r\nContent-Length: 0\r\n\r\n"
        );
        server.write_all(answer.as_bytes())?;
        let answer = client.answer()?;
        assert_eq!(answer.header("location"), Some("http://evil.example/"));
        assert_eq!(answer.reason(), "", "a server does not speak for the gateway");
        ensure!(!evil.was_dialled(), "{status} was followed");
    }
    assert_eq!(stage.findings()?, []);
    // Whoever follows it is judged for that.
    let mut client = stage.client()?;
    stage.send_request(&mut client, "GET http://evil.example/", "Host: evil.example\r\n")?;
    let mut server = evil.accept()?;
    head(&mut server)?;
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    assert_eq!(client.answer()?.status, 204);
    assert_eq!(
        stage.findings()?,
        [("undeclared_host".to_owned(), "evil.example:80".to_owned())]
    );
    Ok(())
}

fn slow_and_large_heads() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["ok.example"])?;
    let mut slow: Vec<RawClient> = Vec::new();
    for beginning in [
        &b"CONNECT ok.example:443 HTT"[..],
        b"GET http://ok.example/ HTTP/1.1\r\nHost: ok",
        b"\x05",
        b"\x05\x01",
    ] {
        let mut client = stage.client()?;
        client.send(beginning)?;
        slow.push(client);
    }
    let header = "X-Header: value\r\n";
    let large = format!("X: {}\r\n", "x".repeat(1 << 20));
    for (line, fields) in [
        ("CONNECT ok.example:443", large.clone()),
        ("GET http://ok.example/", format!("Host: ok.example\r\n{large}")),
        ("CONNECT ok.example:443", header.repeat(10_000)),
        (
            "GET http://ok.example/",
            format!("Host: ok.example\r\n{}", header.repeat(200)),
        ),
    ] {
        let mut client = stage.client()?;
        // The gateway may have stopped reading by then.
        let _ = client.send(format!("{line} HTTP/1.1\r\n{fields}\r\n").as_bytes());
        let answer = client.answer()?;
        ensure!(
            (answer.status, answer.reason()) == (431, "limit"),
            "{line}: {answer:?}"
        );
    }
    let mut client = stage.client()?;
    let _ = client.send(&[&b"CONNECT "[..], &vec![b'a'; 1 << 20]].concat());
    ensure!(matches!(client.answer()?.status, 400 | 431));
    // Whoever else is there notices nothing, and who drips is not waited for.
    stage.is_well(TARGET)?;
    let mut answers = Vec::new();
    for mut client in slow.drain(..2) {
        // Another byte buys no time.
        client.send(b"P")?;
        let answer = client.answer()?;
        answers.push((answer.status, answer.reason().to_owned()));
    }
    assert_eq!(
        answers,
        [(408, "timeout".to_owned()), (408, "timeout".to_owned())]
    );
    for mut client in slow {
        client.drain();
    }
    for event in stage.wait_for("refused", 7)? {
        let reason = event["reason"].as_str().unwrap_or_default();
        ensure!(matches!(reason, "limit" | "timeout" | "malformed"), "{event:#}");
    }
    stage.is_well(TARGET)
}

fn endings() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["ok.example"])?;
    // Half-closed: the other direction goes on to its own end.
    let (mut client, mut server) = stage.tunnel(TARGET)?;
    client.send(b"question")?;
    client.socket().shutdown(Shutdown::Write)?;
    ensure!(exactly(&mut server, 8)? == b"question");
    ensure!(
        server.read(&mut [0])? == 0,
        "the end of the question is passed on"
    );
    server.write_all(b"a long answer")?;
    drop(server);
    ensure!(client.exactly(13)? == b"a long answer");
    client.drain();
    stage.wait_for("close", 1)?;

    // A reset by either side in the middle of a transfer.
    let (mut client, server) = stage.tunnel(TARGET)?;
    client.send(b"in the middle")?;
    let mut copy = server.try_clone()?;
    ensure!(exactly(&mut copy, 13)? == b"in the middle");
    reset(&server)?;
    drop((copy, server));
    client.drain();
    stage.wait_for("close", 2)?;
    let (mut client, mut server) = stage.tunnel(TARGET)?;
    client.send(b"in the middle")?;
    ensure!(exactly(&mut server, 13)? == b"in the middle");
    reset(client.socket())?;
    drop(client);
    ensure!(has_ended(&mut server), "the reset is passed on");
    stage.wait_for("close", 3)?;

    // A server that reads nothing: the client is held back until the server leaves. (A client that
    // leaves first is noticed only when the server reads again, which is no promise to test.)
    let (client, server) = stage.tunnel(TARGET)?;
    client.socket().set_nonblocking(true)?;
    let (mut sent, mut full) = (0, 0);
    wait_until("every buffer between client and server to be full", || {
        match client.socket().write(&[7; 1 << 16]) {
            Ok(count) => {
                sent += count;
                full = 0;
            }
            Err(_) => full += 1,
        }
        full > 10
    })?;
    reset(&server)?;
    drop(server);
    stage.wait_for("close", 4)?;
    drop(client);
    stage.is_well(TARGET)?;

    let closes = stage.wait_for("close", 5)?;
    let mut ids: Vec<_> = closes
        .iter()
        .filter_map(|close| close["connection_id"].as_str())
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), closes.len(), "a tunnel was closed twice");
    assert_eq!(stage.events("open")?.len(), closes.len());
    let told: Vec<_> = closes[..3]
        .iter()
        .map(|close| {
            (
                close["outcome"].as_str().unwrap_or_default(),
                close["bytes_out"].as_u64(),
                close["bytes_in"].as_u64(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("client_closed", Some(8), Some(13)),
            ("server_reset", Some(13), Some(0)),
            ("client_reset", Some(13), Some(0)),
        ]
    );
    assert_eq!(closes[3]["outcome"], "server_reset", "{:#}", closes[3]);
    let passed = closes[3]["bytes_out"].as_u64().unwrap_or_default();
    ensure!(
        passed > 0 && passed <= u64::try_from(sent)?,
        "{passed} bytes passed of {sent}"
    );
    Ok(())
}
