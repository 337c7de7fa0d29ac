//! When a night is due, and which nights were missed.
//!
//! A schedule is a crontab line in a time zone. The `cron` crate is never handed that zone: in it,
//! a nightly job is skipped in spring and runs twice in autumn. It walks plain wall-clock times
//! instead, and each of them becomes one moment here. A time that the clock skips happens an hour
//! later (RFC 5545 §3.3.5), a time that it shows twice happens the first time, so every night runs
//! exactly once.

use std::fmt;

use base::Timestamp;
use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};
use reports::predicate::Period;

use crate::crontab::{self, InvalidLine};

/// The longest stretch that a clock was ever set forward by (Samoa, 30 December 2011: one day),
/// and an hour.
const LONGEST_GAP: jiff::SignedDuration = jiff::SignedDuration::from_hours(25);

/// A crontab line in a time zone.
#[derive(Clone)]
pub struct Schedule {
    line: String,
    either: Vec<cron::Schedule>,
    zone: TimeZone,
}

/// Why there is no such schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// The line is not understood.
    #[error("schedule {line:?}: {problem}")]
    Line {
        /// The line as written.
        line: String,
        /// What is wrong with it.
        #[source]
        problem: InvalidLine,
    },
    /// No such time zone.
    #[error("{zone:?} is not an IANA time zone; write one such as \"Europe/Berlin\" or \"UTC\"")]
    Zone {
        /// The zone as written.
        zone: String,
    },
}

impl Schedule {
    /// Reads a five-field line and an IANA zone name.
    ///
    /// # Errors
    /// [`InvalidSchedule`], naming the field or the zone.
    pub fn parse(line: &str, zone: &str) -> Result<Self, InvalidSchedule> {
        let wrong = |problem| InvalidSchedule::Line {
            line: base::escape_untrusted(line.as_bytes(), 120),
            problem,
        };
        let schedule = Self {
            line: line.to_owned(),
            either: crontab::read(line).map_err(wrong)?,
            zone: TimeZone::get(zone).map_err(|_| InvalidSchedule::Zone {
                zone: base::escape_untrusted(zone.as_bytes(), 80),
            })?,
        };
        let some_leap_cycle = civil::date(2000, 1, 1).at(0, 0, 0, 0);
        match schedule.next_wall_time(some_leap_cycle) {
            Some(_) => Ok(schedule),
            None => Err(wrong(InvalidLine::NeverComes)),
        }
    }

    /// The first moment after `now` at which the schedule fires. `None` beyond the year 2100, where
    /// the crate's calendar ends.
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        let here = to_jiff(now).to_zoned(self.zone.clone()).datetime();
        let mut wall = here.checked_sub(LONGEST_GAP).unwrap_or(civil::DateTime::MIN);
        let mut found: Option<(Timestamp, civil::DateTime)> = None;
        loop {
            let next = self.next_wall_time(wall);
            // A skipped time happens later than the times right after it: those come first.
            match (next, found) {
                (None, _) => return found.map(|(moment, _)| moment),
                (Some(next), Some((moment, until))) if next > until => return Some(moment),
                _ => {}
            }
            wall = next?;
            let (moment, overtaken_until) = self.moment_of(wall)?;
            if moment > now && found.is_none_or(|(best, _)| moment < best) {
                let until = found.map_or(overtaken_until, |(_, until)| until);
                found = Some((moment, until));
            }
        }
    }

    /// The moments in (`last_fired`, `now`] at which the schedule fired, in order.
    pub fn missed_between(&self, last_fired: Timestamp, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_after(last_fired), |&fired| self.next_after(fired))
            .take_while(move |&fired| fired <= now)
    }

    /// The periods that are due at `now` if everything before `audited_to` was audited: one for each
    /// missed night, in order, each beginning where the one before it ends.
    pub fn due(&self, audited_to: Timestamp, now: Timestamp) -> impl Iterator<Item = Period> {
        let mut from = audited_to;
        self.missed_between(audited_to, now).map(move |to| Period {
            from: std::mem::replace(&mut from, to),
            to,
        })
    }

    fn next_wall_time(&self, after: civil::DateTime) -> Option<civil::DateTime> {
        let after = as_if_utc(after)?;
        let nexts = self
            .either
            .iter()
            .filter_map(|schedule| schedule.after(&after).next());
        from_fake_utc(nexts.min()?)
    }

    /// The moment at which the zone's clock shows `wall`, and the last wall-clock time whose moment
    /// may still come before it.
    fn moment_of(&self, wall: civil::DateTime) -> Option<(Timestamp, civil::DateTime)> {
        let ambiguous = self.zone.to_ambiguous_timestamp(wall);
        let until = match ambiguous.offset() {
            AmbiguousOffset::Gap { before, after } => wall.checked_add(after.duration_since(before)).ok()?,
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => wall,
        };
        let moment = ambiguous.compatible().ok()?;
        Some((Timestamp::from_unix_us(moment.as_microsecond()), until))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.line, self.zone.iana_name().unwrap_or("UTC"))
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn to_jiff(moment: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(moment.unix_us()).expect("base clamps to what jiff can name")
}

