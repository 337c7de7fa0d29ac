//! Coverage: does any declaration cover this connection, and if not, which came nearest?

use std::cmp::Reverse;

use base::{Host, ObservedScheme, Port, Reason, Target, Timestamp};

use crate::Declaration;
use crate::egress::{Entry, HostPattern, Scheme};
use crate::nearest::Word;

/// The answer for one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage<'m> {
    /// A declaration covers the connection; of several, the most specific.
    Covered {
        /// The declaration.
        entry: &'m Declaration,
    },
    /// No declaration covers it.
    Uncovered {
        /// What is undeclared about it: host, port, scheme, or the use of an address.
        reason: Reason,
        /// The declaration that comes nearest, in canonical form.
        nearest: Option<String>,
        /// One line: what the owner can do about it.
        hint: String,
    },
}

impl Coverage<'_> {
    /// Whether a declaration covers the connection.
    pub const fn is_covered(&self) -> bool {
        matches!(self, Self::Covered { .. })
    }
}

/// Asks all declarations about one connection.
pub(crate) fn coverage<'m>(
    declarations: &'m [Declaration],
    target: &Target,
    observed: Option<ObservedScheme>,
    at: Timestamp,
) -> Coverage<'m> {
    if let Some(entry) = covering(declarations, target, observed, at) {
        return Coverage::Covered { entry };
    }
    missed(declarations, target, observed, at)
}

/// The answer for a connection that none of the declarations covers.
pub(crate) fn missed<'m>(
    declarations: &'m [Declaration],
    target: &Target,
    observed: Option<ObservedScheme>,
    at: Timestamp,
) -> Coverage<'m> {
    let miss = Miss {
        declarations,
        target,
        observed,
        at,
    };
    miss.explain()
}

/// The most specific of the declarations that cover a connection.
pub(crate) fn covering<'m>(
    declarations: &'m [Declaration],
    target: &Target,
    observed: Option<ObservedScheme>,
    at: Timestamp,
) -> Option<&'m Declaration> {
    declarations
        .iter()
        .filter(|declaration| declaration.covers(target, observed, at))
        .min_by_key(|declaration| breadth(&declaration.entry))
}

/// How much an entry covers, coarsely: exact hosts before wildcards, long parents before short ones,
/// few ports before many. The first of equals wins.
pub(crate) fn breadth(entry: &Entry) -> (u8, Reverse<usize>, u32) {
    let (kind, depth) = match entry.host() {
        HostPattern::Name(_) | HostPattern::Address(_) => (0, 0),
        HostPattern::OneLabelUnder(parent) => (1, parent.as_str().len()),
        HostPattern::LabelsUnder(parent) => (2, parent.as_str().len()),
        HostPattern::Network(network) => (3, network.prefix_len().into()),
    };
    (kind, Reverse(depth), entry.ports().count())
}

/// A connection that nothing covers.
struct Miss<'m, 't> {
    declarations: &'m [Declaration],
    target: &'t Target,
    observed: Option<ObservedScheme>,
    at: Timestamp,
}

