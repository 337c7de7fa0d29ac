//! The head: the small signed document that makes a body a list.
//!
//! It is the predicate of a statement of type `https://bailiwick.dev/crl/v1`. The statement's
//! subjects are the list's files, never the digests on the list: `cosign verify-blob-attestation` of
//! a body then does what it should, and nobody can take a head for praise of a revoked build.

use base::{Sha256Digest, Timestamp};
use seal::{PredicateType, Statement, Subject};
use serde::{Deserialize, Serialize};

use crate::{Entry, KillSwitch};

/// The newest head, wherever lists are stored or served.
pub const HEAD_FILE: &str = "crl.sigstore.json";
/// How many of the last changes a head repeats.
pub const MAX_INLINE: usize = 256;

/// The signed part of a list, apart from its entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Who issues the list: the site's name.
    pub issuer: String,
    /// Rises by one with every list of the issuer; the first is 1.
    pub crl_number: u64,
    /// The list that the delta applies to, if there is a delta.
    pub base_crl_number: Option<u64>,
    /// The SHA-256 of the payload of the list before, which the first list lacks.
    #[serde(with = "bare_hex_or_null")]
    pub prev_head_sha256: Option<Sha256Digest>,
    /// The version of the trust root by which the issuer signed.
    pub root_version: u64,
    /// When the list was issued.
    pub this_update: Timestamp,
    /// When the next one is due at the latest.
    pub next_update: Timestamp,
    /// How many entries the body has.
    pub entries: u64,
    /// What is stopped before any lookup.
    pub kill_switch: KillSwitch,
    /// The last changes, oldest first, so that a push needs no second fetch.
    pub inline: Vec<Recent>,
    /// The files that belong to this head.
    pub files: Files,
}

/// A change that a recent list made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recent {
    /// The list that made it.
    pub crl_number: u64,
    /// The entry as it stood from then on.
    pub entry: Entry,
}

/// The files of a list, by name and SHA-256. The same are the statement's subjects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// The body.
    pub full: Subject,
    /// What changed since `base_crl_number`.
    pub delta: Option<Subject>,
    /// A filter over all entries, for very large lists. Never decides alone; the body does.
    pub filter: Option<Subject>,
    /// The index of the body's shards, for very large lists.
    pub shard_index: Option<Subject>,
}

/// Why a signed document is not the head of a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct InvalidHead {
    detail: String,
}

/// The name of the body of list `number`.
pub fn body_file(number: u64) -> String {
    format!("crl-{number}.body")
}

/// The name of the delta that leads to list `number`.
pub fn delta_file(number: u64) -> String {
    format!("crl-{number}.delta")
}

impl Head {
    /// The statement that gets signed.
    pub(crate) fn to_statement(&self) -> Statement {
        Statement {
            subjects: self.files.subjects(),
            predicate_type: PredicateType::Crl.uri().to_owned(),
            predicate: serde_json::to_value(self).expect("a head is strings, numbers and lists of them"),
        }
    }

    /// Reads the head from a statement whose signature was verified.
    pub(crate) fn from_statement(statement: &Statement) -> Result<Self, InvalidHead> {
        let head: Self = serde_json::from_value(statement.predicate.clone()).map_err(invalid)?;
        // One value, one spelling: no field left out for null, no other form of the same moment.
        if serde_json::to_value(&head).map_err(invalid)? != statement.predicate {
            return Err(invalid("a field is missing or is not in its canonical form"));
        }
        head.check()?;
        if head.files.subjects() != statement.subjects {
            return Err(invalid("the subjects are not the files that the head names"));
        }
        Ok(head)
    }

    /// What the types alone cannot hold.
    fn check(&self) -> Result<(), InvalidHead> {
        let number = self.crl_number;
        let (full, delta) = (body_file(number), delta_file(number));
        let ascending = self.inline.is_sorted_by_key(|recent| recent.crl_number);
        let known = self.inline.iter().all(|recent| recent.crl_number <= number);
        let claims = [
            (!self.issuer.is_empty(), "the issuer is empty"),
            (number > 0, "lists are numbered from 1"),
            (
                (number == 1) == self.prev_head_sha256.is_none(),
                "every list but the first names the head before it",
            ),
            (
                self.this_update < self.next_update,
                "next_update is not after this_update",
            ),
            (
                self.inline.len() <= MAX_INLINE && ascending && known,
                "the inline changes are too many, out of order, or of a later list",
            ),
            (
                is_named(&self.files.full, &full),
                "files.full is not the body's name and sha256",
            ),
            (
                self.files
                    .delta
                    .as_ref()
                    .is_none_or(|file| is_named(file, &delta)),
                "files.delta is not the delta's name and sha256",
            ),
            (
                self.files.delta.is_some() == self.base_crl_number.is_some(),
                "a delta and its base come together",
            ),
            (
                self.base_crl_number.is_none_or(|base| base > 0 && base < number),
                "a delta's base is an earlier list",
            ),
        ];
        match claims.iter().find(|(holds, _)| !holds) {
            Some((_, detail)) => Err(invalid(detail)),
            None => Ok(()),
        }
    }

