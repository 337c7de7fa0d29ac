//! Handed sockets: listeners that somebody opened before this process began.
//!
//! A service manager that holds the sockets lets the process be replaced without refusing anybody:
//! whoever connects meanwhile waits in the kernel for the next one. Which socket is for what is told by
//! its address alone, so the configuration stays the one place that says where the gateway listens.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Sockets that this process was handed and nobody uses yet. Those left over are closed with it.
#[derive(Debug, Default)]
pub struct HandedSockets {
    tcp: Vec<(SocketAddr, TcpListener)>,
    unix: Vec<UnixListener>,
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
        self.unix.push(listener);
    }

    /// Takes the TCP listener at exactly this address.
    pub fn take_tcp(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let is_there = |known: &SocketAddr| (known.ip(), known.port()) == (address.ip(), address.port());
        let at = self.tcp.iter().position(|(known, _)| is_there(known))?;
        Some(self.tcp.swap_remove(at).1)
    }

    /// Takes the listener on the Unix socket at exactly this path.
    pub fn take_unix(&mut self, path: &Path) -> Option<UnixListener> {
        let is_there = |listener: &UnixListener| path_of(listener).is_some_and(|known| known == path);
        let at = self.unix.iter().position(is_there)?;
        Some(self.unix.swap_remove(at))
    }

    /// The addresses of those that are left.
    pub fn left(&self) -> Vec<String> {
        let tcp = self.tcp.iter().map(|(address, _)| address.to_string());
        let unix = self.unix.iter().map(|listener| match path_of(listener) {
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
