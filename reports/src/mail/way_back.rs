//! Letters on the owner's way back: how an appeal stands, and that a finding is gone.

use super::letter::{Group, Letter, automatic};
use super::security::plain;
use super::{Address, Mail, identity};
use crate::closing::ClosingReport;
use crate::escape::{short, visible};

/// How an appeal stands, in words that whoever runs appeals chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppealNews {
    /// The site.
    pub site: String,
    /// The appeal's number there.
    pub appeal_id: i64,
    /// The plugin.
    pub plugin_id: base::PluginId,
    /// The build.
    pub artifact_digest: base::ArtifactDigest,
    /// The finding in one line.
    pub finding: String,
    /// The finding's id.
    pub finding_id: String,
    /// How it stands: `opened`, `acknowledged`, `answered`, `granted`, `denied`.
    pub stands: String,
    /// What happened, and what is promised next, in sentences.
    pub sentences: Vec<String>,
    /// Whom to write to.
    pub contact: String,
}

/// The letter about how an appeal stands.
pub fn appeal_letter(news: &AppealNews, from: &Address, to: &[Address]) -> Mail {
    let stands = visible(&news.stands);
    let mut letter = empty(&news.site);
    letter.mark = "Appeal".to_owned();
    letter.tone = match news.stands.as_str() {
        "granted" => "good",
        "denied" => "bad",
        _ => "quiet",
    };
    letter.headline = format!("Appeal {} of {}: {stands}", news.appeal_id, news.plugin_id);
    letter.opening = vec![format!(
        "It is about this finding: {} (id {}).",
        visible(&news.finding),
        visible(&news.finding_id)
    )];
    letter
        .opening
        .extend(news.sentences.iter().map(|sentence| short(sentence, 2000)));
    letter.closing = vec![format!("People read {}.", visible(&news.contact))];
    let subject = format!(
        "[{}] appeal {} of {}: {stands}",
        news.site, news.appeal_id, news.plugin_id
    );
    let key = format!("appeal {} {}", news.appeal_id, news.stands);
    post(
        letter,
        &subject,
        &key,
        (&news.plugin_id, &news.artifact_digest),
        &news.site,
        from,
        to,
    )
}

/// The letter about a finding that is gone.
pub fn closing_letter(
    closing: &ClosingReport,
    site: &str,
    contact: &str,
    from: &Address,
    to: &[Address],
) -> Mail {
    let mut letter = empty(site);
    letter.mark = "Mended".to_owned();
    letter.tone = "good";
    letter.headline = format!("{}: a finding is gone", closing.plugin_id);
    letter.opening = vec![format!(
        "{} was mended by a new build, which ran and kept its word. Nothing more is needed.",
        visible(&closing.finding)
    )];
    let facts = closing.facts(site);
    letter.groups = vec![Group::new(
        "What is on record",
        facts
            .into_iter()
            .map(|(label, value)| plain(format!("{label}: {value}")))
            .collect(),
    )];
    letter.closing = vec![format!(
        "The build that was found stays as it is; whoever wants it back asks {}.",
        visible(contact)
    )];
    let subject = format!(
        "[{site}] {}: mended: {}",
        closing.plugin_id,
        visible(&closing.finding)
    );
    let key = format!("closing {} {}", closing.finding_id, closing.mended_by);
    post(
        letter,
        &subject,
        &key,
        (&closing.plugin_id, &closing.mends),
        site,
        from,
        to,
    )
}

fn empty(site: &str) -> Letter {
    Letter {
        site: visible(site),
        tone: "quiet",
        mark: String::new(),
        headline: String::new(),
        opening: Vec::new(),
        findings: Vec::new(),
        further: 0,
        actions: Vec::new(),
        groups: Vec::new(),
        bars: Vec::new(),
        strips: Vec::new(),
        pictures: Vec::new(),
        check: Vec::new(),
        closing: Vec::new(),
    }
}

/// In the thread of the build's incidents.
fn post(
    letter: Letter,
    subject: &str,
    key: &str,
    (plugin_id, artifact_digest): (&base::PluginId, &base::ArtifactDigest),
    site: &str,
    from: &Address,
    to: &[Address],
) -> Mail {
    let thread = identity::thread(plugin_id, artifact_digest, site, from);
    let mut headers = automatic(site, from);
    headers.push(("In-Reply-To".to_owned(), thread.clone()));
    headers.push(("References".to_owned(), thread));
    let message_id = identity::way_back_id(key, (plugin_id, artifact_digest), site, from, to);
    letter.post(message_id, subject, (from, to), headers, Vec::new())
}
