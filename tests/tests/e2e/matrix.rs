//! The compatibility matrix: clients that people really use, unchanged, under `bailiwick run`.
//!
//! A cell is one run. It holds when the client itself succeeded, its origin saw it, and the gateway's
//! events attribute it, by the means of its row, to that run of that plugin. For a client that is known to ignore its
//! environment it holds when the client reached its origin and the gateway saw nothing: only the
//! network around a plugin closes that gap, so the matrix names it.

mod cell;
mod clients;
mod stage;
mod table;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Result, ensure};
use bailiwick_tests::{Peer, Scenario};

use cell::Cell;
use clients::CLIENTS;
use stage::Stage;
use table::{Outcome, Row};

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "clients_are_attributed_or_known_to_bypass",
    needs: &[Peer::AnyClient],
    run: matrix,
}];

/// Two cores keep this many clients busy; most of them wait for most of their time.
const AT_ONCE: usize = 4;

fn matrix() -> Result<()> {
    let stage = Stage::new()?;
    let found = at_once(CLIENTS, |client| stage.find(client));
    let (mut rows, mut cells) = (Vec::new(), Vec::new());
    for (client, found) in CLIENTS.iter().zip(found) {
        let found = found?;
        if let Some(found) = &found {
            cells.extend(stage.cells(client, found.learnt)?);
        }
        rows.push(Row {
            client,
            version: found.map(|found| found.version),
            cells: Vec::new(),
        });
    }
    let runs = at_once(&cells, Cell::run);
    let events = stage.settled_events()?;
    let (mut wrong, mut proxied) = (Vec::new(), Vec::new());
    for (cell, run) in cells.iter().zip(runs) {
        let judged = run.and_then(|run| cell.judge(&run, &events));
        let outcome = if judged.is_ok() {
            cell.expected
        } else {
            Outcome::Wrong
        };
        for row in &mut rows {
            if row.client.id == cell.client.id {
                row.cells.push((cell.column, outcome));
            }
        }
        match judged {
            Ok(id) if cell.is_proxied() => proxied.push(id),
            Ok(_) => {}
            Err(why) => wrong.push(format!("{}: {why:#}", cell.marker())),
        }
    }
    table::print(&rows);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Nothing went through on nobody's account, least of all what should have bypassed.
    for event in events.iter().filter(|event| event["kind"] == "open") {
        let run = event["run_id"].as_str().unwrap_or_default();
        assert!(proxied.iter().any(|id| id == run), "{event:#}");
    }
    Ok(())
}

/// Does `work` on every item, a few at a time; answers are in the order of the items.
fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    let answer = (index, work(item));
                    done.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, answer)| answer).collect()
}
