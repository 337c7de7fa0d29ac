//! Trust roots.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seal::trust::{Scope, TrustRoot};

fuzz_target!(|data: &[u8]| {
    let _ = TrustRoot::parse(data);
    let _ = bailiwick_fuzz::trust().parse_successor(data);
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(scope) = text.parse::<Scope>()
    {
        assert_eq!(scope.to_string(), text);
    }
});
