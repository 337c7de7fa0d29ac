//! Telling at a glance that an entry is an event in canonical form.
//!
//! Reading an entry into an [`Event`](crate::Event) and writing it back is what decides; it also costs
//! ten times as much as hashing does. The scanner says yes only where that reader would, and for
//! whatever it is not sure of (escapes beyond the plain two, other scripts, IPv6, unknown keys) it says
//! nothing, and the reader is asked. Tests hold its every yes to the reader's.

use std::net::Ipv4Addr;

use base::{
    Attribution, Decision, DnsResult, Mode, ObservedScheme, Outcome, RefusalReason, SniVisibility, Transport,
};

use crate::encode::{kind_word, timeout_word};
use crate::key::{Key, Quoted};
use crate::{EventKind, MAX_EVENT_BYTES, Timeout};

/// What a scanned entry says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scanned<'a> {
    pub(crate) seq: u64,
    pub(crate) gateway: &'a [u8],
    pub(crate) kind: &'a [u8],
    /// The moment, as it is written between its quotation marks.
    pub(crate) time: &'a [u8],
}

/// What may stand as a field's value.
#[derive(Clone, Copy, Debug)]
enum Form {
    Text,
    Texts,
    Number,
    True,
    Flag,
    Host,
    Ip,
    Ips,
    Digest,
    Plugin,
    Port,
    Run,
    Time,
    Version,
    Word(fn(&[u8]) -> bool),
    Kind,
    Gateway,
    Seq,
}

/// A field's key, and what may stand as its value.
#[derive(Debug)]
struct Field {
    key: Key,
    form: Form,
}

impl Field {
    const fn new(key: &'static [u8], form: Form) -> Self {
        Self {
            key: Key::new(key),
            form,
        }
    }
}

/// Fields in the order of an entry. `attempts` and `claims`, which few events have, are left to the
/// reader.
const FIELDS: &[Field] = &[
    Field::new(b"alpn\"", Form::Text),
    Field::new(b"artifact_digest\"", Form::Digest),
    Field::new(
        b"attribution\"",
        Form::Word(|word| is_word(word, Attribution::ALL, |w| w.as_str())),
    ),
    Field::new(b"bytes_in\"", Form::Number),
    Field::new(b"bytes_out\"", Form::Number),
    Field::new(b"cause\"", Form::Text),
    Field::new(b"cname_chain\"", Form::Texts),
    Field::new(b"connect_ms\"", Form::Number),
    Field::new(b"connection_id\"", Form::Text),
    Field::new(b"count\"", Form::Number),
    Field::new(b"credential_fingerprint\"", Form::Text),
    Field::new(b"crl_number\"", Form::Number),
    Field::new(b"crl_stale\"", Form::True),
    Field::new(
        b"decision\"",
        Form::Word(|word| is_word(word, Decision::ALL, |w| w.as_str())),
    ),
    Field::new(b"destination_host\"", Form::Host),
    Field::new(b"dialed_ip\"", Form::Ip),
    Field::new(b"dns_ms\"", Form::Number),
    Field::new(
        b"dns_result\"",
        Form::Word(|word| is_word(word, DnsResult::ALL, |w| w.as_str())),
    ),
    Field::new(b"duration_ms\"", Form::Number),
    Field::new(b"entries_from\"", Form::Number),
    Field::new(b"entries_to\"", Form::Number),
    Field::new(b"file\"", Form::Text),
    Field::new(b"file_sha256\"", Form::Digest),
    Field::new(b"first_byte_ms\"", Form::Number),
    Field::new(b"gateway\"", Form::Gateway),
    Field::new(b"host_header\"", Form::Text),
    Field::new(b"inner_target\"", Form::Text),
    Field::new(b"kind\"", Form::Kind),
    Field::new(b"matched_entry\"", Form::Text),
    Field::new(
        b"mode\"",
        Form::Word(|word| is_word(word, Mode::ALL, |w| w.as_str())),
    ),
    Field::new(
        b"outcome\"",
        Form::Word(|word| is_word(word, Outcome::ALL, |w| w.as_str())),
    ),
    Field::new(b"payload_class\"", Form::Text),
    Field::new(b"plugin_id\"", Form::Plugin),
    Field::new(b"policy_version\"", Form::Number),
    Field::new(b"port\"", Form::Port),
    Field::new(b"raw_target\"", Form::Text),
    Field::new(
        b"reason\"",
        Form::Word(|word| is_word(word, RefusalReason::ALL, |w| w.as_str())),
    ),
    Field::new(b"resolved_ips\"", Form::Ips),
    Field::new(b"run_id\"", Form::Run),
    Field::new(
        b"scheme\"",
        Form::Word(|word| is_word(word, ObservedScheme::ALL, |w| w.as_str())),
    ),
    Field::new(b"scope\"", Form::Text),
    Field::new(b"seq\"", Form::Seq),
    Field::new(b"sni\"", Form::Text),
    Field::new(
        b"sni_visibility\"",
        Form::Word(|word| is_word(word, SniVisibility::ALL, |w| w.as_str())),
    ),
    Field::new(b"source_ip\"", Form::Ip),
    Field::new(b"stripped_headers\"", Form::Texts),
    Field::new(b"time\"", Form::Time),
    Field::new(
        b"timeout\"",
        Form::Word(|word| is_word(word, Timeout::ALL, timeout_word)),
    ),
    Field::new(
        b"transport\"",
        Form::Word(|word| is_word(word, Transport::ALL, |w| w.as_str())),
    ),
    Field::new(b"tunnels\"", Form::Number),
    Field::new(b"v\"", Form::Version),
    Field::new(b"via\"", Form::Text),
    Field::new(b"would_deny\"", Form::Flag),
];

