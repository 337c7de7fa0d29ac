//! Sets of ports.

use std::fmt;
use std::str::FromStr;

use base::Port;

use super::Problem;

/// A set of ports, never empty: inclusive ranges in ascending order, neither touching nor
/// overlapping, so that equal sets are equal values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports(Vec<(u16, u16)>);

impl Ports {
    /// Ports 1 to 65535.
    pub fn any() -> Self {
        Self(vec![(1, u16::MAX)])
    }

    /// Whether every port is in the set.
    pub fn is_any(&self) -> bool {
        self.0 == [(1, u16::MAX)]
    }

    /// How many ports are in the set.
    pub fn count(&self) -> u32 {
        self.0
            .iter()
            .map(|&(first, last)| u32::from(last - first) + 1)
            .sum()
    }

    /// Whether the set holds `port`.
    pub fn contains(&self, port: Port) -> bool {
        let port = port.get();
        self.0.iter().any(|&(first, last)| (first..=last).contains(&port))
    }

    /// Whether the set holds every port of `other`.
    pub fn includes(&self, other: &Self) -> bool {
        other.minus(self).is_none()
    }

    /// The ports in either set.
    pub fn union(&self, other: &Self) -> Self {
        Self::from_ranges(self.0.iter().chain(&other.0).copied().collect())
    }

    /// The ports that are not in `other`; `None` where nothing is left.
    pub fn minus(&self, other: &Self) -> Option<Self> {
        let mut left = self.0.clone();
        for &(cut_first, cut_last) in &other.0 {
            left = left
                .into_iter()
                .flat_map(|(first, last)| {
                    let below = (first < cut_first).then(|| (first, last.min(cut_first - 1)));
                    let above = (last > cut_last).then(|| (first.max(cut_last + 1), last));
                    [below, above].into_iter().flatten()
                })
                .collect();
        }
        (!left.is_empty()).then_some(Self(left))
    }

    /// Sorts, and joins what overlaps or touches.
    fn from_ranges(mut ranges: Vec<(u16, u16)>) -> Self {
        ranges.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(open) if u32::from(first) <= u32::from(open.1) + 1 => open.1 = open.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }
}

impl From<Port> for Ports {
    fn from(port: Port) -> Self {
        Self(vec![(port.get(), port.get())])
    }
}

impl FromStr for Ports {
    type Err = Problem;

    /// `*`, or ports and inclusive ranges separated by commas.
    fn from_str(text: &str) -> Result<Self, Problem> {
        if text == "*" {
            return Ok(Self::any());
        }
        let port = |part: &str| {
            part.parse::<Port>().map(Port::get).map_err(|_| Problem::Port {
                text: text.to_owned(),
            })
        };
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (port(first)?, port(last)?),
                None => (port(part)?, port(part)?),
            };
            if first > last {
                return Err(Problem::PortRange { first, last });
            }
            ranges.push((first, last));
        }
        Ok(Self::from_ranges(ranges))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_any() {
            return f.write_str("*");
        }
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ports(text: &str) -> Ports {
        text.parse().unwrap()
    }

    #[test]
    fn equal_sets_have_one_spelling() {
        for (text, canonical) in [
            ("443", "443"),
            ("443,80", "80,443"),
            ("80,81,82", "80-82"),
            ("80-90,85-100,100", "80-100"),
            ("7-7", "7"),
            ("1-65535", "*"),
            ("1-100,101-65535", "*"),
            ("65535,1", "1,65535"),
        ] {
            assert_eq!(ports(text).to_string(), canonical);
        }
    }

    #[test]
    fn a_port_list_that_could_be_read_in_two_ways_is_refused() {
        for bad in [
            "",
            "0",
            "65536",
            "+443",
            "0443",
            "443 ",
            " 443",
            "443:443",
            "４４３",
            "-1",
            "1-",
            "-",
            "80,,81",
            "80,",
            "*,80",
            "1-*",
            "1-2-3",
            "any",
        ] {
            assert!(
                matches!(bad.parse::<Ports>(), Err(Problem::Port { .. })),
                "{bad:?}"
            );
        }
        assert_eq!(
            "90-80".parse::<Ports>(),
            Err(Problem::PortRange { first: 90, last: 80 })
        );
    }

    fn small() -> impl Strategy<Value = Ports> {
        prop::collection::vec((1u16..40, 0u16..6), 1..5)
            .prop_map(|ranges| Ports::from_ranges(ranges.into_iter().map(|(a, n)| (a, a + n)).collect()))
    }

    fn members(ports: &Ports) -> BTreeSet<u16> {
        (1..60)
            .filter(|&n| ports.contains(n.try_into().unwrap()))
            .collect()
    }

    proptest! {
        #[test]
        fn set_arithmetic_agrees_with_sets(a in small(), b in small()) {
            let (set_a, set_b) = (members(&a), members(&b));
            prop_assert_eq!(members(&a.union(&b)), &set_a | &set_b);
            prop_assert_eq!(a.minus(&b).map(|left| members(&left)).unwrap_or_default(), &set_a - &set_b);
            prop_assert_eq!(a.includes(&b), set_b.is_subset(&set_a));
            prop_assert_eq!(a.count() as usize, set_a.len());
            prop_assert_eq!(ports(&a.to_string()), a);
        }
    }
}
