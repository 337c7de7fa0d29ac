//! Others: files that say nothing about the one plugin that is asked for.
//!
//! Whoever asks about one plugin over a month need not know where all others went. A file that has rows
//! about other plugins alone, each with all that is known of its connection, changes nothing but how far
//! the log was read; so a few of its columns are looked at, and none of its rows is read.

use std::ops::ControlFlow;

use base::{PluginId, Timestamp};
use evidence::archive::{ABSENT, Archive, InvalidArchive, TextColumn};

use crate::fold::LogFold;

/// Kinds of rows that are about one connection.
const OF_CONNECTIONS: [&str; 5] = ["open", "connected", "progress", "close", "refused"];
/// Those of them with which it is over.
const ENDS: [&str; 2] = ["close", "refused"];
/// Kinds of rows that are about none and say nothing of any.
const OF_NONE: [&str; 3] = ["kill", "archived", "pruned"];
/// What stands where nobody could be named.
const NOBODY: &str = "none";

impl LogFold<'_, '_> {
    /// Passes over a file that is about other plugins alone; `None` where it is not.
    pub(super) fn pass_over(&mut self, archive: &Archive) -> Result<Option<ControlFlow<()>>, InvalidArchive> {
        let Some(only) = &self.fold.only else {
            return Ok(None);
        };
        if !self.is_open_for_others_alone(only) || !is_about_others_alone(archive, only)? {
            return Ok(None);
        }
        let ids = archive.texts("connection_id")?;
        let Some(stands) = self.whether_stands(archive, &ids)? else {
            return Ok(None);
        };
        if !self.open.is_empty() {
            let ended = stands
                .iter()
                .zip(0..)
                .filter(|(stands, _)| **stands == Some(false));
            for (_, code) in ended {
                self.open.remove(ids.text(code).unwrap_or_default());
            }
        }
        let times = archive.numbers("time")?;
        for (&time, index) in times.numbers().iter().zip(archive.entries()) {
            if self.go_to(Timestamp::from_unix_us(time), index).is_break() {
                return Ok(Some(ControlFlow::Break(())));
            }
        }
        Ok(Some(ControlFlow::Continue(())))
    }

    /// Whether everything that is open is known to be another plugin's, so that nothing that is learnt of
    /// it matters.
    fn is_open_for_others_alone(&self, only: &PluginId) -> bool {
        let is_others = |who: &crate::Who| who.plugin_id != *only;
        self.open
            .values()
            .all(|open| open.who().is_some_and(is_others) && open.facts.target.is_some())
    }

    /// Whether each connection that the file names stands at its end. `None` where one does that was not
    /// known before: whoever names it later without saying whose it is means that one.
    fn whether_stands(
        &self,
        archive: &Archive,
        ids: &TextColumn,
    ) -> Result<Option<Vec<Option<bool>>>, InvalidArchive> {
        let kinds = archive.texts("kind")?;
        let goes_on = each_text(&kinds, |kind| {
            Some(OF_CONNECTIONS.contains(&kind).then(|| !ENDS.contains(&kind)))
        });
        let goes_on = goes_on.unwrap_or_default();
        let mut stands = vec![None; ids.distinct()];
        for (id, kind) in ids.codes().iter().zip(kinds.codes()) {
            if let (Some(stands), Some(goes_on)) = (stands.get_mut(*id as usize), goes_on.get(*kind as usize))
                && goes_on.is_some()
            {
                *stands = *goes_on;
            }
        }
        let is_new = |code| !self.open.contains_key(ids.text(code).unwrap_or_default());
        let leaves_new = stands
            .iter()
            .zip(0..)
            .any(|(stands, code)| *stands == Some(true) && is_new(code));
        Ok((!leaves_new).then_some(stands))
    }

    /// Goes past an entry that is about nobody who is asked for.
    fn go_to(&mut self, time: Timestamp, index: u64) -> ControlFlow<()> {
        if time <= self.fold.believable_until {
            self.clock = self.clock.max(time);
        }
        if self.clock >= self.fold.period.to {
            return ControlFlow::Break(());
        }
        if self.clock < self.fold.period.from && index < self.audited_to {
            self.stretch.from = index + 1;
        }
        self.stretch.to = index + 1;
        self.whole_until = self.clock;
        ControlFlow::Continue(())
    }
}

fn is_about_others_alone(archive: &Archive, only: &PluginId) -> Result<bool, InvalidArchive> {
    let plugins = archive.texts("plugin_id")?;
    if plugins
        .texts_as_bytes()
        .any(|text| text == only.as_str().as_bytes())
    {
        return Ok(false);
    }
    if archive.texts("raw")?.distinct() > 0 || archive.numbers("time")?.states_less_than_all() {
        return Ok(false);
    }
    let kinds = archive.texts("kind")?;
    let Some(is_of_connection) = each_text(&kinds, |kind| match kind {
        _ if OF_CONNECTIONS.contains(&kind) => Some(true),
        _ if OF_NONE.contains(&kind) => Some(false),
        _ => None,
    }) else {
        return Ok(false);
    };
    let attributions = archive.texts("attribution")?;
    if attributions
        .texts_as_bytes()
        .any(|text| text == NOBODY.as_bytes())
    {
        return Ok(false);
    }
    let ports = archive.numbers("port")?;
    let stated = ["artifact_digest", "run_id", "destination_host"].map(|name| archive.texts(name));
    let [artifacts, runs, hosts] = stated;
    let columns = [plugins, attributions, artifacts?, runs?, hosts?];
    Ok(kinds
        .codes()
        .iter()
        .enumerate()
        .all(|(row, &kind)| match is_of_connection.get(kind as usize) {
            Some(true) => {
                columns.iter().all(|column| column.codes()[row] != ABSENT) && ports.row(row).is_some()
            }
            Some(false) => true,
            None => false,
        }))
}

