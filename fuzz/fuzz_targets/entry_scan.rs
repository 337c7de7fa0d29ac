//! The entry scanner: its every yes is the reader's, and says of the event what the reader says.

#![no_main]

use evidence::Event;
use evidence::parsers::scan;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((seq, gateway)) = scan(data) {
        let event = Event::from_entry(data).expect("the scanner said yes");
        assert_eq!((event.seq, event.gateway.as_bytes()), (seq, gateway));
        assert_eq!(event.to_entry().expect("it was an entry"), data);
    }
});
