//! SOCKS5 messages: half a message is waited for, a whole one says the same whatever follows it, and
//! the type of an address alone decides what it is.

#![no_main]
#![allow(
    dead_code,
    unused_imports,
    reason = "the module is the gateway's own, taken whole"
)]

#[path = "../../proxy/src/socks5/messages.rs"]
mod messages;

use std::fmt::Debug;

use base::Host;
use libfuzzer_sys::fuzz_target;
use messages::{Malformed, Message, ask, greeting, user_and_password};

fuzz_target!(|data: &[u8]| {
    steady(data, greeting);
    steady(data, user_and_password);
    let Some((ask, length)) = steady(data, ask) else {
        return;
    };
    let Ok(target) = ask.target else {
        return;
    };
    let sent = &data[4..length - 2];
    assert_eq!(target.port.get().to_be_bytes(), data[length - 2..length]);
    match (data[3], &target.host) {
        (1, Host::Ip(ip)) => assert_eq!(ip.to_string().as_bytes(), ask.raw_host),
        (4, Host::Ip(ip)) => assert_eq!(*ip, ip.to_canonical()),
        // What comes as a name is read as the host of a CONNECT is.
        (3, host) => {
            assert_eq!(ask.raw_host, sent[1..]);
            let written = [&ask.raw_host, &b":1"[..]].concat();
            let read = base::Target::from_authority(&written);
            assert_eq!(read.map(|target| target.host).as_ref(), Ok(host));
        }
        other => panic!("{other:?}"),
    }
});

/// Reads one message, and holds every beginning of the bytes, and the message alone, against that.
fn steady<T: Debug + PartialEq>(data: &[u8], read: fn(&[u8]) -> Message<T>) -> Option<(T, usize)> {
    let whole = read(data);
    for end in 0..data.len().min(600) {
        let part = read(&data[..end]);
        assert!(
            part == Ok(None) || message(&part) == message(&whole),
            "{part:?}, {whole:?}"
        );
    }
    let (_, length) = whole.as_ref().ok()?.as_ref()?;
    assert_eq!(read(&data[..*length]), whole);
    whole.ok()?
}

/// What was read, without its length: an address of a type that nobody defined has all there is.
fn message<T>(read: &Message<T>) -> Result<Option<&T>, Malformed> {
    match read {
        Ok(found) => Ok(found.as_ref().map(|(message, _)| message)),
        Err(malformed) => Err(*malformed),
    }
}