    /// The body's SHA-256.
    pub(crate) fn body_sha256(&self) -> Sha256Digest {
        self.files
            .full
            .sha256()
            .expect("checked when the head was read or made")
    }
}

impl Files {
    fn subjects(&self) -> Vec<Subject> {
        [
            Some(&self.full),
            self.delta.as_ref(),
            self.filter.as_ref(),
            self.shard_index.as_ref(),
        ]
        .into_iter()
        .flatten()
        .cloned()
        .collect()
    }
}

/// Whether the subject has this name and a SHA-256 and nothing else. A name that was checked cannot
/// lead a reader out of its folder.
fn is_named(file: &Subject, name: &str) -> bool {
    file.sha256()
        .is_some_and(|digest| *file == Subject::new(name, &digest))
}

fn invalid(detail: impl std::fmt::Display) -> InvalidHead {
    InvalidHead {
        detail: detail.to_string(),
    }
}

/// A digest whose field already names the algorithm: 64 hex digits, as in-toto writes them.
pub(crate) mod bare_hex {
    use base::Sha256Digest;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(digest: &Sha256Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&digest.to_hex())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sha256Digest, D::Error> {
        let digits = String::deserialize(deserializer)?;
        Sha256Digest::from_hex(&digits).map_err(serde::de::Error::custom)
    }
}

/// The same, where there may be none.
pub(crate) mod bare_hex_or_null {
    use base::Sha256Digest;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Bare(#[serde(with = "super::bare_hex")] Sha256Digest);

    pub(crate) fn serialize<S: Serializer>(
        digest: &Option<Sha256Digest>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        digest.map(Bare).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Sha256Digest>, D::Error> {
        Ok(Option::<Bare>::deserialize(deserializer)?.map(|Bare(digest)| digest))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixture::Desk;

    fn statement() -> Statement {
        let mut desk = Desk::new();
        desk.hold(1);
        desk.hold(2);
        desk.list().head().to_statement()
    }

    fn edited(edit: impl FnOnce(&mut Value)) -> Result<Head, InvalidHead> {
        let mut statement = statement();
        edit(&mut statement.predicate);
        Head::from_statement(&statement)
    }

    #[test]
    fn a_head_reads_back_as_the_same_value() {
        let statement = statement();
        let head = Head::from_statement(&statement).unwrap();
        assert_eq!(head.to_statement(), statement);
        assert_eq!(head.inline.len(), 2);
    }

    #[test]
    fn every_field_is_required_and_no_other_is_read() {
        let fields: Vec<String> = statement()
            .predicate
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert_eq!(fields.len(), 11);
        for field in fields {
            let refused = edited(|p| {
                p.as_object_mut().unwrap().remove(&field);
            });
            assert!(refused.is_err(), "{field}");
        }
        assert!(edited(|p| p["extra"] = json!(1)).is_err());
        assert!(
            edited(|p| p["files"]
                .as_object_mut()
                .unwrap()
                .remove("filter")
                .map_or((), drop))
            .is_err()
        );
    }

    #[test]
    fn a_head_that_contradicts_itself_is_refused() {
        let edits: [fn(&mut Value); 14] = [
            |p| p["issuer"] = json!(""),
            |p| p["crl_number"] = json!(0),
            |p| p["crl_number"] = json!(2.0),
            |p| p["crl_number"] = json!(3),
            |p| p["prev_head_sha256"] = json!(null),
            |p| p["prev_head_sha256"] = json!("sha256:00"),
            |p| p["base_crl_number"] = json!(null),
            |p| p["base_crl_number"] = json!(2),
            |p| p["next_update"] = p["this_update"].clone(),
            |p| p["this_update"] = json!("2026-11-21T10:00:00Z"),
            |p| p["inline"][0]["crl_number"] = json!(9),
            |p| p["inline"].as_array_mut().unwrap().reverse(),
            |p| p["inline"][0]["entry"]["kind"] = json!("planet"),
            |p| p["files"]["full"]["name"] = json!("../crl-2.body"),
        ];
        for (index, edit) in edits.into_iter().enumerate() {
            assert!(edited(edit).is_err(), "edit {index}");
        }
    }

    #[test]
    fn the_subjects_are_the_files_and_never_the_digests_on_the_list() {
        let mut statement = statement();
        let names: Vec<_> = statement.subjects.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["crl-2.body", "crl-2.delta"]);
        statement.subjects.pop();
        assert!(Head::from_statement(&statement).is_err());
    }
}