/// A wall-clock time dressed up as UTC, because that zone has no gaps to get wrong.
fn as_if_utc(wall: civil::DateTime) -> Option<chrono::DateTime<chrono::Utc>> {
    let seconds = TimeZone::UTC.to_timestamp(wall).ok()?.as_second();
    chrono::DateTime::from_timestamp(seconds, 0)
}

fn from_fake_utc(time: chrono::DateTime<chrono::Utc>) -> Option<civil::DateTime> {
    let moment = jiff::Timestamp::from_second(time.timestamp()).ok()?;
    Some(moment.to_zoned(TimeZone::UTC).datetime())
}

#[cfg(test)]
mod tests {
    use croner::parser::CronParser;
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn berlin(line: &str) -> Schedule {
        Schedule::parse(line, "Europe/Berlin").unwrap()
    }

    fn fires(schedule: &Schedule, from: &str, to: &str) -> Vec<String> {
        let seconds = |moment: Timestamp| moment.to_string()[..16].to_owned();
        schedule.missed_between(at(from), at(to)).map(seconds).collect()
    }

    #[test]
    fn every_one_of_400_nights_runs_exactly_once() {
        for line in [
            "0 2 * * *",
            "30 2 * * *",
            "59 2 * * *",
            "0 3 * * *",
            "30 1 * * *",
            "0 0 * * *",
        ] {
            let schedule = berlin(line);
            let nights: Vec<Timestamp> = schedule
                .missed_between(at("2026-01-01T12:00:00Z"), at("2027-02-05T12:00:00Z"))
                .collect();
            let days: std::collections::BTreeSet<_> = nights
                .iter()
                .map(|&night| to_jiff(night).to_zoned(schedule.zone.clone()).date())
                .collect();
            assert_eq!((nights.len(), days.len()), (400, 400), "{line}");
            assert!(nights.is_sorted(), "{line}");
        }
    }

    #[test]
    fn a_time_that_the_clock_skips_happens_an_hour_later() {
        assert_eq!(
            fires(
                &berlin("30 2 * * *"),
                "2026-03-28T12:00:00Z",
                "2026-03-30T12:00:00Z"
            ),
            ["2026-03-29T01:30", "2026-03-30T00:30"]
        );
    }

    #[test]
    fn a_time_that_the_clock_shows_twice_happens_the_first_time() {
        assert_eq!(
            fires(
                &berlin("30 2 * * *"),
                "2026-10-24T12:00:00Z",
                "2026-10-26T12:00:00Z"
            ),
            ["2026-10-25T00:30", "2026-10-26T01:30"]
        );
        // Asked in between the two, tonight's is over.
        let next = berlin("30 2 * * *")
            .next_after(at("2026-10-25T00:40:00Z"))
            .unwrap();
        assert_eq!(next, at("2026-10-26T01:30:00Z"));
    }

    #[test]
    fn skipped_times_and_the_times_they_land_on_come_in_order_and_once() {
        assert_eq!(
            fires(
                &berlin("0,30 2,3 * * *"),
                "2026-03-29T00:00:00Z",
                "2026-03-29T12:00:00Z"
            ),
            ["2026-03-29T01:00", "2026-03-29T01:30"]
        );
        // 02:50 happens at 03:50, after 03:10, although the wall clock says otherwise.
        assert_eq!(
            fires(
                &berlin("10,50 2,3 * * *"),
                "2026-03-29T00:00:00Z",
                "2026-03-29T12:00:00Z"
            ),
            ["2026-03-29T01:10", "2026-03-29T01:50"]
        );
    }

    #[test]
    fn a_whole_day_that_a_country_skipped_is_still_audited_once() {
        let apia = Schedule::parse("0 2 * * *", "Pacific/Apia").unwrap();
        assert_eq!(
            fires(&apia, "2011-12-28T20:00:00Z", "2012-01-01T00:00:00Z"),
            ["2011-12-29T12:00", "2011-12-30T12:00", "2011-12-31T12:00"]
        );
    }

