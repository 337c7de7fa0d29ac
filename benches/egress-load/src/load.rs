//! Closed-loop load: workers that each carry out one operation after another.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::dial::{Failure, Route};
use crate::http1::Connection;
use crate::process::Meter;
use crate::report::{Failures, Latencies, Report};

/// What a worker does over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Open a stream to the target, make one request through it, close it.
    Tunnel,
    /// Make one request on a connection that is kept for the next.
    KeepAlive,
}

#[derive(Debug)]
pub struct Load {
    pub operation: Operation,
    pub route: Route,
    /// The request's line target: a path, or an absolute URL for a proxy.
    pub request_target: String,
    pub concurrency: usize,
    pub threads: usize,
    /// Operations a second over all workers; as fast as they go if absent.
    pub rate: Option<f64>,
    pub warmup: Duration,
    pub limit: Limit,
    pub timeout: Duration,
    pub pids: Vec<u32>,
}

/// When the measured part ends: at whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub operations: Option<u64>,
    pub time: Duration,
}

/// What one thread's workers found in the measured part.
#[derive(Default)]
struct Tally {
    whole: Latencies,
    setup: Latencies,
    connections: u64,
    failures: Failures,
}

impl Tally {
    fn merge(&mut self, other: Self) {
        self.whole.merge(&other.whole);
        self.setup.merge(&other.setup);
        self.connections += other.connections;
        self.failures.merge(other.failures);
    }
}

/// The measured part, as the workers see it.
struct Window {
    open: AtomicBool,
    /// Operations that ended while open, failed ones with them.
    ended: AtomicU64,
    limit: u64,
    runner: Thread,
}

impl Window {
    /// Whether an operation that ends now is counted.
    fn admits(&self) -> bool {
        if !self.open.load(Ordering::Acquire) {
            return false;
        }
        let earlier = self.ended.fetch_add(1, Ordering::Relaxed);
        if earlier + 1 >= self.limit {
            self.runner.unpark();
        }
        earlier < self.limit
    }

    fn is_full(&self) -> bool {
        self.ended.load(Ordering::Relaxed) >= self.limit
    }
}

/// Hands out start times at an even pace.
struct Pace {
    origin: Instant,
    interval: Duration,
    next: AtomicU64,
}

impl Pace {
    /// Waits for the next turn. The returned start is the time that the turn was due if it is
    /// already late, so that a slow proxy cannot hide the wait it causes.
    async fn turn(&self) -> Instant {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let due = self.origin + self.interval.mul_f64(turn as f64);
        if due <= Instant::now() {
            return due;
        }
        tokio::time::sleep_until(due.into()).await;
        Instant::now()
    }
}

/// Puts the load on and measures it.
pub fn run(load: Load) -> Report {
    let load = Arc::new(load);
    let window = Arc::new(Window {
        open: AtomicBool::new(false),
        ended: AtomicU64::new(0),
        limit: load.limit.operations.unwrap_or(u64::MAX),
        runner: thread::current(),
    });
    let pace = load.rate.map(|rate| {
        Arc::new(Pace {
            origin: Instant::now(),
            interval: Duration::from_secs_f64(1.0 / rate),
            next: AtomicU64::new(0),
        })
    });
    let (stop, stopped) = watch::channel(());
    let threads: Vec<_> = (0..load.threads)
        .map(|index| {
            let workers = share(load.concurrency, load.threads, index);
            let (load, window) = (Arc::clone(&load), Arc::clone(&window));
            let (pace, stopped) = (pace.clone(), stopped.clone());
            thread::spawn(move || run_workers(workers, load, window, pace, stopped))
        })
        .collect();

    thread::sleep(load.warmup);
    let meter = Meter::start(&load.pids);
    let started = Instant::now();
    window.open.store(true, Ordering::Release);
    while !window.is_full() && started.elapsed() < load.limit.time {
        thread::park_timeout(load.limit.time.saturating_sub(started.elapsed()));
    }
    window.open.store(false, Ordering::Release);
    let elapsed = started.elapsed();
    let usage = meter.stop();

    drop(stop);
    let mut tally = Tally::default();
    for thread in threads {
        tally.merge(thread.join().expect("a worker thread panicked"));
    }

    let failed = tally.failures.count();
    let completed = window.ended.load(Ordering::Relaxed).min(window.limit) - failed;
    let figures = json!({
        "concurrency": load.concurrency,
        "threads": load.threads,
        "offered_per_s": load.rate,
        "elapsed_s": elapsed.as_secs_f64(),
        "completed": completed,
        "failed": failed,
        "failures": tally.failures.to_json(),
        "connections_opened": tally.connections,
        "per_s": completed as f64 / elapsed.as_secs_f64(),
        "latency_us": tally.whole.to_json(),
        "setup_latency_us": tally.setup.to_json(),
        "proxy_cpu_us_per_operation": usage.cpu_us_per(completed),
        "proxy": usage.to_json(elapsed),
        "client_cores_used": usage.own_cpu.as_secs_f64() / elapsed.as_secs_f64(),
    });
    Report { figures, failed }
}

