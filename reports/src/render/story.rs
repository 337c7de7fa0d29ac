//! The story of one report: everything a rendering says, in order and in words, already harmless
//! for display ([`visible`]). HTML and text differ in nothing but layout.

use std::fmt::Write as _;

use base::Verdict;

use crate::context::Context;
use crate::escape::{shell, visible};
use crate::predicate::{ActionKind, ConformanceReport, Finding, Observed, Period};
use crate::verify::{self, Step};
use crate::words;

/// A label and what it labels.
pub(crate) struct Fact {
    pub label: &'static str,
    pub value: String,
}

impl Fact {
    /// Whether the value needs a row of its own.
    pub(crate) fn is_wide(&self) -> bool {
        matches!(self.label, "Artifact" | "Digest")
    }
}

/// Something to do, and the command that does it, where there is one.
pub(crate) struct Advice {
    pub text: String,
    pub command: Option<String>,
}

/// One finding.
pub(crate) struct FindingStory {
    pub title: String,
    pub tone: &'static str,
    pub severity: &'static str,
    pub meaning: &'static str,
    pub facts: Vec<Fact>,
    pub fix: String,
    pub evidence: String,
    pub id: String,
    pub strip: Option<Strip>,
}

/// When a finding was seen, as a stretch of the period: thousandths from its left end.
pub(crate) struct Strip {
    pub left: i64,
    pub width: i64,
    pub words: String,
    pub from: String,
    pub to: String,
}

/// One row of declared against observed.
pub(crate) struct Row {
    pub destination: String,
    pub spoken: &'static str,
    /// The declaration that covers it.
    pub declared: Option<String>,
    /// Connections, for drawing.
    pub number: u64,
    pub connections: String,
    pub refused: Option<String>,
    pub sent: String,
    pub received: String,
}

/// One thing that was done.
pub(crate) struct ActionStory {
    pub what: String,
    pub clause: String,
    pub enabled_by: String,
}

/// One list of what changed.
pub(crate) struct Change {
    pub label: &'static str,
    pub items: Vec<String>,
}

/// One log.
pub(crate) struct LogStory {
    pub origin: String,
    pub range: String,
    pub root: String,
}

/// The whole story.
pub(crate) struct Story {
    pub site: String,
    pub plugin: String,
    pub verdict: &'static str,
    pub tone: &'static str,
    pub headline: String,
    pub lead: String,
    pub about: Vec<Fact>,
    pub findings: Vec<FindingStory>,
    pub omitted: Vec<String>,
    pub rows: Vec<Row>,
    pub unused: Vec<String>,
    pub actions: Vec<ActionStory>,
    pub changes: Option<Vec<Change>>,
    pub verdict_before: Option<&'static str>,
    pub for_owner: Vec<Advice>,
    pub for_security: Vec<Advice>,
    pub coverage: Vec<Fact>,
    pub gaps: Vec<String>,
    pub limits: Vec<String>,
    pub logs: Vec<LogStory>,
    pub further_logs: Option<String>,
    pub key_advice: Option<String>,
    pub steps: Vec<Step>,
    pub documents: Vec<Fact>,
}

/// What no gateway can see. A report that kept quiet about it would promise too much.
const LIMITS: &[&str] = &[
    "Only connections that went through a gateway are seen. Traffic that goes around it (UDP, another network, a client that ignores its proxy settings) is not in this report.",
    "Inside TLS nothing is read: names, sizes and times are known; paths, methods and contents are not.",
    "A host is seen, not what it serves: name lookups over HTTPS or TLS, and whatever a shared host passes on, show as connections to that host.",
    "What a plugin relays through another plugin is seen as the other plugin's traffic.",
];

/// Why a finding can be said to be wrong. The control plane takes these words and no others.
const APPEAL_REASONS: &str =
    "declared, not_this_plugin, evidence_wrong, platform_caused, agreed_exception, disproportionate";

/// Ports on which proxies usually listen.
const PROXY_PORTS: [u16; 3] = [1080, 3128, 8080];

