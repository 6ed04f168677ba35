use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What a packet is: who sent it, for whom it is, its protocol, and what it carries.
fn read(packet: &[u8]) -> (IpAddr, IpAddr, u8, &[u8]) {
    let number = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    if packet[0] >> 4 == 4 {
        assert_eq!(packet[0], 0x45);
        assert_eq!(number(2), packet.len());
        assert_eq!(checksum(&[&packet[..20]]), 0);
        let address = |at: usize| {
            let four: [u8; 4] = packet[at..at + 4].try_into().unwrap();
            IpAddr::from(Ipv4Addr::from(four))
        };
        return (address(12), address(16), packet[9], &packet[20..]);
    }
    assert_eq!(packet[..4], [0x60, 0, 0, 0]);
    assert_eq!(number(4) + 40, packet.len());
    let address = |at: usize| {
        let bytes: [u8; 16] = packet[at..at + 16].try_into().unwrap();
        IpAddr::from(Ipv6Addr::from(bytes))
    };
    (address(8), address(24), packet[6], &packet[40..])
}

fn ports(udp: &[u8]) -> (u16, u16, u16) {
    let number = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    (number(0), number(2), number(4))
}

fn ends() -> impl Strategy<Value = Ends> {
    let v4 = any::<([u8; 4], u16)>().prop_map(|(ip, port)| SocketAddr::from((ip, port)));
    let v6 = any::<([u8; 16], u16)>().prop_map(|(ip, port)| SocketAddr::from((ip, port)));
    let other_v4 = any::<([u8; 4], u16)>().prop_map(|(ip, port)| SocketAddr::from((ip, port)));
    let other_v6 = any::<([u8; 16], u16)>().prop_map(|(ip, port)| SocketAddr::from((ip, port)));
    prop_oneof![(v4, other_v4), (v6, other_v6)]
}

proptest! {
    #[test]
    fn a_datagram_is_read_as_it_was_meant((from, to) in ends(), payload in vec(any::<u8>(), 0..2000)) {
        let packet = datagram(from, to, &payload).unwrap();
        let (source, destination, protocol, udp) = read(&packet);
        prop_assert_eq!((source, destination, protocol), (from.ip(), to.ip(), UDP));
        prop_assert_eq!(ports(udp), (from.port(), to.port(), payload.len() as u16 + 8));
        prop_assert_eq!(&udp[8..], &payload[..]);
        prop_assert_ne!(&udp[6..8], &[0, 0][..]);
        let pseudo = pseudo((source, destination), UDP, udp.len()).unwrap();
        prop_assert_eq!(checksum(&[&pseudo, udp]), 0);
    }

    #[test]
    fn what_was_refused_is_quoted((program, there) in ends(), length in 0_usize..65_000) {
        for why in [Why::Prohibited, Why::Nobody] {
            let packet = unreachable((program, there), why, length).unwrap();
            let (source, destination, protocol, message) = read(&packet);
            prop_assert_eq!((source, destination), (there.ip(), program.ip()));
            if protocol == ICMP_V6 {
                let pseudo = pseudo((source, destination), ICMP_V6, message.len()).unwrap();
                prop_assert_eq!(checksum(&[&pseudo, message]), 0);
            } else {
                prop_assert_eq!(checksum(&[message]), 0);
            }
            let header = if program.is_ipv4() { 20 } else { 40 };
            let (quoted, udp) = message[8..].split_at(header);
            let at = if program.is_ipv4() { 2 } else { 4 };
            let said = usize::from(u16::from_be_bytes([quoted[at], quoted[at + 1]]));
            prop_assert_eq!(said, if program.is_ipv4() { length + 28 } else { length + 8 });
            prop_assert_eq!(ports(udp), (program.port(), there.port(), length as u16 + 8));
        }
    }

    #[test]
    fn nothing_is_made_that_there_cannot_be((from, to) in ends(), length in 65_528_usize..200_000) {
        prop_assert_eq!(datagram(from, to, &vec![0; length]), None);
        prop_assert_eq!(unreachable((from, to), Why::Nobody, length), None);
    }

    #[test]
    fn whatever_is_said_is_looked_at(said in vec(any::<u8>(), 0..1300)) {
        let is_long = said.len() >= 5 && said[0] & 0x80 != 0;
        prop_assert!(!begins_quic(&said) || is_long);
    }
}

#[test]
fn the_beginning_of_quic_is_known() {
    let initial = |version: u32, length: usize| {
        let mut said = vec![0xc3];
        said.extend(version.to_be_bytes());
        said.resize(length, 0);
        said
    };
    for version in [1, 0x6b33_43cf, 0xff00_001d, 0x0a0a_0a0a, 0x7000_0000] {
        assert!(begins_quic(&initial(version, 1200)), "{version:x}");
    }
    assert!(begins_quic(&initial(1, 60)));
    // Which a server may let a client leave out (RFC 9287).
    let mut greased = initial(1, 1200);
    greased[0] = 0x83;
    assert!(begins_quic(&greased));
    // A packet of NTP whose clock is not set, one of RTP, one of DTLS, and one within a connection.
    let mut ntp = vec![0xe3, 0, 6, 0xec];
    ntp.resize(48, 0);
    let mut rtp = vec![0x80, 96, 0x12, 0x34, 1, 2, 3, 4];
    rtp.resize(1200, 0);
    let mut dtls = vec![22, 254, 253];
    dtls.resize(1300, 0);
    let mut short = initial(1, 1300);
    short[0] = 0x43;
    for other in [ntp, rtp, dtls, short, vec![], vec![0xc3, 0, 0, 0]] {
        assert!(!begins_quic(&other), "{other:?}");
    }
}