/// How many of `total` fall to the part with `index` when they are dealt out over `parts`.
fn share(total: usize, parts: usize, index: usize) -> usize {
    total / parts + usize::from(index < total % parts)
}

fn run_workers(
    workers: usize,
    load: Arc<Load>,
    window: Arc<Window>,
    pace: Option<Arc<Pace>>,
    mut stopped: watch::Receiver<()>,
) -> Tally {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the runtime starts");
    let tally = Rc::new(RefCell::new(Tally::default()));
    LocalSet::new().block_on(&runtime, async {
        for _ in 0..workers {
            let worker = Worker {
                load: Arc::clone(&load),
                window: Arc::clone(&window),
                pace: pace.clone(),
                tally: Rc::clone(&tally),
                request: request(&load),
                kept: None,
            };
            tokio::task::spawn_local(worker.work());
        }
        // Ends with an error once the sender is dropped; the workers are then dropped as they are.
        stopped.changed().await.unwrap_or_default();
    });
    tally.take()
}

fn request(load: &Load) -> Vec<u8> {
    let authorization = match load.operation {
        Operation::KeepAlive => load.route.authorization_line(),
        Operation::Tunnel => String::new(), // the tunnel's handshake carried it
    };
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\n{authorization}\r\n",
        load.request_target, load.route.target
    )
    .into_bytes()
}

struct Worker {
    load: Arc<Load>,
    window: Arc<Window>,
    pace: Option<Arc<Pace>>,
    tally: Rc<RefCell<Tally>>,
    request: Vec<u8>,
    kept: Option<Connection>,
}

/// The kind of failure in which a request got no response head.
const UNANSWERED: &str = "unanswered";

/// What one operation took.
struct Done {
    /// From the start until the stream to the target was open, if one was opened.
    setup: Option<Duration>,
}

impl Worker {
    async fn work(mut self) {
        loop {
            let start = match &self.pace {
                Some(pace) => pace.turn().await,
                None => Instant::now(),
            };
            let limit = self.load.timeout;
            let result = match tokio::time::timeout(limit, self.operate(start)).await {
                Ok(result) => result,
                Err(_) => Err(Failure::new("timeout", format_args!("after {limit:?}"))),
            };
            let failed = result.is_err();
            if self.window.admits() {
                self.count(result, start.elapsed());
            }
            if failed {
                self.kept = None;
                tokio::time::sleep(Duration::from_millis(5)).await; // a dead proxy is not hammered
            }
        }
    }

    fn count(&self, result: Result<Done, Failure>, elapsed: Duration) {
        let mut tally = self.tally.borrow_mut();
        match result {
            Ok(done) => {
                tally.whole.record(elapsed);
                if let Some(setup) = done.setup {
                    tally.setup.record(setup);
                    tally.connections += 1;
                }
            }
            Err(failure) => tally.failures.record(failure),
        }
    }

