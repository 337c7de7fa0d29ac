//! Public suffixes: below which names do strangers register theirs?
//!
//! The ICANN section of the public suffix list is law here: a wildcard on `co.uk` would promise
//! nothing. Its private section (`github.io`, `blob.core.windows.net`) is advice, because a company
//! may well own everything below such a name; see the lints.

use base::HostName;

/// What a wildcard directly under a name would reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuffixKind {
    /// A top-level domain, known to the list or not.
    TopLevel,
    /// A public suffix of the ICANN section.
    Icann,
    /// A public suffix of the private section.
    Private,
    /// Somebody's own domain.
    Own,
}

/// Whether names directly under `name` belong to different people.
///
/// The list also has rules such as `*.kawasaki.jp`, under which `kawasaki.jp` itself is no suffix
/// and every name below it is; hence the second question, about an invented label.
pub fn suffix_kind(name: &HostName) -> SuffixKind {
    if !name.as_str().contains('.') {
        return SuffixKind::TopLevel;
    }
    let below = format!("bailiwick-asks.{name}");
    [name.as_str(), &below]
        .into_iter()
        .filter_map(|candidate| {
            let suffix = psl::suffix(candidate.as_bytes())?;
            (suffix.as_bytes() == candidate.as_bytes()).then_some(suffix.typ()?)
        })
        .map(|section| match section {
            psl::Type::Icann => SuffixKind::Icann,
            psl::Type::Private => SuffixKind::Private,
        })
        .next()
        .unwrap_or(SuffixKind::Own)
}

/// The domain that somebody registered to have `name`, under the ICANN section and the private one.
pub fn registrable(name: &HostName) -> Option<&str> {
    psl::domain_str(name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> SuffixKind {
        suffix_kind(&name.parse().unwrap())
    }

    #[test]
    fn both_sections_and_their_wildcard_rules_are_known() {
        for (name, expected) in [
            ("com", SuffixKind::TopLevel),
            ("no-such-tld", SuffixKind::TopLevel),
            ("co.uk", SuffixKind::Icann),
            ("kawasaki.jp", SuffixKind::Icann),
            ("foo.kawasaki.jp", SuffixKind::Icann),
            ("xn--55qx5d.cn", SuffixKind::Icann),
            ("github.io", SuffixKind::Private),
            ("blob.core.windows.net", SuffixKind::Private),
            ("example.com", SuffixKind::Own),
            ("city.kawasaki.jp", SuffixKind::Own),
            ("acme.github.io", SuffixKind::Own),
            ("corp.internal", SuffixKind::Own),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }
}
