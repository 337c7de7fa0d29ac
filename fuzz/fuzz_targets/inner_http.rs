//! Plain HTTP inside tunnels: an answer other than "more" stays the same however many bytes follow.

#![no_main]
#![allow(
    dead_code,
    unused_imports,
    reason = "the modules are the gateway's own, taken whole"
)]

#[path = "../../proxy/src/head.rs"]
mod head;
#[path = "../../proxy/src/inner_http.rs"]
mod inner_http;

use inner_http::{Inner, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = read(data);
    for end in 0..data.len().min(600) {
        let part = read(&data[..end]);
        assert!(part == Inner::More || part == whole);
    }
});
