//! Matching: destinations held against manifests, on its own, so that it can be measured.

use anyhow::{Context as _, Result};
use base::{ObservedScheme, Target, Timestamp};
use manifests::Manifest;
use serde::Serialize;

use crate::crowd::manifest;
use crate::dice::Dice;

/// Manifests, as a crowd has them.
const MANIFESTS: u64 = 500;
/// Destinations that each is asked about.
const DESTINATIONS: u64 = 64;
/// One in this many is not covered, in the second measurement.
const UNCOVERED: u64 = 100;
/// Pairs in each measurement.
const PAIRS: usize = 4_000_000;

/// Declarations of a manifest, in the measurements.
const DECLARED: [usize; 3] = [12, 30, 100];

/// How fast.
#[derive(Debug, Serialize)]
pub struct Matched {
    /// Declarations of each manifest.
    pub declared: usize,
    /// Pairs of destination and manifest in a CPU second, where every destination is covered.
    pub covered_per_s: f64,
    /// The same, where one in a hundred is not and the nearest declaration is looked for.
    pub mixed_per_s: f64,
}

struct Question {
    manifest: usize,
    target: Target,
    scheme: ObservedScheme,
}

/// Seconds that this thread was at work. Others may have the processor meanwhile.
fn cpu_s() -> Result<f64> {
    let path = "/proc/thread-self/schedstat";
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let ns: u64 = text.split(' ').next().unwrap_or_default().parse()?;
    #[expect(clippy::cast_precision_loss, reason = "less than a year of nanoseconds")]
    Ok(ns as f64 / 1e9)
}

/// Measures.
///
/// # Errors
/// Never but for a defect: the manifests are made here.
pub fn run() -> Result<Vec<Matched>> {
    DECLARED.into_iter().map(with).collect()
}

/// What a manifest declares beside what the crowd uses: names and wildcards of other services.
fn more(declared: usize, domain: &str) -> Vec<serde_json::Value> {
    let entry = |number: usize| match number % 4 {
        0 => format!("*.tenant-{number}.{domain}"),
        1 => format!("**.region-{number}.cloud.example"),
        2 => format!("198.51.{number}.0/24"),
        _ => format!("service-{number}.{domain}:443,8443"),
    };
    (0..declared).map(|number| entry(number).into()).collect()
}

fn with(declared: usize) -> Result<Matched> {
    let at: Timestamp = crate::corpus::DAY.parse()?;
    let mut dice = Dice::new(1, "matching");
    let mut manifests = Vec::new();
    let mut domains = Vec::new();
    for number in 0..MANIFESTS {
        let domain = format!("{}.example", dice.word());
        let mut value = manifest(&format!("plugin-{number}").parse()?, 1, &domain, at);
        if let Some(egress) = value["allowed_egress"].as_array_mut() {
            // What is used stands behind what is not.
            egress.splice(0..0, more(declared - egress.len(), &domain));
        }
        manifests.push(Manifest::draft_from_value(&value)?);
        domains.push(domain);
    }
    let mut ask = |uncovered: bool| -> Result<f64> {
        let mut questions = Vec::new();
        for number in 0..MANIFESTS * DESTINATIONS {
            let manifest = usize::try_from(dice.below(MANIFESTS))?;
            let domain = &domains[manifest];
            let (host, port, scheme) = match dice.below(6) {
                _ if uncovered && number % UNCOVERED == 0 => {
                    (format!("paste.{domain}"), 443, ObservedScheme::Tls)
                }
                0..3 => (format!("api.{domain}"), 443, ObservedScheme::Tls),
                3 => (format!("auth.{domain}"), 8443, ObservedScheme::Tls),
                4 => (
                    format!("edge-{}.cdn.{domain}", number % 12),
                    443,
                    ObservedScheme::Tls,
                ),
                _ => (format!("eu.a.telemetry.{domain}"), 443, ObservedScheme::Tls),
            };
            questions.push(Question {
                manifest,
                target: Target::from_authority(format!("{host}:{port}").as_bytes())?,
                scheme,
            });
        }
        let begun = cpu_s()?;
        let mut covered = 0;
        for question in questions.iter().cycle().take(PAIRS) {
            let coverage = manifests[question.manifest].coverage(&question.target, Some(question.scheme), at);
            covered += usize::from(coverage.is_covered());
        }
        let seconds = cpu_s()? - begun;
        let expected = questions
            .iter()
            .cycle()
            .take(PAIRS)
            .filter(|question| !question.target.host.to_string().starts_with("paste."));
        anyhow::ensure!(
            covered == expected.count(),
            "{covered} pairs were covered, and another number is right"
        );
        #[expect(clippy::cast_precision_loss, reason = "a few million")]
        Ok(PAIRS as f64 / seconds)
    };
    Ok(Matched {
        declared,
        covered_per_s: ask(false)?,
        mixed_per_s: ask(true)?,
    })
}
