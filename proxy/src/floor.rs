//! The floor: addresses that no connection reaches, whatever tier, manifest or mode says.
//!
//! A gateway stands where a plugin does not: it can reach the loopback of its own host, the cloud's
//! metadata service and the company's network. Lending that position to a plugin would be worse
//! than having no gateway. The check is made on the address that is then dialled, not on a name.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use base::{AddressClass, canonical_ip, classify};
use ipnet::IpNet;
use parking_lot::RwLock;

/// What is below the floor of one gateway.
#[derive(Debug)]
pub struct Floor {
    /// The installation's own listeners, which nothing lifts: whoever reached one through the gateway
    /// would be taken for the gateway's neighbour, or for the run whose listener it is.
    own: RwLock<Vec<SocketAddr>>,
    lifted: RwLock<Vec<IpNet>>,
}

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BelowFloor {
    /// One of the installation's own listeners.
    #[error("it is this gateway's own address")]
    Own,
    /// An address of a class that only an operator opens, or nobody.
    #[error("it is a {0} address, which the operator has not opened")]
    Class(AddressClass),
}

impl Floor {
    /// The floor of a gateway with these listeners of its own, and these ranges lifted.
    pub const fn new(own: Vec<SocketAddr>, lifted: Vec<IpNet>) -> Self {
        Self {
            own: RwLock::new(own),
            lifted: RwLock::new(lifted),
        }
    }

    /// Lifts these ranges from now on, and no others.
    pub(crate) fn set_lifted(&self, lifted: Vec<IpNet>) {
        *self.lifted.write() = lifted;
    }

    /// Puts a listener below the floor. Do so before anybody can know its address.
    pub(crate) fn add_own(&self, address: SocketAddr) {
        self.own.write().push(address);
    }

    /// Forgets a listener that is closed.
    pub(crate) fn remove_own(&self, address: SocketAddr) {
        let mut own = self.own.write();
        if let Some(at) = own.iter().position(|known| *known == address) {
            own.swap_remove(at);
        }
    }

    /// Whether `address` is one of the installation's own listeners.
    pub(crate) fn is_own(&self, address: SocketAddr) -> bool {
        let ip = canonical_ip(address.ip());
        self.own
            .read()
            .iter()
            .any(|own| is_same_listener(*own, ip, address.port()))
    }

    /// Whether `address` may be dialled.
    ///
    /// # Errors
    /// [`BelowFloor`]: why not.
    pub fn check(&self, address: SocketAddr) -> Result<(), BelowFloor> {
        if self.is_own(address) {
            return Err(BelowFloor::Own);
        }
        let ip = canonical_ip(address.ip());
        let class = classify(ip);
        match class {
            AddressClass::Public => Ok(()),
            AddressClass::Loopback | AddressClass::LinkLocal | AddressClass::Private
                if self.lifted.read().iter().any(|network| network.contains(&ip)) =>
            {
                Ok(())
            }
            // Metadata services hand out the host's own credentials: no CIDR lifts that.
            _ => Err(BelowFloor::Class(class)),
        }
    }
}

fn is_same_listener(own: SocketAddr, ip: IpAddr, port: u16) -> bool {
    let own_ip = canonical_ip(own.ip());
    own.port() == port && (own_ip == ip || own_ip.is_unspecified() && is_local(ip))
}

/// Whether this host has `ip`: a listener on every address is reached through each of them. Asked of
/// the kernel, and only when the port is one of ours.
fn is_local(ip: IpAddr) -> bool {
    ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(floor: &Floor, address: &str) -> Result<(), BelowFloor> {
        floor.check(address.parse().unwrap())
    }

    #[test]
    fn the_floor_refuses_every_class_but_public() {
        let floor = Floor::new(vec![], vec![]);
        assert_eq!(check(&floor, "8.8.8.8:443"), Ok(()));
        for (address, class) in [
            ("127.0.0.1:80", AddressClass::Loopback),
            ("[::1]:80", AddressClass::Loopback),
            ("[::ffff:127.0.0.1]:80", AddressClass::Loopback),
            ("[64:ff9b::7f00:1]:80", AddressClass::Loopback),
            ("169.254.169.254:80", AddressClass::Metadata),
            ("169.254.1.1:80", AddressClass::LinkLocal),
            ("10.1.2.3:80", AddressClass::Private),
            ("0.0.0.0:80", AddressClass::Unspecified),
            ("224.0.0.1:80", AddressClass::Multicast),
            ("192.0.2.1:80", AddressClass::Reserved),
        ] {
            assert_eq!(check(&floor, address), Err(BelowFloor::Class(class)), "{address}");
        }
    }

    #[test]
    fn an_operator_lifts_private_ranges_and_nothing_worse() {
        let lifted = ["127.0.0.0/8", "10.0.0.0/8", "169.254.0.0/16", "0.0.0.0/0"];
        let floor = Floor::new(vec![], lifted.map(|cidr| cidr.parse().unwrap()).to_vec());
        for address in ["127.0.0.1:80", "10.1.2.3:80", "[::ffff:10.1.2.3]:80"] {
            assert_eq!(check(&floor, address), Ok(()), "{address}");
        }
        for address in ["169.254.169.254:80", "0.0.0.0:80", "224.0.0.1:80", "[::1]:80"] {
            assert!(check(&floor, address).is_err(), "{address}");
        }
        floor.set_lifted(vec!["10.0.0.0/8".parse().unwrap()]);
        assert!(check(&floor, "127.0.0.1:80").is_err());
        assert_eq!(check(&floor, "10.1.2.3:80"), Ok(()));
    }

    #[test]
    fn own_listeners_are_never_dialled() {
        let lifted = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let own = ["127.0.0.1:3128", "0.0.0.0:9128", "[::]:7000"].map(|own| own.parse().unwrap());
        let floor = Floor::new(own.to_vec(), lifted);
        for address in [
            "127.0.0.1:3128",
            "[::ffff:127.0.0.1]:3128",
            "127.0.0.1:9128",
            "127.9.9.9:9128",
            "127.0.0.1:7000",
        ] {
            assert_eq!(check(&floor, address), Err(BelowFloor::Own), "{address}");
        }
        floor.add_own("127.0.0.1:3129".parse().unwrap());
        assert_eq!(check(&floor, "127.0.0.1:3129"), Err(BelowFloor::Own));
        floor.remove_own("127.0.0.1:3129".parse().unwrap());
        assert_eq!(check(&floor, "127.0.0.1:3129"), Ok(()));
        assert_eq!(check(&floor, "8.8.8.8:9128"), Ok(()));
    }
}
