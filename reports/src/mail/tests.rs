use base::Reason;

use super::*;
use crate::Changes;
use crate::predicate::Period;
use crate::testing::{breach, clean, context, doubtful, finding, hostile, silent, time};

fn from() -> Address {
    "bailiwick@acme.example".parse().unwrap()
}

fn owner() -> Address {
    "invoices@acme.example".parse().unwrap()
}

fn security() -> Vec<Address> {
    vec!["security@acme.example".parse().unwrap()]
}

fn header<'a>(mail: &'a Mail, name: &str) -> &'a str {
    let found = mail.headers.iter().find(|(header, _)| header == name);
    &found.unwrap_or_else(|| panic!("{name}")).1
}

fn both(report: &crate::predicate::ConformanceReport) -> [Mail; 2] {
    [
        owner_mail(report, &context(), &from(), &owner(), Vec::new()).unwrap(),
        security_mail(report, &context(), &from(), &security(), Vec::new()).unwrap(),
    ]
}

#[test]
fn a_good_night_brings_no_letter() {
    for report in [clean(), silent()] {
        assert_eq!(
            owner_mail(&report, &context(), &from(), &owner(), Vec::new()),
            None
        );
        assert_eq!(
            security_mail(&report, &context(), &from(), &security(), Vec::new()),
            None
        );
    }
}

#[test]
fn owner_and_security_read_different_letters_about_the_same_thing() {
    let [owner, security] = both(&breach());
    assert_eq!(
        owner.subject,
        "[acme] invoice_ocr: Undeclared host: api.randomsite.com:443, build on hold"
    );
    assert_eq!(
        security.subject,
        "[acme] breach by invoice_ocr (tier medium): Undeclared host: api.randomsite.com:443, build on hold"
    );
    assert!(owner.text.contains("Hello Invoice team,") && owner.text.contains("bailiwick sign"));
    assert!(!owner.text.contains("bailiwick revoke"));
    assert!(security.text.contains("bailiwick revoke") && security.text.contains("tiers.medium.on_breach"));
    assert_ne!(owner.message_id, security.message_id);
    assert_eq!(header(&owner, "References"), header(&security, "References"));
}

#[test]
fn the_same_incident_is_the_same_letter_and_another_is_not() {
    let ids = |report: &_| both(report).map(|mail| mail.message_id);
    let first = ids(&breach());
    assert_eq!(ids(&breach()), first);
    // The next night, the same finding by the same build; more connections, another report.
    let mut next = breach();
    next.period = Period {
        from: time("2026-11-22T00:00:00Z"),
        to: time("2026-11-23T00:00:00Z"),
    };
    next.findings[0] = finding(&next, Reason::UndeclaredHost, Some("api.randomsite.com"));
    next.findings[0].connections = 40;
    assert_eq!(ids(&next), first);
    let mut another = breach();
    let second = finding(&another, Reason::UndeclaredHost, Some("paste.example"));
    another.findings.push(second);
    assert_ne!(ids(&another)[0], first[0]);
    let mut lighter = breach();
    lighter.actions.pop();
    assert_ne!(ids(&lighter)[0], first[0]);
    let other: Address = "other@acme.example".parse().unwrap();
    let mail = owner_mail(&breach(), &context(), &from(), &other, Vec::new()).unwrap();
    assert_ne!(mail.message_id, first[0]);
}

#[test]
fn whoever_was_told_of_a_hold_is_not_told_again_of_what_led_to_it() {
    let held = breach();
    let mut again = breach();
    again.actions.clear();
    let (held, _) = incident_topics(&held, Reader::Owner);
    let (lighter, heavier) = incident_topics(&again, Reader::Owner);
    assert!(lighter != held && heavier.contains(&held));
    assert!(!incident_topics(&again, Reader::Security).1.contains(&held));
    let mut another = breach();
    another.actions.clear();
    let second = finding(&another, Reason::UndeclaredHost, Some("paste.example"));
    another.findings.push(second);
    assert!(!incident_topics(&another, Reader::Owner).1.contains(&held));
}

#[test]
fn every_night_without_evidence_is_an_incident_of_its_own() {
    let first = both(&doubtful());
    let mut next = doubtful();
    next.period.to = time("2026-11-23T00:00:00Z");
    let second = both(&next);
    assert_ne!(first[0].message_id, second[0].message_id);
    assert_eq!(header(&first[0], "References"), header(&second[0], "References"));
    assert!(first[0].text.contains("You need not do anything"));
    assert!(first[1].text.contains("bailiwick evidence verify"));
}

