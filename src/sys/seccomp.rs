//! seccomp(2): handing a finished BPF program to the kernel, and answering what it notifies.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, Linux 5.19 (`linux/seccomp.h`); libc has no name for it.
pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// Longest program that the kernel takes (`BPF_MAXINSNS`, `linux/bpf_common.h`), in instructions.
pub const LONGEST_PROGRAM: usize = 4096;

/// Adds `program` to the filters of the calling thread, for its life and for its descendants.
///
/// # Errors
/// What seccomp(2) answers: `EACCES` without no_new_privs, `EINVAL` for a malformed program.
pub fn add_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    set_filter(program, 0).map(drop)
}

/// Adds `program` and opens the listener that receives what it sends to `SECCOMP_RET_USER_NOTIF`.
///
/// Where the kernel can (5.19), a call that has been received waits undisturbed by signals: one
/// that is not lethal would otherwise restart it and notify a second time.
///
/// # Errors
/// As for [`add_filter`]; `EBUSY` where a filter of this thread already has a listener.
pub fn add_filter_with_listener(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let listener = match set_filter(program, NEW_LISTENER | WAIT_KILLABLE_RECV) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            set_filter(program, NEW_LISTENER)
        }
        answer => answer,
    }?;
    listener.ok_or_else(|| io::Error::other("the kernel opened no listener"))
}

/// Whether a call that has been received waits undisturbed here: only then can it be given something
/// before its answer, which it would be given once more otherwise.
pub fn waits_undisturbed() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let flags = NEW_LISTENER | WAIT_KILLABLE_RECV;
        // SAFETY: without a program nothing is installed: the kernel looks at the flags, and then finds
        // no program at a null pointer.
        let tried = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                std::ptr::null::<libc::sock_fprog>(),
            )
        };
        tried == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
    })
}

const NEW_LISTENER: u32 = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;

/// Adds `program` with the flags of seccomp(2) that are set in `flags`, and gives the listener
/// where they ask for one (close-on-exec).
///
/// # Errors
/// As for [`add_filter`]; `EINVAL` also for a flag that this kernel does not know, `EBUSY` where
/// a listener is asked for and a filter of this thread already has one.
pub fn set_filter(program: &[libc::sock_filter], flags: u32) -> io::Result<Option<OwnedFd>> {
    let answer = set_mode_filter(program, libc::c_ulong::from(flags))?;
    if flags & NEW_LISTENER == 0 {
        // With TSYNC it is the id of a thread that could not be brought along.
        return match answer {
            0 => Ok(None),
            thread => Err(io::Error::other(format!(
                "thread {thread} has filters of its own"
            ))),
        };
    }
    // SAFETY: with NEW_LISTENER a non-negative answer is a descriptor that the kernel has just
    // made for this call, so nothing else owns it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(answer) }))
}

