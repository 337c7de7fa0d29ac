//! Mail as it arrives: at a real server over TLS, once, with everything in it; and webhooks.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{
    Authority, Mail, Peer, Plugin, Postfix, Scenario, TlsFront, World, run, wait_until, wait_within,
};
use serde_json::Value;

use crate::stock::script;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "the_mail_of_a_breach_arrives_once_at_postfix_over_tls_and_its_attachment_verifies",
        needs: &[Peer::Curl, Peer::Postfix, Peer::Python, Peer::Cosign],
        run: breach_at_postfix,
    },
    Scenario {
        name: "a_server_with_a_certificate_of_somebody_else_gets_no_letter",
        needs: &[Peer::Curl, Peer::Postfix],
        run: wrong_certificate,
    },
    Scenario {
        name: "an_owner_whose_address_a_server_does_not_know_is_told_of_in_the_digest",
        needs: &[Peer::Curl, Peer::Postfix],
        run: unknown_owner,
    },
    Scenario {
        name: "letters_in_the_hands_of_a_killed_process_go_out_at_its_next_start",
        needs: &[Peer::Curl],
        run: killed_with_letters_in_hand,
    },
    Scenario {
        name: "a_token_that_comes_back_verifies_an_address",
        needs: &[],
        run: contact_confirmed,
    },
    Scenario {
        name: "a_webhook_is_told_signed_and_in_order_until_it_listens",
        needs: &[Peer::Curl, Peer::Python],
        run: webhook,
    },
];

fn leak(world: &World, plugin: &Plugin) -> Result<()> {
    let curl = ["curl", "-fsS", "--max-time", "60", "https://paste.example/"];
    world.run_plugin(plugin, curl)?.expect(0)?;
    Ok(())
}

/// A letter, taken apart by Python's library, with its files in `folder`.
fn take_apart(mail: &Mail, folder: &Path) -> Result<Value> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join("letter.eml");
    std::fs::write(&file, &mail.message)?;
    run(Peer::Python
        .command()
        .arg(script("take_apart.py"))
        .arg(&file)
        .arg(folder))?
    .expect(0)?
    .json()
}

fn to<'m>(mails: &'m [Mail], reader: &str) -> Vec<&'m Mail> {
    let reads = |mail: &&Mail| mail.to.iter().any(|to| to.starts_with(reader));
    mails.iter().filter(reads).collect()
}

fn breach_at_postfix() -> Result<()> {
    let mut world = World::new()?;
    world.origin(&["paste.example"])?;
    let postfix = Postfix::start(world.path("postfix"), world.authority())?;
    let server = format!("smtp://localhost:{}?starttls=required", postfix.starttls_port());
    world.send_mail_over_tls(&server, world.authority().pem())?;
    world.serve()?;
    let plugin = world.plugin("acme.weather").declares(&[]).admit("medium")?;
    // The first sight is told at once, before any night.
    leak(&world, &plugin)?;
    wait_until("the alarm to owner and security", || postfix.mails().len() >= 2)?;
    leak(&world, &plugin)?;
    world.cli(["audit"])?.expect(1)?;
    wait_until("the letters about the report", || postfix.mails().len() >= 4)?;
    // A second audit of the same finds nothing that was not written about.
    world
        .cli(["audit", "--since", "2020-01-01T00:00:00Z"])?
        .expect(1)?;
    wait_until("the outbox to empty", || {
        world
            .ok(["status"])
            .is_ok_and(|status| status["mails"]["pending"] == 0)
    })?;
    let mails = postfix.mails();
    let mut keys: Vec<_> = mails
        .iter()
        .map(|mail| (mail.header("Message-ID"), mail.to.clone()))
        .collect();
    keys.sort();
    let all = keys.len();
    keys.dedup();
    ensure!(keys.len() == all, "a letter came twice: {keys:#?}");
    for mail in &mails {
        // What postfix says about the way it came (RFC 8314 §4.3).
        let received = mail.header("Received").context("postfix notes the way")?;
        ensure!(received.contains("TLSv1.3"), "{received}");
        ensure!(mail.header("Auto-Submitted").as_deref() == Some("auto-generated"));
        ensure!(mail.header("List-Id").is_some() && mail.header("Precedence").is_some());
    }
    let mut owner = to(&mails, "acme.weather@owner.example");
    // Two letters that are sent at one time arrive in any order; the report has its evidence with it.
    owner.sort_by_key(|mail| mail.message.contains("report.sigstore.json"));
    let [alarm, breach] = owner[..] else {
        anyhow::bail!("{} letters to the owner", owner.len());
    };
    let alarm = take_apart(alarm, &world.path("alarm"))?;
    ensure!(
        alarm["text"]
            .as_str()
            .is_some_and(|text| text.contains("paste.example:443"))
    );
    let folder = world.path("breach");
    let breach = take_apart(breach, &folder)?;
    ensure!(breach["defects"] == serde_json::json!([]), "{breach:#}");
    ensure!(
        alarm["headers"]["References"] == breach["headers"]["References"],
        "one thread"
    );
    // Every picture is shown, and every picture that is shown is there.
    let html = breach["html"].as_str().context("a page")?;
    let pictures = breach["pictures"].as_array().context("pictures")?;
    ensure!(
        pictures.len() >= 2 && html.matches("cid:").count() == pictures.len(),
        "{html}"
    );
    for picture in pictures {
        ensure!(html.contains(&format!("cid:{}", picture.as_str().unwrap_or_default())));
    }
    let text = breach["text"].as_str().context("a text")?;
    for words in [
        "paste.example:443",
        "Fix:",
        "What to do now",
        "If you think this report is wrong",
    ] {
        ensure!(text.contains(words), "{words} is not in\n{text}");
    }
    verify_attachments(&world, &folder)
}

