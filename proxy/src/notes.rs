//! Notes: what a request said, as it may be written down.
//!
//! Whoever writes a request decides what stands in it, and some write passwords and keys into it. So
//! what is kept is escaped, bounded, and without the parts that may hold a secret.

use base::{RefusalReason, escape_untrusted};

use crate::head::HeadError;

/// What a request said besides, for the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    /// The target as written, where it differs from the canonical one; escaped.
    pub(crate) raw_target: Option<String>,
    /// The Host header, where it names another target; escaped.
    pub(crate) host_header: Option<String>,
    /// Headers in which the client names itself.
    pub(crate) stripped_headers: Vec<String>,
}

/// Why a request is refused before anybody is asked about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadRequest {
    pub(crate) reason: RefusalReason,
    pub(crate) why: String,
    pub(crate) raw_target: Option<String>,
}

/// Longest escaped target and header value in an event.
pub(crate) const MAX_RAW: usize = 512;

impl BadRequest {
    /// What a head that could not even be read is refused with.
    pub(crate) fn from_head_error(error: HeadError, raw_target: Option<&[u8]>) -> Self {
        let reason = match error {
            HeadError::TooLarge | HeadError::TooManyHeaders => RefusalReason::Limit,
            HeadError::Version => RefusalReason::Unsupported,
            _ => RefusalReason::Malformed,
        };
        Self {
            reason,
            why: error.to_string(),
            raw_target: raw_target.map(presentable),
        }
    }
}

/// A refused target as it may be written down: escaped, without path and query, and without user
/// information, both of which may hold secrets. `\~` stands where something was left out.
pub(crate) fn presentable(raw: &[u8]) -> String {
    let start = raw
        .windows(3)
        .position(|window| window == b"://")
        .map_or(0, |at| at + 3);
    let (scheme, rest) = raw.split_at(start);
    let delimiter = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let authority = &rest[..delimiter.unwrap_or(rest.len())];
    let tail = &rest[authority.len()..];
    let (hidden, shown) = match authority.iter().rposition(|&byte| byte == b'@') {
        Some(at) => (true, &authority[at..]),
        // `user:pass/word@host`: what looks like a port may be the beginning of a password.
        None if tail.contains(&b'@') => {
            let colon = authority.iter().position(|&byte| byte == b':');
            (false, &authority[..colon.unwrap_or(authority.len())])
        }
        None => (false, authority),
    };
    let mut text = escape_untrusted(scheme, 32);
    if hidden {
        text.push_str("\\~");
    }
    text.push_str(&escape_untrusted(shown, MAX_RAW - 64));
    if !tail.is_empty() {
        text.push_str(&escape_untrusted(&tail[..1], 8));
        text.push_str("\\~");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_target_is_written_down_without_its_secrets() {
        for (raw, shown) in [
            ("/secret/path?token=1", "/\\~"),
            ("http://user:pw@host.example/p", "http://\\~@host.example/\\~"),
            ("http://user:p/w@host/", "http://user/\\~"),
            ("ok.com@evil.com:443", "\\~@evil.com:443"),
            ("a\\b\0:443", "a\\x5cb\\x00:443"),
            ("https://host.example/secret", "https://host.example/\\~"),
            ("host.example:443?key=1", "host.example:443?\\~"),
        ] {
            assert_eq!(presentable(raw.as_bytes()), shown);
        }
        assert!(presentable(&[0; 4000]).len() <= MAX_RAW);
        assert!(presentable(&b"@".repeat(4000)).len() <= MAX_RAW);
    }
}
