//! The alarm: the first undeclared destination of a build, told at once and not in the morning.
//!
//! It says what the gateway was asked, and no more: nothing is proved before the log was verified,
//! and the night's signed report says what stands. One alarm a day for a build is enough; whatever
//! follows is in the night's letters.

use base::{ArtifactDigest, Decision, PluginId, RunId, Target, Tier, Timestamp};

use super::letter::{Group, Letter, automatic};
use super::security::plain;
use super::{Address, Mail, identity};
use crate::escape::{shell, short, visible};
use crate::render::story::Advice;
use crate::words;

/// The first time that a run asked for something its manifest does not declare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The site's name.
    pub site: String,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The build.
    pub artifact_digest: ArtifactDigest,
    /// What the build's file is called.
    pub artifact_name: String,
    /// The run that asked.
    pub run_id: RunId,
    /// The plugin's tier.
    pub tier: Tier,
    /// What it asked for.
    pub target: Target,
    /// What the gateway decided.
    pub decision: Decision,
    /// When.
    pub at: Timestamp,
    /// The gateway's log, where the attempt is on record.
    pub origin: String,
    /// The owner's name, where the manifest states one.
    pub owner: Option<String>,
    /// Whom an owner writes to.
    pub security_contact: String,
}

/// Who reads an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The plugin's owner.
    Owner,
    /// The security team.
    Security,
}

/// What alarms about one build are about: a second one does not follow within a day.
pub fn alarm_topic(artifact_digest: &ArtifactDigest) -> String {
    format!("alarm {artifact_digest}")
}

/// The alarm about `sighting`, in the words that `reader` needs.
pub fn alarm(sighting: &Sighting, reader: Reader, from: &Address, to: &[Address]) -> Mail {
    let plugin = &sighting.plugin_id;
    let destination = words::destination(&sighting.target.host, sighting.target.port);
    let artifact = short(&sighting.artifact_name, 120);
    let decided = match sighting.decision {
        Decision::Allow => "The gateway let it through: in this tier it watches and does not stop.",
        Decision::Deny => "The gateway refused it.",
    };
    let fact = format!(
        "At {}, run {} of {artifact} asked for {destination}, which the manifest of {plugin} does not declare. {decided}",
        words::moment(sighting.at),
        sighting.run_id
    );
    let record = format!(
        "The attempt is on record in log {}. The night's report, which is signed and carries the evidence, says what stands; until then this is what the gateway was asked, and nothing more.",
        visible(&sighting.origin)
    );
    let contact = visible(&sighting.security_contact);
    let does = |text: &str, command: String| Advice {
        text: text.to_owned(),
        command: Some(command),
    };
    let (subject, mut opening, steps) = match reader {
        Reader::Owner => (
            format!("[{}] {plugin} asked for {destination}, which it does not declare", sighting.site),
            vec![match &sighting.owner {
                Some(owner) => format!("Hello {},", visible(owner)),
                None => "Hello,".to_owned(),
            }],
            vec![
                plain("If the connection is meant, add it to allowed_egress, sign the manifest again and hand it in.".to_owned()),
                plain("If it is not meant, find the code or the library that makes it, and ship a build without it.".to_owned()),
                plain(format!("If you think that the gateway is wrong, write to {contact} and name the run.")),
            ],
        ),
        Reader::Security => (
            format!(
                "[{}] first sight: {plugin} (tier {}) asked for undeclared {destination}",
                sighting.site, sighting.tier
            ),
            Vec::new(),
            vec![
                does("See what the run did.", format!("bailiwick events --plugin {plugin}")),
                does(
                    "See which declaration comes closest.",
                    format!("bailiwick check {plugin} {}", shell(&sighting.target.to_string())),
                ),
                does(
                    "To stop this build now:",
                    format!(
                        "bailiwick quarantine {} --reason undeclared_host",
                        sighting.artifact_digest
                    ),
                ),
            ],
        ),
    };
    opening.push(fact);
    opening.push(record);
    let letter = Letter {
        site: visible(&sighting.site),
        tone: "doubt",
        mark: "First sight".to_owned(),
        headline: format!("{plugin} asked for a destination that it does not declare"),
        opening,
        findings: Vec::new(),
        further: 0,
        actions: Vec::new(),
        groups: vec![Group::new("What to do now", steps)],
        bars: Vec::new(),
        strips: Vec::new(),
        pictures: Vec::new(),
        check: Vec::new(),
        closing: vec![
            "One such letter is sent per build and day; what else is seen today is in the night's report."
                .to_owned(),
        ],
    };
    let thread = identity::thread(plugin, &sighting.artifact_digest, &sighting.site, from);
    let mut headers = automatic(&sighting.site, from);
    for (name, value) in [
        ("In-Reply-To", thread.clone()),
        ("References", thread),
        ("X-Bailiwick-Plugin", plugin.to_string()),
        ("X-Bailiwick-Artifact", sighting.artifact_digest.to_string()),
    ] {
        headers.push((name.to_owned(), value));
    }
    letter.post(
        identity::alarm_id(
            (plugin, &sighting.artifact_digest, &sighting.run_id),
            &sighting.target,
            &sighting.site,
            from,
            to,
        ),
        &subject,
        (from, to),
        headers,
        Vec::new(),
    )
}
