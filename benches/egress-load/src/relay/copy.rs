//! One direction of a relay through a buffer.

use std::cell::RefCell;
use std::io;

use tokio::net::TcpStream;

use super::end;

const BUFFER_BYTES: usize = 64 * 1024;

thread_local! {
    /// Lent to whichever direction has bytes in hand, so that an idle connection holds no buffer.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_BYTES]);
}

/// Moves bytes one way until the sender is done.
pub async fn pump(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    loop {
        from.readable().await?;
        match BUFFER.with_borrow_mut(|buffer| pass_on(from, to, buffer)) {
            Ok(Passed::All) => {}
            Ok(Passed::AllBut(rest)) => write_rest(to, &rest).await?,
            Ok(Passed::End) => return end(to),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

enum Passed {
    All,
    /// The receiver is slow: these bytes have been read and not yet written.
    AllBut(Vec<u8>),
    End,
}

fn pass_on(from: &TcpStream, to: &TcpStream, buffer: &mut [u8]) -> io::Result<Passed> {
    let read = from.try_read(buffer)?;
    if read == 0 {
        return Ok(Passed::End);
    }
    let written = match to.try_write(&buffer[..read]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        result => result?,
    };
    if written == read {
        Ok(Passed::All)
    } else {
        Ok(Passed::AllBut(buffer[written..read].to_vec()))
    }
}

async fn write_rest(to: &TcpStream, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        to.writable().await?;
        match to.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