impl Story {
    /// Tells `report`.
    pub(crate) fn of(report: &ConformanceReport, context: &Context) -> Self {
        Self {
            site: visible(&context.site),
            plugin: report.plugin_id.to_string(),
            verdict: words::verdict(report.verdict),
            tone: words::verdict_tone(report.verdict),
            headline: words::headline(report),
            lead: lead(report),
            about: about(report, context),
            findings: report
                .findings
                .iter()
                .map(|f| finding(f, report.period))
                .collect(),
            omitted: omitted(report),
            rows: Self::rows_of(report),
            unused: report.unused.iter().map(|entry| visible(entry)).collect(),
            actions: report
                .actions
                .iter()
                .map(|taken| ActionStory {
                    what: words::action(taken),
                    clause: visible(&taken.clause),
                    enabled_by: visible(&taken.enabled_by),
                })
                .collect(),
            changes: context.changes.as_ref().map(changes),
            verdict_before: context.changes.as_ref().map(|c| words::verdict(c.verdict_before)),
            for_owner: for_owner(report, context),
            for_security: for_security(report),
            coverage: coverage(report),
            gaps: report.coverage.gaps.iter().map(gap).collect(),
            limits: limits(report),
            logs: report.logs.iter().map(log).collect(),
            further_logs: further_logs(report),
            key_advice: verify::key_advice(context),
            steps: verify::steps(context),
            documents: documents(report, context),
        }
    }

    /// Every destination, undeclared ones first.
    pub(crate) fn rows_of(report: &ConformanceReport) -> Vec<Row> {
        let mut rows: Vec<_> = report.observed.iter().collect();
        rows.sort_by_key(|row| row.matched.is_some());
        rows.into_iter().map(row).collect()
    }
}

/// The sentence after the headline: how much, and what was done about it.
fn lead(report: &ConformanceReport) -> String {
    let connections: u64 = report.observed.iter().map(|row| row.connections).sum();
    let refused: u64 = report.observed.iter().map(|row| row.refused).sum();
    let undeclared: u64 = report
        .observed
        .iter()
        .filter(|row| row.matched.is_none())
        .map(|row| row.connections)
        .sum();
    let all = words::count(connections, "connection");
    let mut lead = match report.verdict {
        Verdict::Conforming => format!("All {all} of this period went to declared destinations."),
        Verdict::NoTraffic => "The evidence is whole and holds no connection of this plugin.".to_owned(),
        Verdict::Inconclusive => format!(
            "{all} were seen and none of them went anywhere undeclared, but the record has holes. This accuses nobody."
        ),
        Verdict::NonConforming if undeclared == 0 => {
            format!("{all} were seen. The findings below say what does not agree with the manifest.")
        }
        Verdict::NonConforming => format!(
            "{} of {all} went where no declaration reaches.",
            words::grouped(undeclared)
        ),
    };
    if refused > 0 {
        let _ = write!(
            lead,
            " The gateway refused {}.",
            words::count(refused, "connection")
        );
    }
    let done = report
        .actions
        .iter()
        .map(|taken| taken.action)
        .filter(|action| *action != ActionKind::Alert)
        .max();
    lead.push_str(match (done, report.verdict) {
        (Some(ActionKind::Quarantine), _) => " This build has been put on hold.",
        (Some(ActionKind::Revoke), _) => " This build has been revoked.",
        (Some(ActionKind::AwaitApproval), _) => " A hold waits for a second approver.",
        (Some(ActionKind::Announce), _) => {
            " A hold is announced, and will be done unless somebody says otherwise."
        }
        (_, Verdict::NonConforming) => " Nothing was stopped; a person decides.",
        _ => "",
    });
    lead
}

fn about(report: &ConformanceReport, context: &Context) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut fact = |label, value| facts.push(Fact { label, value });
    fact("Plugin", report.plugin_id.to_string());
    if let Some(owner) = &context.owner {
        fact("Owner", visible(owner));
    }
    fact("Period", words::period(report.period));
    fact(
        "Scope",
        match &report.run_id {
            Some(run) => format!("run {run}"),
            None => words::count(report.coverage.runs, "run"),
        },
    );
    fact("Tier", context.tier.to_string());
    fact(
        "Artifact",
        match &context.version {
            Some(version) => format!(
                "{} (version {})",
                visible(&context.artifact_name),
                visible(version)
            ),
            None => visible(&context.artifact_name),
        },
    );
    fact("Digest", report.artifact_digest.to_string());
    facts
}

