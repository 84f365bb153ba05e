//! Whether a dial would come back to this gateway.
//!
//! Not here: which addresses the machine has (the gateway asks it) and loops through other proxies (`Via`, at the door).
//! Invariant: an address that reaches one of our listeners by way of this machine's own stack is recognised in every
//! notation; an address outside, such as a load balancer's, cannot be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::embedded::embedded;

/// Whether `target` is one of `listeners`, given the addresses of this machine's `interfaces`.
pub fn is_ourselves(target: SocketAddr, listeners: &[SocketAddr], interfaces: &[IpAddr]) -> bool {
    let mut faces = embedded(target.ip()).into_iter().map(IpAddr::V4).chain([target.ip()]);
    faces.any(|face| {
        let mut at_port = listeners.iter().filter(|listener| listener.port() == target.port());
        at_port.any(|listener| reaches(face, listener.ip(), interfaces))
    })
}

fn reaches(face: IpAddr, listener: IpAddr, interfaces: &[IpAddr]) -> bool {
    if listener.is_unspecified() {
        // A socket on `::` takes IPv4 as well, unless told otherwise.
        return face.is_unspecified() || face.is_loopback() || interfaces.contains(&face);
    }
    // To dial 0.0.0.0 or :: is to dial this machine's own loopback address.
    let dialled = match face {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) | IpAddr::V6(_) => face,
    };
    dialled == listener
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_us(target: &str, listener: &str) -> bool {
        let interfaces: Vec<IpAddr> =
            ["10.0.0.5", "2001:db8::5"].map(|text| text.parse().unwrap()).into();
        is_ourselves(target.parse().unwrap(), &[listener.parse().unwrap()], &interfaces)
    }

    #[test]
    fn a_listener_on_every_interface_is_reached_by_each_of_our_addresses() {
        for target in [
            "127.0.0.1:8080",
            "127.9.9.9:8080",
            "0.0.0.0:8080",
            "10.0.0.5:8080",
            "[::1]:8080",
            "[::]:8080",
            "[2001:db8::5]:8080",
            "[::ffff:10.0.0.5]:8080",
            "[::ffff:127.0.0.1]:8080",
        ] {
            assert!(is_us(target, "[::]:8080"), "{target}");
        }
    }

    #[test]
    fn a_listener_on_one_address_is_reached_by_that_address() {
        for target in ["127.0.0.1:8080", "0.0.0.0:8080", "[::ffff:127.0.0.1]:8080"] {
            assert!(is_us(target, "127.0.0.1:8080"), "{target}");
        }
        for target in ["127.0.0.2:8080", "10.0.0.5:8080", "[::1]:8080", "[::]:8080"] {
            assert!(!is_us(target, "127.0.0.1:8080"), "{target}");
        }
    }

    #[test]
    fn another_port_or_another_machine_is_not_us() {
        assert!(!is_us("127.0.0.1:8081", "0.0.0.0:8080"));
        assert!(!is_us("10.0.0.6:8080", "0.0.0.0:8080"));
    }
}
