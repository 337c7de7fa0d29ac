//! TCP ports.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// A TCP port, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Port(NonZeroU16);

/// A text or number that is not a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a port is a number from 1 to 65535 in plain digits")]
pub struct InvalidPort;

impl Port {
    /// The port of `https`.
    pub const HTTPS: Self = Self(NonZeroU16::new(443).expect("443 is not zero"));
    /// The port of `http`.
    pub const HTTP: Self = Self(NonZeroU16::new(80).expect("80 is not zero"));

    /// The port's number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<u16> for Port {
    type Error = InvalidPort;

    fn try_from(number: u16) -> Result<Self, InvalidPort> {
        NonZeroU16::new(number).map(Self).ok_or(InvalidPort)
    }
}

impl FromStr for Port {
    type Err = InvalidPort;

    /// One spelling per port: digits only, no sign, no leading zero.
    fn from_str(text: &str) -> Result<Self, InvalidPort> {
        let plain = !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
        if !plain || text.starts_with('0') {
            return Err(InvalidPort);
        }
        text.parse::<u16>().map_err(|_| InvalidPort)?.try_into()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_one_spelling() {
        assert_eq!("443".parse::<Port>(), Ok(Port::HTTPS));
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
            "99999999999",
        ] {
            assert_eq!(bad.parse::<Port>(), Err(InvalidPort), "{bad:?}");
        }
    }
}
