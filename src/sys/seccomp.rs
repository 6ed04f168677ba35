//! seccomp(2): handing a finished BPF program to the kernel.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, Linux 5.19 (`linux/seccomp.h`); libc has no name for it.
const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;

/// Longest program that the kernel takes (`BPF_MAXINSNS`, `linux/bpf_common.h`), in instructions.
pub const LONGEST_PROGRAM: usize = 4096;

/// Adds `program` to the filters of the calling thread, for its life and for its descendants.
///
/// # Errors
/// What seccomp(2) answers: `EACCES` without no_new_privs, `EINVAL` for a malformed program.
pub fn add_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    set_mode_filter(program, 0).map(|_| ())
}

/// Adds `program` and opens the listener that receives what it sends to `SECCOMP_RET_USER_NOTIF`.
///
/// Where the kernel can (5.19), a call that has been received waits undisturbed by signals: one
/// that is not lethal would otherwise restart it and notify a second time.
///
/// # Errors
/// As for [`add_filter`]; `EBUSY` where a filter of this thread already has a listener.
pub fn add_filter_with_listener(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let fd = match set_mode_filter(program, listener | WAIT_KILLABLE_RECV) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            set_mode_filter(program, listener)
        }
        answer => answer,
    }?;
    // SAFETY: with NEW_LISTENER a non-negative answer is a descriptor that the kernel has just
    // made for this call, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_mode_filter(program: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<i32> {
    let Ok(len) = u16::try_from(program.len()) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let text = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `text` describes exactly the slice `program`, which lives past the call; the kernel
    // copies it and never writes through the pointer.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::c_ulong::from(libc::SECCOMP_SET_MODE_FILTER),
            flags,
            &raw const text,
        )
    };
    match i32::try_from(answer) {
        Ok(fd) if fd >= 0 => Ok(fd),
        _ => Err(io::Error::last_os_error()),
    }
}
