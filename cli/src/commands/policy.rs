//! `bailiwick policy`: show, check, sign, verify and compare what the house does on its own.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base::{Backing, BreachClause, Policy, Sha256Digest, Tier};
use clap::Subcommand;
use control::policy::{
    PolicyChange, PolicyInForce, PolicyLint, PolicySignature, difference, lint, sign, signature_path,
};
use manifests::lint::Severity;
use seal::key_file;
use seal::trust::Role;
use serde::Serialize;

use crate::config::Config;
use crate::exit::{Exit, Refused};
use crate::output::{self, Format};
use crate::{clock, files, trust_file};

use super::policy_exception::{self, Signing};

/// What to do with a policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show what each tier does, and in whose name
    Show {
        /// The policy [default: the site's]
        policy: Option<PathBuf>,
    },
    /// Check a policy and point at what should be looked at twice
    Lint {
        /// The policy [default: the site's]
        policy: Option<PathBuf>,
    },
    /// Sign a policy, as the site's certifier; the signature lies beside it
    Sign {
        /// The policy [default: the site's]
        policy: Option<PathBuf>,
        /// The certifier's private key [default: the site's]
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Sign an exception, as one of the two whom it names; it counts once both did
    SignException {
        /// Which one, counted from 0 [default: the only one]
        number: Option<usize>,
        /// The policy [default: the site's]
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// The private key of an operator or the certifier [default: the site's operator]
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Where the signature goes [default: beside the policy]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Put a signature of an exception that was made elsewhere beside the policy
    AddSignature {
        /// The signature
        signature: PathBuf,
        /// The policy [default: the site's]
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// Verify a policy's signature
    Verify {
        /// The policy [default: the site's]
        policy: Option<PathBuf>,
    },
    /// Compare two policies field by field
    Diff {
        /// The earlier one
        old: PathBuf,
        /// The later one [default: the site's]
        new: Option<PathBuf>,
    },
}

#[derive(Serialize)]
struct ShowView<'a> {
    path: &'a Path,
    version: u64,
    sha256: Sha256Digest,
    signed_by: Option<String>,
    policy: &'a Policy,
}

#[derive(Serialize)]
struct LintView {
    ok: bool,
    findings: Vec<LintRow>,
}

#[derive(Serialize)]
struct LintRow {
    rule: &'static str,
    severity: &'static str,
    field: String,
    message: String,
}

#[derive(Serialize)]
struct SignView {
    policy: PathBuf,
    version: u64,
    sha256: Sha256Digest,
    signature: PathBuf,
    signer: String,
}

#[derive(Serialize)]
struct VerifyView {
    verified: bool,
    policy: PathBuf,
    version: u64,
    sha256: Sha256Digest,
    signer: String,
}

#[derive(Serialize)]
struct DiffView {
    same: bool,
    changes: Vec<PolicyChange>,
}

/// The site's policy, with its signature asked as the configuration says.
///
/// # Errors
/// The policy or the trust root cannot be used.
pub fn in_force(config: &Config) -> anyhow::Result<PolicyInForce> {
    let trust = trust_file::read(&config.trust_root_path())?;
    let wanted = config.file.policy_signature.into();
    Ok(PolicyInForce::read_signed(&config.policy_path(), &trust, wanted)?)
}

/// Runs `bailiwick policy`. `config` is asked only where the site's own policy, key or trust root is
/// needed.
///
/// # Errors
/// A policy cannot be read or is not allowed, or a key cannot be used.
pub fn run(
    command: &PolicyCommand,
    config: impl Fn() -> anyhow::Result<Config>,
    format: Format,
) -> anyhow::Result<Exit> {
    let named = |path: &Option<PathBuf>| match path {
        Some(path) => Ok(path.clone()),
        None => Ok::<_, anyhow::Error>(config()?.policy_path()),
    };
    match command {
        PolicyCommand::Show { policy: Some(path) } => show(path, &PolicyInForce::read(path)?, format),
        PolicyCommand::Show { policy: None } => {
            let config = config()?;
            show(&config.policy_path(), &in_force(&config)?, format)
        }
        PolicyCommand::Lint { policy } => {
            let path = named(policy)?;
            let read = PolicyInForce::read(&path)?;
            // Without a trust root nobody knows who may sign; everything else can be looked at.
            let trust = config()
                .ok()
                .and_then(|config| trust_file::read(&config.trust_root_path()).ok());
            check(
                &trust.map_or_else(|| read.clone(), |trust| read.clone().with_backing(&path, &trust)),
                format,
            )
        }
        PolicyCommand::Sign { policy, key } => {
            let key = match key {
                Some(key) => key.clone(),
                None => config()?.key_path(Role::Certifier),
            };
            write_signature(&named(policy)?, &key, format)
        }
        PolicyCommand::SignException {
            number,
            policy,
            key,
            out,
        } => {
            let key = match key {
                Some(key) => key.clone(),
                None => config()?.key_path(Role::Operator),
            };
            let signing = Signing {
                policy: &named(policy)?,
                number: *number,
                key: &key,
                out: out.as_deref(),
            };
            // Whoever signs elsewhere has the policy and a key, and perhaps no trust root.
            let trust = config()
                .ok()
                .and_then(|config| trust_file::read(&config.trust_root_path()).ok());
            policy_exception::sign(&signing, trust.as_ref(), format)
        }
        PolicyCommand::AddSignature { signature, policy } => {
            let trust = trust_file::read(&config()?.trust_root_path())?;
            policy_exception::add(&named(policy)?, signature, &trust, format)
        }
        PolicyCommand::Verify { policy } => verify(named(policy)?, &config()?, format),
        PolicyCommand::Diff { old, new } => {
            let (old, new) = (PolicyInForce::read(old)?, PolicyInForce::read(&named(new)?)?);
            compare(&old.policy, &new.policy, format)
        }
    }
}

fn show(path: &Path, read: &PolicyInForce, format: Format) -> anyhow::Result<Exit> {
    let view = ShowView {
        path,
        version: read.policy.version,
        sha256: read.digest,
        signed_by: read.signed_by.map(|signer| signer.to_string()),
        policy: &read.policy,
    };
    output::print(format, &view, || text(&view))?;
    Ok(Exit::Done)
}

fn text(view: &ShowView<'_>) -> String {
    let policy = view.policy;
    let signed = view.signed_by.as_ref();
    let mut lines = vec![
        format!("policy    {} (version {})", view.path.display(), view.version),
        format!("sha256    {}", view.sha256),
        format!("signed by {}", signed.map_or("nobody", String::as_str)),
        format!("a plugin without a chosen tier is in {}", policy.default_tier),
    ];
    for &tier in Tier::ALL {
        lines.push(format!("\n{tier}"));
        if policy.approval_required(tier) {
            lines.push("  loads nothing without the platform's approval".to_owned());
        }
        if let Some(own) = policy.tiers.get(&tier) {
            lines.extend(own.allow.iter().map(|entry| format!("  lists {entry}")));
        }
        let before = lines.len();
        lines.extend(
            policy
                .clauses_of(tier)
                .map(|(name, clause)| sentence(&name, clause)),
        );
        if lines.len() == before {
            lines.push("  does nothing by itself; a person decides".to_owned());
        }
    }
    if !policy.exceptions.is_empty() {
        lines.push("\nexceptions".to_owned());
    }
    for exception in &policy.exceptions {
        let reasons: Vec<&str> = exception.reasons.iter().map(|reason| reason.as_str()).collect();
        let to = exception.to.as_deref().unwrap_or("anywhere");
        let signed = match &exception.backing {
            Backing::Signed => format!("signed by {}", exception.signers()),
            Backing::Lacking { what } => format!("lets nothing pass, since {what}"),
            Backing::Unknown => format!("to be signed by {}", exception.signers()),
        };
        lines.push(output::for_terminal(&format!(
            "  {}: {} to {to} until {}, {signed}: {}",
            exception.plugin_id,
            reasons.join(", "),
            exception.until,
            exception.why
        )));
    }
    lines.join("\n")
}

/// A clause in one sentence.
fn sentence(name: &str, clause: &BreachClause) -> String {
    let reasons: Vec<&str> = clause.reasons.iter().map(|reason| reason.as_str()).collect();
    let within = clause
        .within_s
        .map_or(String::new(), |s| format!(" within {s} s"));
    let grace = clause
        .grace_s()
        .map_or(String::new(), |s| format!(" {s} s after the alert"));
    let when = if clause.live {
        "as events arrive"
    } else {
        "at night"
    };
    output::for_terminal(&format!(
        "  {name}: {}{grace} on {} connections or {} runs{within} with {}; judged {when}, at most {} running plugins without a second person; enabled by {}",
        clause.action,
        clause.min_connections,
        clause.min_runs,
        reasons.join(", "),
        clause.max_blast_radius,
        clause.enabled_by
    ))
}

fn check(read: &PolicyInForce, format: Format) -> anyhow::Result<Exit> {
    let lints = lint(&read.policy, clock::now());
    let view = LintView {
        ok: lints.iter().all(|lint| lint.severity == Severity::Note),
        findings: lints.into_iter().map(row).collect(),
    };
    output::print(format, &view, || {
        if view.findings.is_empty() {
            return "nothing to remark".to_owned();
        }
        let line = |row: &LintRow| {
            format!(
                "{}  {}  {}\n    {}",
                row.severity, row.rule, row.field, row.message
            )
        };
        view.findings.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(if view.ok { Exit::Done } else { Exit::Finding })
}

fn row(lint: PolicyLint) -> LintRow {
    LintRow {
        rule: lint.rule.as_str(),
        severity: lint.severity.as_str(),
        field: lint.field,
        message: lint.why,
    }
}

fn write_signature(path: &Path, key: &Path, format: Format) -> anyhow::Result<Exit> {
    let key = key_file::read_private(key)?;
    let (signed, bundle) = sign(path, &key)?;
    let signature = signature_path(path);
    files::replace(&signature, &bundle).with_context(|| format!("cannot write {}", signature.display()))?;
    let view = SignView {
        policy: path.to_owned(),
        version: signed.policy.version,
        sha256: signed.digest,
        signature,
        signer: key.public().fingerprint().to_string(),
    };
    output::print(format, &view, || {
        format!(
            "signed    {} (version {})\nby        {}\nin        {}",
            view.policy.display(),
            view.version,
            view.signer,
            view.signature.display()
        )
    })?;
    Ok(Exit::Done)
}

fn verify(path: PathBuf, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let trust = trust_file::read(&config.trust_root_path())?;
    let read = PolicyInForce::read_signed(&path, &trust, PolicySignature::Required).map_err(|error| {
        use control::policy::PolicyFileError as E;
        let code = match &error {
            E::Unsigned { .. } => "signature_missing",
            E::Signature { .. } => "signature_invalid",
            E::Changed { .. } => "policy_changed",
            _ => return anyhow::Error::from(error),
        };
        let message = control::error_line(&error);
        let code = code.to_owned();
        Refused { code, message }.into()
    })?;
    let view = VerifyView {
        verified: true,
        policy: path,
        version: read.policy.version,
        sha256: read.digest,
        signer: read
            .signed_by
            .map(|signer| signer.to_string())
            .unwrap_or_default(),
    };
    output::print(format, &view, || {
        format!(
            "verified  {} (version {})\nsigned by {}",
            view.policy.display(),
            view.version,
            view.signer
        )
    })?;
    Ok(Exit::Done)
}

fn compare(old: &Policy, new: &Policy, format: Format) -> anyhow::Result<Exit> {
    let changes = difference(old, new);
    let view = DiffView {
        same: changes.is_empty(),
        changes,
    };
    output::print(format, &view, || {
        if view.same {
            return "the same".to_owned();
        }
        let line = |change: &PolicyChange| match (&change.before, &change.after) {
            (Some(before), Some(after)) => format!("~ {}: {before} -> {after}", change.field),
            (Some(before), None) => format!("- {}: {before}", change.field),
            (None, after) => format!("+ {}: {}", change.field, after.as_deref().unwrap_or_default()),
        };
        let lines: Vec<String> = view
            .changes
            .iter()
            .map(|change| output::for_terminal(&line(change)))
            .collect();
        let raised = view.changes.iter().any(|change| change.field == "version");
        let version = if raised {
            ""
        } else {
            "\nthe version is the same; raise it with every change"
        };
        format!("{}{version}", lines.join("\n"))
    })?;
    Ok(Exit::Done)
}
