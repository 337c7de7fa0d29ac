//! Tuples: who went where, and how often, over any number of files.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use base::{ObservedScheme, Port};
use evidence::archive::{Archive, InvalidArchive, TextColumn};
use evidence::{Event, EventKind};

use super::codes::{Columns, LocalKey, NONE, Table};
use super::counts::Counts;

/// All tuples of some files.
#[derive(Debug, Default)]
pub struct Tuples {
    names: Names,
    groups: HashMap<Key, Counts, BuildHasherDefault<Product>>,
    events: u64,
    leaves_out_runs: bool,
    table: Table,
}

/// One tuple; what its events do not state is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple<'a> {
    /// The plugin.
    pub plugin_id: Option<&'a str>,
    /// The artifact.
    pub artifact_digest: Option<&'a str>,
    /// The run.
    pub run_id: Option<&'a str>,
    /// The host asked for.
    pub host: Option<&'a str>,
    /// The port asked for.
    pub port: Option<u16>,
    /// What was spoken.
    pub scheme: Option<ObservedScheme>,
}

/// What events are counted by, by the numbers of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    run: u32,
    artifact: u32,
    plugin: u32,
    host: u32,
    /// 0 where there is none.
    port: u16,
    /// One more than its place in [`ObservedScheme::ALL`]; 0 where nobody spoke.
    scheme: u16,
}

/// Texts by number, and numbers by text.
#[derive(Debug, Default)]
struct Names {
    texts: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
}

/// The number of what has no name.
const NAMELESS: u32 = u32::MAX;

impl Tuples {
    /// Tuples that do not tell runs apart.
    pub fn without_runs() -> Self {
        Self {
            leaves_out_runs: true,
            ..Self::default()
        }
    }

    /// Counts every row of a file.
    ///
    /// # Errors
    /// [`InvalidArchive`]; nothing of the file was counted.
    pub fn add_file(&mut self, archive: &Archive) -> Result<(), InvalidArchive> {
        let runs = match self.leaves_out_runs {
            true => None,
            false => Some(archive.texts("run_id")?),
        };
        let columns = Columns {
            run: runs.as_ref(),
            artifact: &archive.texts("artifact_digest")?,
            plugin: &archive.texts("plugin_id")?,
            host: &archive.texts("destination_host")?,
            port: &archive.numbers("port")?,
            scheme: &archive.texts("scheme")?,
            kind: &archive.texts("kind")?,
        };
        let raw = archive.texts("raw")?;
        let whole = whole_entries(archive, &raw)?;
        let kinds = words(columns.kind, kind_of);
        let schemes = words(columns.scheme, scheme_of);
        let (Some(kinds), Some(schemes)) = (kinds, schemes) else {
            return Err(InvalidArchive::Foreign {
                what: "it has a kind or a scheme that is none of ours".to_owned(),
            });
        };
        self.table
            .count(&columns, |row| !whole.is_empty() && raw.row(row).is_some());
        let mut names = FileNames::new(&mut self.names, &columns);
        for (local, rows) in self.table.drain() {
            let key = names.key(local, &schemes);
            let kind = kinds.get(usize::from(local.kind())).copied();
            self.groups.entry(key).or_default().add(counts(kind, rows.into()));
        }
        for event in &whole {
            self.count_event(event);
        }
        self.events += archive.row_count() as u64;
        Ok(())
    }

    /// Counts one event, as a log has it.
    pub fn add_event(&mut self, event: &Event) {
        self.count_event(event);
        self.events += 1;
    }

    fn count_event(&mut self, event: &Event) {
        let names = &mut self.names;
        let mut number = |text: Option<String>| text.map_or(NAMELESS, |text| names.number(&text));
        let key = Key {
            run: number(
                event
                    .run_id
                    .filter(|_| !self.leaves_out_runs)
                    .map(|run| run.to_string()),
            ),
            artifact: number(event.artifact_digest.map(|digest| digest.to_string())),
            plugin: number(event.plugin_id.as_ref().map(ToString::to_string)),
            host: number(event.destination_host.as_ref().map(ToString::to_string)),
            port: event.port.map_or(0, Port::get),
            scheme: event.scheme.map_or(0, |scheme| scheme as u16 + 1),
        };
        self.groups.entry(key).or_default().add(Counts::of(event.kind));
    }

