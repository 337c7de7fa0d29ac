//! Dialling: from checked addresses to one connection (RFC 8305, in a small way).
//!
//! Addresses are tried in turn, the next one as soon as one fails or is slow. The first to answer is
//! the connection; the others are dropped before a byte was sent on them and are no traffic.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use base::{DialAttempt, DialResult};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};

/// How long one address has for itself before the next one is tried too (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses tried at most; an answer with more is not more likely to work.
const MAX_ADDRESSES: usize = 8;

/// Why no address answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Every address refused; the last error.
    #[error("no address answered")]
    Failed(#[source] io::Error),
    /// Time ran out first.
    #[error("no address answered in time")]
    Timeout,
}

/// Connects to one of `addresses` within `budget`. What became of each address that was tried is in
/// `attempts` at every moment, also if this is broken off.
pub(crate) async fn dial(
    addresses: &[SocketAddr],
    budget: Duration,
    attempts: &mut Vec<DialAttempt>,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    if addresses.is_empty() {
        return Err(DialError::Failed(last_error));
    }
    let deadline = Instant::now() + budget;
    if let [address] = *addresses {
        return dial_one(address, deadline, attempts).await;
    }
    let mut waiting = alternating(addresses).into_iter().take(MAX_ADDRESSES).peekable();
    let mut dialling = FuturesUnordered::new();
    loop {
        if let Some(address) = waiting.next() {
            let at = attempts.len();
            attempts.push(DialAttempt {
                address,
                result: DialResult::Abandoned,
            });
            dialling.push(async move { (connect(address).await, at) });
        }
        let more = waiting.peek().is_some();
        let wake = if more {
            deadline.min(Instant::now() + STAGGER)
        } else {
            deadline
        };
        tokio::select! {
            biased;
            Some((connected, at)) = dialling.next() => match connected {
                Ok(stream) => {
                    attempts[at].result = DialResult::Connected;
                    return Ok((stream, attempts[at].address));
                }
                Err(error) => {
                    attempts[at].result = result_of(&error);
                    last_error = error;
                    if dialling.is_empty() && !more {
                        return Err(DialError::Failed(last_error));
                    }
                }
            },
            () = sleep_until(wake) => {
                if Instant::now() >= deadline {
                    let unanswered = attempts.iter_mut();
                    for attempt in unanswered.filter(|attempt| attempt.result == DialResult::Abandoned) {
                        attempt.result = DialResult::Timeout;
                    }
                    return Err(DialError::Timeout);
                }
            }
        }
    }
}

/// Connects to the only address there is, as most connections do.
async fn dial_one(
    address: SocketAddr,
    deadline: Instant,
    attempts: &mut Vec<DialAttempt>,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let at = attempts.len();
    attempts.push(DialAttempt {
        address,
        result: DialResult::Abandoned,
    });
    match timeout_at(deadline, connect(address)).await {
        Ok(Ok(stream)) => {
            attempts[at].result = DialResult::Connected;
            Ok((stream, address))
        }
        Ok(Err(error)) => {
            attempts[at].result = result_of(&error);
            Err(DialError::Failed(error))
        }
        Err(_) => {
            attempts[at].result = DialResult::Timeout;
            Err(DialError::Timeout)
        }
    }
}

/// Connects to `address`. How it went is in the readiness, so that a connection that came about costs no
/// question.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    // Small messages must not wait for each other (RFC 896).
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => return Err(error),
        _ => {}
    }
    let stream = TcpStream::from_std(socket.into())?;
    let ready = stream.ready(Interest::WRITABLE | Interest::ERROR).await?;
    if (ready.is_error() || ready.is_write_closed())
        && let Some(error) = stream.take_error()?
    {
        return Err(error);
    }
    Ok(stream)
}

fn result_of(error: &io::Error) -> DialResult {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialResult::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => DialResult::Unreachable,
        io::ErrorKind::TimedOut => DialResult::Timeout,
        _ => DialResult::Failed,
    }
}

/// The addresses with their families taking turns, the first one's family first.
fn alternating(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (mut these, mut those): (Vec<_>, Vec<_>) = addresses
        .iter()
        .copied()
        .partition(|address| address.is_ipv4() == first_is_v4);
    these.reverse();
    those.reverse();
    let mut turns = Vec::with_capacity(addresses.len());
    while !these.is_empty() || !those.is_empty() {
        turns.extend(these.pop());
        turns.extend(those.pop());
    }
    turns
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn closed_port() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next() {
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = open.local_addr().unwrap();
        let addresses = [closed_port().await, closed_port().await, address];
        let mut attempts = Vec::new();
        let (_, dialled) = dial(&addresses, Duration::from_secs(60), &mut attempts)
            .await
            .unwrap();
        assert_eq!(dialled, address);
        let results: Vec<_> = attempts.iter().map(|attempt| attempt.result).collect();
        assert_eq!(
            results,
            [DialResult::Refused, DialResult::Refused, DialResult::Connected]
        );
        assert_eq!(attempts[2].address, address);
    }

    #[tokio::test]
    async fn when_every_address_refuses_the_failure_says_why() {
        let addresses = [closed_port().await, closed_port().await];
        let mut attempts = Vec::new();
        match dial(&addresses, Duration::from_secs(60), &mut attempts).await {
            Err(DialError::Failed(error)) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            dial(&[], Duration::from_secs(60), &mut Vec::new()).await,
            Err(DialError::Failed(_))
        ));
        assert!(
            attempts.len() == 2
                && attempts
                    .iter()
                    .all(|attempt| attempt.result == DialResult::Refused),
            "{attempts:?}"
        );
    }

    #[test]
    fn families_take_turns() {
        let parse =
            |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        assert_eq!(
            alternating(&parse(&[
                "1.1.1.1:1",
                "1.1.1.2:1",
                "1.1.1.3:1",
                "[::1]:1",
                "[::2]:1"
            ])),
            parse(&["1.1.1.1:1", "[::1]:1", "1.1.1.2:1", "[::2]:1", "1.1.1.3:1"])
        );
        assert_eq!(alternating(&[]), []);
    }
}
