//! The server: connections with limits, and an end with a deadline.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections at a time; more wait in the kernel.
const MAX_CONNECTIONS: usize = 256;
/// Longest wait for a request's head, which bounds idle connections too.
const HEAD: Duration = Duration::from_secs(30);
/// Pause after a failed accept, for example without descriptors.
const BACK_OFF: Duration = Duration::from_millis(100);

/// When a server ends.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// No new requests from here on; those under way are finished.
    pub stop: CancellationToken,
    /// Those under way are broken off too: nothing may be done here any more.
    pub hurry: CancellationToken,
}

/// Answers on `listener` until `end` says stop, then gives the requests under way `deadline` to finish,
/// unless there is a hurry. None goes on after this returned, but for what was published half-way.
pub async fn serve(listener: TcpListener, router: Router, end: End, deadline: Duration) {
    let End { stop, hurry } = end;
    let broken_off = CancellationToken::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot.expect("nobody closes the semaphore"),
        };
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "control cannot accept");
                    tokio::time::sleep(BACK_OFF).await;
                    continue;
                }
            },
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(64 * 1024)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let connection = graceful.watch(connection);
        let broken_off = broken_off.clone();
        tokio::spawn(async move {
            tokio::select! {
                // A caller that hangs up or stalls concerns nobody else.
                _ = connection => {}
                () = broken_off.cancelled() => {}
            }
            drop(slot);
        });
    }
    drop(listener);
    let is_done = tokio::select! {
        done = tokio::time::timeout(deadline, graceful.shutdown()) => done.is_ok(),
        () = hurry.cancelled() => false,
    };
    if !is_done {
        tracing::warn!("control stopped with requests under way");
    }
    broken_off.cancel();
}
