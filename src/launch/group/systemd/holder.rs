//! A process that holds a place.
//!
//! systemd makes a scope around processes, and takes it away with the last of them. The container's
//! first process is to be born into a group whose limits are set; so this one, which does nothing,
//! is there before it, until the runtime lets go of it or ends.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::sys::clone::{self, Cloned};
use crate::sys::process;

/// The process. Dropping it ends it.
#[derive(Debug)]
pub(in crate::launch::group) struct Holder {
    pid: i32,
    pidfd: OwnedFd,
}

impl Holder {
    /// Starts one.
    pub(super) fn start() -> io::Result<Holder> {
        let parent = rustix::process::getpid();
        match clone::clone(0, None)? {
            Cloned::Parent { pid, pidfd } => Ok(Holder { pid, pidfd }),
            Cloned::Child => {
                // In a copy of the runtime nothing may be said or undone: it ends at once if it
                // cannot be sure to end with its parent.
                let bound = process::set_parent_death_signal(libc::SIGKILL).is_ok()
                    && rustix::process::getppid() == Some(parent);
                if bound {
                    wait();
                }
                clone::exit_now(1)
            }
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }
}

fn wait() -> ! {
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let killed = process::pidfd_signal(self.pidfd.as_fd(), libc::SIGKILL);
        let reaped = process::wait_for(self.pid);
        tracing::debug!(
            ?killed,
            ?reaped,
            "let go of the control group's first place"
        );
    }
}
