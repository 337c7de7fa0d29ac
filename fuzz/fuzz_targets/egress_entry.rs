//! Egress entries: the canonical form is read as the same entry, and includes what the entry includes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use manifests::egress::Entry;

fuzz_target!(|text: &str| {
    if let Ok(entry) = text.parse::<Entry>() {
        let canonical = entry.to_string();
        let again: Entry = canonical.parse().expect("the canonical form is an entry");
        assert_eq!(again.to_string(), canonical);
        assert_eq!(again, entry);
    }
});
