//! Lints: what is allowed in a manifest and yet should be looked at twice.
//!
//! The grammar refuses what can never be a promise. A lint points at promises that are weaker, wider
//! or other than their owner may think, and prints hosts that the entry does *not* cover.

mod known_hosts;

use std::fmt;
use std::net::IpAddr;

use base::{AddressClass, HostName, classify};
use ipnet::IpNet;

use crate::egress::{Entry, Family, HostPattern, SuffixKind, suffix_kind};
use crate::{Declaration, Manifest};
use known_hosts::{
    ADDRESS_SPELLERS, LOCAL_ENDINGS, METADATA_ADDRESSES, METADATA_NAMES, MULTI_TENANT, PRIVATE_NETWORKS,
    RELAYS,
};

/// How much a lint matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Must be mended before anybody approves this.
    Error,
    /// Needs a reason.
    Warning,
    /// Worth knowing.
    Note,
}

/// What a lint looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// An entry that reaches an instance metadata service.
    MetadataAddress,
    /// `methods` where nobody can see them.
    UnverifiableMethods,
    /// A wildcard under which strangers rent names, as the public suffix list knows.
    PrivateSuffixWildcard,
    /// The same, as the list does not know.
    MultiTenantWildcard,
    /// An address that no public server has.
    PrivateAddress,
    /// A network wider than /16 or /48.
    WideNetwork,
    /// Most ports, or all of them.
    AnyPort,
    /// Plain HTTP to a public host.
    PlainHttp,
    /// An address, or a network, instead of a name.
    IpLiteral,
    /// Tunnels, pastes, drop boxes, webhook catchers.
    RelayHost,
    /// A name that spells an address.
    AddressInName,
    /// A label that mixes scripts, as imitations do.
    MixedScript,
    /// A wildcard that does not say what it is for.
    WildcardWithoutPurpose,
    /// A class of data that the manifest as a whole does not declare.
    UnlistedDataClass,
    /// The same entry twice.
    DuplicateEntry,
    /// An entry that others cover already.
    ShadowedEntry,
}

/// One remark about one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// What was looked for.
    pub rule: Rule,
    /// How much it matters.
    pub severity: Severity,
    /// Path of the field concerned, such as `allowed_egress[2]`.
    pub field: String,
    /// The entry in canonical form.
    pub entry: String,
    /// Why it matters, and what to do.
    pub why: String,
    /// Hosts near the entry that it does not cover.
    pub not_covered: Vec<String>,
}

impl Severity {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 16] = [
        Self::MetadataAddress,
        Self::UnverifiableMethods,
        Self::PrivateSuffixWildcard,
        Self::MultiTenantWildcard,
        Self::PrivateAddress,
        Self::WideNetwork,
        Self::AnyPort,
        Self::PlainHttp,
        Self::IpLiteral,
        Self::RelayHost,
        Self::AddressInName,
        Self::MixedScript,
        Self::WildcardWithoutPurpose,
        Self::UnlistedDataClass,
        Self::DuplicateEntry,
        Self::ShadowedEntry,
    ];

    /// The rule's stable name.
    pub const fn id(self) -> &'static str {
        match self {
            Self::MetadataAddress => "metadata-address",
            Self::UnverifiableMethods => "unverifiable-methods",
            Self::PrivateSuffixWildcard => "private-suffix-wildcard",
            Self::MultiTenantWildcard => "multi-tenant-wildcard",
            Self::PrivateAddress => "private-address",
            Self::WideNetwork => "wide-network",
            Self::AnyPort => "any-port",
            Self::PlainHttp => "plain-http",
            Self::IpLiteral => "ip-literal",
            Self::RelayHost => "relay-host",
            Self::AddressInName => "address-in-name",
            Self::MixedScript => "mixed-script",
            Self::WildcardWithoutPurpose => "wildcard-without-purpose",
            Self::UnlistedDataClass => "unlisted-data-class",
            Self::DuplicateEntry => "duplicate-entry",
            Self::ShadowedEntry => "shadowed-entry",
        }
    }

    /// How much a lint of this rule matters.
    pub const fn severity(self) -> Severity {
        match self {
            Self::MetadataAddress | Self::UnverifiableMethods => Severity::Error,
            Self::IpLiteral | Self::DuplicateEntry | Self::ShadowedEntry => Severity::Note,
            _ => Severity::Warning,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl fmt::Display for Lint {
    /// `warning[any-port] allowed_egress[0] "api.example.com:*": …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            severity,
            field,
            entry,
            why,
            not_covered,
        } = self;
        write!(f, "{severity}[{rule}] {field} \"{entry}\": {why}")?;
        if not_covered.is_empty() {
            return Ok(());
        }
        write!(f, " (not covered: {})", not_covered.join(", "))
    }
}

