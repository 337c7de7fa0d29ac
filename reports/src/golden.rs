//! Golden files: the formats as a reviewer reads them. They change only on purpose.

use base::{Reason, Severity};

use crate::mail::{Address, Mail, Night, night_digest, owner_mail, security_mail};
use crate::predicate::ConformanceReport;
use crate::testing::{breach, clean, context, doubtful, finding, golden, observed, silent};
use crate::{Changes, Context, render, seal_report};

/// A busy night: several findings of several kinds, refusals and a change since yesterday.
fn busy() -> (ConformanceReport, Context) {
    let mut report = breach();
    report.observed.push(observed("xn--exmple-cua.com", None, 12));
    report.observed.push(observed("2001:db8::7", None, 1));
    report.observed[1].refused = 2;
    report.findings[0].refused = 2;
    let homograph = finding(&report, Reason::UndeclaredHost, Some("xn--exmple-cua.com"));
    let literal = finding(&report, Reason::IpLiteral, Some("2001:db8::7"));
    let mut note = finding(&report, Reason::SniMismatch, Some("acme.openai.azure.com"));
    note.severity = Severity::Info;
    note.fix = "nothing to do: the name inside TLS is not visible (ECH)".into();
    report.findings.extend([homograph, literal, note]);
    report.coverage.gaps = doubtful().coverage.gaps;
    report.put_in_order();
    let mut context = context();
    context.changes = Some(Changes::between(&breach(), &report));
    (report, context)
}

fn about(report: &ConformanceReport) -> Context {
    let mut context = context();
    context.artifact_name = format!("{}-1.4.2-py3-none-any.whl", report.plugin_id);
    context
}

#[test]
fn report_json() {
    for (name, report) in [
        ("breach", breach()),
        ("conforming", clean()),
        ("inconclusive", doubtful()),
        ("no_traffic", silent()),
        ("busy", busy().0),
    ] {
        let mut pretty = serde_json::to_vec_pretty(&report).unwrap();
        pretty.push(b'\n');
        assert_eq!(ConformanceReport::parse(&pretty).unwrap(), report);
        golden(&format!("{name}.report.json"), &pretty);
    }
}

#[test]
fn report_bundle() {
    let evidence = base::Sha256Digest::of(b"evidence");
    let bundle = seal_report(
        &breach(),
        "invoice_ocr-1.4.2-py3-none-any.whl",
        Some(("evidence-2026-11-21-invoice_ocr.tar.zst", &evidence)),
        &crate::testing::auditor_key(),
    );
    golden("breach.report.sigstore.json", &bundle.unwrap());
    golden(
        "auditor.pub",
        crate::testing::auditor_key().public().to_pem().as_bytes(),
    );
}

#[test]
fn report_pages() {
    let (busy, busy_context) = busy();
    for (name, report, context) in [
        ("breach", breach(), context()),
        ("conforming", clean(), about(&clean())),
        ("inconclusive", doubtful(), about(&doubtful())),
        ("no_traffic", silent(), about(&silent())),
        ("busy", busy, busy_context),
    ] {
        golden(
            &format!("{name}.html"),
            render::html(&report, &context).as_bytes(),
        );
        golden(&format!("{name}.txt"), render::text(&report, &context).as_bytes());
    }
}

#[test]
fn letters() {
    let address = |text: &str| -> Address { text.parse().unwrap() };
    let from = address("bailiwick@acme.example");
    let owner = address("invoices@acme.example");
    let security = [address("security@acme.example")];
    let (busy, busy_context) = busy();
    let mut doubt = doubtful();
    doubt.plugin_id = "weather".parse().unwrap();
    doubt.findings.clear();
    let good = clean();
    let (mut doubt_context, good_context) = (about(&doubt), about(&good));
    doubt_context.changes = Some(Changes::between(&clean(), &doubt));
    let night = Night {
        site: "acme",
        period: busy.period,
        reports: vec![
            (&busy, &busy_context),
            (&doubt, &doubt_context),
            (&good, &good_context),
        ],
        notices: vec!["14 connections without identity were refused at acme/gw-1".into()],
        weeks: Vec::new(),
    };
    let keep = |name: &str, mail: Mail| {
        golden(&format!("{name}.mail.txt"), written(&mail).as_bytes());
        golden(&format!("{name}.mail.html"), mail.html.as_bytes());
    };
    for (name, report) in [("breach", &breach()), ("inconclusive", &doubtful())] {
        let mail = owner_mail(report, &context(), &from, &owner, Vec::new());
        keep(&format!("{name}.owner"), mail.unwrap());
        let mail = security_mail(report, &context(), &from, &security, Vec::new());
        keep(&format!("{name}.security"), mail.unwrap());
    }
    let mail = security_mail(&busy, &busy_context, &from, &security, Vec::new());
    keep("busy.security", mail.unwrap());
    keep("night", night_digest(&night, &from, &security, Vec::new()));
}

/// A letter as people see it: headers, then text.
fn written(mail: &Mail) -> String {
    let mut text = format!("From: {}\n", mail.from);
    for to in &mail.to {
        text.push_str(&format!("To: {to}\n"));
    }
    text.push_str(&format!(
        "Subject: {}\nMessage-ID: {}\n",
        mail.subject, mail.message_id
    ));
    for (name, value) in &mail.headers {
        text.push_str(&format!("{name}: {value}\n"));
    }
    format!("{text}\n{}", mail.text)
}
