//! Bodies of revocation lists: the same bytes come back.

#![no_main]

use crl::Entries;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(entries) = Entries::parse(data) {
        assert_eq!(entries.to_bytes(), data);
    }
});
