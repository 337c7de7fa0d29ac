//! What a run found: counted per worker thread, merged, then printed as text or JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::dial::Failure;

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Durations, kept to three significant digits.
#[derive(Clone)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }

    pub fn merge(&mut self, other: &Self) {
        self.0
            .add(&other.0)
            .expect("both histograms have the same bounds");
    }

    /// Microseconds; `None` if nothing was recorded.
    pub fn to_json(&self) -> Option<Value> {
        if self.0.is_empty() {
            return None;
        }
        let micros = |nanos: u64| json!((nanos as f64 / 100.0).round() / 10.0);
        let mut values = Map::new();
        for (name, quantile) in QUANTILES {
            values.insert(name.into(), micros(self.0.value_at_quantile(quantile)));
        }
        values.insert("max".into(), micros(self.0.max()));
        values.insert("mean".into(), micros(self.0.mean() as u64));
        Some(Value::Object(values))
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_max(60_000_000_000, 3).expect("the bounds are valid"))
    }
}

/// Failures by kind: how many, and the first one's detail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures(BTreeMap<&'static str, (u64, String)>);

impl Failures {
    pub fn record(&mut self, failure: Failure) {
        self.0.entry(failure.kind).or_insert((0, failure.detail)).0 += 1;
    }

    pub fn merge(&mut self, other: Self) {
        for (kind, (count, example)) in other.0 {
            self.0.entry(kind).or_insert((0, example)).0 += count;
        }
    }

    pub fn count(&self) -> u64 {
        self.0.values().map(|(count, _)| count).sum()
    }

    pub fn to_json(&self) -> Value {
        let kinds = self.0.iter().map(|(kind, (count, example))| {
            ((*kind).to_owned(), json!({ "count": count, "example": example }))
        });
        Value::Object(kinds.collect())
    }
}

/// A finished run: its figures, and whether anything in it failed.
pub struct Report {
    pub figures: Value,
    pub failed: u64,
}

impl Report {
    pub fn as_json(&self) -> String {
        self.figures.to_string()
    }

    /// One `name value` line for each figure; names of nested figures are joined with dots.
    pub fn as_text(&self) -> String {
        let mut lines = Vec::new();
        flatten("", &self.figures, &mut lines);
        let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        lines
            .iter()
            .map(|(name, value)| format!("{name:width$}  {value}\n"))
            .collect()
    }
}

fn flatten(name: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let dot = if name.is_empty() { "" } else { "." };
                flatten(&format!("{name}{dot}{field}"), value, lines);
            }
        }
        Value::Null => {}
        Value::String(text) => lines.push((name.to_owned(), text.clone())),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            lines.push((name.to_owned(), format!("{number:.3}")));
        }
        other => lines.push((name.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_reported_in_microseconds() {
        let mut latencies = Latencies::default();
        for millis in 1..=100 {
            latencies.record(Duration::from_millis(millis));
        }
        let figures = latencies.to_json().unwrap();
        let near = |name: &str, micros: f64| (figures[name].as_f64().unwrap() / micros - 1.0).abs() < 0.002;
        assert!(near("p50", 50_000.0) && near("p99", 99_000.0) && near("max", 100_000.0));
        assert_eq!(Latencies::default().to_json(), None);
    }

    #[test]
    fn failures_keep_the_first_example_of_each_kind() {
        let mut failures = Failures::default();
        failures.record(Failure::new("refused", "proxy answered 407"));
        failures.record(Failure::new("refused", "proxy answered 503"));
        let mut merged = Failures::default();
        merged.record(Failure::new("timeout", "after 10s"));
        merged.merge(failures);
        assert_eq!(merged.count(), 3);
        assert_eq!(
            merged.to_json(),
            json!({
                "refused": { "count": 2, "example": "proxy answered 407" },
                "timeout": { "count": 1, "example": "after 10s" },
            })
        );
    }

    #[test]
    fn text_report_flattens_names_and_leaves_out_nulls() {
        let figures = json!({ "mode": "bulk", "cpu": { "seconds": 1.5, "cores": null } });
        let report = Report { figures, failed: 0 };
        assert_eq!(report.as_text(), "cpu.seconds  1.500\nmode         bulk\n");
    }
}
