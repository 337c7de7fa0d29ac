//! The canary: secrets planted everywhere a client can put them, a whole night, and then every file that
//! was written anywhere is searched, also inside of what is compressed or encoded.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use bailiwick_tests::{Frame, FrameClient, Peer, RawClient, Scenario, World, header_block, run, wait_until};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::demo::files;
use crate::exports::export;
use crate::tokens::LiveRun;

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "no_secret_of_a_client_reaches_any_file",
    needs: &[Peer::Curl, Peer::Python],
    run: whole_night,
}];

/// What every secret begins with; a number follows.
const CANARY: &str = "cAnArY7Qz";
/// A host's name, which is data and has to be found wherever evidence is: so the search finds things.
const KNOWN: &str = "paste.example";

fn secret(number: usize) -> String {
    format!("{CANARY}{number:02}")
}

/// Every place of a request in which a client can put something, once per way in.
fn plant(world: &World, live: &LiveRun) -> Result<()> {
    let credentials = live.credentials.header();
    let send = |head: String, body: &str| -> Result<()> {
        let mut client = RawClient::connect(world.gateway()?)?;
        client.send(format!("{head}\r\n{body}").as_bytes())?;
        // Whatever the answer is, it has been read and recorded.
        let _ = client.answer();
        Ok(())
    };
    let fields = |from: usize| {
        format!(
            "Cookie: id={0}\r\nAuthorization: Bearer {1}\r\nX-{2}: 1\r\nX-Plugin-Id: {3}\r\nReferer: http://a.example/{4}\r\nUser-Agent: {5}\r\n",
            secret(from),
            secret(from + 1),
            secret(from + 2),
            secret(from + 3),
            secret(from + 4),
            secret(from + 5),
        )
    };
    // Absolute form: path, query, headers, body; and a user in the URL, which is refused.
    let body = secret(1);
    send(
        format!(
            "POST http://{KNOWN}/{0}/?q={1} HTTP/1.1\r\nHost: {KNOWN}\r\n{credentials}{2}Content-Type: text/plain; note={3}\r\nContent-Length: {4}\r\n",
            secret(2),
            secret(3),
            fields(10),
            secret(4),
            body.len()
        ),
        &body,
    )?;
    send(
        format!(
            "GET http://{0}:{1}@{KNOWN}/ HTTP/1.1\r\nHost: {KNOWN}\r\n{credentials}",
            secret(5),
            secret(6)
        ),
        "",
    )?;
    send(
        format!(
            "GET /{0}?{1} HTTP/1.1\r\nHost: {KNOWN}\r\n{credentials}",
            secret(7),
            secret(8)
        ),
        "",
    )?;
    // CONNECT with headers, and what goes through the tunnel in the clear.
    let mut tunnel = RawClient::connect(world.gateway()?)?;
    tunnel.send(
        format!(
            "CONNECT {KNOWN}:80 HTTP/1.1\r\nHost: {KNOWN}:80\r\n{credentials}{}\r\n",
            fields(20)
        )
        .as_bytes(),
    )?;
    ensure!(tunnel.answer()?.status == 200);
    tunnel.send(
        format!(
            "POST /{0}?{1} HTTP/1.1\r\nHost: {KNOWN}\r\nConnection: close\r\n{2}Content-Length: {3}\r\n\r\n{4}",
            secret(30),
            secret(31),
            fields(32),
            secret(38).len(),
            secret(38)
        )
        .as_bytes(),
    )?;
    ensure!(tunnel.answer()?.status == 200);
    // Credentials that are none.
    let wrong = STANDARD.encode(format!("{}:{}", secret(40), secret(41)));
    send(
        format!("CONNECT {KNOWN}:443 HTTP/1.1\r\nHost: {KNOWN}\r\nProxy-Authorization: Basic {wrong}\r\n"),
        "",
    )?;
    send(
        format!(
            "CONNECT {KNOWN}:443 HTTP/1.1\r\nHost: {KNOWN}\r\nProxy-Authorization: Bearer {}\r\n",
            secret(42)
        ),
        "",
    )?;
    socks(world, &secret(43), &secret(44))?;
    http2(world, live)?;
    Ok(())
}

