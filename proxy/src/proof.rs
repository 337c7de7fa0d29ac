//! Proofs: the credentials that a client shows, in a header or in SOCKS5, before anybody looks at them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::head::Head;

/// What was presented. [`Self::None`] is nothing, and not something that cannot be read.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    None,
    Basic {
        user: Vec<u8>,
        password: Vec<u8>,
    },
    /// Another scheme, or not base64.
    Unreadable,
}

impl Proof {
    /// What the first `Proxy-Authorization` of a request says.
    pub(crate) fn in_head(head: &Head) -> Self {
        let Some(value) = head.values("proxy-authorization").next() else {
            return Self::None;
        };
        let Some((scheme, encoded)) = value.split_first_chunk::<6>() else {
            return Self::Unreadable;
        };
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return Self::Unreadable;
        }
        let Ok(pair) = STANDARD.decode(encoded.trim_ascii()) else {
            return Self::Unreadable;
        };
        match pair.iter().position(|&byte| byte == b':') {
            Some(colon) => Self::Basic {
                user: pair[..colon].to_vec(),
                password: pair[colon + 1..].to_vec(),
            },
            None => Self::Unreadable,
        }
    }
}

/// Credentials are shown to nobody.
impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic",
            Self::Unreadable => "Unreadable",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::tests::head;

    #[test]
    fn credentials_that_are_no_basic_credentials_are_not_absent() {
        for value in ["Bearer x", "Basic", "Basic !!!", "Basic YWI="] {
            let raw = format!("CONNECT a.example:443 HTTP/1.1\r\nProxy-Authorization: {value}\r\n\r\n");
            assert_eq!(Proof::in_head(&head(&raw).unwrap()), Proof::Unreadable, "{value}");
        }
    }
}
