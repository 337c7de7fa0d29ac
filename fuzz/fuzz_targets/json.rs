//! Strict JSON: whatever is read has a canonical form that is read as the same value.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = base::json::parse(data) else {
        return;
    };
    let Ok(canonical) = base::json::canonical(&value) else {
        return;
    };
    let again = base::json::parse(&canonical).expect("canonical JSON is strict JSON");
    assert_eq!(
        base::json::canonical(&again).expect("it was canonical before"),
        canonical
    );
});
