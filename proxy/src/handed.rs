//! Handed sockets: listeners that somebody opened before this process began.
//!
//! A service manager that holds the sockets lets the process be replaced without refusing anybody:
//! whoever connects meanwhile waits in the kernel for the next one. A process that leaves hands its sockets
//! to its successor, and those are the same open sockets, so nobody even waits. Which socket is for what is
//! told by its address alone, so the configuration stays the one place that says where the gateway listens.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::listen_address::ListenAddress;

/// Sockets that this process was handed and nobody uses yet. Those left over are closed with it.
#[derive(Debug, Default)]
pub struct HandedSockets {
    tcp: Vec<(SocketAddr, TcpListener)>,
    unix: Vec<HandedUnix>,
    predecessor: Option<String>,
}

/// A listener on a Unix socket that somebody else opened.
#[derive(Debug)]
pub(crate) struct HandedUnix {
    pub(crate) listener: UnixListener,
    path: Option<PathBuf>,
    /// Whether the file goes with the listener, once whoever opened it has gone.
    pub(crate) has_file: bool,
}

impl HandedSockets {
    /// Adds a TCP listener.
    ///
    /// # Errors
    /// The system does not say where it listens.
    pub fn add_tcp(&mut self, listener: TcpListener) -> io::Result<()> {
        self.tcp.push((listener.local_addr()?, listener));
        Ok(())
    }

    /// Adds a listener on a Unix socket.
    pub fn add_unix(&mut self, listener: UnixListener) {
        self.unix.push(HandedUnix {
            path: path_of(&listener),
            listener,
            has_file: false,
        });
    }

    /// Says that these are the sockets of another gateway with the same log, whose session has this
    /// name, and whose connections go on beside ours.
    pub fn follow(&mut self, session: &str) {
        self.predecessor = Some(session.to_owned());
    }

    /// The session that goes on beside this process's.
    pub fn predecessor(&self) -> Option<&str> {
        self.predecessor.as_deref()
    }

    /// Adds a socket of a predecessor's, as [`crate::OpenSocket`] says it.
    pub fn add(&mut self, address: &ListenAddress, socket: OwnedFd, has_file: bool) {
        match address {
            // Where port 0 was asked for, the successor's configuration asks for it too.
            ListenAddress::Tcp(address) | ListenAddress::Tls(address) => {
                self.tcp.push((*address, socket.into()));
            }
            ListenAddress::Unix(path) => self.unix.push(HandedUnix {
                listener: socket.into(),
                path: Some(path.clone()),
                has_file,
            }),
        }
    }

    /// Takes the TCP listener at exactly this address.
    pub fn take_tcp(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let is_there = |known: &SocketAddr| (known.ip(), known.port()) == (address.ip(), address.port());
        let at = self.tcp.iter().position(|(known, _)| is_there(known))?;
        Some(self.tcp.swap_remove(at).1)
    }

    /// Takes the listener on the Unix socket at exactly this path.
    pub(crate) fn take_unix(&mut self, path: &Path) -> Option<HandedUnix> {
        let is_there = |handed: &HandedUnix| handed.path.as_deref().is_some_and(|known| known == path);
        let at = self.unix.iter().position(is_there)?;
        Some(self.unix.swap_remove(at))
    }

    /// The addresses of those that are left.
    pub fn left(&self) -> Vec<String> {
        let tcp = self.tcp.iter().map(|(address, _)| address.to_string());
        let unix = self.unix.iter().map(|handed| match &handed.path {
            Some(path) => format!("unix:{}", path.display()),
            None => "unix socket without a path".to_owned(),
        });
        tcp.chain(unix).collect()
    }
}

fn path_of(listener: &UnixListener) -> Option<std::path::PathBuf> {
    let address = listener.local_addr().ok()?;
    address.as_pathname().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_taken_once_and_by_its_own_address_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let mut handed = HandedSockets::default();
        handed.add_tcp(tcp).unwrap();
        handed.add_unix(UnixListener::bind(&path).unwrap());
        assert!(
            handed
                .take_tcp(SocketAddr::from(([127, 0, 0, 2], address.port())))
                .is_none()
        );
        assert!(handed.take_unix(&folder.path().join("other")).is_none());
        let left = [address.to_string(), format!("unix:{}", path.display())];
        assert_eq!(handed.left(), left);
        assert!(handed.take_tcp(address).is_some() && handed.take_tcp(address).is_none());
        assert!(handed.take_unix(&path).is_some());
        assert!(handed.left().is_empty());
    }
}
