//! Which addresses a call may go to.
//!
//! Pure: names are resolved by the gateway, which dials exactly the address checked here.
//! Invariant: an address that carries another one inside it (mapped, translated, tunnelled IPv4) is judged by both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Why an address is not the public internet (IANA special-purpose registries, RFC 6890).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    Public,
    Unspecified,
    Loopback,
    Private,
    LinkLocal,
    SharedCarrier,
    Documentation,
    Benchmarking,
    Multicast,
    Reserved,
}

/// Whether a call may be sent to `address`: public ones always, others only when `named` holds them.
pub fn may_dial(address: IpAddr, named: &[IpNet]) -> Result<(), AddressClass> {
    let class = classify(address);
    let is_named = named.iter().any(|net| net.contains(&address));
    if class == AddressClass::Public || is_named { Ok(()) } else { Err(class) }
}

/// The class of an address, seen through every way of writing an IPv4 address inside an IPv6 one.
pub fn classify(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => {
            let class = classify_v6(v6);
            let inside = embedded_v4(v6).filter(|_| class == AddressClass::Public);
            inside.map_or(class, classify_v4)
        }
    }
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    let [a, b, c, d] = address.octets();
    match (a, b, c) {
        // The platform service of Azure's hosts; a public address that is none.
        (168, 63, 129) if d == 16 => AddressClass::Reserved,
        (0, ..) => AddressClass::Unspecified,
        (127, ..) => AddressClass::Loopback,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => AddressClass::Private,
        (169, 254, _) => AddressClass::LinkLocal,
        (100, 64..=127, _) => AddressClass::SharedCarrier,
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => AddressClass::Documentation,
        (198, 18..=19, _) => AddressClass::Benchmarking,
        (192, 0, 0) | (192, 88, 99) => AddressClass::Reserved,
        (224..=239, ..) => AddressClass::Multicast,
        (240..=255, ..) => AddressClass::Reserved,
        (1..=223, ..) => AddressClass::Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    let [first, second, ..] = address.segments();
    if address.is_unspecified() {
        return AddressClass::Unspecified;
    }
    if address.is_loopback() {
        return AddressClass::Loopback;
    }
    match (first, second) {
        (0xfc00..=0xfdff, _) => AddressClass::Private,
        (0xfe80..=0xfebf, _) => AddressClass::LinkLocal,
        (0xfec0..=0xfeff, _) => AddressClass::Private,
        (0xff00..=0xffff, _) => AddressClass::Multicast,
        (0x2001, 0x0db8) | (0x3fff, 0..=0x0fff) => AddressClass::Documentation,
        (0x2001, 0x0002) => AddressClass::Benchmarking,
        (0x2001, 0x0010..=0x003f) | (0x0100, 0) | (0x5f00, _) => AddressClass::Reserved,
        // Translated and tunnelled forms are judged by the IPv4 address inside.
        (0, 0) | (0x0064, 0xff9b) | (0x2002, _) | (0x2001, 0) => AddressClass::Public,
        (0x2000..=0x3fff, _) => AddressClass::Public,
        _ => AddressClass::Reserved,
    }
}

/// The IPv4 address inside a mapped, compatible, translated (RFC 2765, 6052), 6to4 or Teredo address.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let join = |high: u16, low: u16| {
        let ([w, x], [y, z]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(w, x, y, z)
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0 | 0xffff) | (0, 0, 0, 0, 0xffff, 0) => Some(join(g, h)),
        (0x0064, 0xff9b, 0, 0, 0, 0) => Some(join(g, h)),
        // Local-use NAT64 (RFC 8215) may hide any network: treat as private.
        (0x0064, 0xff9b, ..) => Some(Ipv4Addr::new(10, 0, 0, 0)),
        (0x2002, ..) => Some(join(b, c)),
        (0x2001, 0, ..) => Some(join(!g, !h)),
        (0, 0, ..) => Some(Ipv4Addr::UNSPECIFIED),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> AddressClass {
        classify(text.parse().unwrap())
    }

    #[test]
    fn ipv4_is_judged_in_every_costume() {
        for costume in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "2001:0:1:2:3:4:5601:5601",
        ] {
            assert_eq!(class(costume), AddressClass::LinkLocal, "{costume}");
        }
    }

    #[test]
    fn only_the_public_internet_is_public() {
        for public in
            ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"]
        {
            assert_eq!(class(public), AddressClass::Public, "{public}");
        }
        for special in [
            "0.0.0.0",
            "127.1.2.3",
            "10.1.1.1",
            "172.31.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "168.63.129.16",
            "2001:db8::1",
            "64:ff9b:1::8.8.8.8",
            "fec0::1",
            "4000::1",
            "0:0:1::1",
        ] {
            assert_ne!(class(special), AddressClass::Public, "{special}");
        }
    }

    #[test]
    fn a_private_address_is_dialled_only_when_the_tool_names_it() {
        let named: Vec<IpNet> = vec!["127.0.0.0/30".parse().unwrap()];
        assert_eq!(may_dial("127.0.0.1".parse().unwrap(), &named), Ok(()));
        assert_eq!(may_dial("127.0.0.9".parse().unwrap(), &named), Err(AddressClass::Loopback));
    }
}