    /// Events in all. They are to be as many as the log signed.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// How many tuples there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Every tuple with its counts, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Tuple<'_>, Counts)> {
        self.groups.iter().map(|(key, counts)| {
            let tuple = Tuple {
                plugin_id: self.names.text(key.plugin),
                artifact_digest: self.names.text(key.artifact),
                run_id: self.names.text(key.run),
                host: self.names.text(key.host),
                port: (key.port != 0).then_some(key.port),
                scheme: key
                    .scheme
                    .checked_sub(1)
                    .and_then(|at| ObservedScheme::ALL.get(usize::from(at)).copied()),
            };
            (tuple, *counts)
        })
    }
}

/// The entries that stand whole in a file, because columns would not give them back.
fn whole_entries(archive: &Archive, raw: &TextColumn) -> Result<Vec<Event>, InvalidArchive> {
    let stated = raw.codes().iter().zip(archive.entries());
    stated
        .filter_map(|(&code, index)| Some((index, raw.text(code)?)))
        .map(|(index, text)| {
            Event::from_entry(text.as_bytes()).map_err(|_| InvalidArchive::Row {
                index,
                what: "it stands whole and is no event",
            })
        })
        .collect()
}

/// What each code of a column of words stands for.
fn words<T>(column: &TextColumn, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let codes = 0..u32::try_from(column.distinct()).ok()?;
    codes.map(|code| read(column.text(code)?)).collect()
}

fn scheme_of(word: &str) -> Option<u16> {
    word.parse::<ObservedScheme>()
        .ok()
        .map(|scheme| scheme as u16 + 1)
}

/// Only what is counted apart has to be told apart.
fn kind_of(word: &str) -> Option<EventKind> {
    serde::Deserialize::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(
        word,
    ))
    .ok()
}

fn counts(kind: Option<EventKind>, rows: u64) -> Counts {
    let one = kind.map_or(
        Counts {
            events: 1,
            ..Counts::default()
        },
        Counts::of,
    );
    Counts {
        events: one.events * rows,
        closed: one.closed * rows,
        refused: one.refused * rows,
    }
}

/// The numbers of one file's names, each looked up when it is first met.
struct FileNames<'n, 'c> {
    names: &'n mut Names,
    run: Option<FileColumn<'c>>,
    artifact: FileColumn<'c>,
    plugin: FileColumn<'c>,
    host: FileColumn<'c>,
}

struct FileColumn<'c> {
    column: &'c TextColumn,
    /// [`UNKNOWN`] until a code was looked up.
    numbers: Vec<u32>,
}

const UNKNOWN: u32 = u32::MAX - 1;

impl<'n, 'c> FileNames<'n, 'c> {
    fn new(names: &'n mut Names, columns: &Columns<'c>) -> Self {
        let column = |column: &'c TextColumn| FileColumn {
            column,
            numbers: vec![UNKNOWN; column.distinct()],
        };
        Self {
            run: columns.run.map(column),
            artifact: column(columns.artifact),
            plugin: column(columns.plugin),
            host: column(columns.host),
            names,
        }
    }

    fn key(&mut self, local: LocalKey, schemes: &[u16]) -> Key {
        Key {
            run: self
                .run
                .as_mut()
                .map_or(NAMELESS, |run| run.number(local.run(), self.names)),
            artifact: self.artifact.number(local.artifact(), self.names),
            plugin: self.plugin.number(local.plugin(), self.names),
            host: self.host.number(local.host(), self.names),
            port: local.port(),
            scheme: schemes.get(usize::from(local.scheme())).copied().unwrap_or(0),
        }
    }
}

impl FileColumn<'_> {
    fn number(&mut self, code: u16, names: &mut Names) -> u32 {
        if code == NONE {
            return NAMELESS;
        }
        let number = &mut self.numbers[usize::from(code)];
        if *number == UNKNOWN {
            let text = self.column.text(code.into()).unwrap_or_default();
            *number = names.number(text);
        }
        *number
    }
}

impl Names {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = u32::try_from(self.texts.len()).expect("fewer names than fit into memory");
        self.texts.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }

    fn text(&self, number: u32) -> Option<&str> {
        self.texts.get(usize::try_from(number).ok()?).map(AsRef::as_ref)
    }
}

/// A hash for keys made of numbers that we gave ourselves: nobody else chooses them.
#[derive(Default)]
struct Product(u64);

