//! The IPv4 addresses that an IPv6 address stands for, in every notation that routers and hosts act on.
//!
//! Not here: what they are worth (`class`). A translator with a prefix of its operator's own (RFC 6052 §2.2) cannot be
//! seen in an address and has to refuse private targets itself.
//! Invariant: whatever layout is possible is reported; a reader that is unsure reports more, never less.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Every IPv4 address inside; none for an IPv4 address.
pub(crate) fn embedded(address: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return Vec::new() };
    if address.is_unspecified() || address.is_loopback() {
        return Vec::new();
    }
    let [a, b, c, d, e, f, g, h] = address.segments();
    let mut inside = match (a, b, c, d, e, f) {
        // Compatible and mapped (RFC 4291 §2.5.5), translated (RFC 2765 §2.1), NAT64 (RFC 6052 §2.1).
        (0, 0, 0, 0, 0, 0 | 0xffff) | (0, 0, 0, 0, 0xffff, 0) | (0x64, 0xff9b, 0, 0, 0, 0) => {
            vec![join(g, h)]
        }
        (0x64, 0xff9b, 1, ..) => local_nat64(address),
        // 6to4 (RFC 3056 §2).
        (0x2002, ..) => vec![join(b, c)],
        // Teredo (RFC 4380 §4): its server, and the client with every bit inverted.
        (0x2001, 0, ..) => vec![join(c, d), join(!g, !h)],
        _ => Vec::new(),
    };
    // ISATAP (RFC 5214 §6.1) is told by the interface id, under any prefix.
    if matches!((e, f), (0 | 0x200, 0x5efe)) {
        inside.push(join(g, h));
    }
    inside
}

fn join(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

/// Local-use NAT64 (RFC 8215): the length of the translator's prefix is not in the address, so each that fits in the
/// /48 is tried (RFC 6052 §2.2, figure 1). A layout that yields 0.0.0.0/8 is not the one in use: it is not forwarded.
fn local_nat64(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let [_, _, _, _, _, _, s, t, _, v, w, x, y, z, k, l] = address.octets();
    let of_48 = Ipv4Addr::new(s, t, v, w);
    let of_56 = Ipv4Addr::new(t, v, w, x);
    let of_64 = Ipv4Addr::new(v, w, x, y);
    let of_96 = Ipv4Addr::new(y, z, k, l);
    let is_forwarded = |inside: &Ipv4Addr| !matches!(inside.octets(), [0, ..]);
    [of_48, of_56, of_64, of_96].into_iter().filter(is_forwarded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layout_of_local_nat64_is_the_one_of_rfc_6052() {
        // RFC 6052 §2.4 with 2001:db8:122:344::/64 and so on, carried over to 64:ff9b:1::/48.
        for (text, length) in [
            ("64:ff9b:1:c000:2:2100::", 48),
            ("64:ff9b:1:3c0:0:221::", 56),
            ("64:ff9b:1:344:c0:2:2100::", 64),
            ("64:ff9b:1:344::192.0.2.33", 96),
        ] {
            let inside = embedded(text.parse().unwrap());
            assert!(inside.contains(&Ipv4Addr::new(192, 0, 2, 33)), "/{length}: {inside:?}");
        }
    }

    #[test]
    fn a_teredo_address_names_its_server_and_its_client() {
        // RFC 4380 §4: client 192.0.2.45 behind server 65.54.227.120.
        let inside = embedded("2001:0:4136:e378:8000:63bf:3fff:fdd2".parse().unwrap());
        assert_eq!(inside, [Ipv4Addr::new(65, 54, 227, 120), Ipv4Addr::new(192, 0, 2, 45)]);
    }

    #[test]
    fn a_plain_address_carries_nothing() {
        for text in ["8.8.8.8", "2606:4700::1111", "::", "::1", "fd00::1.2.3.4"] {
            assert!(embedded(text.parse().unwrap()).is_empty(), "{text}");
        }
    }
}
