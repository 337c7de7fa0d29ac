//! What a relay that asks reads and says, as cheaply as it can be done.

use std::io;

use tokio::net::TcpStream;

/// One message, the length of which `whole` tells from its beginning.
///
/// # Errors
/// Those of the socket; a message that ends early or is longer than `buffer`.
pub async fn read<'b>(
    client: &TcpStream,
    buffer: &'b mut [u8],
    whole: impl Fn(&[u8]) -> Option<usize>,
) -> io::Result<&'b [u8]> {
    let mut have = 0;
    loop {
        client.readable().await?;
        match client.try_read(&mut buffer[have..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        match whole(&buffer[..have]) {
            Some(length) if length <= have => return Ok(&buffer[..have]),
            _ if have == buffer.len() => return Err(io::ErrorKind::InvalidData.into()),
            _ => {}
        }
    }
}

/// Says `answer`: a few bytes always find room in a fresh socket.
///
/// # Errors
/// Those of the socket.
pub fn say(client: &TcpStream, answer: &[u8]) -> io::Result<()> {
    if client.try_write(answer)? == answer.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}
