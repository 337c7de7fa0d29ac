//! Rows of one file: their kinds, times, bytes and ids, and what they say in numbered parts.

use std::net::{IpAddr, Ipv4Addr};

use base::{Host, Port, Target, Timestamp};
use evidence::archive::{ABSENT, Archive, InvalidArchive, ListColumn, NumberColumn, TextColumn};
use evidence::{Event, EventKind};
use serde::Deserialize;
use serde::de::value::{Error as NoWord, StrDeserializer};

use super::codes::{Numbered, Packed, equal_texts};
use super::parts::{Known, Parts, Same};
use crate::facts::{Course, Identity, Said, is_public, target};

/// The number of the id of a row that states none.
pub(super) const NO_ID: u32 = u32::MAX;

/// The rows of one file, as far as the fold looks at them.
pub(super) struct FileRows<'a> {
    archive: &'a Archive,
    /// By code.
    kinds: Vec<EventKind>,
    kind_codes: TextColumn,
    times: NumberColumn,
    bytes_out: NumberColumn,
    bytes_in: NumberColumn,
    ids: Ids,
    identities: Vec<u32>,
    targets: Vec<u32>,
    courses: Vec<u32>,
    /// Entries that stand whole, because columns would not give them back.
    whole: Vec<(usize, Event)>,
    /// Of rows that are about no connection.
    rest: Rest,
}

/// Ids of connections: for each row a number, equal for equal ids.
struct Ids {
    texts: TextColumn,
    /// For each code its number.
    numbers: Vec<u32>,
    /// For each number a code.
    codes: Vec<u32>,
}

/// What gaps say.
struct Rest {
    causes: TextColumn,
    scopes: TextColumn,
    counts: NumberColumn,
    plugins: TextColumn,
}

/// The columns that parts are made of.
struct Columns {
    attribution: TextColumn,
    plugin: TextColumn,
    artifact: TextColumn,
    run: TextColumn,
    credential: TextColumn,
    host: TextColumn,
    port: NumberColumn,
    kind: TextColumn,
    decision: TextColumn,
    scheme: TextColumn,
    sni: TextColumn,
    sni_visibility: TextColumn,
    host_header: TextColumn,
    inner_target: TextColumn,
    stripped: ListColumn,
    dialed: TextColumn,
    /// By code: whether the address is public.
    dialed_classes: Vec<bool>,
    resolved: ListColumn,
    resolved_classes: Vec<bool>,
    dns: TextColumn,
    outcome: TextColumn,
    reason: TextColumn,
    connect_ms: NumberColumn,
}

impl<'a> FileRows<'a> {
    pub(super) fn read(archive: &'a Archive) -> Result<(Self, Parts), InvalidArchive> {
        let columns = Columns::read(archive)?;
        let times = archive.numbers("time")?;
        let whole = whole_entries(archive)?;
        check(archive, &columns.kind, &times, &whole)?;
        let kinds = (0..columns.kind.distinct()).map(|code| {
            let code = u32::try_from(code).unwrap_or(ABSENT);
            columns.kind.text(code).and_then(word)
        });
        let kinds = kinds.collect::<Option<Vec<EventKind>>>();
        let kinds = kinds.ok_or_else(|| foreign("it has a kind that is none of ours"))?;
        let said = |number: Option<Packed>| {
            let packed = number.ok_or_else(|| foreign("it has more different values than rows"))?;
            Ok::<_, InvalidArchive>(packed.number())
        };
        let identities = said(columns.pack_identity())?;
        let targets = said(columns.pack_target())?;
        let courses = said(columns.pack_course()?)?;
        let first = archive.entries().start;
        let parts = Parts {
            identities: Same::new(each(&identities, first, |row| columns.identity(row))?),
            targets: Same::new(each(&targets, first, |row| columns.target(row))?),
            courses: Same::new(each(&courses, first, |row| columns.course(row))?),
        };
        let rows = Self {
            archive,
            kinds,
            times,
            bytes_out: archive.numbers("bytes_out")?,
            bytes_in: archive.numbers("bytes_in")?,
            ids: Ids::of(archive.texts("connection_id")?),
            identities: identities.numbers,
            targets: targets.numbers,
            courses: courses.numbers,
            whole,
            rest: Rest {
                causes: archive.texts("cause")?,
                scopes: archive.texts("scope")?,
                counts: archive.numbers("count")?,
                plugins: columns.plugin,
            },
            kind_codes: columns.kind,
        };
        Ok((rows, parts))
    }

