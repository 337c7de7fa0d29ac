//! CPU time and memory of the processes under test, read from `/proc`.
//!
//! Each process named on the command line stands for itself and all its descendants, so a proxy
//! that forks workers or helpers is counted whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// What a set of processes has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Snapshot {
    /// Time in the processes' own code, with that of children that have ended and been waited for.
    pub user: Duration,
    /// Time in the kernel on their behalf, likewise.
    pub system: Duration,
    /// Resident memory; pages that processes share are counted once for each.
    pub rss_kib: u64,
    /// Resident memory with shared pages divided among their users; `None` where unreadable.
    pub pss_kib: Option<u64>,
}

impl Snapshot {
    pub fn cpu(&self) -> Duration {
        self.user + self.system
    }

    pub fn of(roots: &[u32]) -> Self {
        let processes = with_descendants(roots);
        let mut snapshot = Self {
            pss_kib: Some(0),
            ..Self::default()
        };
        for pid in processes {
            let (user, system) = cpu_time(pid).unwrap_or_default();
            snapshot.user += user;
            snapshot.system += system;
            snapshot.rss_kib += rss_kib(pid).unwrap_or_default();
            snapshot.pss_kib = snapshot.pss_kib.zip(pss_kib(pid)).map(|(sum, one)| sum + one);
        }
        snapshot
    }

    pub fn of_self() -> Self {
        Self::of(&[std::process::id()])
    }
}

/// Watches processes from [`Meter::start`] to [`Meter::stop`].
pub struct Meter {
    roots: Vec<u32>,
    before: Snapshot,
    own_before: Snapshot,
    threads_before: BTreeMap<u32, Thread>,
    sampler: Option<(Sender<()>, JoinHandle<u64>)>,
}

/// One thread of a watched process.
struct Thread {
    name: String,
    cpu: Duration,
}

/// What processes used between two moments.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    pub before: Snapshot,
    pub after: Snapshot,
    pub peak_rss_kib: u64,
    /// CPU time that the load generator itself used in the same interval.
    pub own_cpu: Duration,
    /// CPU seconds by thread name, of the threads that were still there at the end.
    threads: BTreeMap<String, f64>,
    measured: bool,
}

impl Meter {
    pub fn start(roots: &[u32]) -> Self {
        let roots = roots.to_vec();
        let sampler = (!roots.is_empty()).then(|| {
            let (stop, stopped) = mpsc::channel();
            let roots = roots.clone();
            let thread = thread::spawn(move || {
                let mut peak = 0;
                while stopped.recv_timeout(SAMPLE_EVERY) == Err(RecvTimeoutError::Timeout) {
                    let rss = with_descendants(&roots).into_iter().filter_map(rss_kib).sum();
                    peak = peak.max(rss);
                }
                peak
            });
            (stop, thread)
        });
        let own_before = Snapshot::of_self();
        let threads_before = threads(&roots);
        let before = Snapshot::of(&roots);
        Self {
            roots,
            before,
            own_before,
            threads_before,
            sampler,
        }
    }

    /// What has been used since the start, without stopping.
    pub fn so_far(&self) -> Snapshot {
        Snapshot::of(&self.roots)
    }

    pub fn stop(self) -> Usage {
        let after = Snapshot::of(&self.roots);
        let mut by_name = BTreeMap::new();
        for (id, thread) in threads(&self.roots) {
            let before = self.threads_before.get(&id);
            let cpu = thread
                .cpu
                .saturating_sub(before.map_or(Duration::ZERO, |thread| thread.cpu));
            *by_name.entry(thread.name).or_insert(0.0) += cpu.as_secs_f64();
        }
        let own_cpu = Snapshot::of_self().cpu().saturating_sub(self.own_before.cpu());
        let measured = self.sampler.is_some();
        let sampled_peak = self.sampler.map_or(0, |(stop, thread)| {
            drop(stop);
            thread.join().unwrap_or(0)
        });
        let peak_rss_kib = sampled_peak.max(self.before.rss_kib).max(after.rss_kib);
        Usage {
            before: self.before,
            after,
            peak_rss_kib,
            own_cpu,
            threads: by_name,
            measured,
        }
    }
}

