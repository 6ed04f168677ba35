//! Answers to calls that wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::sys::seccomp::{self, Answer};

/// Answers the call `id`. A caller that is gone needs no answer, and neither does one that has an
/// answer and has not been woken yet: somebody of ours was faster.
///
/// # Errors
/// What the kernel says of the listener.
pub fn answer(listener: BorrowedFd<'_>, id: u64, answer: Answer) -> io::Result<()> {
    match seccomp::answer(listener, id, answer) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINPROGRESS)) => {
            Ok(())
        }
        other => other,
    }
}

/// Lets the call `id` fail.
///
/// # Errors
/// As [`answer`].
pub fn refuse(listener: BorrowedFd<'_>, id: u64, errno: Errno) -> io::Result<()> {
    answer(listener, id, Answer::Errno(errno.raw_os_error()))
}

/// Answers the call `id` with a descriptor, or with why the caller cannot have it, as when it has too
/// many.
pub(super) fn hand_over(
    listener: BorrowedFd<'_>,
    id: u64,
    descriptor: &OwnedFd,
    close_on_exec: bool,
) -> io::Result<()> {
    match seccomp::answer_with_descriptor(listener, id, descriptor.as_fd(), close_on_exec) {
        Ok(()) => Ok(()),
        Err(error) => {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::ACCESS);
            refuse(listener, id, errno)
        }
    }
}