    /// The kind of a row; `None` where its entry stands whole.
    pub(super) fn kind(&self, row: usize) -> Option<EventKind> {
        self.kinds.get(self.kind_codes.codes()[row] as usize).copied()
    }

    pub(super) fn time(&self, row: usize) -> Timestamp {
        Timestamp::from_unix_us(self.times.numbers()[row])
    }

    /// Bytes relayed so far: from the plugin, and to it.
    pub(super) fn bytes(&self, row: usize) -> (u64, u64) {
        let (out, inward) = (self.bytes_out.numbers()[row], self.bytes_in.numbers()[row]);
        (out.unsigned_abs(), inward.unsigned_abs())
    }

    /// What a row says.
    pub(super) fn said(&self, row: usize) -> Known {
        Known {
            identity: self.identities[row],
            target: self.targets[row],
            course: self.courses[row],
        }
    }

    /// How many different ids there are.
    pub(super) fn ids(&self) -> usize {
        self.ids.codes.len()
    }

    /// The number of a row's id, or [`NO_ID`].
    pub(super) fn id(&self, row: usize) -> u32 {
        let code = self.ids.texts.codes()[row];
        self.ids.numbers.get(code as usize).copied().unwrap_or(NO_ID)
    }

    pub(super) fn id_text(&self, id: u32) -> &str {
        self.ids
            .texts
            .text(self.ids.codes[id as usize])
            .unwrap_or_default()
    }

    /// The event of a row that is about no connection, as far as the fold looks at it, or one that
    /// stands whole.
    pub(super) fn event(&self, row: usize) -> Event {
        let Some(kind) = self.kind(row) else {
            let at = self.whole.partition_point(|(at, _)| *at < row);
            return self.whole[at].1.clone();
        };
        let origin = self.archive.origin();
        let gateway = origin.split_once('/').map_or(origin, |(_, gateway)| gateway);
        let mut event = Event::new(kind, self.time(row), gateway);
        event.cause = self.rest.causes.row(row).map(str::to_owned);
        event.scope = self.rest.scopes.row(row).map(str::to_owned);
        event.count = self.rest.counts.row(row).map(i64::unsigned_abs);
        event.plugin_id = self.rest.plugins.row(row).and_then(|text| text.parse().ok());
        event
    }
}

impl Ids {
    fn of(texts: TextColumn) -> Self {
        let (numbers, codes) = equal_texts(texts.texts_as_bytes());
        Self {
            texts,
            numbers,
            codes,
        }
    }
}

impl Columns {
    fn read(archive: &Archive) -> Result<Self, InvalidArchive> {
        let (dialed, resolved) = (archive.texts("dialed_ip")?, archive.lists("resolved_ips")?);
        Ok(Self {
            attribution: archive.texts("attribution")?,
            plugin: archive.texts("plugin_id")?,
            artifact: archive.texts("artifact_digest")?,
            run: archive.texts("run_id")?,
            credential: archive.texts("credential_fingerprint")?,
            host: archive.texts("destination_host")?,
            port: archive.numbers("port")?,
            kind: archive.texts("kind")?,
            decision: archive.texts("decision")?,
            scheme: archive.texts("scheme")?,
            sni: archive.texts("sni")?,
            sni_visibility: archive.texts("sni_visibility")?,
            host_header: archive.texts("host_header")?,
            inner_target: archive.texts("inner_target")?,
            stripped: archive.lists("stripped_headers")?,
            dialed_classes: classes(&dialed)?,
            dialed,
            resolved_classes: classes(resolved.items())?,
            resolved,
            dns: archive.texts("dns_result")?,
            outcome: archive.texts("outcome")?,
            reason: archive.texts("reason")?,
            connect_ms: archive.numbers("connect_ms")?,
        })
    }

    fn rows(&self) -> usize {
        self.kind.codes().len()
    }

