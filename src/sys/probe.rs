//! Calls that only find out whether the kernel has something, and change nothing.
#![allow(unsafe_code)]

use std::io;

/// `LANDLOCK_CREATE_RULESET_VERSION` (`linux/landlock.h`).
const LANDLOCK_VERSION: libc::c_ulong = 1;

/// Landlock's ABI version; 0 where it is not built in or not enabled at boot.
#[must_use]
pub fn landlock_abi() -> u32 {
    // SAFETY: with the version flag the kernel requires a null pointer and a size of 0, and only
    // answers a number.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0 as libc::size_t,
            LANDLOCK_VERSION,
        )
    };
    u32::try_from(answer).unwrap_or(0)
}

/// Whether mount_setattr(2) exists.
#[must_use]
pub fn has_mount_setattr() -> bool {
    // SAFETY: the size of 0 is refused (EINVAL) before any pointer is read.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            -1 as libc::c_long,
            c"".as_ptr(),
            0 as libc::c_ulong,
            std::ptr::null::<libc::c_void>(),
            0 as libc::size_t,
        )
    };
    answer == -1 && io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

/// Whether seccomp(2) knows the action that notifies a listener.
#[must_use]
pub fn has_seccomp_notify() -> bool {
    let action: u32 = libc::SECCOMP_RET_USER_NOTIF;
    // SAFETY: the kernel reads one u32 behind the pointer, which outlives the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::c_ulong::from(libc::SECCOMP_GET_ACTION_AVAIL),
            0 as libc::c_ulong,
            &raw const action,
        )
    };
    answer == 0
}

/// Which step of making namespaces was refused.
#[derive(Debug)]
pub enum NamespaceRefusal {
    /// clone(2) with the namespace flags.
    Clone(io::Error),
    /// A change of a mount inside, which needs CAP_SYS_ADMIN there.
    Mount(io::Error),
}

/// Makes all seven namespaces in a child, which makes its mounts private and ends.
///
/// # Errors
/// The step that was refused.
pub fn namespaces() -> Result<(), NamespaceRefusal> {
    const ALL: libc::c_int = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    // SAFETY: a null stack makes clone(2) behave as fork(2). The child, which may be a copy of one
    // thread of many, makes two system calls and touches no memory of anyone else's.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::c_long::from(ALL | libc::SIGCHLD),
            0,
            0,
            0,
            0,
        )
    };
    if pid == 0 {
        // SAFETY: strings are static, the other pointers may be null for a change of propagation;
        // _exit ends the copy without running anything else.
        unsafe {
            let flags = libc::MS_REC | libc::MS_PRIVATE;
            let null = std::ptr::null();
            let answer = libc::mount(null, c"/".as_ptr(), null, flags, std::ptr::null());
            libc::_exit(if answer == 0 {
                0
            } else {
                *libc::__errno_location()
            })
        }
    }
    let Ok(pid @ 1..) = i32::try_from(pid) else {
        return Err(NamespaceRefusal::Clone(io::Error::last_os_error()));
    };
    let mut status = 0;
    // SAFETY: waits for the child just made; `status` outlives the call.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } == -1 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(NamespaceRefusal::Clone(error));
        }
    }
    match libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)) {
        Some(0) => Ok(()),
        Some(errno) => Err(NamespaceRefusal::Mount(io::Error::from_raw_os_error(errno))),
        None => Err(NamespaceRefusal::Clone(io::Error::other(
            "the child was killed",
        ))),
    }
}
