//! What was seen: what runs of finished logs did, packed until somebody judges them.
//!
//! A day has as many observations as its runs have destinations, millions of them. They are judged one
//! artifact after the other, so between the fold and the judgement they are kept as [parcels](crate::parcel),
//! one for each run, destinations by number; and what there is no room for goes into a file of the site's.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use base::{ArtifactDigest, PluginId, RunId};

use crate::observation::{Observation, Oddities, Visited, Who};
use crate::parcel::{Reader, Writer};
use crate::tally::Tally;

/// Bytes of parcels that are kept in memory where there is a file for more.
const ROOM: usize = 32 << 20;

/// An observation has something odd.
const ODD: u8 = 1 << 4;
/// Some of its connections were open when the period ended.
const ALIVE: u8 = 1 << 5;

/// What runs did, by build.
#[derive(Debug, Default)]
pub struct Seen {
    visited: Vec<Arc<Visited>>,
    numbers: HashMap<Arc<Visited>, u32>,
    odd: Vec<Oddities>,
    builds: BTreeMap<(PluginId, ArtifactDigest), BTreeMap<RunId, Parcel>>,
    heap: Heap,
    /// Why something that was packed cannot be read any more.
    trouble: Option<io::Error>,
}

/// Where what one run did is.
#[derive(Clone, Copy, Debug)]
struct Parcel {
    at: u64,
    bytes: u32,
}

/// What the runs of one build did, in the order of runs.
#[derive(Debug, Default)]
pub(crate) struct SeenRuns<'s>(Vec<SeenRun<'s>>);

/// What one run did, in the order of destinations.
#[derive(Debug)]
pub(crate) struct SeenRun<'s> {
    pub(crate) who: Who,
    pub(crate) sights: Vec<(&'s Visited, Observation)>,
}

impl<'s> SeenRuns<'s> {
    /// One run, or all of them.
    pub(crate) fn of(&self, run_id: Option<RunId>) -> &[SeenRun<'s>] {
        let Some(run_id) = run_id else {
            return &self.0;
        };
        match self.0.binary_search_by_key(&run_id, |run| run.who.run_id) {
            Ok(at) => &self.0[at..=at],
            Err(_) => &[],
        }
    }
}

impl Seen {
    /// With a file for what there is no room for; without one everything stays in memory.
    pub(crate) fn with_file(file: Option<File>) -> Self {
        Self {
            heap: Heap {
                file,
                ..Heap::default()
            },
            ..Self::default()
        }
    }

    /// Without everything that was packed.
    pub(crate) fn emptied(self) -> Self {
        let Heap { file, room, .. } = self.heap;
        Self {
            heap: Heap {
                file,
                room,
                ..Heap::default()
            },
            ..Self::default()
        }
    }

    /// Packs what runs did.
    pub(crate) fn pack(&mut self, seen: BTreeMap<Who, BTreeMap<Visited, Observation>>) {
        let mut bytes = Vec::new();
        for (who, sights) in seen {
            bytes.clear();
            let mut out = Writer::new(&mut bytes);
            for (visited, observation) in sights {
                let number = self.number(visited);
                out.number(number.into());
                let Observation {
                    odd, alive_at_end, ..
                } = &observation;
                let more = [(odd.is_some(), ODD), (*alive_at_end > 0, ALIVE)];
                let more = more.iter().filter(|(is, _)| *is).map(|(_, flag)| flag).sum();
                observation.tally().pack(&mut out, more);
                if *alive_at_end > 0 {
                    out.number(*alive_at_end);
                }
                if let Some(odd) = observation.odd {
                    out.number(self.odd.len() as u64);
                    self.odd.push(*odd);
                }
            }
            let parcel = self.heap.put(&bytes);
            let build = self.builds.entry((who.plugin_id, who.artifact_digest));
            build.or_default().insert(who.run_id, parcel);
        }
    }

    /// Takes out what one run did, so that more can be added.
    pub(crate) fn take_out(&mut self, who: &Who) -> Option<BTreeMap<Visited, Observation>> {
        if self.builds.is_empty() {
            return None;
        }
        let build = self
            .builds
            .get_mut(&(who.plugin_id.clone(), who.artifact_digest))?;
        let parcel = build.remove(&who.run_id)?;
        match self.open(parcel) {
            Ok(sights) => {
                let sights = sights.into_iter();
                Some(sights.map(|(visited, seen)| (visited.clone(), seen)).collect())
            }
            Err(error) => {
                self.trouble.get_or_insert(error);
                None
            }
        }
    }

    /// Why not everything can be read that was packed.
    pub(crate) fn trouble(&mut self) -> Option<io::Error> {
        self.trouble.take()
    }

