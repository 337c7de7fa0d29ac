//! Declarations of one manifest, in its order, found by host.
//!
//! They are read as a list and changed only through [`Declarations::change`], so that what finds them is
//! never older than what is to be found.

use std::ops::Deref;

use base::{ObservedScheme, Target, Timestamp};

use crate::Declaration;
use crate::coverage::{breadth, covering};
use crate::index::Index;

/// From this many on, finding by host is faster than asking each one.
const MANY: usize = 8;

/// The declarations of a manifest.
#[derive(Clone, Debug, Default)]
pub struct Declarations {
    list: Vec<Declaration>,
    /// `None` where there are few.
    index: Option<Index>,
}

impl Declarations {
    /// Changes them.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut Vec<Declaration>) -> T) -> T {
        let changed = change(&mut self.list);
        self.index = index(&self.list);
        changed
    }

    /// The most specific of those that cover a connection; of equally specific ones, the first.
    pub(crate) fn covering(
        &self,
        target: &Target,
        observed: Option<ObservedScheme>,
        at: Timestamp,
    ) -> Option<&Declaration> {
        let Some(index) = &self.index else {
            return covering(&self.list, target, observed, at);
        };
        let mut best: Option<(usize, &Declaration)> = None;
        index.each_about(&target.host, |place| {
            let declaration = &self.list[place];
            let is_better = |(known, other): (usize, &Declaration)| {
                (breadth(&declaration.entry), place) < (breadth(&other.entry), known)
            };
            if declaration.covers(target, observed, at) && best.is_none_or(is_better) {
                best = Some((place, declaration));
            }
        });
        best.map(|(_, declaration)| declaration)
    }
}

fn index(list: &[Declaration]) -> Option<Index> {
    (list.len() >= MANY).then(|| Index::of(list.iter().map(|declaration| declaration.entry.host())))
}

impl From<Vec<Declaration>> for Declarations {
    fn from(list: Vec<Declaration>) -> Self {
        Self {
            index: index(&list),
            list,
        }
    }
}

impl FromIterator<Declaration> for Declarations {
    fn from_iter<I: IntoIterator<Item = Declaration>>(declarations: I) -> Self {
        Self::from(declarations.into_iter().collect::<Vec<_>>())
    }
}

impl Deref for Declarations {
    type Target = [Declaration];

    fn deref(&self) -> &[Declaration] {
        &self.list
    }
}

impl<'a> IntoIterator for &'a Declarations {
    type Item = &'a Declaration;
    type IntoIter = std::slice::Iter<'a, Declaration>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl PartialEq for Declarations {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Eq for Declarations {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_entry() -> impl Strategy<Value = String> {
        let label = prop::sample::select(vec!["a", "b", "aa", "x-y"]);
        let name =
            prop::collection::vec(label, 1..5).prop_map(|labels| format!("{}.example", labels.join(".")));
        let kind = prop::sample::select(vec!["", "", "*.", "**."]);
        let host = prop_oneof![
            6 => (kind, name).prop_map(|(kind, name)| format!("{kind}{name}")),
            1 => (0_u8..3, 0_u8..3).prop_map(|(one, other)| format!("10.{one}.0.{other}")),
            1 => (0_u8..3, 8_u8..32).prop_map(|(one, bits)| {
                let network = ipnet::Ipv4Net::new([10, one, 0, 0].into(), bits).unwrap().trunc();
                network.to_string()
            }),
            1 => (0_u8..3).prop_map(|one| format!("[2001:db8::{one}]")),
            1 => (16_u8..128).prop_map(|bits| {
                let network = ipnet::Ipv6Net::new("2001:db8::2".parse().unwrap(), bits).unwrap().trunc();
                format!("[{}]/{bits}", network.network())
            }),
        ];
        let scheme = prop::sample::select(vec!["", "", "tls://", "http://"]);
        let ports = prop::sample::select(vec![":443", ":443", ":*", ":80,443", ":1-1000"]);
        (scheme, host, ports).prop_map(|(scheme, host, ports)| format!("{scheme}{host}{ports}"))
    }

    fn any_target() -> impl Strategy<Value = Target> {
        let label = prop::sample::select(vec!["a", "b", "aa", "x-y", "c"]);
        let name = prop::collection::vec(label, 0..6).prop_map(|labels| {
            labels
                .into_iter()
                .chain(["example"])
                .collect::<Vec<_>>()
                .join(".")
        });
        let host = prop_oneof![
            6 => name,
            1 => (0_u8..4, 0_u8..4).prop_map(|(one, other)| format!("10.{one}.0.{other}")),
            1 => (0_u8..4).prop_map(|one| format!("[2001:db8::{one}]")),
            1 => (0_u8..3).prop_map(|one| format!("[::ffff:10.{one}.0.1]")),
        ];
        let port = prop::sample::select(vec![443_u16, 80, 8443]);
        (host, port)
            .prop_map(|(host, port)| Target::from_authority(format!("{host}:{port}").as_bytes()).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Found by host or asked one by one: the same declaration, also where several are equal.
        #[test]
        fn the_index_changes_no_answer(
            entries in prop::collection::vec((any_entry(), 0_u8..6), 0..60),
            targets in prop::collection::vec((any_target(), 0_u8..4), 1..20),
        ) {
            let at: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
            let declared: Vec<Declaration> = entries
                .iter()
                .filter_map(|(entry, expires)| {
                    let mut declaration = Declaration::of(entry.parse().ok()?);
                    declaration.expires = (*expires == 0).then_some(at);
                    Some(declaration)
                })
                .collect();
            let declarations = Declarations::from(declared.clone());
            for (target, scheme) in &targets {
                let observed = [None, Some(ObservedScheme::Tls), Some(ObservedScheme::Http), Some(ObservedScheme::Ssh)];
                let observed = observed[usize::from(*scheme)];
                let found = declarations.covering(target, observed, at).map(std::ptr::from_ref);
                let asked = covering(&declarations, target, observed, at).map(std::ptr::from_ref);
                prop_assert_eq!(found, asked, "{} {:?}", target, declared);
            }
        }
    }

    #[test]
    fn what_is_changed_is_found_as_it_is_now() {
        let mut declarations: Declarations = (0..20)
            .map(|n| Declaration::of(format!("h{n}.example").parse().unwrap()))
            .collect();
        let target = Target::from_authority(b"late.example:443").unwrap();
        let at = "2026-11-21T00:00:00Z".parse().unwrap();
        assert_eq!(declarations.covering(&target, None, at), None);
        declarations.change(|list| list[7] = Declaration::of("late.example".parse().unwrap()));
        assert_eq!(declarations.covering(&target, None, at), Some(&declarations[7]));
    }
}
