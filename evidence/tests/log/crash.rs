//! Killing the writer: a child process under load dies at any moment, and nothing acknowledged is
//! lost.
//!
//! The child is what a gateway is: producers that wait for their acknowledgements, one thread that
//! appends, two that flush and seal meanwhile. `BAILIWICK_CRASH_ROUNDS` sets how often it is killed,
//! `BAILIWICK_CRASH_SEED` where the dice begin. A campaign by hand, which prints its counts:
//!
//! ```sh
//! BAILIWICK_CRASH_ROUNDS=5000 cargo test -p bailiwick-evidence --test log killed -- --nocapture
//! ```

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use evidence::{Checkpoint, Draft, Flush, Flushed, Integrity, LogWriter, Seal, Sealed, VerifiedLog};

use super::{Log, event, events, key, origin, verifier};

pub const CHILD_FOLDER: &str = "BAILIWICK_CRASH_CHILD";
pub const ROUNDS: u64 = 30;
/// A log is begun anew after so many rounds, so that late rounds do not verify ever longer logs.
const ROUNDS_OF_ONE_LOG: u64 = 50;

/// A small generator, so that a failing round can be run again.
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        // xorshift64*; Marsaglia 2003, Vigna 2016.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % sides
    }
}

/// Not a test of its own: a process that does one thing at a time, and is killed.
#[test]
#[ignore = "runs as the child of the crash test"]
fn crash_child() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else {
        return;
    };
    let (mut writer, _) = LogWriter::open(folder.as_ref(), &origin(), key()).unwrap();
    let mut dice = Dice(writer.size() + 1);
    let mut out = std::io::stdout().lock();
    loop {
        let size = writer.size();
        let batch = dice.roll(40) + 1;
        writer.append(&mut events(size..size + batch)).unwrap();
        writeln!(out, "\nappended {}", writer.size()).unwrap();
        match dice.roll(12) {
            0 => writer.sync().unwrap(),
            1 | 2 => {
                writer.checkpoint().unwrap();
                writeln!(out, "\nsigned {}", writer.size()).unwrap();
            }
            _ => {}
        }
    }
}

enum Work {
    Flush(Flush),
    Seal(Box<Seal>),
}

enum Done {
    Flush(Flushed),
    Seal(Box<Sealed>),
}

/// Not a test of its own: a process in which everything happens at once, and which is killed.
#[test]
#[ignore = "runs as the child of the crash test"]
fn crash_child_with_threads() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else {
        return;
    };
    let (mut writer, _) = LogWriter::open(folder.as_ref(), &origin(), key()).unwrap();
    let mut dice = Dice(writer.size() + 1);
    let (offer, offered) = channel();
    for _ in 0..4 {
        let offer = offer.clone();
        std::thread::spawn(move || {
            // Each producer has one event on its way, as a connection has.
            let (acknowledge, acknowledged) = channel();
            loop {
                offer.send(acknowledge.clone()).unwrap();
                acknowledged.recv().unwrap();
            }
        });
    }
    let (tell, done) = channel();
    let hand = || {
        let (give, work) = channel::<Work>();
        let tell = tell.clone();
        std::thread::spawn(move || {
            for work in work {
                let done = match work {
                    Work::Flush(flush) => Done::Flush(flush.run()),
                    Work::Seal(seal) => Done::Seal(Box::new(seal.run())),
                };
                tell.send(done).unwrap();
            }
        });
        give
    };
    let (flusher, sealer) = (hand(), hand());
    let mut out = std::io::stdout().lock();
    loop {
        let producers: Vec<_> = std::iter::once(offered.recv().unwrap())
            .chain(offered.try_iter())
            .collect();
        let first = writer.size();
        let drafts: Vec<Draft> = (first..)
            .take(producers.len())
            .map(|number| Draft::new(&event(number)).unwrap())
            .collect();
        writer.append_drafts(&drafts).unwrap();
        writeln!(out, "\nappended {}", writer.size()).unwrap();
        for producer in producers {
            producer.send(()).unwrap();
        }
        for done in done.try_iter() {
            match done {
                Done::Flush(flushed) => {
                    writer.finish_flush(flushed).unwrap();
                }
                Done::Seal(sealed) => {
                    let checkpoint = writer.finish_seal(*sealed).unwrap();
                    writeln!(out, "\nsigned {}", checkpoint.size()).unwrap();
                }
            }
        }
        if dice.roll(6) == 0
            && let Some(flush) = writer.start_flush()
        {
            flusher.send(Work::Flush(flush)).unwrap();
        }
        if dice.roll(10) == 0
            && let Ok(Some(seal)) = writer.start_seal()
        {
            sealer.send(Work::Seal(Box::new(seal))).unwrap();
        }
    }
}

