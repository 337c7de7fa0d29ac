//! Metrics: how much and how fast, never where to or whose. A host or plugin as a label would let
//! plugins write to the monitoring system, without bound.

use std::time::Duration;

use base::{Outcome, RefusalReason, Timestamp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::exhausted::Exhausted;
use crate::recorder::RecorderCounters;
use crate::tls::TlsStatus;

/// What one gateway counts.
pub(crate) struct Metrics {
    pub(crate) accepted: Counter,
    pub(crate) turned_away: Counter,
    pub(crate) opened: Counter,
    handshakes: Family<Handshake, Counter>,
    refused: Family<Reason, Counter>,
    ended: Family<Ended, Counter>,
    pub(crate) bytes_out: Counter,
    pub(crate) bytes_in: Counter,
    lookup: Histogram,
    connect: Histogram,
    queueing: Histogram,
    kill: Histogram,
    live: Gauge,
    predecessor_live: Gauge,
    evidence_writable: Gauge,
    witnessed_entries: Gauge,
    witness_cosignatures: Gauge,
    witness_quorum_met: Gauge,
    archive_behind: Gauge,
    archive_behind_s: Gauge,
    archive_bytes: Gauge,
    archive_failures: Gauge,
    log_bytes: Gauge,
    log_limit: Gauge,
    archive_stored: Gauge,
    archive_limit: Gauge,
    plugins_near: Gauge,
    export_behind: Family<Export, Gauge>,
    export_behind_s: Family<Export, Gauge>,
    export_failures: Family<Export, Gauge>,
    certificate_expires: Gauge,
    certificate_refused: Gauge,
    reloads: Family<Reload, Counter>,
    exhausted: Family<Resource, Counter>,
    reload_failed: Gauge,
    configured: Gauge,
    registry: Registry,
}

/// What witnesses said about the gateway's log, for the metrics page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witnessed {
    /// Entries under the newest cosigned checkpoint.
    pub entries: u64,
    /// How many witnesses cosigned it.
    pub cosignatures: u64,
    /// Whether these are as many as the site wants.
    pub quorum_is_met: bool,
}

/// How the archive of the gateway's log stands, for the metrics page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    /// Signed entries that no archive file has yet.
    pub entries_behind: u64,
    /// How old the first of them is.
    pub seconds_behind: u64,
    /// Bytes that this process put into the archive.
    pub bytes: u64,
    /// Rounds in a row that failed.
    pub failures: u64,
}

/// How much disk the evidence takes, and may take, for the metrics page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budgeted {
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Bytes that it may take.
    pub log_limit_bytes: Option<u64>,
    /// Bytes of this gateway's files in the archive.
    pub archive_bytes: u64,
    /// Bytes that these may take.
    pub archive_limit_bytes: Option<u64>,
    /// Plugins whose events of one day came near their limit.
    pub plugins_near: u64,
}

/// How one continuous export stands, for the metrics page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Signed entries that the receiver has not confirmed.
    pub entries_behind: u64,
    /// How old the first of them is.
    pub seconds_behind: u64,
    /// Attempts in a row that failed.
    pub failures: u64,
}