/// Looks at a manifest by itself, without history. In the order of the entries, gravest first within
/// each.
pub fn lint(manifest: &Manifest) -> Vec<Lint> {
    let declarations = &manifest.allowed_egress;
    let mut lints = Vec::new();
    for (index, declaration) in declarations.iter().enumerate() {
        let mut remarks = Vec::new();
        remarks.extend(about_names(&declaration.entry));
        remarks.extend(about_addresses(&declaration.entry));
        remarks.extend(about_reach(&declaration.entry));
        remarks.extend(about_terms(declaration, manifest));
        remarks.extend(about_others(index, declarations));
        remarks.sort_by_key(|(rule, _)| (rule.severity(), *rule));
        lints.extend(remarks.into_iter().map(|(rule, why)| Lint {
            rule,
            severity: rule.severity(),
            field: format!("allowed_egress[{index}]"),
            entry: declaration.to_string(),
            why,
            not_covered: declaration.entry.host().near_misses(),
        }));
    }
    lints
}

type Remark = (Rule, String);

fn about_names(entry: &Entry) -> Vec<Remark> {
    let pattern = entry.host();
    let Some(name) = pattern.name() else {
        return Vec::new();
    };
    let mut remarks = Vec::new();
    if let Some(parent) = pattern.wildcard_parent() {
        if suffix_kind(parent) == SuffixKind::Private {
            let why = format!("strangers rent names under {parent}, and theirs would conform; name your own");
            remarks.push((Rule::PrivateSuffixWildcard, why));
        } else if let Some(suffix) = reached_below(pattern, MULTI_TENANT) {
            let why = format!("strangers rent names under {suffix}, and theirs would conform; name your own");
            remarks.push((Rule::MultiTenantWildcard, why));
        }
    }
    if let Some(relay) = reached(pattern, RELAYS) {
        let why = format!("{relay} passes on whatever it is sent; say in \"purpose\" why a plugin needs it");
        remarks.push((Rule::RelayHost, why));
    }
    if let Some(speller) = reached(pattern, ADDRESS_SPELLERS) {
        let why =
            format!("names under {speller} resolve to any address they spell; declare the address itself");
        remarks.push((Rule::AddressInName, why));
    }
    if let Some(metadata) = METADATA_NAMES.iter().find(|known| covers_name(pattern, known)) {
        let why = format!("{metadata} hands out the machine's credentials; remove it");
        remarks.push((Rule::MetadataAddress, why));
    }
    if let Some(label) = mixed_label(pattern) {
        let why =
            format!("the label {label:?} of {name} mixes scripts, as imitations do; check its spelling");
        remarks.push((Rule::MixedScript, why));
    }
    remarks
}

