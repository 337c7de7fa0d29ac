//! Inclusion and difference of entries.

use super::{Entry, HostPattern, Ports};

impl Entry {
    /// Whether this entry covers every connection that `other` covers.
    pub fn includes(&self, other: &Self) -> bool {
        self.scheme.family() == other.scheme.family()
            && self.host.includes(&other.host)
            && self.ports.includes(&other.ports)
    }

    /// What this entry covers and none of `others` does; empty exactly where `others` together cover
    /// all of it.
    ///
    /// Networks and ports are subtracted exactly. A name taken out of a wildcard cannot be written
    /// in the grammar (nothing is excluded), so there the whole wildcard remains: no finite number
    /// of names or narrower wildcards ever covers it.
    pub fn beyond<'o>(&self, others: impl IntoIterator<Item = &'o Self>) -> Vec<Self> {
        let rivals: Vec<_> = others
            .into_iter()
            .filter(|other| other.scheme.family() == self.scheme.family())
            .collect();
        remainder(&self.host, &self.ports, &rivals)
            .into_iter()
            .map(|(host, ports)| Self {
                scheme: self.scheme,
                host,
                ports,
            })
            .collect()
    }
}

fn remainder(host: &HostPattern, ports: &Ports, rivals: &[&Entry]) -> Vec<(HostPattern, Ports)> {
    let (around, inside): (Vec<&Entry>, Vec<&Entry>) = rivals
        .iter()
        .copied()
        .filter(|rival| rival.host.includes(host) || host.includes(&rival.host))
        .partition(|rival| rival.host.includes(host));
    let mut left = ports.clone();
    for rival in around {
        match left.minus(&rival.ports) {
            Some(rest) => left = rest,
            None => return Vec::new(),
        }
    }
    let takes_some = |rival: &&Entry| left.minus(&rival.ports).as_ref() != Some(&left);
    match host {
        HostPattern::Network(network) if inside.iter().any(takes_some) => network
            .subnets(network.prefix_len() + 1)
            .into_iter()
            .flatten()
            .flat_map(|half| remainder(&HostPattern::network(half), &left, &inside))
            .collect(),
        _ => vec![(host.clone(), left)],
    }
}
