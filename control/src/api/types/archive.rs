//! Archiving by hand, letting go of what was archived, and of what nothing asks to be kept.

use serde::{Deserialize, Serialize};

/// `POST /v1/archive`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveRequest {
    /// Everything that is signed, and not only hours that are over.
    #[serde(default)]
    pub all: bool,
    /// Who asks.
    pub who: String,
}

/// What was archived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedView {
    /// The log, `<site>/<gateway>`.
    pub origin: String,
    /// The folder or the bucket.
    pub archive: String,
    /// The files, in order; empty where nothing was due.
    pub files: Vec<ArchivedFile>,
}

/// One file of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedFile {
    /// Its name, below the archive.
    pub file: String,
    /// What it hashes to, in hex.
    pub sha256: String,
    /// The first entry in it.
    pub entries_from: u64,
    /// One past the last.
    pub entries_to: u64,
    /// Its size.
    pub bytes: Option<u64>,
}

/// `POST /v1/archive/prune`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// For how many seconds entries stay.
    pub keep_s: u32,
    /// Say what would go, and let nothing go.
    #[serde(default)]
    pub dry_run: bool,
    /// Who asks.
    pub who: String,
}

/// What went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunedView {
    /// The log, `<site>/<gateway>`.
    pub origin: String,
    /// The folder or the bucket that has it.
    pub archive: String,
    /// Whether nothing went, because only a word was asked for.
    pub dry_run: bool,
    /// The first entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries_from: Option<u64>,
    /// One past the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries_to: Option<u64>,
    /// Files of entries that were removed, also those that an interrupted round had left.
    pub bundles_removed: u64,
}

/// `POST /v1/archive/expire`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpireRequest {
    /// Say what would go, and let nothing go.
    #[serde(default)]
    pub dry_run: bool,
    /// Who asks.
    pub who: String,
}

/// What expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiredView {
    /// The log, `<site>/<gateway>`.
    pub origin: String,
    /// The folder or the bucket.
    pub archive: String,
    /// Whether nothing went, because only a word was asked for.
    pub dry_run: bool,
    /// The first entry that expired in this round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries_from: Option<u64>,
    /// One past the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries_to: Option<u64>,
    /// The files that were removed, also those that an interrupted round had left; or that would be.
    pub files: Vec<String>,
}
