//! Evidence bundles that somebody sends: as they come, and as archives around which the compression is
//! ours, so that the fuzzer reaches what is behind it.

#![no_main]

use bailiwick_fuzz::trust;
use libfuzzer_sys::fuzz_target;
use reports::bundle::{MAX_ENTRIES, inspect, read_bundle};

fuzz_target!(|data: &[u8]| {
    let compressed = zstd::bulk::compress(data, 1).expect("memory suffices");
    for bytes in [data, compressed.as_slice()] {
        let Ok(files) = read_bundle(bytes) else { continue };
        assert!(files.len() <= MAX_ENTRIES);
        for name in files.keys() {
            let leads_out = name.split('/').any(|part| part.is_empty() || part.starts_with('.'));
            assert!(!leads_out && !name.starts_with('/'), "{name:?}");
        }
        let inspection = inspect(&files, &trust());
        assert!(inspection.items.len() >= files.len());
        assert!(inspection.proven <= inspection.events);
    }
});
