//! What a process does that `create` leaves beside a container: it lets go of the caller, gives up
//! its rights, and has a watcher of its own.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::sys::{capabilities, clone, process};

pub use crate::sys::process::exit_status_of;
pub use crate::sys::socket::receive_descriptors;

/// CAP_KILL of linux/capability.h.
const CAP_KILL: u64 = 1 << 5;

/// Lets go of everything that is the caller's, in a process that has nothing of its own yet; keeps
/// a copy of the standard input.
///
/// # Errors
/// What the kernel says.
pub fn detach() -> io::Result<OwnedFd> {
    process::close_range(3, i32::MAX)?;
    process::reset_signals()?;
    process::ignore_broken_pipes()?;
    // Whoever leads a session already has no caller's to leave.
    if let Err(error) = process::new_session()
        && error.raw_os_error() != Some(libc::EPERM)
    {
        return Err(error);
    }
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let input = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    process::duplicate_onto(null.as_raw_fd(), 0)?;
    Ok(input)
}

/// Gives up every right but that to end processes.
///
/// # Errors
/// What the kernel says.
pub fn drop_rights() -> io::Result<()> {
    let kept = capabilities::permitted()? & CAP_KILL;
    capabilities::apply(&capabilities::Sets {
        effective: kept,
        permitted: kept,
        ..capabilities::Sets::default()
    })?;
    process::set_no_new_privs()?;
    // The last step: the files below /proc/self are no longer an ordinary user's own then.
    process::set_not_dumpable()
}

/// A child of the supervisor that ends a container when the supervisor ends before it.
#[derive(Debug)]
pub struct Watcher {
    pidfd: OwnedFd,
}

impl Watcher {
    /// Starts it. To be called while the calling process has one thread. `first` is the pidfd of the
    /// container's first process; `end` ends the container, in the watcher.
    ///
    /// # Errors
    /// What fork(2) says.
    pub fn start<E>(
        first: BorrowedFd<'_>,
        end: impl FnOnce() -> Result<(), E>,
    ) -> io::Result<Watcher> {
        let supervisor = pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
        match clone::fork()? {
            0 => {
                let over = watch(first, supervisor.as_fd());
                let is_done = match over {
                    Ok(true) => true,
                    // Without knowing it is ended rather than left.
                    Ok(false) | Err(_) => end().is_ok(),
                };
                clone::exit_now(i32::from(!is_done))
            }
            pid => {
                let none = || io::Error::from_raw_os_error(libc::ESRCH);
                let pid = Pid::from_raw(pid).ok_or_else(none)?;
                Ok(Watcher {
                    pidfd: pidfd_open(pid, PidfdFlags::empty())?,
                })
            }
        }
    }
}

/// Readable when it has ended.
impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Waits for the end of the supervisor; gives whether the container had ended by then.
fn watch(first: BorrowedFd<'_>, supervisor: BorrowedFd<'_>) -> io::Result<bool> {
    process::set_name(c"buntime-watcher")?;
    close_all_but([supervisor.as_raw_fd(), first.as_raw_fd()])?;
    loop {
        let mut watched = [PollFd::from_borrowed_fd(supervisor, PollFlags::IN)];
        match poll(&mut watched, None) {
            Err(rustix::io::Errno::INTR) => {}
            other => {
                other?;
                break;
            }
        }
    }
    let now = rustix::time::Timespec::default();
    let mut watched = [PollFd::from_borrowed_fd(first, PollFlags::IN)];
    Ok(poll(&mut watched, Some(&now))? > 0)
}

/// The copies of the supervisor's sockets would keep its callers waiting.
fn close_all_but(kept: [i32; 2]) -> io::Result<()> {
    let (low, high) = (kept[0].min(kept[1]), kept[0].max(kept[1]));
    process::close_range(3, low - 1)?;
    process::close_range(low + 1, high - 1)?;
    process::close_range(high + 1, i32::MAX)
}
