//! Run URIs: whatever is read is written back as it stood.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seal::RunUri;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(uri) = text.parse::<RunUri>() {
        assert_eq!(uri.to_string(), text);
    }
});