/// What each code of a column stands for; `None` where one stands for nothing that is known.
fn each_text<T>(column: &TextColumn, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let codes = 0..u32::try_from(column.distinct()).ok()?;
    codes.map(|code| read(column.text(code)?)).collect()
}

#[cfg(test)]
mod tests {
    use evidence::{Event, EventKind};

    use crate::file_fold::tests::file;
    use crate::script::{Line, about, at, event};
    use crate::{Fold, Observations, Period};

    const NIGHT: i64 = 86_400;

    fn visits(plugin: &str, seconds: std::ops::Range<i64>) -> Vec<Line> {
        let visit = |second| {
            let id = format!("{plugin}-{second}");
            [
                about(EventKind::Open, second, &id, plugin, "a.example:443"),
                about(EventKind::Close, second + 1, &id, plugin, "a.example:443").reached(1, 2),
            ]
        };
        seconds.step_by(2).flat_map(visit).collect()
    }

    fn events(lines: &[Line]) -> Vec<Event> {
        lines.iter().map(|line| line.0.clone()).collect()
    }

    fn fold() -> Fold<'static> {
        let period = Period {
            from: at(100),
            to: at(NIGHT),
        };
        Fold::new(period, at(NIGHT)).only(Some("one".parse().unwrap()))
    }

    /// What is read of these files, one after the other, and which of them were passed over.
    fn by_files(files: &[Vec<Line>]) -> (Observations, Vec<bool>) {
        let mut fold = fold();
        let mut log = fold.log("acme/gw-1", None);
        let mut passed = Vec::new();
        let mut first = 0;
        for lines in files {
            let archive = file("gw-1", &events(lines), first);
            first += lines.len() as u64;
            let flow = log.pass_over(&archive).unwrap();
            passed.push(flow.is_some());
            let flow = flow.unwrap_or_else(|| log.handle_file(&archive).unwrap());
            if flow.is_break() {
                break;
            }
        }
        log.finish();
        (fold.finish(), passed)
    }

    fn by_entries(files: &[Vec<Line>]) -> Observations {
        let mut fold = fold();
        let mut log = fold.log("acme/gw-1", None);
        let all = events(&files.concat());
        let _ = (0..)
            .zip(&all)
            .try_for_each(|(index, event)| log.handle_entry(index, event));
        log.finish();
        fold.finish()
    }

    #[test]
    fn only_files_that_change_nothing_are_passed_over_and_nothing_is_lost_by_it() {
        let open = |plugin| about(EventKind::Open, 290, "long", plugin, "b.example:443");
        let close = |plugin| about(EventKind::Close, 410, "long", plugin, "b.example:443").reached(5, 5);
        let stray = vec![about(EventKind::Close, 320, "x", "two", "c.example:443").of_nobody()];
        let whole_day = vec![
            // Before the period, and where it begins.
            (visits("two", 0..80), true),
            (visits("two", 80..180), true),
            (visits("one", 180..200), false),
            ([visits("two", 200..240), visits("one", 240..250)].concat(), false),
            // Another's connection goes on, and says nothing about the plugin.
            ([visits("one", 250..280), vec![open("two")]].concat(), false),
            (visits("three", 300..310), true),
            (stray, false),
            // What stands at its end may be named again by a row that does not say whose it is.
            (
                vec![about(EventKind::Open, 330, "left", "three", "c.example:443")],
                false,
            ),
            (
                vec![about(EventKind::Close, 340, "left", "three", "c.example:443").of_nobody()],
                false,
            ),
            (vec![close("two")], true),
            (vec![event(EventKind::Start, 420)], false),
            // Its own connection is open, so every row may be about it.
            (
                [
                    visits("one", 430..440),
                    vec![about(EventKind::Open, 450, "own", "one", "b.example:443")],
                ]
                .concat(),
                false,
            ),
            (visits("two", 460..470), false),
            (
                vec![about(EventKind::Close, 480, "own", "one", "b.example:443").reached(7, 7)],
                false,
            ),
            // The last of these is of another period.
            (
                [visits("two", 500..510), visits("two", NIGHT - 1..NIGHT + 3)].concat(),
                true,
            ),
        ];
        let (files, expected): (Vec<_>, Vec<_>) = whole_day.into_iter().unzip();
        let (observations, passed) = by_files(&files);
        assert_eq!(passed, expected);
        assert_eq!(observations, by_entries(&files));
        assert_eq!(observations.logs[0].from, 100);
    }
}