/// User and password that nobody knows (RFC 1929).
fn socks(world: &World, user: &str, password: &str) -> Result<()> {
    let mut client = RawClient::connect(world.gateway()?)?;
    client.send(&[5, 1, 2])?;
    ensure!(client.exactly(2)? == [5, 2]);
    let mut proof = vec![1, u8::try_from(user.len())?];
    proof.extend(user.as_bytes());
    proof.push(u8::try_from(password.len())?);
    proof.extend(password.as_bytes());
    client.send(&proof)?;
    ensure!(client.exactly(2)?[1] != 0, "nobody knows this user");
    Ok(())
}

fn http2(world: &World, live: &LiveRun) -> Result<()> {
    let proof = format!(
        "Basic {}",
        STANDARD.encode(format!("{}:{}", live.credentials.user, live.credentials.password))
    );
    let (a, b, c) = (secret(50), secret(51), secret(52).to_ascii_lowercase());
    let mut client = FrameClient::connect(world.gateway()?)?;
    let authority = format!("{KNOWN}:80");
    client.send(&Frame::request(
        1,
        &[
            (":method", "CONNECT"),
            (":authority", &authority),
            ("proxy-authorization", &proof),
            ("cookie", &a),
            ("authorization", &b),
            (&c, "1"),
        ],
    ))?;
    client.until(|frame| frame.stream == 1)?;
    let path = format!("/{}?{}", secret(53), secret(54));
    let head = header_block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", KNOWN),
        (":path", &path),
        ("proxy-authorization", &proof),
        ("cookie", &a),
    ]);
    let flags = Frame::END_HEADERS | Frame::END_STREAM;
    client.send(&Frame::new(Frame::HEADERS, flags, 3, head))?;
    client.until(|frame| frame.stream == 3)?;
    Ok(())
}

