//! The version floor: which of two versions is the later one?

use std::cmp::Ordering;

use pep440_rs::Version;

/// Compares by PEP 440 where both are versions of that kind, else by the precedence of Semantic
/// Versioning 2.0.0 §11, stretched to versions with any number of parts.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (a.parse::<Version>(), b.parse::<Version>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        _ => semver_like(a, b),
    }
}

fn semver_like(a: &str, b: &str) -> Ordering {
    let (core_a, pre_a) = split(a);
    let (core_b, pre_b) = split(b);
    compare_parts(core_a, core_b, "0").then_with(|| match (pre_a, pre_b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => compare_parts(a, b, ""),
    })
}

/// Core and pre-release, without a leading `v` and without build metadata.
fn split(version: &str) -> (&str, Option<&str>) {
    let version = version.strip_prefix(['v', 'V']).unwrap_or(version);
    let version = version.split('+').next().unwrap_or(version);
    match version.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (version, None),
    }
}

/// Part by part; missing parts count as `missing`. Numbers compare as numbers and come before words.
fn compare_parts(a: &str, b: &str, missing: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let (left, right) = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (left, right) => (left.unwrap_or(missing), right.unwrap_or(missing)),
        };
        match compare_part(left, right) {
            Ordering::Equal => {}
            decided => return decided,
        }
    }
}

fn compare_part(a: &str, b: &str) -> Ordering {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    // An absent pre-release part comes before any present one (§11.4.4).
    match (is_number(a), is_number(b)) {
        (true, true) => {
            let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        }
        (true, false) if !b.is_empty() => Ordering::Less,
        (false, true) if !a.is_empty() => Ordering::Greater,
        _ => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_in_the_order_that_their_authors_mean() {
        for ladder in [
            &[
                "1.0.dev1",
                "1.0a1",
                "1.0rc1",
                "1.0",
                "1.0.post1",
                "1.0.1",
                "1.10",
                "1!0.1",
            ][..],
            &[
                "1.0.0-alpha",
                "1.0.0-alpha.1",
                "1.0.0-alpha.beta",
                "1.0.0-nightly",
                "1.0.0",
                "1.0.1-x.1",
                "2.0.0-x",
            ],
            &["2024.01", "2024.2", "2024.10"],
            &["1.2-foo", "1.2", "1.2.1-foo", "1.3-foo.9", "1.3-foo.10"],
        ] {
            for pair in ladder.windows(2) {
                assert_eq!(compare_versions(pair[0], pair[1]), Ordering::Less, "{pair:?}");
                assert_eq!(compare_versions(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
            }
        }
        for (a, b) in [
            ("1.0", "1.0.0"),
            ("v1.2", "1.2"),
            ("1.0-xyz+build", "1.0-xyz+other"),
        ] {
            assert_eq!(compare_versions(a, b), Ordering::Equal, "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn any_two_texts_compare_one_way(a in "[0-9a-z.+!_~:-]{1,12}", b in "[0-9a-z.+!_~:-]{1,12}") {
            prop_assert_eq!(compare_versions(&a, &b), compare_versions(&b, &a).reverse());
            prop_assert_eq!(compare_versions(&a, &a), Ordering::Equal);
        }
    }
}