    /// What the runs of one build did.
    ///
    /// # Errors
    /// The file cannot be read, or does not hold what was written.
    pub(crate) fn of_build(
        &self,
        plugin_id: &PluginId,
        artifact_digest: ArtifactDigest,
    ) -> io::Result<SeenRuns<'_>> {
        let runs = self.builds.get(&(plugin_id.clone(), artifact_digest));
        let run = |(run_id, parcel): (&RunId, &Parcel)| {
            Ok(SeenRun {
                who: Who {
                    plugin_id: plugin_id.clone(),
                    artifact_digest,
                    run_id: *run_id,
                },
                sights: self.open(*parcel)?,
            })
        };
        let runs = runs.into_iter().flatten().map(run);
        Ok(SeenRuns(runs.collect::<io::Result<_>>()?))
    }

    fn open(&self, parcel: Parcel) -> io::Result<Vec<(&Visited, Observation)>> {
        let bytes = self.heap.get(parcel)?;
        let mut input = Reader::new(&bytes);
        let mut sights = Vec::new();
        while !input.is_empty() {
            let sight = self.sight(&mut input);
            sights.push(sight.ok_or_else(|| io::Error::other("what was written is not what is read"))?);
        }
        Ok(sights)
    }

    fn sight(&self, input: &mut Reader<'_>) -> Option<(&Visited, Observation)> {
        let visited = self.visited.get(usize::try_from(input.number()?).ok()?)?;
        let (tally, more) = Tally::unpack(input)?;
        let alive = if more & ALIVE == 0 { 0 } else { input.number()? };
        let mut observation = Observation::plain(tally, alive);
        if more & ODD != 0 {
            let at = usize::try_from(input.number()?).ok()?;
            observation.odd = Some(Box::new(self.odd.get(at)?.clone()));
        }
        Some((visited, observation))
    }

    fn number(&mut self, visited: Visited) -> u32 {
        if let Some(&number) = self.numbers.get(&visited) {
            return number;
        }
        let number = u32::try_from(self.visited.len()).expect("fewer destinations than fit into memory");
        let visited = Arc::new(visited);
        self.visited.push(Arc::clone(&visited));
        self.numbers.insert(visited, number);
        number
    }
}

/// Parcels, one after the other: the first in the file, the last in memory.
#[derive(Debug)]
struct Heap {
    file: Option<File>,
    /// Bytes that stay in memory where there is a file.
    room: usize,
    /// Bytes that are in the file.
    filed: u64,
    bytes: Vec<u8>,
    /// The file takes no more; what comes stays in memory.
    is_full: bool,
}

impl Default for Heap {
    fn default() -> Self {
        Self {
            file: None,
            room: ROOM,
            filed: 0,
            bytes: Vec::new(),
            is_full: false,
        }
    }
}

impl Heap {
    fn put(&mut self, parcel: &[u8]) -> Parcel {
        if self.bytes.len() + parcel.len() > self.room {
            self.file_away();
        }
        let at = self.filed + self.bytes.len() as u64;
        self.bytes.extend_from_slice(parcel);
        Parcel {
            at,
            bytes: u32::try_from(parcel.len()).expect("a run has a bounded number of destinations"),
        }
    }

    fn file_away(&mut self) {
        let Some(file) = self.file.as_ref().filter(|_| !self.is_full) else {
            return;
        };
        match file.write_all_at(&self.bytes, self.filed) {
            Ok(()) => {
                self.filed += self.bytes.len() as u64;
                self.bytes.clear();
            }
            Err(_) => self.is_full = true,
        }
    }

    fn get(&self, parcel: Parcel) -> io::Result<std::borrow::Cow<'_, [u8]>> {
        let length = parcel.bytes as usize;
        if let Some(file) = self.file.as_ref().filter(|_| parcel.at < self.filed) {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, parcel.at)?;
            return Ok(bytes.into());
        }
        let at = usize::try_from(parcel.at - self.filed).unwrap_or(usize::MAX);
        let bytes = at.checked_add(length).and_then(|end| self.bytes.get(at..end));
        bytes
            .map(Into::into)
            .ok_or_else(|| io::Error::other("what was put by is not there"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl Seen {
        /// With so much room in memory, and a file for the rest.
        pub(crate) fn cramped(room: usize) -> Self {
            let mut seen = Self::with_file(Some(tempfile::tempfile().unwrap()));
            seen.heap.room = room;
            seen
        }

        /// Everything that was put by, as it was before.
        pub(crate) fn unpacked(&self) -> BTreeMap<Who, BTreeMap<Visited, Observation>> {
            let builds = self.builds.keys();
            let runs = builds.flat_map(|(plugin, digest)| self.of_build(plugin, *digest).unwrap().0);
            let sights = |run: SeenRun<'_>| {
                let sights = run.sights.into_iter();
                let sights = sights.map(|(visited, observation)| (visited.clone(), observation));
                (run.who, sights.collect())
            };
            runs.map(sights).collect()
        }
    }

    #[test]
    fn a_file_that_lost_what_was_put_by_is_said_and_not_taken_for_a_quiet_day() {
        let file = tempfile::tempfile().unwrap();
        let mut heap = Heap {
            file: Some(file.try_clone().unwrap()),
            room: 4,
            ..Heap::default()
        };
        let (first, second) = (heap.put(b"abc"), heap.put(b"defg"));
        assert_eq!(&heap.get(first).unwrap()[..], b"abc");
        assert_eq!(&heap.get(second).unwrap()[..], b"defg");
        file.set_len(1).unwrap();
        assert!(heap.get(first).is_err());
        assert_eq!(&heap.get(second).unwrap()[..], b"defg");
    }
}
