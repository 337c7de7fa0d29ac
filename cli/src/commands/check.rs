//! `bailiwick check`: what the gateway would do with a destination, which entry decides, and what
//! came near.
//!
//! Two questions, each answered by the code that answers it in earnest: the gateway's rulings and
//! floor say whether it would connect, and the manifest says whether that is declared.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use base::{
    Attribution, Decision, Host, Mode, ObservedScheme, PluginId, Port, RefusalReason, RunId, Target, Tier,
};
use control::api::types::{ArtifactDetail, PluginList};
use control::gateways::{ArtifactFacts, Facts};
use manifests::{Coverage, Manifest};
use proxy::{Floor, Identity, Ruling, Rulings as _};
use serde::Serialize;

use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::house::gateway_settings;
use crate::house::rulings::HouseRulings;
use crate::output::{self, Format};
use crate::{clock, trust_file};

/// `bailiwick check` arguments.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The plugin; its latest artifact's manifest is asked
    plugin: PluginId,
    /// The destination; port 443 unless given
    #[arg(value_name = "HOST[:PORT]")]
    target: String,
    /// What would be spoken: tls, http, ssh, tcp [default: whatever the port allows]
    #[arg(long)]
    scheme: Option<ObservedScheme>,
}

#[derive(Serialize)]
struct CheckView {
    plugin_id: PluginId,
    artifact_digest: base::ArtifactDigest,
    target: String,
    tier: Tier,
    decision: Decision,
    mode: Mode,
    /// Why the gateway would refuse.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<RefusalReason>,
    /// What a refused client would read.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
    /// What the gateway would write down as the entry that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    matched_entry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_deny: Option<bool>,
    covered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<base::Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// Runs `bailiwick check`: exit status 0 where the destination is declared and the gateway would
/// connect, 1 where not.
///
/// # Errors
/// The destination is none, the plugin is not registered, or the control plane cannot be reached.
pub async fn run(args: &CheckArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let target = Target::from_authority_or(args.target.as_bytes(), Port::HTTPS)
        .map_err(|error| anyhow::anyhow!("{:?}: {error}", args.target))?;
    let client = Client::open(config).await?;
    let plugins: PluginList = client.get("/v1/plugins").await?;
    let plugin = plugins
        .plugins
        .into_iter()
        .find(|plugin| plugin.plugin_id == args.plugin);
    let latest = plugin.and_then(|plugin| plugin.artifacts.into_iter().next());
    let Some(latest) = latest else {
        anyhow::bail!("no plugin {} is registered; see: bailiwick plugins", args.plugin);
    };
    let detail: ArtifactDetail = client
        .get(&format!("/v1/artifacts/{}", latest.artifact_digest))
        .await?;
    let manifest = Arc::new(Manifest::from_value(&detail.manifest)?);
    let ruling = ruling(&detail, Arc::clone(&manifest), &target, config)?;
    let view = CheckView::new(&detail, ruling, &target).held_against(&manifest.coverage(
        &target,
        args.scheme,
        clock::now(),
    ));
    output::print(format, &view, || view.text())?;
    let clean = view.covered && view.decision == Decision::Allow;
    Ok(if clean { Exit::Done } else { Exit::Finding })
}

/// What the gateway would answer to a run of the artifact: list, policy and registry as they stand.
fn ruling(
    detail: &ArtifactDetail,
    manifest: Arc<Manifest>,
    target: &Target,
    config: &Config,
) -> anyhow::Result<Ruling> {
    let artifact = &detail.artifact;
    let facts = Facts {
        policy: super::policy::in_force(config)?,
        trust: trust_file::read(&config.trust_root_path())?,
        artifacts: HashMap::from([(
            artifact.artifact_digest,
            ArtifactFacts {
                plugin_id: artifact.plugin_id.clone(),
                tier: artifact.tier,
                manifest,
                manifest_digest: artifact.manifest_digest,
                signer: artifact.signer,
            },
        )]),
        ended_runs: BTreeSet::new(),
        registered_runs: Vec::new(),
    };
    let rulings = HouseRulings::default();
    rulings.tell_facts(Arc::new(facts));
    let head = config.data_dir().join("crl").join(crl::HEAD_FILE);
    let list = super::crl::accept(config, &head).context("the revocation list decides first")?;
    rulings.tell_list(list.list());
    // Rulings are about a build and a target; which run asks makes no difference to them.
    let identity = Identity {
        plugin_id: artifact.plugin_id.clone(),
        artifact_digest: artifact.artifact_digest,
        run_id: RunId::from_parts(0, [0; 10]),
        attribution: Attribution::Token,
    };
    let ruling = rulings.rule(Some(&identity), target);
    Ok(match below_floor(target, config)? {
        Some(why) if ruling.decision == Decision::Allow => Ruling {
            decision: Decision::Deny,
            reason: Some(RefusalReason::Floor),
            advice: why,
            ..ruling
        },
        _ => ruling,
    })
}

/// Why an address is not dialled whatever was ruled. What a name leads to is known when it is looked
/// up.
fn below_floor(target: &Target, config: &Config) -> anyhow::Result<Option<String>> {
    let Host::Ip(ip) = target.host else {
        return Ok(None);
    };
    let settings = gateway_settings(config, config.file.control.listen)?;
    let listening = settings
        .listen
        .iter()
        .filter_map(proxy::ListenAddress::socket_address);
    let own = settings.own_addresses.iter().copied();
    let own = own.chain(settings.admin).chain(listening).collect();
    let below = Floor::new(own, settings.allow_private).check(SocketAddr::new(ip, target.port.get()));
    Ok(below
        .err()
        .map(|below| format!("{target} is not dialled: {below}")))
}

impl CheckView {
    fn new(detail: &ArtifactDetail, ruling: Ruling, target: &Target) -> Self {
        Self {
            plugin_id: detail.artifact.plugin_id.clone(),
            artifact_digest: detail.artifact.artifact_digest,
            target: target.to_string(),
            tier: detail.artifact.tier,
            decision: ruling.decision,
            mode: ruling.mode,
            refusal: ruling.reason,
            advice: (ruling.decision == Decision::Deny).then_some(ruling.advice),
            matched_entry: ruling.matched_entry,
            would_deny: ruling.would_deny,
            covered: false,
            entry: None,
            reason: None,
            nearest: None,
            hint: None,
        }
    }

