//! What the webhook is told about a night.

use base::{Timestamp, Verdict};
use serde_json::{Value, json};

use super::{HouseNights, Judged, Order};
use crate::clock;

/// Findings named per report; the report has the others.
const MAX_FINDINGS: usize = 50;

impl HouseNights {
    /// Queues a document for the webhook, if there is one. The same `delivery_id` is queued once.
    pub(in crate::house) async fn tell_hook(
        &self,
        delivery_id: &str,
        kind: &str,
        at: Timestamp,
        data: Value,
    ) -> anyhow::Result<()> {
        if self.config.file.webhook.is_none() {
            return Ok(());
        }
        let body = json!({"type": kind, "timestamp": at, "site": self.config.file.site, "data": data});
        let body = base::json::canonical(&body)?;
        let store = self.office().store();
        if store
            .queue_hook(delivery_id.to_owned(), body, clock::now())
            .await?
        {
            self.hook_bell.notify_one();
        }
        Ok(())
    }

    /// One document per artifact that did not keep its word or of which nobody can tell, and one for
    /// the night.
    pub(super) async fn tell_hooks(&self, judged: &Judged, order: &Order) -> anyhow::Result<()> {
        let now = clock::now();
        for kept in judged
            .published
            .iter()
            .filter(|kept| kept.record.run_id.is_none())
        {
            let report = &kept.report;
            if !matches!(report.verdict, Verdict::NonConforming | Verdict::Inconclusive) {
                continue;
            }
            let findings: Vec<Value> = report
                .findings
                .iter()
                .take(MAX_FINDINGS)
                .map(|finding| {
                    json!({"id": finding.id, "reason": finding.reason, "severity": finding.severity,
                        "host": finding.host, "port": finding.port, "connections": finding.connections,
                        "fix": finding.fix})
                })
                .collect();
            let id = kept.record.report_id.to_hex();
            self.tell_hook(
                &format!("report-{}", &id[..32]),
                &format!("report.{}", report.verdict),
                now,
                json!({"report_id": kept.record.report_id, "plugin_id": report.plugin_id,
                    "artifact_digest": report.artifact_digest, "verdict": report.verdict,
                    "period": report.period, "findings": findings, "actions": report.actions,
                    "further_findings": report.findings.len().saturating_sub(MAX_FINDINGS) as u64
                        + report.omitted.findings}),
            )
            .await?;
        }
        if let Some(due) = order.scheduled_for {
            let count = |verdict| judged.outcome.count(verdict);
            self.tell_hook(
                &format!("night-{}", due.unix_us()),
                "night.held",
                now,
                json!({"period": order.period,
                    "conforming": count(Verdict::Conforming),
                    "non_conforming": count(Verdict::NonConforming),
                    "inconclusive": count(Verdict::Inconclusive),
                    "no_traffic": count(Verdict::NoTraffic)}),
            )
            .await?;
        }
        Ok(())
    }
}
