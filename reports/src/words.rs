//! Words: one place where verdicts, reasons and numbers become English, so that a report says the
//! same in HTML, in text and in mail. Everything returned is already [`visible`].

use base::{Host, ObservedScheme, Port, Reason, Severity, Timestamp, Verdict};

use crate::escape::{short, visible};
use crate::predicate::{ActionKind, ActionTaken, ConformanceReport, Finding, Period, Weight};

/// The verdict as a heading.
pub(crate) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Conforming => "Conforming",
        Verdict::NonConforming => "Not conforming",
        Verdict::Inconclusive => "Inconclusive",
        Verdict::NoTraffic => "No traffic",
    }
}

/// The reason as a heading.
pub(crate) const fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::UndeclaredHost => "Undeclared host",
        Reason::UndeclaredPort => "Undeclared port",
        Reason::UndeclaredScheme => "Undeclared scheme",
        Reason::IpLiteral => "Undeclared IP address",
        Reason::PrivateResolution => "Name with a private address",
        Reason::SniMismatch => "Another name inside TLS",
        Reason::NoCoverage => "Traffic outside the evidence",
        Reason::EvidenceGap => "Evidence missing",
        Reason::TamperedEvidence => "Evidence changed",
        Reason::SignatureInvalid => "Invalid signature",
        Reason::DigestMismatch => "Other bytes than signed",
        Reason::Downgrade => "Older version than before",
        Reason::SignerChanged => "Another signer than before",
        Reason::SbomMismatch => "Other SBOM than signed",
        Reason::SdkDrift => "Library outside the declared range",
        Reason::DataClassBreach => "Data class not declared for this destination",
        Reason::LimitExceeded => "Declared limit exceeded",
        Reason::IdentityHeaderForged => "Identity claimed in headers",
        Reason::CredentialsReplayed => "Dead credentials presented",
        Reason::CredentialsConflict => "Two identities at once",
        Reason::AfterRevocation => "Attempts after revocation",
        Reason::Vulnerability => "Known vulnerability",
        Reason::KeyCompromise => "Compromised key",
        Reason::Malware => "Malware",
        Reason::OwnerRequest => "Request of the owner",
        Reason::PolicyExpired => "Policy, approval or exception expired",
        Reason::Superseded => "Superseded",
        Reason::FalsePositive => "False positive",
    }
}

/// What a finding means, in a sentence for somebody who has never seen one.
pub(crate) fn meaning(finding: &Finding) -> &'static str {
    let all_refused = finding.connections > 0 && finding.refused == finding.connections;
    match finding.reason {
        Reason::UndeclaredHost if all_refused => {
            "The plugin tried to connect to a host that its manifest does not declare. Every attempt was refused."
        }
        Reason::UndeclaredHost => "The plugin connected to a host that its manifest does not declare.",
        Reason::UndeclaredPort => "The manifest declares this host, and not on this port.",
        Reason::UndeclaredScheme => {
            "The manifest declares this host and port, and not for what was spoken there."
        }
        Reason::IpLiteral => {
            "The plugin asked for an IP address instead of a name. A declared name never covers an address."
        }
        Reason::PrivateResolution => "The name led to an address inside a private network.",
        Reason::SniMismatch if finding.weight() == Weight::Note => {
            "The name inside TLS could not be compared with the name asked of the gateway. This changes no verdict."
        }
        Reason::SniMismatch => {
            "The plugin asked the gateway for one name and asked for another inside TLS; both have to be declared."
        }
        Reason::NoCoverage if finding.weight() == Weight::Note && finding.host.is_some() => {
            "What went on inside or behind this destination could not be seen. This changes no verdict."
        }
        Reason::NoCoverage if finding.connections > 0 => {
            "One run went to more destinations than are judged one by one."
        }
        Reason::NoCoverage => "There was traffic, or there should have been, that no gateway saw.",
        Reason::EvidenceGap => {
            "Part of the record is missing. What happened in it cannot be known, so nobody says that all was well."
        }
        Reason::TamperedEvidence => {
            "The record does not verify: somebody changed it after the gateway signed it."
        }
        Reason::LimitExceeded if finding.weight() == Weight::Note => {
            "One run named unusually many hosts. This changes no verdict."
        }
        Reason::IdentityHeaderForged => {
            "The plugin sent headers that claim to be somebody. They were removed and believed by nobody; this changes no verdict."
        }
        Reason::CredentialsReplayed => {
            "Somebody presented a run's credentials that are no longer good. Who it was is not known; this changes no verdict."
        }
        Reason::CredentialsConflict => {
            "Somebody presented two identities that disagree, and was refused. This changes no verdict."
        }
        Reason::AfterRevocation => {
            "The plugin asked for connections after it was stopped. They were refused; this changes no verdict."
        }
        Reason::PolicyExpired => {
            "Something stood for a time, an exception of the policy or an approval, and that time is over."
        }
        Reason::LimitExceeded => "The plugin used more than its manifest allows.",
        Reason::DataClassBreach => "Data went to a destination that is not declared for its class.",
        Reason::SdkDrift => "A library is outside the range that the manifest declares.",
        _ => "What was seen does not agree with what was signed.",
    }
}

