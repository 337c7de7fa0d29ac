//! Puts load on a forward proxy and measures what it delivers and what it costs.

mod bulk;
mod cli;
mod dial;
mod h2_tunnel;
mod http1;
mod idle;
mod load;
mod origin;
mod process;
mod relay;
mod report;
mod server;
mod stream;
#[cfg(test)]
mod testing;
mod tls;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use cli::{Command, Invocation};
use report::Report;

fn main() -> ExitCode {
    let Invocation { command, mode, json } = match cli::parse(std::env::args_os().skip(1)) {
        Ok(invocation) => invocation,
        Err(message) => {
            eprintln!("egress-load: {message}");
            return ExitCode::from(2);
        }
    };
    raise_open_file_limit();
    let report = match command {
        Command::Load(load) => load::run(load),
        Command::Bulk(bulk) => bulk::run(bulk),
        Command::Idle(idle) => idle::run(idle),
        Command::Watch(watch) => watch::run(watch),
        Command::Origin { listen, threads } => {
            let served = server::serve("origin", listen, threads, origin::serve_connection);
            return server_ended(listen, served);
        }
        Command::Relay {
            listen,
            threads,
            target,
            asking,
            moving,
            tls,
        } => {
            let served = server::serve("relay", listen, threads, move |client| {
                relay::serve_connection(client, target, asking, moving, tls.clone())
            });
            return server_ended(listen, served);
        }
        Command::Help => {
            print!("{}", cli::USAGE);
            return ExitCode::SUCCESS;
        }
    };
    print_report(report, &mode, json)
}

fn server_ended(listen: SocketAddr, served: io::Result<()>) -> ExitCode {
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("egress-load: {listen}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_report(mut report: Report, mode: &str, json: bool) -> ExitCode {
    report.figures["mode"] = mode.into();
    if json {
        println!("{}", report.as_json());
    } else {
        print!("{}", report.as_text());
    }
    ExitCode::from(u8::from(report.failed > 0))
}

/// Many tunnels need many descriptors; the hard limit is as far as an ordinary process may go.
fn raise_open_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    ) {
        eprintln!(
            "egress-load: the open-file limit stays at {:?}: {error}",
            limit.current
        );
    }
}