/// With cosign alone: the attached report is the auditor's, about the attached evidence.
fn verify_attachments(world: &World, folder: &Path) -> Result<()> {
    let evidence = std::fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with(".tar.zst"))
        .context("the evidence bundle is attached")?;
    let report = folder.join("report.sigstore.json");
    let verify = |report: &Path, evidence: &Path| {
        run(Peer::Cosign
            .command()
            .args(["verify-blob-attestation", "--insecure-ignore-tlog", "--bundle"])
            .arg(report)
            .arg("--key")
            .arg(world.site().join("keys/auditor.pub"))
            .args(["--type", "https://bailiwick.dev/conformance-report/v1"])
            .arg(evidence))
    };
    verify(&report, &evidence)?.expect(0)?;
    let changed = folder.join("changed.tar.zst");
    let mut bytes = std::fs::read(&evidence)?;
    *bytes.last_mut().context("evidence has bytes")? ^= 1;
    std::fs::write(&changed, bytes)?;
    ensure!(verify(&report, &changed)?.status != Some(0));
    world
        .cli(["report".as_ref(), "verify".as_ref(), report.as_os_str()])?
        .expect(0)?;
    Ok(())
}

fn wrong_certificate() -> Result<()> {
    let mut world = World::new()?;
    world.origin(&["paste.example"])?;
    let postfix = Postfix::start(world.path("postfix"), world.authority())?;
    let other = Authority::create(world.path("other.pem"))?;
    // From the first byte this time.
    let server = format!("smtps://localhost:{}", postfix.implicit_port());
    world.send_mail_over_tls(&server, other.pem())?;
    world.serve()?;
    let plugin = world.plugin("acme.weather").declares(&[]).admit("high")?;
    leak(&world, &plugin)?;
    let trouble = |status: &Value| status["mails"]["last_error"].as_str().map(str::to_owned);
    let mut said = None;
    wait_until("the operator to be told of the certificate", || {
        said = world.ok(["status"]).ok().as_ref().and_then(trouble);
        said.is_some()
    })?;
    let said = said.context("a line for the operator")?;
    ensure!(said.contains("certificate") && !said.contains('\n'), "{said}");
    ensure!(postfix.mails().is_empty(), "{}", postfix.log());
    // With the right authority, the same letters go out.
    world.stop()?;
    world.send_mail_over_tls(&server, world.authority().pem())?;
    world.serve()?;
    wait_within(Duration::from_secs(150), "the letters", || {
        postfix.mails().len() == 2
    })
}

fn unknown_owner() -> Result<()> {
    let mut world = World::new()?;
    world.origin(&["paste.example"])?;
    let postfix = Postfix::start(world.path("postfix"), world.authority())?;
    let server = format!("smtp://localhost:{}?starttls=required", postfix.starttls_port());
    world.send_mail_over_tls(&server, world.authority().pem())?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&[])
        .says(
            "owner",
            serde_json::json!({"name": "Weather", "email": "unknown@site.example"}),
        )
        .admit("high")?;
    leak(&world, &plugin)?;
    let dead = || world.ok(["report", "outbox", "--state", "dead"]);
    wait_until("the owner's letter to be given up", || {
        dead().is_ok_and(|list| list["mails"].as_array().is_some_and(|mails| !mails.is_empty()))
    })?;
    let contacts = world.ok(["contact", "list"])?;
    ensure!(
        contacts["contacts"][0]["address"] == "unknown@site.example",
        "{contacts:#}"
    );
    ensure!(contacts["contacts"][0]["bounced_at"].is_string(), "{contacts:#}");
    // Sent again, it is refused again.
    let again = world.ok(["report", "send", "--again"])?;
    ensure!(again["mails"] == 1, "{again:#}");
    wait_until("it to be given up again", || {
        dead().is_ok_and(|list| list["mails"][0]["attempts"] == 1)
    })?;
    let audit = world.cli(["audit"])?.expect(1)?.json()?;
    let notices = audit["notices"].to_string();
    ensure!(
        notices.contains("the owner of acme.weather cannot be reached") && notices.contains("came back"),
        "{audit:#}"
    );
    Ok(())
}

