//! The small values of a manifest: classes, ranges, sizes and durations, each with one spelling.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Span};
use pep440_rs::{Version, VersionSpecifiers};

/// A text that is not the value it was read for; the message says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}")]
pub struct InvalidValue {
    text: String,
    what: &'static str,
}

fn invalid(text: &str, what: &'static str) -> InvalidValue {
    InvalidValue {
        text: text.chars().take(80).collect(),
        what,
    }
}

/// A class of data, such as `official`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataClass(Box<str>);

impl DataClass {
    /// The class as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DataClass {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/ -".contains(&byte);
        let end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        if bytes.len() <= 64 && end(bytes.first()) && end(bytes.last()) && bytes.iter().all(|b| inner(*b)) {
            Ok(Self(text.into()))
        } else {
            Err(invalid(
                text,
                "a data class: 1 to 64 letters, digits and ._:/- such as \"official\"",
            ))
        }
    }
}

impl fmt::Display for DataClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A range of versions as PEP 440 writes it; empty means any version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRange(VersionSpecifiers);

impl VersionRange {
    /// Whether every version is in the range.
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the range holds `version`; `None` where that is no PEP 440 version.
    pub fn contains(&self, version: &str) -> Option<bool> {
        let version: Version = version.parse().ok()?;
        Some(self.0.contains(&version))
    }
}

impl FromStr for VersionRange {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let refuse = || {
            invalid(
                text,
                "a range of versions as PEP 440 writes it, such as \">=2.0,<3.0\"",
            )
        };
        if !text.is_ascii() || text.len() > 200 || text.contains(char::is_control) {
            return Err(refuse());
        }
        text.parse().map(Self).map_err(|_| refuse())
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, specifier) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{specifier}")?;
        }
        Ok(())
    }
}

/// A library and the versions of it that may be inside, such as `openai>=2.0,<3.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    name: String,
    extras: Vec<String>,
    range: VersionRange,
}

impl Requirement {
    /// The library's name in its normal form (PEP 503): lower case, `-` between words.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The versions allowed.
    pub const fn range(&self) -> &VersionRange {
        &self.range
    }

    /// Whether `name`, in whatever spelling, is this library.
    pub fn is_for(&self, name: &str) -> bool {
        normal_name(name) == self.name
    }
}

/// PEP 503, "Normalized Names".
fn normal_name(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            other => normal.push(other.to_ascii_lowercase()),
        }
    }
    normal
}

fn is_name(text: &str) -> bool {
    let end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 128 && end(bytes.first()) && end(bytes.last())
}

impl FromStr for Requirement {
    type Err = InvalidValue;

    /// The name, extras in brackets and the range of PEP 508. Its markers and addresses are not
    /// read: whether a marker holds depends on a machine that is not at hand.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let refuse = || {
            invalid(
                text,
                "a library with a PEP 440 range, such as \"openai>=2.0,<3.0\" (no markers, no URLs)",
            )
        };
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let (name, rest) = text.split_at(text.find(|c| !in_name(c)).unwrap_or(text.len()));
        if !is_name(name) {
            return Err(refuse());
        }
        let rest = rest.trim_start_matches(' ');
        let (extras, range) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(refuse)?,
            None => ("", rest),
        };
        let mut extras: Vec<String> = extras
            .split(',')
            .map(str::trim)
            .filter(|extra| !extra.is_empty())
            .map(|extra| {
                let plain = is_name(extra) && extra.chars().all(in_name);
                plain.then(|| normal_name(extra)).ok_or_else(refuse)
            })
            .collect::<Result<_, _>>()?;
        extras.sort_unstable();
        extras.dedup();
        Ok(Self {
            name: normal_name(name),
            extras,
            range: range.trim_matches(' ').parse().map_err(|_| refuse())?,
        })
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.extras.is_empty() {
            write!(f, "[{}]", self.extras.join(","))?;
        }
        write!(f, "{}", self.range)
    }
}

/// A duration, written as ISO 8601 (`P30D`, `PT15M`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Duration(Box<str>);

