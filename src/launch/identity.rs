//! Who the worker is: the ids inside its user namespace and the ids they are outside.
//!
//! A caller with CAP_SETUID gives each run two ids of its own from a range that no account uses,
//! so that two workers share nothing that the kernel counts or checks by user. Any other caller
//! can only lend its own id.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use caps::{CapSet, Capability};

use crate::sys::clone::{self, Cloned};

/// The first of the ids that runs take for themselves: above every range that useradd(8) and
/// subuid(5) hand out, below the ids that the kernel reserves. Two for each pid (4 Mi) fit.
const RANGE: u32 = 0x7000_0000;

/// The worker's ids, inside and outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// User and group id of the worker inside.
    pub worker: u32,
    /// The group id inside.
    pub group: u32,
    /// Outside ids of the namespace's root and of the worker, when the run has ids of its own.
    pub own: Option<(u32, u32)>,
    caller: (u32, u32),
}

impl Identity {
    /// Chooses for the calling process.
    #[must_use]
    pub fn choose() -> Identity {
        let (uid, gid) = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let may = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
        let privileged = [
            Capability::CAP_SETUID,
            Capability::CAP_SETGID,
            Capability::CAP_SYS_ADMIN,
        ]
        .into_iter()
        .all(may);
        let first = RANGE + 2 * (std::process::id() & 0x3f_ffff);
        let unprivileged = |id: u32| if id == 0 { 1000 } else { id };
        if privileged {
            Identity {
                worker: 1000,
                group: 1000,
                own: Some((first, first + 1)),
                caller: (uid, gid),
            }
        } else {
            Identity {
                worker: unprivileged(uid),
                group: unprivileged(gid),
                own: None,
                caller: (uid, gid),
            }
        }
    }

    /// Writes the maps of the user namespace of `pid`, a child that waits for them.
    ///
    /// # Errors
    /// The file that could not be written, and why.
    pub fn write_maps(&self, pid: i32) -> io::Result<()> {
        let write = |file: &str, text: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::write(&path, text)
                .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
        };
        match self.own {
            Some((root, worker)) => {
                let map = |inside: u32| format!("0 {root} 1\n{inside} {worker} 1\n");
                write("uid_map", &map(self.worker))?;
                write("gid_map", &map(self.group))
            }
            None => {
                write("setgroups", "deny")?;
                write("uid_map", &format!("{} {} 1\n", self.worker, self.caller.0))?;
                write("gid_map", &format!("{} {} 1\n", self.group, self.caller.1))
            }
        }
    }

    /// A user namespace for an idmapped mount on which the owner (uid, gid) appears as the worker.
    ///
    /// # Errors
    /// What making the namespace says.
    pub fn mount_map(&self, owner: (u32, u32)) -> io::Result<Option<OwnedFd>> {
        let Some((_, worker)) = self.own else {
            return Ok(None);
        };
        match clone::clone(libc::CLONE_NEWUSER as u64, None)? {
            Cloned::Child => {
                // Lives until the descriptor below is open; the parent kills it.
                if crate::sys::process::set_parent_death_signal(libc::SIGKILL).is_ok() {
                    std::thread::sleep(std::time::Duration::from_secs(60));
                }
                clone::exit_now(0)
            }
            Cloned::Parent { pid, pidfd } => {
                let namespace = fs::write(
                    format!("/proc/{pid}/uid_map"),
                    format!("{} {worker} 1\n", owner.0),
                )
                .and_then(|()| {
                    fs::write(
                        format!("/proc/{pid}/gid_map"),
                        format!("{} {worker} 1\n", owner.1),
                    )
                })
                .and_then(|()| fs::File::open(format!("/proc/{pid}/ns/user")));
                rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL)?;
                crate::sys::process::wait_for(pid)?;
                Ok(Some(namespace?.into()))
            }
        }
    }

    /// One sentence for the report.
    #[must_use]
    pub fn describe(&self) -> String {
        match self.own {
            Some((_, outside)) => {
                format!(
                    "uid {} inside, uid {outside} outside, which no account has",
                    self.worker
                )
            }
            None => format!("uid {} inside, the caller's uid outside", self.worker),
        }
    }
}

/// The first directory that every Linux system has and that is no symbolic link: the place where
/// the new root is put together, inside the child's own mount namespace.
///
/// # Errors
/// `NotFound` when there is none.
pub fn base_directory() -> io::Result<&'static Path> {
    ["/tmp", "/run", "/mnt", "/var"]
        .into_iter()
        .map(Path::new)
        .find(|path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()))
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no /tmp, /run, /mnt or /var"))
}
