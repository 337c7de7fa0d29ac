//! The story: what the demo tells a newcomer, chapter by chapter.

use control::api::types::AuditSummary;

use crate::commands::audit;
use crate::output::{self, styled};

/// Somebody who tells, or keeps quiet.
pub struct Story {
    aloud: bool,
    chapter: usize,
}

impl Story {
    /// Tells if `aloud`.
    pub const fn new(aloud: bool) -> Self {
        Self { aloud, chapter: 0 }
    }

    /// Begins a chapter.
    pub fn chapter(&mut self, title: &str) {
        self.chapter += 1;
        self.print(&format!(
            "\n{}",
            styled("1", &format!("{}. {title}", self.chapter))
        ));
    }

    /// One line of the story.
    pub fn line(&self, text: &str) {
        self.print(&format!("   {text}"));
    }

    /// One line that a plugin's process printed.
    pub fn said(&self, who: &str, text: &str) {
        self.print(&format!("   {} {text}", styled("36", &format!("[{who}]"))));
    }

    /// The verdicts of a night.
    pub fn verdicts(&self, summary: &AuditSummary) {
        for report in &summary.reports {
            let about = report
                .run_id
                .map_or("the artifact".to_owned(), |run| format!("run {run}"));
            self.line(&format!(
                "{}  {}, {about}",
                audit::verdict(report.verdict),
                report.plugin_id
            ));
            if report.run_id.is_some() {
                continue;
            }
            for finding in &report.findings {
                let host = finding.host.as_deref().unwrap_or("-");
                let port = finding.port.map(|port| format!(":{port}")).unwrap_or_default();
                self.line(&format!(
                    "    {} {host}{port}, {} connection(s)",
                    finding.reason, finding.connections
                ));
                self.line(&format!("    fix: {}", finding.fix));
            }
        }
        for notice in &summary.notices {
            self.line(&format!("also seen: {notice}"));
        }
        for doubt in &summary.doubts {
            self.line(&format!("doubt: {doubt}"));
        }
    }

    /// Commands to copy.
    pub fn verification(&self, commands: &[(String, String)]) {
        for (title, command) in commands {
            self.line(&styled("1", title));
            for line in command.lines() {
                self.line(&format!("  {line}"));
            }
        }
    }

    fn print(&self, text: &str) {
        if self.aloud {
            // A reader that went away has heard enough.
            let _ = output::line(text);
        }
    }
}
