//! Chunked bodies: how the bytes arrive makes no difference to where the body ends.

#![no_main]
#![allow(dead_code, reason = "the modules are the gateway's own, taken whole")]

#[path = "../../proxy/src/framing.rs"]
mod framing;
#[path = "../../proxy/src/head.rs"]
mod head;

use framing::Framing;
use libfuzzer_sys::fuzz_target;

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<(usize, bool)> {
    let mut framing = Framing::chunked();
    let mut taken = 0;
    for piece in pieces {
        taken += framing.take(piece).ok()?;
        if framing.is_done() {
            break;
        }
    }
    Some((taken, framing.is_done()))
}

fuzz_target!(|data: &[u8]| {
    assert_eq!(read(data.chunks(1)), read(std::iter::once(data)));
});
