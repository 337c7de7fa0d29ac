//! Given events: a corpus that somebody else wrote, made into a site.
//!
//! Events come as JSON lines in the format of evidence logs and go into the log of their gateway in the
//! order of the file. Only what every event of a gateway would say anyway may be left out, and it is
//! filled in by the rules of [`fill_in`]; everything else stays as it was written, because a corpus
//! that was corrected in silence would prove nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base::{ArtifactDigest, PluginId, Reason, RunId, Sha256Digest, Tier, Timestamp};
use control::api::types::{ListAct, Target};
use evidence::{EVENT_VERSION, Event, EventKind, MAX_EVENT_BYTES};
use manifests::{DataClass, Manifest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::registry::{Build, ListRow, Registry, RunRow};
use crate::site::{GatewayLog, Site};

/// A line may be written with spaces, and still be a small event.
const MAX_LINE_BYTES: usize = 4 * MAX_EVENT_BYTES;
const DAY_US: i64 = 86_400_000_000;
/// The gateway of an event that names none.
const GATEWAY: &str = "gw-1";

/// A corpus in files.
#[derive(Clone, Debug)]
pub struct Given {
    /// Events, one JSON object a line.
    pub events: PathBuf,
    /// A folder of manifests, `*.json`.
    pub manifests: PathBuf,
    /// Runs, one JSON object a line; those that events tell of need not be in it.
    pub runs: Option<PathBuf>,
    /// Changes of the revocation list, one JSON object a line.
    pub revocations: Option<PathBuf>,
    /// Fields of events that are none of ours, such as labels, and are left out.
    pub ignore: Vec<String>,
    /// Gateways that should have kept a log, whether there are events of them or not.
    pub gateways: Vec<String>,
    /// The tier of every plugin.
    pub tier: Tier,
    /// The site's name.
    pub site: String,
    /// From which keys are made.
    pub seed: u64,
}

/// What was made, for whoever audits it. The file is `site.json`.
#[derive(Debug, Serialize)]
pub struct Made {
    /// The configuration to audit with.
    pub config: PathBuf,
    /// The first day's beginning.
    pub since: Timestamp,
    /// The last day's end.
    pub until: Timestamp,
    /// Entries by gateway.
    pub events: BTreeMap<String, u64>,
    /// Builds by file of their manifest.
    pub builds: BTreeMap<String, ArtifactDigest>,
    /// Runs registered.
    pub runs: u64,
}

/// One run, as `--runs` has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunLine {
    run_id: RunId,
    plugin_id: PluginId,
    #[serde(default)]
    artifact_digest: Option<ArtifactDigest>,
    started: Timestamp,
    #[serde(default)]
    ended: Option<Timestamp>,
    #[serde(default)]
    data_class: Option<String>,
}

/// One change of the list, as `--revocations` has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListLine {
    target: Target,
    action: ListAct,
    reason: Reason,
    at: Timestamp,
}

/// What one reading of all events shows.
#[derive(Debug, Default)]
struct Survey {
    gateways: Vec<String>,
    runs: BTreeMap<RunId, RunRow>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

/// The builds that manifests speak of.
#[derive(Debug, Default)]
struct Builds {
    by_file: BTreeMap<String, Build>,
    by_plugin: HashMap<PluginId, Vec<ArtifactDigest>>,
}

impl Given {
    /// Makes the site in `folder`.
    ///
    /// # Errors
    /// A file cannot be read; a line is not what it should be, by number; the folder is taken.
    pub fn make(&self, folder: &Path) -> Result<Made> {
        let builds = Builds::read(&self.manifests, self.tier)?;
        // Everything is read once before anything is written.
        let mut survey = Survey::default();
        self.each_event(&builds, |event| {
            survey.see(event, &builds);
            Ok(())
        })?;
        self.add_runs(&mut survey, &builds)?;
        let changes = self.changes()?;
        let (Some(first), Some(last)) = (survey.first, survey.last) else {
            anyhow::bail!("{} holds no event", self.events.display());
        };
        let day = |time: Timestamp| time.unix_us().div_euclid(DAY_US);
        let since = Timestamp::from_unix_us(day(first) * DAY_US);
        let until = Timestamp::from_unix_us((day(last) + 1) * DAY_US);
        let opened = since.plus_seconds(-24 * 3600);
        let mut gateways = survey.gateways.clone();
        for name in &self.gateways {
            if !gateways.contains(name) {
                gateways.push(name.clone());
            }
        }
        let configured = self
            .gateways
            .first()
            .or(gateways.first())
            .map_or(GATEWAY, String::as_str);
        let site = Site::make(folder, &self.site, self.seed, configured, opened)?;
        let registry = Registry::begin(&site, opened)?;
        for (file, build) in &builds.by_file {
            let admitted_at = opened;
            let build = Build {
                admitted_at,
                ..build.clone()
            };
            registry.admit(&build).with_context(|| file.clone())?;
        }
        for run in survey.runs.values() {
            registry.run(run)?;
        }
        registry.finish(changes)?;
        for gateway in &gateways {
            site.expect_gateway(gateway)?;
        }
        let events = self.write_logs(&site, &builds)?;
        let made = Made {
            config: site.config(),
            since,
            until,
            events,
            builds: builds
                .by_file
                .iter()
                .map(|(file, build)| (file.clone(), build.artifact_digest))
                .collect(),
            runs: survey.runs.len() as u64,
        };
        site.write("site.json", &serde_json::to_string_pretty(&made)?)?;
        Ok(made)
    }

