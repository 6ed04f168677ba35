//! Who the worker is: the ids inside its user namespace and the ids they are outside.
//!
//! A caller with CAP_SETUID gives each run two ids of its own from a range that no account uses,
//! so that two workers share nothing that the kernel counts or checks by user. Any other caller
//! can only lend its own id.

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use caps::{CapSet, Capability};
use rustix::fs::{Gid, Uid};

use crate::sys::clone::{self, Cloned};

/// The first of the ids that runs take for themselves: above every range that useradd(8) and
/// subuid(5) hand out, below the ids that the kernel reserves. Two for each pid (4 Mi) fit.
const RANGE: u32 = 0x7000_0000;

/// How many ids that is.
const RANGE_LENGTH: u32 = 0x80_0000;

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
        .all(may)
            && ["/proc/self/uid_map", "/proc/self/gid_map"]
                .into_iter()
                .all(has_range);
        let unprivileged = |id: u32| if id == 0 { 1000 } else { id };
        if privileged {
            Identity {
                worker: 1000,
                group: 1000,
                own: Some(own_ids()),
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

    /// Gives the worker something that this process made, so that it can open it anew by `/proc/self/fd`.
    ///
    /// # Errors
    /// `EPERM` without CAP_CHOWN, where the run has ids of its own.
    pub fn give(&self, object: BorrowedFd<'_>) -> io::Result<()> {
        let Some((_, worker)) = self.own else {
            return Ok(());
        };
        let (uid, gid) = (Uid::from_raw(worker), Gid::from_raw(worker));
        Ok(rustix::fs::fchown(object, Some(uid), Some(gid))?)
    }

    /// Whether the worker is root as the host sees it, whose processes the kernel does not count
    /// for RLIMIT_NPROC: the caller is, and has no other id to give.
    #[must_use]
    pub fn is_host_root(&self) -> bool {
        let outside = || outside_id("/proc/self/uid_map", 0, 1).unwrap_or(0);
        self.own.is_none() && self.caller.0 == 0 && outside() == 0
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
        let parent = rustix::process::getpid();
        match clone::clone(libc::CLONE_NEWUSER as u64, None)? {
            Cloned::Child => {
                // Lives until the descriptor below is open; the parent kills it. A parent that
                // ended before the signal was asked for will not.
                let dies = crate::sys::process::set_parent_death_signal(libc::SIGKILL).is_ok();
                if dies && rustix::process::getppid() == Some(parent) {
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

/// Whether the caller's own user namespace has the range of ids: the root of a container, which
/// has every capability there, has not.
fn has_range(map: &str) -> bool {
    outside_id(map, RANGE, RANGE_LENGTH).is_some()
}

/// What `length` ids from `inside` on are outside the caller's user namespace; nothing where the
/// map does not have them all, or is not to be read.
pub(super) fn outside_id(map: &str, inside: u32, length: u32) -> Option<u32> {
    // A kernel without user namespaces has no map, and no caller that gets this far.
    mapped(&fs::read_to_string(map).ok()?, inside, length)
}

/// Each line of a map is the first id inside, the first outside, and how many (user_namespaces(7)).
fn mapped(map: &str, inside: u32, length: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let (first, outside) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        let count = numbers.next()?.ok()?;
        let offset = inside.checked_sub(first)?;
        let fits = offset.checked_add(length)? <= count;
        fits.then(|| outside.checked_add(offset)).flatten()
    })
}

/// Two ids that no account has and no other run of this host takes at the same time.
pub(super) fn own_ids() -> (u32, u32) {
    let first = RANGE + 2 * (std::process::id() & 0x3f_ffff);
    (first, first + 1)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_looked_up_in_the_map_of_a_namespace() {
        let host = "         0          0 4294967295\n";
        assert_eq!(mapped(host, RANGE, RANGE_LENGTH), Some(RANGE));
        assert_eq!(mapped(host, 0, 1), Some(0));
        let container = "0 1000 1\n1 100000 65536\n";
        assert_eq!(mapped(container, 0, 1), Some(1000));
        assert_eq!(mapped(container, RANGE, RANGE_LENGTH), None);
        let a_part = format!("0 100000 {}", RANGE + 1);
        assert_eq!(mapped(&a_part, RANGE, RANGE_LENGTH), None);
        for none in ["", "0 0", "x y z", "5 5 5"] {
            assert_eq!(mapped(none, 0, 1), None, "{none}");
        }
    }
}
