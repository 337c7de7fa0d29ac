//! Many tunnels that are opened, left alone, and then asked whether they still work.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use crate::dial::{Failure, Route};
use crate::http1::Connection;
use crate::process::Meter;
use crate::report::{Failures, Report};

#[derive(Debug)]
pub struct Idle {
    pub route: Rc<Route>,
    pub tunnels: usize,
    /// How many are being opened at any time.
    pub concurrency: usize,
    pub hold: Duration,
    pub timeout: Duration,
    pub pids: Vec<u32>,
}

pub fn run(idle: Idle) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the runtime starts");
    LocalSet::new().block_on(&runtime, hold_tunnels(Rc::new(idle)))
}

async fn hold_tunnels(idle: Rc<Idle>) -> Report {
    let mut failures = Failures::default();
    let meter = Meter::start(&idle.pids);

    let started = Instant::now();
    let tunnels = open_all(
        &idle.route,
        idle.tunnels,
        idle.concurrency,
        idle.timeout,
        &mut failures,
    )
    .await;
    let opened_in = started.elapsed();
    let opened = tunnels.len();

    let after_opening = meter.so_far();
    tokio::time::sleep(idle.hold).await;
    let after_hold = meter.so_far();
    let usage = meter.stop();

    let gate = Rc::new(Semaphore::new(idle.concurrency));
    let mut probing = JoinSet::new();
    for tunnel in tunnels {
        let (idle, gate) = (Rc::clone(&idle), Rc::clone(&gate));
        probing.spawn_local(async move {
            let _turn = gate.acquire().await.expect("the gate is never closed");
            within(idle.timeout, probe(&idle.route, tunnel)).await
        });
    }
    let held = collect(probing, &mut failures).await.len();

    let failed = failures.count();
    let before = usage.before;
    let per_tunnel =
        |before: u64, after: u64| (opened > 0).then(|| (after as f64 - before as f64) / opened as f64);
    let measured = !idle.pids.is_empty();
    let figures = json!({
        "tunnels": idle.tunnels,
        "opened": opened,
        "held": held,
        "opened_in_s": opened_in.as_secs_f64(),
        "hold_s": idle.hold.as_secs_f64(),
        "failed": failed,
        "failures": failures.to_json(),
        "proxy_rss_kib_per_tunnel":
            measured.then(|| per_tunnel(before.rss_kib, after_hold.rss_kib)),
        "proxy_pss_kib_per_tunnel": measured
            .then(|| before.pss_kib.zip(after_hold.pss_kib).and_then(|(b, a)| per_tunnel(b, a))),
        "proxy_cores_used_while_held": measured.then(|| {
            let cpu = after_hold.cpu().saturating_sub(after_opening.cpu());
            cpu.as_secs_f64() / idle.hold.as_secs_f64().max(1e-9)
        }),
        "proxy": usage.to_json(opened_in + idle.hold),
    });
    Report { figures, failed }
}

/// Opens this many tunnels, `concurrency` at a time.
pub async fn open_all(
    route: &Rc<Route>,
    tunnels: usize,
    concurrency: usize,
    timeout: Duration,
    failures: &mut Failures,
) -> Vec<Connection> {
    let gate = Rc::new(Semaphore::new(concurrency));
    let mut opening = JoinSet::new();
    for _ in 0..tunnels {
        let (route, gate) = (Rc::clone(route), Rc::clone(&gate));
        opening.spawn_local(async move {
            let _turn = gate.acquire().await.expect("the gate is never closed");
            within(timeout, route.open()).await
        });
    }
    collect(opening, failures).await
}

async fn within<T>(limit: Duration, step: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match tokio::time::timeout(limit, step).await {
        Ok(result) => result,
        Err(_) => Err(Failure::new("timeout", format_args!("after {limit:?}"))),
    }
}

async fn collect<T: 'static>(mut steps: JoinSet<Result<T, Failure>>, failures: &mut Failures) -> Vec<T> {
    let mut done = Vec::with_capacity(steps.len());
    while let Some(step) = steps.join_next().await {
        match step.expect("a step panicked") {
            Ok(value) => done.push(value),
            Err(failure) => failures.record(failure),
        }
    }
    done
}

/// Makes a request through a tunnel that has been idle.
async fn probe(route: &Route, mut tunnel: Connection) -> Result<(), Failure> {
    let request = format!("GET /bytes/1 HTTP/1.1\r\nHost: {}\r\n\r\n", route.target);
    tunnel
        .write_all(request.as_bytes())
        .await
        .map_err(Failure::at("lost"))?;
    let head = tunnel.read_response_head().await.map_err(Failure::at("lost"))?;
    tunnel
        .discard_body(&head.framing)
        .await
        .map_err(Failure::at("lost"))
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::Via;
    use crate::testing;

    #[test]
    fn held_tunnels_still_answer() {
        let idle = Idle {
            route: Rc::new(testing::route(Via::Socks5)),
            tunnels: 20,
            concurrency: 4,
            hold: Duration::from_millis(50),
            timeout: Duration::from_secs(5),
            pids: Vec::new(),
        };
        let figures = run(idle).figures;
        assert_eq!(figures["held"], 20, "{figures}");
        assert_eq!(figures["failed"], 0);
    }
}
