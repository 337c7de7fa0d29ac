//! Bundles: nothing that the fuzzer makes carries a good signature of ours.

#![no_main]

use bailiwick_fuzz::key;
use libfuzzer_sys::fuzz_target;
use seal::PredicateType;
use seal::envelope::Unverified;

fuzz_target!(|data: &[u8]| {
    if let Ok(bundle) = Unverified::parse(data) {
        let _ = bundle.verify([&key().public()], PredicateType::PluginManifest);
    }
});
