//! Heads of revocation lists, signed by ourselves, with an empty body.

#![no_main]

use bailiwick_fuzz::{now, signed, trust};
use crl::Reader;
use libfuzzer_sys::fuzz_target;
use seal::PredicateType;

fuzz_target!(|data: &[u8]| {
    let reader = Reader::new("acme", None);
    let _ = reader.examine(data, &trust(), now());
    if let Some(bundle) = signed(PredicateType::Crl, data, "crl-1.body", b"") {
        let _ = reader.accept(&bundle, b"", &trust(), now());
    }
});
