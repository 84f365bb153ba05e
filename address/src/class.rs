//! Which addresses a call may go to.
//!
//! Pure: names are resolved by `resolve`, and the gateway dials exactly the address checked here. The blocks stand in
//! `registry`. Invariant: an address that carries another one inside it (`embedded`) is judged by both, and naming a
//! network opens no more than the part of one block that it spells out.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::embedded::embedded;
use crate::registry::block_of;

/// Why an address is not the public internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// A cloud's metadata or credential service.
    Metadata,
    /// An IPv6 address that stands for an IPv4 one.
    EmbeddedV4,
}

impl AddressClass {
    pub fn as_str(self) -> &'static str {
        match self {
            AddressClass::Public => "public",
            AddressClass::Unspecified => "unspecified",
            AddressClass::Loopback => "loopback",
            AddressClass::Private => "private",
            AddressClass::LinkLocal => "link_local",
            AddressClass::SharedCarrier => "shared_carrier",
            AddressClass::Documentation => "documentation",
            AddressClass::Benchmarking => "benchmarking",
            AddressClass::Multicast => "multicast",
            AddressClass::Reserved => "reserved",
            AddressClass::Metadata => "metadata",
            AddressClass::EmbeddedV4 => "embedded_v4",
        }
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a call may be sent to `address`: public ones always, others only when `named` opens them.
pub fn may_dial(address: IpAddr, named: &[IpNet]) -> Result<(), AddressClass> {
    let inside = embedded(address).into_iter().map(IpAddr::V4);
    inside.chain([address]).try_for_each(|face| is_open(face, named))
}

/// The class of an address, seen through every way of writing an IPv4 address inside an IPv6 one.
pub fn classify(address: IpAddr) -> AddressClass {
    may_dial(address, &[]).err().unwrap_or(AddressClass::Public)
}

/// A named network opens an address only from inside the block that forbids it. So `0.0.0.0/0` opens nothing,
/// `169.254.0.0/16` does not open the metadata service within, and a metadata service is opened by its own address.
fn is_open(face: IpAddr, named: &[IpNet]) -> Result<(), AddressClass> {
    let Some(block) = block_of(face) else { return Ok(()) };
    let mut holding = named.iter().filter(|net| net.contains(&face));
    if holding.any(|net| block.net.contains(net)) { Ok(()) } else { Err(block.class) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> AddressClass {
        classify(text.parse().unwrap())
    }

    fn dial(address: &str, named: &[&str]) -> Result<(), AddressClass> {
        let named: Vec<IpNet> = named.iter().map(|net| net.parse().unwrap()).collect();
        may_dial(address.parse().unwrap(), &named)
    }

    #[test]
    fn ipv4_is_judged_in_every_costume() {
        for costume in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "2002:a9fe:a9fe::1",
            "2001:0:808:808:3:4:5601:5601",
            "2001:0:a9fe:a9fe:0:0:f7f7:f7f7",
            "fe80::5efe:169.254.169.254",
            "2606:4700::200:5efe:169.254.169.254",
        ] {
            assert_eq!(class(costume), AddressClass::Metadata, "{costume}");
        }
    }

    #[test]
    fn a_costume_is_refused_even_over_a_public_address() {
        for costume in [
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "::ffff:0:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::8.8.8.8",
            "2002:808:808::1",
            "2001:0:808:808::f7f7:f7f7",
        ] {
            assert_eq!(class(costume), AddressClass::EmbeddedV4, "{costume}");
        }
    }

    #[test]
    fn only_the_public_internet_is_public() {
        for public in ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "168.63.129.17", "2620:4f:8001::1"]
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
            "64:ff9b:2::8.8.8.8",
            "fec0::1",
            "4000::1",
            "0:0:1::1",
        ] {
            assert_ne!(class(special), AddressClass::Public, "{special}");
        }
    }

    #[test]
    fn a_private_address_is_dialled_only_when_the_tool_names_it() {
        assert_eq!(dial("127.0.0.1", &["127.0.0.0/30"]), Ok(()));
        assert_eq!(dial("127.0.0.9", &["127.0.0.0/30"]), Err(AddressClass::Loopback));
        assert_eq!(dial("fd12::1", &["10.0.0.0/8", "fd12::/16"]), Ok(()));
    }

    #[test]
    fn a_network_wider_than_the_block_opens_nothing_in_it() {
        for wide in ["0.0.0.0/0", "8.0.0.0/6"] {
            assert_eq!(dial("10.0.0.1", &[wide]), Err(AddressClass::Private), "{wide}");
        }
        assert_eq!(dial("fd00::1", &["::/0"]), Err(AddressClass::Private));
        assert_eq!(dial("10.0.0.1", &["0.0.0.0/0", "10.0.0.0/8"]), Ok(()));
    }

    #[test]
    fn a_metadata_service_is_opened_by_its_own_address_alone() {
        let imds = "169.254.169.254";
        assert_eq!(dial(imds, &["169.254.0.0/16"]), Err(AddressClass::Metadata));
        assert_eq!(dial(imds, &["169.254.169.254/32"]), Ok(()));
        assert_eq!(dial("fd00:ec2::254", &["fc00::/7"]), Err(AddressClass::Metadata));
        assert_eq!(dial("100.100.100.200", &["100.64.0.0/10"]), Err(AddressClass::Metadata));
    }

    #[test]
    fn naming_one_face_of_an_address_does_not_open_the_other() {
        let costume = "64:ff9b::10.0.0.1";
        assert_eq!(dial(costume, &["64:ff9b::/96"]), Err(AddressClass::Private));
        assert_eq!(dial(costume, &["10.0.0.0/8"]), Err(AddressClass::EmbeddedV4));
        assert_eq!(dial(costume, &["64:ff9b::/96", "10.0.0.0/8"]), Ok(()));
        assert_eq!(dial("64:ff9b::8.8.8.8", &["64:ff9b::/96"]), Ok(()));
    }
}
