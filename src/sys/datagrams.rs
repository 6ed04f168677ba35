//! UDP that is for others, taken at one socket with the addresses that it has (`IP_TRANSPARENT` of ip(7)),
//! and packets of our own making.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg, setsockopt,
    sockopt,
};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto};

use super::netfilter::MARK;

/// The most that is asked of the kernel to hold of what was not taken yet, in bytes.
const HELD: usize = 1 << 20;

/// A datagram that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// How long it is in bytes.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// For whom it is.
    pub to: SocketAddr,
}

/// A socket at this address of the loopback that hears of each datagram for whom it is.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN or CAP_NET_RAW over the network namespace, and those of bind(2).
pub fn door(at: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((at, 0))?;
    // Of both versions (ipv6(7)).
    setsockopt(&socket, sockopt::IpTransparent, &true)?;
    match at {
        IpAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4OrigDstAddr, &true)?,
        IpAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6OrigDstAddr, &true)?,
    }
    setsockopt(&socket, sockopt::RcvBuf, &HELD)?;
    Ok(socket)
}

/// A socket by which whole packets of one version of IP are put into the calling thread's network
/// namespace, marked as [`MARK`] says.
///
/// # Errors
/// `EPERM` without CAP_NET_RAW over the network namespace.
pub fn packets(is_v6: bool) -> io::Result<OwnedFd> {
    let family = match is_v6 {
        true => AddressFamily::INET6,
        false => AddressFamily::INET,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::RAW, flags, Some(ipproto::RAW))?;
    mark(socket.as_fd())?;
    Ok(socket)
}

/// Has everything that a socket sends marked as [`MARK`] says.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN or CAP_NET_RAW over the network namespace.
pub fn mark(socket: BorrowedFd<'_>) -> io::Result<()> {
    setsockopt(&socket, sockopt::Mark, &MARK).map_err(io::Error::from)
}

/// Takes the next datagram at a [`door`], without waiting. What is longer than `space` is cut.
///
/// # Errors
/// `WouldBlock` where there is none, `InvalidData` for one of which the kernel does not say for whom it is.
pub fn take(door: BorrowedFd<'_>, space: &mut [u8]) -> io::Result<Taken> {
    let mut control = nix::cmsg_space!(libc::sockaddr_in6);
    let mut into = [IoSliceMut::new(space)];
    let message = recvmsg::<SockaddrStorage>(
        door.as_raw_fd(),
        &mut into,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let to = message.cmsgs()?.find_map(|said| match said {
        ControlMessageOwned::Ipv4OrigDstAddr(name) => Some(of_v4(SockaddrIn::from(name))),
        ControlMessageOwned::Ipv6OrigDstAddr(name) => Some(of_v6(SockaddrIn6::from(name))),
        _ => None,
    });
    let from = message.address.as_ref().and_then(|name| {
        let v4 = name.as_sockaddr_in().map(|name| of_v4(*name));
        v4.or_else(|| name.as_sockaddr_in6().map(|name| of_v6(*name)))
    });
    match (from, to) {
        (Some(from), Some(to)) => Ok(Taken {
            length: message.bytes,
            from,
            to,
        }),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn of_v4(name: SockaddrIn) -> SocketAddr {
    (name.ip(), name.port()).into()
}

/// Without the scope and the label: in a network with one link they say nothing.
fn of_v6(name: SockaddrIn6) -> SocketAddr {
    (name.ip(), name.port()).into()
}

/// Sends a whole packet by a socket of [`packets`], without waiting.
///
/// # Errors
/// `WouldBlock` where there is no room, `EMSGSIZE` for one that is longer than the link carries.
pub fn put(socket: BorrowedFd<'_>, packet: &[u8], to: IpAddr) -> io::Result<()> {
    // Here a port would be a protocol.
    let to = SocketAddr::new(to, 0);
    rustix::net::sendto(socket, packet, SendFlags::DONTWAIT, &to)?;
    Ok(())
}