    fn pack<'c>(&self, texts: impl IntoIterator<Item = &'c TextColumn>) -> Option<Packed> {
        let mut packed = Packed::new(self.rows());
        let fit = texts
            .into_iter()
            .all(|column| packed.push(column.codes(), column.distinct()));
        fit.then_some(packed)
    }

    fn pack_identity(&self) -> Option<Packed> {
        self.pack([
            &self.attribution,
            &self.plugin,
            &self.artifact,
            &self.run,
            &self.credential,
        ])
    }

    fn pack_target(&self) -> Option<Packed> {
        let mut packed = self.pack([&self.host])?;
        // Zero is no port, and stands where there is none.
        let ports = self.port.numbers().iter();
        let ports: Vec<u32> = ports.map(|port| u32::try_from(*port).unwrap_or(0)).collect();
        let most = ports.iter().copied().max().unwrap_or(0);
        packed.push(&ports, most as usize + 1).then_some(packed)
    }

    fn pack_course(&self) -> Result<Option<Packed>, InvalidArchive> {
        let packed = self.pack([
            &self.kind,
            &self.decision,
            &self.scheme,
            &self.sni,
            &self.sni_visibility,
            &self.host_header,
            &self.inner_target,
            &self.dns,
            &self.outcome,
            &self.reason,
        ]);
        let Some(mut packed) = packed else {
            return Ok(None);
        };
        let (stripped, lists) = self.stripped_codes();
        let answered = (0..self.rows()).map(|row| match self.connect_ms.row(row) {
            Some(_) => 0,
            None => ABSENT,
        });
        let fit = packed.push(&stripped, lists)
            && packed.push(&self.dialed_codes(), 2)
            && packed.push(&self.resolved_codes(), 2)
            && packed.push(&answered.collect::<Vec<_>>(), 1);
        Ok(fit.then_some(packed))
    }

    /// Equal lists of headers have the same code.
    fn stripped_codes(&self) -> (Vec<u32>, usize) {
        let mut known = std::collections::HashMap::new();
        if self.stripped.items().distinct() == 0 {
            return (Vec::new(), 0);
        }
        let rows = (0..self.rows()).map(|row| match self.stripped.codes_of(row) {
            [] => ABSENT,
            codes => {
                let next = u32::try_from(known.len()).unwrap_or(ABSENT);
                *known.entry(codes).or_insert(next)
            }
        });
        let codes = rows.collect();
        (codes, known.len())
    }

    /// Of an address only its class matters: 0 for one that is not public, 1 for one that is.
    fn dialed_codes(&self) -> Vec<u32> {
        let codes = self.dialed.codes().iter();
        let class = |code: &u32| {
            self.dialed_classes
                .get(*code as usize)
                .map_or(ABSENT, |is| u32::from(*is))
        };
        codes.map(class).collect()
    }

    /// Of addresses only matters whether all are public: 0 where one is not, 1 where all are.
    fn resolved_codes(&self) -> Vec<u32> {
        let class = |row| self.is_resolved_public(row).map_or(ABSENT, u32::from);
        (0..self.rows()).map(class).collect()
    }

    fn is_resolved_public(&self, row: usize) -> Option<bool> {
        let is_public = |code: &u32| self.resolved_classes.get(*code as usize) == Some(&true);
        match self.resolved.codes_of(row) {
            [] => None,
            codes => Some(codes.iter().all(is_public)),
        }
    }

    fn identity(&self, row: usize) -> Option<Identity> {
        let mut event = blank();
        event.attribution = words(&self.attribution, row)?;
        event.plugin_id = parsed(&self.plugin, row)?;
        event.artifact_digest = parsed(&self.artifact, row)?;
        event.run_id = parsed(&self.run, row)?;
        event.credential_fingerprint = self.credential.row(row).map(str::to_owned);
        Some(Identity::of(&event))
    }

    fn target(&self, row: usize) -> Option<Option<Target>> {
        let mut event = blank();
        event.destination_host = match self.host.row(row) {
            None => None,
            // An entry has the canonical form alone.
            Some(text) => Some(text.parse::<Host>().ok().filter(|host| match host {
                Host::Name(name) => name.as_str() == text,
                Host::Ip(_) => host.to_string() == text,
            })?),
        };
        event.port = match self.port.row(row) {
            None => None,
            Some(port) => Some(Port::try_from(u16::try_from(port).ok()?).ok()?),
        };
        Some(target(&event))
    }

    fn course(&self, row: usize) -> Option<Course> {
        let dialed = self.dialed.codes()[row] as usize;
        Some(Course::said(Said {
            // A row that stands whole states no kind, and is not looked at here.
            kind: words(&self.kind, row)?.unwrap_or(EventKind::Start),
            decision: words(&self.decision, row)?,
            scheme: words(&self.scheme, row)?,
            sni: self.sni.row(row),
            sni_visibility: words(&self.sni_visibility, row)?,
            host_header: self.host_header.row(row),
            inner_target: self.inner_target.row(row),
            stripped_headers: self.stripped.row(row),
            resolved_public: self.is_resolved_public(row),
            dialed_public: self.dialed_classes.get(dialed).copied(),
            dns: words(&self.dns, row)?,
            outcome: words(&self.outcome, row)?,
            reason: words(&self.reason, row)?,
            answered: self.connect_ms.row(row).is_some(),
        }))
    }
}

