//! What CONNECT costs whoever answers it, before anything is looked at: one question, one answer.

use std::io;

use tokio::net::TcpStream;

use super::message::{read, say};

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Has the request's head (RFC 9110 §9.3.6).
///
/// # Errors
/// Those of the socket; a head of more than two kilobytes.
pub async fn ask(client: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 2048];
    let whole = |read: &[u8]| {
        let end = read
            .windows(END_OF_HEAD.len())
            .position(|part| part == END_OF_HEAD)?;
        Some(end + END_OF_HEAD.len())
    };
    read(client, &mut buffer, whole).await.map(|_| ())
}

/// Says that the target is connected.
///
/// # Errors
/// Those of the socket.
pub fn agree(client: &TcpStream) -> io::Result<()> {
    say(client, b"HTTP/1.1 200 OK\r\n\r\n")
}
