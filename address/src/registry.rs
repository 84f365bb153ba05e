//! Every block of addresses that is not the plain public internet, with where that is written.
//!
//! Not here: what follows from it (`class`), and addresses that carry others (`embedded`). Sources: the IANA IPv4 and
//! IPv6 special-purpose registries (RFC 6890, 8190; as of 2025-10-09), the multicast registries, and what cloud
//! providers document. Invariant: an address belongs to the narrowest block that holds it; one in no block is public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::AddressClass;
use crate::AddressClass::{
    Benchmarking, Documentation, EmbeddedV4, LinkLocal, Loopback, Metadata, Multicast, Private,
    Reserved, SharedCarrier, Unspecified,
};

/// A block of addresses with one meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub net: IpNet,
    pub class: AddressClass,
    /// What it is, who says so, and since when.
    pub source: &'static str,
}

/// Every block, IPv4 first.
pub fn blocks() -> impl Iterator<Item = &'static Block> {
    V4.iter().chain(V6)
}

/// The narrowest block that holds the address.
pub(crate) fn block_of(address: IpAddr) -> Option<&'static Block> {
    let table = if address.is_ipv4() { V4 } else { V6 };
    let holding = table.iter().filter(|block| block.net.contains(&address));
    holding.max_by_key(|block| block.net.prefix_len())
}

const fn v4(address: [u8; 4], length: u8, class: AddressClass, source: &'static str) -> Block {
    let [a, b, c, d] = address;
    let net = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length));
    Block { net, class, source }
}

const fn v6(address: [u16; 8], length: u8, class: AddressClass, source: &'static str) -> Block {
    let [a, b, c, d, e, f, g, h] = address;
    let net = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length));
    Block { net, class, source }
}

#[rustfmt::skip]
const V4: &[Block] = &[
    v4([0, 0, 0, 0], 8, Unspecified, "this network, RFC 791 §3.2 (1981-09)"),
    v4([10, 0, 0, 0], 8, Private, "private use, RFC 1918 (1996-02)"),
    v4([100, 64, 0, 0], 10, SharedCarrier, "shared address space, RFC 6598 (2012-04)"),
    v4([127, 0, 0, 0], 8, Loopback, "loopback, RFC 1122 §3.2.1.3 (1981-09)"),
    v4([169, 254, 0, 0], 16, LinkLocal, "link local, RFC 3927 (2005-05)"),
    v4([172, 16, 0, 0], 12, Private, "private use, RFC 1918 (1996-02)"),
    v4([192, 0, 0, 0], 24, Reserved, "IETF protocol assignments, RFC 6890 §2.1 (2010-01)"),
    v4([192, 0, 0, 0], 29, Reserved, "IPv4 service continuity, RFC 7335 (2011-06)"),
    v4([192, 0, 0, 8], 32, Reserved, "dummy address, RFC 7600 (2015-03)"),
    v4([192, 0, 0, 9], 32, Reserved, "port control protocol anycast, RFC 7723 (2015-10)"),
    v4([192, 0, 0, 10], 32, Reserved, "TURN anycast, RFC 8155 (2017-02)"),
    v4([192, 0, 0, 170], 31, Reserved, "NAT64 discovery, RFC 7050, 8880 (2013-02)"),
    v4([192, 0, 2, 0], 24, Documentation, "TEST-NET-1, RFC 5737 (2010-01)"),
    v4([192, 31, 196, 0], 24, Reserved, "AS112, RFC 7535 (2014-12)"),
    v4([192, 52, 193, 0], 24, Reserved, "multicast tunnelling, RFC 7450 (2014-12)"),
    v4([192, 88, 99, 0], 24, Reserved, "6to4 relay anycast, deprecated, RFC 7526 (2001-06)"),
    v4([192, 168, 0, 0], 16, Private, "private use, RFC 1918 (1996-02)"),
    v4([192, 175, 48, 0], 24, Reserved, "direct delegation AS112, RFC 7534 (1996-01)"),
    v4([198, 18, 0, 0], 15, Benchmarking, "benchmarking, RFC 2544 (1999-03)"),
    v4([198, 51, 100, 0], 24, Documentation, "TEST-NET-2, RFC 5737 (2010-01)"),
    v4([203, 0, 113, 0], 24, Documentation, "TEST-NET-3, RFC 5737 (2010-01)"),
    v4([224, 0, 0, 0], 4, Multicast, "multicast, RFC 5771 (2010-03)"),
    v4([240, 0, 0, 0], 4, Reserved, "reserved, RFC 1112 §4 (1989-08)"),
    v4([255, 255, 255, 255], 32, Multicast, "limited broadcast, RFC 919 §7 (1984-10)"),
    // What answers there hands out the credentials of the machine or the container.
    v4([100, 100, 100, 200], 32, Metadata, "Alibaba Cloud instance metadata"),
    v4([168, 63, 129, 16], 32, Metadata, "Azure host services (WireServer), a public address"),
    v4([169, 254, 0, 23], 32, Metadata, "Tencent Cloud instance metadata"),
    v4([169, 254, 42, 42], 32, Metadata, "Scaleway instance metadata"),
    v4([169, 254, 169, 254], 32, Metadata, "instance metadata: AWS, Azure, Google, Oracle, OpenStack, others"),
    v4([169, 254, 170, 2], 32, Metadata, "AWS container credentials (ECS)"),
    v4([169, 254, 170, 23], 32, Metadata, "AWS pod identity (EKS)"),
    v4([192, 0, 0, 192], 32, Metadata, "Oracle Cloud Classic instance metadata"),
];

