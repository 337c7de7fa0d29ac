//! The commands; one file each.

pub mod admit;
pub mod appeal;
pub mod approve;
pub mod approve_act;
mod artifact_file;
pub mod audit;
pub mod check;
pub mod contact;
pub mod crl;
mod doctor;
pub mod events;
pub mod evidence;
pub mod filter;
pub mod init;
pub mod key;
pub mod kill;
pub mod manifest;
mod plugins;
pub mod policy;
mod policy_exception;
mod reload;
pub mod remediation;
pub mod report;
pub mod revoke;
pub mod run;
mod runs;
pub mod safe_mode;
pub mod serve;
pub mod sign;
mod status;
pub mod suggest;
pub mod tier;
pub mod tls;
pub mod trust;
pub mod verify;
mod verify_bundle;
mod vkey;
pub mod witness;

use control::api::types::ListAct;

use crate::args::{Args, Command};
use crate::config::Config;
use crate::demo;
use crate::exit::Exit;
use crate::output::Format;

/// Runs whatever the command line asked for.
///
/// # Errors
/// Whatever the command says.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    log_to_stderr(args);
    let config = || Config::find(args.config.as_deref()).map_err(anyhow::Error::from);
    let quiet = args.quiet;
    let format = match &args.command {
        // It knows more words than the others.
        Command::Evidence(_) => Format::Text,
        _ => args.format.printed()?,
    };
    match &args.command {
        Command::Init(own) => init::run(own, format),
        Command::Key(own) => key::run(own, format),
        Command::Trust(own) => trust::run(own, &config()?, format),
        Command::Manifest(own) => manifest::run(own, config, format),
        Command::Sign(own) => sign::run(own, format),
        Command::Approve(own) => approve::run(own, &config()?, format),
        Command::Policy(own) => policy::run(own, config, format),
        Command::ApproveAct(own) => wait(approve_act::run(own, &config()?, format)),
        Command::Verify(own) => verify::run(own, config, format),
        Command::Events(own) => events::run(own, &config()?, format),
        Command::Evidence(own) => evidence::run(own, config, args.format, quiet),
        Command::Crl(own) => wait(crl::run(own, &config()?, format)),
        Command::Doctor => doctor::run(&config()?, format),
        Command::Demo(own) => wait(demo::run(own, format, quiet)),
        Command::DemoPlugin(own) => wait(demo::plugin::run(own)),
        Command::Witness(own) => wait(witness::run(own, format)),
        Command::Serve(own) => wait(serve::run(own, &config()?, format)),
        Command::Admit(own) => wait(admit::run(own, &config()?, format)),
        Command::Plugins => wait(plugins::run(&config()?, format)),
        Command::Tier(own) => wait(tier::run(own, &config()?, format)),
        Command::Run(own) => wait(run::run(own, &config()?, quiet)),
        Command::Runs => wait(runs::run(&config()?, format)),
        Command::Check(own) => wait(check::run(own, &config()?, format)),
        Command::Audit(own) => wait(audit::run(own, &config()?, format, quiet)),
        Command::Appeal(own) => wait(appeal::run(own, &config()?, format)),
        Command::Remediation(own) => wait(remediation::run(own, &config()?, format)),
        Command::Contact(own) => wait(contact::run(own, &config()?, format)),
        Command::Report(own) => wait(report::run(own, &config()?, format)),
        Command::Revoke(own) => wait(revoke::run(ListAct::Revoke, own, &config()?, format)),
        Command::Quarantine(own) => wait(revoke::run(ListAct::Quarantine, own, &config()?, format)),
        Command::Reinstate(own) => wait(revoke::run(ListAct::Reinstate, own, &config()?, format)),
        Command::Kill(own) => wait(kill::run(own, &config()?, format)),
        Command::Reload => wait(reload::run(&config()?, format)),
        Command::SafeMode(own) => wait(safe_mode::run(own, &config()?, format)),
        Command::Tls(own) => tls::run(own, &config()?, format),
        Command::Status => wait(status::run(&config()?, format)),
    }
}

/// Who acts, for the record: the login name.
pub fn who() -> String {
    let names = ["SUDO_USER", "USER", "LOGNAME"].iter();
    let login = names
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| !name.is_empty());
    login.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

fn wait(work: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    // One provider for the whole process, so that no default can be picked differently elsewhere.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // What still runs in the background has had its chance to stop.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

/// Logs go to standard error: warnings by default, more with `RUST_LOG`; a server says what it does.
fn log_to_stderr(args: &Args) {
    let default = match (&args.command, args.quiet) {
        (_, true) => "error",
        (Command::Serve(_) | Command::Witness(_), false) => "info",
        (_, false) => "warn",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| default.into());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    // A second call, as in tests, changes nothing.
    let _ = subscriber.try_init();
}
