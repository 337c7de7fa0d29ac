//! One direction of a relay through a pipe.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::end;

/// What a pipe is asked to hold. The system may allow less, which is only slower.
const PIPE_BYTES: usize = 256 * 1024;

thread_local! {
    /// Empty pipes, for whichever direction has bytes in hand.
    static IDLE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Pipe {
    fn take() -> io::Result<Self> {
        if let Some(pipe) = IDLE.with_borrow_mut(Vec::pop) {
            return Ok(pipe);
        }
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        let _ = fcntl_setpipe_size(&writer, PIPE_BYTES);
        Ok(Self { reader, writer })
    }

    /// Only an empty pipe may be given back; one with bytes in it is dropped.
    fn give_back(self) {
        IDLE.with_borrow_mut(|idle| idle.push(self));
    }
}

/// Moves bytes one way until the sender is done.
pub async fn pump(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    loop {
        from.readable().await?;
        let pipe = Pipe::take()?;
        // A pipe that is dropped on an error takes what it held with it.
        match from.try_io(Interest::READABLE, || pass(from, &pipe.writer)) {
            Ok(0) => {
                pipe.give_back();
                return end(to);
            }
            Ok(inside) => drain(&pipe, inside, to).await?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        pipe.give_back();
    }
}

async fn drain(pipe: &Pipe, mut inside: usize, to: &TcpStream) -> io::Result<()> {
    while inside > 0 {
        match to.try_io(Interest::WRITABLE, || pass(&pipe.reader, to)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(passed) => inside -= passed,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn pass(from: impl std::os::fd::AsFd, to: impl std::os::fd::AsFd) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(splice(from, None, to, None, PIPE_BYTES, flags)?)
}