    fn write_logs(&self, site: &Site, builds: &Builds) -> Result<BTreeMap<String, u64>> {
        let mut logs: BTreeMap<String, GatewayLog> = BTreeMap::new();
        self.each_event(builds, |event| {
            if !logs.contains_key(&event.gateway) {
                logs.insert(event.gateway.clone(), site.log(&event.gateway)?);
            }
            match logs.get_mut(&event.gateway) {
                Some(log) => log.append(event.clone()),
                None => Ok(()),
            }
        })?;
        logs.into_iter()
            .map(|(gateway, log)| Ok((gateway, log.finish()?)))
            .collect()
    }

    /// Reads the events one after the other.
    fn each_event(&self, builds: &Builds, mut then: impl FnMut(&Event) -> Result<()>) -> Result<()> {
        each_line(&self.events, |mut value| {
            if let Some(event) = value.as_object_mut() {
                event.retain(|field, _| !self.ignore.contains(field));
            }
            let value = fill_in(value, builds)?;
            let event: Event = serde_json::from_value(value).map_err(with_a_way_out)?;
            event.to_entry()?;
            then(&event)
        })
    }

    fn add_runs(&self, survey: &mut Survey, builds: &Builds) -> Result<()> {
        let Some(path) = &self.runs else {
            return Ok(());
        };
        each_line(path, |value| {
            let line: RunLine = serde_json::from_value(value)?;
            let artifact_digest = match line.artifact_digest {
                Some(digest) => digest,
                None => builds.only(&line.plugin_id)?,
            };
            anyhow::ensure!(
                builds.knows(&line.plugin_id, artifact_digest),
                "no manifest speaks of build {artifact_digest} of {}",
                line.plugin_id
            );
            anyhow::ensure!(
                line.ended.is_none_or(|ended| line.started <= ended),
                "the run ends before it starts"
            );
            if let Some(class) = &line.data_class {
                class.parse::<DataClass>().context("data_class")?;
            }
            let run = RunRow {
                run_id: line.run_id,
                plugin_id: line.plugin_id,
                artifact_digest,
                started: line.started,
                ended: line.ended,
                data_class: line.data_class,
            };
            survey.runs.insert(run.run_id, run);
            Ok(())
        })
    }

    fn changes(&self) -> Result<Vec<ListRow>> {
        let mut changes = Vec::new();
        if let Some(path) = &self.revocations {
            each_line(path, |value| {
                let line: ListLine = serde_json::from_value(value)?;
                changes.push(ListRow {
                    target: line.target,
                    action: line.action,
                    reason: line.reason,
                    at: line.at,
                });
                Ok(())
            })?;
        }
        Ok(changes)
    }
}

/// A field that the format lacks may be a misspelt one, so it is never left out in silence.
fn with_a_way_out(error: serde_json::Error) -> anyhow::Error {
    let said = error.to_string();
    match said
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split_once('`'))
    {
        Some((field, _)) => {
            anyhow::anyhow!("unknown field `{field}`; mend its name, or leave it out with --ignore {field}")
        }
        None => error.into(),
    }
}

/// Fills in what a line may leave out: `v`, `seq` (the log gives it anyway), `gateway` (`gw-1`),
/// `artifact_digest` where the plugin has one build only, and `attribution` (`token` beside a run,
/// `none` otherwise) where a connection is concerned.
fn fill_in(mut value: Value, builds: &Builds) -> Result<Value> {
    let event = value.as_object_mut().context("an event is a JSON object")?;
    let fill = |event: &mut serde_json::Map<String, Value>, field: &str, with: Value| {
        event.entry(field).or_insert(with);
    };
    fill(event, "v", json!(EVENT_VERSION));
    event.insert("seq".to_owned(), json!(0));
    fill(event, "gateway", json!(GATEWAY));
    if let (Some(plugin), false) = (event.get("plugin_id"), event.contains_key("artifact_digest")) {
        // A gap may be about a plugin, and is never about one build of it.
        if event.get("kind").and_then(Value::as_str) != Some("gap") {
            let plugin: PluginId = serde_json::from_value(plugin.clone())?;
            let digest = builds.only(&plugin)?;
            fill(event, "artifact_digest", json!(digest));
        }
    }
    let connection = ["open", "connected", "progress", "close", "refused"];
    let kind = event
        .get("kind")
        .and_then(Value::as_str)
        .context("an event has a kind")?;
    if connection.contains(&kind) {
        let proved = if event.contains_key("run_id") {
            "token"
        } else {
            "none"
        };
        fill(event, "attribution", json!(proved));
    }
    Ok(value)
}

