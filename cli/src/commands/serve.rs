//! `bailiwick serve`: gateway, control plane and auditor in one process, or in its successor.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;
use crate::exit::Exit;
use crate::house::handover::{Door, Retired};
use crate::house::{HandedOver, House};
use crate::output::{self, Format};
use crate::service;

/// `bailiwick serve` arguments.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Take the place of the process that serves this site now, without refusing or cutting anybody
    ///
    /// The running process hands over its sockets and gives up the evidence log; whoever connects is served
    /// by the new one from then on. Tunnels that stand go on in the old process for at most
    /// gateway.timeouts.drain; their events are written by the new one, and kills reach them. Where
    /// anything stands in the way, the running process goes on as if nothing had happened.
    #[arg(long)]
    take_over: bool,
}

/// Runs `bailiwick serve` until SIGTERM or SIGINT, then stops in good order; SIGHUP has it read its
/// configuration again, SIGUSR2 start the binary anew as its successor. A second signal to stop stops at
/// once; the log is then recovered at the next start.
///
/// # Errors
/// The house cannot be opened, a port cannot be had, or the running process cannot be taken over from.
pub async fn run(args: &ServeArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let open_files = service::raise_open_files();
    let (mut house, addresses) = if args.take_over {
        House::take_over(config).await?
    } else {
        House::serve(config, service::handed_sockets()).await?
    };
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
    let mut door = open_door(config, &house);
    loop {
        let request = tokio::select! {
            told = signals.next() => match told {
                Told::Stop => break,
                Told::Reload => {
                    house.reload("SIGHUP").await;
                    continue;
                }
                Told::Succeed => {
                    service::start_successor();
                    continue;
                }
            },
            request = next_request(&mut door) => request,
        };
        if let Some(door) = &door {
            door.close(Some("another process takes over at this moment"));
        }
        house = match house.hand_over(request).await? {
            HandedOver::Not(house) => house,
            HandedOver::To(retired) => {
                // Whoever knocks now is the successor's to answer.
                drop(door);
                return retire(*retired, &mut signals).await;
            }
        };
        door = open_door(config, &house);
    }
    drop(door);
    service::stopping();
    tracing::info!("stopping; tunnels are drained");
    tokio::select! {
        () = house.close() => {}
        () = signals.stop() => tracing::warn!("stopped at once"),
    }
    Ok(Exit::Done)
}

/// Goes on for as long as there are connections from before another process took over.
async fn retire(retired: Retired, signals: &mut Signals) -> anyhow::Result<Exit> {
    let retired = retired.run();
    tokio::pin!(retired);
    let mut is_asked = false;
    loop {
        tokio::select! {
            ended = &mut retired => {
                tracing::info!("the last connection from before the take-over has ended");
                return ended.map(|()| Exit::Done);
            }
            told = signals.next() => {
                if told != Told::Stop {
                    tracing::warn!(?told, "another process serves now; tell that one");
                    continue;
                }
                if std::mem::replace(&mut is_asked, true) {
                    tracing::warn!("stopped at once");
                    return Ok(Exit::Done);
                }
                tracing::info!("tunnels are being drained already");
            }
        }
    }
}

/// Lets successors in. A process that has none yet does not need to be stopped for that.
fn open_door(config: &Config, house: &Arc<House>) -> Option<Door> {
    let door = match Door::open(config) {
        Ok(door) => door,
        Err(error) => {
            tracing::warn!(error = %format!("{error:#}"), "a take-over is not possible");
            return None;
        }
    };
    if let Some(follower) = house.follower() {
        door.close(Some(
            "the process before this one still has connections; try again when it has ended",
        ));
        door.open_after(async move { follower.gone().await });
    }
    Some(door)
}

async fn next_request(door: &mut Option<Door>) -> crate::house::handover::Request {
    match door {
        Some(door) => door.next().await,
        None => std::future::pending().await,
    }
}

/// What this process is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Stop,
    Reload,
    Succeed,
}

/// Where it is told.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    succeed: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            succeed: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hang_up.recv() => Told::Reload,
            _ = self.succeed.recv() => Told::Succeed,
        }
    }

    /// Waits until it is asked to stop, whatever else it is told.
    async fn stop(&mut self) {
        while self.next().await != Told::Stop {}
    }
}