fn finding(finding: &Finding, period: Period) -> FindingStory {
    let mut facts = Vec::new();
    let mut fact = |label, value| facts.push(Fact { label, value });
    if finding.connections > 0 {
        let mut connections = words::count(finding.connections, "connection");
        if finding.scheme.is_some() {
            let _ = write!(connections, " over {}", words::scheme(finding.scheme));
        }
        if finding.refused > 0 {
            let _ = write!(connections, ", {} refused", words::grouped(finding.refused));
        }
        fact("How often", connections);
    }
    fact("When", words::seen(finding));
    match finding.runs.as_slice() {
        [] => {}
        [only] => fact("Run", only.to_string()),
        [first, rest @ ..] => fact(
            "Runs",
            format!("{first} and {} more", words::grouped(rest.len() as u64)),
        ),
    }
    if finding.host.is_some() {
        let nearest = match &finding.nearest_declared {
            Some(nearest) => visible(nearest),
            None => "nothing like it is declared".to_owned(),
        };
        fact("Nearest declaration", nearest);
    }
    FindingStory {
        title: words::finding_title(finding),
        tone: words::tone(finding.weight()),
        severity: words::severity(finding.severity),
        meaning: words::meaning(finding),
        facts,
        fix: visible(&finding.fix),
        evidence: evidence(finding),
        id: finding.id.to_string(),
        strip: strip(finding, period),
    }
}

/// `acme/gw-1 entries 321, 340`, log by log.
fn evidence(finding: &Finding) -> String {
    let mut text = String::new();
    let mut current = None;
    for event in &finding.events {
        if current == Some(&event.origin) {
            let _ = write!(text, ", {}", event.index);
        } else {
            let separator = if text.is_empty() { "" } else { "; " };
            let _ = write!(
                text,
                "{separator}log {} entry {}",
                visible(&event.origin),
                event.index
            );
            current = Some(&event.origin);
        }
    }
    text
}

fn strip(finding: &Finding, period: Period) -> Option<Strip> {
    let start = period.from.unix_us();
    let length = period.to.unix_us().checked_sub(start).filter(|&us| us > 0)?;
    let place = |us: i64| {
        let offset = us.saturating_sub(start).clamp(0, length);
        i64::try_from(i128::from(offset) * 1000 / i128::from(length)).unwrap_or(1000)
    };
    let left = place(finding.first.unix_us()).min(988);
    let width = (place(finding.last.unix_us()) - left).clamp(12, 1000 - left);
    Some(Strip {
        left,
        width,
        words: format!("Seen {} within {}", words::seen(finding), words::period(period)),
        from: words::moment(period.from),
        to: words::moment(period.to),
    })
}

fn row(row: &Observed) -> Row {
    Row {
        destination: words::destination(&row.host, row.port),
        spoken: words::scheme(row.scheme),
        declared: row.matched.as_deref().map(visible),
        number: row.connections,
        connections: words::grouped(row.connections),
        refused: (row.refused > 0).then(|| words::grouped(row.refused)),
        sent: words::bytes(row.bytes_out),
        received: words::bytes(row.bytes_in),
    }
}

fn omitted(report: &ConformanceReport) -> Vec<String> {
    let omitted = report.omitted;
    [
        (omitted.findings, "finding"),
        (omitted.observed, "destination"),
        (omitted.unused, "unused declaration"),
        (omitted.gaps, "gap"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, noun)| words::count(number, noun))
    .collect()
}

fn changes(changes: &crate::Changes) -> Vec<Change> {
    [
        ("New", &changes.new),
        ("Still there", &changes.remaining),
        ("Gone", &changes.gone),
        ("Destinations not seen before", &changes.new_destinations),
    ]
    .into_iter()
    .filter(|(_, items)| !items.is_empty())
    .map(|(label, items)| Change {
        label,
        items: items.clone(),
    })
    .collect()
}

