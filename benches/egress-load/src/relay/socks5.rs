//! What SOCKS5 costs whoever answers it, before anything is looked at: three questions, three answers.

use std::io;

use tokio::net::TcpStream;

use super::message::{read, say};

const VERSION: u8 = 5;
const USER_AND_PASSWORD: u8 = 2;

/// Has the greeting, the name and password and the request, and answers all but the last.
///
/// # Errors
/// Those of the socket; a client that does not offer a user and a password.
pub async fn ask(client: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    // RFC 1928 §3: the version, how many methods, the methods.
    let greeting = read(client, &mut buffer, |read| Some(2 + usize::from(*read.get(1)?))).await?;
    if !greeting.contains(&USER_AND_PASSWORD) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    say(client, &[VERSION, USER_AND_PASSWORD])?;
    // RFC 1929 §2: the version, a user and a password, each with its length before it.
    read(client, &mut buffer, |read| {
        let user = 2 + usize::from(*read.get(1)?);
        Some(user + 1 + usize::from(*read.get(user)?))
    })
    .await?;
    say(client, &[1, 0])?;
    // RFC 1928 §4: four bytes, an address of its kind's length, a port.
    read(client, &mut buffer, |read| {
        Some(match read.get(3)? {
            1 => 4 + 4 + 2,
            4 => 4 + 16 + 2,
            _ => 4 + 1 + usize::from(*read.get(4)?) + 2,
        })
    })
    .await?;
    Ok(())
}

/// Says that the target is connected (RFC 1928 §6).
///
/// # Errors
/// Those of the socket.
pub fn agree(client: &TcpStream) -> io::Result<()> {
    say(client, &[VERSION, 0, 0, 1, 0, 0, 0, 0, 0, 0])
}
