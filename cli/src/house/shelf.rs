//! The shelf: reports written and kept while a night goes on, and looked up from the nights before.
//!
//! A report about an artifact gets a folder with every page; those about its runs are lines of one file in
//! it, and whoever wants a page of one has it made. The registry is asked once per artifact, however many
//! runs it had, and what was written is registered many at a time.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use auditor::{Artifact, Period, PreviousReport, Publication, PublishedBefore, Reported, SiteError};
use base::{RunId, Verdict};
use control::office::page;
use control::report_files::{REPORT_FILE, SURROUNDINGS_FILE};
use control::store::{Line, ReportRecord};
use control::words::Form;
use parking_lot::Mutex;
use reports::predicate::ConformanceReport;
use reports::{Context, OpenedReport};
use seal::PredicateType;
use seal::envelope::Unverified;
use seal::trust::{Role, TrustRoot};

use super::run_reports::RunReports;
use super::site::{HouseSite, file_time};
use crate::files;

/// What one night wrote, and what it knows of those before.
#[derive(Default)]
pub struct Shelf {
    /// What was published about artifacts, for the letters.
    published: Mutex<Vec<Kept>>,
    /// How many reports about runs were published, and into which folders. What is said of so many is left
    /// to the disk.
    of_runs: Mutex<BTreeMap<String, u64>>,
    /// What was published and is not yet kept, of artifacts with what is said.
    unkept: Mutex<Vec<(ReportRecord, Option<Kept>)>>,
    /// The file for the reports about runs of the artifact at hand.
    run_reports: Mutex<Option<RunReports>>,
    /// What the registry knows of earlier reports about the artifact at hand.
    at_hand: Mutex<AtHand>,
    /// The trust root, read once.
    trust: OnceLock<Arc<TrustRoot>>,
}

/// A report about an artifact that was kept. Its signed form and its evidence are on the disk.
pub struct Kept {
    /// What it says; of one that nobody is written to about, without the logs.
    pub report: ConformanceReport,
    /// What surrounds it.
    pub context: Context,
    /// Its record.
    pub record: ReportRecord,
}

impl Kept {
    /// There are thousands of these, each with the checkpoints of all gateways.
    fn new(report: &ConformanceReport, context: &Context, record: ReportRecord) -> Self {
        let mut report = report.clone();
        if matches!(report.verdict, Verdict::Conforming | Verdict::NoTraffic) {
            report.logs = Vec::new();
        }
        Self {
            report,
            context: context.clone(),
            record,
        }
    }
}

/// Records of reports, by the run that they are about.
type ByRun = HashMap<Option<RunId>, ReportRecord>;

/// What the registry knows of earlier reports about one artifact and its runs.
#[derive(Default)]
pub struct AtHand {
    /// The reports before.
    before: ByRun,
    /// What this night had published before it was interrupted.
    published: ByRun,
    /// Why nothing is known, if that is so.
    trouble: Option<String>,
}

impl Shelf {
    /// What was published: the reports about artifacts, and how many there are about runs, by folder.
    pub fn into_inner(self) -> (Vec<Kept>, BTreeMap<String, u64>) {
        (self.published.into_inner(), self.of_runs.into_inner())
    }
}

