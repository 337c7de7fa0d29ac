//! Killing the house: `bailiwick serve` under load dies at any moment, and whatever reached a
//! destination is on record.
//!
//! Each connection asks for a target of its own and says that target in its first line, so the origin
//! knows whose first byte it got without asking anybody. `BAILIWICK_KILLS` sets how often the house is
//! killed, `BAILIWICK_KILLS_SEED` where the dice begin. A campaign by hand, which prints its counts:
//!
//! ```sh
//! BAILIWICK_KILLS=300 cargo test -p bailiwick-tests --test e2e kills -- --nocapture
//! ```

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{RawClient, Scenario, World, wait_within};
use rustix::process::{Pid, Signal, kill_process};

use crate::tokens::LiveRun;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "what_reached_its_destination_is_on_record_whenever_the_house_is_killed",
        needs: &[],
        run: campaign,
    },
    Scenario {
        name: "neither_of_two_processes_takes_a_record_with_it_that_was_acknowledged",
        needs: &[],
        run: take_overs,
    },
    Scenario {
        name: "connections_that_a_crash_ended_leave_a_gap_and_not_a_clean_night",
        needs: &[],
        run: ended_by_a_crash,
    },
];

const KILLS: u64 = 5;
/// How long the one that was not killed is given to see to what the other left.
const SEES_TO_IT: Duration = Duration::from_secs(2);
/// A site is begun anew after so many, so that late rounds do not read ever longer logs.
const KILLS_OF_ONE_SITE: u64 = 20;
const CLIENTS: usize = 12;
/// Connections that one client leaves open.
const LEFT_OPEN: usize = 6;
const HOST: &str = "k.example";
const PORTS: std::ops::Range<u64> = 1024..65_000;

/// The same, with one process taking over from another when one of the two is killed.
fn take_overs() -> Result<()> {
    hold_campaign(Site::take_over_round)
}

fn campaign() -> Result<()> {
    hold_campaign(Site::round)
}

fn hold_campaign(hold: impl Fn(&mut Site, &mut Dice, &mut Counts) -> Result<()>) -> Result<()> {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        text.parse::<u64>().ok()
    };
    let kills = number("BAILIWICK_KILLS").unwrap_or(KILLS);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let seed = number("BAILIWICK_KILLS_SEED").unwrap_or(u64::from(now.subsec_nanos()) | 1);
    let mut dice = Dice(seed);
    let mut counts = Counts::default();
    for first in (0..kills).step_by(usize::try_from(KILLS_OF_ONE_SITE)?) {
        // Every second site waits for the disk before a byte leaves.
        let durability = if (first / KILLS_OF_ONE_SITE).is_multiple_of(2) {
            "group"
        } else {
            "strict"
        };
        let mut site = Site::new(durability)?;
        for round in first..kills.min(first + KILLS_OF_ONE_SITE) {
            hold(&mut site, &mut dice, &mut counts)
                .with_context(|| format!("round {round} of BAILIWICK_KILLS_SEED={seed}, {durability}"))?;
        }
        site.count(&mut counts)?;
        site.world.stop()?;
        let done = kills.min(first + KILLS_OF_ONE_SITE);
        println!("{done} kills, seed {seed}: {counts:?}");
    }
    Ok(())
}

/// What a campaign saw.
#[derive(Debug, Default)]
struct Counts {
    asked: u64,
    /// Connections whose first byte reached the origin.
    arrived: usize,
    answered: usize,
    /// Connections with an `open`.
    opened: usize,
    /// Of these, without an end.
    unended: usize,
    /// Events that no signature covered yet when the house died.
    unsigned: u64,

    gaps: usize,
}

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

/// Where a kill may fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// A client is about to send its request.
    Asked,
    /// The origin has a first byte.
    Arrived,
    /// A client has the origin's answer.
    Answered,
}

/// Kills a process at the n-th moment of a kind.
#[derive(Debug, Default)]
struct Fuse(Mutex<Option<(Moment, u64, Pid)>>);

impl Fuse {
    fn lay(&self, moment: Moment, count: u64, process: u32) -> Result<()> {
        let process = i32::try_from(process).ok().and_then(Pid::from_raw);
        *lock(&self.0) = Some((moment, count, process.context("a process id")?));
        Ok(())
    }