fn is_held(report: &ConformanceReport) -> bool {
    report
        .actions
        .iter()
        .any(|taken| matches!(taken.action, ActionKind::Quarantine | ActionKind::Revoke))
}

/// What the owner can do, in order.
fn for_owner(report: &ConformanceReport, context: &Context) -> Vec<Advice> {
    let contact = visible(&context.security_contact);
    let say = |text: String| Advice { text, command: None };
    match report.verdict {
        Verdict::Conforming | Verdict::NoTraffic => Vec::new(),
        Verdict::Inconclusive => vec![say(format!(
            "Nothing to mend. The operators look into the missing evidence; {contact} answers questions."
        ))],
        Verdict::NonConforming => {
            let mut advice = vec![
                say("Decide whether each connection above is meant. If it is, declare it; if not, remove the code or the library that makes it. The fix is written at each finding.".to_owned()),
                Advice {
                    text: "Build a new version and sign it with its manifest.".to_owned(),
                    command: Some(format!(
                        "bailiwick sign {} --manifest PLUGIN_MANIFEST.json --key owner.pem",
                        shell(&context.artifact_name)
                    )),
                },
                Advice {
                    text: format!(
                        "Hand in the new artifact and its PLUGIN_MANIFEST.sigstore.json to {contact} and name the finding that it mends. A build that asks for no more than the finding needs comes in on a fast lane:"
                    ),
                    command: report.breaches().next().map(|finding| {
                        format!(
                            "bailiwick admit {} --mends {}",
                            shell(&context.artifact_name),
                            finding.id
                        )
                    }),
                },
            ];
            if is_held(report) {
                advice.push(say(format!(
                    "The hold covers exactly this build (sha256:{}…). A build with another digest is not held; a new manifest for the same bytes is, until an operator lifts the hold.",
                    report.artifact_digest.short()
                )));
            }
            advice.push(Advice {
                text: format!(
                    "If you think this report is wrong, appeal: write to {contact} with the finding's id and one of these reasons: {APPEAL_REASONS}. Both sides look at the same evidence. {} The platform takes an appeal down with:",
                    context.appeals.words()
                ),
                command: report
                    .breaches()
                    .next()
                    .map(|finding| format!("bailiwick appeal open {} --reason evidence_wrong", finding.id)),
            });
            advice
        }
    }
}

/// What needs a person of the platform.
fn for_security(report: &ConformanceReport) -> Vec<Advice> {
    let digest = report.artifact_digest;
    let does = |text: &str, command: String| Advice {
        text: text.to_owned(),
        command: Some(command),
    };
    match report.verdict {
        Verdict::Conforming | Verdict::NoTraffic => Vec::new(),
        Verdict::Inconclusive => vec![
            does(
                "Find out what is missing and why.",
                "bailiwick evidence verify".to_owned(),
            ),
            does(
                "When the evidence is whole again, audit this period once more.",
                format!(
                    "bailiwick audit --plugin {} --since {} --until {}",
                    report.plugin_id, report.period.from, report.period.to
                ),
            ),
        ],
        Verdict::NonConforming => {
            let reason = report
                .breaches()
                .next()
                .map_or(base::Reason::UndeclaredHost, |finding| finding.reason);
            let mut advice = Vec::new();
            if is_held(report) {
                advice.push(does(
                    "The hold stands until somebody lifts it. If the report is wrong:",
                    format!("bailiwick reinstate {digest} --reason false_positive"),
                ));
            } else {
                advice.push(does(
                    "Nothing was stopped. To put this build on hold:",
                    format!("bailiwick quarantine {digest} --reason {reason}"),
                ));
            }
            advice.push(does(
                "To end it for good:",
                format!("bailiwick revoke {digest} --reason {reason}"),
            ));
            advice
        }
    }
}

