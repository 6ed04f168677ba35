//! Packets for the sandbox: datagrams from where it sent some, and that some reached nobody.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use crate::sys::datagrams;

/// Who sent a datagram, and for whom it was.
pub(super) type Ends = (SocketAddr, SocketAddr);

const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// Why a datagram has reached nobody. A program that has connected its socket fails by either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It is prohibited: EHOSTUNREACH, and EACCES by IPv6.
    Prohibited,
    /// Nobody is there: ECONNREFUSED.
    Nobody,
}

/// Puts packets into the sandbox's network.
#[derive(Debug)]
pub(super) struct Back(OwnedFd);

impl Back {
    /// By a socket of [`datagrams::packets`].
    pub(super) fn by(socket: OwnedFd) -> Back {
        Back(socket)
    }

    /// Says this to who sent, as from where that was sent to.
    pub(super) fn say(&self, (program, there): Ends, payload: &[u8]) {
        self.put(datagram(there, program, payload), program);
    }

    /// Says that a datagram so long has reached nobody.
    pub(super) fn refuse(&self, ends: Ends, why: Why, length: usize) {
        self.put(unreachable(ends, why, length), ends.0);
    }

    /// What cannot be put is lost, as datagrams may be.
    fn put(&self, packet: Option<Vec<u8>>, program: SocketAddr) {
        let packet = packet.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput));
        let put = packet.and_then(|packet| datagrams::put(self.0.as_fd(), &packet, program.ip()));
        if let Err(error) = put {
            tracing::debug!(%error, "a datagram did not come back");
        }
    }
}

/// A packet of IP with a datagram; `None` for one that there cannot be.
fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let mut udp = udp_header(from, to, payload.len())?.to_vec();
    udp.extend(payload);
    let sum = match checksum(&[&pseudo((from.ip(), to.ip()), UDP, udp.len())?, &udp]) {
        // Nothing would say that there is none (RFC 768).
        0 => u16::MAX,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    packet((from.ip(), to.ip()), UDP, &udp)
}

/// A packet of ICMP (RFC 792, RFC 4443) about a datagram so long, of which it has the first words.
fn unreachable((program, there): Ends, why: Why, length: usize) -> Option<Vec<u8>> {
    let ends = (there.ip(), program.ip());
    let protocol = if there.is_ipv4() { ICMP } else { ICMP_V6 };
    let (kind, code) = match (protocol, why) {
        (ICMP, Why::Prohibited) => (3, 13),
        (ICMP, Why::Nobody) => (3, 3),
        (_, Why::Prohibited) => (1, 1),
        (_, Why::Nobody) => (1, 4),
    };
    let udp = udp_header(program, there, length)?;
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(header((program.ip(), there.ip()), UDP, udp.len() + length)?);
    message.extend(udp);
    let sum = match protocol {
        ICMP => checksum(&[&message]),
        _ => checksum(&[&pseudo(ends, ICMP_V6, message.len())?, &message]),
    };
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packet(ends, protocol, &message)
}

fn packet(ends: (IpAddr, IpAddr), protocol: u8, contents: &[u8]) -> Option<Vec<u8>> {
    let mut packet = header(ends, protocol, contents.len())?;
    packet.extend(contents);
    Some(packet)
}

/// Without the checksum, for which zero stands.
fn udp_header(from: SocketAddr, to: SocketAddr, payload: usize) -> Option<[u8; 8]> {
    let length = u16::try_from(payload.checked_add(8)?).ok()?;
    let mut header = [0; 8];
    header[..2].copy_from_slice(&from.port().to_be_bytes());
    header[2..4].copy_from_slice(&to.port().to_be_bytes());
    header[4..6].copy_from_slice(&length.to_be_bytes());
    Some(header)
}

/// The header of IP (RFC 791, RFC 8200) of a packet with so much behind it.
fn header(ends: (IpAddr, IpAddr), protocol: u8, contents: usize) -> Option<Vec<u8>> {
    const HOPS: u8 = 64;
    match ends {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = u16::try_from(contents + 20).ok()?;
            let mut header = vec![0x45, 0];
            header.extend(total.to_be_bytes());
            header.extend([0, 0, 0, 0, HOPS, protocol, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            Some(header)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = u16::try_from(contents).ok()?;
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length.to_be_bytes());
            header.extend([protocol, HOPS]);
            header.extend(from.octets());
            header.extend(to.octets());
            Some(header)
        }
        _ => None,
    }
}

/// What a checksum is of beside the contents (RFC 768, section 8.1 of RFC 8200).
fn pseudo(ends: (IpAddr, IpAddr), protocol: u8, length: usize) -> Option<Vec<u8>> {
    let length = u32::try_from(length).ok()?;
    let mut pseudo = match ends {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        _ => return None,
    };
    pseudo.extend(length.to_be_bytes());
    pseudo.extend([0, 0, 0, protocol]);
    Some(pseudo)
}

/// The Internet's (RFC 1071), over parts of which all but the last are of an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            let word = [pair[0], pair.get(1).copied().unwrap_or(0)];
            sum += u64::from(u16::from_be_bytes(word));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Whether it begins a connection of QUIC (RFC 9000, RFC 9369), in which HTTP/3 is spoken. A server heeds
/// no other first datagram: one with a long header, of a version that there is, or long enough for one that
/// is still to come.
pub(super) fn begins_quic(said: &[u8]) -> bool {
    const LONG: u8 = 0x80;
    const FIXED: u8 = 0x40;
    const SHORTEST: usize = 1200;
    const KNOWN: [u32; 2] = [1, 0x6b33_43cf];
    const DRAFTS: u32 = 0xff00_0000;
    let [first, version @ ..] = said else {
        return false;
    };
    let Some(version) = version.first_chunk().map(|four| u32::from_be_bytes(*four)) else {
        return false;
    };
    let is_known = KNOWN.contains(&version) || version & 0xffff_ff00 == DRAFTS;
    let is_long_enough = said.len() >= SHORTEST && first & FIXED != 0 && version != 0;
    first & LONG != 0 && (is_known || is_long_enough)
}

#[cfg(test)]
mod tests;