    fn note(&self, moment: Moment) {
        let mut fuse = lock(&self.0);
        let Some((_, left, process)) = fuse.as_mut().filter(|(wanted, ..)| *wanted == moment) else {
            return;
        };
        *left -= 1;
        if *left == 0 {
            let _ = kill_process(*process, Signal::KILL);
            *fuse = None;
        }
    }

    fn is_burning(&self) -> bool {
        lock(&self.0).is_some()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An origin that remembers who reached it with a first byte.
struct Destination {
    address: SocketAddr,
    arrived: Arc<Mutex<HashSet<String>>>,
    is_over: Arc<AtomicBool>,
}

impl Destination {
    fn start(fuse: Arc<Fuse>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let destination = Self {
            address: listener.local_addr()?,
            arrived: Arc::default(),
            is_over: Arc::default(),
        };
        let (arrived, is_over) = (destination.arrived.clone(), destination.is_over.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (fuse, arrived) = (fuse.clone(), arrived.clone());
                thread::spawn(move || serve(stream, &fuse, &arrived));
            }
        });
        Ok(destination)
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

/// `GET /<target> …` is noted under its target; whatever else arrives, under itself.
fn serve(stream: TcpStream, fuse: &Fuse, arrived: &Mutex<HashSet<String>>) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    let _ = stream.read_until(b'\n', &mut line);
    if line.is_empty() {
        return;
    }
    let line = String::from_utf8_lossy(&line).into_owned();
    let target = line.split(' ').nth(1).and_then(|path| path.strip_prefix('/'));
    lock(arrived).insert(target.unwrap_or(&line).to_owned());
    fuse.note(Moment::Arrived);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    if stream.get_mut().write_all(answer).is_ok() {
        // Stands until the other side ends it.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
}

/// One site through many deaths.
struct Site {
    run: LiveRun,
    world: World,
    fuse: Arc<Fuse>,
    destination: Destination,
    asked: AtomicU64,
    answered: Mutex<HashSet<String>>,
    /// The newest checkpoint that somebody else kept.
    kept: Mutex<Vec<u8>>,
    starts: usize,
}

impl Site {
    fn new(durability: &str) -> Result<Self> {
        let mut world = World::new()?;
        let fuse = Arc::new(Fuse::default());
        let destination = Destination::start(fuse.clone())?;
        world.lead(&[HOST], &[destination.address.to_string()])?;
        world.configure(|config| {
            let evidence = config["evidence"].as_table_mut().context("evidence")?;
            evidence.insert("durability".into(), durability.into());
            Ok(())
        })?;
        world.serve()?;
        let plugin = world.plugin("acme.weather").declares(&[HOST]).admit("high")?;
        let run = LiveRun::start(&world, &plugin, &[])?;
        Ok(Self {
            run,
            world,
            fuse,
            destination,
            asked: AtomicU64::new(PORTS.start),
            answered: Mutex::default(),
            kept: Mutex::default(),
            starts: 1,
        })
    }

    fn checkpoint(&self) -> PathBuf {
        self.world.site().join("data/log/gw-1/checkpoint")
    }

    /// Load until the house is killed, and what it left; then it starts again, and what is there now.
    fn round(&mut self, dice: &mut Dice, counts: &mut Counts) -> Result<()> {
        let moments = [Moment::Asked, Moment::Arrived, Moment::Answered];
        let moment = moments[usize::try_from(dice.roll(3))?];
        let asked_before = self.asked.load(Ordering::SeqCst);
        let gateway = self.world.gateway()?;
        // Some live for milliseconds, some long enough to sign a few times.
        let count = if dice.roll(3) == 0 {
            dice.roll(30)
        } else {
            dice.roll(700)
        };
        self.fuse.lay(moment, 1 + count, self.world.server()?.id())?;
        self.load(gateway)?;
        self.world.kill_server()?;

        counts.asked += self.asked.load(Ordering::SeqCst) - asked_before;
        self.starts += 1;
        self.begin_again(counts)
    }

    /// Another process takes over under load, and one of the two is killed while it does or soon after.
    /// The other one sees to what is left, and then dies too.
    fn take_over_round(&mut self, dice: &mut Dice, counts: &mut Counts) -> Result<()> {
        let moments = [Moment::Asked, Moment::Arrived, Moment::Answered];
        let moment = moments[usize::try_from(dice.roll(3))?];
        let asked_before = self.asked.load(Ordering::SeqCst);
        let gateway = self.world.gateway()?;
        let is_first = dice.roll(2) == 0;
        // From before anything was agreed on until the one that leaves has only its tunnels.
        let count = dice.roll(1200);
        let successor = self.world.begin_take_over()?;
        let victim = if is_first {
            self.world.server()?.id()
        } else {
            successor.id()
        };
        self.fuse.lay(moment, 1 + count, victim)?;
        self.load(gateway)?;
        // Whoever is left may be in the middle of finding out.
        let survivor = if is_first {
            &successor
        } else {
            self.world.server()?
        };
        if dice.roll(2) == 0 {
            let printed = survivor.printed().len();
            let _ = wait_within(SEES_TO_IT, "the survivor to say something", || {
                survivor.printed().len() > printed
            });
        }
        successor.kill()?;
        self.world.kill_server()?;

        counts.asked += self.asked.load(Ordering::SeqCst) - asked_before;
        self.starts = Record::of(&self.world)?.starts + 1;
        self.begin_again(counts)
    }

    /// Load until the fuse has burnt down.
    fn load(&self, gateway: SocketAddr) -> Result<()> {
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| self.client(gateway));
            }
        });
        let asked = self.asked.load(Ordering::SeqCst);
        ensure!(PORTS.contains(&asked), "a site has no more targets");
        Ok(())
    }

    /// What was left, and what there is after the next start.
    fn begin_again(&mut self, counts: &mut Counts) -> Result<()> {
        counts.unsigned += self.verify().context("as it was left")?;
        self.world.serve()?;
        self.verify().context("after the next start")?;

        let record = Record::of(&self.world)?;
        record.is_unbroken(self.starts)?;
        let arrived = lock(&self.destination.arrived).clone();
        let lost: Vec<_> = arrived.difference(&record.opened).collect();
        ensure!(
            lost.is_empty(),
            "first bytes without a record of theirs: {lost:?}"
        );
        let answered = lock(&self.answered).clone();
        let unheard: Vec<_> = answered.difference(&arrived).collect();
        ensure!(unheard.is_empty(), "answers that nobody gave: {unheard:?}");
        Ok(())
    }

    /// Adds what this site saw over all its lives.
    fn count(&self, counts: &mut Counts) -> Result<()> {
        let record = Record::of(&self.world)?;
        counts.arrived += lock(&self.destination.arrived).len();
        counts.answered += lock(&self.answered).len();
        counts.opened += record.opened.len();
        counts.unended += record.opened.difference(&record.ended).count();
        counts.gaps += record.gaps.len();
        Ok(())
    }

    fn client(&self, gateway: SocketAddr) {
        let mut left_open = Vec::new();
        while self.fuse.is_burning() {
            let number = self.asked.fetch_add(1, Ordering::SeqCst);
            if number.is_multiple_of(32)
                && let Ok(checkpoint) = std::fs::read(self.checkpoint())
            {
                *lock(&self.kept) = checkpoint;
            }
            let target = format!("{HOST}:{number}");
            if let Ok(client) = self.ask(gateway, number, &target) {
                lock(&self.answered).insert(target);
                self.fuse.note(Moment::Answered);
                if number.is_multiple_of(3) && left_open.len() < LEFT_OPEN {
                    left_open.push(client);
                }
            }
        }
    }

    /// One connection, in one of three ways, as far as the origin's answer.
    fn ask(&self, gateway: SocketAddr, number: u64, target: &str) -> Result<RawClient> {
        let mut client = RawClient::connect(gateway)?;
        let credentials = self.run.credentials.header();
        let tunnel = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credentials}\r\n");
        let request = format!("GET /{target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        self.fuse.note(Moment::Asked);
        match number % 4 {
            0 => {
                let line = format!("GET http://{target}/{target} HTTP/1.1\r\n");
                client.send(format!("{line}Host: {target}\r\n{credentials}\r\n").as_bytes())?;
            }
            // Sent ahead of the gateway's answer.
            1 => {
                client.send(format!("{tunnel}{request}").as_bytes())?;
                client.answer()?;
            }
            _ => {
                client.send(tunnel.as_bytes())?;
                client.answer()?;
                client.send(request.as_bytes())?;
            }
        }
        let answer = client.answer()?;
        ensure!(answer.body == "ok", "{answer:?}");
        Ok(client)
    }

    /// Verifies the log against the checkpoint that was kept; how many entries wait for a signature.
    fn verify(&self) -> Result<u64> {
        let kept = self.world.path("kept-checkpoint");
        let mut args = vec!["evidence".to_owned(), "verify".to_owned()];
        let checkpoint = lock(&self.kept).clone();
        if !checkpoint.is_empty() {
            std::fs::write(&kept, checkpoint)?;
            args.extend(["--checkpoint".to_owned(), kept.display().to_string()]);
        }
        let verified = self.world.ok(args)?;
        let log = &verified["logs"][0];
        ensure!(log["integrity"] == "whole", "{verified:#}");
        log["unsigned"].as_u64().context("unsigned")
    }
}

