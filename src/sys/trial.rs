//! Calls by which a host is tried out and nothing is run: Landlock's own, with nothing in between
//! that would leave out what the kernel lacks.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What a Landlock ruleset handles: bits of `linux/landlock.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handled {
    /// `LANDLOCK_ACCESS_FS_*`.
    pub files: u64,
    /// `LANDLOCK_ACCESS_NET_*`, from ABI 4 on.
    pub network: u64,
    /// `LANDLOCK_SCOPE_*`, from ABI 6 on.
    pub scopes: u64,
}

fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// Makes a Landlock ruleset that handles `handled` and grants nothing of it.
///
/// # Errors
/// `ENOSYS` and `EOPNOTSUPP` without Landlock, `EINVAL` and `E2BIG` for a right that this kernel
/// does not know.
pub fn ruleset(handled: Handled) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads the structure, whose size it is told, and it outlives the call. A
    // kernel that knows less of it takes it as long as the rest is zero.
    let answer = checked(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const handled,
            size_of::<Handled>(),
            0,
        )
    })?;
    // SAFETY: the answer is a descriptor that the kernel has just made, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(answer as i32) })
}

/// Holds the calling thread to `ruleset` for good.
///
/// # Errors
/// `EPERM` without no_new_privs.
pub fn restrict_self(ruleset: &OwnedFd) -> io::Result<()> {
    // SAFETY: landlock_restrict_self(2) takes integers.
    checked(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })
        .map(drop)
}
