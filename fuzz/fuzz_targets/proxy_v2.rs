//! PROXY protocol headers: half a header is waited for, a whole one says the same whatever follows it,
//! and a source is never an IPv4 address in the clothes of IPv6.

#![no_main]
#![allow(dead_code, reason = "the module is the gateway's own, taken whole")]

#[path = "../../proxy/src/proxy_header.rs"]
mod proxy_header;

use libfuzzer_sys::fuzz_target;
use proxy_header::{Origin, Preface, preface, read};

fuzz_target!(|data: &[u8]| {
    let begins = preface(data);
    for end in 0..data.len().min(32) {
        let part = preface(&data[..end]);
        assert!(part == Preface::More || part == begins);
    }
    if begins != Preface::Header {
        return;
    }
    let whole = read(data);
    for end in 12..data.len().min(600) {
        let part = read(&data[..end]);
        assert!(part == Ok(None) || part == whole);
    }
    if let Ok(Some((origin, length))) = whole {
        assert!(length <= data.len());
        assert_eq!(read(&data[..length]), whole);
        if let Origin::Network(source) = origin {
            assert_eq!(source.ip(), source.ip().to_canonical());
        }
    }
});