impl Hasher for Product {
    fn finish(&self) -> u64 {
        // The table takes its places from the lowest bits, and a product's best ones are the highest.
        self.0.rotate_left(26)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::{DnsResult, RefusalReason};
    use evidence::Origin;
    use evidence::archive::ArchiveWriter;
    use proptest::prelude::*;

    use super::*;
    use crate::script::{Line, about, event};

    fn any_line() -> impl Strategy<Value = Line> {
        let kind = prop::sample::select(vec![
            EventKind::Open,
            EventKind::Close,
            EventKind::Refused,
            EventKind::Progress,
            EventKind::Start,
        ]);
        let host = prop::sample::select(vec![
            "a.example:443",
            "b.example:443",
            "8.8.8.8:22",
            "a.example:80",
        ]);
        let plugin = prop::sample::select(vec!["one", "two", "three"]);
        (kind, 0_i64..80_000, host, plugin, 0_u8..4, 0_u8..5).prop_map(
            |(kind, second, host, plugin, run, shape)| {
                if kind == EventKind::Start {
                    return event(kind, second);
                }
                let line = about(kind, second, &second.to_string(), plugin, host).of(plugin, run);
                match shape {
                    0 => line.of_nobody(),
                    1 => line.failed(DnsResult::NxDomain),
                    2 => line.refused(RefusalReason::Tier),
                    3 => line,
                    _ => line.reached(1, 2),
                }
            },
        )
    }

    type Row = (
        Option<String>,
        Option<String>,
        Option<String>,
        Option<String>,
        Option<u16>,
        Option<ObservedScheme>,
    );

    /// The same, counted by hand.
    fn by_hand(events: &[Event]) -> BTreeMap<Row, (u64, u64, u64)> {
        let mut rows: BTreeMap<Row, (u64, u64, u64)> = BTreeMap::new();
        for event in events {
            let row = (
                event.plugin_id.as_ref().map(ToString::to_string),
                event.artifact_digest.map(|digest| digest.to_string()),
                event.run_id.map(|run| run.to_string()),
                event.destination_host.as_ref().map(ToString::to_string),
                event.port.map(Port::get),
                event.scheme,
            );
            let counts = rows.entry(row).or_default();
            counts.0 += 1;
            counts.1 += u64::from(event.kind == EventKind::Close);
            counts.2 += u64::from(event.kind == EventKind::Refused);
        }
        rows
    }

    fn spelt(tuples: &Tuples) -> BTreeMap<Row, (u64, u64, u64)> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let rows = tuples.iter().map(|(tuple, counts)| {
            let row = (
                own(tuple.plugin_id),
                own(tuple.artifact_digest),
                own(tuple.run_id),
                own(tuple.host),
                tuple.port,
                tuple.scheme,
            );
            (row, (counts.events, counts.closed, counts.refused))
        });
        let rows: Vec<_> = rows.collect();
        let count = rows.len();
        let map: BTreeMap<_, _> = rows.into_iter().collect();
        assert_eq!(map.len(), count, "a tuple came out twice");
        map
    }

    fn file(events: &[Event], first: u64) -> Archive {
        let origin = Origin::new("acme", "gw-1").unwrap();
        let mut writer = ArchiveWriter::new(&origin, first);
        for (event, index) in events.iter().zip(first..) {
            let mut event = event.clone();
            event.seq = index;
            writer.push(&event.to_entry().unwrap()).unwrap();
        }
        Archive::read(writer.finish().unwrap().bytes).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn log_archive_and_counting_by_hand_give_the_same_tuples(
            lines in prop::collection::vec(any_line(), 2..200), cut in 0.0_f64..1.0,
        ) {
            let events: Vec<Event> = lines.into_iter().map(|line| line.0).collect();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a few")]
            let middle = 1 + ((events.len() - 1) as f64 * cut) as usize;
            let mut from_log = Tuples::default();
            events.iter().for_each(|event| from_log.add_event(event));
            let mut from_archive = Tuples::default();
            let (one, other) = events.split_at(middle.min(events.len() - 1));
            from_archive.add_file(&file(one, 0)).unwrap();
            from_archive.add_file(&file(other, one.len() as u64)).unwrap();
            prop_assert_eq!(from_archive.events(), events.len() as u64);
            prop_assert_eq!(from_archive.iter().map(|(_, counts)| counts.events).sum::<u64>(), events.len() as u64);
            let expected = by_hand(&events);
            prop_assert_eq!(spelt(&from_archive), expected.clone());
            prop_assert_eq!(spelt(&from_log), expected);
        }
    }
}