impl Duration {
    /// Reads ISO 8601 only, calendar units included.
    pub(crate) fn parse_iso(text: &str) -> Result<Self, InvalidValue> {
        let refuse = || invalid(text, "an ISO 8601 duration such as \"P30D\" or \"PT15M\"");
        if !text.starts_with('P') || text.len() > 64 {
            return Err(refuse());
        }
        let span: Span = text.parse().map_err(|_| refuse())?;
        if span.is_negative() {
            return Err(refuse());
        }
        Ok(Self(span.to_string().into()))
    }

    /// Reads ISO 8601, or the short form that people write beside limits: `15m`, `1h 30m`.
    pub(crate) fn parse_exact(text: &str) -> Result<Self, InvalidValue> {
        let refuse = || invalid(text, "a duration such as \"15m\" or \"PT15M\"");
        let duration: SignedDuration = (text.len() <= 64)
            .then(|| text.parse().ok())
            .flatten()
            .ok_or_else(refuse)?;
        if duration <= SignedDuration::ZERO {
            return Err(refuse());
        }
        Ok(Self(duration.to_string().into()))
    }

    /// The duration in ISO 8601.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whole seconds, where the duration has no calendar units.
    pub fn whole_seconds(&self) -> Option<u64> {
        let duration: SignedDuration = self.0.parse().ok()?;
        u64::try_from(duration.as_secs()).ok()
    }
}

impl FromStr for Duration {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::parse_iso(text)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

const UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

/// An amount of memory, such as `512MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize {
    /// Bytes, at least one.
    pub bytes: u64,
}

impl FromStr for ByteSize {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let refuse = || invalid(text, "an amount of memory such as \"512MiB\"");
        let (digits, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
            .ok_or_else(refuse)?;
        let plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
        let bytes = digits
            .parse::<u64>()
            .ok()
            .filter(|_| plain)
            .and_then(|number| number.checked_mul(factor));
        bytes.map(|bytes| Self { bytes }).ok_or_else(refuse)
    }
}

impl fmt::Display for ByteSize {
    /// In the largest unit that leaves no remainder, binary units first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, factor): &&(&str, u64)| self.bytes.is_multiple_of(*factor);
        match UNITS.iter().find(whole) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.bytes / factor),
            None => write!(f, "{}B", self.bytes),
        }
    }
}

/// A share of processors, such as `1` or `0.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu {
    /// Thousandths of one processor, at least one.
    pub millis: u32,
}

impl FromStr for Cpu {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let refuse = || {
            invalid(
                text,
                "a share of processors such as \"1\" or \"0.5\" (at most three decimals)",
            )
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str, max: usize| {
            (1..=max).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole, 5) || !digits(fraction, 3) {
            return Err(refuse());
        }
        let whole: u32 = whole.parse().map_err(|_| refuse())?;
        let fraction: u32 = format!("{fraction:0<3}").parse().map_err(|_| refuse())?;
        match whole * 1000 + fraction {
            0 => Err(refuse()),
            millis => Ok(Self { millis }),
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.millis / 1000, self.millis % 1000);
        if fraction == 0 {
            write!(f, "{whole}")
        } else {
            f.write_str(format!("{whole}.{fraction:03}").trim_end_matches('0'))
        }
    }
}

/// A version of a plugin: PEP 440, semantic or of the owner's own making.
pub(crate) fn is_version(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b".+!_~:-".contains(&byte);
    let bytes = text.as_bytes();
    bytes.len() <= 128
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| inner(*b))
}

