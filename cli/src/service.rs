//! The service manager: what is told to it (sd_notify(3)), and what it hands over.
//!
//! Without one, nothing here does anything but raise the limit of open files.

use std::ffi::OsString;
use std::time::Duration;

use listenfd::ListenFd;
use proxy::HandedSockets;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// Descriptors below which a gateway soon turns clients away: two for every tunnel.
const FEW_FILES: u64 = 4096;
/// Descriptors that no client gets.
const KEPT_BACK: u64 = 256;

/// Raises the limit of open files as far as it goes. How many there may be.
pub fn raise_open_files() -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    let hard = before.maximum?;
    let raised = Rlimit {
        current: Some(hard),
        maximum: Some(hard),
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => Some(hard),
        Err(_) => before.current,
    }
}

/// At most `connections`, and no more than leave descriptors for everything else: the log and the
/// registry must be able to write what the clients did.
pub fn within_open_files(connections: usize) -> usize {
    match getrlimit(Resource::Nofile).current {
        Some(files) => connections.min(affordable(files)),
        None => connections,
    }
}

/// How many clients fit when so many files may be open: two descriptors each.
fn affordable(files: u64) -> usize {
    let kept_back = KEPT_BACK.min(files / 2);
    usize::try_from((files - kept_back) / 2).unwrap_or(usize::MAX)
}

/// Says how many files may be open.
pub fn tell_open_files(open_files: Option<u64>) {
    match open_files {
        Some(open_files) if open_files < FEW_FILES => tracing::warn!(
            open_files,
            clients = affordable(open_files),
            "few files may be open, and every tunnel needs two; raise LimitNOFILE or ulimit -n"
        ),
        Some(open_files) => {
            let clients = affordable(open_files);
            tracing::info!(
                open_files,
                clients,
                "limit of open files, and the clients that fit"
            );
        }
        None => tracing::info!("open files are not limited"),
    }
}

/// The sockets that the service manager opened for us (sd_listen_fds(3)).
pub fn handed_sockets() -> HandedSockets {
    let mut handed = HandedSockets::default();
    let mut known = ListenFd::from_env();
    for index in 0..known.len() {
        let tcp = known.take_tcp_listener(index);
        let taken = match tcp {
            Ok(Some(listener)) => handed.add_tcp(listener),
            _ => known.take_unix_listener(index).map(|listener| {
                if let Some(listener) = listener {
                    handed.add_unix(listener);
                }
            }),
        };
        if let Err(error) = taken {
            tracing::warn!(index, %error, "a socket that was handed over is none to accept clients on");
        }
    }
    handed
}

/// Says which sockets were handed over for nothing: whoever connects there is not served.
pub fn warn_of_unused(handed: &HandedSockets) {
    for address in handed.left() {
        tracing::warn!(
            address,
            "a socket was handed over for an address that the configuration does not name; name it in gateway.listen"
        );
    }
}

/// Says that the service is up.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Says that files are read again; [`ready`] says that this is over.
pub fn reloading() {
    // Without the moment the service manager cannot tell this reload from an earlier one.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the service manager was not told of a reload"),
    }
}

/// Says that the service is going down.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining tunnels")]);
}

/// Starts the binary anew, as it lies on the disk now and with the arguments of this process, to take this
/// one's place. It is our child, so a service manager counts it to the same service.
pub fn start_successor() {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.is_empty() {
        return;
    }
    let binary = arguments.remove(0);
    if !arguments.iter().any(|argument| argument == "--take-over") {
        arguments.push("--take-over".into());
    }
    let mut command = tokio::process::Command::new(&binary);
    command.args(arguments);
    // These name this process and its descriptors; the successor is handed its sockets otherwise.
    for name in ["WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        command.env_remove(name);
    }
    match command.spawn() {
        Ok(mut successor) => {
            tracing::info!(process = successor.id(), "a successor was started");
            tokio::spawn(async move {
                if let Ok(status) = successor.wait().await {
                    tracing::warn!(%status, "the successor has ended");
                }
            });
        }
        Err(error) => {
            let binary = binary.display();
            tracing::error!(%binary, %error, "no successor could be started; nothing has changed");
        }
    }
}

/// Says that another process is the service from now on; its end is ours no more.
pub fn follow(process: u32) {
    tell(&[NotifyState::MainPid(process)]);
}

/// Shows the watchdog twice in every interval that the runtime still gets round to things.
pub async fn keep_watchdog(stop: CancellationToken) {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = tokio::time::interval(half(interval));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        tell(&[NotifyState::Watchdog]);
    }
}

fn half(interval: Duration) -> Duration {
    (interval / 2).max(Duration::from_millis(1))
}

fn tell(states: &[NotifyState<'_>]) {
    // Nobody listens where there is no service manager, and one that is gone needs no news.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_descriptors_for_the_log() {
        assert_eq!(affordable(20_000), 9_872);
        assert_eq!(affordable(128), 32);
        assert_eq!(affordable(0), 0);
    }

    #[test]
    fn the_limit_of_open_files_is_raised_to_what_may_be() {
        if let Some(now) = raise_open_files() {
            assert_eq!(getrlimit(Resource::Nofile).current, Some(now));
        }
    }
}
