//! A time as people name it: a day, a month, or from one to another.

use base::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use reports::predicate::Period;

/// Reads `2026-11-21`, `2026-11`, or `FROM/TO` with days or RFC 3339 moments. Days are those of UTC,
/// as in the log; a day as an end is not included.
///
/// # Errors
/// How a time is written.
pub fn parse(text: &str) -> Result<Period, String> {
    let bad = || {
        format!(
            "{text:?} is no time; write a day (2026-11-21), a month (2026-11), or FROM/TO, for example 2026-11-01/2026-11-15"
        )
    };
    let period = match text.split_once('/') {
        Some((from, to)) => Period {
            from: moment(from).ok_or_else(bad)?,
            to: moment(to).ok_or_else(bad)?,
        },
        None => {
            let (first, next) = match text.parse::<Date>() {
                Ok(day) if text.len() == 10 => (day, day.tomorrow().ok()),
                _ if text.len() == 7 => {
                    let first: Date = format!("{text}-01").parse().map_err(|_| bad())?;
                    (first, first.last_of_month().tomorrow().ok())
                }
                _ => return Err(bad()),
            };
            Period {
                from: midnight(first).ok_or_else(bad)?,
                to: next.and_then(midnight).ok_or_else(bad)?,
            }
        }
    };
    if period.from < period.to {
        Ok(period)
    } else {
        Err(format!("{text:?} ends before it begins"))
    }
}

fn moment(text: &str) -> Option<Timestamp> {
    match text.parse() {
        Ok(moment) => Some(moment),
        Err(_) if text.len() == 10 => midnight(text.parse().ok()?),
        Err(_) => None,
    }
}

fn midnight(day: Date) -> Option<Timestamp> {
    let zoned = day.to_zoned(TimeZone::UTC).ok()?;
    Some(Timestamp::from_unix_us(zoned.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_people_write_it() {
        for (text, from, to) in [
            ("2026-11-21", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"),
            ("2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (
                "2026-11-01/2026-11-15",
                "2026-11-01T00:00:00Z",
                "2026-11-15T00:00:00Z",
            ),
            (
                "2026-11-21T10:00:00Z/2026-11-22",
                "2026-11-21T10:00:00Z",
                "2026-11-22T00:00:00Z",
            ),
        ] {
            let period = parse(text).unwrap();
            assert_eq!(
                (period.from, period.to),
                (from.parse().unwrap(), to.parse().unwrap()),
                "{text}"
            );
        }
        for bad in [
            "",
            "2026",
            "2026-13",
            "2026-02-30",
            "yesterday",
            "2026-11-21/",
            "2026-11-22/2026-11-21",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