/// The first of `known` that the pattern covers, or below which it lies.
fn reached(pattern: &HostPattern, known: &[&'static str]) -> Option<&'static str> {
    let within = |name: &HostName, suffix: &str| {
        name.as_str() == suffix || name.as_str().ends_with(&format!(".{suffix}"))
    };
    let hit = |suffix: &&&str| {
        covers_name(pattern, suffix) || pattern.name().is_some_and(|name| within(name, suffix))
    };
    known.iter().find(hit).copied()
}

/// The first of `known` under which a wildcard covers every name.
fn reached_below(pattern: &HostPattern, known: &[&'static str]) -> Option<&'static str> {
    let below = |suffix: &&&str| {
        let Ok(parent) = suffix.parse() else {
            return false;
        };
        pattern.includes(&HostPattern::OneLabelUnder(parent))
    };
    known.iter().find(below).copied()
}

fn covers_name(pattern: &HostPattern, name: &str) -> bool {
    name.parse().is_ok_and(|host| pattern.covers(&host))
}

/// A label that has both Latin letters and letters of a script whose letters look like them.
fn mixed_label(pattern: &HostPattern) -> Option<String> {
    let unicode = pattern.to_unicode()?;
    let lookalike = |c: char| matches!(c, '\u{370}'..='\u{3ff}' | '\u{400}'..='\u{52f}' | '\u{530}'..='\u{58f}' | '\u{13a0}'..='\u{13ff}');
    let latin = |c: char| c.is_ascii_alphabetic() || matches!(c, '\u{c0}'..='\u{24f}');
    unicode
        .split('.')
        .find(|label| label.contains(lookalike) && label.contains(latin))
        .map(str::to_owned)
}

fn about_addresses(entry: &Entry) -> Vec<Remark> {
    let network = match entry.host() {
        HostPattern::Address(address) => IpNet::from(*address),
        HostPattern::Network(network) => *network,
        _ => return Vec::new(),
    };
    let mut remarks = vec![(
        Rule::IpLiteral,
        "addresses change hands and say nothing about whose they are; declare a name where there is one"
            .to_owned(),
    )];
    let parsed = |known: &&str| {
        known
            .parse::<IpAddr>()
            .is_ok_and(|address| network.contains(&address))
    };
    if let Some(address) = METADATA_ADDRESSES.iter().copied().find(|known| parsed(known)) {
        let why = format!("{address} hands out the machine's credentials; remove it");
        remarks.push((Rule::MetadataAddress, why));
    }
    let overlaps = |known: &str| {
        known
            .parse::<IpNet>()
            .is_ok_and(|private| private.contains(&network) || network.contains(&private))
    };
    let not_public = classify(network.network()) != AddressClass::Public;
    if not_public || PRIVATE_NETWORKS.iter().any(|known| overlaps(known)) {
        let why = "no public server is there, and what is there differs from site to site; \
                   gateways refuse it unless an operator allows the network";
        remarks.push((Rule::PrivateAddress, why.to_owned()));
    }
    let widest = if network.addr().is_ipv4() { 16 } else { 48 };
    if network.prefix_len() < widest {
        let why = format!("a network wider than /{widest} belongs to many people; name smaller ones");
        remarks.push((Rule::WideNetwork, why));
    }
    remarks
}

fn about_reach(entry: &Entry) -> Vec<Remark> {
    let mut remarks = Vec::new();
    if entry.ports().count() > 0x8000 {
        let why = "most ports are declared, so no port ever stands out; name those that are used";
        remarks.push((Rule::AnyPort, why.to_owned()));
    }
    if entry.scheme().family() == Family::Http && !is_local(entry.host()) {
        let why =
            "everybody on the way can read and change plain HTTP; use https or say why not in \"purpose\"";
        remarks.push((Rule::PlainHttp, why.to_owned()));
    }
    remarks
}

fn is_local(pattern: &HostPattern) -> bool {
    match pattern {
        HostPattern::Address(address) => classify(*address) != AddressClass::Public,
        HostPattern::Network(network) => classify(network.network()) != AddressClass::Public,
        named => named.name().is_some_and(|name| {
            !name.as_str().contains('.') || reached(&HostPattern::Name(name.clone()), LOCAL_ENDINGS).is_some()
        }),
    }
}

fn about_terms(declaration: &Declaration, manifest: &Manifest) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let is_wildcard = declaration.entry.host().wildcard_parent().is_some();
    if is_wildcard && declaration.purpose.is_none() {
        let why = "a wildcard promises hosts that do not exist yet; say what for in \"purpose\"";
        remarks.push((Rule::WildcardWithoutPurpose, why.to_owned()));
    }
    if declaration.methods.is_some() && declaration.entry.scheme().family() != Family::Http {
        let why =
            "methods can be seen on plain HTTP alone, so this promise cannot be checked; remove \"methods\"";
        remarks.push((Rule::UnverifiableMethods, why.to_owned()));
    }
    let unlisted = declaration
        .data_classes
        .iter()
        .flatten()
        .find(|class| !manifest.data_classes.contains(class));
    if let Some(class) = unlisted {
        let why = format!(
            "data class \"{class}\" is not among the manifest's data_classes; add it there or remove it here"
        );
        remarks.push((Rule::UnlistedDataClass, why));
    }
    remarks
}

fn about_others(index: usize, declarations: &[Declaration]) -> Option<Remark> {
    let own = &declarations[index];
    // Whoever lapses earlier covers nothing by the time that this one still does.
    let outlives = |other: &Declaration| match (other.expires, own.expires) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(other), Some(own)) => other >= own,
    };
    let others = || {
        declarations
            .iter()
            .enumerate()
            .filter(move |(at, other)| *at != index && outlives(other))
            .map(|(at, other)| (at, &other.entry))
    };
    if let Some((at, _)) = others().find(|(at, other)| *at < index && **other == own.entry) {
        let why = format!("allowed_egress[{at}] says the same; remove one of the two");
        return Some((Rule::DuplicateEntry, why));
    }
    // What this one covers whole gets the remark itself; of two that cover the same, the second does.
    let before = |(at, other): &(usize, &Entry)| {
        !own.entry.includes(other) || (*at < index && other.includes(&own.entry))
    };
    let rivals: Vec<&Entry> = others().filter(before).map(|(_, other)| other).collect();
    if !own.entry.beyond(rivals.iter().copied()).is_empty() {
        return None;
    }
    let whole = rivals.iter().find(|other| other.includes(&own.entry));
    let by = whole.map_or_else(
        || "other entries together".to_owned(),
        |other| format!("\"{other}\""),
    );
    Some((
        Rule::ShadowedEntry,
        format!("{by} cover it already; remove it, or the wider one if this is all you need"),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn manifest(egress: Value) -> Manifest {
        Manifest::draft_from_value(&json!({
            "plugin_id": "acme.weather",
            "allowed_egress": egress,
            "data_classes": ["official"],
            "sdk_allowlist": [],
            "built_by": "ci",
            "built_at": "2026-11-21T00:00:00Z",
        }))
        .unwrap()
    }

    fn rules(entry: Value) -> Vec<&'static str> {
        lint(&manifest(json!([entry])))
            .iter()
            .map(|lint| lint.rule.id())
            .collect()
    }

    fn rules_with_purpose(entry: &str) -> Vec<&'static str> {
        rules(json!({"to": entry, "purpose": "test"}))
    }

    #[test]
    fn an_ordinary_entry_gets_no_remark() {
        for clean in [
            "api.example.com",
            "wss://api.example.com",
            "tcp://db.example.com:5432",
            "acme.openai.azure.com",
            "acme.blob.core.windows.net",
            "http://localhost:8080",
            "http://db.corp.internal",
        ] {
            assert_eq!(rules(json!(clean)), Vec::<&str>::new(), "{clean}");
        }
        assert_eq!(rules_with_purpose("*.acme.openai.azure.com"), Vec::<&str>::new());
    }

    #[test]
    fn each_rule_finds_what_it_looks_for() {
        for (entry, rule) in [
            ("*.blob.core.windows.net", "private-suffix-wildcard"),
            ("*.github.io", "private-suffix-wildcard"),
            ("*.openai.azure.com", "multi-tenant-wildcard"),
            ("**.azure.com", "multi-tenant-wildcard"),
            ("**.windows.net", "multi-tenant-wildcard"),
            ("pastebin.com", "relay-host"),
            ("abc.ngrok.io", "relay-host"),
            ("**.webhook.site", "relay-host"),
            ("10.0.0.1.nip.io", "address-in-name"),
            ("metadata.google.internal", "metadata-address"),
            ("169.254.169.254", "metadata-address"),
            ("169.254.0.0/16", "metadata-address"),
            ("[fd00:ec2::254]", "metadata-address"),
            ("0.0.0.0/0", "metadata-address"),
            ("10.1.2.3", "private-address"),
            ("100.0.0.0/8", "private-address"),
            ("[::1]", "private-address"),
            ("192.0.2.7", "private-address"),
            ("8.0.0.0/9", "wide-network"),
            ("[2600::]/32", "wide-network"),
            ("8.8.8.8", "ip-literal"),
            ("api.example.com:*", "any-port"),
            ("api.example.com:1-65534", "any-port"),
            ("http://example.com", "plain-http"),
            ("ws://8.8.8.8", "plain-http"),
            ("p\u{430}ypal.com", "mixed-script"),
        ] {
            assert!(
                rules_with_purpose(entry).contains(&rule),
                "{entry}: {:?}",
                rules_with_purpose(entry)
            );
        }
        assert_eq!(rules(json!("*.example.com")), ["wildcard-without-purpose"]);
        assert_eq!(
            rules(json!({"to": "a.example", "methods": ["GET"]})),
            ["unverifiable-methods"]
        );
        assert!(
            !rules(json!({"to": "http://a.example", "methods": ["GET"]})).contains(&"unverifiable-methods")
        );
        assert_eq!(
            rules(json!({"to": "a.example", "data_classes": ["secret"]})),
            ["unlisted-data-class"]
        );
        assert_eq!(rules_with_purpose("8.8.0.0/16"), ["ip-literal"]);
    }

    #[test]
    fn a_label_boundary_is_kept_when_known_hosts_are_looked_for() {
        for clean in ["notpastebin.com", "pastebin.com.example.org"] {
            assert_eq!(rules(json!(clean)), Vec::<&str>::new(), "{clean}");
        }
    }

    #[test]
    fn what_others_cover_already_is_remarked_once() {
        let of = |egress: Value| -> Vec<String> {
            let named = lint(&manifest(egress));
            named
                .iter()
                .filter(|lint| matches!(lint.rule, Rule::DuplicateEntry | Rule::ShadowedEntry))
                .map(|lint| format!("{} {}", lint.rule, lint.field))
                .collect()
        };
        assert_eq!(
            of(json!(["a.example", "A.example.:443"])),
            ["duplicate-entry allowed_egress[1]"]
        );
        assert_eq!(
            of(json!(["a.b.example", "**.b.example"])),
            ["shadowed-entry allowed_egress[0]"]
        );
        assert_eq!(
            of(json!(["a.example", "wss://a.example"])),
            ["shadowed-entry allowed_egress[1]"]
        );
        assert_eq!(
            of(json!(["8.8.0.0/17", "8.8.128.0/17", "8.8.0.0/16"])),
            [
                "shadowed-entry allowed_egress[0]",
                "shadowed-entry allowed_egress[1]"
            ]
        );
        assert_eq!(
            of(json!(["8.8.0.0/17", "8.8.0.0/16:443,80"])),
            ["shadowed-entry allowed_egress[0]"]
        );
        assert_eq!(
            of(json!(["a.example:443", "a.example:444"])),
            Vec::<String>::new()
        );
        let lapses = json!([{"to": "**.b.example", "expires": "2027-01-01T00:00:00Z"}, "a.b.example"]);
        assert_eq!(of(lapses), Vec::<String>::new());
    }

    #[test]
    fn a_lint_says_what_the_entry_does_not_cover() {
        let lints = lint(&manifest(json!(["*.openai.azure.com"])));
        assert_eq!(
            lints[0].to_string(),
            "warning[multi-tenant-wildcard] allowed_egress[0] \"*.openai.azure.com\": strangers rent names under \
             openai.azure.com, and theirs would conform; name your own (not covered: openai.azure.com, \
             a.b.openai.azure.com, notopenai.azure.com)"
        );
    }

    #[test]
    fn the_known_lists_are_readable_and_sorted_into_the_right_place() {
        for name in [
            MULTI_TENANT,
            RELAYS,
            ADDRESS_SPELLERS,
            METADATA_NAMES,
            LOCAL_ENDINGS,
        ]
        .concat()
        {
            assert!(name.parse::<HostName>().is_ok(), "{name}");
        }
        for address in METADATA_ADDRESSES {
            assert_eq!(
                classify(address.parse().unwrap()),
                AddressClass::Metadata,
                "{address}"
            );
        }
        for network in PRIVATE_NETWORKS {
            assert!(network.parse::<IpNet>().is_ok(), "{network}");
        }
        let ids: std::collections::BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.id()).collect();
        assert_eq!(ids.len(), Rule::ALL.len());
    }
}
