//! Request heads: how the bytes arrive makes no difference to what is read.

#![no_main]
#![allow(
    dead_code,
    unused_imports,
    reason = "the module is the gateway's own, taken whole"
)]

#[path = "../../proxy/src/head.rs"]
mod head;

use bytes::BytesMut;
use head::{Head, HeadError, HeadLimits, HeadScan};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 512,
    headers: 16,
};

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Option<(Head, usize)>, HeadError> {
    let (mut buffer, mut scan) = (BytesMut::new(), HeadScan::default());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if let Some(length) = scan.scan(&buffer, LIMITS)? {
            return Head::split_from(&mut buffer, length, LIMITS).map(|head| Some((head, length)));
        }
    }
    Ok(None)
}

fuzz_target!(|data: &[u8]| {
    let whole = read(std::iter::once(data));
    assert_eq!(read(data.chunks(1)), whole);
    let _ = head::target_of_broken_head(data);
    if let Ok(Some((head, _))) = whole {
        let _ = (
            head.method(),
            head.target(),
            head.version(),
            head.fields().count(),
        );
        let _ = head.list("connection").count();
    }
});