impl Survey {
    fn see(&mut self, event: &Event, builds: &Builds) {
        if !self.gateways.contains(&event.gateway) {
            self.gateways.push(event.gateway.clone());
        }
        self.first = Some(self.first.map_or(event.time, |first| first.min(event.time)));
        self.last = Some(self.last.map_or(event.time, |last| last.max(event.time)));
        // Bad credentials name a run without proving it.
        let proved = event.kind != EventKind::Refused || event.credential_fingerprint.is_none();
        let (Some(plugin_id), Some(artifact_digest), Some(run_id)) =
            (&event.plugin_id, event.artifact_digest, event.run_id)
        else {
            return;
        };
        if !proved || !builds.knows(plugin_id, artifact_digest) {
            return;
        }
        let run = self.runs.entry(run_id).or_insert_with(|| RunRow {
            run_id,
            plugin_id: plugin_id.clone(),
            artifact_digest,
            started: event.time,
            ended: Some(event.time),
            data_class: None,
        });
        run.started = run.started.min(event.time);
        run.ended = run.ended.max(Some(event.time));
    }
}

impl Builds {
    fn read(folder: &Path, tier: Tier) -> Result<Self> {
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("cannot read folder {}", folder.display()))?;
        let mut files = BTreeSet::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "json") {
                files.insert(path);
            }
        }
        anyhow::ensure!(
            !files.is_empty(),
            "{} holds no manifest, *.json",
            folder.display()
        );
        let mut builds = Self::default();
        for path in files {
            builds
                .add(&path, tier)
                .with_context(|| path.display().to_string())?;
        }
        Ok(builds)
    }

    fn add(&mut self, path: &Path, tier: Tier) -> Result<()> {
        let bytes = std::fs::read(path)?;
        let value = base::json::parse(&bytes)?;
        let manifest = Manifest::draft_from_value(&value)?;
        let artifact_digest = match manifest.artifact_digest {
            Some(digest) => digest,
            // Nobody runs these builds; they only need names that differ.
            None => ArtifactDigest::new(Sha256Digest::of(&bytes)),
        };
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let taken = self
            .by_file
            .values()
            .any(|build| build.artifact_digest == artifact_digest);
        anyhow::ensure!(!taken, "another manifest speaks of {artifact_digest} already");
        self.by_plugin
            .entry(manifest.plugin_id.clone())
            .or_default()
            .push(artifact_digest);
        self.by_file.insert(
            file,
            Build {
                file_name: format!("{}.whl", manifest.plugin_id),
                artifact_digest,
                manifest: value,
                tier,
                admitted_at: manifest.built_at,
                components: Vec::new(),
                approved_until: None,
            },
        );
        Ok(())
    }

    fn only(&self, plugin: &PluginId) -> Result<ArtifactDigest> {
        match self.by_plugin.get(plugin).map(Vec::as_slice) {
            Some([only]) => Ok(*only),
            Some(several) => anyhow::bail!(
                "{plugin} has {} builds; say which with artifact_digest",
                several.len()
            ),
            None => {
                anyhow::bail!("no manifest speaks of {plugin}; say which build it was with artifact_digest")
            }
        }
    }

    fn knows(&self, plugin: &PluginId, digest: ArtifactDigest) -> bool {
        self.by_plugin
            .get(plugin)
            .is_some_and(|builds| builds.contains(&digest))
    }
}

/// Reads a file of JSON lines; empty lines are none. What is wrong is said with the line's number.
fn each_line(path: &Path, mut then: impl FnMut(Value) -> Result<()>) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    for number in 1_u64.. {
        let place = || format!("{}: line {number}", path.display());
        line.clear();
        let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
        let read = std::io::Read::take(&mut reader, limit)
            .read_until(b'\n', &mut line)
            .with_context(place)?;
        if read == 0 {
            break;
        }
        anyhow::ensure!(
            line.ends_with(b"\n") || read < MAX_LINE_BYTES,
            "{}: longer than {MAX_LINE_BYTES} bytes",
            place()
        );
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let value = base::json::parse(&line)
            .map_err(anyhow::Error::from)
            .and_then(&mut then);
        value.with_context(place)?;
    }
    Ok(())
}
