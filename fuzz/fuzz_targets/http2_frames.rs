//! Outgoing HTTP/2 frames: how the bytes pass makes no difference to what is seen in them.

#![no_main]
#![allow(
    dead_code,
    unused_imports,
    reason = "the module is the gateway's own, taken whole"
)]

#[path = "../../proxy/src/http2/frames.rs"]
mod frames;

use frames::{Frames, Sent};
use libfuzzer_sys::fuzz_target;

fn found<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<(u32, Sent)> {
    let mut frames = Frames::default();
    let mut found = Vec::new();
    for piece in pieces {
        frames.pass(piece, |stream, sent| found.push((stream, sent)));
    }
    found
}

fuzz_target!(|data: &[u8]| {
    let whole = found(std::iter::once(data));
    for size in [1, 2, 7, 13] {
        assert_eq!(found(data.chunks(size)), whole);
    }
});
