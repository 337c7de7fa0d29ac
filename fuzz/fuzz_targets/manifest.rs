//! Manifests: as people write them, and as they come out of a verified bundle.

#![no_main]

use bailiwick_fuzz::{now, signed, trust};
use libfuzzer_sys::fuzz_target;
use manifests::{Manifest, SignedManifest};
use seal::PredicateType;

fuzz_target!(|data: &[u8]| {
    let _ = Manifest::parse_draft(data);
    if let Ok(manifest) = Manifest::parse(data) {
        let again = Manifest::from_value(&manifest.to_value()).expect("a manifest's value is a manifest");
        assert_eq!(again.to_value(), manifest.to_value());
    }
    if let Some(bundle) = signed(PredicateType::PluginManifest, data, "plugin.whl", b"plugin") {
        let _ = SignedManifest::open(&bundle, &trust(), now());
    }
});
