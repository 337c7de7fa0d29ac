//! The night as a whole: its summary, signed, beside the list of all its reports.

use std::path::Path;
use std::sync::Arc;

use base::Sha256Digest;
use control::report_files::{REPORT_FILE, RUNS_FILE};
use reports::SignedFile;
use reports::mail::Night;
use reports::night::{
    self, Listed, NIGHT_FILE, NightSummary, REPORTS_FILE, Verdicts, Week, reports_file, seal_night,
};
use reports::predicate::Auditor;

use super::summary::notices;
use super::{HouseNights, Judged, Order};
use crate::{clock, files};

/// Weeks that a summary compares.
const WEEKS_S: i64 = 8 * 7 * 24 * 3600;

/// What a night has to say beside its reports.
#[derive(Clone, Debug)]
pub(super) struct News {
    /// What concerns the site rather than a plugin.
    pub(super) notices: Vec<String>,
    /// How the weeks compare.
    pub(super) weeks: Vec<Week>,
}

impl HouseNights {
    /// Gathers what a night has to say beside its reports.
    pub(super) async fn news(&self, judged: &Judged) -> anyhow::Result<News> {
        let now = clock::now();
        let mut notices = notices(&judged.outcome);
        notices.extend(self.unreachable_owners(now).await?);
        notices.extend(self.overdue_appeals().await?);
        let budgets = Arc::clone(&self.budgets);
        notices.extend(tokio::task::spawn_blocking(move || budgets.notices()).await?);
        let weeks = self.office().store().weeks(now.plus_seconds(-WEEKS_S)).await?;
        let week = |record: control::store::WeekRecord| Week {
            from: record.from,
            verdicts: Verdicts {
                conforming: record.conforming,
                non_conforming: record.non_conforming,
                inconclusive: record.inconclusive,
                no_traffic: record.no_traffic,
            },
            builds_not_conforming: record.artifacts_not_conforming,
        };
        Ok(News {
            notices,
            weeks: weeks.into_iter().map(week).collect(),
        })
    }

    /// The night as summaries and digests tell it.
    pub(super) fn night<'a>(&'a self, judged: &'a Judged, order: &Order, news: &News) -> Night<'a> {
        let about_artifacts = judged
            .published
            .iter()
            .filter(|kept| kept.record.run_id.is_none());
        Night {
            site: &self.config.file.site,
            period: order.period,
            reports: about_artifacts
                .map(|kept| (&kept.report, &kept.context))
                .collect(),
            notices: news.notices.clone(),
            weeks: news.weeks.clone(),
        }
    }

    /// Keeps the summary of a night that was about the whole site, in every form that somebody reads.
    pub(super) async fn publish_night(
        &self,
        judged: &Judged,
        order: &Order,
        news: &News,
    ) -> anyhow::Result<()> {
        if order.request.plugin_id.is_some() || order.request.run_id.is_some() {
            return Ok(());
        }
        let auditor = self.auditor()?;
        let reports = self.config.data_dir().join("reports");
        let moment = order
            .period
            .to
            .to_string()
            .replace([':', '-'], "")
            .replace(".000000", "");
        let folder = reports
            .join(order.period.to.utc_day())
            .join(format!("night-{moment}"));
        let listed = listed(&reports, judged)?;
        let all = judged.published.len() as u64 + judged.of_runs.values().sum::<u64>();
        let night = self.night(judged, order, news);
        let by = Auditor {
            id: auditor.id.clone(),
            version: auditor.version.clone(),
        };
        let summary = NightSummary::of(&night, by, &listed, all, news.weeks.clone());
        let bundle = seal_night(&summary, &auditor.key)?;
        let signed = SignedFile {
            name: NIGHT_FILE.to_owned(),
            payload_digest: seal::envelope::Unverified::parse(&bundle)?
                .verify([&auditor.key.public()], seal::PredicateType::NightSummary)?
                .payload_digest(),
            key: auditor.key.public(),
            key_name: auditor.key_name.clone(),
        };
        std::fs::create_dir_all(&folder)?;
        files::replace(&folder.join(&signed.key_name), signed.key.to_pem().as_bytes())?;
        files::replace(&folder.join(REPORTS_FILE), reports_file(&listed).as_bytes())?;
        files::replace(
            &folder.join("night.html"),
            night::html(&summary, &signed).as_bytes(),
        )?;
        files::replace(
            &folder.join("night.txt"),
            night::text(&summary, &signed).as_bytes(),
        )?;
        // The signed bundle comes last: where it is, everything is.
        files::replace(&folder.join(NIGHT_FILE), &bundle)?;
        Ok(())
    }
}

/// The files of all reports: one of each artifact, and one of all of its runs.
fn listed(reports: &Path, judged: &Judged) -> std::io::Result<Vec<Listed>> {
    let artifacts = judged.published.iter().map(|kept| Listed {
        path: beside(reports, Path::new(&kept.record.folder), REPORT_FILE),
        digest: kept.record.report_id,
    });
    let mut listed: Vec<Listed> = artifacts.collect();
    for folder in judged.of_runs.keys() {
        let folder = Path::new(folder);
        listed.push(Listed {
            path: beside(reports, folder, RUNS_FILE),
            digest: Sha256Digest::of(&std::fs::read(folder.join(RUNS_FILE))?),
        });
    }
    Ok(listed)
}

/// The path of a file of reports as seen from a night's folder.
fn beside(reports: &Path, folder: &Path, name: &str) -> String {
    let inside = folder.strip_prefix(reports).unwrap_or(folder);
    Path::new("../..").join(inside).join(name).display().to_string()
}
