//! Cutting an entry into the values of its columns.
//!
//! A cut is made only where the pieces, put together again, are the entry byte for byte: whatever is in
//! doubt is not cut, and the entry then stands whole in `raw`. Reading an entry into an
//! [`Event`](crate::Event) and asking for its fields would cost ten times as much.

use std::borrow::Cow;
use std::ops::Range;

use base::Timestamp;

use super::columns::{COLUMNS, ColumnType, RAW};
use crate::MAX_EVENT_BYTES;
use crate::encode::{push_number, push_text};
use crate::key::Quoted;
use crate::scan::plain_bytes;

/// Where in an entry the value of each column stands, as it is written there.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    /// Empty where the entry has no such field.
    places: [(u16, u16); RAW],
    /// The columns that the entry has, in order.
    present: Vec<u8>,
}

impl Default for Cut {
    fn default() -> Self {
        Self {
            places: [(0, 0); RAW],
            present: Vec::with_capacity(RAW),
        }
    }
}

impl Cut {
    /// Cuts `entry`; `false` where its columns would not make it again.
    pub(crate) fn take(&mut self, entry: &[u8]) -> bool {
        self.present.clear();
        entry.len() <= MAX_EVENT_BYTES && std::str::from_utf8(entry).is_ok() && self.fields(entry).is_some()
    }

    /// Whether the entry states that column.
    pub(crate) fn has(&self, column: usize) -> bool {
        self.present.iter().any(|&at| usize::from(at) == column)
    }

    /// The columns that are there, each with its value as it is written.
    pub(crate) fn values<'c, 'e>(&'c self, entry: &'e [u8]) -> impl Iterator<Item = (usize, &'e [u8])> + 'c
    where
        'e: 'c,
    {
        self.present.iter().map(move |&at| {
            let at = usize::from(at);
            let (start, end) = self.places[at];
            (at, &entry[usize::from(start)..usize::from(end)])
        })
    }

    fn fields(&mut self, entry: &[u8]) -> Option<()> {
        let mut rest = entry.strip_prefix(b"{")?;
        let mut next = 0;
        loop {
            let quoted = Quoted::of(rest)?;
            let at = next
                + COLUMNS[next..RAW]
                    .iter()
                    .position(|column| column.key().is(&quoted))?;
            let value = COLUMNS[at].key().after(quoted)?;
            let length = value_length(value, COLUMNS[at].kind())?;
            let start = entry.len() - value.len();
            self.places[at] = (narrow(start), narrow(start + length));
            self.present.push(u8::try_from(at).ok()?);
            next = at + 1;
            rest = &value[length..];
            match rest {
                [b',', more @ ..] => rest = more,
                [b'}'] => return Some(()),
                _ => return None,
            }
        }
    }
}

fn narrow(at: usize) -> u16 {
    u16::try_from(at).expect("an entry has at most 4 KiB")
}

/// How long the value is that `bytes` begin with, if it is one that its column gives back as it stands.
fn value_length(bytes: &[u8], kind: ColumnType) -> Option<usize> {
    match kind {
        ColumnType::Text => text_length(bytes),
        ColumnType::Texts => list_length(bytes, text_length),
        ColumnType::Objects => objects_length(bytes),
        ColumnType::Int32 => number_length(bytes, i32::MAX.unsigned_abs().into()),
        ColumnType::Int64 => number_length(bytes, base::json::MAX_INTEGER),
        ColumnType::Flag => {
            let word = [b"true".as_slice(), b"false"];
            word.into_iter()
                .find(|word| bytes.starts_with(word))
                .map(<[u8]>::len)
        }
        ColumnType::Time => {
            let (text, _) = bytes.split_at_checked(TIME_LENGTH)?;
            time(text).map(|_| TIME_LENGTH)
        }
    }
}

/// With its quotation marks.
const TIME_LENGTH: usize = 29;

/// A text between quotation marks, written as [`push_text`] writes it.
fn text_length(bytes: &[u8]) -> Option<usize> {
    let inside = bytes.strip_prefix(b"\"")?;
    let mut is_escaped = false;
    let mut at = 0;
    loop {
        at += plain_bytes(&inside[at..]);
        match inside.get(at)? {
            b'"' => break,
            b'\\' => {
                is_escaped = true;
                at += 2;
            }
            // Other scripts stand as they are.
            0x80.. => at += 1,
            _ => return None,
        }
    }
    let length = at + 2;
    if is_escaped {
        let text = text(&bytes[..length])?;
        let mut again = Vec::with_capacity(length);
        push_text(&mut again, &text);
        if again != bytes[..length] {
            return None;
        }
    }
    Some(length)
}

fn number_length(bytes: &[u8], most: u64) -> Option<usize> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = number(&bytes[..digits])?;
    let mut again = Vec::new();
    // A number has one spelling: no zero before its first digit.
    if digits > 1 && bytes[0] == b'0' {
        push_number(&mut again, value);
    }
    (value <= most && (again.is_empty() || again == bytes[..digits])).then_some(digits)
}

/// A list of at least one: an empty one is left out of entries.
fn list_length(bytes: &[u8], item: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    let mut rest = bytes.strip_prefix(b"[")?;
    loop {
        rest = &rest[item(rest)?..];
        match rest {
            [b',', more @ ..] => rest = more,
            [b']', more @ ..] => return Some(bytes.len() - more.len()),
            _ => return None,
        }
    }
}