fn whole_night() -> Result<()> {
    for shift in ["", "x", "xy"] {
        let encoded = STANDARD.encode(format!("{shift}{CANARY}42 and more"));
        ensure!(
            find(encoded.as_bytes(), CANARY).is_some(),
            "the search knows base64"
        );
        let (one, two) = encoded.split_at(9);
        ensure!(
            find(format!("{one}\r\n{two}").as_bytes(), CANARY).is_some(),
            "and its lines"
        );
    }
    let mut world = World::new()?;
    world.plain_origin(&[KNOWN])?;
    world.origin(&["api.weather.example"])?;
    world.receive_mail()?;
    world.configure(|config| {
        let exports: Vec<toml::Value> = [("lines", "jsonl"), ("objects", "ocsf")]
            .iter()
            .map(|(name, format)| {
                let pairs = [
                    ("name", *name),
                    ("to", &format!("file:{name}.out")),
                    ("format", *format),
                ];
                toml::Value::Table(
                    pairs
                        .iter()
                        .map(|(k, v)| ((*k).to_owned(), (*v).into()))
                        .collect(),
                )
            })
            .collect();
        config.insert("export".into(), exports.into());
        Ok(())
    })?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .admit("medium")?;
    // Inside TLS, by a client as people use it.
    let url = format!("https://api.weather.example/{}?{}", secret(60), secret(61));
    let header = format!("X-Token: {}", secret(62));
    world
        .run_plugin(
            &plugin,
            [
                "curl",
                "-fsS",
                "--max-time",
                "60",
                "-d",
                &secret(63),
                "-H",
                &header,
                &url,
            ],
        )?
        .expect(0)?;
    let token = {
        let live = LiveRun::start(&world, &plugin, &[])?;
        plant(&world, &live)?;
        live.credentials.password.clone()
    };
    world.cli(["audit"])?.expect(1)?;
    wait_until("a letter about it", || {
        world.mails().iter().any(|mail| mail.message.contains(KNOWN))
    })?;
    for name in ["lines", "objects"] {
        wait_until("the continuous exports have it too", || {
            let handed_on = std::fs::read_to_string(world.site().join(format!("{name}.out")));
            handed_on.is_ok_and(|text| text.contains(KNOWN))
        })?;
    }
    for form in ["jsonl", "csv", "ocsf"] {
        let output = world.path(&format!("exported.{form}")).display().to_string();
        export(&world, &["--format", form, "--output", &output])?.expect(0)?;
    }
    let bundle = world.path("bundle.tar.zst").display().to_string();
    world.ok([
        "evidence",
        "bundle",
        "--plugin",
        &plugin.id,
        "--period",
        "2020-01-01/2100-01-01",
        "--output",
        &bundle,
    ])?;
    world.stop()?;
    // Decompressed beside the originals, so that one search sees both.
    let opened = world.path("opened");
    std::fs::create_dir(&opened)?;
    for (number, file) in written(&world, &plugin.manifest).iter().enumerate() {
        if file.extension().is_some_and(|kind| kind == "zst") {
            let output = opened.join(format!("{number}.tar"));
            run(Command::new("zstd")
                .args(["-dqf"])
                .arg(file)
                .arg("-o")
                .arg(output))?
            .expect(0)?;
        }
    }
    let searched = written(&world, &plugin.manifest);
    ensure!(searched.len() > 30, "{searched:?}");
    let mut known = Vec::new();
    for file in &searched {
        let bytes = std::fs::read(file)?;
        ensure!(
            find(&bytes, CANARY).is_none(),
            "{} holds {:?}",
            file.display(),
            find(&bytes, CANARY)
        );
        let lower = CANARY.to_ascii_lowercase();
        ensure!(
            find(&bytes, &lower).is_none(),
            "{} holds {:?}",
            file.display(),
            find(&bytes, &lower)
        );
        ensure!(
            find(&bytes, &token).is_none(),
            "{} holds a run's token",
            file.display()
        );
        if find(&bytes, KNOWN).is_some() {
            known.push(file.clone());
        }
    }
    // The search would have found them: what is meant to be kept, it finds in every kind of file.
    for kind in [
        "tile/entries/",
        "bailiwick.db",
        "report.txt",
        "mail/",
        "lines.out",
        "exported.csv",
        "opened/",
    ] {
        let found = known.iter().any(|file| file.display().to_string().contains(kind));
        ensure!(found, "{KNOWN} is not found in {kind}: {known:#?}");
    }
    Ok(())
}

/// Everything that was written by the site or handed out by it; not what the test itself made.
fn written(world: &World, manifest: &Path) -> Vec<PathBuf> {
    let own = manifest.parent().map(Path::to_owned).unwrap_or_default();
    let mut found = files(&world.path(""));
    found.retain(|file| {
        let is_owners = file.parent() == Some(own.as_path())
            && file
                .extension()
                .is_some_and(|kind| kind == "whl" || kind == "pem" || kind == "json");
        !is_owners && !file.starts_with(world.path("home"))
    });
    found
}

/// Where a text stands in a file: as it is, in hexadecimal, or in any alignment of base64, across line
/// ends and the soft ones of mail.
fn find(bytes: &[u8], wanted: &str) -> Option<String> {
    let mut forms = vec![wanted.to_owned(), hex::encode(wanted)];
    for shift in 0..3 {
        let mut shifted = vec![0; shift];
        shifted.extend(wanted.as_bytes());
        let encoded = STANDARD_NO_PAD.encode(&shifted);
        // The first and the last letters depend on the neighbours.
        let inner = &encoded[if shift == 0 { 0 } else { shift + 1 }..encoded.len() - 1];
        forms.push(inner.to_owned());
        forms.push(inner.replace('+', "-").replace('/', "_"));
    }
    // Bytes that are no text are none of the forms.
    let text = String::from_utf8_lossy(bytes);
    let lines = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line));
    let joined: String = lines.map(|line| line.strip_suffix('=').unwrap_or(line)).collect();
    forms
        .into_iter()
        .find(|form| text.contains(form.as_str()) || joined.contains(form.as_str()))
}
