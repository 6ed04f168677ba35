//! `setns(2)` and `unshare(2)` for a single-threaded process.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A network namespace, of sched.h.
pub const CLONE_NEWNET: u64 = libc::CLONE_NEWNET as u64;

/// `linux/sched.h`; some C libraries lack it.
pub const CLONE_NEWTIME: u64 = 0x80;

fn checked(result: libc::c_long) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Moves the calling thread into the namespace that `of` refers to, which must be of the one kind
/// in `flags`; or, with a pidfd, into every namespace of that process that `flags` names.
///
/// # Errors
/// What setns(2) says: `EINVAL` for another kind, `EPERM` without the capabilities over it.
pub fn enter(of: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    // SAFETY: setns(2) takes integers.
    checked(unsafe { libc::syscall(libc::SYS_setns, of.as_raw_fd(), flags) })
}

/// The network namespace of a socket (ioctl_ns(2) has its like of processes).
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN over it.
pub fn of_socket(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    /// Of `linux/sockios.h`.
    const SIOCGSKNS: libc::c_ulong = 0x894c;
    // SAFETY: SIOCGSKNS takes no argument.
    let raw = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS as _) };
    checked(raw.into())?;
    // SAFETY: the kernel has just made `raw`, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Whether the calling process is in a user namespace besides the first: that one maps every id
/// there is to itself.
///
/// # Errors
/// /proc does not show the map.
pub fn is_in_user_namespace() -> io::Result<bool> {
    let map = std::fs::read_to_string("/proc/self/uid_map")?;
    Ok(!map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// Moves the calling thread into new namespaces of the kinds in `flags`; those for processes and
/// time are for its children.
///
/// # Errors
/// What unshare(2) says.
pub fn unshare(flags: u64) -> io::Result<()> {
    // SAFETY: unshare(2) takes integers; nothing of this process's memory changes hands.
    checked(unsafe { libc::syscall(libc::SYS_unshare, flags) })
}
