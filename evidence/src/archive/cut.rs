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
use crate::scan::{has_shape_of_time, plain_bytes};

/// Where in an entry the value of each column stands, as it is written there.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    /// Where the value of each column that is present stands.
    places: [(u16, u16); RAW],
    /// One bit for each column that the entry has.
    present: u64,
    /// One bit for each column of text whose value has escapes in it.
    escaped: u64,
}

/// A value as an entry writes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written<'e> {
    /// With the quotation marks of a text.
    pub(crate) bytes: &'e [u8],
    /// Of a text: whether it is not what stands between its quotation marks.
    is_escaped: bool,
}

const _: () = assert!(RAW <= 64, "each column has a bit");

impl Default for Cut {
    fn default() -> Self {
        Self {
            places: [(0, 0); RAW],
            present: 0,
            escaped: 0,
        }
    }
}

impl<'e> Written<'e> {
    /// The text, in UTF-8; the whole entry was found to be that.
    pub(crate) fn text(self) -> Cow<'e, [u8]> {
        let inside = &self.bytes[1..self.bytes.len() - 1];
        if self.is_escaped {
            let text = text(self.bytes).expect("a cut is made of readable values");
            Cow::Owned(text.into_owned().into_bytes())
        } else {
            Cow::Borrowed(inside)
        }
    }
}

impl Cut {
    /// Cuts `entry`; `false` where its columns would not make it again.
    pub(crate) fn take(&mut self, entry: &[u8]) -> bool {
        (self.present, self.escaped) = (0, 0);
        let is_ascii = (entry.len() <= MAX_EVENT_BYTES)
            .then(|| self.fields(entry))
            .flatten();
        is_ascii.is_some_and(|is_ascii| is_ascii || std::str::from_utf8(entry).is_ok())
    }

    /// What `entry`, which was cut, states in that column.
    pub(crate) fn value<'e>(&self, entry: &'e [u8], column: usize) -> Option<Written<'e>> {
        let bit = 1 << column;
        (self.present & bit != 0).then(|| {
            let (start, end) = self.places[column];
            Written {
                bytes: &entry[usize::from(start)..usize::from(end)],
                is_escaped: self.escaped & bit != 0,
            }
        })
    }

    /// The columns that are there, each with its value.
    pub(crate) fn values<'c, 'e>(&'c self, entry: &'e [u8]) -> impl Iterator<Item = (usize, Written<'e>)> + 'c
    where
        'e: 'c,
    {
        let mut left = self.present;
        std::iter::from_fn(move || {
            let column = left.trailing_zeros() as usize;
            // The lowest bit, taken away.
            left &= left.wrapping_sub(1);
            self.value(entry, column.min(RAW - 1))
                .filter(|_| column < RAW)
                .map(|value| (column, value))
        })
    }

    /// Whether all of the entry is ASCII; `None` where it cannot be cut.
    fn fields(&mut self, entry: &[u8]) -> Option<bool> {
        let mut rest = entry.strip_prefix(b"{")?;
        let (mut next, mut is_ascii) = (0, true);
        loop {
            let quoted = Quoted::of(rest)?;
            let at = next
                + COLUMNS[next..RAW]
                    .iter()
                    .position(|column| column.key().is(&quoted))?;
            let value = COLUMNS[at].key().after(quoted)?;
            let Extent {
                length,
                is_escaped,
                is_ascii: is_value_ascii,
            } = extent(value, COLUMNS[at].kind())?;
            let start = entry.len() - value.len();
            self.places[at] = (narrow(start), narrow(start + length));
            self.present |= 1 << at;
            self.escaped |= u64::from(is_escaped) << at;
            is_ascii &= is_value_ascii;
            next = at + 1;
            rest = &value[length..];
            match rest {
                [b',', more @ ..] => rest = more,
                [b'}'] => return Some(is_ascii),
                _ => return None,
            }
        }
    }
}

fn narrow(at: usize) -> u16 {
    u16::try_from(at).expect("an entry has at most 4 KiB")
}

/// A value at the beginning of some bytes.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// In bytes.
    length: usize,
    /// Whether texts in it have escapes.
    is_escaped: bool,
    /// Whether all of it is ASCII; where not, nobody looked yet whether it is UTF-8.
    is_ascii: bool,
}

impl Extent {
    const fn plain(length: usize) -> Self {
        Self {
            length,
            is_escaped: false,
            is_ascii: true,
        }
    }
}