fn coverage(report: &ConformanceReport) -> Vec<Fact> {
    let coverage = &report.coverage;
    let fact = |label, value| Fact { label, value };
    vec![
        fact(
            "Evidence",
            "connections through a gateway only (proxied-only)".to_owned(),
        ),
        fact(
            "Gateways",
            format!(
                "{} of {} handed in a log that verifies",
                words::grouped(coverage.gateways_seen),
                words::grouped(coverage.gateways_expected)
            ),
        ),
        fact("Runs", words::grouped(coverage.runs)),
        fact("Log entries", words::grouped(coverage.events)),
        fact(
            "Gaps",
            match coverage.gaps.len() as u64 + report.omitted.gaps {
                0 => "none".to_owned(),
                gaps => words::grouped(gaps),
            },
        ),
    ]
}

fn gap(gap: &crate::predicate::Gap) -> String {
    let mut text = format!("{}: {}", visible(&gap.origin), visible(&gap.cause));
    if let Some(missing) = gap.missing {
        let _ = write!(text, " ({} missing)", words::count(missing, "entry"));
    }
    match (gap.from, gap.to) {
        (Some(from), Some(to)) => {
            let _ = write!(text, ", {} to {}", words::moment(from), words::moment(to));
        }
        (Some(from), None) => {
            let _ = write!(text, ", since {}", words::moment(from));
        }
        (None, Some(to)) => {
            let _ = write!(text, ", until {}", words::moment(to));
        }
        (None, None) => {}
    }
    if let Some(index) = gap.index {
        let _ = write!(text, ", entry {index}");
    }
    text
}

fn limits(report: &ConformanceReport) -> Vec<String> {
    let proxies = report
        .observed
        .iter()
        .filter(|row| PROXY_PORTS.contains(&row.port.get()))
        .map(|row| {
            format!(
                "{} is a proxy-like destination; where connections went from there is not seen.",
                words::destination(&row.host, row.port)
            )
        });
    LIMITS
        .iter()
        .map(|limit| (*limit).to_owned())
        .chain(proxies)
        .collect()
}

fn log(log: &crate::predicate::LogReference) -> LogStory {
    LogStory {
        origin: visible(&log.origin),
        range: if log.from == log.to {
            "no entries".to_owned()
        } else {
            format!("{} to {}", words::grouped(log.from), words::grouped(log.to - 1))
        },
        // The third line of a checkpoint is its root; the whole note is in the evidence bundle.
        root: log.checkpoint.lines().nth(2).map(visible).unwrap_or_default(),
    }
}

/// Logs of which nothing is in the report, counted.
fn further_logs(report: &ConformanceReport) -> Option<String> {
    (report.omitted.logs > 0).then(|| {
        format!(
            "{} without an entry of this run; the report about the artifact names them",
            words::count(report.omitted.logs, "further log")
        )
    })
}

fn documents(report: &ConformanceReport, context: &Context) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut fact = |label, value| facts.push(Fact { label, value });
    if let Some(signed) = &context.signed {
        fact(
            "This report",
            format!("{} (payload {})", visible(&signed.name), signed.payload_digest),
        );
        fact(
            "Signed by",
            format!("{} {}", visible(&report.auditor.id), signed.key.fingerprint()),
        );
    }
    if let Some(evidence) = &context.evidence {
        fact(
            "Evidence bundle",
            format!(
                "{} ({}, {})",
                visible(&evidence.name),
                words::bytes(evidence.size_bytes),
                evidence.digest
            ),
        );
    }
    fact("Manifest", report.manifest.digest.sha256.to_string());
    for earlier in report.manifests.iter().rev().skip(1) {
        let until = format!("{} until {}", earlier.digest.sha256, earlier.to);
        fact("Manifest before", until);
    }
    fact(
        "Policy",
        format!(
            "version {} {}",
            report.policy.version, report.policy.digest.sha256
        ),
    );
    fact(
        "Revocation list",
        format!("number {} {}", report.crl.crl_number, report.crl.digest.sha256),
    );
    fact(
        "Report before this one",
        report
            .previous_report
            .map_or("none".to_owned(), |before| before.digest.sha256.to_string()),
    );
    fact(
        "Auditor",
        format!(
            "{} {}",
            visible(&report.auditor.id),
            visible(&report.auditor.version)
        ),
    );
    facts
}
