//! Killing the writer: a child process under load dies at any moment, and nothing acknowledged is
//! lost.
//!
//! `BAILIWICK_CRASH_ROUNDS` sets how often.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use evidence::{Checkpoint, Integrity, LogWriter, VerifiedLog};

use super::{Log, events, key, origin, verifier};

const CHILD_FOLDER: &str = "BAILIWICK_CRASH_CHILD";
const ROUNDS: u64 = 30;

/// A small generator, so that a failing round can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // xorshift64*; Marsaglia 2003, Vigna 2016.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % sides
    }
}

/// Not a test of its own: the process that is killed.
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

#[test]
fn a_killed_writer_loses_nothing_that_it_acknowledged() {
    let rounds = std::env::var("BAILIWICK_CRASH_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    let log = Log::empty();
    let mut dice = Dice(0x5eed);
    let mut held: Option<Checkpoint> = None;
    let mut before = 0;
    for round in 0..rounds {
        let (appended, signed) = run_and_kill(&log, &mut dice);

        // As it lies there.
        let found = log.verify_held(held.clone());
        assert_eq!(found.integrity, Integrity::Whole, "round {round}");
        assert!(!found.is_tampered(), "round {round}: {}", found.completeness);
        assert!(found.size() >= signed, "round {round}");
        assert!(found.size() + found.unsigned >= appended, "round {round}");

        // And opened again.
        let (mut writer, recovery) = log.open();
        assert!(
            writer.size() >= appended.max(before),
            "round {round}: {recovery:?}"
        );
        held = Some(writer.checkpoint().unwrap());
        before = writer.size();
    }
    assert!(before > 0);
    let reader = VerifiedLog::open(&log.path(), &verifier()).unwrap();
    for found in reader.events(0..u64::MAX) {
        let (index, event) = found.unwrap();
        assert_eq!(event.connection_id, Some(format!("c{index}")));
    }
}

/// Runs a child for a while, kills it, and returns the sizes that it acknowledged and signed.
fn run_and_kill(log: &Log, dice: &mut Dice) -> (u64, u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::crash_child", "--ignored", "--nocapture"])
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