/// A list of objects. The reader of JSON finds where each ends; its text is kept as it is.
fn objects_length(bytes: &[u8]) -> Option<usize> {
    list_length(bytes, |rest| {
        let mut stream =
            serde_json::Deserializer::from_slice(rest).into_iter::<&serde_json::value::RawValue>();
        let object = stream.next()?.ok()?.get();
        // What stands around it would be lost.
        (object.starts_with('{') && rest.starts_with(object.as_bytes())).then_some(object.len())
    })
}

/// The text that stands between quotation marks in `written`.
pub(crate) fn text(written: &[u8]) -> Option<Cow<'_, str>> {
    let inside = written.get(1..written.len().checked_sub(1)?)?;
    if inside.contains(&b'\\') {
        serde_json::from_slice(written).ok().map(Cow::Owned)
    } else {
        std::str::from_utf8(inside).ok().map(Cow::Borrowed)
    }
}

/// The number that `digits` write.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    let add = |value: u64, digit: &u8| {
        value
            .checked_mul(10)?
            .checked_add(u64::from(digit.checked_sub(b'0')?))
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0, add)
}

/// The moment that stands between quotation marks in `written`, in microseconds since 1970, where it is
/// written as [`Timestamp`] writes it.
pub(crate) fn time(written: &[u8]) -> Option<i64> {
    let text = written.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let part = |range: Range<usize>| {
        let value = number(text.get(range)?)?;
        i64::try_from(value).ok()
    };
    let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
    let seconds = part(11..13)? * 3600 + part(14..16)? * 60 + part(17..19)?;
    let us = (days_before(year, month, day) * 86_400 + seconds) * 1_000_000 + part(20..26)?;
    (Timestamp::from_unix_us(us).to_ascii() == *text).then_some(us)
}

/// Days from 1970-01-01 to that date of the proleptic Gregorian calendar, in years that begin with
/// March, so that the leap day comes last (H. Hinnant, chrono-compatible low-level date algorithms).
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The items of a list as they are written in it; `list` was found to be one.
pub(crate) fn items(list: &[u8], kind: ColumnType) -> Vec<&[u8]> {
    let found = std::cell::RefCell::new(Vec::new());
    let item = |rest: &[u8]| -> Option<usize> {
        let length = match kind {
            ColumnType::Objects => {
                let mut stream =
                    serde_json::Deserializer::from_slice(rest).into_iter::<&serde_json::value::RawValue>();
                stream.next()?.ok()?.get().len()
            }
            _ => text_length(rest)?,
        };
        let start = list.len() - rest.len();
        found.borrow_mut().push(start..start + length);
        Some(length)
    };
    list_length(list, item);
    found.into_inner().into_iter().map(|range| &list[range]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::any_event;

    /// The entry, written again from its pieces.
    fn again(cut: &Cut, entry: &[u8]) -> Vec<u8> {
        let fields = cut.values(entry).map(|(at, value)| {
            let name = COLUMNS[at].name();
            [b"\"", name.as_bytes(), b"\":", value].concat()
        });
        let fields: Vec<_> = fields.collect();
        [b"{".as_slice(), &fields.join(b",".as_slice()), b"}"].concat()
    }

    proptest! {
        #[test]
        fn every_entry_that_a_log_accepts_is_cut(event in any_event()) {
            let Ok(entry) = event.to_entry() else { return Ok(()) };
            let mut cut = Cut::default();
            prop_assert!(cut.take(&entry), "{}", String::from_utf8_lossy(&entry));
            prop_assert_eq!(again(&cut, &entry), entry);
        }

        #[test]
        fn a_moment_is_read_as_it_was_written(us in any::<i64>()) {
            let moment = Timestamp::from_unix_us(us);
            let written = [b"\"".as_slice(), &moment.to_ascii(), b"\""].concat();
            prop_assert_eq!(time(&written), Some(moment.unix_us()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut cut = Cut::default();
            cut.take(&bytes);
            cut.take(&[b"{\"time\":\"".as_slice(), &bytes].concat());
            cut.take(&[b"{\"claims\":[".as_slice(), &bytes].concat());
        }
    }

    #[test]
    fn what_would_come_back_otherwise_is_not_cut() {
        let whole = r#"{"gateway":"gw","kind":"open","seq":0,"time":"2026-11-21T10:32:01.500000Z","v":1}"#;
        assert!(Cut::default().take(whole.as_bytes()));
        for (from, to) in [
            ("\"seq\":0", "\"seq\":00"),
            ("\"seq\":0", "\"seq\": 0"),
            ("\"seq\":0", "\"seq\":9007199254740993"),
            ("\"seq\":0", "\"seq\":0,\"speed\":1"),
            (".500000Z", ".5Z"),
            (".500000Z", ".5000001Z"),
            ("2026-11-21", "2026-02-30"),
            ("\"gw\"", "\"g\\u0077\""),
            ("\"gw\"", "\"g\\/w\""),
            ("{\"gateway\"", "{ \"gateway\""),
            ("\"v\":1}", "\"v\":1} "),
            ("\"v\":1}", "\"v\":2147483648}"),
            ("\"kind\"", "\"claims\":[ {}],\"kind\""),
            ("{\"gateway\"", "{\"claims\":[],\"gateway\""),
        ] {
            let changed = whole.replacen(from, to, 1);
            assert_ne!(changed, whole);
            assert!(!Cut::default().take(changed.as_bytes()), "{changed}");
        }
    }
}
