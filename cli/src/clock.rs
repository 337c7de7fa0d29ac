//! The wall clock, read in one place.

use base::Timestamp;

/// Now.
pub fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}
