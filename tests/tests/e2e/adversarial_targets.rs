//! Targets that could be read in two ways, and targets that must not be taken for their neighbours.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{RawClient, Scenario};
use serde_json::Value;

use crate::stage::Stage;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "no_ambiguous_connect_target_is_dialled_and_each_is_recorded_escaped",
        needs: &[],
        run: ambiguous_connect,
    },
    Scenario {
        name: "no_ambiguous_url_is_dialled_and_no_password_in_one_is_written_down",
        needs: &[],
        run: ambiguous_urls,
    },
    Scenario {
        name: "no_ambiguous_socks_target_is_dialled",
        needs: &[],
        run: ambiguous_socks,
    },
    Scenario {
        name: "socks_addresses_are_what_their_type_says_and_nothing_else",
        needs: &[],
        run: socks_addresses,
    },
    Scenario {
        name: "what_socks_could_do_and_is_not_served_is_answered_and_recorded_as_that",
        needs: &[],
        run: other_socks,
    },
    Scenario {
        name: "case_and_one_trailing_dot_do_not_make_another_host",
        needs: &[],
        run: same_host,
    },
    Scenario {
        name: "an_international_declaration_is_converted_once_and_only_its_ascii_form_is_asked_for",
        needs: &[],
        run: international,
    },
    Scenario {
        name: "an_address_inside_an_address_is_unwrapped_before_the_floor",
        needs: &[],
        run: wrapped_addresses,
    },
    Scenario {
        name: "a_wildcard_ends_at_a_label_and_leaves_out_its_apex",
        needs: &[],
        run: label_boundary,
    },
    Scenario {
        name: "another_port_of_a_declared_host_is_a_breach_however_usual_the_port",
        needs: &[],
        run: ports,
    },
    Scenario {
        name: "an_address_that_nobody_declared_is_a_finding_of_its_own",
        needs: &[],
        run: literal,
    },
];

/// Whatever a lenient reader might make of a target, it would lead here.
const NAMES: [&str; 11] = [
    "example.com",
    "evil.com",
    "ok.com",
    "host",
    "a",
    "b",
    "a.b",
    "evil.com.ok.com",
    "127.1.example",
    "localhost",
    "xn--bcher-kva.example",
];

