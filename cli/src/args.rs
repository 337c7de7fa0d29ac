//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands;
use crate::demo::{DemoArgs, plugin::DemoPluginArgs};
use crate::output::FormatWord;

/// Observation-only egress gateway, conformance auditor and revocation control plane.
///
/// A plugin's owner signs where the plugin will connect. Bailiwick verifies that at load, writes down
/// where it really goes, says each night who kept their word, and takes the right to load from those
/// who did not.
///
/// Exit status: 0 done or clean, 1 a finding, a refusal or tampering, 2 wrong use or unreadable
/// input, 3 cannot tell.
#[derive(Debug, Parser)]
#[command(
    name = "bailiwick",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub struct Args {
    /// The configuration file [default: $BAILIWICK_CONFIG, ./bailiwick.toml, /etc/bailiwick/bailiwick.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How results are printed; `evidence export` knows more
    #[arg(long, global = true, value_enum, default_value_t)]
    pub format: FormatWord,
    /// Print results only: no progress, no notices
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell the whole story on this machine in a temporary folder
    Demo(DemoArgs),
    /// Make a site: data folder, keys, configuration, trust root
    Init(commands::init::InitArgs),
    /// Run gateway, control plane and auditor in one process
    Serve(commands::serve::ServeArgs),
    /// Make and look at keys
    #[command(subcommand)]
    Key(commands::key::KeyCommand),
    /// Say who may sign what
    #[command(subcommand)]
    Trust(commands::trust::TrustCommand),
    /// Write, check and compare manifests
    #[command(subcommand)]
    Manifest(commands::manifest::ManifestCommand),
    /// Sign a manifest for an artifact, as its owner
    Sign(commands::sign::SignArgs),
    /// Approve a signed manifest, as the platform's certifier
    Approve(commands::approve::ApproveArgs),
    /// Show, check, sign and compare what the house does on its own
    #[command(subcommand)]
    Policy(commands::policy::PolicyCommand),
    /// Decide, as a second person, what a clause of the policy asked for
    ApproveAct(commands::approve_act::ApproveActArgs),
    /// Ask the load gate about an artifact, or verify an evidence bundle
    Verify(commands::verify::VerifyArgs),
    /// Admit an artifact through the load gate
    Admit(commands::admit::AdmitArgs),
    /// List plugins and their artifacts
    Plugins,
    /// Say how much trust a plugin gets here
    #[command(subcommand)]
    Tier(commands::tier::TierCommand),
    /// Make the certificate that the gateway shows to clients speaking TLS to it
    #[command(subcommand)]
    Tls(commands::tls::TlsCommand),
    /// Register a run and start a command with its proxy settings
    Run(commands::run::RunArgs),
    /// List runs
    Runs,
    /// Say which manifest entry decides about a destination
    Check(commands::check::CheckArgs),
    /// Print events of the evidence log
    Events(commands::events::EventsArgs),
    /// Verify the evidence log and prove single events
    #[command(subcommand)]
    Evidence(commands::evidence::EvidenceCommand),
    /// Vouch for the logs of others: watch them grow and cosign their checkpoints
    ///
    /// A witness remembers the last checkpoint of each log it watches. It cosigns the next one only when a
    /// proof shows that it continues the last, and only once that is safely on its disk. Whoever runs one
    /// on another machine than the gateway's makes it impossible to cut or rewrite the log unseen.
    Witness(commands::witness::WitnessArgs),
    /// Hold the night by hand: verify, fold, judge, report, act
    Audit(commands::audit::AuditArgs),
    /// Take down, answer and decide what owners say against findings
    #[command(subcommand)]
    Appeal(commands::appeal::AppealCommand),
    /// Show which builds mend which findings
    #[command(subcommand)]
    Remediation(commands::remediation::RemediationCommand),
    /// Find out whether anybody reads where owners are written to
    #[command(subcommand)]
    Contact(commands::contact::ContactCommand),
    /// List, show, verify and send reports
    #[command(subcommand)]
    Report(commands::report::ReportCommand),
    /// Revoke an artifact for good
    Revoke(commands::revoke::ChangeArgs),
    /// Put an artifact on hold
    Quarantine(commands::revoke::ChangeArgs),
    /// Lift the hold on an artifact
    Reinstate(commands::revoke::ChangeArgs),
    /// Cut live tunnels and refuse new ones for a plugin, an artifact or everybody
    Kill(commands::kill::KillArgs),
    /// Show, verify and explain the revocation list
    #[command(subcommand)]
    Crl(commands::crl::CrlCommand),
    /// Have the running server read its configuration again
    ///
    /// Limits, quotas, timeouts, resolver, parents, certificates, policy and trust root take effect without
    /// ending a connection; what needs a restart is named. A file that cannot be used changes nothing.
    Reload,
    /// Make the load gate refuse everything, or stop doing so
    #[command(subcommand)]
    SafeMode(commands::safe_mode::SafeModeCommand),
    /// Show what is running and how old everything is
    Status,
    /// Find what is misconfigured and say how to mend it
    Doctor,
    /// Run a plugin of the demo
    #[command(hide = true)]
    DemoPlugin(DemoPluginArgs),
}

impl Command {
    /// Whether standard output belongs to somebody else, so that no error document may go there.
    pub fn speaks_for_itself(&self) -> bool {
        matches!(
            self,
            Self::Run(_) | Self::Serve(_) | Self::Witness(_) | Self::DemoPlugin(_)
        )
    }
}