/// An export, by its name in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Export {
    export: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Resource {
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reload {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handshake {
    result: &'static str,
}

impl Metrics {
    pub(crate) fn new(recorder: &RecorderCounters, started: Timestamp) -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.000_1, 2.5, 14));
        let mut metrics = Self {
            accepted: Counter::default(),
            turned_away: Counter::default(),
            opened: Counter::default(),
            handshakes: Family::default(),
            refused: Family::default(),
            ended: Family::default(),
            bytes_out: Counter::default(),
            bytes_in: Counter::default(),
            lookup: seconds(),
            connect: seconds(),
            queueing: seconds(),
            kill: seconds(),
            live: Gauge::default(),
            predecessor_live: Gauge::default(),
            evidence_writable: Gauge::default(),
            witnessed_entries: Gauge::default(),
            witness_cosignatures: Gauge::default(),
            witness_quorum_met: Gauge::default(),
            archive_behind: Gauge::default(),
            archive_behind_s: Gauge::default(),
            archive_bytes: Gauge::default(),
            archive_failures: Gauge::default(),
            log_bytes: Gauge::default(),
            log_limit: Gauge::default(),
            archive_stored: Gauge::default(),
            archive_limit: Gauge::default(),
            plugins_near: Gauge::default(),
            export_behind: Family::default(),
            export_behind_s: Family::default(),
            export_failures: Family::default(),
            certificate_expires: Gauge::default(),
            certificate_refused: Gauge::default(),
            reloads: Family::default(),
            exhausted: Family::default(),
            reload_failed: Gauge::default(),
            configured: Gauge::default(),
            registry: Registry::with_prefix("bailiwick_gateway"),
        };
        metrics.register(recorder);
        metrics.configured.set(started.unix_s());
        metrics
    }

    fn register(&mut self, recorder: &RecorderCounters) {
        let registry = &mut self.registry;
        let mut counter = |name, help, counter: &Counter| registry.register(name, help, counter.clone());
        counter("clients_accepted", "Client connections accepted", &self.accepted);
        counter(
            "clients_turned_away",
            "Client connections closed at the limit",
            &self.turned_away,
        );
        counter(
            "connections_opened",
            "Connections allowed and recorded",
            &self.opened,
        );
        counter(
            "bytes_out",
            "Bytes relayed from plugins to destinations",
            &self.bytes_out,
        );
        counter(
            "bytes_in",
            "Bytes relayed from destinations to plugins",
            &self.bytes_in,
        );
        counter(
            "events_written",
            "Events written to the evidence log",
            &recorder.written,
        );
        counter(
            "events_lost",
            "Events that could not be kept until the log could be written",
            &recorder.lost,
        );
        counter(
            "evidence_failures",
            "Failed attempts to write evidence",
            &recorder.failures,
        );
        counter("checkpoints", "Checkpoints signed", &recorder.checkpoints);
        registry.register("refused", "Requests refused, by reason", self.refused.clone());
        registry.register("ended", "Connections ended, by outcome", self.ended.clone());
        registry.register(
            "tls_handshakes",
            "TLS handshakes of clients, by result",
            self.handshakes.clone(),
        );
        registry.register(
            "tls_certificate_expires_timestamp",
            "When the gateway's certificate in force expires, in Unix seconds; 0 without a TLS listener",
            self.certificate_expires.clone(),
        );
        registry.register(
            "tls_certificate_not_replaced",
            "1 while the certificate on disk cannot be used and an older one is in force",
            self.certificate_refused.clone(),
        );
        registry.register(
            "exhausted",
            "Clients not accepted and connections not made because the gateway was out of something",
            self.exhausted.clone(),
        );
        registry.register(
            "config_reloads",
            "Attempts to read the configuration again, by result",
            self.reloads.clone(),
        );
        registry.register(
            "config_reload_failed",
            "1 while the last attempt to read the configuration again changed nothing",
            self.reload_failed.clone(),
        );
        registry.register(
            "config_loaded_timestamp",
            "When the configuration in force was read, in Unix seconds",
            self.configured.clone(),
        );
        registry.register("live", "Connections being made or standing", self.live.clone());
        registry.register(
            "predecessor_live",
            "Connections that the process before this one still holds",
            self.predecessor_live.clone(),
        );
        registry.register(
            "evidence_writable",
            "1 while evidence can be written",
            self.evidence_writable.clone(),
        );
        for (name, help, gauge) in [
            (
                "witnessed_entries",
                "Entries under the newest checkpoint that witnesses cosigned",
                &self.witnessed_entries,
            ),
            (
                "witness_cosignatures",
                "Cosignatures on that checkpoint",
                &self.witness_cosignatures,
            ),
            (
                "witness_quorum_met",
                "1 while that checkpoint has as many cosignatures as the configuration wants",
                &self.witness_quorum_met,
            ),
            (
                "archive_entries_behind",
                "Signed entries that no archive file has yet; those of the running hour are among them",
                &self.archive_behind,
            ),
            (
                "archive_seconds_behind",
                "How old the first of them is",
                &self.archive_behind_s,
            ),
            (
                "archive_bytes",
                "Bytes that this process put into the archive",
                &self.archive_bytes,
            ),
            (
                "archive_failures",
                "Rounds of archiving in a row that failed",
                &self.archive_failures,
            ),
            (
                "log_stored_bytes",
                "Bytes that the log takes on disk",
                &self.log_bytes,
            ),
            (
                "log_limit_bytes",
                "Bytes that the log may take on disk; 0 for any number",
                &self.log_limit,
            ),
            (
                "archive_stored_bytes",
                "Bytes that this gateway's files take in the archive",
                &self.archive_stored,
            ),
            (
                "archive_limit_bytes",
                "Bytes that they may take; 0 for any number",
                &self.archive_limit,
            ),
            (
                "evidence_plugins_near_limit",
                "Plugins whose events of one day took more than four fifths of what one plugin may add",
                &self.plugins_near,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, family) in [
            (
                "export_entries_behind",
                "Signed entries that a receiver has not confirmed, by export",
                &self.export_behind,
            ),
            (
                "export_seconds_behind",
                "How old the first of them is, by export",
                &self.export_behind_s,
            ),
            (
                "export_failures",
                "Attempts in a row that failed, by export",
                &self.export_failures,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        for (name, help, histogram) in [
            ("lookup", "Name lookups", &self.lookup),
            ("connect", "From first dial to connection", &self.connect),
            ("queueing", "Waiting for an event to be written", &self.queueing),
            (
                "kill",
                "From the call to the last closed socket of a kill",
                &self.kill,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
    }

    pub(crate) fn witnessed(&self, witnessed: Witnessed) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.witnessed_entries.set(number(witnessed.entries));
        self.witness_cosignatures.set(number(witnessed.cosignatures));
        self.witness_quorum_met.set(i64::from(witnessed.quorum_is_met));
    }

    pub(crate) fn archived(&self, archived: Archived) {
        for (gauge, value) in [
            (&self.archive_behind, archived.entries_behind),
            (&self.archive_behind_s, archived.seconds_behind),
            (&self.archive_bytes, archived.bytes),
            (&self.archive_failures, archived.failures),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn budgeted(&self, budgeted: Budgeted) {
        for (gauge, value) in [
            (&self.log_bytes, budgeted.log_bytes),
            (&self.log_limit, budgeted.log_limit_bytes.unwrap_or(0)),
            (&self.archive_stored, budgeted.archive_bytes),
            (&self.archive_limit, budgeted.archive_limit_bytes.unwrap_or(0)),
            (&self.plugins_near, budgeted.plugins_near),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn exported(&self, export: &str, exported: Exported) {
        let label = Export {
            export: export.to_owned(),
        };
        for (family, value) in [
            (&self.export_behind, exported.entries_behind),
            (&self.export_behind_s, exported.seconds_behind),
            (&self.export_failures, exported.failures),
        ] {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            family.get_or_create(&label).set(value);
        }
    }

    pub(crate) fn refused(&self, reason: RefusalReason) {
        let reason = reason.as_str();
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn shook_hands(&self, result: &'static str) {
        self.handshakes.get_or_create(&Handshake { result }).inc();
    }

    /// Something could not be done for want of a resource.
    pub(crate) fn exhausted(&self, exhausted: Exhausted) {
        let resource = exhausted.word();
        self.exhausted.get_or_create(&Resource { resource }).inc();
    }

    /// The configuration was read again, with effect or without.
    pub(crate) fn reloaded(&self, took_effect: bool, now: Timestamp) {
        let result = if took_effect { "done" } else { "failed" };
        self.reloads.get_or_create(&Reload { result }).inc();
        self.reload_failed.set(i64::from(!took_effect));
        if took_effect {
            self.configured.set(now.unix_s());
        }
    }

    /// What the TLS listeners stand on.
    pub(crate) fn tls(&self, status: &TlsStatus) {
        self.certificate_expires.set(status.expires.unix_s());
        self.certificate_refused.set(i64::from(status.failure.is_some()));
    }

    pub(crate) fn ended(&self, outcome: Outcome) {
        let outcome = outcome.as_str();
        self.ended.get_or_create(&Ended { outcome }).inc();
    }

    pub(crate) fn looked_up(&self, took: Duration) {
        self.lookup.observe(took.as_secs_f64());
    }

    pub(crate) fn connected(&self, took: Duration) {
        self.connect.observe(took.as_secs_f64());
    }

    pub(crate) fn queued(&self, took: Duration) {
        self.queueing.observe(took.as_secs_f64());
    }

    pub(crate) fn killed(&self, took: Duration) {
        self.kill.observe(took.as_secs_f64());
    }

    /// What the process before this one still holds.
    pub(crate) fn predecessor(&self, live: u64) {
        self.predecessor_live.set(i64::try_from(live).unwrap_or(i64::MAX));
    }

    /// The metrics page.
    pub(crate) fn page(&self, live: usize, evidence_writable: bool) -> Result<String, std::fmt::Error> {
        self.live.set(i64::try_from(live).unwrap_or(i64::MAX));
        self.evidence_writable.set(i64::from(evidence_writable));
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_how_much_disk_is_taken_and_allowed() {
        let metrics = Metrics::new(&RecorderCounters::default(), Timestamp::from_unix_us(0));
        metrics.budgeted(Budgeted {
            log_bytes: 800,
            log_limit_bytes: Some(1000),
            archive_bytes: 50,
            archive_limit_bytes: None,
            plugins_near: 1,
        });
        let page = metrics.page(0, true).unwrap();
        for line in [
            "bailiwick_gateway_log_stored_bytes 800\n",
            "bailiwick_gateway_log_limit_bytes 1000\n",
            "bailiwick_gateway_archive_stored_bytes 50\n",
            "bailiwick_gateway_archive_limit_bytes 0\n",
            "bailiwick_gateway_evidence_plugins_near_limit 1\n",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn the_page_says_how_the_archive_stands() {
        let metrics = Metrics::new(&RecorderCounters::default(), Timestamp::from_unix_us(0));
        metrics.archived(Archived {
            entries_behind: 7,
            seconds_behind: 30,
            bytes: 4984,
            failures: 2,
        });
        let page = metrics.page(0, true).unwrap();
        for line in [
            "bailiwick_gateway_archive_entries_behind 7\n",
            "bailiwick_gateway_archive_seconds_behind 30\n",
            "bailiwick_gateway_archive_bytes 4984\n",
            "bailiwick_gateway_archive_failures 2\n",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }
}