/// A number from the environment.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[derive(Debug, Default)]
struct Counts {
    kills: u64,
    acknowledged: u64,
    kept: u64,
    reintegrated: u64,
    torn: u64,
    during_a_seal: u64,
}

#[test]
fn a_killed_writer_loses_nothing_that_it_acknowledged() {
    let rounds = number("BAILIWICK_CRASH_ROUNDS", ROUNDS);
    let mut dice = Dice(number("BAILIWICK_CRASH_SEED", 0x5eed));
    let mut counts = Counts::default();
    let (began, mut told) = (Instant::now(), Instant::now());
    while counts.kills < rounds {
        let log = Log::empty();
        let left = rounds - counts.kills;
        rounds_of_one_log(&log, left.min(ROUNDS_OF_ONE_LOG), &mut dice, &mut counts);
        if told.elapsed() > Duration::from_secs(30) {
            told = Instant::now();
            println!("so far: {counts:?}");
        }
    }
    println!(
        "{} kills in {} s: {} acknowledged events, {} kept, none lost; {} taken up again from journals, {} torn records cut, {} kills while a seal had its journal set aside",
        counts.kills,
        began.elapsed().as_secs(),
        counts.acknowledged,
        counts.kept,
        counts.reintegrated,
        counts.torn,
        counts.during_a_seal,
    );
}

fn rounds_of_one_log(log: &Log, rounds: u64, dice: &mut Dice, counts: &mut Counts) {
    let mut held: Option<Checkpoint> = None;
    let mut before = 0;
    for round in 0..rounds {
        let child = ["crash::crash_child_with_threads", "crash::crash_child"][usize::from(dice.roll(4) == 0)];
        let (appended, signed) = run_and_kill(log, child, dice);

        // As it lies there.
        if log.file("checkpoint").exists() {
            let found = log.verify_held(held.clone());
            assert_eq!(found.integrity, Integrity::Whole, "round {round}");
            assert!(!found.is_tampered(), "round {round}: {}", found.completeness);
            assert!(found.size() >= signed, "round {round}");
            assert!(found.size() + found.unsigned >= appended, "round {round}");
        } else {
            assert!(held.is_none() && appended == 0, "round {round}");
        }
        let journals = ["journal", "journal.2"].map(|name| std::fs::metadata(log.file(name)));
        let in_use = journals.iter().flatten().filter(|file| file.len() > 8 + 18);
        counts.during_a_seal += u64::from(in_use.count() == 2);

        // And opened again.
        let (mut writer, recovery) = log.open();
        assert!(
            writer.size() >= appended.max(before),
            "round {round}: {recovery:?}"
        );
        assert_eq!(recovery.lost, 0, "round {round}: only power takes entries");
        held = Some(writer.checkpoint().unwrap());
        counts.kills += 1;
        counts.acknowledged += appended.saturating_sub(before);
        counts.kept += writer.size() - before;
        counts.reintegrated += recovery.reintegrated;
        counts.torn += u64::from(recovery.torn_bytes > 0);
        before = writer.size();
    }
    let reader = VerifiedLog::open(&log.path(), &verifier()).unwrap();
    let mut names = HashSet::new();
    for found in reader.events(0..u64::MAX) {
        let (index, event) = found.unwrap();
        assert_eq!(event.connection_id, Some(format!("c{index}")));
        assert!(names.insert(event.connection_id), "entry {index} stands twice");
    }
}

/// Runs a child for a while, kills it, and returns the sizes that it acknowledged and signed.
pub fn run_and_kill(log: &Log, child: &str, dice: &mut Dice) -> (u64, u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--ignored", "--nocapture"])
        .env(CHILD_FOLDER, log.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut appended, mut signed) = (0, 0);
    let mut hear = |line: &str| {
        if let Some(size) = line.strip_prefix("appended ") {
            appended = size.parse().unwrap_or(appended);
        } else if let Some(size) = line.strip_prefix("signed ") {
            signed = size.parse().unwrap_or(signed);
        }
    };
    let patience = dice.roll(80);
    for line in lines.by_ref().take(usize::try_from(patience).unwrap()) {
        hear(&line.unwrap());
    }
    // The child runs on; how far it comes while we count is anybody's guess.
    for _ in 0..dice.roll(200_000) {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // A last line may have been cut off by the kill, and then says less than was acknowledged.
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let whole = rest.len().saturating_sub(1);
    rest[..whole].iter().for_each(|line| hear(line));
    (appended, signed)
}