/// What the log says about all lives of a site.
#[derive(Default)]
struct Record {
    seqs: Vec<u64>,
    starts: usize,
    opened: HashSet<String>,
    ended: HashSet<String>,
    /// Opened or ended more than once.
    twice: Vec<String>,
    /// What gaps give as their cause.
    gaps: Vec<String>,
}

impl Record {
    fn of(world: &World) -> Result<Self> {
        let mut record = Self::default();
        for event in world.events()? {
            record.seqs.push(event["seq"].as_u64().context("seq")?);
            let target = || {
                let host = event["destination_host"].as_str().context("destination_host")?;
                anyhow::Ok(format!("{host}:{}", event["port"]))
            };
            match event["kind"].as_str().context("kind")? {
                "start" => record.starts += 1,
                "gap" => record
                    .gaps
                    .push(event["cause"].as_str().unwrap_or_default().to_owned()),
                "open" => {
                    let target = target()?;
                    if !record.opened.insert(target.clone()) {
                        record.twice.push(target);
                    }
                }
                "close" => {
                    let target = target()?;
                    if !record.ended.insert(target.clone()) {
                        record.twice.push(target);
                    }
                }
                _ => {}
            }
        }
        Ok(record)
    }

    /// No hole, no fork, a beginning for each life, and no gap that does not say why.
    fn is_unbroken(&self, starts: usize) -> Result<()> {
        let expected: Vec<u64> = (0..self.seqs.len() as u64).collect();
        ensure!(self.seqs == expected, "the log has a hole: {:?}", self.seqs);
        ensure!(self.starts == starts, "{} starts of {starts}", self.starts);
        ensure!(self.twice.is_empty(), "opened or ended twice: {:?}", self.twice);
        ensure!(
            self.gaps.iter().all(|cause| !cause.is_empty()),
            "a gap without a cause"
        );
        Ok(())
    }
}