/// A name for CSS: how bad it is.
pub(crate) fn tone(weight: Weight) -> &'static str {
    match weight {
        Weight::Breach => "bad",
        Weight::Doubt => "doubt",
        Weight::Note => "quiet",
    }
}

/// A name for CSS: how bad the whole report is.
pub(crate) const fn verdict_tone(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Conforming => "good",
        Verdict::NonConforming => "bad",
        Verdict::Inconclusive => "doubt",
        Verdict::NoTraffic => "quiet",
    }
}

/// A severity as a word in a sentence.
pub(crate) const fn severity(severity: Severity) -> &'static str {
    severity.as_str()
}

/// `host:port`, addresses in brackets. An internationalised name is shown in both forms, because
/// one of them is what machines compare and the other is what fools people.
pub(crate) fn destination(host: &Host, port: Port) -> String {
    let plain = match host {
        Host::Ip(std::net::IpAddr::V6(v6)) => format!("[{v6}]:{port}"),
        host => format!("{host}:{port}"),
    };
    match reads_as(host) {
        Some(unicode) => format!("{plain} (reads as “{unicode}”)"),
        None => plain,
    }
}

/// How an internationalised name looks to people, if it differs from what it is.
fn reads_as(host: &Host) -> Option<String> {
    let name = host.name()?.as_str();
    if !name.contains("xn--") {
        return None;
    }
    let (unicode, valid) = idna::domain_to_unicode(name);
    (valid.is_ok() && unicode != name).then(|| visible(&unicode))
}

/// What a finding is about.
pub(crate) fn subject(finding: &Finding) -> Option<String> {
    match (&finding.host, finding.port) {
        (Some(host), Some(port)) => Some(destination(host, port)),
        (Some(host), None) => Some(host.to_string()),
        _ => finding.origin.as_deref().map(|origin| short(origin, 120)),
    }
}

/// A finding as one line.
pub fn finding_title(finding: &Finding) -> String {
    match subject(finding) {
        Some(subject) => format!("{}: {subject}", reason(finding.reason)),
        None => reason(finding.reason).to_owned(),
    }
}

/// What was spoken.
pub(crate) const fn scheme(scheme: Option<ObservedScheme>) -> &'static str {
    match scheme {
        Some(ObservedScheme::Http) => "plain HTTP",
        Some(ObservedScheme::Tls) => "TLS",
        Some(ObservedScheme::Ssh) => "SSH",
        Some(ObservedScheme::Tcp) => "other TCP",
        None => "nothing spoken",
    }
}

/// The whole report in one sentence.
pub(crate) fn headline(report: &ConformanceReport) -> String {
    let plugin = &report.plugin_id;
    match report.verdict {
        Verdict::Conforming => format!("{plugin} kept its word: it went only where its manifest says."),
        Verdict::NoTraffic => format!("{plugin} made no connection that the gateways saw."),
        Verdict::Inconclusive => {
            format!("Nobody can say whether {plugin} kept its word: part of the evidence is missing.")
        }
        Verdict::NonConforming => breach_headline(report),
    }
}

fn breach_headline(report: &ConformanceReport) -> String {
    let plugin = &report.plugin_id;
    let breaches: Vec<_> = report.breaches().collect();
    let more = report.omitted.findings;
    let undeclared = |f: &&Finding| {
        matches!(
            f.reason,
            Reason::UndeclaredHost | Reason::UndeclaredPort | Reason::UndeclaredScheme | Reason::IpLiteral
        )
    };
    let all_refused = breaches
        .iter()
        .all(|f| f.connections > 0 && f.refused == f.connections);
    let went = if all_refused {
        "tried to connect"
    } else {
        "connected"
    };
    match breaches.as_slice() {
        [only] if more == 0 && undeclared(only) => match subject(only) {
            Some(subject) => format!("{plugin} {went} to {subject}, which its manifest does not declare."),
            None => format!("{plugin} {went} to a destination that its manifest does not declare."),
        },
        [only] if more == 0 => format!(
            "{plugin} did not keep its word: {}.",
            lower_first(&finding_title(only))
        ),
        all if all.iter().all(undeclared) => format!(
            "{plugin} {went} to {}{} that its manifest does not declare.",
            if more > 0 { "more than " } else { "" },
            count(all.len() as u64, "destination")
        ),
        all => format!(
            "{plugin} did not keep its word in {}{}.",
            if more > 0 { "more than " } else { "" },
            count(all.len() as u64, "way")
        ),
    }
}

/// Lowers the first letter, unless the word is an abbreviation.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