fn set_mode_filter(program: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<i32> {
    let Ok(len) = u16::try_from(program.len()) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let text = libc::sock_fprog {
        len,
        filter: program.as_ptr().cast_mut(),
    };
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

// ioctl numbers of the listener (`linux/seccomp.h`), as the kernel computes them from the sizes of
// its structures: 80 bytes received, 24 bytes sent, 8 bytes of id, 24 bytes of a descriptor.
const NOTIF_RECV: libc::Ioctl = 0xc050_2100_u32 as libc::Ioctl;
const NOTIF_SEND: libc::Ioctl = 0xc018_2101_u32 as libc::Ioctl;
const NOTIF_ID_VALID: libc::Ioctl = 0x4008_2102_u32 as libc::Ioctl;
const NOTIF_ADDFD: libc::Ioctl = 0x4018_2103_u32 as libc::Ioctl;
const NOTIF_SET_FLAGS: libc::Ioctl = 0x4008_2104_u32 as libc::Ioctl;

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`, Linux 6.6 (`linux/seccomp.h`).
const SYNC_WAKE_UP: u64 = 1;

/// A system call that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification {
    /// What the answer must name.
    pub id: u64,
    /// The thread that waits, as the pid namespace of the listener's opener numbers it; 0 when it
    /// is not to be seen from there.
    pub pid: u32,
    /// The number of the call.
    pub number: i32,
    /// Its arguments. What they point to is the caller's to change at any time.
    pub arguments: [u64; 6],
}

/// The answer to a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The kernel goes on with the call, reading its arguments anew. Sound only where nothing
    /// else can write to the caller's memory.
    Continue,
    /// The call fails with this errno.
    Errno(i32),
    /// The call gives this.
    Value(i64),
}

/// Asks that whoever waits for an answer, and whoever waits for a notification, runs on the
/// processor of the one that it waited for: that one is about to sleep, and waking another
/// processor takes longer than the call. Gives whether the kernel can (6.6).
pub fn wake_in_place(listener: BorrowedFd<'_>) -> bool {
    // SAFETY: the argument of this request is the value itself.
    unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SET_FLAGS, SYNC_WAKE_UP) == 0 }
}

/// Waits for the next notification on `listener`.
///
/// # Errors
/// `ENOENT` when the caller was killed meanwhile, `EINTR`, and `EAGAIN`'s like from a listener
/// whose filter no process has any more.
pub fn receive(listener: BorrowedFd<'_>) -> io::Result<Notification> {
    // SAFETY: the structure is of integers, for which zero is a value; the kernel demands zeros.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    listener_ioctl(listener, NOTIF_RECV, (&raw mut notification).cast())?;
    Ok(Notification {
        id: notification.id,
        pid: notification.pid,
        number: notification.data.nr,
        arguments: notification.data.args,
    })
}

/// Whether the call behind `id` still waits. After reading anything about the caller by its pid,
/// this tells that it was the caller and not a later process of the same number.
#[must_use]
pub fn still_waits(listener: BorrowedFd<'_>, mut id: u64) -> bool {
    listener_ioctl(listener, NOTIF_ID_VALID, (&raw mut id).cast()).is_ok()
}

/// Answers the notification `id`.
///
/// # Errors
/// `ENOENT` when the caller was killed meanwhile.
pub fn answer(listener: BorrowedFd<'_>, id: u64, answer: Answer) -> io::Result<()> {
    let (val, error, flags) = match answer {
        Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        Answer::Errno(errno) => (0, -errno, 0),
        Answer::Value(value) => (value, 0, 0),
    };
    let mut response = libc::seccomp_notif_resp {
        id,
        val,
        error,
        flags,
    };
    listener_ioctl(listener, NOTIF_SEND, (&raw mut response).cast())
}

/// Gives the caller behind `id` a copy of `descriptor`, and answers its call with the number that it
/// has there, in one step (Linux 5.14).
///
/// # Errors
/// `ENOENT` when the caller was killed meanwhile, `EMFILE` where it may have no more descriptors;
/// the call waits on then.
pub fn answer_with_descriptor(
    listener: BorrowedFd<'_>,
    id: u64,
    descriptor: BorrowedFd<'_>,
    close_on_exec: bool,
) -> io::Result<()> {
    let send = libc::SECCOMP_ADDFD_FLAG_SEND as u32;
    add(listener, (id, send), descriptor, close_on_exec).map(drop)
}

/// Gives the caller behind `id` a copy of `descriptor`, and the number that it has there. The call waits
/// on for its answer.
///
/// # Errors
/// As [`answer_with_descriptor`].
pub fn give_descriptor(
    listener: BorrowedFd<'_>,
    id: u64,
    descriptor: BorrowedFd<'_>,
    close_on_exec: bool,
) -> io::Result<i32> {
    add(listener, (id, 0), descriptor, close_on_exec)
}

fn add(
    listener: BorrowedFd<'_>,
    (id, flags): (u64, u32),
    descriptor: BorrowedFd<'_>,
    close_on_exec: bool,
) -> io::Result<i32> {
    let mut added = libc::seccomp_notif_addfd {
        id,
        flags,
        srcfd: descriptor.as_raw_fd() as u32,
        newfd: 0,
        newfd_flags: if close_on_exec {
            libc::O_CLOEXEC as u32
        } else {
            0
        },
    };
    // SAFETY: the pointer is to a live local of the structure that the request encodes the size
    // of; the kernel reads it.
    match unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_ADDFD, &raw mut added) } {
        -1 => Err(io::Error::last_os_error()),
        number => Ok(number),
    }
}

fn listener_ioctl(
    listener: BorrowedFd<'_>,
    request: libc::Ioctl,
    argument: *mut libc::c_void,
) -> io::Result<()> {
    // SAFETY: each caller passes a pointer to a live local of the structure that `request`
    // encodes the size of, and the kernel checks that size.
    match unsafe { libc::ioctl(listener.as_raw_fd(), request, argument) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
