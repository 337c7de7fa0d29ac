//! Handed sockets: listeners that somebody opened before this process began.
//!
//! A service manager that holds the sockets lets the process be replaced without refusing anybody:
//! whoever connects meanwhile waits in the kernel for the next one. A process that leaves hands its sockets
//! to its successor, and those are the same open sockets, so nobody even waits. Which socket is for what is
//! told by its address, so the configuration stays the one place that says where the gateway listens; where
//! that leaves the port to the system, a predecessor's word of what it used the socket for decides.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::listen_address::ListenAddress;

/// Sockets that this process was handed and nobody uses yet. Those left over are closed with it.
#[derive(Debug, Default)]
pub struct HandedSockets {
    tcp: Vec<HandedTcp>,
    unix: Vec<HandedUnix>,
    predecessor: Option<String>,
}

/// Whom a TCP listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Clients that speak in the clear.
    Clients,
    /// Clients that speak TLS before anything else.
    TlsClients,
    /// Whoever asks for health and metrics.
    Admin,
    /// Whoever speaks to the control plane.
    Control,
}

/// A TCP listener that somebody else opened.
#[derive(Debug)]
struct HandedTcp {
    address: SocketAddr,
    /// What it was used for, where somebody said so.
    purpose: Option<Purpose>,
    listener: TcpListener,
}

impl HandedTcp {
    /// Whether it is the listener at `address` for `purpose`. A port is one socket, whatever it is used
    /// for now; port 0 is as many as one likes.
    fn is_for(&self, address: SocketAddr, purpose: Purpose) -> bool {
        (self.address.ip(), self.address.port()) == (address.ip(), address.port())
            && (address.port() != 0 || self.purpose.is_none_or(|own| own == purpose))
    }
}

impl Purpose {
    /// Its name between processes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::TlsClients => "tls_clients",
            Self::Admin => "admin",
            Self::Control => "control",
        }
    }

    /// The purpose of this name, if this program knows it.
    pub fn named(name: &str) -> Option<Self> {
        let known = [Self::Clients, Self::TlsClients, Self::Admin, Self::Control];
        known.into_iter().find(|purpose| purpose.as_str() == name)
    }
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
        self.tcp.push(HandedTcp {
            address: listener.local_addr()?,
            purpose: None,
            listener,
        });
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

    /// Adds a socket of a predecessor's, as [`crate::OpenSocket`] says it. Those of one purpose come in
    /// the order of the settings.
    pub fn add(
        &mut self,
        address: &ListenAddress,
        purpose: Option<Purpose>,
        socket: OwnedFd,
        has_file: bool,
    ) {
        match address {
            // Where port 0 was asked for, the successor's configuration asks for it too.
            ListenAddress::Tcp(address) | ListenAddress::Tls(address) => self.tcp.push(HandedTcp {
                address: *address,
                purpose,
                listener: socket.into(),
            }),
            ListenAddress::Unix(path) => self.unix.push(HandedUnix {
                listener: socket.into(),
                path: Some(path.clone()),
                has_file,
            }),
        }
    }

    /// Takes the TCP listener at exactly this address. Of several that were left to the system (port 0)
    /// it is the first for this purpose.
    pub fn take_tcp(&mut self, address: SocketAddr, purpose: Purpose) -> Option<TcpListener> {
        let at = self
            .tcp
            .iter()
            .position(|handed| handed.is_for(address, purpose))?;
        // The others stay in their order.
        Some(self.tcp.remove(at).listener)
    }

    /// Takes the listener on the Unix socket at exactly this path.
    pub(crate) fn take_unix(&mut self, path: &Path) -> Option<HandedUnix> {
        let is_there = |handed: &HandedUnix| handed.path.as_deref().is_some_and(|known| known == path);
        let at = self.unix.iter().position(is_there)?;
        Some(self.unix.swap_remove(at))
    }

    /// The addresses of those that are left.
    pub fn left(&self) -> Vec<String> {
        let tcp = self.tcp.iter().map(|handed| handed.address.to_string());
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
                .take_tcp(
                    SocketAddr::from(([127, 0, 0, 2], address.port())),
                    Purpose::Clients
                )
                .is_none()
        );
        assert!(handed.take_unix(&folder.path().join("other")).is_none());
        let left = [address.to_string(), format!("unix:{}", path.display())];
        assert_eq!(handed.left(), left);
        assert!(handed.take_tcp(address, Purpose::Clients).is_some());
        assert!(handed.take_tcp(address, Purpose::Clients).is_none());
        assert!(handed.take_unix(&path).is_some());
        assert!(handed.left().is_empty());
    }

    /// Listeners that were all asked for at port 0, as a predecessor hands them over, and where they are.
    fn at_port_0(purposes: &[Option<Purpose>]) -> (HandedSockets, Vec<SocketAddr>) {
        let any = ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut handed = HandedSockets::default();
        let places = purposes.iter().map(|purpose| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let place = listener.local_addr().unwrap();
            handed.add(&any, *purpose, listener.into(), false);
            place
        });
        let places = places.collect();
        (handed, places)
    }

    #[test]
    fn of_several_at_port_0_each_is_taken_for_what_it_was() {
        use Purpose::{Admin, Clients, Control, TlsClients};
        let (mut handed, places) =
            at_port_0(&[Clients, TlsClients, Clients, Admin, Clients, Control].map(Some));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        for (purpose, expected) in [
            (Control, 5),
            (Clients, 0),
            (Clients, 2),
            (TlsClients, 1),
            (Clients, 4),
            (Admin, 3),
        ] {
            let taken = handed.take_tcp(any, purpose).unwrap();
            assert_eq!(taken.local_addr().unwrap(), places[expected], "{purpose:?}");
        }
        assert!(handed.left().is_empty());
    }

    #[test]
    fn one_at_port_0_is_not_taken_for_something_else_unless_nobody_said_what_it_was() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (mut said, _) = at_port_0(&[Some(Purpose::Admin)]);
        assert!(said.take_tcp(any, Purpose::Control).is_none());
        let (mut unsaid, places) = at_port_0(&[None]);
        let taken = unsaid.take_tcp(any, Purpose::Control).unwrap();
        assert_eq!(taken.local_addr().unwrap(), places[0]);
    }

    #[test]
    fn a_port_that_now_speaks_tls_is_the_same_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut handed = HandedSockets::default();
        handed.add(
            &ListenAddress::Tcp(address),
            Some(Purpose::Clients),
            listener.into(),
            false,
        );
        assert!(handed.take_tcp(address, Purpose::TlsClients).is_some());
    }

    #[test]
    fn purposes_have_names_of_their_own() {
        use Purpose::{Admin, Clients, Control, TlsClients};
        for purpose in [Clients, TlsClients, Admin, Control] {
            assert_eq!(Purpose::named(purpose.as_str()), Some(purpose));
        }
        assert_eq!(Purpose::named("anything"), None);
    }
}
