//! The frame of a message: its length in four bytes, most significant first, and then the message.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes that say how long a message is.
pub const HEAD: usize = 4;
/// A longer message is none of ours. The list of sockets is the longest.
const MAX_BYTES: u32 = 4 << 20;

/// A message in its frame.
///
/// # Errors
/// It is longer than any that is read.
pub fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; HEAD];
    serde_json::to_writer(&mut bytes, message)?;
    let length = u32::try_from(bytes.len() - HEAD).ok();
    let length = length
        .filter(|length| *length <= MAX_BYTES)
        .ok_or_else(too_long)?;
    bytes[..HEAD].copy_from_slice(&length.to_be_bytes());
    Ok(bytes)
}

/// How many bytes of a message follow these.
///
/// # Errors
/// More than any of ours has.
pub fn length(head: [u8; HEAD]) -> io::Result<usize> {
    let length = u32::from_be_bytes(head);
    if length > MAX_BYTES {
        return Err(too_long());
    }
    Ok(usize::try_from(length).expect("four bytes fit"))
}

/// The message in these bytes.
///
/// # Errors
/// They are none that this program understands.
pub fn decode<M: DeserializeOwned>(body: &[u8]) -> io::Result<M> {
    Ok(serde_json::from_slice(body)?)
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the message is too long")
}