/// A mail address, narrowly: it must be safe to put into a header.
pub(crate) fn is_mail_address(text: &str) -> bool {
    let printable = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"<>()[],;:\\\"".contains(&byte));
    let parts = text.split_once('@').filter(|(local, domain)| {
        matches!(local.len(), 1..=64) && !domain.contains('@') && domain.parse::<base::HostName>().is_ok()
    });
    printable && text.len() <= 254 && parts.is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn again<T: FromStr<Err: fmt::Debug> + fmt::Display>(text: &str) -> String {
        text.parse::<T>().unwrap().to_string()
    }

    #[test]
    fn requirements_are_names_with_pep_440_ranges() {
        assert_eq!(again::<Requirement>("openai>=2.0,<3.0"), "openai>=2.0,<3.0");
        assert_eq!(again::<Requirement>("Azure.Core == 1.* "), "azure-core==1.*");
        assert_eq!(
            again::<Requirement>("httpx[socks, http2] ~=0.28.1"),
            "httpx[http2,socks]~=0.28.1"
        );
        assert_eq!(again::<Requirement>("requests"), "requests");
        for bad in [
            "",
            ">=1",
            "openai^2",
            "openai>=",
            "openai>=x",
            "@scope/pkg",
            "a b",
            "openai>=2;python_version<'3'",
            "openai @ https://x",
            "-a",
            "a-",
            "openai[",
            "openai[;]",
            "ä",
        ] {
            assert!(bad.parse::<Requirement>().is_err(), "{bad:?}");
        }
        let requirement: Requirement = "azure-core>=1.5,<2".parse().unwrap();
        assert!(requirement.is_for("Azure_Core"));
        assert_eq!(requirement.range().contains("1.9.1"), Some(true));
        assert_eq!(requirement.range().contains("2.0"), Some(false));
        assert_eq!(requirement.range().contains("not a version"), None);
    }

    #[test]
    fn durations_are_iso_8601() {
        assert_eq!(again::<Duration>("P30D"), "P30D");
        assert_eq!(again::<Duration>("P1Y2M"), "P1Y2M");
        for bad in ["", "30 days", "P", "-P1D", "p30d", "30"] {
            assert!(bad.parse::<Duration>().is_err(), "{bad:?}");
        }
        let limit = Duration::parse_exact("15m").unwrap();
        assert_eq!((limit.as_str(), limit.whole_seconds()), ("PT15M", Some(900)));
        assert_eq!(Duration::parse_exact("PT15M").unwrap(), limit);
        for bad in ["", "15", "0s", "-1m", "P1M"] {
            assert!(Duration::parse_exact(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn amounts_have_one_spelling() {
        for (text, bytes, canonical) in [
            ("512MiB", 512 << 20, "512MiB"),
            ("1024MiB", 1 << 30, "1GiB"),
            ("1500MB", 1_500_000_000, "1500MB"),
            ("7B", 7, "7B"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.bytes, size.to_string().as_str()), (bytes, canonical));
        }
        for bad in [
            "",
            "MiB",
            "0MiB",
            "1.5GiB",
            "512",
            "-1MiB",
            "99999999999999TiB",
            "+1B",
        ] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad:?}");
        }
        assert_eq!(again::<Cpu>("1"), "1");
        assert_eq!(again::<Cpu>("0.50"), "0.5");
        for bad in ["", "0", "0.0", ".5", "1.", "1.0001", "-1", "1e3", "999999"] {
            assert!(bad.parse::<Cpu>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_mail_address_cannot_smuggle_a_header() {
        assert!(is_mail_address("embeddings@acme.example"));
        for bad in [
            "",
            "a",
            "@b.c",
            "a@",
            "a@b@c",
            "a@b\r\nBcc: x@y.z",
            "a b@c.d",
            "<a@b.c>",
            "a@-b.c",
        ] {
            assert!(!is_mail_address(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic_and_what_is_read_stays_the_same(text in "\\PC{0,24}|[A-Za-z]{1,5}[\\[\\]a-z,<>=~!.*0-9 ]{0,20}|P[0-9YMDTHS.]{0,9}|[0-9.]{0,8}[KMGTki]{0,2}B") {
            macro_rules! fixed_point {
                ($type:ty) => {
                    if let Ok(value) = text.parse::<$type>() {
                        prop_assert_eq!(value.to_string().parse::<$type>().unwrap(), value);
                    }
                };
            }
            fixed_point!(Requirement);
            fixed_point!(VersionRange);
            fixed_point!(Duration);
            fixed_point!(ByteSize);
            fixed_point!(Cpu);
            fixed_point!(DataClass);
            if let Ok(value) = Duration::parse_exact(&text) {
                prop_assert_eq!(Duration::parse_exact(value.as_str()).unwrap(), value);
            }
        }
    }
}