/// As an event holds what a client wrote.
fn escaped(raw: &[u8]) -> String {
    let mut text = String::new();
    for &byte in raw {
        if (byte.is_ascii_graphic() || byte == b' ') && byte != b'\\' {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Each target is answered with 400 and recorded, in order, as it stands beside it; nobody is dialled.
fn all_refused(stage: &Stage, cases: &[(Vec<u8>, String)]) -> Result<()> {
    for (target, _) in cases {
        let answer = stage.connect(target)?;
        ensure!(
            (answer.status, answer.reason()) == (400, "malformed"),
            "{}: {answer:?}",
            escaped(target)
        );
        ensure!(answer.header("connection") == Some("close"), "{answer:?}");
    }
    let recorded: Vec<_> = stage
        .wait_for("refused", cases.len())?
        .iter()
        .map(|event| {
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            (
                text("reason"),
                text("raw_target"),
                event["destination_host"].clone(),
            )
        })
        .collect();
    let expected: Vec<_> = cases
        .iter()
        .map(|(_, raw)| ("malformed".to_owned(), raw.clone(), Value::Null))
        .collect();
    assert_eq!(recorded, expected);
    ensure!(stage.events("open")?.is_empty(), "something was opened");
    ensure!(!stage.server.was_dialled(), "somebody was dialled");
    stage.is_well("ok.com:443")
}

fn ambiguous_connect() -> Result<()> {
    let stage = Stage::new(&NAMES, &["ok.com"])?;
    let label = "a".repeat(64);
    let name = vec!["a".repeat(49); 6].join(".");
    let plain: &[&[u8]] = &[
        // Dots.
        b"example.com..:443",
        b"example.com...:443",
        b"a..b:443",
        b".example.com:443",
        b".:443",
        b"..:443",
        b":443",
        // Brackets.
        b"[example.com]:443",
        b"[127.0.0.1]:443",
        b"[]:443",
        b"[[::1]]:443",
        b"[::1:443",
        b"::1]:443",
        b"[::1]443",
        b"[::1].example.com:443",
        b"example.com[::1]:443",
        b"::1:443",
        b"::ffff:127.0.0.1:443",
        // Bytes that end, split or hide a name.
        b"evil.com\0.ok.com:443",
        b"ok.com\0:443",
        b"ok.com:443\0",
        b"evil.com\t:443",
        b"evil.com .ok.com:443",
        b"evil.com\x0b:443",
        b"evil.com\x7f:443",
        b"evil.com\x80:443",
        b"evil.com\xff:443",
        b"\x1b[31mok.com:443",
        b"a\\b:443",
        b"evil.com\\.ok.com:443",
        b"ok.com%2eevil.com:443",
        b"%65vil.com:443",
        b"ok.com%00.evil.com:443",
        b"ok.com,evil.com:443",
        b"ok.com;evil.com:443",
        b"*.ok.com:443",
        // Letters that look like others.
        "a\u{3002}b:443".as_bytes(),
        "a\u{ff0e}b:443".as_bytes(),
        "a\u{ff61}b:443".as_bytes(),
        "\u{ff45}xample.com:443".as_bytes(),
        "bücher.example:443".as_bytes(),
        "ex\u{430}mple.com:443".as_bytes(),
        "ok.com\u{200b}:443".as_bytes(),
        // Numbers that some resolvers take for addresses.
        b"127.1:80",
        b"0x7f.1:80",
        b"0x7f000001:80",
        b"017700000001:80",
        b"2130706433:80",
        b"127.0.0.01:80",
        b"127.0.0.1.:80",
        b"127.0.0.256:80",
        b"1.2.3.4.5:80",
        b"1.2.3.0x4:80",
        b"[fe80::1%eth0]:80",
        b"[::1%25lo]:80",
        b"[::ffff:127.1]:80",
        b"[1:2:3]:80",
        // Ports.
        b"example.com",
        b"example.com:",
        b"example.com:0",
        b"example.com:00",
        b"example.com:65536",
        b"example.com:99999999999999999999",
        b"example.com:+443",
        b"example.com:-443",
        b"example.com:0443",
        b"example.com:443 ",
        b"example.com: 443",
        b"example.com:443:443",
        b"example.com:80:443",
        b"example.com:0x1bb",
        b"example.com:https",
        b"example.com:443a",
        "example.com:\u{ff14}\u{ff14}\u{ff13}".as_bytes(),
        "example.com:\u{664}\u{664}\u{663}".as_bytes(),
        b"[::1]",
        b"127.0.0.1",
    ];
    let mut cases: Vec<_> = plain.iter().map(|raw| (raw.to_vec(), escaped(raw))).collect();
    // A line end ends the line: what follows is a broken header, and what came before is on record.
    cases.push((b"ok.com:443\r\n.evil.com:443".to_vec(), "ok.com:443".into()));
    cases.push((b"ok.com\n:443".to_vec(), "ok.com".into()));
    cases.push((b"ok.com\r:443".to_vec(), "ok.com".into()));
    for long in [
        format!("{label}.example.com:443"),
        format!("{name}:443"),
        format!("{}:443", "a.".repeat(127) + "a"),
    ] {
        cases.push((long.clone().into_bytes(), long));
    }
    // User information is never written down, nor are path and query.
    for (target, raw) in [
        ("ok.com@evil.com:443", "\\~@evil.com:443"),
        ("user:pw-secret@host:443", "\\~@host:443"),
        ("a@b@host:443", "\\~@host:443"),
        ("@host:443", "\\~@host:443"),
        ("a/b:443", "a/\\~"),
        ("evil.com/.ok.com:443", "evil.com/\\~"),
        ("a?b:443", "a?\\~"),
        ("a#b:443", "a#\\~"),
        ("ok.com:443/", "ok.com:443/\\~"),
        ("ok.com:443?token=pw-secret", "ok.com:443?\\~"),
        ("http://example.com:443", "http://example.com:443"),
        ("https://example.com:443/pw-secret", "https://example.com:443/\\~"),
    ] {
        cases.push((target.into(), raw.into()));
    }
    all_refused(&stage, &cases)?;
    let record = serde_json::to_string(&stage.world.events()?)?;
    ensure!(!record.contains("pw-secret"), "a secret was written down");
    Ok(())
}

fn ambiguous_urls() -> Result<()> {
    let stage = Stage::new(&NAMES, &["ok.com"])?;
    for url in [
        "http://user:pw-secret@ok.com/",
        "http://pw-secret@ok.com/",
        "http://ok.com@evil.com/",
        "http://ok.com:80@evil.com/",
        "http://ok.com\\@evil.com/",
        "http://ok.com%2fevil.com/",
        "http://ok.com..:80/",
        "http://[ok.com]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://127.1:80/",
        "http://ok.com:080/",
        "http://ok.com:0/",
        "http://ok.com:/",
        "http:///ok.com/",
        "http:/ok.com/",
        "http:ok.com/",
        "http://",
        "//ok.com/",
        "http://ok.com/#pw-secret",
        "ok.com:80",
        "ok.com",
        "*",
        "/",
        "/admin?key=pw-secret",
    ] {
        let answer = stage.request(&format!("GET {url}"), "Host: ok.com\r\n")?;
        ensure!(
            (answer.status, answer.reason()) == (400, "malformed"),
            "{url}: {answer:?}"
        );
    }
    // A Host header is a target too.
    for host in [
        "user:pw-secret@ok.com",
        "ok.com/",
        "ok.com:0443",
        "a, b",
        "ok.com evil.com",
        "[ok.com]",
        "2130706433",
        "ok.com\\evil.com",
    ] {
        for line in ["GET http://ok.com/", "CONNECT ok.com:443"] {
            let answer = stage.request(line, &format!("Host: {host}\r\n"))?;
            ensure!(answer.status == 400, "{line} Host: {host}: {answer:?}");
        }
    }
    ensure!(stage.events("refused")?.len() == 25 + 16, "each is on record");
    ensure!(stage.events("open")?.is_empty() && !stage.server.was_dialled());
    let record = serde_json::to_string(&stage.world.events()?)?;
    ensure!(!record.contains("pw-secret"), "a secret was written down");
    ensure!(
        !stage.world.server()?.printed().contains("pw-secret"),
        "a secret was printed"
    );
    stage.is_well("ok.com:443")
}

/// A client whose credentials SOCKS5 has accepted.
fn socks(stage: &Stage) -> Result<RawClient> {
    let mut client = stage.client()?;
    let (user, password) = (&stage.run.credentials.user, &stage.run.credentials.password);
    let length = |text: &str| u8::try_from(text.len()).context("fits SOCKS5");
    client.send(&[5, 1, 2])?;
    ensure!(client.exactly(2)? == [5, 2]);
    let message = [
        &[1, length(user)?][..],
        user.as_bytes(),
        &[length(password)?],
        password.as_bytes(),
    ];
    client.send(&message.concat())?;
    ensure!(client.exactly(2)? == [1, 0]);
    Ok(client)
}

/// The reply code to a CONNECT with this type of address.
fn socks_asks(stage: &Stage, kind: u8, address: &[u8], port: u16) -> Result<(RawClient, u8)> {
    let mut client = socks(stage)?;
    client.send(&[&[5, 1, 0, kind][..], address, &port.to_be_bytes()].concat())?;
    let code = client.exactly(10)?[1];
    Ok((client, code))
}

fn socks_name(name: &[u8]) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap_or(255);
    [&[length][..], name].concat()
}

fn ambiguous_socks() -> Result<()> {
    let stage = Stage::new(&NAMES, &["ok.com"])?;
    let long = vec![b'a'; 255];
    let label = [&[b'a'; 64][..], b".example.com"].concat();
    let names: &[&[u8]] = &[
        b"",
        &long,
        &label,
        b"evil.com\0.ok.com",
        b"ok.com\0",
        b"\0",
        b"ok.com..",
        b"a..b",
        b".ok.com",
        b"ok.com ",
        b" ok.com",
        b"ok.com\r\nHost: evil.com",
        b"ok.com\n",
        b"ok.com\t",
        b"ok.com:443",
        b"user:pw-secret@ok.com",
        b"ok.com/evil",
        b"ok.com%2eevil.com",
        b"ok\\.com",
        b"[::1]",
        b"::1",
        b"::ffff:127.0.0.1",
        b"127.1",
        b"0x7f.1",
        b"017700000001",
        b"2130706433",
        b"127.0.0.1.",
        "b\u{fc}cher.example".as_bytes(),
        "a\u{3002}b".as_bytes(),
        b"\xff\xfe",
    ];
    for name in names {
        let (mut client, code) = socks_asks(&stage, 3, &socks_name(name), 443)?;
        ensure!(code == 1, "{}: reply {code}", escaped(name));
        client.drain();
    }
    // Port 0 is no port, whatever the address.
    for (kind, address) in [(3, socks_name(b"ok.com")), (1, vec![127, 0, 0, 1])] {
        ensure!(socks_asks(&stage, kind, &address, 0)?.1 == 1);
    }
    // Types of address that nobody defined.
    for kind in [0, 2, 5, 255] {
        ensure!(socks_asks(&stage, kind, &socks_name(b"ok.com"), 443)?.1 == 8);
    }
    let refused = stage.wait_for("refused", names.len() + 6)?;
    for (event, name) in refused.iter().zip(names) {
        assert_eq!(event["reason"], "malformed", "{event:#}");
        let raw = event["raw_target"].as_str().unwrap_or_default();
        ensure!(
            raw.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '),
            "{raw}"
        );
        ensure!(
            raw == escaped(name) || name.contains(&b'@') || name.contains(&b'/'),
            "{raw:?} for {:?}",
            escaped(name)
        );
    }
    let record = serde_json::to_string(&stage.world.events()?)?;
    ensure!(!record.contains("pw-secret"), "a secret was written down");
    ensure!(stage.events("open")?.is_empty() && !stage.server.was_dialled());
    stage.is_well("ok.com:443")
}

fn socks_addresses() -> Result<()> {
    let stage = Stage::new(&["ok.com", "a.bc"], &["ok.com"])?;
    let port = stage.server.address().port();
    // An IPv4 address, and the same wrapped in IPv6: one destination.
    let mapped = [&[0; 10][..], &[0xff; 2], &[127, 0, 0, 1]].concat();
    for (kind, address) in [(1, &[127, 0, 0, 1][..]), (4, &mapped)] {
        let (client, code) = socks_asks(&stage, kind, address, port)?;
        ensure!(code == 0, "{address:?}: reply {code}");
        drop(client);
        stage.server.accept()?;
    }
    // A name of four bytes is a name, never the address that those bytes would make.
    let (client, code) = socks_asks(&stage, 3, &socks_name(b"a.bc"), 443)?;
    ensure!(code == 0, "reply {code}");
    drop(client);
    stage.server.accept()?;
    // Metadata, the network's own, and everything wrapped: not allowed by ruleset.
    let metadata = [&[0; 10][..], &[0xff; 2], &[169, 254, 169, 254]].concat();
    let nat64 = [&[0, 0x64, 0xff, 0x9b][..], &[0; 8], &[10, 0, 0, 1]].concat();
    let link = [&[0xfe, 0x80][..], &[0; 13], &[1]].concat();
    for (kind, address) in [
        (1, &[169, 254, 169, 254][..]),
        (1, &[10, 0, 0, 1]),
        (1, &[0, 0, 0, 0]),
        (1, &[255, 255, 255, 255]),
        (4, &metadata),
        (4, &nat64),
        (4, &link),
        (4, &[0; 16]),
    ] {
        let (mut client, code) = socks_asks(&stage, kind, address, 80)?;
        ensure!(code == 2, "{address:?}: reply {code}");
        client.drain();
    }
    // The gateway's own port, too.
    let own = stage.world.gateway()?.port();
    ensure!(socks_asks(&stage, 1, &[127, 0, 0, 1], own)?.1 == 2);
    let hosts: Vec<_> = stage
        .wait_for("close", 3)?
        .iter()
        .map(|event| event["destination_host"].clone())
        .collect();
    assert_eq!(hosts, ["127.0.0.1", "127.0.0.1", "a.bc"]);
    for event in stage.wait_for("refused", 9)? {
        assert_eq!(event["reason"], "floor", "{event:#}");
    }
    Ok(())
}

fn other_socks() -> Result<()> {
    let stage = Stage::new(&["ok.com"], &["ok.com"])?;
    let named = socks_name(b"ok.com");
    let port = 443_u16.to_be_bytes();
    // UDP ASSOCIATE as clients send it before they know from where, as they send it afterwards, and
    // with a name; BIND; a command that nobody defined. 7: "Command not supported".
    let asked = [
        (3, [&[1, 0, 0, 0, 0][..], &[0, 0]].concat()),
        (3, [&[1, 127, 0, 0, 1][..], &port].concat()),
        (3, [&[3][..], &named, &port].concat()),
        (2, [&[3][..], &named, &port].concat()),
        (9, [&[3][..], &named, &port].concat()),
    ];
    for (command, rest) in &asked {
        let mut client = socks(&stage)?;
        client.send(&[&[5, *command, 0][..], rest].concat())?;
        assert_eq!(client.exactly(10)?[..2], [5, 7], "command {command}");
        client.drain();
    }
    // SOCKS4, and 4a with a name: rejected in their own words.
    for rest in [&[127, 0, 0, 1, 0][..], b"\0\0\0\x01user\0ok.com\0"] {
        let mut client = stage.client()?;
        client.send(&[&[4, 1][..], &port, rest].concat())?;
        assert_eq!(client.exactly(8)?[..2], [0, 91]);
        client.drain();
    }
    let refused = stage.wait_for("refused", asked.len() + 2)?;
    let told: Vec<_> = refused
        .iter()
        .map(|event| (event["reason"].as_str(), event["transport"].as_str()))
        .collect();
    let (udp, tcp) = (
        (Some("unsupported"), Some("udp")),
        (Some("unsupported"), Some("tcp")),
    );
    assert_eq!(told, [udp, udp, udp, tcp, tcp, tcp, tcp]);
    for event in &refused[..asked.len()] {
        assert_eq!(
            event["plugin_id"], "acme.weather",
            "whose it was is known: {event:#}"
        );
    }
    assert_eq!(refused[0].get("destination_host"), None);
    assert_eq!(refused[2]["destination_host"], "ok.com");
    ensure!(stage.events("open")?.is_empty() && !stage.server.was_dialled());
    stage.is_well("ok.com:443")
}

fn same_host() -> Result<()> {
    let stage = Stage::new(&["example.com"], &["example.com"])?;
    let written = [
        "EXAMPLE.com.:443",
        "example.com.:443",
        "ExAmPlE.CoM:443",
        "example.com:443",
    ];
    for target in written {
        stage.tunnel(target)?;
    }
    let closes = stage.wait_for("close", written.len())?;
    for (close, target) in closes.iter().zip(written) {
        assert_eq!(close["destination_host"], "example.com", "{close:#}");
        let raw = (target != "example.com:443").then_some(target);
        assert_eq!(close["raw_target"].as_str(), raw, "{close:#}");
    }
    assert_eq!(stage.findings()?, []);
    Ok(())
}

fn international() -> Result<()> {
    let stage = Stage::new(
        &["xn--bcher-kva.example", "xn--exmple-cua.com"],
        &["BÜCHER.example", "example.com"],
    )?;
    ensure!(stage.connect("bücher.example:443")?.status == 400);
    for target in ["xn--bcher-kva.example:443", "XN--BCHER-KVA.example:443"] {
        stage.tunnel(target)?;
    }
    assert_eq!(stage.findings()?, []);
    // What only looks like a declared host is another host.
    stage.tunnel("xn--exmple-cua.com:443")?;
    assert_eq!(
        stage.findings()?,
        [("undeclared_host".to_owned(), "xn--exmple-cua.com:443".to_owned())]
    );
    // Whoever reads the report sees what the name looks like, beside what it is.
    let report = stage.report()?;
    ensure!(
        report.contains("xn--exmple-cua.com") && report.contains("ex\u{e4}mple.com"),
        "{report}"
    );
    Ok(())
}

fn wrapped_addresses() -> Result<()> {
    // Not even loopback is lifted here.
    let stage = Stage::prepared(&[], |world, _| world.allow_private(&[]))?;
    let port = stage.server.address().port();
    let hosts = [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::FFFF:7f00:1]",
        "[::127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2002:a9fe:a9fe::1]",
        // Teredo: the client's address lies inverted in the last four bytes.
        "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
        "[fe80::1]",
        "[fec0::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:169.254.169.254]",
    ];
    for host in hosts {
        let answer = stage.connect(format!("{host}:{port}"))?;
        ensure!(
            (answer.status, answer.reason()) == (403, "floor"),
            "{host}: {answer:?}"
        );
    }
    for event in stage.wait_for("refused", hosts.len())? {
        assert_eq!(event["decision"], "deny", "{event:#}");
    }
    ensure!(stage.events("open")?.is_empty() && !stage.server.was_dialled());
    Ok(())
}

fn label_boundary() -> Result<()> {
    let inside = "sub.example.com";
    let outside = [
        "evil-example.com",
        "example.com",
        "example.com.evil.net",
        "notexample.com",
        "sub.example.com.evil.net",
        "xexample.com",
    ];
    let names = [&[inside][..], &outside].concat();
    let stage = Stage::new(&names, &["*.example.com"])?;
    for name in names {
        stage.tunnel(&format!("{name}:443"))?;
    }
    let mut findings = outside.map(|name| ("undeclared_host".to_owned(), format!("{name}:443")));
    findings.sort();
    assert_eq!(stage.findings()?, findings);
    let apex = stage
        .world
        .cli(["check", "acme.weather", "example.com:443"])?
        .expect(1)?;
    ensure!(apex.text().contains("apex"), "no hint: {}", apex.text());
    stage
        .world
        .cli(["check", "acme.weather", "sub.example.com:443"])?
        .expect(0)?;
    Ok(())
}

fn ports() -> Result<()> {
    let stage = Stage::new(&["api.example.com"], &["api.example.com"])?;
    let used = [22, 25, 80, 3306, 8443];
    for port in [443].iter().chain(&used) {
        stage.tunnel(&format!("api.example.com:{port}"))?;
    }
    let recorded: Vec<_> = stage
        .wait_for("close", 6)?
        .iter()
        .map(|event| (event["decision"].clone(), event["port"].clone()))
        .collect();
    let expected: Vec<_> = [443]
        .iter()
        .chain(&used)
        .map(|&port| (Value::from("allow"), Value::from(port)))
        .collect();
    assert_eq!(recorded, expected);
    let mut findings = used.map(|port| ("undeclared_port".to_owned(), format!("api.example.com:{port}")));
    findings.sort();
    assert_eq!(stage.findings()?, findings);
    Ok(())
}

fn literal() -> Result<()> {
    let stage = Stage::new(&["ok.com"], &["ok.com", "localhost"])?;
    let target = stage.server.address().to_string();
    // A name that leads to the same address covers nothing: names are not made from addresses.
    stage.tunnel(&target)?;
    let close = &stage.wait_for("close", 1)?[0];
    assert_eq!(close["destination_host"], "127.0.0.1", "{close:#}");
    assert_eq!(close["dns_result"], "not_needed", "{close:#}");
    assert_eq!(stage.findings()?, [("ip_literal".to_owned(), target)]);
    Ok(())
}
