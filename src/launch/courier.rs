//! Brings the listener of a filter that holds sendmsg(2) to init: who has the filter cannot send it.
//!
//! The courier is forked before the filter is in force, with the same table of descriptors, and is
//! gone before the program starts.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};

use super::executor::RESTRICTED;
use crate::sys::clone::{self, Cloned};
use crate::sys::{process, socket};

/// See the module.
pub(super) struct Courier {
    process: i32,
    /// A byte sends it on its way.
    errand: OwnedFd,
    /// Its end of that pipe, which would be closed for it too.
    _waits: OwnedFd,
    /// The number under which it finds what it is to bring.
    carried: OwnedFd,
}

impl Courier {
    /// Starts it. The caller has one thread and no filter yet.
    pub fn start(to_init: &OwnedFd) -> io::Result<Courier> {
        let (waits, errand) = pipe_with(PipeFlags::CLOEXEC)?;
        let carried = rustix::io::fcntl_dupfd_cloexec(to_init, 3)?;
        match clone::fork_with_same_descriptors()? {
            Cloned::Child => {
                let done = wait_and_bring(&waits, &carried, to_init);
                clone::exit_now(i32::from(done.is_err()))
            }
            Cloned::Parent { pid, .. } => Ok(Courier {
                process: pid,
                errand,
                _waits: waits,
                carried,
            }),
        }
    }

    /// Has it bring the listener, and waits until it is gone.
    pub fn bring(self, listener: BorrowedFd<'_>) -> io::Result<()> {
        process::duplicate_onto(listener.as_raw_fd(), self.carried.as_raw_fd())?;
        rustix::io::write(&self.errand, b".")?;
        match process::wait_for(self.process)? {
            0 => Ok(()),
            status => Err(io::Error::other(format!("the courier ended with {status}"))),
        }
    }
}

fn wait_and_bring(waits: &OwnedFd, carried: &OwnedFd, to_init: &OwnedFd) -> io::Result<()> {
    // The other end of the pipe is in its own table too, so that its end is never seen.
    process::set_parent_death_signal(libc::SIGKILL)?;
    while rustix::io::read(waits, &mut [0]) == Err(rustix::io::Errno::INTR) {}
    socket::send_record(to_init.as_fd(), RESTRICTED, &[carried.as_fd()])
}
