//! ClientHellos: an answer other than "more" stays the same however many bytes follow.

#![no_main]
#![allow(dead_code, reason = "the module is the gateway's own, taken whole")]

#[path = "../../proxy/src/client_hello.rs"]
mod client_hello;

use client_hello::{Hello, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = read(data);
    for end in 0..data.len().min(600) {
        let part = read(&data[..end]);
        assert!(part == Hello::More || part == whole);
    }
});
