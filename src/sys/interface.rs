//! Network interfaces of the current network namespace.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use super::route::Route;

/// `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR` of linux/rtnetlink.h: addresses that come and go.
const OF_ADDRESSES: u32 = 0x10 | 0x100;

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

/// Whether it says that there is no IPv6 here.
#[must_use]
pub fn is_without_v6(error: &io::Error) -> bool {
    let without = [
        libc::EAFNOSUPPORT,
        libc::EADDRNOTAVAIL,
        libc::EPROTONOSUPPORT,
    ];
    error
        .raw_os_error()
        .is_some_and(|errno| without.contains(&errno))
}

/// The addresses of every interface of one network namespace.
///
/// They are asked for anew whenever the kernel has told of a change, which it does before anybody can
/// be reached by it. Whether it has is one system call; to ask for all of them is a dozen.
#[derive(Debug)]
pub struct Addresses {
    /// Hears of each change (rtnetlink(7)).
    changes: OwnedFd,
    route: Route,
    known: Option<Vec<IpAddr>>,
}

impl Addresses {
    /// Those of the calling thread's namespace, of which they stay.
    ///
    /// # Errors
    /// The kernel has no rtnetlink.
    pub fn watch() -> io::Result<Addresses> {
        let changes = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            // NETLINK_ROUTE is protocol 0, which is the one that is meant when none is named.
            None,
        )?;
        rustix::net::bind(&changes, &SocketAddrNetlink::new(0, OF_ADDRESSES))?;
        Ok(Addresses {
            changes,
            route: Route::open()?,
            known: None,
        })
    }

    /// The addresses that there are now.
    ///
    /// # Errors
    /// `EMFILE` and its like.
    pub fn now(&mut self) -> io::Result<&[IpAddr]> {
        // Before they are asked for: what changes after that is heard of the next time.
        while self.has_changed()? {
            self.known = None;
        }
        let known = match self.known.take() {
            Some(known) => known,
            None => self.route.all_addresses()?,
        };
        Ok(self.known.insert(known))
    }

    /// Takes one change. What is said of it does not matter.
    fn has_changed(&self) -> io::Result<bool> {
        match rustix::net::recv(&self.changes, &mut [0; 1], RecvFlags::TRUNC) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::AGAIN) => Ok(false),
            // There were so many that some are lost.
            Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}