    async fn operate(&mut self, start: Instant) -> Result<Done, Failure> {
        if let Some(connection) = self.kept.take() {
            match self.request_on(connection).await {
                // The other end may close a kept connection at any time: as any client does, the
                // request is then made again on a new one.
                Err(failure) if failure.kind == UNANSWERED => {}
                result => return result.map(|()| Done { setup: None }),
            }
        }
        let connection = self.load.route.open().await?;
        let setup = Some(start.elapsed());
        self.request_on(connection).await?;
        Ok(Done { setup })
    }

    async fn request_on(&mut self, mut connection: Connection) -> Result<(), Failure> {
        connection
            .write_all(&self.request)
            .await
            .map_err(Failure::at(UNANSWERED))?;
        let head = connection
            .read_response_head()
            .await
            .map_err(Failure::at(UNANSWERED))?;
        connection
            .discard_body(&head.framing)
            .await
            .map_err(Failure::at("truncated"))?;
        if head.status != 200 {
            return Err(Failure::new("status", head.status));
        }
        if self.load.operation == Operation::KeepAlive && head.framing.keeps_connection() {
            self.kept = Some(connection);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::Via;
    use crate::relay::Moving;
    use crate::testing;

    fn load(operation: Operation, route: Route) -> Load {
        Load {
            operation,
            request_target: "/bytes/128".into(),
            route,
            concurrency: 3,
            threads: 2,
            rate: None,
            warmup: Duration::ZERO,
            limit: Limit {
                operations: Some(50),
                time: Duration::from_secs(20),
            },
            timeout: Duration::from_secs(5),
            pids: vec![std::process::id()],
        }
    }

    #[test]
    fn workers_are_dealt_out_evenly() {
        assert_eq!(
            (0..3).map(|index| share(7, 3, index)).collect::<Vec<_>>(),
            [3, 2, 2]
        );
    }

    #[test]
    fn each_tunnel_is_a_connection_of_its_own() {
        for via in [Via::Direct, Via::Connect, Via::Socks5, Via::H2] {
            let figures = run(load(Operation::Tunnel, testing::route(via))).figures;
            assert_eq!(figures["completed"], 50, "{via:?}: {figures}");
            assert_eq!(figures["connections_opened"], 50, "{via:?}");
        }
    }

    #[test]
    fn kept_connections_are_used_again() {
        let figures = run(load(Operation::KeepAlive, testing::route(Via::Direct))).figures;
        assert_eq!(figures["completed"], 50, "{figures}");
        assert!(figures["connections_opened"].as_u64().unwrap() <= 3, "{figures}");
    }

    #[test]
    fn a_relay_stands_where_the_target_would() {
        for moving in [Moving::Copy, Moving::Splice] {
            let figures = run(load(Operation::Tunnel, testing::relayed_route(moving))).figures;
            assert_eq!(figures["completed"], 50, "{moving:?}: {figures}");
        }
    }

    #[test]
    fn a_relay_that_asks_as_socks5_does_connects_whoever_answers() {
        let figures = run(load(Operation::Tunnel, testing::socks5_route())).figures;
        assert_eq!(figures["completed"], 50, "{figures}");
    }

    #[test]
    fn tls_to_the_first_hop_is_under_whatever_is_spoken_there() {
        for operation in [Operation::Tunnel, Operation::KeepAlive] {
            let figures = run(load(operation, testing::tls_route())).figures;
            assert_eq!(figures["completed"], 50, "{operation:?}: {figures}");
        }
    }

    #[test]
    fn pace_bounds_the_rate() {
        let mut load = load(Operation::KeepAlive, testing::route(Via::Direct));
        load.rate = Some(100.0);
        load.limit = Limit {
            operations: None,
            time: Duration::from_millis(500),
        };
        let figures = run(load).figures;
        // Without a pace it would be thousands; a busy machine may bunch a few together.
        assert!(figures["per_s"].as_f64().unwrap() < 200.0, "{figures}");
    }

    #[test]
    fn refusals_are_failures_and_count_towards_the_limit() {
        let mut route = testing::route(Via::Connect);
        route.target.port = testing::REFUSED_PORT;
        let report = run(load(Operation::Tunnel, route));
        assert_eq!(report.failed, 50);
        assert_eq!(report.figures["failures"]["refused"]["count"], 50);
    }
}
