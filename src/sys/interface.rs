//! Network interfaces of the current network namespace.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::sys::socket::SockaddrStorage;

/// Brings `lo` up, which gives the namespace 127.0.0.1 and ::1.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN over the network namespace.
pub fn loopback_up() -> io::Result<()> {
    // SAFETY: socket(2) with constants; the descriptor is checked before it is owned.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `raw` is a fresh descriptor that nothing else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: ifreq is a plain structure for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which outlives the call.
    match unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The addresses of every interface of the calling process's network namespace.
///
/// # Errors
/// `EMFILE` and its like.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let found = nix::ifaddrs::getifaddrs()?;
    let names = found.filter_map(|interface| interface.address);
    let address = |name: SockaddrStorage| -> Option<IpAddr> {
        let v4 = name.as_sockaddr_in().map(|name| IpAddr::V4(name.ip()));
        v4.or_else(|| name.as_sockaddr_in6().map(|name| IpAddr::V6(name.ip())))
    };
    Ok(names.filter_map(address).collect())
}
