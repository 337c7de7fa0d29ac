//! The floor that a proxy is compared with: a relay to one fixed target that asks nothing, parses
//! nothing and records nothing.
//!
//! It moves bytes in one of two ways, because a proxy may: through a buffer of its own, or spliced
//! through a pipe, so that they never enter the process. Either is lent to whichever direction has
//! bytes in hand; an idle connection holds neither.

mod connect;
mod copy;
mod message;
mod socks5;
mod splice;

use std::io;
use std::net::SocketAddr;

use rustix::net::Shutdown;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// Buffer of each direction of a TLS relay.
const TLS_BYTES: usize = 64 * 1024;

/// How a relay moves bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moving {
    /// Read into a buffer, and written from it.
    Copy,
    /// Spliced (`splice(2)`).
    Splice,
}

/// What a client is asked before it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    Nothing,
    /// CONNECT, the head of which nobody looks at.
    Connect,
    /// SOCKS5's three questions, the answers to which nobody looks at.
    Socks5,
}

/// Relays between `client` and a new connection to `target` until both directions have ended.
///
/// With `tls` the client's side is TLS, and bytes are copied: the floor for a proxy that is reached
/// over TLS.
pub async fn serve_connection(
    client: TcpStream,
    target: SocketAddr,
    asking: Asking,
    moving: Moving,
    tls: Option<TlsAcceptor>,
) -> io::Result<()> {
    match asking {
        Asking::Nothing => {}
        Asking::Connect => connect::ask(&client).await?,
        Asking::Socks5 => socks5::ask(&client).await?,
    }
    let mut upstream = TcpStream::connect(target).await?;
    upstream.set_nodelay(true)?;
    match asking {
        Asking::Nothing => {}
        Asking::Connect => connect::agree(&client)?,
        Asking::Socks5 => socks5::agree(&client)?,
    }
    if let Some(tls) = tls {
        let mut client = tls.accept(client).await?;
        return copy_bidirectional_with_sizes(&mut client, &mut upstream, TLS_BYTES, TLS_BYTES)
            .await
            .map(|_| ());
    }
    match moving {
        Moving::Copy => tokio::try_join!(copy::pump(&client, &upstream), copy::pump(&upstream, &client)),
        Moving::Splice => {
            tokio::try_join!(splice::pump(&client, &upstream), splice::pump(&upstream, &client))
        }
    }
    .map(|_| ())
}

/// Passes the end of a direction on.
fn end(to: &TcpStream) -> io::Result<()> {
    Ok(rustix::net::shutdown(to, Shutdown::Write)?)
}
