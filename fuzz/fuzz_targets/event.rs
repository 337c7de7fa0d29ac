//! Events: an entry is an event only in the one form that we write.

#![no_main]

use evidence::Event;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(event) = Event::from_entry(data) {
        assert_eq!(event.to_entry().expect("it was an entry"), data);
    }
});
