//! What name lookups travel on, so that a cut-off answer can be told from a broken server.
//!
//! The resolver asks over UDP, and over TCP only where an answer did not fit. Where that second way
//! is closed, all it says is that a connection failed. Marked here, the failure keeps its meaning:
//! there was an answer, and the whole of it could not be had.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use hickory_resolver::net::runtime::{RuntimeProvider, TokioRuntimeProvider};

/// The sockets of the resolver.
#[derive(Clone, Default)]
pub(crate) struct NameTransport(TokioRuntimeProvider);

/// An answer was cut off, and the rest could not be fetched.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut off, and the whole of it could not be fetched")]
struct CutOff(#[source] io::Error);

/// Whether this is a cut-off answer.
pub(crate) fn is_cut_off(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<CutOff>())
}

impl RuntimeProvider for NameTransport {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = <TokioRuntimeProvider as RuntimeProvider>::Udp;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.0.create_handle()
    }

    fn connect_tcp(
        &self,
        server_addr: SocketAddr,
        bind_addr: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = Result<Self::Tcp, io::Error>>>> {
        let connecting = self.0.connect_tcp(server_addr, bind_addr, timeout);
        Box::pin(async move { connecting.await.map_err(|error| io::Error::other(CutOff(error))) })
    }

    fn bind_udp(
        &self,
        local_addr: SocketAddr,
        server_addr: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = Result<Self::Udp, io::Error>>>> {
        self.0.bind_udp(local_addr, server_addr)
    }
}