    #[test]
    fn days_of_the_week_count_from_sunday_as_zero_or_seven() {
        let utc = |line: &str| Schedule::parse(line, "UTC").unwrap();
        let days = |line: &str| fires(&utc(line), "2026-11-21T12:00:00Z", "2026-11-28T12:00:00Z");
        // 22 November 2026 is a Sunday.
        for sunday in ["0 2 * * 0", "0 2 * * 7", "0 2 * * sun"] {
            assert_eq!(days(sunday), ["2026-11-22T02:00"], "{sunday}");
        }
        assert_eq!(days("0 2 * * 1"), ["2026-11-23T02:00"]);
        assert_eq!(days("0 2 * * MON"), ["2026-11-23T02:00"]);
        assert_eq!(days("0 2 * * 1-5").len(), 5);
        assert_eq!(days("0 2 * * sat-sun").len(), 2);
    }

    #[test]
    fn day_of_month_and_day_of_week_together_mean_either() {
        let schedule = Schedule::parse("0 2 25 * mon", "UTC").unwrap();
        assert_eq!(
            fires(&schedule, "2026-11-21T12:00:00Z", "2026-11-28T12:00:00Z"),
            ["2026-11-23T02:00", "2026-11-25T02:00"]
        );
    }

    #[test]
    fn missed_nights_are_contiguous_periods_in_order() {
        let schedule = berlin("0 2 * * *");
        let due: Vec<Period> = schedule
            .due(at("2026-11-20T01:00:00Z"), at("2026-11-23T00:59:59Z"))
            .collect();
        let expected = [
            "2026-11-20T01:00:00Z",
            "2026-11-21T01:00:00Z",
            "2026-11-22T01:00:00Z",
        ];
        assert_eq!(due.len(), 2);
        for (period, pair) in due.iter().zip(expected.windows(2)) {
            assert_eq!((period.from, period.to), (at(pair[0]), at(pair[1])));
        }
        // Once they are audited, nothing is due until the next night.
        assert_eq!(schedule.due(due[1].to, at("2026-11-23T00:59:59Z")).count(), 0);
        assert_eq!(schedule.due(due[1].to, at("2026-11-23T01:00:00Z")).count(), 1);
    }

    #[test]
    fn a_clock_set_back_makes_nothing_due() {
        assert_eq!(
            berlin("0 2 * * *")
                .due(at("2026-11-20T01:00:00Z"), at("2025-11-20T01:00:00Z"))
                .count(),
            0
        );
    }

    #[test]
    fn what_never_comes_and_zones_that_are_not_there_are_refused() {
        let message = |line: &str, zone: &str| Schedule::parse(line, zone).unwrap_err().to_string();
        assert!(message("0 2 30 2 *", "UTC").contains("never comes"));
        assert!(Schedule::parse("0 2 29 2 *", "UTC").is_ok());
        assert_eq!(
            message("0 2 * * *", "Europe/Atlantis"),
            "\"Europe/Atlantis\" is not an IANA time zone; write one such as \"Europe/Berlin\" or \"UTC\""
        );
        assert!(Schedule::parse("0 2 * * *", "").is_err());
    }

    proptest! {
        /// Away from changes of the clock, another implementation must say the same.
        #[test]
        fn croner_agrees(
            minute in "(\\*|\\*/15|[1-5]?[0-9]|0,30|10-20)",
            hour in "(\\*|\\*/6|1?[0-9]|2[0-3]|2-4)",
            day in "(\\*|[1-9]|1[0-9]|1,15)",
            month in "(\\*|[1-9]|1[0-2]|mar-jun)",
            weekday in "(\\*|[0-7]|1-5|sat|mon,wed)",
            start in 1_700_000_000_i64..1_800_000_000,
        ) {
            let line = format!("{minute} {hour} {day} {month} {weekday}");
            let ours = Schedule::parse(&line, "UTC").unwrap();
            let oracle = CronParser::new().parse(&line).unwrap();
            let mut theirs = chrono::DateTime::from_timestamp(start, 0).unwrap();
            let mut moment = Timestamp::from_unix_us(start * 1_000_000);
            for _ in 0..5 {
                theirs = oracle.find_next_occurrence(&theirs, false).unwrap();
                moment = ours.next_after(moment).unwrap();
                prop_assert_eq!(moment.unix_s(), theirs.timestamp(), "{}", line);
            }
        }

        #[test]
        fn the_next_moment_is_later_and_nothing_lies_between(
            start in 1_700_000_000_i64..1_900_000_000,
            step in 1_i64..200_000,
            line in "(30 2|\\*/20 \\*|15 1-3) \\* \\* (\\*|0|3)",
        ) {
            let schedule = berlin(&line);
            let now = Timestamp::from_unix_us(start * 1_000_000);
            let next = schedule.next_after(now).unwrap();
            prop_assert!(next > now);
            let within = now.plus_seconds(step);
            if within < next {
                prop_assert_eq!(schedule.next_after(within), Some(next));
            }
        }
    }
}