impl<'m> Miss<'m, '_> {
    fn explain(&self) -> Coverage<'m> {
        let lapsed = self
            .declarations
            .iter()
            .find(|declaration| declaration.entry.covers(self.target, self.observed));
        let (reason, nearest, hint) = self.nearest();
        let uncovered = |nearest: Option<&Entry>, hint| Coverage::Uncovered {
            reason,
            nearest: nearest.map(ToString::to_string),
            hint,
        };
        match lapsed.and_then(|declaration| Some((declaration, declaration.expires?))) {
            Some((declaration, expired)) => uncovered(
                Some(&declaration.entry),
                format!("\"{declaration}\" expired at {expired}; renew its \"expires\" and re-sign"),
            ),
            None => uncovered(nearest, hint),
        }
    }

    /// From the nearest miss to the farthest: scheme, port, host.
    fn nearest(&self) -> (Reason, Option<&'m Entry>, String) {
        let standing = || {
            self.declarations
                .iter()
                .filter(|declaration| declaration.stands(self.at))
                .map(|declaration| &declaration.entry)
        };
        let host_declared: Vec<&Entry> = standing()
            .filter(|entry| entry.host().covers(&self.target.host))
            .collect();
        let mut declared = host_declared.iter().copied();
        if let Some(entry) = declared
            .clone()
            .find(|entry| entry.ports().contains(self.target.port))
        {
            return (Reason::UndeclaredScheme, Some(entry), self.scheme_hint(entry));
        }
        let same_scheme = declared.clone().find(|entry| self.scheme_fits(entry.scheme()));
        if let Some(entry) = same_scheme.or_else(|| declared.next()) {
            return (Reason::UndeclaredPort, Some(entry), self.port_hint(entry));
        }
        match &self.target.host {
            Host::Name(_) => {
                let nearest = self.nearest_name(standing());
                (Reason::UndeclaredHost, nearest, self.host_hint(nearest))
            }
            Host::Ip(_) => {
                let nearest = self.nearest_network(standing());
                (Reason::IpLiteral, nearest, self.address_hint())
            }
        }
    }

    fn scheme_fits(&self, scheme: Scheme) -> bool {
        self.observed.is_none_or(|observed| scheme.covers(observed))
    }

    fn suggestion(&self) -> Entry {
        Entry::for_observation(self.target, self.observed)
    }

    fn scheme_hint(&self, entry: &Entry) -> String {
        let observed = self.observed.map_or("something else", ObservedScheme::as_str);
        let scheme = entry.scheme();
        format!(
            "\"{entry}\" declares {scheme} and {observed} was observed; add \"{}\" and re-sign, or speak {scheme}",
            self.suggestion()
        )
    }

    fn port_hint(&self, entry: &Entry) -> String {
        let ports = entry.ports();
        let mend = if self.scheme_fits(entry.scheme()) {
            format!("write \"{}\"", entry.with_port(self.target.port))
        } else {
            format!("add \"{}\"", self.suggestion())
        };
        format!(
            "\"{entry}\" declares port {ports} alone; {mend} and re-sign, or stop using port {}",
            self.target.port
        )
    }

    fn host_hint(&self, nearest: Option<&Entry>) -> String {
        let suggestion = self.suggestion();
        let asked = self.target.host.name();
        let parent = nearest.and_then(|entry| Some((entry, entry.host().wildcard_parent()?)));
        if let (Some(asked), Some((entry, parent))) = (asked, parent) {
            if parent == asked {
                return format!(
                    "\"{entry}\" does not cover {asked} itself; declare the apex too: add \"{suggestion}\" and re-sign"
                );
            }
            let above = format!(".{parent}");
            if asked.as_str().ends_with(&above) {
                return format!(
                    "\"{entry}\" covers exactly one label; add \"{suggestion}\" and re-sign, or declare \"**.{parent}\""
                );
            }
        }
        format!("add \"{suggestion}\" and re-sign, or stop connecting")
    }

    fn address_hint(&self) -> String {
        let suggestion = self.suggestion();
        format!(
            "an address is covered by an address or network alone; connect by a declared name, or add \"{suggestion}\" and re-sign"
        )
    }

    /// The entry whose name shares the most labels from the right, then the one with the fewest edits.
    fn nearest_name(&self, entries: impl Iterator<Item = &'m Entry>) -> Option<&'m Entry> {
        let asked = self.target.host.name()?.as_str();
        // Edits cost much more to count than labels, so they are counted where labels do not decide.
        let (mut most, mut nearest) = (0, Vec::new());
        for entry in entries {
            let Some(name) = entry.host().name() else {
                continue;
            };
            let shared = shared_labels(name.as_str(), asked);
            if shared > most {
                most = shared;
                nearest.clear();
            }
            if shared == most {
                nearest.push((entry, name.as_str()));
            }
        }
        // What all of them end in takes no edits.
        let shared = last_labels(asked, most).len();
        let word = Word::new(&asked[..asked.len() - shared]);
        let mut best: Option<((usize, bool), &Entry)> = None;
        for (entry, name) in nearest {
            let own = &name[..name.len() - shared];
            // Whoever is that much longer or shorter needs no counting.
            if best.is_some_and(|((fewest, _), _)| word.least_distance(own) > fewest) {
                continue;
            }
            let likeness = (word.distance(own), port_distance(entry, self.target.port));
            if best.is_none_or(|(best, _)| likeness <= best) {
                best = Some((likeness, entry));
            }
        }
        best.map(|(_, entry)| entry)
    }

    /// The network of the same kind that shares the longest prefix.
    fn nearest_network(&self, entries: impl Iterator<Item = &'m Entry>) -> Option<&'m Entry> {
        let asked = address_bits(self.target.host.ip()?);
        entries
            .filter_map(|entry| {
                let declared = match entry.host() {
                    HostPattern::Address(address) => address_bits(*address),
                    HostPattern::Network(network) => address_bits(network.addr()),
                    _ => return None,
                };
                (declared.0 == asked.0).then(|| ((declared.1 ^ asked.1).leading_zeros(), entry))
            })
            .max_by_key(|(shared, _)| *shared)
            .map(|(_, entry)| entry)
    }
}

/// How many labels two names have in common, from the right.
fn shared_labels(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let pairs = one.iter().rev().zip(other.iter().rev());
    let mut labels = 0;
    let mut same = 0;
    for (a, b) in pairs {
        if a != b {
            return labels;
        }
        labels += usize::from(*a == b'.');
        same += 1;
    }
    // One of them ended; its last label is shared if the other has a label's end there.
    let longer = if one.len() > other.len() { one } else { other };
    let is_whole = longer.len() == same || longer[longer.len() - same - 1] == b'.';
    labels + usize::from(is_whole && same > 0)
}

/// The last labels of a name, without the dot before them.
fn last_labels(name: &str, labels: usize) -> &str {
    let Some(before) = labels.checked_sub(1) else {
        return "";
    };
    match name.rmatch_indices('.').nth(before) {
        Some((dot, _)) => &name[dot + 1..],
        None => name,
    }
}

/// Whether the port differs; used to prefer, among equal names, the entry that agrees on it.
fn port_distance(entry: &Entry, port: Port) -> bool {
    !entry.ports().contains(port)
}

/// Family and bits, IPv4 left-aligned, so that prefixes compare.
fn address_bits(address: std::net::IpAddr) -> (bool, u128) {
    match base::canonical_ip(address) {
        std::net::IpAddr::V4(v4) => (false, u128::from(v4.to_bits()) << 96),
        std::net::IpAddr::V6(v6) => (true, v6.to_bits()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shared_labels_are_those_that_are_equal_from_the_right(
            one in "[ab]{1,2}(\\.[ab]{1,2}){0,3}", other in "[ab]{1,2}(\\.[ab]{1,2}){0,3}",
        ) {
            let labels = one.rsplit('.').zip(other.rsplit('.'));
            let shared = labels.take_while(|(one, other)| one == other).count();
            prop_assert_eq!(shared_labels(&one, &other), shared);
        }
    }

    proptest! {
        #[test]
        fn the_nearest_name_is_the_one_that_all_distances_tell(
            entries in prop::collection::vec("[ab]{1,3}(\\.[ab]{1,2}){1,2}\\.com", 1..9), asked in "[ab]{1,4}(\\.[ab]{1,2}){0,3}\\.com",
        ) {
            let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
            let likeness = |name: &&&str| (
                Reverse(shared_labels(name, &asked)),
                crate::nearest::edit_distance(&asked, name),
            );
            let best = entries.iter().map(|name| likeness(&name)).min().unwrap();
            if let Coverage::Uncovered { nearest, .. } = ask(&declarations(&entries), &format!("{asked}:443"), None) {
                prop_assert_eq!(likeness(&&&*nearest.unwrap()), best);
            }
        }
    }

    const NOW: &str = "2026-11-21T00:00:00Z";

    fn declarations(entries: &[&str]) -> Vec<Declaration> {
        entries
            .iter()
            .map(|entry| Declaration::of(entry.parse().unwrap()))
            .collect()
    }

    fn ask<'m>(declared: &'m [Declaration], target: &str, observed: Option<ObservedScheme>) -> Coverage<'m> {
        let target = Target::from_authority(target.as_bytes()).unwrap();
        coverage(declared, &target, observed, NOW.parse().unwrap())
    }

    fn miss(entries: &[&str], target: &str) -> (Reason, Option<String>, String) {
        match ask(&declarations(entries), target, Some(ObservedScheme::Tls)) {
            Coverage::Uncovered {
                reason,
                nearest,
                hint,
            } => (reason, nearest, hint),
            Coverage::Covered { entry } => panic!("{entry} covers {target}"),
        }
    }

    #[test]
    fn the_most_specific_declaration_is_the_one_that_matches() {
        let declared = declarations(&[
            "**.example.com",
            "*.example.com:*",
            "*.example.com",
            "a.example.com",
        ]);
        for (target, expected) in [
            ("a.example.com:443", "a.example.com"),
            ("b.example.com:443", "*.example.com"),
            ("b.example.com:8443", "*.example.com:*"),
            ("a.b.example.com:443", "**.example.com"),
        ] {
            match ask(&declared, target, None) {
                Coverage::Covered { entry } => assert_eq!(entry.to_string(), expected),
                missed => panic!("{target}: {missed:?}"),
            }
        }
    }

    #[test]
    fn each_way_to_miss_has_its_reason_its_nearest_entry_and_one_line_to_mend_it() {
        for (entries, target, reason, nearest, hint) in [
            (
                &["*.api.example"][..],
                "paste.example:443",
                Reason::UndeclaredHost,
                Some("*.api.example"),
                "add \"paste.example\" and re-sign, or stop connecting",
            ),
            (
                &["b.example.net", "*.example.com"],
                "example.com:443",
                Reason::UndeclaredHost,
                Some("*.example.com"),
                "\"*.example.com\" does not cover example.com itself; declare the apex too: add \"example.com\" and re-sign",
            ),
            (
                &["*.example.com"],
                "a.b.example.com:443",
                Reason::UndeclaredHost,
                Some("*.example.com"),
                "\"*.example.com\" covers exactly one label; add \"a.b.example.com\" and re-sign, or declare \"**.example.com\"",
            ),
            (
                &["other.example", "api.example.com"],
                "apl.example.com:443",
                Reason::UndeclaredHost,
                Some("api.example.com"),
                "add \"apl.example.com\" and re-sign, or stop connecting",
            ),
            (
                &["example.com"],
                "example.com:8443",
                Reason::UndeclaredPort,
                Some("example.com"),
                "\"example.com\" declares port 443 alone; write \"example.com:443,8443\" and re-sign, or stop using port 8443",
            ),
            (
                &["tcp://example.com:22"],
                "example.com:8443",
                Reason::UndeclaredPort,
                Some("tcp://example.com:22"),
                "\"tcp://example.com:22\" declares port 22 alone; add \"example.com:8443\" and re-sign, or stop using port 8443",
            ),
            (
                &["tcp://example.com:443"],
                "example.com:443",
                Reason::UndeclaredScheme,
                Some("tcp://example.com:443"),
                "\"tcp://example.com:443\" declares tcp and tls was observed; add \"example.com\" and re-sign, or speak tcp",
            ),
            (
                &["example.com", "10.0.0.0/8", "192.0.0.0/23"],
                "192.0.2.7:443",
                Reason::IpLiteral,
                Some("192.0.0.0/23"),
                "an address is covered by an address or network alone; connect by a declared name, or add \"192.0.2.7\" and re-sign",
            ),
            (
                &["10.0.0.0/8"],
                "10.0.0.1:22",
                Reason::UndeclaredPort,
                Some("10.0.0.0/8"),
                "\"10.0.0.0/8\" declares port 443 alone; write \"10.0.0.0/8:22,443\" and re-sign, or stop using port 22",
            ),
            (
                &["example.com"],
                "192.0.2.7:443",
                Reason::IpLiteral,
                None,
                "an address is covered by an address or network alone; connect by a declared name, or add \"192.0.2.7\" and re-sign",
            ),
            (
                &[],
                "example.com:443",
                Reason::UndeclaredHost,
                None,
                "add \"example.com\" and re-sign, or stop connecting",
            ),
        ] {
            let found = miss(entries, target);
            assert_eq!(found.0, reason, "{target}");
            assert_eq!(found.1.as_deref(), nearest, "{target}");
            assert_eq!(found.2, hint);
        }
    }

    #[test]
    fn a_declaration_covers_nothing_from_the_moment_it_expires() {
        let mut declared = declarations(&["example.com"]);
        let target = Target::from_authority(b"example.com:443").unwrap();
        declared[0].expires = Some("2027-01-01T00:00:00Z".parse().unwrap());
        let at = |moment: &str| coverage(&declared, &target, None, moment.parse().unwrap());
        assert!(at("2026-12-31T23:59:59.999999Z").is_covered());
        match at("2027-01-01T00:00:00Z") {
            Coverage::Uncovered {
                reason,
                nearest,
                hint,
            } => {
                assert_eq!(reason, Reason::UndeclaredHost);
                assert_eq!(nearest.as_deref(), Some("example.com"));
                assert_eq!(
                    hint,
                    "\"example.com\" expired at 2027-01-01T00:00:00.000000Z; renew its \"expires\" and re-sign"
                );
            }
            Coverage::Covered { .. } => panic!("expired and still covering"),
        }
    }

    #[test]
    fn where_nobody_spoke_yet_host_and_port_decide() {
        let declared = declarations(&["example.com"]);
        assert!(ask(&declared, "example.com:443", None).is_covered());
        assert!(ask(&declared, "example.com:443", Some(ObservedScheme::Tls)).is_covered());
        assert!(!ask(&declared, "example.com:443", Some(ObservedScheme::Ssh)).is_covered());
        assert!(!ask(&declared, "example.com:80", None).is_covered());
    }
}
