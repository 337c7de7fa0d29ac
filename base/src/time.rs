//! Timestamps: wall-clock moments as they appear in every document.

use std::fmt;
use std::str::FromStr;

use crate::text_enum::serde_as_text;

/// A moment in UTC with microsecond resolution, between the years 0000 and 9999.
///
/// The text form is RFC 3339 with exactly six decimals and `Z`, so that text sorts by time and each
/// moment has one spelling. Durations never come from here: they come from a monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    unix_us: i64,
}

/// A text that is not an RFC 3339 date and time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an RFC 3339 date and time such as 2026-11-21T10:32:01Z")]
pub struct InvalidTimestamp {
    text: String,
}

const MIN_US: i64 = -62_167_219_200_000_000; // 0000-01-01T00:00:00Z
const MAX_US: i64 = 253_402_300_799_999_999; // 9999-12-31T23:59:59.999999Z
const MAX_JIFF_US: i64 = 253_402_207_200_000_000; // the last microsecond that jiff takes

impl Timestamp {
    /// A moment from microseconds since 1970-01-01T00:00:00Z, clamped to what RFC 3339 can write.
    pub const fn from_unix_us(unix_us: i64) -> Self {
        let clamped = if unix_us < MIN_US {
            MIN_US
        } else if unix_us > MAX_JIFF_US {
            MAX_JIFF_US
        } else {
            unix_us
        };
        Self { unix_us: clamped }
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn unix_us(self) -> i64 {
        self.unix_us
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub const fn unix_s(self) -> i64 {
        self.unix_us.div_euclid(1_000_000)
    }

    /// This moment moved by `seconds`.
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self::from_unix_us(self.unix_us.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// The text form, without an allocation: each event carries one.
    pub const fn to_ascii(self) -> [u8; 27] {
        let days = self.unix_us.div_euclid(86_400_000_000);
        let mut in_day = self.unix_us.rem_euclid(86_400_000_000);
        // Days to a date of the proleptic Gregorian calendar, in years that begin with March, so that
        // the leap day comes last (H. Hinnant, chrono-compatible low-level date algorithms).
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = year_of_era + era * 400 + (month <= 2) as i64;
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        put(&mut text, 0, 4, year);
        put(&mut text, 5, 2, month);
        put(&mut text, 8, 2, day);
        put(&mut text, 20, 6, in_day % 1_000_000);
        in_day /= 1_000_000;
        put(&mut text, 17, 2, in_day % 60);
        put(&mut text, 14, 2, in_day / 60 % 60);
        put(&mut text, 11, 2, in_day / 3_600);
        text
    }

    /// The calendar day in UTC, as `2026-11-21`.
    pub fn utc_day(self) -> String {
        self.to_string()[..10].to_owned()
    }
}

/// Puts `digits` decimal digits of `number` at `at`.
const fn put(text: &mut [u8; 27], at: usize, digits: usize, number: i64) {
    let mut rest = number;
    let mut position = at + digits;
    while position > at {
        position -= 1;
        text[position] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Self {
        let us = match time.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(MAX_US),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(-MIN_US),
        };
        Self::from_unix_us(us)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let invalid = || InvalidTimestamp {
            text: text.chars().take(64).collect(),
        };
        // RFC 3339 is narrower than what the library reads: it has a `T`, seconds and no annotations.
        let bytes = text.as_bytes();
        let shaped =
            bytes.len() >= 20 && bytes.len() <= 40 && matches!(bytes[10], b'T' | b't') && bytes[16] == b':';
        if !shaped || text.contains('[') {
            return Err(invalid());
        }
        let parsed: jiff::Timestamp = text.parse().map_err(|_| invalid())?;
        let us = parsed.as_microsecond();
        if (MIN_US..=MAX_JIFF_US).contains(&us) {
            Ok(Self { unix_us: us })
        } else {
            Err(invalid())
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = jiff::Timestamp::from_microsecond(self.unix_us).map_err(|_| fmt::Error)?;
        write!(f, "{moment:.6}")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

serde_as_text!(Timestamp);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn offsets_are_folded_into_utc() {
        let moment: Timestamp = "2026-11-21T11:32:01.5+01:00".parse().unwrap();
        assert_eq!(moment.to_string(), "2026-11-21T10:32:01.500000Z");
        assert_eq!(moment.utc_day(), "2026-11-21");
    }

    #[test]
    fn only_rfc_3339_is_read() {
        for bad in [
            "",
            "2026-11-21",
            "2026-11-21T10:32Z",
            "2026-11-21 10:32:01",
            "2026-11-21T10:32:01",
            "20261121T103201Z",
            "2026-11-21T10:32:01Z[UTC]",
            "2026-13-01T00:00:00Z",
            "now",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_moment_beyond_the_last_one_is_the_last_one_and_can_be_written() {
        for moment in [
            Timestamp::from_unix_us(i64::MAX),
            Timestamp::from_unix_us(0).plus_seconds(i64::MAX),
            Timestamp::from_unix_us(i64::MIN),
        ] {
            assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
        }
    }

    proptest! {
        #[test]
        fn every_moment_has_one_spelling_that_reads_back(us in MIN_US..=MAX_JIFF_US) {
            let moment = Timestamp::from_unix_us(us);
            let text = moment.to_string();
            prop_assert_eq!(text.len(), 27);
            prop_assert_eq!(text.as_bytes(), moment.to_ascii());
            prop_assert_eq!(text.parse::<Timestamp>().unwrap(), moment);
        }
    }
}
