//! A few tunnels that each move a large body, one way or both ways at once.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::{JoinSet, LocalSet};

use crate::dial::{Failure, Route};
use crate::http1::{Connection, Progress};
use crate::origin::SMALL_BYTES;
use crate::process::Meter;
use crate::report::{Failures, Report};

#[derive(Debug)]
pub struct Bulk {
    pub route: Route,
    pub tunnels: usize,
    /// Bytes that each tunnel receives.
    pub pull: u64,
    /// Bytes that each tunnel sends.
    pub push: u64,
    /// Transfers still running after this are cut off; what they moved counts.
    pub time: Duration,
    pub timeout: Duration,
    pub pids: Vec<u32>,
}

pub fn run(bulk: Bulk) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the runtime starts");
    LocalSet::new().block_on(&runtime, move_bodies(Rc::new(bulk)))
}

async fn move_bodies(bulk: Rc<Bulk>) -> Report {
    let mut failures = Failures::default();
    let mut tunnels = Vec::new();
    for _ in 0..bulk.tunnels {
        match tokio::time::timeout(bulk.timeout, bulk.route.open()).await {
            Ok(Ok(connection)) => tunnels.push(connection),
            Ok(Err(failure)) => failures.record(failure),
            Err(_) => failures.record(Failure::new("timeout", "while opening a tunnel")),
        }
    }

    let meter = Meter::start(&bulk.pids);
    let started = Instant::now();
    let mut transfers = JoinSet::new();
    let mut progress = Vec::new();
    for connection in tunnels {
        let mine = Rc::new(Progress::default());
        progress.push(Rc::clone(&mine));
        transfers.spawn_local(transfer(Rc::clone(&bulk), connection, mine));
    }
    let mut completion_times = Vec::new();
    let all = async {
        while let Some(transfer) = transfers.join_next().await {
            match transfer.expect("a transfer panicked") {
                Ok(()) => completion_times.push(started.elapsed().as_secs_f64()),
                Err(failure) => failures.record(failure),
            }
        }
    };
    let cut_off = tokio::time::timeout(bulk.time, all).await.is_err();
    let elapsed = started.elapsed();
    let usage = meter.stop();

    let received: u64 = progress.iter().map(|one| one.received.get()).sum();
    let sent: u64 = progress.iter().map(|one| one.sent.get()).sum();
    let gigabytes = (received + sent) as f64 / 1e9;
    let failed = failures.count();
    let figures = json!({
        "tunnels": bulk.tunnels,
        "elapsed_s": elapsed.as_secs_f64(),
        "completed": completion_times.len(),
        "cut_off": cut_off,
        "failed": failed,
        "failures": failures.to_json(),
        "gb_received": received as f64 / 1e9,
        "gb_sent": sent as f64 / 1e9,
        "gb_per_s": gigabytes / elapsed.as_secs_f64(),
        "first_done_s": completion_times.first(),
        "last_done_s": completion_times.last(),
        "proxy_cpu_s_per_gb": usage.cpu_us_per(received + sent).map(|micros| micros * 1e3),
        "proxy": usage.to_json(elapsed),
        "client_cores_used": usage.own_cpu.as_secs_f64() / elapsed.as_secs_f64(),
    });
    Report { figures, failed }
}

async fn transfer(bulk: Rc<Bulk>, mut connection: Connection, progress: Rc<Progress>) -> Result<(), Failure> {
    let (method, target) = (if bulk.push > 0 { "POST" } else { "GET" }, &bulk.route.target);
    let request = format!(
        "{method} /bytes/{} HTTP/1.1\r\nHost: {target}\r\nContent-Length: {}\r\n\r\n",
        bulk.pull, bulk.push
    );
    connection
        .write_all(request.as_bytes())
        .await
        .map_err(Failure::at("request"))?;
    // The origin starts a large answer at once, but holds a small one back until it has the body.
    let mut unsent = bulk.push;
    if bulk.pull <= SMALL_BYTES {
        connection
            .exchange(unsent, 0, &progress)
            .await
            .map_err(Failure::at("transfer"))?;
        unsent = 0;
    }
    let head = connection
        .read_response_head()
        .await
        .map_err(Failure::at("response"))?;
    if head.status != 200 || head.framing.content_length != Some(bulk.pull) {
        return Err(Failure::new("response", format_args!("{head:?}")));
    }
    connection
        .exchange(unsent, bulk.pull, &progress)
        .await
        .map_err(Failure::at("transfer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::Via;
    use crate::relay::Moving;
    use crate::testing;

    fn bulk(pull: u64, push: u64) -> Bulk {
        Bulk {
            route: testing::route(Via::Connect),
            tunnels: 2,
            pull,
            push,
            time: Duration::from_secs(20),
            timeout: Duration::from_secs(5),
            pids: Vec::new(),
        }
    }

    #[test]
    fn bodies_move_either_way_and_both_at_once() {
        for (pull, push) in [(3_000_000, 0), (0, 3_000_000), (3_000_000, 2_000_000)] {
            let figures = run(bulk(pull, push)).figures;
            assert_eq!(figures["completed"], 2, "{figures}");
            assert_eq!(figures["gb_received"], 2.0 * pull as f64 / 1e9);
            assert_eq!(figures["gb_sent"], 2.0 * push as f64 / 1e9);
        }
    }

    #[test]
    fn a_relay_passes_both_directions_on_whole() {
        for moving in [Moving::Copy, Moving::Splice] {
            let mut bulk = bulk(3_000_000, 2_000_000);
            bulk.route = testing::relayed_route(moving);
            assert_eq!(run(bulk).figures["completed"], 2, "{moving:?}");
        }
    }

    #[test]
    fn bodies_move_whole_over_http2_and_over_tls() {
        for route in [testing::route(Via::H2), testing::tls_route()] {
            let mut bulk = bulk(3_000_000, 2_000_000);
            bulk.route = route;
            let figures = run(bulk).figures;
            assert_eq!(figures["completed"], 2, "{figures}");
        }
    }

    #[test]
    fn time_cuts_a_transfer_off_and_keeps_what_it_moved() {
        let mut bulk = bulk(1 << 50, 0);
        bulk.time = Duration::from_millis(200);
        let figures = run(bulk).figures;
        assert_eq!(figures["cut_off"], true);
        assert!(figures["gb_received"].as_f64().unwrap() > 0.0, "{figures}");
    }
}
