//! `bailiwick serve`: gateway, control plane and auditor in one process.

use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::exit::Exit;
use crate::house::House;
use crate::output::{self, Format};
use crate::service;

/// `bailiwick serve` arguments.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {}

/// Runs `bailiwick serve` until SIGTERM or SIGINT, then stops in good order; SIGHUP has it read its
/// configuration again. A second signal stops at once; the log is then recovered at the next start.
///
/// # Errors
/// The house cannot be opened, or a port cannot be had.
pub async fn run(_: &ServeArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let open_files = service::raise_open_files();
    let mut hang_up = signal(SignalKind::hangup())?;
    let (house, addresses) = House::serve(config, service::handed_sockets()).await?;
    output::print(format, &addresses, || {
        let gateways: Vec<_> = addresses.gateway.iter().map(ToString::to_string).collect();
        format!(
            "gateway  {}\nadmin    http://{}/readyz\ncontrol  http://{}",
            gateways.join(" "),
            addresses.admin,
            addresses.control
        )
    })?;
    service::tell_open_files(open_files);
    service::ready("serving");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => house.reload("SIGHUP").await,
        }
    }
    service::stopping();
    tracing::info!("stopping; tunnels are drained");
    tokio::select! {
        () = house.close() => {}
        _ = terminate.recv() => tracing::warn!("stopped at once"),
        _ = interrupt.recv() => tracing::warn!("stopped at once"),
    }
    Ok(Exit::Done)
}