#[test]
fn no_robot_answers() {
    let night = Night {
        site: "acme",
        period: breach().period,
        reports: Vec::new(),
        notices: Vec::new(),
        weeks: Vec::new(),
    };
    let [to_owner, to_security] = both(&breach());
    for mail in [
        to_owner,
        to_security,
        night_digest(&night, &from(), &[owner()], Vec::new()),
    ] {
        assert_eq!(header(&mail, "Auto-Submitted"), "auto-generated");
        assert_eq!(header(&mail, "X-Auto-Response-Suppress"), "All");
        assert!(mail.message_id.starts_with("<bailiwick.") && mail.message_id.ends_with("@acme.example>"));
    }
}

#[test]
fn hostile_words_are_neither_headers_nor_markup() {
    let (report, context) = hostile();
    let night = Night {
        site: &context.site,
        period: report.period,
        reports: vec![(&report, &context)],
        notices: vec![context.site.clone()],
        weeks: Vec::new(),
    };
    let mails = [
        owner_mail(&report, &context, &from(), &owner(), Vec::new()).unwrap(),
        security_mail(&report, &context, &from(), &security(), Vec::new()).unwrap(),
        night_digest(&night, &from(), &security(), Vec::new()),
    ];
    for mail in mails {
        let tame = |text: &str| {
            !text.chars().any(|c| c.is_control() && c != '\n') && !text.contains(['\u{202e}', '\u{200b}'])
        };
        assert!(tame(&mail.subject) && !mail.subject.contains('\n'));
        assert!(mail.subject.chars().count() <= 200);
        for (name, value) in &mail.headers {
            assert!(
                value.bytes().all(|b| b.is_ascii_graphic() || b == b' '),
                "{name}: {value:?}"
            );
        }
        assert!(tame(&mail.text) && tame(&mail.html));
        let own = mail.html.matches("<img src=\"cid:").count();
        assert!(mail.html.matches("<img").count() == own && own == mail.pictures.len());
        assert!(!mail.html.contains("<b>"));
        assert!(
            !mail
                .text
                .lines()
                .any(|line| line.starts_with("Bcc:") || line.starts_with("CONFORMING:"))
        );
    }
}

#[test]
fn an_attachment_has_a_plain_name_and_is_small() {
    let file = Attachment::if_small("../a\r\nb.json", "application/json", vec![1]).unwrap();
    assert_eq!(file.name, "a__b.json");
    assert!(Attachment::if_small("a", "application/json", vec![0; MAX_ATTACHMENT_BYTES + 1]).is_none());
    let mail = owner_mail(&breach(), &context(), &from(), &owner(), vec![file]).unwrap();
    assert!(mail.text.contains("Attached: a__b.json."));
}

#[test]
fn a_letter_survives_an_outbox_that_keeps_json() {
    let file = Attachment::if_small("a.bin", "application/octet-stream", (0..=255).collect());
    let mail = owner_mail(
        &breach(),
        &context(),
        &from(),
        &owner(),
        file.into_iter().collect(),
    )
    .unwrap();
    let json = serde_json::to_string(&mail).unwrap();
    assert_eq!(serde_json::from_str::<Mail>(&json).unwrap(), mail);
}

#[test]
fn the_digest_puts_what_still_runs_first() {
    let held = breach();
    let mut running = breach();
    running.plugin_id = "zeta".parse().unwrap();
    running.findings[0] = finding(&running, Reason::UndeclaredHost, Some("paste.example"));
    running.actions.pop();
    let (good, unclear) = (clean(), doubtful());
    let mut changed = context();
    changed.changes = Some(Changes::between(&clean(), &held));
    let plain = context();
    let mail = night_digest(
        &Night {
            site: "acme",
            period: held.period,
            reports: vec![
                (&good, &plain),
                (&held, &changed),
                (&unclear, &plain),
                (&running, &plain),
            ],
            notices: vec!["14 connections without identity were refused".into()],
            weeks: Vec::new(),
        },
        &from(),
        &security(),
        Vec::new(),
    );
    assert_eq!(
        mail.subject,
        "[acme] night of 2026-11-21 (UTC): 2 not conforming, 1 inconclusive, 1 conforming, 0 without traffic"
    );
    let at = |words: &str| mail.text.find(words).unwrap_or_else(|| panic!("{words}"));
    assert!(at("zeta") < at("invoice_ocr"));
    assert!(at("still running: decide") < at("on hold: confirm or lift"));
    assert!(mail.text.contains("14 connections without identity"));
    let unwrapped = mail.text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(unwrapped.contains("Conforming before, Not conforming now"));
    // One digest per night, however often the night is audited.
    let again = night_digest(
        &Night {
            site: "acme",
            period: held.period,
            reports: Vec::new(),
            notices: Vec::new(),
            weeks: Vec::new(),
        },
        &from(),
        &security(),
        Vec::new(),
    );
    assert_eq!(again.message_id, mail.message_id);
}
