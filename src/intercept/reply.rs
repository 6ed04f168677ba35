//! Answers to calls that wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use rustix::fs::{OFlags, fcntl_getfl, fstat};
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

/// Who has a descriptor open that a caller is to get.
#[derive(Debug, Clone, Default)]
pub struct Handed(Arc<RwLock<()>>);

impl Handed {
    /// Says that there is one, until what is given back is dropped. To be called before anything else
    /// can be decided.
    pub fn begin(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is none: a process that is forked would have a copy, a file that is open for
    /// writing is not executed, and what former rules allowed is not given under new ones.
    pub(super) fn wait_for_all(&self) {
        drop(self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A descriptor that answers a call.
#[derive(Debug)]
pub struct Given {
    /// The call.
    pub(super) id: u64,
    pub(super) descriptor: OwnedFd,
    pub(super) close_on_exec: bool,
    /// The file, by device and inode, where it matters how long we have it open too.
    file: Option<(u64, u64)>,
    /// Whether its caller gets it before the answer: what is open for writing is not executed, so ours is
    /// to be closed before the caller goes on.
    is_first: bool,
}

impl Given {
    /// Gives what is open for reading alone.
    pub(super) fn to_read(
        id: u64,
        (descriptor, close_on_exec): (OwnedFd, bool),
        file: Option<(u64, u64)>,
    ) -> Given {
        Given {
            id,
            descriptor,
            close_on_exec,
            file,
            is_first: false,
        }
    }

    /// Gives whatever it is.
    ///
    /// # Errors
    /// What the kernel says of it.
    pub(super) fn of(
        id: u64,
        (descriptor, close_on_exec): (OwnedFd, bool),
    ) -> Result<Given, Errno> {
        let mut given = Given::to_read(id, (descriptor, close_on_exec), None);
        let writes = fcntl_getfl(&given.descriptor)? & OFlags::ACCMODE != OFlags::RDONLY;
        given.is_first = writes && seccomp::waits_undisturbed();
        if !given.is_first {
            let stat = fstat(&given.descriptor)?;
            given.file = Some((stat.st_dev, stat.st_ino));
        }
        Ok(given)
    }

    /// The file of the descriptor, by device and inode, where it is not to be open here when its caller
    /// gets it once more: a lock on it lasts until nobody has it open.
    #[must_use]
    pub fn file(&self) -> Option<(u64, u64)> {
        self.file
    }

    /// Answers the call with the descriptor, or with why the caller cannot have it, as when it has too
    /// many. Waits until the caller has run.
    ///
    /// # Errors
    /// As [`answer`].
    pub fn hand_over(self, listener: BorrowedFd<'_>) -> io::Result<()> {
        let Given {
            id,
            descriptor,
            close_on_exec,
            ..
        } = &self;
        let (id, copied) = (*id, descriptor.as_fd());
        let given = match self.is_first {
            false => seccomp::answer_with_descriptor(listener, id, copied, *close_on_exec),
            true => match seccomp::give_descriptor(listener, id, copied, *close_on_exec) {
                Ok(number) => {
                    drop(self);
                    return answer(listener, id, Answer::Value(i64::from(number)));
                }
                Err(error) => Err(error),
            },
        };
        match given {
            Ok(()) => Ok(()),
            Err(error) => {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::ACCESS);
                refuse(listener, id, errno)
            }
        }
    }
}