impl HouseSite<'_> {
    fn trust(&self) -> Result<Arc<TrustRoot>, SiteError> {
        if let Some(trust) = self.shelf.trust.get() {
            return Ok(Arc::clone(trust));
        }
        let trust = Arc::new(self.wait(self.office.trust_root())?);
        Ok(Arc::clone(self.shelf.trust.get_or_init(|| trust)))
    }

    /// Looks up what the registry knows of one artifact and its runs.
    pub(super) fn look_up(&self, artifact: &Artifact, runs: &[RunId], period: Period) {
        let found = self.find(artifact, runs, period);
        *self.shelf.at_hand.lock() = found.unwrap_or_else(|error| AtHand {
            trouble: Some(error.to_string()),
            ..AtHand::default()
        });
    }

    fn find(&self, artifact: &Artifact, runs: &[RunId], period: Period) -> Result<AtHand, SiteError> {
        let store = self.office.store();
        let (plugin, digest) = (artifact.plugin_id.clone(), artifact.artifact_digest);
        let before = store.reports_before(plugin.clone(), digest, runs.to_vec(), period.from);
        let by_run = |records: Vec<ReportRecord>| {
            // The latest comes first, and is the one that counts.
            let records = records.into_iter().rev();
            records.map(|record| (record.run_id, record)).collect()
        };
        let before = by_run(self.wait(before)?);
        let published = match self.is_resumed {
            false => Vec::new(),
            true => self.wait(store.reports_to(plugin, digest, period.to))?,
        };
        let of_period = published
            .into_iter()
            .filter(|record| record.from == period.from)
            .collect();
        Ok(AtHand {
            before,
            published: by_run(of_period),
            trouble: None,
        })
    }

    fn count_run(&self, folder: &str) {
        let mut of_runs = self.shelf.of_runs.lock();
        match of_runs.get_mut(folder) {
            Some(count) => *count += 1,
            None => drop(of_runs.insert(folder.to_owned(), 1)),
        }
    }

    fn look<T>(&self, at: impl Fn(&AtHand) -> T) -> Result<T, SiteError> {
        let at_hand = self.shelf.at_hand.lock();
        match &at_hand.trouble {
            Some(why) => Err(why.clone().into()),
            None => Ok(at(&at_hand)),
        }
    }

    /// Where a report's files lie: those of an artifact and of its runs in one folder. An audit of one run
    /// alone adds nothing to what a night signed the list of.
    fn folder_of(&self, report: &ConformanceReport) -> PathBuf {
        let period = file_time(report.period.to);
        let about = match self.only_run {
            Some(run_id) => format!("run-{run_id}"),
            None => "artifact".to_owned(),
        };
        self.config
            .data_dir()
            .join("reports")
            .join(report.period.to.utc_day())
            .join(report.plugin_id.as_str())
            .join(format!("{}-{about}-{period}", report.artifact_digest.short()))
    }

    /// The signed bundle comes last: where it is, everything is.
    fn write_artifact_files(&self, folder: &Path, publication: &Publication) -> Result<(), SiteError> {
        let (report, context) = (&publication.report, &publication.context);
        self.write_surroundings(folder, context)?;
        for (form, name) in [
            (Form::Html, "report.html"),
            (Form::Text, "report.txt"),
            (Form::Pdf, "report.pdf"),
        ] {
            files::put(&folder.join(name), &page(report, context, form))?;
        }
        Ok(files::put(&folder.join(REPORT_FILE), &publication.bundle)?)
    }

    fn write_surroundings(&self, folder: &Path, context: &Context) -> Result<(), SiteError> {
        if let Some(surroundings) = context.surroundings() {
            files::put(
                &folder.join(SURROUNDINGS_FILE),
                &serde_json::to_vec(&surroundings)?,
            )?;
        }
        if let Some(signed) = &context.signed {
            files::put(&folder.join(&signed.key_name), signed.key.to_pem().as_bytes())?;
        }
        Ok(())
    }

    /// Adds a line to the file of the artifact's runs.
    fn write_line(&self, folder: &Path, publication: &Publication) -> Result<Line, SiteError> {
        let mut open = self.shelf.run_reports.lock();
        let is_same = open.as_ref().is_some_and(|open| open.folder() == folder);
        if !is_same {
            let report = &publication.report;
            let registered = match RunReports::is_in(folder) {
                false => Vec::new(),
                true => self.wait(self.office.store().reports_to(
                    report.plugin_id.clone(),
                    report.artifact_digest,
                    report.period.to,
                ))?,
            };
            // An audit of this run alone has no artifact's report to have written it.
            if !folder.join(SURROUNDINGS_FILE).exists() {
                self.write_surroundings(folder, &publication.context)?;
            }
            *open = Some(RunReports::open(folder, &registered)?);
        }
        let open = open.as_mut().expect("it was opened just now");
        Ok(open.add(publication.report_id, &publication.bundle)?)
    }

    /// What the night had published about an artifact before it was interrupted, read back for the letters.
    fn kept_before(
        &self,
        record: ReportRecord,
        opened: &OpenedReport,
        trust: &TrustRoot,
    ) -> Result<Kept, SiteError> {
        let context = self.wait(self.office.report_context(&record, opened, trust))?;
        Ok(Kept::new(&opened.report, &context, record))
    }

    /// The report before about the artifact that was looked up, or about one of its runs.
    pub(super) fn report_before(&self, run_id: Option<RunId>) -> Result<Option<PreviousReport>, SiteError> {
        let Some(record) = self.look(|at_hand| at_hand.before.get(&run_id).cloned())? else {
            return Ok(None);
        };
        let opened = Unverified::parse(&record.read_bundle()?)?.verify(
            self.trust()?.keys(Role::Auditor),
            PredicateType::ConformanceReport,
        )?;
        let payload = opened.payload_digest();
        let report = serde_json::from_value(opened.statement.predicate)?;
        Ok(Some(PreviousReport { payload, report }))
    }

    /// What this night had published about it before it was interrupted.
    pub(super) fn published_before(
        &self,
        run_id: Option<RunId>,
    ) -> Result<Option<PublishedBefore>, SiteError> {
        let Some(record) = self.look(|at_hand| at_hand.published.get(&run_id).cloned())? else {
            return Ok(None);
        };
        let trust = self.trust()?;
        let opened = reports::open_report(&record.read_bundle()?, &trust)?;
        let report = &opened.report;
        let line = Reported {
            plugin_id: report.plugin_id.clone(),
            artifact_digest: report.artifact_digest,
            run_id: report.run_id,
            verdict: report.verdict,
            observed: match run_id {
                Some(_) => Vec::new(),
                None => report.observed.clone(),
            },
            findings: report.findings.clone(),
            report_id: Some(record.report_id),
            payload: Some(opened.payload_digest),
            place: Some(record.folder.as_str().into()),
        };
        let mut evidence = None;
        match run_id {
            Some(_) => self.count_run(&record.folder),
            None => {
                let kept = self.kept_before(record, &opened, &trust)?;
                evidence.clone_from(&kept.context.evidence);
                self.shelf.published.lock().push(kept);
            }
        }
        Ok(Some(PublishedBefore { line, evidence }))
    }

    /// Writes a report, to be kept with others.
    pub(super) fn write_report(&self, publication: &Publication) -> Result<String, SiteError> {
        let report = &publication.report;
        let folder = self.folder_of(report);
        let is_new = publication.evidence.is_some() || report.run_id.is_none();
        if is_new {
            std::fs::create_dir_all(&folder)?;
        }
        // What is on the disk for good, `keep` sees to.
        if let (Some(bytes), Some(file)) = (&publication.evidence, &publication.context.evidence) {
            files::put(&folder.join(&file.name), bytes)?;
        }
        let line = match report.run_id {
            Some(_) => Some(self.write_line(&folder, publication)?),
            None => {
                self.write_artifact_files(&folder, publication)?;
                None
            }
        };
        let place = folder.display().to_string();
        let record = ReportRecord {
            report_id: publication.report_id,
            plugin_id: report.plugin_id.clone(),
            artifact_digest: Some(report.artifact_digest),
            run_id: report.run_id,
            from: report.period.from,
            to: report.period.to,
            verdict: report.verdict,
            folder: place.clone(),
            line,
            created_at: self.now,
        };
        let kept = report
            .run_id
            .is_none()
            .then(|| Kept::new(report, &publication.context, record.clone()));
        self.shelf.unkept.lock().push((record, kept));
        Ok(place)
    }

    /// Keeps what was written since this was last asked.
    pub(super) fn keep_reports(&self) -> Result<(), SiteError> {
        let unkept = std::mem::take(&mut *self.shelf.unkept.lock());
        if unkept.is_empty() {
            return Ok(());
        }
        // One wait for the disk, and one transaction, for all of them.
        let folder = std::fs::File::open(self.config.data_dir().join("reports"))?;
        rustix::fs::syncfs(&folder)?;
        let (records, kept): (Vec<_>, Vec<_>) = unkept.into_iter().unzip();
        self.wait(self.office.store().add_reports(records.clone()))?;
        for record in records.iter().filter(|record| record.line.is_some()) {
            self.count_run(&record.folder);
        }
        self.shelf.published.lock().extend(kept.into_iter().flatten());
        Ok(())
    }
}