impl Usage {
    pub fn cpu(&self) -> Duration {
        self.after.cpu().saturating_sub(self.before.cpu())
    }

    /// `None` if no process was named.
    pub fn to_json(&self, elapsed: Duration) -> Option<Value> {
        self.measured.then(|| {
            json!({
                "cpu_user_s": self.after.user.saturating_sub(self.before.user).as_secs_f64(),
                "cpu_system_s": self.after.system.saturating_sub(self.before.system).as_secs_f64(),
                "thread_cpu_s": self.threads,
                "cores_used": self.cpu().as_secs_f64() / elapsed.as_secs_f64(),
                "rss_kib_before": self.before.rss_kib,
                "rss_kib_after": self.after.rss_kib,
                "rss_kib_peak": self.peak_rss_kib,
                "pss_kib_before": self.before.pss_kib,
                "pss_kib_after": self.after.pss_kib,
            })
        })
    }

    /// CPU microseconds for each of `count` operations; `None` if there is nothing to divide.
    pub fn cpu_us_per(&self, count: u64) -> Option<f64> {
        (self.measured && count > 0).then(|| self.cpu().as_secs_f64() * 1e6 / count as f64)
    }
}

fn with_descendants(roots: &[u32]) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut pending = roots.to_vec();
    while let Some(pid) = pending.pop() {
        if found.insert(pid) {
            pending.extend(children(pid));
        }
    }
    found
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|list| {
            list.split_ascii_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Every thread of `roots` and their descendants, by its id.
fn threads(roots: &[u32]) -> BTreeMap<u32, Thread> {
    let mut found = BTreeMap::new();
    for pid in with_descendants(roots) {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for entry in entries.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Some(thread) = Thread::read(&entry.path()) {
                found.insert(id, thread);
            }
        }
    }
    found
}

impl Thread {
    /// The scheduler's own count, in nanoseconds: a thread that wakes often and briefly falls between
    /// the ticks of the clock.
    fn read(task: &Path) -> Option<Self> {
        let name = fs::read_to_string(task.join("comm")).ok()?;
        let schedstat = fs::read_to_string(task.join("schedstat")).ok()?;
        let nanos = schedstat.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self {
            name: name.trim_end().to_owned(),
            cpu: Duration::from_nanos(nanos),
        })
    }
}

/// User and system time.
fn cpu_time(pid: u32) -> Option<(Duration, Duration)> {
    let (user, system) = cpu_ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let duration = |ticks: u64| Duration::from_secs_f64(ticks as f64 / per_second);
    Some((duration(user), duration(system)))
}

/// Sums utime with cutime and stime with cstime: fields 14 to 17 of `/proc/PID/stat`. The second
/// field, the command's name, can hold spaces and parentheses of its own.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest
        .split_ascii_whitespace()
        .skip(11)
        .map_while(|field| field.parse::<u64>().ok());
    let (user, system) = (fields.next()?, fields.next()?);
    Some((user + fields.next()?, system + fields.next()?))
}

fn rss_kib(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64 / 1024)
}

fn pss_kib(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::Instant;

    #[test]
    fn command_names_with_parentheses_do_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some((44, 66)));
        assert_eq!(cpu_ticks("7 (short) S 1"), None);
    }

    #[test]
    fn own_cpu_time_advances_and_memory_is_seen() {
        let before = Snapshot::of_self();
        let started = Instant::now();
        while Snapshot::of_self().cpu() == before.cpu() && started.elapsed() < Duration::from_secs(20) {
            std::hint::black_box((0..100_000u64).sum::<u64>());
        }
        let after = Snapshot::of_self();
        assert!(after.cpu() > before.cpu());
        assert!(after.rss_kib > 0);
    }

    #[test]
    fn descendants_are_found() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        let found = with_descendants(&[std::process::id()]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&child.id()));
    }

    #[test]
    fn a_process_that_is_gone_counts_for_nothing() {
        assert_eq!(Snapshot::of(&[u32::MAX]).rss_kib, 0);
    }
}