/// Fields that no event lacks: `gateway`, `kind`, `seq`, `time` and `v`.
const REQUIRED: usize = 5;

/// Digits that no counter below 2⁵³ can exceed; longer ones are left to the reader.
const SURE_DIGITS: usize = 15;

/// What `entry` says of itself, where it is certainly an event in canonical form.
pub(crate) fn scan(entry: &[u8]) -> Option<Scanned<'_>> {
    if entry.len() > MAX_EVENT_BYTES {
        return None;
    }
    let mut scanner = Scanner {
        rest: entry.strip_prefix(b"{")?,
    };
    let mut scanned = Scanned {
        seq: 0,
        gateway: b"",
        kind: b"",
        time: b"",
    };
    let mut required = 0;
    let mut fields = FIELDS.iter();
    loop {
        // Keys rise, so each is sought from where the last was found, and none is found twice.
        let field = scanner.field(&mut fields)?;
        required += usize::from(is_required(&field.form));
        match field.form {
            Form::Gateway => scanned.gateway = scanner.text().filter(|name| !name.contains(&b'\\'))?,
            Form::Seq => scanned.seq = scanner.number()?,
            Form::Kind => {
                scanned.kind = scanner
                    .text()
                    .filter(|word| is_word(word, EventKind::ALL, kind_word))?;
            }
            Form::Time => scanned.time = scanner.text_of(27).filter(|text| is_time(text))?,
            form => scanner.value(form)?,
        }
        match scanner.byte()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    (scanner.rest.is_empty() && required == REQUIRED).then_some(scanned)
}

const fn is_required(form: &Form) -> bool {
    matches!(
        form,
        Form::Gateway | Form::Kind | Form::Seq | Form::Time | Form::Version
    )
}

struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(literal)?;
        Some(())
    }

    /// The field whose key comes next, among those that are left.
    fn field(&mut self, fields: &mut std::slice::Iter<'static, Field>) -> Option<&'static Field> {
        let quoted = Quoted::of(self.rest)?;
        let field = fields.find(|field| field.key.is(&quoted))?;
        self.rest = field.key.after(quoted)?;
        Some(field)
    }

    fn value(&mut self, form: Form) -> Option<()> {
        let is_good = match form {
            Form::Text => self.text().is_some(),
            Form::Texts => self.list(|_| true)?,
            Form::Number => self.number().is_some(),
            Form::True => self.literal(b"true").is_some(),
            Form::Flag => self.literal(b"true").or_else(|| self.literal(b"false")).is_some(),
            Form::Host => is_host(self.text()?),
            Form::Ip => is_ipv4(self.text()?),
            Form::Ips => self.list(is_ipv4)?,
            Form::Digest => is_digest(self.text_of(71)?),
            Form::Plugin => is_plugin(self.text()?),
            Form::Port => (1..=65_535).contains(&self.number()?),
            Form::Run => is_run(self.text_of(36)?),
            Form::Version => self.number()? == u64::from(crate::EVENT_VERSION),
            Form::Word(is_word) => is_word(self.text()?),
            Form::Kind | Form::Gateway | Form::Seq | Form::Time => false,
        };
        is_good.then_some(())
    }

    /// Plain digits, no leading zero.
    fn number(&mut self) -> Option<u64> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = self.rest.split_at(digits);
        if digits == 0 || digits > SURE_DIGITS || (digits > 1 && number[0] == b'0') {
            return None;
        }
        self.rest = rest;
        Some(
            number
                .iter()
                .fold(0, |value, digit| value * 10 + u64::from(digit - b'0')),
        )
    }

    /// The inside of a string, escapes left as they are. Of these only `\\` and `\"` are passed.
    fn text(&mut self) -> Option<&'a [u8]> {
        let inside = self.rest.strip_prefix(b"\"")?;
        let mut at = 0;
        loop {
            at += plain_bytes(&inside[at..]);
            match inside.get(at)? {
                b'"' => break,
                b'\\' if matches!(inside.get(at + 1)?, b'"' | b'\\') => at += 2,
                _ => return None,
            }
        }
        self.rest = &inside[at + 1..];
        Some(&inside[..at])
    }

    /// The inside of a string of that length, which the caller looks at byte by byte.
    fn text_of(&mut self, length: usize) -> Option<&'a [u8]> {
        let inside = self.rest.strip_prefix(b"\"")?;
        let (text, rest) = inside.split_at_checked(length)?;
        self.rest = rest.strip_prefix(b"\"")?;
        Some(text)
    }

    /// A list of at least one.
    fn list(&mut self, is_good: impl Fn(&[u8]) -> bool) -> Option<bool> {
        self.literal(b"[")?;
        let mut all_good = true;
        loop {
            all_good &= is_good(self.text()?);
            match self.byte()? {
                b',' => {}
                b']' => return Some(all_good),
                _ => return None,
            }
        }
    }
}

/// How many bytes come before the first quotation mark, backslash, control character or byte of
/// another script; eight at a time, because most of an entry is text.
pub(crate) fn plain_bytes(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // "Determine if a word has a zero byte", or one below a value (S. E. Anderson, Bit Twiddling
    // Hacks). The first one that is marked is marked rightly.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, rest) = text.as_chunks::<8>();
    for (position, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let marked = zero(word ^ (ONES * b'"' as u64))
            | zero(word ^ (ONES * b'\\' as u64))
            | (word.wrapping_sub(ONES * 0x20) & !word & HIGHS)
            | (word & HIGHS);
        if marked != 0 {
            return position * 8 + marked.trailing_zeros() as usize / 8;
        }
    }
    let special = |byte: &u8| matches!(byte, 0..0x20 | 0x80.. | b'"' | b'\\');
    words.len() * 8 + rest.iter().position(special).unwrap_or(rest.len())
}

fn is_word<T: Copy>(word: &[u8], all: &[T], spelling: impl Fn(T) -> &'static str) -> bool {
    // The first letters tell most words apart, without a call.
    all.iter().any(|&value| {
        let spelling = spelling(value).as_bytes();
        spelling.first() == word.first() && spelling == word
    })
}

