//! Where a redirected connection was meant to go, as connection tracking remembers it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

/// `SO_ORIGINAL_DST` of linux/netfilter_ipv4.h, and `IP6T_SO_ORIGINAL_DST` of linux/netfilter_ipv6/ip6_tables.h.
const ORIGINAL_DESTINATION: libc::c_int = 80;

/// The destination that whoever connected named. `is_v6`: the family of the socket.
///
/// # Errors
/// `ENOENT` for a connection of which connection tracking knows nothing.
pub fn original_destination(socket: BorrowedFd<'_>, is_v6: bool) -> io::Result<SocketAddr> {
    if is_v6 {
        // SAFETY: a sockaddr_in6 of zeroes is a valid one.
        let mut name: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
        ask(socket, libc::SOL_IPV6, &mut name)?;
        let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
        let port = u16::from_be(name.sin6_port);
        return Ok(SocketAddrV6::new(address, port, 0, 0).into());
    }
    // SAFETY: a sockaddr_in of zeroes is a valid one.
    let mut name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    ask(socket, libc::SOL_IP, &mut name)?;
    let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
    Ok((address, u16::from_be(name.sin_port)).into())
}

fn ask<T>(socket: BorrowedFd<'_>, level: libc::c_int, name: &mut T) -> io::Result<()> {
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: getsockopt(2) writes at most `length` bytes to `name`, which is that large and outlives
    // the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            ORIGINAL_DESTINATION,
            (&raw mut *name).cast(),
            &raw mut length,
        )
    };
    match result {
        0 if length as usize == size_of::<T>() => Ok(()),
        0 => Err(io::ErrorKind::InvalidData.into()),
        _ => Err(io::Error::last_os_error()),
    }
}
