//! Exhaustion: the gateway itself is out of something, and no destination is to blame.
//!
//! A client that is told "no address answered" looks for the mistake at the other end. Out of
//! descriptors, local ports or memory, the gateway says so, counts it, and goes on as soon as there is
//! some again.

use std::io;

use rustix::io::Errno;

/// What the gateway is out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// Descriptors, of this process or of the whole machine.
    Files,
    /// A local address and port to connect from. The kernel does not say which of both.
    LocalAddresses,
    /// Memory of the kernel.
    Memory,
}

impl Exhausted {
    /// What the gateway is out of, if that is why `error` came about.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        match Errno::from_io_error(error)? {
            Errno::MFILE | Errno::NFILE => Some(Self::Files),
            Errno::ADDRNOTAVAIL => Some(Self::LocalAddresses),
            Errno::NOBUFS | Errno::NOMEM => Some(Self::Memory),
            _ => None,
        }
    }

    /// Its name among the metrics.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::LocalAddresses => "local_addresses",
            Self::Memory => "memory",
        }
    }

    /// What is missing, for people.
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Files => "no descriptor left for this connection",
            Self::LocalAddresses => "no local address and port left to connect from",
            Self::Memory => "no memory left for this connection",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_gateway_lacks_is_told_from_what_a_destination_does() {
        for (errno, exhausted) in [
            (Errno::MFILE, Some(Exhausted::Files)),
            (Errno::NFILE, Some(Exhausted::Files)),
            (Errno::ADDRNOTAVAIL, Some(Exhausted::LocalAddresses)),
            (Errno::NOBUFS, Some(Exhausted::Memory)),
            (Errno::CONNREFUSED, None),
            (Errno::NETUNREACH, None),
        ] {
            assert_eq!(Exhausted::of(&io::Error::from(errno)), exhausted, "{errno}");
        }
        // Said by us and not by the kernel: there was no address to try.
        let ours = io::Error::from(io::ErrorKind::AddrNotAvailable);
        assert_eq!(Exhausted::of(&ours), None);
    }
}
