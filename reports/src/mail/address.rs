//! Mail addresses: narrow enough that none of them can be a header, a second recipient or a route.

use std::fmt;
use std::str::FromStr;

use base::HostName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `local@domain` (RFC 5321 §4.1.2), with a dot-string as local part and a name as domain.
///
/// Quoted local parts and address literals are legal and refused: owners write addresses into
/// manifests, and nobody needs those two for anything but mischief.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    text: Box<str>,
    at: usize,
}

/// A text that is not a mail address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a mail address such as security@acme.example")]
pub struct InvalidAddress {
    text: String,
}

impl Address {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands after the `@`, in lower case.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress {
            text: crate::escape::short(text, 80),
        };
        let (local, domain) = text.rsplit_once('@').ok_or_else(invalid)?;
        let atom = |part: &str| !part.is_empty() && part.bytes().all(is_atext);
        if local.len() > 64 || text.len() > 254 || !local.split('.').all(atom) {
            return Err(invalid());
        }
        let domain: HostName = domain.parse().map_err(|_| invalid())?;
        Ok(Self {
            text: format!("{local}@{domain}").into(),
            at: local.len(),
        })
    }
}

/// RFC 5322 §3.2.3.
fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_addresses_are_addresses() {
        for (text, kept) in [
            ("security@acme.example", "security@acme.example"),
            ("First.Last+tag@ACME.Example", "First.Last+tag@acme.example"),
            ("root@localhost", "root@localhost"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.as_str(), kept);
            assert_eq!(address.domain(), kept.split_once('@').unwrap().1);
        }
    }

    #[test]
    fn whatever_could_be_more_than_one_address_is_refused() {
        for bad in [
            "",
            "@",
            "a@",
            "@b",
            "a",
            "a b@c.example",
            "a@b@c.example",
            "a\r\nBcc: x@y.example",
            "a,b@c.example",
            "a@c.example,d@e.example",
            "<a@c.example>",
            "\"a b\"@c.example",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            ".a@c.example",
            "a.@c.example",
            "a..b@c.example",
            "ä@c.example",
            "a@ä.example",
            "a@c.example\n",
            "a\0@c.example",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
        assert!(
            format!("{}@c.example", "a".repeat(65))
                .parse::<Address>()
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn an_address_is_one_word_of_ascii(text in "\\PC{0,20}@?[a-z.@\\r\\n ,<>]{0,20}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert!(address.as_str().bytes().all(|b| b.is_ascii_graphic()));
                prop_assert_eq!(address.as_str().matches('@').count(), 1);
                prop_assert!(!address.as_str().contains([',', '<', '>', ';', ':', '"', '(', ')']));
                prop_assert_eq!(address.as_str().parse::<Address>().unwrap(), address);
            }
        }
    }
}
