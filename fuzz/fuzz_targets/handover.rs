//! Messages of a take-over: whatever is read can be said again and is read as the same, no beginning of a
//! message is one, and what two versions agree on both speak.

#![no_main]
#![allow(dead_code, reason = "the modules are the house's own, taken whole")]

#[path = "../../cli/src/house/handover/frame.rs"]
mod frame;
#[path = "../../cli/src/house/handover/message.rs"]
mod message;

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use message::{FromPredecessor, FromSuccessor, VERSION, common_version};
use serde::Serialize;
use serde::de::DeserializeOwned;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    // One after the other, as they come over a link; the first that is not understood ends it.
    while let Some((head, after)) = rest.split_first_chunk() {
        let Ok(length) = frame::length(*head) else {
            return;
        };
        if after.len() < length {
            return;
        }
        let (body, next) = after.split_at(length);
        let said = steady::<FromSuccessor>(body);
        let answered = steady::<FromPredecessor>(body);
        if let Some(FromSuccessor::Hello(hello)) = &said
            && let Some(version) = common_version(hello.oldest, hello.newest)
        {
            assert!(version <= VERSION && (hello.oldest..=hello.newest).contains(&version));
        }
        if said.is_none() && answered.is_none() {
            return;
        }
        rest = next;
    }
});

/// Reads one message, and holds it against what it is when it is said again.
fn steady<M: Serialize + DeserializeOwned + PartialEq + Debug>(body: &[u8]) -> Option<M> {
    let message: M = frame::decode(body).ok()?;
    let again = frame::encode(&message).expect("what came in a message fits one");
    let (head, said) = again.split_at(frame::HEAD);
    let length = frame::length(head.try_into().expect("four bytes")).expect("our own length");
    assert_eq!(length, said.len());
    assert_eq!(frame::decode::<M>(said).expect("our own message"), message);
    for cut in [0, 1, said.len() / 2, said.len().saturating_sub(1)] {
        assert!(
            frame::decode::<M>(&said[..cut]).is_err(),
            "{message:?} cut at {cut}"
        );
    }
    Some(message)
}
