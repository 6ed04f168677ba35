//! Addresses that are no ordinary host of the Internet: private, link-local, metadata of clouds,
//! multicast, translated. A rule about names, or about everything, does not speak of them; one that
//! names such a network does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The name by which a worker reaches services on the loopback of its host, where a rule says so.
pub const HOST_NAME: &str = "host.buntime.internal";

/// IPv4 networks that are not globally reachable (the IANA special-purpose address registry), and an
/// address that clouds answer metadata on although it is not among them.
const V4: [([u8; 4], u8); 17] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([168, 63, 129, 16], 32),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 52, 193, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([192, 175, 48, 0], 24),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
];

/// Networks inside the global unicast addresses of IPv6 that are not ordinary: of protocols (Teredo
/// among them), documentation, and IPv4 addresses in 6to4.
const V6: [([u16; 8], u8); 4] = [
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// The global unicast addresses of IPv6 (RFC 4291): everything else is special.
const GLOBAL: ([u16; 8], u8) = ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// The widest network in which a rule has to be, to speak of this address; `None` for an ordinary
/// address, of which every rule speaks that covers it.
pub(super) fn network(addr: IpAddr) -> Option<IpNet> {
    match addr {
        IpAddr::V4(v4) => special_v4(v4).map(IpNet::V4),
        IpAddr::V6(v6) => special_v6(v6).map(IpNet::V6),
    }
}

fn special_v4(addr: Ipv4Addr) -> Option<Ipv4Net> {
    // Multicast, reserved and broadcast.
    if addr.octets()[0] >= 224 {
        return net_v4([224, 0, 0, 0], 3);
    }
    let nets = V4
        .iter()
        .filter_map(|(octets, bits)| net_v4(*octets, *bits));
    nets.into_iter().find(|net| net.contains(&addr))
}

fn special_v6(addr: Ipv6Addr) -> Option<Ipv6Net> {
    let global = net_v6(GLOBAL.0, GLOBAL.1)?;
    if global.contains(&addr) {
        let nets = V6
            .iter()
            .filter_map(|(segments, bits)| net_v6(*segments, *bits));
        return nets.into_iter().find(|net| net.contains(&addr));
    }
    // What lies outside is named by the block of its first byte: fc00::/7 is private, fe80::/9 is of
    // the link, and 64:ff9b::/96 leads to IPv4.
    let first = addr.segments()[0];
    let (segments, bits) = match first {
        0x0064 => ([0x64, 0, 0, 0, 0, 0, 0, 0], 16),
        0xfc00..=0xfdff => ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
        0xfe00..=0xfeff => ([0xfe00, 0, 0, 0, 0, 0, 0, 0], 8),
        0xff00..=0xffff => ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
        _ => ([first, 0, 0, 0, 0, 0, 0, 0], 16),
    };
    net_v6(segments, bits)
}

fn net_v4(octets: [u8; 4], bits: u8) -> Option<Ipv4Net> {
    Ipv4Net::new(octets.into(), bits).ok()
}

fn net_v6(segments: [u16; 8], bits: u8) -> Option<Ipv6Net> {
    Ipv6Net::new(segments.into(), bits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(addr: &str) -> Option<String> {
        network(addr.parse().expect(addr)).map(|net| net.to_string())
    }

    #[test]
    fn ordinary_hosts_are_not_special() {
        for addr in [
            "8.8.8.8",
            "1.1.1.1",
            "223.255.255.254",
            "192.0.1.1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert_eq!(of(addr), None, "{addr}");
        }
    }

    #[test]
    fn what_leads_inside_is_special() {
        for (addr, net) in [
            ("0.0.0.0", "0.0.0.0/8"),
            ("10.1.2.3", "10.0.0.0/8"),
            ("100.100.100.200", "100.64.0.0/10"),
            ("127.0.0.1", "127.0.0.0/8"),
            ("168.63.129.16", "168.63.129.16/32"),
            ("169.254.169.254", "169.254.0.0/16"),
            ("172.31.0.1", "172.16.0.0/12"),
            ("192.168.1.1", "192.168.0.0/16"),
            ("224.0.0.251", "224.0.0.0/3"),
            ("255.255.255.255", "224.0.0.0/3"),
            ("::", "::/16"),
            ("::1", "::/16"),
            ("64:ff9b::a00:1", "64::/16"),
            ("fd00:ec2::254", "fc00::/7"),
            ("fe80::1", "fe00::/8"),
            ("ff02::fb", "ff00::/8"),
            ("2002:a00:1::", "2002::/16"),
            ("2001:db8::1", "2001:db8::/32"),
            ("2001::1", "2001::/23"),
        ] {
            assert_eq!(of(addr).as_deref(), Some(net), "{addr}");
        }
    }
}
