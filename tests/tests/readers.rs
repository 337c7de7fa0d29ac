//! Readers nobody here wrote: each opens the archive and folds it by the SQL that is shipped, and all of
//! them have to come to the tuples of our own fold.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};
use auditor::{Fold, Period};
use bailiwick_tests::{Peer, Scenario, run, run_scenarios, workspace};
use base::{Attribution, Decision, Host, ObservedScheme, Outcome, Timestamp};
use evidence::archive::ArchiveWriter;
use evidence::{Event, EventKind, Origin};
use serde_json::{Value, json};

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "duckdb_counts_as_our_own_fold",
        needs: &[Peer::Readers],
        run: || python("duckdb", "duckdb"),
    },
    Scenario {
        name: "clickhouse_counts_as_our_own_fold",
        needs: &[Peer::Readers],
        run: || python("clickhouse", "clickhouse"),
    },
    Scenario {
        name: "polars_reads_what_our_own_fold_reads",
        needs: &[Peer::Readers],
        run: || python("polars", "-"),
    },
    Scenario {
        name: "pandas_reads_what_our_own_fold_reads",
        needs: &[Peer::Readers],
        run: || python("pandas", "-"),
    },
    Scenario {
        name: "pyarrow_reads_what_our_own_fold_reads",
        needs: &[Peer::Readers],
        run: || python("pyarrow", "-"),
    },
    Scenario {
        name: "the_query_for_trino_counts_as_our_own_fold",
        needs: &[Peer::Readers],
        run: || python("trino", "trino"),
    },
    Scenario {
        name: "the_query_for_spark_counts_as_our_own_fold",
        needs: &[Peer::Readers],
        run: || python("spark-dialect", "spark"),
    },
    Scenario {
        name: "duckdb_counts_rows_that_stand_whole_as_our_own_fold",
        needs: &[Peer::Readers],
        run: || whole("duckdb", "duckdb"),
    },
    Scenario {
        name: "clickhouse_counts_rows_that_stand_whole_as_our_own_fold",
        needs: &[Peer::Readers],
        run: || whole("clickhouse", "clickhouse"),
    },
    Scenario {
        name: "the_query_for_trino_counts_rows_that_stand_whole_as_our_own_fold",
        needs: &[Peer::Readers],
        run: || whole("trino", "trino"),
    },
    Scenario {
        name: "the_query_for_spark_counts_rows_that_stand_whole_as_our_own_fold",
        needs: &[Peer::Readers],
        run: || whole("spark-dialect", "spark"),
    },
    Scenario {
        name: "spark_counts_as_our_own_fold",
        needs: &[Peer::Spark],
        run: || python("spark", "spark"),
    },
    Scenario {
        name: "postgres_counts_as_our_own_fold",
        needs: &[Peer::Postgres],
        run: postgres,
    },
];

fn main() -> ExitCode {
    run_scenarios(&[("readers", SCENARIOS)])
}

/// Numbers that look random and are the same every time (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).expect("few")]
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a moment")
}

fn period() -> Period {
    Period {
        from: at("2026-11-21T00:00:00Z"),
        to: at("2026-11-22T00:00:00Z"),
    }
}

const SEEN: &str = "2026-11-22T06:00:00Z";

/// A log in which everything happens that can: clocks that go back and clocks that run ahead, connections
/// over midnight, without name, without end, ended twice; a gateway that dies and comes back, or that another
/// process takes over while it goes on.
fn log(gateway: &str, dice: &mut Dice) -> Vec<Event> {
    let mut sessions = Sessions::default();
    let mut clock = at("2026-11-20T20:00:00Z").unix_us();
    (0..1500)
        .map(|seq| {
            clock += i64::try_from(dice.below(150_000_000)).expect("small");
            let drift = match dice.below(60) {
                0 => -3_600_000_000,
                1 => 400_000_000_000,
                2 => 40_000_000,
                _ => 0,
            };
            let kind = match dice.below(300) {
                0..3 => EventKind::Start,
                3 => EventKind::Stop,
                4 => EventKind::Gap,
                5 => EventKind::Kill,
                6..=90 => EventKind::Open,
                91..=130 => EventKind::Connected,
                131..=180 => EventKind::Progress,
                181..=200 => EventKind::Refused,
                _ => EventKind::Close,
            };
            let mut event = Event::new(kind, Timestamp::from_unix_us(clock + drift), gateway);
            event.seq = seq;
            if matches!(
                kind,
                EventKind::Start | EventKind::Stop | EventKind::Gap | EventKind::Kill
            ) {
                event.cause = (kind == EventKind::Gap).then(|| "disk full".to_owned());
                event.scope = sessions.pass(kind, dice);
                return event;
            }
            if !dice.one_in(20) {
                let session = sessions.pick(dice);
                event.connection_id = Some(format!("{session}-{}", dice.below(20)));
            }
            if !dice.one_in(4) {
                event.attribution =
                    Some(dice.pick(&[Attribution::Token, Attribution::Mtls, Attribution::None]));
                event.plugin_id = Some(
                    dice.pick(&["acme.weather", "acme.ocr"])
                        .parse()
                        .expect("a plugin"),
                );
                let build = base::Sha256Digest::of(dice.pick(&["one", "two"]).as_bytes());
                event.artifact_digest = Some(base::ArtifactDigest::new(build));
                event.run_id = Some(base::RunId::from_parts(dice.below(3), [1; 10]));
            }
            if !dice.one_in(4) {
                let host = dice.pick(&["api.weather.example", "paste.example", "192.0.2.7", "2001:db8::1"]);
                event.destination_host = Some(host.parse::<Host>().expect("a host"));
                event.port = (!dice.one_in(10)).then(|| dice.pick(&[443, 80]).try_into().expect("a port"));
            }
            if dice.one_in(2) {
                event.scheme = Some(dice.pick(ObservedScheme::ALL));
            }
            if dice.one_in(2) {
                event.bytes_out = Some(dice.below(1 << 40));
                event.bytes_in = Some(dice.below(1 << 40));
            }
            if dice.one_in(3) {
                event.decision = Some(Decision::Allow);
                event.outcome = (kind == EventKind::Close).then_some(Outcome::ServerClosed);
                event.raw_target = Some("ok\" \\ é\u{1}\t'".to_owned());
                event.resolved_ips = vec!["192.0.2.1".parse().expect("an address")];
            }
            event
        })
        .collect()
}