/// One part of each number; the row of it that cannot be read is one that no entry makes.
fn each<T>(
    numbered: &Numbered,
    first: u64,
    read: impl Fn(usize) -> Option<T>,
) -> Result<Vec<T>, InvalidArchive> {
    let read = |&row: &usize| {
        read(row).ok_or(InvalidArchive::Row {
            index: first + row as u64,
            what: "it is no event",
        })
    };
    numbered.firsts.iter().map(read).collect()
}

/// Which of a column's addresses are public.
fn classes(column: &TextColumn) -> Result<Vec<bool>, InvalidArchive> {
    let class = |text| address(text).map(is_public);
    column
        .texts_as_bytes()
        .map(|text| class(text).ok_or_else(|| foreign("it has an address that is none")))
        .collect()
}

/// An address; most are written as four numbers, and every connection may have dialled another.
fn address(text: &[u8]) -> Option<IpAddr> {
    let by_the_book = || std::str::from_utf8(text).ok()?.parse().ok();
    let (mut bits, mut number, mut digits, mut dots) = (0_u32, 0_u32, 0, 0);
    for &byte in text {
        match byte {
            // A number that begins with a zero is left to a stricter reader.
            b'0'..=b'9' if digits < 3 && !(digits > 0 && number == 0) => {
                number = number * 10 + u32::from(byte - b'0');
                digits += 1;
            }
            b'.' if digits > 0 && number < 256 && dots < 3 => {
                bits = bits << 8 | number;
                (number, digits, dots) = (0, 0, dots + 1);
            }
            _ => return by_the_book(),
        }
    }
    match dots == 3 && digits > 0 && number < 256 {
        true => Some(Ipv4Addr::from_bits(bits << 8 | number).into()),
        false => by_the_book(),
    }
}

/// Every row that does not stand whole has a kind and a time.
fn check(
    archive: &Archive,
    kinds: &TextColumn,
    times: &NumberColumn,
    whole: &[(usize, Event)],
) -> Result<(), InvalidArchive> {
    let mut whole = whole.iter().map(|(row, _)| *row).peekable();
    for (row, kind) in kinds.codes().iter().enumerate() {
        let stands_whole = whole.next_if_eq(&row).is_some();
        let is_stated = *kind != ABSENT && times.row(row).is_some();
        if is_stated == stands_whole {
            return Err(InvalidArchive::Row {
                index: archive.entries().start + row as u64,
                what: "it is no event",
            });
        }
    }
    Ok(())
}

fn whole_entries(archive: &Archive) -> Result<Vec<(usize, Event)>, InvalidArchive> {
    let raw = archive.texts("raw")?;
    let rows = raw.codes().iter().enumerate();
    let stated = rows.filter_map(|(row, &code)| Some((row, raw.text(code)?)));
    let read = |(row, text): (usize, &str)| {
        let event = Event::from_entry(text.as_bytes()).map_err(|_| InvalidArchive::Row {
            index: archive.entries().start + row as u64,
            what: "it stands whole and is no event",
        })?;
        Ok((row, event))
    };
    stated.map(read).collect()
}

fn blank() -> Event {
    Event::new(EventKind::Start, Timestamp::from_unix_us(0), "")
}

fn foreign(what: &str) -> InvalidArchive {
    InvalidArchive::Foreign {
        what: what.to_owned(),
    }
}

/// The word of a row; `Some(None)` where it states none, `None` where it is no word that is known.
fn words<T: for<'w> Deserialize<'w>>(column: &TextColumn, row: usize) -> Option<Option<T>> {
    match column.row(row) {
        None => Some(None),
        Some(text) => word(text).map(Some),
    }
}

fn word<T: for<'w> Deserialize<'w>>(text: &str) -> Option<T> {
    T::deserialize(StrDeserializer::<NoWord>::new(text)).ok()
}

fn parsed<T: std::str::FromStr>(column: &TextColumn, row: usize) -> Option<Option<T>> {
    match column.row(row) {
        None => Some(None),
        Some(text) => text.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_is_what_the_strict_reader_says(text in "[0-9]{0,4}(\\.[0-9]{0,4}){0,4}|[0-9a-f:.]{0,12}") {
            prop_assert_eq!(address(text.as_bytes()), text.parse().ok());
        }
    }
}