/// What was done, in a few words.
pub(crate) fn action(taken: &ActionTaken) -> String {
    let list = taken
        .crl_number
        .map_or(String::new(), |n| format!(" (revocation list {n})"));
    match taken.action {
        ActionKind::Alert => "Mail to the owner and the security team".to_owned(),
        ActionKind::Watch => "Watch: this build goes on running and somebody looks".to_owned(),
        ActionKind::Announce => {
            "Announced: this build will be stopped when the clause's grace is over, unless a person says otherwise"
                .to_owned()
        }
        ActionKind::Quarantine => format!("Quarantine: this build is on hold{list}"),
        ActionKind::Revoke => format!("Revocation: this build may never be loaded again{list}"),
        ActionKind::AwaitApproval => {
            "Waiting for a second approver: the clause would have stopped more running plugins than it may alone"
                .to_owned()
        }
    }
}

/// `1 connection`, `70,213 connections`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = match (number, noun.strip_suffix('y')) {
        (1, _) => noun.to_owned(),
        (_, Some(stem)) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{noun}s"),
    };
    format!("{} {plural}", grouped(number))
}

/// Digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in decimal units, as network people count them.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if number < 1000 {
        return format!("{number} B");
    }
    let mut whole = number;
    let mut tenths = 0;
    let mut unit = "B";
    for next in UNITS {
        if whole < 1000 {
            break;
        }
        tenths = whole % 1000 / 100;
        whole /= 1000;
        unit = next;
    }
    if whole < 100 {
        format!("{whole}.{tenths} {unit}")
    } else {
        format!("{whole} {unit}")
    }
}

/// A moment to the second.
pub(crate) fn moment(time: Timestamp) -> String {
    let text = time.to_string();
    format!("{} {} UTC", &text[..10], &text[11..19])
}

/// A period: a day by its name, anything else by its ends.
pub(crate) fn period(period: Period) -> String {
    let (from, to) = (period.from.to_string(), period.to.to_string());
    let is_day = from.ends_with("T00:00:00.000000Z") && period.from.plus_seconds(86_400) == period.to;
    if is_day {
        return format!("{} (UTC)", &from[..10]);
    }
    let clock = |text: &str| {
        if &text[17..19] == "00" {
            text[11..16].to_owned()
        } else {
            text[11..19].to_owned()
        }
    };
    if from[..10] == to[..10] {
        format!("{} {} to {} UTC", &from[..10], clock(&from), clock(&to))
    } else {
        format!(
            "{} {} to {} {} UTC",
            &from[..10],
            clock(&from),
            &to[..10],
            clock(&to)
        )
    }
}

/// When a finding was seen.
pub(crate) fn seen(finding: &Finding) -> String {
    if finding.first == finding.last {
        return moment(finding.first);
    }
    let (first, last) = (moment(finding.first), moment(finding.last));
    if first == last {
        first
    } else if first[..10] == last[..10] {
        format!("{} to {}", &first[..19], &last[11..])
    } else {
        format!("{first} to {last}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{breach, clean, finding, host, time};

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(70_213), "70,213");
        assert_eq!(grouped(1_000_000), "1,000,000");
        assert_eq!(count(1, "connection"), "1 connection");
        assert_eq!(count(2, "entry"), "2 entries");
        assert_eq!(count(2, "gateway"), "2 gateways");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_000), "1.0 kB");
        assert_eq!(bytes(52_710), "52.7 kB");
        assert_eq!(bytes(999_999), "999 kB");
        assert_eq!(bytes(u64::MAX), "18.4 EB");
    }

    #[test]
    fn a_day_has_a_name_and_other_periods_have_ends() {
        let between = |from, to| {
            period(Period {
                from: time(from),
                to: time(to),
            })
        };
        assert_eq!(
            between("2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"),
            "2026-11-21 (UTC)"
        );
        assert_eq!(
            between("2026-11-21T10:00:00Z", "2026-11-21T11:30:05Z"),
            "2026-11-21 10:00 to 11:30:05 UTC"
        );
        assert_eq!(
            between("2026-11-20T23:00:00Z", "2026-11-21T23:00:00Z"),
            "2026-11-20 23:00 to 2026-11-21 23:00 UTC"
        );
    }

    #[test]
    fn a_homograph_is_shown_in_both_forms() {
        assert_eq!(
            destination(&host("xn--exmple-cua.com"), Port::HTTPS),
            "xn--exmple-cua.com:443 (reads as “exämple.com”)"
        );
        assert_eq!(
            destination(&host("2001:db8::1"), Port::HTTPS),
            "[2001:db8::1]:443"
        );
    }

    #[test]
    fn a_headline_says_who_did_what() {
        assert_eq!(
            headline(&breach()),
            "invoice_ocr connected to api.randomsite.com:443, which its manifest does not declare."
        );
        let mut refused = breach();
        refused.findings[0].refused = 3;
        assert!(headline(&refused).starts_with("invoice_ocr tried to connect to"));
        let mut two = breach();
        let another = finding(&two, Reason::IpLiteral, Some("192.0.2.1"));
        two.findings.push(another);
        assert!(headline(&two).contains("connected to 2 destinations"));
        two.findings[1].reason = Reason::SniMismatch;
        assert!(headline(&two).ends_with("did not keep its word in 2 ways."));
        assert!(headline(&clean()).contains("kept its word"));
    }
}