/// The processes that write a log: one, or two while one takes over from the other.
#[derive(Default)]
struct Sessions {
    /// Names given so far.
    named: u64,
    newest: u64,
    /// The one before it, while it goes on.
    before: Option<u64>,
}

impl Sessions {
    fn pick(&self, dice: &mut Dice) -> String {
        let both = [self.newest, self.before.unwrap_or(self.newest)];
        format!("s{}", dice.pick(&both))
    }

    fn begin(&mut self, before: Option<u64>) {
        self.named += 1;
        self.newest = self.named;
        self.before = before;
    }

    /// What the event of a process says that it is about; nothing where it is about all of them.
    fn pass(&mut self, kind: EventKind, dice: &mut Dice) -> Option<String> {
        let is_about_one = !dice.one_in(4);
        let session = match (kind, self.before) {
            (EventKind::Start, None) if is_about_one => {
                let before = self.newest;
                self.begin(Some(before));
                before
            }
            (EventKind::Stop, Some(before)) if is_about_one => {
                self.before = None;
                before
            }
            (EventKind::Gap, Some(before)) if is_about_one => {
                self.before = None;
                let dead = dice.pick(&[before, self.newest]);
                if dead == self.newest {
                    self.newest = before;
                }
                dead
            }
            (EventKind::Start | EventKind::Stop, _) => {
                self.begin(None);
                return None;
            }
            _ => return None,
        };
        Some(format!("s{session}"))
    }
}

/// An archive and its lines in a folder, and what our own fold makes of them.
struct Stage {
    folder: tempfile::TempDir,
    tuples: Vec<Value>,
}

impl Stage {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut dice = Dice(42);
        let mut fold = Fold::new(period(), at(SEEN));
        let mut lines = Vec::new();
        for gateway in ["gw-1", "gw-2"] {
            let origin = Origin::new("acme", gateway)?;
            let events = log(gateway, &mut dice);
            let mut folding = fold.log(origin.as_str(), None);
            for event in &events {
                if folding.handle_entry(event.seq, event).is_break() {
                    break;
                }
            }
            folding.finish();
            for part in events.chunks(400) {
                let mut writer = ArchiveWriter::new(&origin, part[0].seq);
                for event in part {
                    let entry = event.to_entry()?;
                    writer.push(&entry)?;
                    lines.extend_from_slice(&entry);
                    lines.push(b'\n');
                }
                let file = writer.finish()?;
                let path = folder.path().join("archive").join(file.name.to_string());
                std::fs::create_dir_all(path.parent().context("a folder")?)?;
                std::fs::write(path, file.bytes)?;
            }
        }
        std::fs::write(folder.path().join("events.jsonl"), lines)?;
        let mut tuples = Vec::new();
        for (who, destinations) in &fold.finish().seen {
            for (visited, observation) in destinations {
                let destination = &visited.destination;
                let tally = observation.tally();
                tuples.push(json!([
                    who.plugin_id,
                    who.artifact_digest,
                    who.run_id,
                    destination.target.host,
                    destination.target.port,
                    destination.scheme,
                    tally.connections,
                    tally.bytes_out,
                    tally.bytes_in,
                    tally.first.unix_us(),
                    tally.last.unix_us(),
                ]));
            }
        }
        ensure!(tuples.len() > 30, "the stage is worth a test: {}", tuples.len());
        Ok(Self { folder, tuples })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Whether these are our tuples, in whatever order.
    fn agrees(&self, mut found: Vec<Value>) -> Result<()> {
        let mut own = self.tuples.clone();
        let order = |tuple: &Value| tuple.to_string();
        own.sort_by_key(order);
        found.sort_by_key(order);
        for (own, found) in own.iter().zip(&found) {
            ensure!(own == found, "our own fold says\n{own}\nand it says\n{found}");
        }
        ensure!(
            own.len() == found.len(),
            "{} tuples of {}",
            found.len(),
            own.len()
        );
        Ok(())
    }
}

