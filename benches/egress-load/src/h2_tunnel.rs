//! Tunnels over HTTP/2 (RFC 9113 §8.5): many of them share one connection to the proxy.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Mutex;

use crate::dial::{Failure, Route};
use crate::http1::basic_credentials;

/// Tunnels that share a connection; proxies allow a hundred or more.
const TUNNELS_EACH: usize = 64;
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Queued at once by one write.
const WRITE_BYTES: usize = 64 * 1024;

thread_local! {
    /// This thread's connections. Opening one holds the lock, so that a crowd opens few.
    static CONNECTIONS: RefCell<Rc<Mutex<Vec<Shared>>>> = RefCell::default();
}

struct Shared {
    requests: SendRequest<Bytes>,
    tunnels: Rc<Cell<usize>>,
}

/// One of the tunnels of a connection, given back when it is dropped.
struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

pub struct H2Tunnel {
    out: SendStream<Bytes>,
    back: RecvStream,
    /// Received and not yet read.
    pending: Bytes,
    _place: Place,
}

/// Opens a tunnel through the proxy that `route` names.
pub async fn open(route: &Route) -> Result<H2Tunnel, Failure> {
    let (requests, place) = share(route).await?;
    let failed = Failure::at("handshake");
    let failed = |error: h2::Error| failed(io::Error::other(error));
    let mut requests = requests.ready().await.map_err(failed)?;
    let (answer, out) = requests
        .send_request(connect_request(route)?, false)
        .map_err(failed)?;
    let answer = answer.await.map_err(failed)?;
    if !answer.status().is_success() {
        let detail = format!("proxy answered {}", answer.status().as_u16());
        return Err(Failure::new("refused", detail));
    }
    Ok(H2Tunnel {
        out,
        back: answer.into_body(),
        pending: Bytes::new(),
        _place: place,
    })
}

fn connect_request(route: &Route) -> Result<Request<()>, Failure> {
    let malformed = |error: http::Error| Failure::new("handshake", error);
    let authority = Uri::builder()
        .authority(route.target.to_string())
        .build()
        .map_err(malformed)?;
    let mut request = Request::builder().method(Method::CONNECT).uri(authority);
    if let Some(credentials) = &route.credentials {
        let proof = basic_credentials(&credentials.user, &credentials.password);
        request = request.header("proxy-authorization", proof);
    }
    request.body(()).map_err(malformed)
}

/// A connection with room for one more tunnel.
async fn share(route: &Route) -> Result<(SendRequest<Bytes>, Place), Failure> {
    let connections = CONNECTIONS.with_borrow(Rc::clone);
    let mut connections = connections.lock().await;
    // A connection that has ended is known by its driver's share being gone.
    connections.retain(|shared| Rc::strong_count(&shared.tunnels) > 1);
    let free = connections
        .iter()
        .position(|shared| shared.tunnels.get() < TUNNELS_EACH);
    let index = match free {
        Some(index) => index,
        None => {
            connections.push(connect(route).await?);
            connections.len() - 1
        }
    };
    let shared = &connections[index];
    shared.tunnels.set(shared.tunnels.get() + 1);
    Ok((shared.requests.clone(), Place(Rc::clone(&shared.tunnels))))
}

async fn connect(route: &Route) -> Result<Shared, Failure> {
    let stream = route.connect_stream().await?;
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(stream)
        .await
        .map_err(|error| Failure::new("handshake", error))?;
    let tunnels = Rc::new(Cell::new(0));
    let alive = Rc::clone(&tunnels);
    tokio::task::spawn_local(async move {
        // Whatever ends the connection ends its tunnels, and they tell.
        drop(connection.await);
        drop(alive);
    });
    Ok(Shared { requests, tunnels })
}

impl Drop for H2Tunnel {
    /// Ends our direction in order; a stream that is merely dropped is reset.
    fn drop(&mut self) {
        drop(self.out.send_data(Bytes::new(), true));
    }
}

impl AsyncRead for H2Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.pending.is_empty() {
            let Some(data) = ready!(self.back.poll_data(cx)) else {
                return Poll::Ready(Ok(()));
            };
            let data = data.map_err(io::Error::other)?;
            self.back
                .flow_control()
                .release_capacity(data.len())
                .map_err(io::Error::other)?;
            self.pending = data;
        }
        let take = into.remaining().min(self.pending.len());
        into.put_slice(&self.pending[..take]);
        self.pending.advance(take);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.out.reserve_capacity(bytes.len().min(WRITE_BYTES));
        let mut room = self.out.capacity();
        while room == 0 {
            room = match ready!(self.out.poll_capacity(cx)) {
                Some(granted) => granted.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
        }
        let take = room.min(bytes.len());
        self.out
            .send_data(Bytes::copy_from_slice(&bytes[..take]), false)
            .map_err(io::Error::other)?;
        Poll::Ready(Ok(take))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = self.out.send_data(Bytes::new(), true);
        Poll::Ready(ended.map_err(io::Error::other))
    }
}
