//! What a night's reports cost: JSON, HTML, text and signature of each, and the PDF beside it.
//!
//! `cargo bench -p bailiwick-reports --bench reports`; 10,000 reports on as many threads as there are
//! processors. The target is a minute on two, and 200 kB for one page.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bailiwick_reports::predicate::ConformanceReport;
use bailiwick_reports::{AppealClocks, Context, EvidenceFile, SignedFile, render, seal_report};
use base::{Sha256Digest, Tier};
use seal::SigningKey;

const REPORTS: usize = 10_000;

fn main() {
    let busy = include_bytes!("../../tests/vectors/reports/busy.report.json");
    let report = ConformanceReport::parse(busy).expect("the golden report is one");
    let key = SigningKey::ed25519_from_seed(&[41; 32]);
    let context = context(&key);
    let threads = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    for (what, with_pdf) in [("JSON, HTML, text, signed", false), ("the same and PDF", true)] {
        let (next, largest) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= REPORTS {
                            return;
                        }
                        let bytes = one(&report, &context, &key, with_pdf);
                        largest.fetch_max(bytes, Ordering::Relaxed);
                    }
                });
            }
        });
        let took = begun.elapsed().as_secs_f64();
        println!(
            "{REPORTS} reports ({what}) on {threads} threads: {took:.1} s, {:.2} ms each and thread, largest page {} bytes",
            took * 1000.0 * threads as f64 / REPORTS as f64,
            largest.load(Ordering::Relaxed)
        );
    }
}

/// Every form of one report; the size of its page.
fn one(report: &ConformanceReport, context: &Context, key: &SigningKey, with_pdf: bool) -> usize {
    let json = report.to_json().expect("it is consistent");
    let html = render::html(report, context);
    let text = render::text(report, context);
    let evidence = Sha256Digest::of(&json);
    let signed = seal_report(report, "plugin.whl", Some(("evidence.tar.zst", &evidence)), key);
    std::hint::black_box((json, text, signed.expect("it is sealed")));
    if with_pdf {
        std::hint::black_box(render::pdf(report, context));
    }
    html.len()
}

fn context(key: &SigningKey) -> Context {
    Context {
        site: "acme".to_owned(),
        artifact_name: "invoice_ocr-1.4.2-py3-none-any.whl".to_owned(),
        version: Some("1.4.2".to_owned()),
        tier: Tier::Medium,
        owner: Some("Invoice team".to_owned()),
        security_contact: "security@acme.example".to_owned(),
        signed: Some(SignedFile {
            name: "report.sigstore.json".to_owned(),
            payload_digest: Sha256Digest::of(b"payload"),
            key: key.public(),
            key_name: "auditor.pub".to_owned(),
        }),
        evidence: Some(EvidenceFile {
            name: "evidence-2026-11-21-invoice_ocr.tar.zst".to_owned(),
            digest: Sha256Digest::of(b"evidence"),
            size_bytes: 18_204,
        }),
        appeals: AppealClocks::default(),
        changes: None,
    }
}
