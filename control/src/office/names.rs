//! What people write into requests, checked before anything is done with it.

use super::OfficeError;
use crate::store::ComponentRecord;

/// The longest name of a person.
const MAX_WHO: usize = 200;
/// The longest note.
const MAX_NOTE: usize = 2000;

/// Somebody stands behind every act.
pub(crate) fn check_who(who: &str) -> Result<(), OfficeError> {
    let fits = !who.trim().is_empty() && who.len() <= MAX_WHO && !who.chars().any(char::is_control);
    if fits {
        Ok(())
    } else {
        Err(OfficeError::Request {
            what: format!(
                "`who` is the name of a person, in 1 to {MAX_WHO} bytes without control characters"
            ),
        })
    }
}

/// A note is one line that a person reads.
pub(super) fn check_note(note: Option<&str>) -> Result<(), OfficeError> {
    let fits = |note: &str| note.len() <= MAX_NOTE && !note.chars().any(char::is_control);
    if note.is_none_or(fits) {
        Ok(())
    } else {
        Err(OfficeError::Request {
            what: format!("a note is one line of at most {MAX_NOTE} bytes"),
        })
    }
}

/// A file's name, which is never used as a path.
pub(super) fn check_file_name(name: &str) -> Result<(), OfficeError> {
    let fits = (1..=255).contains(&name.len())
        && !name.contains(|c: char| c.is_control() || matches!(c, '/' | '\\'));
    if fits {
        Ok(())
    } else {
        Err(OfficeError::Request {
            what: "`file_name` is a plain file name of at most 255 bytes, without folders".to_owned(),
        })
    }
}

/// The most libraries that one artifact has.
const MAX_COMPONENTS: usize = 10_000;

/// Libraries by name and version, each in one short line.
pub(super) fn check_components(components: &[ComponentRecord]) -> Result<(), OfficeError> {
    let line = |text: &str| (1..=200).contains(&text.len()) && !text.chars().any(char::is_control);
    let fit = components
        .iter()
        .all(|component| line(&component.name) && line(&component.version));
    if components.len() <= MAX_COMPONENTS && fit {
        Ok(())
    } else {
        Err(OfficeError::Request {
            what: format!(
                "`components` are at most {MAX_COMPONENTS}, each a name and a version of 1 to 200 bytes"
            ),
        })
    }
}
