//! Dial attempts: one address that was tried, and what became of it.
//!
//! The text form is the address with its port, a space, and a word: `192.0.2.1:443 refused`. An event
//! lists them as text, so that an archive column of plain strings holds them too.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::DialResult;
use crate::text_enum::serde_as_text;

/// One address that was dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialAttempt {
    /// Where.
    pub address: SocketAddr,
    /// What became of it.
    pub result: DialResult,
}

/// A text that is not a dial attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a dial attempt is an address with its port, a space and one of the words of the list")]
pub struct InvalidDialAttempt;

impl fmt::Display for DialAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address, self.result)
    }
}

impl FromStr for DialAttempt {
    type Err = InvalidDialAttempt;

    fn from_str(text: &str) -> Result<Self, InvalidDialAttempt> {
        let (address, result) = text.split_once(' ').ok_or(InvalidDialAttempt)?;
        Ok(Self {
            address: address.parse().map_err(|_| InvalidDialAttempt)?,
            result: result.parse().map_err(|_| InvalidDialAttempt)?,
        })
    }
}

serde_as_text!(DialAttempt);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_read_back_as_it_was_written() {
        for text in [
            "192.0.2.1:443 connected",
            "[2001:db8::1]:8443 refused",
            "127.0.0.1:1 abandoned",
        ] {
            assert_eq!(text.parse::<DialAttempt>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "192.0.2.1 connected",
            "192.0.2.1:443",
            "192.0.2.1:443  refused",
            "a.example:443 refused",
            "192.0.2.1:443 eaten",
        ] {
            assert_eq!(text.parse::<DialAttempt>(), Err(InvalidDialAttempt), "{text:?}");
        }
    }
}
