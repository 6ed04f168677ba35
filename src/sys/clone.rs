//! `clone3(2)`, `fork(2)` and `execve(2)` for a single-threaded process.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// linux/sched.h; the crate's constant is too narrow for its value.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The two sides of a successful clone.
pub enum Cloned {
    /// In the parent: the child's pid as the parent's pid namespace counts, and its pidfd.
    Parent {
        /// Process id of the child.
        pid: i32,
        /// A descriptor that refers to the child and becomes readable at its end.
        pidfd: OwnedFd,
    },
    /// In the child, which continues with a copy of the parent's memory.
    Child,
}

/// Creates a child in the namespaces of `flags` (`CLONE_NEW*`), born inside `cgroup` if one is
/// given (a directory of a cgroup2 hierarchy).
///
/// # Errors
/// What clone3(2) says, and `EBUSY` when this process has more than one thread: a copy of one
/// thread of many may hold another's locks for ever.
pub fn clone(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    if thread_count()? != 1 {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    clone3(flags, libc::SIGCHLD, cgroup)
}

/// Creates a sibling: a child of this process's parent, in the namespaces of `flags`. The caller
/// vouches that it has a single thread: the mounts that it sees may show no /proc to count in.
///
/// # Errors
/// What clone3(2) says.
pub fn clone_sibling(flags: u64) -> io::Result<Cloned> {
    // A sibling's exit signal is the caller's own.
    clone3(flags | libc::CLONE_PARENT as u64, 0, None)
}

fn clone3(
    flags: u64,
    exit_signal: libc::c_int,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is a plain structure of integers, for which zero is a value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = exit_signal as u64;
    if let Some(group) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = group.as_raw_fd() as u64;
    }
    // SAFETY: the process has one thread (checked or vouched for), so the copy is as consistent as a
    // fork's; no CLONE_VM is given, so no stack is shared; `args` and `pidfd` outlive the call.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const args,
            std::mem::size_of::<libc::clone_args>(),
        )
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => Ok(Cloned::Parent {
            pid: pid as i32,
            // SAFETY: the kernel stored a fresh descriptor that nothing else owns.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// Forks a process that has the same table of descriptors, and not a copy of it. As for [`fork`].
///
/// # Errors
/// What clone3(2) says.
pub fn fork_with_same_descriptors() -> io::Result<Cloned> {
    clone3(libc::CLONE_FILES as u64, libc::SIGCHLD, None)
}

/// The number of threads of this process.
///
/// # Errors
/// When /proc does not show the calling process.
pub fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Replaces the program; returns only with an error.
pub fn execve(path: &CString, args: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter()
            .map(|entry| entry.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (argv, envp) = (pointers(args), pointers(env));
    // SAFETY: path, argv and envp are NUL-terminated strings in arrays that end with a null
    // pointer, and all of them outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends this process at once, without running destructors or exit handlers, as a forked copy must.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) takes an integer and does not return.
    unsafe { libc::_exit(status) }
}

/// Forks a process with a single thread, or one whose other threads wait in the kernel and hold no lock,
/// which the caller vouches for: the new root may show no /proc to count them in. The child gets pid 0.
///
/// # Errors
/// What fork(2) says.
pub fn fork() -> io::Result<i32> {
    // SAFETY: callers are the single-threaded launch child and the init it becomes, of whose threads
    // only the one that holds its lock for writing does anything but wait; the child takes no lock.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid),
    }
}