/// One tunnel stands when the house dies, one has ended before.
fn ended_by_a_crash() -> Result<()> {
    let mut world = World::new()?;
    let destination = Destination::start(Arc::default())?;
    world.lead(&[HOST], &[destination.address.to_string()])?;
    world.serve()?;
    let plugins = ["acme.weather", "acme.clock"];
    let plugins = plugins.map(|id| world.plugin(id).declares(&["http://k.example:443"]).admit("high"));
    let mut standing = None;
    for (plugin, stays) in plugins.into_iter().zip([true, false]) {
        let run = LiveRun::start(&world, &plugin?, &[])?;
        let mut client = RawClient::connect(world.gateway()?)?;
        let target = format!("{HOST}:443");
        ensure!(
            client.tunnel(&target, Some(&run.credentials))?.status == 200,
            "a tunnel"
        );
        client.send(b"GET /here HTTP/1.1\r\n\r\n")?;
        ensure!(client.answer()?.status == 200, "an answer");
        if stays {
            standing = Some((client, run));
        } else {
            drop(client);
            world.wait_for_event("the other tunnel's end", |event| event["kind"] == "close")?;
        }
    }
    world.kill_server()?;
    drop(standing);
    world.serve()?;

    let audited = world.cli(["audit"])?.expect(3)?.json()?;
    let verdict = |plugin: &str| {
        let reports = audited["reports"].as_array()?;
        let report = reports.iter().find(|report| report["plugin_id"] == plugin)?;
        report["verdict"].as_str()
    };
    assert_eq!(verdict("acme.weather"), Some("inconclusive"), "{audited:#}");
    assert_eq!(verdict("acme.clock"), Some("conforming"), "{audited:#}");
    Ok(())
}
