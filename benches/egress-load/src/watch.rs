//! Many tunnels that are left alone until the proxy ends them, and when each of them ended.
//!
//! Times are those of the system's monotonic clock, so that whoever caused the end, in another
//! process, can subtract its own.

use std::io::Write;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use tokio::task::{JoinSet, LocalSet};

use crate::dial::Route;
use crate::http1::Connection;
use crate::idle::open_all;
use crate::report::{Failures, Report};

#[derive(Debug)]
pub struct Watch {
    pub route: Rc<Route>,
    pub tunnels: usize,
    /// How many are being opened at any time.
    pub concurrency: usize,
    /// Tunnels that stand after this are left.
    pub time: Duration,
    pub timeout: Duration,
}

pub fn run(watch: Watch) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the runtime starts");
    LocalSet::new().block_on(&runtime, watch_tunnels(watch))
}

async fn watch_tunnels(watch: Watch) -> Report {
    let mut failures = Failures::default();
    let tunnels = open_all(
        &watch.route,
        watch.tunnels,
        watch.concurrency,
        watch.timeout,
        &mut failures,
    )
    .await;
    let opened = tunnels.len();
    let (sockets, others): (Vec<_>, Vec<_>) = tunnels
        .into_iter()
        .map(Connection::into_socket)
        .partition(Result::is_ok);
    let mut closed_at = Vec::with_capacity(opened);
    if others.is_empty() {
        let sockets: Vec<_> = sockets.into_iter().flatten().collect();
        watch_sockets(&sockets, watch.time, &mut closed_at).expect("the system tells of ends");
    } else {
        // One route leads to one kind of stream.
        let tunnels = others.into_iter().filter_map(Result::err).collect();
        watch_streams(tunnels, watch.time, &mut closed_at).await;
    }
    closed_at.sort_unstable();
    let failed = failures.count();
    let figures = json!({
        "tunnels": watch.tunnels,
        "opened": opened,
        "closed": closed_at.len(),
        "still_open": opened - closed_at.len(),
        "failed": failed,
        "failures": failures.to_json(),
        "closed_at_ns": {
            "first": closed_at.first(),
            "p50": quantile(&closed_at, 0.5),
            "p99": quantile(&closed_at, 0.99),
            "last": closed_at.last(),
        },
    });
    Report { figures, failed }
}

/// Has the system tell of plain sockets, a thousand at once: whoever ends thousands shall not wait for us
/// to look at each.
fn watch_sockets(sockets: &[TcpStream], time: Duration, closed_at: &mut Vec<u64>) -> Result<(), Errno> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let ends = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
    for (number, socket) in sockets.iter().enumerate() {
        let number = epoll::EventData::new_u64(number as u64);
        epoll::add(&epoll, socket, number, ends | epoll::EventFlags::ONESHOT)?;
    }
    announce();
    let deadline = Instant::now() + time;
    let mut told = Vec::with_capacity(1024);
    while closed_at.len() < sockets.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let left = Timespec::try_from(left).expect("a limit given by hand is no age of the world");
        match epoll::wait(&epoll, spare_capacity(&mut told), Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let now = monotonic_ns();
        closed_at.extend(told.drain(..).map(|_| now));
    }
    Ok(())
}

/// Watches whatever tells of its end only when it is read.
async fn watch_streams(tunnels: Vec<Connection>, time: Duration, closed_at: &mut Vec<u64>) {
    let mut watching = JoinSet::new();
    for tunnel in tunnels {
        watching.spawn_local(closing_time(tunnel));
    }
    // All of them wait by the time that this is read.
    tokio::task::yield_now().await;
    announce();
    let deadline = Instant::now() + time;
    while let Ok(Some(closed)) = tokio::time::timeout_at(deadline.into(), watching.join_next()).await {
        closed_at.push(closed.expect("a watching task panicked"));
    }
}

/// Tells whoever reads our standard output that every tunnel stands.
fn announce() {
    let mut out = std::io::stdout();
    // Nobody may be reading.
    let _ = writeln!(out, "ready").and_then(|()| out.flush());
}

async fn closing_time(mut tunnel: Connection) -> u64 {
    tunnel.closed().await;
    monotonic_ns()
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// The smallest of `sorted` that at least this share of them does not exceed.
fn quantile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::Via;
    use crate::testing;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!(quantile(&values, 0.5), Some(100));
        assert_eq!(quantile(&values, 0.99), Some(198));
        assert_eq!(quantile(&[7], 0.5), Some(7));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn tunnels_that_nobody_ends_are_left_and_counted() {
        let figures = run(Watch {
            route: Rc::new(testing::route(Via::Connect)),
            tunnels: 5,
            concurrency: 2,
            time: Duration::from_millis(50),
            timeout: Duration::from_secs(5),
        })
        .figures;
        assert_eq!(figures["still_open"], 5, "{figures}");
        assert_eq!(figures["closed"], 0);
    }

    #[test]
    fn the_time_of_an_end_is_on_the_clock_of_whoever_caused_it() {
        let before = monotonic_ns();
        let figures = run(Watch {
            route: Rc::new(testing::closing_route()),
            tunnels: 3,
            concurrency: 2,
            time: Duration::from_secs(20),
            timeout: Duration::from_secs(5),
        })
        .figures;
        assert_eq!(figures["closed"], 3, "{figures}");
        let first = figures["closed_at_ns"]["first"].as_u64().unwrap();
        assert!((before..=monotonic_ns()).contains(&first));
    }
}