/// A server that reads a whole letter and never says that it has it.
fn silent_server(listener: TcpListener) -> std::sync::mpsc::Receiver<()> {
    let (heard, hears) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let heard = heard.clone();
            std::thread::spawn(move || -> Option<()> {
                let mut reader = BufReader::new(&stream);
                let mut writer = &stream;
                writer.write_all(b"220 silent\r\n").ok()?;
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).ok()? == 0 {
                        return None;
                    }
                    let answer: &[u8] = match line.get(..4).unwrap_or("") {
                        "EHLO" => b"250 silent\r\n",
                        "DATA" => b"354 go on\r\n",
                        _ if line == ".\r\n" => {
                            heard.send(()).ok()?;
                            continue;
                        }
                        "MAIL" | "RCPT" => b"250 ok\r\n",
                        _ => continue,
                    };
                    writer.write_all(answer).ok()?;
                }
            });
        }
    });
    hears
}

fn killed_with_letters_in_hand() -> Result<()> {
    let mut world = World::new()?;
    world.origin(&["paste.example"])?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    world.send_mail_to(listener.local_addr()?)?;
    let hears = silent_server(listener);
    world.serve()?;
    let plugin = world.plugin("acme.weather").declares(&[]).admit("high")?;
    leak(&world, &plugin)?;
    hears
        .recv_timeout(Duration::from_secs(60))
        .context("the server heard a letter")?;
    world.kill_server()?;
    world.receive_mail()?;
    world.serve()?;
    // Both, although the first life had both in hand; and well before any lease would have run out.
    wait_until("both letters", || world.mails().len() == 2)?;
    let mut ids: Vec<_> = world
        .mails()
        .iter()
        .map(|mail| mail.header("Message-ID"))
        .collect();
    ids.sort();
    ids.dedup();
    ensure!(ids.len() == 2, "each once: {ids:?}");
    Ok(())
}

fn contact_confirmed() -> Result<()> {
    let mut world = World::new()?;
    world.receive_mail()?;
    world.serve()?;
    world.ok(["contact", "ask", "owner@acme.example"])?;
    wait_until("the letter with the token", || world.mails().len() == 1)?;
    let letter = &world.mails()[0];
    // The token is the one word of its form in the text.
    let token = letter
        .message
        .split_whitespace()
        .find(|word| word.len() == 39 && word.matches('-').count() == 7)
        .context("a token in the letter")?
        .to_owned();
    let refused = world.cli(["contact", "confirm", "0000-0000-0000-0000-0000-0000-0000-0000"])?;
    ensure!(
        refused.status == Some(1) || refused.status == Some(2),
        "{refused:?}"
    );
    let confirmed = world.ok(["contact", "confirm", &token])?;
    ensure!(confirmed["verified_at"].is_string(), "{confirmed:#}");
    ensure!(
        world.cli(["contact", "confirm", &token])?.status != Some(0),
        "a token is good once"
    );
    Ok(())
}

struct WebhookSink(Child);

impl Drop for WebhookSink {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn webhook() -> Result<()> {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mut world = World::new()?;
    world.origin(&["paste.example"])?;
    let folder = world.path("told");
    std::fs::create_dir(&folder)?;
    let mut sink = Peer::Python
        .command()
        .arg(script("webhook_sink.py"))
        .arg(&folder)
        .arg(SECRET)
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = sink.stdout.take().context("the sink prints its port")?;
    let _sink = WebhookSink(sink);
    let mut port = String::new();
    BufReader::new(stdout).read_line(&mut port)?;
    let address: SocketAddr = format!("127.0.0.1:{}", port.trim()).parse()?;
    let front = TlsFront::start(&world, address)?;
    let authority = world.authority().pem().display().to_string();
    std::fs::write(world.site().join("keys/webhook.secret"), SECRET)?;
    world.configure(|config| {
        let mut webhook = toml::Table::new();
        webhook.insert(
            "url".into(),
            format!("https://{}/hook?site=one", front.address()).into(),
        );
        webhook.insert("ca_file".into(), authority.clone().into());
        webhook.insert("secret_file".into(), "keys/webhook.secret".into());
        config.insert("webhook".into(), webhook.into());
        Ok(())
    })?;
    world.serve()?;
    let plugin = world.plugin("acme.weather").declares(&[]).admit("high")?;
    leak(&world, &plugin)?;
    world.cli(["audit"])?.expect(1)?;
    let told = || -> Vec<Value> {
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
            .collect();
        files.sort();
        files
            .iter()
            .filter_map(|path| serde_json::from_slice(&std::fs::read(path).ok()?).ok())
            .collect()
    };
    // The first delivery is refused and comes again after its pause.
    wait_within(Duration::from_secs(240), "the webhook to be told of both", || {
        told().len() == 2
    })?;
    let mut kinds: Vec<_> = told().iter().map(|told| told["type"].clone()).collect();
    kinds.sort_by_key(ToString::to_string);
    ensure!(
        kinds == ["plugin.first_sight", "report.non_conforming"],
        "{kinds:?}"
    );
    let report = told()
        .into_iter()
        .find(|told| told["type"] == "report.non_conforming")
        .context("the report")?;
    ensure!(
        report["data"]["findings"][0]["host"] == "paste.example",
        "{report:#}"
    );
    let status = world.ok(["status"])?;
    ensure!(
        status["webhooks_queued"] == 0 && status["webhooks_dead"] == 0,
        "{status:#}"
    );
    Ok(())
}
