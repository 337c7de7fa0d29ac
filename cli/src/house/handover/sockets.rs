//! Open sockets on their way from one process to another (`SCM_RIGHTS`, unix(7)).
//!
//! They go beside the stream's bytes, some at a time with one byte each, so that whoever reads the bytes
//! of a message never takes sockets for part of it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Sockets that go at once; the kernel takes at most 253.
const AT_ONCE: usize = 64;
const MARK: u8 = b's';

/// Hands over `sockets`, which stay open here too.
///
/// # Errors
/// The other side is gone, or the system refuses.
pub async fn send(stream: &UnixStream, sockets: &[OwnedFd]) -> io::Result<()> {
    for some in sockets.chunks(AT_ONCE) {
        let some: Vec<BorrowedFd<'_>> = some.iter().map(OwnedFd::as_fd).collect();
        stream
            .async_io(Interest::WRITABLE, || send_some(stream, &some))
            .await?;
    }
    Ok(())
}

fn send_some(stream: &UnixStream, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(sockets));
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(stream, &[IoSlice::new(&[MARK])], &mut control, flags)?;
    Ok(())
}

/// Takes `count` sockets.
///
/// # Errors
/// The other side is gone or sends something else, or this process may not have so many open.
pub async fn receive(stream: &UnixStream, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut sockets = Vec::with_capacity(count.min(4096));
    while sockets.len() < count {
        let due = (count - sockets.len()).min(AT_ONCE);
        let some = stream
            .async_io(Interest::READABLE, || receive_some(stream))
            .await?;
        if some.len() != due {
            let what = format!(
                "{} sockets came where {due} were announced; is the limit of open files too low?",
                some.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        sockets.extend(some);
    }
    Ok(sockets)
}

fn receive_some(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut mark = [0];
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut mark)], &mut control, flags)?;
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            sockets.extend(some);
        }
    }
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if mark != [MARK] || received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "sockets did not come over whole; is the limit of open files too low?",
        ));
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_socket_that_came_over_is_the_same_and_keeps_who_waits_there() {
        let (here, there) = UnixStream::pair().unwrap();
        let listeners: Vec<_> = (0..AT_ONCE + 3)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let waiting: Vec<_> = listeners
            .iter()
            .map(|listener| TcpStream::connect(listener.local_addr().unwrap()).unwrap())
            .collect();
        let handed: Vec<OwnedFd> = listeners.into_iter().map(OwnedFd::from).collect();
        let (sent, received) = tokio::join!(send(&here, &handed), receive(&there, handed.len()));
        sent.unwrap();
        drop(handed);
        for (socket, client) in received.unwrap().into_iter().zip(waiting) {
            let (_, from) = TcpListener::from(socket).accept().unwrap();
            assert_eq!(from, client.local_addr().unwrap());
        }
    }

    /// A socket to hand over, and one that hears the end once nobody has that any more.
    fn watched() -> (OwnedFd, std::os::unix::net::UnixStream) {
        let (handed, watch) = std::os::unix::net::UnixStream::pair().unwrap();
        watch
            .set_read_timeout(Some(std::time::Duration::from_secs(60)))
            .unwrap();
        (handed.into(), watch)
    }

    fn is_closed_everywhere(mut watch: std::os::unix::net::UnixStream) -> bool {
        matches!(std::io::Read::read(&mut watch, &mut [0]), Ok(0))
    }

    #[tokio::test]
    async fn of_sockets_that_do_not_come_as_announced_none_stays_open() {
        // Announced, sent; more than the announced ones may be more than there is room for.
        for (announced, sent) in [(2, 3), (3, 2), (1, AT_ONCE), (AT_ONCE, AT_ONCE + 40), (1, 0)] {
            let (here, there) = UnixStream::pair().unwrap();
            let (handed, watches): (Vec<_>, Vec<_>) = (0..sent).map(|_| watched()).unzip();
            let borrowed: Vec<_> = handed.iter().map(OwnedFd::as_fd).collect();
            let mut space = vec![MaybeUninit::uninit(); cmsg_space!(ScmRights(253))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&borrowed));
            sendmsg(&here, &[IoSlice::new(&[MARK])], &mut control, SendFlags::NOSIGNAL).unwrap();
            drop(borrowed);
            drop(handed);
            let received = receive(&there, announced).await;
            assert!(received.is_err(), "{announced} announced, {sent} sent");
            for watch in watches {
                assert!(is_closed_everywhere(watch), "{announced} announced, {sent} sent");
            }
        }
    }

    #[tokio::test]
    async fn sockets_beside_a_message_are_closed_as_it_is_read() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let (handed, watch) = watched();
        let message = super::super::frame::encode(&"said").unwrap();
        let borrowed = [handed.as_fd()];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&borrowed));
        sendmsg(
            &here,
            &[IoSlice::new(&message)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
        .unwrap();
        drop(handed);
        let read: Option<String> = super::super::link::receive(&mut there).await.unwrap();
        assert_eq!(read.as_deref(), Some("said"));
        assert!(is_closed_everywhere(watch));
    }

    #[tokio::test]
    async fn what_is_no_socket_is_not_taken_for_one() {
        let (mut here, there) = UnixStream::pair().unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut here, b"s")
            .await
            .unwrap();
        assert!(receive(&there, 1).await.is_err());
        drop(here);
        let error = receive(&there, 1).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