#[rustfmt::skip]
const V6: &[Block] = &[
    // Only 2000::/3 is handed out (RFC 4291 §2.4); these three are the rest.
    v6([0, 0, 0, 0, 0, 0, 0, 0], 3, Reserved, "outside global unicast, RFC 4291 §2.4 (2006-02)"),
    v6([0x4000, 0, 0, 0, 0, 0, 0, 0], 2, Reserved, "outside global unicast, RFC 4291 §2.4 (2006-02)"),
    v6([0x8000, 0, 0, 0, 0, 0, 0, 0], 1, Reserved, "outside global unicast, RFC 4291 §2.4 (2006-02)"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, EmbeddedV4, "IPv4-compatible, deprecated, RFC 4291 §2.5.5.1 (2006-02)"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, Unspecified, "unspecified, RFC 4291 (2006-02)"),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, Loopback, "loopback, RFC 4291 (2006-02)"),
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, EmbeddedV4, "IPv4-mapped, RFC 4291 (2006-02)"),
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, EmbeddedV4, "IPv4-translated (SIIT), RFC 2765 (2000-02)"),
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, EmbeddedV4, "NAT64, RFC 6052 (2010-10)"),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, EmbeddedV4, "local-use NAT64, RFC 8215 (2017-06)"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, Reserved, "discard only, RFC 6666 (2012-06)"),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, Reserved, "dummy prefix, RFC 9780 (2025-04)"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Reserved, "IETF protocol assignments, RFC 2928 (2000-09)"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, EmbeddedV4, "Teredo, RFC 4380 (2006-01)"),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 1], 128, Reserved, "port control protocol anycast, RFC 7723 (2015-10)"),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 2], 128, Reserved, "TURN anycast, RFC 8155 (2017-02)"),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 3], 128, Reserved, "service registration anycast, RFC 9665 (2024-04)"),
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, Benchmarking, "benchmarking, RFC 5180 (2008-04)"),
    v6([0x2001, 3, 0, 0, 0, 0, 0, 0], 32, Reserved, "multicast tunnelling, RFC 7450 (2014-12)"),
    v6([0x2001, 4, 0x112, 0, 0, 0, 0, 0], 48, Reserved, "AS112, RFC 7535 (2014-12)"),
    v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28, Reserved, "ORCHID, deprecated, RFC 4843 (2007-03)"),
    v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28, Reserved, "ORCHIDv2, RFC 7343 (2014-07)"),
    v6([0x2001, 0x30, 0, 0, 0, 0, 0, 0], 28, Reserved, "drone remote id, RFC 9374 (2022-12)"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, Documentation, "documentation, RFC 3849 (2004-07)"),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, EmbeddedV4, "6to4, RFC 3056 (2001-02)"),
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, Reserved, "direct delegation AS112, RFC 7534 (2011-05)"),
    v6([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16, Reserved, "6bone, returned, RFC 3701 (2004-03)"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, Documentation, "documentation, RFC 9637 (2024-07)"),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, Reserved, "segment routing, RFC 9602 (2024-04)"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, Private, "unique local, RFC 4193 (2005-10)"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, LinkLocal, "link local, RFC 4291 (2006-02)"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, Private, "site local, deprecated, RFC 3879 (2004-09)"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, Multicast, "multicast, RFC 4291 §2.7 (2006-02)"),
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128, Metadata, "Scaleway instance metadata"),
    v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128, Metadata, "Oracle Cloud instance metadata"),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], 128, Metadata, "AWS pod identity (EKS)"),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128, Metadata, "AWS instance metadata"),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, Metadata, "Google Cloud instance metadata"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128, Metadata, "OpenStack instance metadata"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_written_by_its_first_address_and_stands_once() {
        let all: Vec<&Block> = blocks().collect();
        for (at, block) in all.iter().enumerate() {
            assert_eq!(block.net, block.net.trunc());
            assert!(all.iter().skip(at + 1).all(|other| other.net != block.net), "{}", block.net);
        }
    }

    #[test]
    fn a_metadata_service_is_one_address() {
        let mut services = blocks().filter(|block| block.class == Metadata);
        assert!(services.all(|block| block.net.prefix_len() == block.net.max_prefix_len()));
    }

    #[test]
    fn the_narrowest_block_decides() {
        let class = |text: &str| block_of(text.parse().unwrap()).map(|block| block.class);
        assert_eq!(class("169.254.169.253"), Some(LinkLocal));
        assert_eq!(class("169.254.169.254"), Some(Metadata));
        assert_eq!(class("2001::1"), Some(EmbeddedV4));
        assert_eq!(class("2001:1::9"), Some(Reserved));
        assert_eq!(class("8.8.8.8"), None);
        assert_eq!(class("2606:4700::1111"), None);
    }

    #[test]
    fn the_specification_lists_every_block_as_it_is() {
        let page = include_str!("../../docs/spec/addresses.md");
        let rows: Vec<String> = blocks()
            .map(|block| format!("| `{}` | {} | {} |", block.net, block.class, block.source))
            .collect();
        let table = rows.join("\n");
        assert!(page.contains(&table), "docs/spec/addresses.md must hold:\n{table}");
    }
}
