//! Entry bundles: what is split is there, in order, and nothing else is.

#![no_main]

use evidence::split_bundle;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&count, bundle)) = data.split_first() else {
        return;
    };
    let count = usize::from(count) + 1;
    if let Ok(entries) = split_bundle(bundle, count, true) {
        assert_eq!(entries.len(), count);
        let size: usize = entries.iter().map(|entry| entry.len() + 2).sum();
        assert_eq!(size, bundle.len());
    }
    let _ = split_bundle(bundle, count, false);
});
