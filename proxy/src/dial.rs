//! Dialling: from checked addresses to one connection (RFC 8305, in a small way).
//!
//! Addresses are tried in turn, the next one as soon as one fails or is slow. The first to answer is
//! the connection; the others are dropped before a byte was sent on them and are no traffic.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

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

/// Connects to one of `addresses` within `budget`.
pub(crate) async fn dial(
    addresses: &[SocketAddr],
    budget: Duration,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    if addresses.is_empty() {
        return Err(DialError::Failed(last_error));
    }
    let deadline = Instant::now() + budget;
    let mut waiting = alternating(addresses).into_iter().take(MAX_ADDRESSES).peekable();
    let mut dialling = FuturesUnordered::new();
    loop {
        if let Some(address) = waiting.next() {
            dialling.push(async move { (TcpStream::connect(address).await, address) });
        }
        let more = waiting.peek().is_some();
        let wake = if more {
            deadline.min(Instant::now() + STAGGER)
        } else {
            deadline
        };
        tokio::select! {
            biased;
            Some((connected, address)) = dialling.next() => match connected {
                Ok(stream) => return Ok((stream, address)),
                Err(error) => {
                    last_error = error;
                    if dialling.is_empty() && !more {
                        return Err(DialError::Failed(last_error));
                    }
                }
            },
            () = sleep_until(wake) => {
                if Instant::now() >= deadline {
                    return Err(DialError::Timeout);
                }
            }
        }
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
        let (_, dialled) = dial(&addresses, Duration::from_secs(60)).await.unwrap();
        assert_eq!(dialled, address);
    }

    #[tokio::test]
    async fn when_every_address_refuses_the_failure_says_why() {
        let addresses = [closed_port().await, closed_port().await];
        match dial(&addresses, Duration::from_secs(60)).await {
            Err(DialError::Failed(error)) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            dial(&[], Duration::from_secs(60)).await,
            Err(DialError::Failed(_))
        ));
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