fn sql(name: &str) -> PathBuf {
    workspace().join("auditor/sql").join(format!("{name}.sql"))
}

fn python(engine: &str, query: &str) -> Result<()> {
    count(&Stage::new()?, engine, query)
}

/// The same where every third row is one that columns could not give back: no version writes such rows
/// today, and the queries are ready for them.
fn whole(engine: &str, query: &str) -> Result<()> {
    let stage = Stage::new()?;
    let told = run(Peer::Readers
        .command()
        .arg(workspace().join("tests/python/raw_rows.py"))
        .arg(stage.path("archive"))
        .arg(stage.path("events.jsonl")))?
    .expect(0)?;
    let rows: u64 = told.text().trim().parse()?;
    ensure!(rows > 900, "{rows} rows stand whole");
    count(&stage, engine, query)
}

fn count(stage: &Stage, engine: &str, query: &str) -> Result<()> {
    let query = if query == "-" {
        PathBuf::from("-")
    } else {
        sql(query)
    };
    let peer = if engine == "spark" {
        Peer::Spark
    } else {
        Peer::Readers
    };
    let told = run(peer
        .command()
        .arg(workspace().join("tests/python/fold.py"))
        .arg(engine)
        .arg(stage.path("archive"))
        .arg(stage.path("events.jsonl"))
        .arg(query)
        .args([
            period().from.to_string(),
            period().to.to_string(),
            at(SEEN).to_string(),
        ])
        .current_dir(stage.folder.path()))?
    .expect(0)?;
    let last = told.text().lines().last().context("tuples")?.to_owned();
    stage.agrees(serde_json::from_str(&last)?)
}

/// A real server in a folder of its own, without a port; ended when dropped.
struct Server<'f> {
    folder: &'f Path,
}

impl Server<'_> {
    fn as_postgres(&self, command: &str) -> Command {
        let tool = PathBuf::from(Peer::Postgres.command().get_program()).with_file_name(command);
        let mut run_it = Command::new("setpriv");
        run_it
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(tool)
            .env("LC_ALL", "C")
            .current_dir(self.folder);
        run_it
    }

    fn control(&self, arguments: &[&str]) -> Result<()> {
        run(self
            .as_postgres("pg_ctl")
            .arg("-D")
            .arg(self.folder.join("db"))
            .args(arguments)
            .stdout(Stdio::null()))?
        .expect(0)?;
        Ok(())
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = self.control(&["-m", "immediate", "-w", "stop"]);
    }
}

fn postgres() -> Result<()> {
    let stage = Stage::new()?;
    let folder = tempfile::Builder::new().prefix("bwpg").tempdir()?;
    run(Command::new("chown").arg("65534:65534").arg(folder.path()))?.expect(0)?;
    let server = Server {
        folder: folder.path(),
    };
    run(server
        .as_postgres("initdb")
        .args(["-U", "bw", "-A", "trust", "-E", "UTF8", "--no-sync", "-D"])
        .arg(folder.path().join("db")))?
    .expect(0)?;
    let socket = folder.path().display().to_string();
    let options = format!("-c listen_addresses='' -c unix_socket_directories={socket} -c fsync=off");
    let log = folder.path().join("log").display().to_string();
    server.control(&["-l", &log, "-o", &options, "-w", "start"])?;
    let lines = folder.path().join("events.jsonl");
    std::fs::copy(stage.path("events.jsonl"), &lines)?;
    let script = format!(
        "SET TimeZone = 'UTC';\nCREATE TABLE lines (line text);\n\
         \\copy lines FROM '{}' WITH (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02')\n\
         CREATE VIEW archive AS SELECT line::jsonb AS entry FROM lines;\n\
         CREATE TABLE period AS SELECT timestamptz '{}' AS begins, timestamptz '{}' AS ends, timestamptz '{}' AS seen;\n\
         CREATE VIEW folded AS {};\n\
         SELECT json_build_array(plugin_id, artifact_digest, run_id, host, port, scheme, connections, bytes_out, bytes_in, \
         (extract(epoch FROM first_seen) * 1000000)::bigint, (extract(epoch FROM last_seen) * 1000000)::bigint)::text FROM folded;\n",
        lines.display(),
        period().from,
        period().to,
        SEEN,
        std::fs::read_to_string(sql("postgres"))?.trim_end()
    );
    let path = folder.path().join("script.sql");
    std::fs::write(&path, script)?;
    let told = run(Command::new("psql")
        .args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "bw",
            "-d",
            "postgres",
            "-h",
        ])
        .arg(&socket)
        .arg("-f")
        .arg(&path))?
    .expect(0)?;
    let tuples = told
        .text()
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<Value>, _>>()?;
    stage.agrees(tuples)
}
