//! Five-field lines as crontab(5) has them, translated for the `cron` crate.
//!
//! That crate wants seconds in front and counts Sunday as 1, so a line handed to it unchanged would
//! run on the wrong day. Each field is therefore read here, into the plain numbers it stands for.

use std::collections::BTreeSet;

/// A line that is not a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLine {
    /// Not five fields.
    #[error(
        "a schedule has five fields (minute hour day-of-month month day-of-week, as in \"0 2 * * *\"); this has {found}"
    )]
    FieldCount {
        /// Fields found.
        found: usize,
    },
    /// A part of a field that stands for nothing.
    #[error("{part:?} is no {field}; write {low}-{high}, *, a list, a range, or a step such as */15{names}")]
    Part {
        /// The field's name.
        field: &'static str,
        /// The part, as written.
        part: String,
        /// The lowest number of the field.
        low: u8,
        /// The highest number of the field.
        high: u8,
        /// The names that would do as well.
        names: &'static str,
    },
    /// A date that no calendar has.
    #[error("the schedule names a day that never comes, such as 30 February")]
    NeverComes,
}

/// One field's limits and names.
struct Field {
    name: &'static str,
    low: u8,
    high: u8,
    /// Three-letter names; the first stands for `low`.
    words: &'static [&'static str],
    hint: &'static str,
}

const MINUTE: Field = Field::plain("minute", 0, 59);
const HOUR: Field = Field::plain("hour", 0, 23);
const DAY_OF_MONTH: Field = Field::plain("day of the month", 1, 31);
const MONTH: Field = Field {
    name: "month",
    low: 1,
    high: 12,
    words: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
    hint: ", or jan to dec",
};
/// Sunday is 0 and 7, as in crontab(5).
const DAY_OF_WEEK: Field = Field {
    name: "day of the week",
    low: 0,
    high: 7,
    words: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    hint: ", or sun to sat",
};

impl Field {
    const fn plain(name: &'static str, low: u8, high: u8) -> Self {
        Self {
            name,
            low,
            high,
            words: &[],
            hint: "",
        }
    }

    fn read(&self, text: &str) -> Result<BTreeSet<u8>, InvalidLine> {
        let parts = text.split(',').map(|part| {
            self.read_part(part).ok_or_else(|| InvalidLine::Part {
                field: self.name,
                part: base::escape_untrusted(part.as_bytes(), 40),
                low: self.low,
                high: self.high,
                names: self.hint,
            })
        });
        Ok(parts
            .collect::<Result<Vec<_>, _>>()?
            .concat()
            .into_iter()
            .collect())
    }

    fn read_part(&self, part: &str) -> Option<Vec<u8>> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step).filter(|&step| step > 0)?)),
            None => (part, None),
        };
        let (first, last) = match (range, range.split_once('-')) {
            ("*", _) => (self.low, self.high),
            (_, Some((first, last))) => (self.value(first)?, self.range_end(last)?),
            // Cron implementations disagree about what `5/15` means.
            _ if step.is_some() => return None,
            _ => (self.value(range)?, self.value(range)?),
        };
        (first <= last).then(|| (first..=last).step_by(usize::from(step.unwrap_or(1))).collect())
    }

    fn value(&self, text: &str) -> Option<u8> {
        let lower = text.to_ascii_lowercase();
        let named = self.words.iter().position(|&word| word == lower);
        let value = match named {
            Some(at) => self.low + u8::try_from(at).ok()?,
            None => number(text)?,
        };
        (self.low..=self.high).contains(&value).then_some(value)
    }

    /// `sat-sun` is a weekend: at the end of a range, Sunday is 7.
    fn range_end(&self, text: &str) -> Option<u8> {
        let value = self.value(text)?;
        let sunday_by_name = value == 0 && !self.words.is_empty() && number(text).is_none();
        Some(if sunday_by_name { self.high } else { value })
    }
}

fn number(text: &str) -> Option<u8> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// Reads a line into schedules of the `cron` crate; the line fires whenever one of them does.
///
/// There are two where day of month and day of week are both restricted, because crontab(5) then
/// runs on either, while the crate would run on days that are both.
pub(crate) fn read(line: &str) -> Result<Vec<cron::Schedule>, InvalidLine> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err(InvalidLine::FieldCount { found: fields.len() });
    };
    let minutes = list(MINUTE.read(minute)?);
    let hours = list(HOUR.read(hour)?);
    let days = list(DAY_OF_MONTH.read(day)?);
    let months = list(MONTH.read(month)?);
    let weekdays = list(
        DAY_OF_WEEK
            .read(weekday)?
            .into_iter()
            .map(|day| day % 7 + 1)
            .collect(),
    );
    let build = |days: &str, weekdays: &str| {
        let text = format!("0 {minutes} {hours} {days} {months} {weekdays}");
        text.parse::<cron::Schedule>()
            .expect("plain lists within each field's limits parse")
    };
    // crontab(5): a field that starts with a star does not restrict.
    let either = !day.starts_with('*') && !weekday.starts_with('*');
    if either {
        Ok(vec![build(&days, "*"), build("*", &weekdays)])
    } else {
        Ok(vec![build(&days, &weekdays)])
    }
}

fn list(values: BTreeSet<u8>) -> String {
    let texts: Vec<String> = values.iter().map(u8::to_string).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(field: &Field, text: &str) -> Vec<u8> {
        field.read(text).unwrap().into_iter().collect()
    }

    #[test]
    fn fields_stand_for_the_numbers_people_expect() {
        assert_eq!(numbers(&MINUTE, "*/15"), [0, 15, 30, 45]);
        assert_eq!(numbers(&HOUR, "2,4-6"), [2, 4, 5, 6]);
        assert_eq!(numbers(&HOUR, "1-9/4"), [1, 5, 9]);
        assert_eq!(numbers(&MONTH, "JAN,mar-may"), [1, 3, 4, 5]);
        assert_eq!(numbers(&DAY_OF_WEEK, "mon-fri"), [1, 2, 3, 4, 5]);
        assert_eq!(numbers(&DAY_OF_WEEK, "sat-sun"), [6, 7]);
        assert_eq!(numbers(&DAY_OF_WEEK, "sun"), [0]);
    }

    #[test]
    fn a_bad_field_is_named_with_what_would_do() {
        let message = |line: &str| read(line).unwrap_err().to_string();
        assert!(message("0 2 * *").contains("this has 4"));
        assert!(message("0 0 2 * * *").contains("this has 6"));
        assert_eq!(
            message("60 2 * * *"),
            "\"60\" is no minute; write 0-59, *, a list, a range, or a step such as */15"
        );
        assert!(message("0 2 * * funday").contains("or sun to sat"));
        for bad in [
            "@daily",
            "",
            "-1 2 * * *",
            "0 24 * * *",
            "0 2 0 * *",
            "0 2 * 13 *",
            "0 2 * * 8",
            "0 2-1 * * *",
            "5/15 * * * *",
            "*/0 * * * *",
            "0,,1 * * * *",
            "0 2 L * *",
            "0 2 ? * *",
            "0 2 * * 1#2",
            "+1 2 * * *",
            "999 2 * * *",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