/// A name whose last label begins with a letter, or a dotted quad. Other addresses are left to the
/// reader.
fn is_host(text: &[u8]) -> bool {
    let misfit = |label: &[u8]| {
        label.is_empty() || label.len() > 63 || label.starts_with(b"-") || label.ends_with(b"-")
    };
    let plain = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    if text.len() > 253 || !all(text, plain) {
        return false;
    }
    let mut last: &[u8] = b"";
    for label in text.split(|&byte| byte == b'.') {
        if misfit(label) {
            return false;
        }
        last = label;
    }
    last.first().is_some_and(u8::is_ascii_lowercase) || is_ipv4(text)
}

fn is_ipv4(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv4Addr>().is_ok())
}

fn is_hex(text: &[u8]) -> bool {
    all(text, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Looks at every byte, whatever the first ones are: without an early end, many are looked at at once.
fn all(text: &[u8], is_good: impl Fn(&u8) -> bool) -> bool {
    text.iter().fold(true, |all, byte| all & is_good(byte))
}

fn is_digest(text: &[u8]) -> bool {
    text.strip_prefix(b"sha256:")
        .is_some_and(|digits| digits.len() == 64 && is_hex(digits))
}

fn is_plugin(text: &[u8]) -> bool {
    let inner = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let outer =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    text.len() <= base::PluginId::MAX_LEN && all(text, inner) && outer(text.first()) && outer(text.last())
}

/// A UUIDv7 of the usual variant (RFC 9562 §5.7).
fn is_run(text: &[u8]) -> bool {
    let groups = |groups: [&[u8]; 5]| groups.into_iter().all(is_hex);
    text.len() == 36
        && groups([
            &text[..8],
            &text[9..13],
            &text[14..18],
            &text[19..23],
            &text[24..],
        ])
        && [8, 13, 18, 23].into_iter().all(|at| text[at] == b'-')
        && text[14] == b'7'
        && matches!(text[19], b'8' | b'9' | b'a' | b'b')
}

/// A moment between the years 1000 and 8999, whose date is one in every year.
/// Whether a text has digits and signs where a moment has them.
pub(crate) fn has_shape_of_time(text: &[u8]) -> bool {
    let shape = b"0000-00-00T00:00:00.000000Z";
    // A digit where the shape has one, and the same byte everywhere else.
    let fits = |(byte, shape): (&u8, &u8)| (*shape == b'0') & byte.is_ascii_digit() | (byte == shape);
    text.len() == shape.len() && text.iter().zip(shape).fold(true, |all, pair| all & fits(pair))
}

fn is_time(text: &[u8]) -> bool {
    if !has_shape_of_time(text) {
        return false;
    }
    let pair = |at: usize| (text[at] - b'0') * 10 + (text[at + 1] - b'0');
    let days = match pair(5) {
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (b'1'..=b'8').contains(&text[0])
        && (1..=days).contains(&pair(8))
        && pair(11) < 24
        && pair(14) < 60
        && pair(17) < 60
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Event;
    use crate::arbitrary::{any_event, plain_event};

    /// A yes of the scanner is one that the reader gives too, and for the same event.
    fn holds(entry: &[u8]) -> bool {
        let Some(scanned) = scan(entry) else {
            return false;
        };
        let event = Event::from_entry(entry).expect("the scanner said yes");
        assert_eq!(event.seq, scanned.seq);
        assert_eq!(event.gateway.as_bytes(), scanned.gateway);
        true
    }

    proptest! {
        #[test]
        fn what_a_gateway_writes_every_day_needs_no_reader(event in plain_event()) {
            prop_assert!(holds(&event.to_entry().unwrap()));
        }

        #[test]
        fn the_scanner_never_says_yes_where_the_reader_says_no(
            event in any_event(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            with in "[ -~]{0,3}",
            cut in 0usize..4,
        ) {
            let Ok(entry) = event.to_entry() else { return Ok(()) };
            holds(&entry);
            let mut changed = entry.clone();
            changed[at.index(entry.len())] = byte;
            holds(&changed);
            let mut spliced = entry.clone();
            let from = at.index(entry.len());
            spliced.splice(from..(from + cut).min(entry.len()), with.bytes());
            holds(&spliced);
        }

        #[test]
        fn fields_of_two_events_never_add_up_to_one_that_only_the_scanner_takes(
            one in plain_event(), other in plain_event(), cut in any::<prop::sample::Index>(),
        ) {
            let (one, other) = (one.to_entry().unwrap(), other.to_entry().unwrap());
            let commas: Vec<usize> = (0..one.len()).filter(|&at| one[at] == b',').collect();
            let others: Vec<usize> = (0..other.len()).filter(|&at| other[at] == b',').collect();
            let mut spliced = one[..commas[cut.index(commas.len())]].to_vec();
            spliced.extend_from_slice(&other[others[cut.index(others.len())]..]);
            holds(&spliced);
        }

        #[test]
        fn a_field_with_another_value_is_judged_as_the_reader_judges_it(
            at in 0..FIELDS.len(),
            value in "(\"[a-z0-9.:\\\\\"_-]{0,40}\"|[0-9]{1,19}|true|false|null|\\[\\]|\\[\"[0-9.]{0,15}\"\\]|\"[0-9]{1,3}(\\.[0-9]{1,3}){3}\"|\"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{6}Z\")",
        ) {
            let key = std::str::from_utf8(FIELDS[at].key.text).unwrap().trim_end_matches('"');
            let mut fields = std::collections::BTreeMap::from([
                ("gateway", "\"gw\"".to_owned()),
                ("kind", "\"open\"".to_owned()),
                ("seq", "1".to_owned()),
                ("time", "\"2026-11-21T10:32:01.000000Z\"".to_owned()),
                ("v", "1".to_owned()),
            ]);
            fields.insert(key, value);
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            holds(format!("{{{}}}", fields.join(",")).as_bytes());
        }

        #[test]
        fn no_bytes_make_the_scanner_panic(bytes in prop::collection::vec(any::<u8>(), 0..99)) {
            let _ = scan(&bytes);
            let _ = scan(&[b"{".as_slice(), &bytes].concat());
        }

        #[test]
        fn plain_bytes_are_counted_eight_at_a_time_as_they_are_one_by_one(text in prop::collection::vec(prop_oneof![9 => 0x20u8..0x7f, 1 => any::<u8>()], 0..40)) {
            let special = |byte: &u8| matches!(byte, 0..0x20 | 0x80.. | b'"' | b'\\');
            prop_assert_eq!(plain_bytes(&text), text.iter().position(special).unwrap_or(text.len()));
        }
    }

    #[test]
    fn the_fields_stand_in_canonical_order() {
        let name = |field: &Field| field.key.text[..field.key.text.len() - 1].to_vec();
        assert!(FIELDS.is_sorted_by(|one, other| name(one) < name(other)));
        let required: Vec<_> = FIELDS
            .iter()
            .filter(|field| is_required(&field.form))
            .map(name)
            .collect();
        assert_eq!(required, [b"gateway".as_slice(), b"kind", b"seq", b"time", b"v"]);
        assert_eq!(required.len(), REQUIRED);
    }

    #[test]
    fn a_missing_or_repeated_field_is_not_passed() {
        let whole = r#"{"gateway":"gw","kind":"open","seq":0,"time":"2026-11-21T10:32:01.500000Z","v":1}"#;
        assert!(holds(whole.as_bytes()));
        for required in [
            r#""gateway":"gw","#,
            r#""kind":"open","#,
            r#""seq":0,"#,
            r#""time":"2026-11-21T10:32:01.500000Z","#,
            r#","v":1"#,
        ] {
            assert_eq!(scan(whole.replace(required, "").as_bytes()), None);
            let twice = whole.replace(required, &format!("{required}{required}"));
            assert_eq!(scan(twice.as_bytes()), None);
        }
    }
}