/// The value that `bytes` begin with, if it is one that its column gives back as it stands.
fn extent(bytes: &[u8], kind: ColumnType) -> Option<Extent> {
    match kind {
        ColumnType::Text => text_extent(bytes),
        ColumnType::Texts => list_extent(bytes, text_extent),
        ColumnType::Objects => objects_extent(bytes),
        ColumnType::Int32 => number_length(bytes, i32::MAX.unsigned_abs().into()).map(Extent::plain),
        ColumnType::Int64 => number_length(bytes, base::json::MAX_INTEGER).map(Extent::plain),
        ColumnType::Flag => {
            let word = [b"true".as_slice(), b"false"];
            let word = word.into_iter().find(|word| bytes.starts_with(word))?;
            Some(Extent::plain(word.len()))
        }
        ColumnType::Time => {
            let (text, _) = bytes.split_at_checked(TIME_LENGTH)?;
            time(text).map(|_| Extent::plain(TIME_LENGTH))
        }
    }
}

/// With its quotation marks.
const TIME_LENGTH: usize = 29;

/// A text between quotation marks, written as [`push_text`] writes it.
fn text_extent(bytes: &[u8]) -> Option<Extent> {
    let inside = bytes.strip_prefix(b"\"")?;
    let (mut is_escaped, mut is_ascii) = (false, true);
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
            0x80.. => {
                is_ascii = false;
                at += 1;
            }
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
    Some(Extent {
        length,
        is_escaped,
        is_ascii,
    })
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
fn list_extent(bytes: &[u8], item: impl Fn(&[u8]) -> Option<Extent>) -> Option<Extent> {
    let mut rest = bytes.strip_prefix(b"[")?;
    let mut whole = Extent::plain(0);
    loop {
        let item = item(rest)?;
        whole.is_escaped |= item.is_escaped;
        whole.is_ascii &= item.is_ascii;
        rest = &rest[item.length..];
        match rest {
            [b',', more @ ..] => rest = more,
            [b']', more @ ..] => {
                whole.length = bytes.len() - more.len();
                return Some(whole);
            }
            _ => return None,
        }
    }
}

/// A list of objects. The reader of JSON finds where each ends; its text is kept as it is.
fn objects_extent(bytes: &[u8]) -> Option<Extent> {
    list_extent(bytes, |rest| {
        let mut stream =
            serde_json::Deserializer::from_slice(rest).into_iter::<&serde_json::value::RawValue>();
        let object = stream.next()?.ok()?.get();
        // What stands around it would be lost.
        let is_whole = object.starts_with('{') && rest.starts_with(object.as_bytes());
        is_whole.then(|| Extent {
            length: object.len(),
            is_escaped: false,
            is_ascii: object.is_ascii(),
        })
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
    moment(written.strip_prefix(b"\"")?.strip_suffix(b"\"")?)
}

/// The same, without quotation marks.
pub(crate) fn moment(text: &[u8]) -> Option<i64> {
    if !has_shape_of_time(text) {
        return None;
    }
    let part = |range: Range<usize>| {
        let add = |value: i64, digit: &u8| value * 10 + i64::from(digit - b'0');
        text[range].iter().fold(0, add)
    };
    let (year, month, day) = (part(0..4), part(5..7), part(8..10));
    let (hour, minute, second) = (part(11..13), part(14..16), part(17..19));
    if !(1..=12).contains(&month)
        || !(1..=days_of(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let seconds = days_before(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let us = seconds * 1_000_000 + part(20..26);
    // The last day of the year 9999 has moments that no timestamp has.
    (Timestamp::from_unix_us(us).unix_us() == us).then_some(us)
}

/// How many days a month of the proleptic Gregorian calendar has.
const fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
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
    let item = |rest: &[u8]| {
        let extent = match kind {
            ColumnType::Objects => {
                let mut stream =
                    serde_json::Deserializer::from_slice(rest).into_iter::<&serde_json::value::RawValue>();
                Extent::plain(stream.next()?.ok()?.get().len())
            }
            _ => text_extent(rest)?,
        };
        let start = list.len() - rest.len();
        found.borrow_mut().push(start..start + extent.length);
        Some(extent)
    };
    list_extent(list, item);
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
            [b"\"", name.as_bytes(), b"\":", value.bytes].concat()
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
        fn a_moment_is_read_only_where_it_would_be_written_so(
            date in (0_u32..10_000, 0_u32..14, 0_u32..33),
            clock in (0_u32..26, 0_u32..62, 0_u32..62, 0_u32..1_000_000),
        ) {
            let ((year, month, day), (hour, minute, second, us)) = (date, clock);
            let written =
                format!("\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{us:06}Z\"");
            let text = written.trim_matches('"');
            let expected = text.parse::<Timestamp>().ok().filter(|moment| moment.to_ascii() == text.as_bytes());
            prop_assert_eq!(time(written.as_bytes()), expected.map(Timestamp::unix_us), "{}", written);
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