    fn held_against(mut self, coverage: &Coverage<'_>) -> Self {
        match coverage {
            Coverage::Covered { entry } => {
                self.covered = true;
                self.entry = Some(entry.entry.to_string());
            }
            Coverage::Uncovered {
                reason,
                nearest,
                hint,
            } => {
                self.reason = Some(*reason);
                self.nearest.clone_from(nearest);
                self.hint = Some(hint.clone());
            }
        }
        self
    }

    fn text(&self) -> String {
        let target = &self.target;
        let mut lines = vec![match (&self.entry, &self.reason) {
            (Some(entry), _) => format!("{target} is covered by {entry}"),
            (None, Some(reason)) => format!("{target} is not covered: {reason}"),
            (None, None) => format!("{target} is not covered"),
        }];
        lines.extend(self.nearest.iter().map(|nearest| format!("nearest  {nearest}")));
        lines.extend(self.hint.iter().map(|hint| format!("fix      {hint}")));
        let (decision, tier, mode) = (self.decision, self.tier, self.mode);
        lines.push(match (&self.refusal, &self.advice) {
            (Some(refusal), Some(advice)) => {
                format!("gateway  {decision} (tier {tier}, {mode}): {refusal}; {advice}")
            }
            _ => format!("gateway  {decision} (tier {tier}, {mode})"),
        });
        if let Some(entry) = self
            .matched_entry
            .as_ref()
            .filter(|entry| self.entry.as_ref() != Some(entry))
        {
            lines.push(format!("decided  {entry}"));
        }
        if self.would_deny == Some(true) && decision == Decision::Allow {
            lines.push("low tier would deny it".to_owned());
        }
        lines.join("\n")
    }
}
