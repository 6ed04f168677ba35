//! The ids of the container's user namespace, and a namespace with them before there is a container.

use std::fs::File;
use std::io::{self, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::sched::{CloneFlags, setns, unshare};
use oci_spec::runtime::{self as oci, LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};

use crate::sys::clone::{self, Cloned};
use crate::sys::process;

/// The ids of a user namespace, or the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ids {
    Mapped(IdMaps),
    Joined(PathBuf),
}

impl Ids {
    /// Those of the container, if it has a user namespace.
    pub(super) fn of(spec: &Spec) -> Option<Ids> {
        let linux = spec.linux().as_ref()?;
        let namespaces = linux.namespaces().iter().flatten();
        let mut user = namespaces.filter(|namespace| namespace.typ() == LinuxNamespaceType::User);
        let user = user.next()?;
        match (user.path(), linux.uid_mappings(), linux.gid_mappings()) {
            (Some(path), _, _) => Some(Ids::Joined(path.clone())),
            (None, Some(uids), Some(gids)) => Some(Ids::Mapped(IdMaps::new(uids, gids))),
            _ => None,
        }
    }

    /// The maps, for which a namespace that is there already is entered by a child.
    pub(super) fn maps(self) -> io::Result<IdMaps> {
        match self {
            Ids::Mapped(maps) => Ok(maps),
            Ids::Joined(_) => Helper::start(&self)?.maps(),
        }
    }
}

/// The text of a `uid_map` and of a `gid_map`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IdMaps {
    pub uids: String,
    pub gids: String,
}

impl IdMaps {
    pub(super) fn new(uids: &[oci::LinuxIdMapping], gids: &[oci::LinuxIdMapping]) -> IdMaps {
        let line = |map: &oci::LinuxIdMapping| {
            format!("{} {} {}\n", map.container_id(), map.host_id(), map.size())
        };
        IdMaps {
            uids: uids.iter().map(line).collect(),
            gids: gids.iter().map(line).collect(),
        }
    }

    /// User and group of the container as this process has them; none for what is not mapped.
    pub(super) fn outside(&self, (uid, gid): (u32, u32)) -> (Option<u32>, Option<u32>) {
        (outside(&self.uids, uid), outside(&self.gids, gid))
    }

    /// Whether a user outside is one of the container's, who can then change the mode of the user's
    /// files, whatever their group.
    pub(super) fn holds(&self, uid: u32) -> bool {
        is_inside(&self.uids, uid)
    }
}

/// The id outside that is `id` inside.
fn outside(map: &str, id: u32) -> Option<u32> {
    lines(map).find_map(|(inside, outside, count)| {
        let above = id.checked_sub(inside).filter(|above| *above < count)?;
        outside.checked_add(above)
    })
}

fn is_inside(map: &str, id: u32) -> bool {
    lines(map).any(|(_, outside, count)| id.checked_sub(outside).is_some_and(|above| above < count))
}

/// Three numbers in a line: the first inside, the first outside, how many.
fn lines(map: &str) -> impl Iterator<Item = (u32, u32, u32)> + '_ {
    map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some((next()?, next()?, next()?))
    })
}

/// A process that holds a user namespace, and a mount namespace that belongs to it.
pub(super) struct Helper {
    pid: i32,
    user: OwnedFd,
    mounts: OwnedFd,
    /// It ends when this is closed.
    _holds: PipeWriter,
}

impl Helper {
    pub(super) fn start(ids: &Ids) -> io::Result<Helper> {
        let (mut waits, holds) = io::pipe()?;
        let (mut ready, is_ready) = io::pipe()?;
        let (flags, joined) = match ids {
            Ids::Mapped(_) => (libc::CLONE_NEWUSER | libc::CLONE_NEWNS, None),
            Ids::Joined(path) => (0, Some(File::open(path)?)),
        };
        let pid = match clone::clone(flags.cast_unsigned().into(), None)? {
            Cloned::Parent { pid, .. } => pid,
            Cloned::Child => {
                drop((holds, ready));
                let joined = joined.is_none_or(|user| {
                    setns(user, CloneFlags::CLONE_NEWUSER)
                        .and_then(|()| unshare(CloneFlags::CLONE_NEWNS))
                        .is_ok()
                });
                if joined && io::Write::write_all(&mut &is_ready, b"r").is_ok() {
                    // Nothing is ever written: the end of the pipe is the end of the wait.
                    let end = waits.read(&mut [0]);
                    clone::exit_now(i32::from(end.is_err()));
                }
                clone::exit_now(1)
            }
        };
        drop(is_ready);
        let mut namespaces = || -> io::Result<(OwnedFd, OwnedFd)> {
            ready.read_exact(&mut [0])?;
            if let Ids::Mapped(maps) = ids {
                std::fs::write(format!("/proc/{pid}/uid_map"), &maps.uids)?;
                std::fs::write(format!("/proc/{pid}/gid_map"), &maps.gids)?;
            }
            let user = File::open(format!("/proc/{pid}/ns/user"))?;
            let mounts = File::open(format!("/proc/{pid}/ns/mnt"))?;
            Ok((user.into(), mounts.into()))
        };
        match namespaces() {
            Ok((user, mounts)) => Ok(Helper {
                pid,
                user,
                mounts,
                _holds: holds,
            }),
            Err(error) => {
                end(pid)?;
                Err(error)
            }
        }
    }

    /// The user namespace.
    pub(super) fn user(&self) -> BorrowedFd<'_> {
        self.user.as_fd()
    }

    /// The maps of the user namespace, as this process sees its ids.
    pub(super) fn maps(&self) -> io::Result<IdMaps> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", self.pid));
        Ok(IdMaps {
            uids: read("uid_map")?,
            gids: read("gid_map")?,
        })
    }

    /// Does something in the helper's mount namespace, and comes back.
    pub(super) fn within<T>(&self, body: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        elsewhere(|| setns(&self.mounts, CloneFlags::CLONE_NEWNS), body)
    }
}

/// Does something in a mount namespace that nobody else is in, a copy of this process's own, and
/// comes back. All that it mounts there is gone afterwards, but for what it has cloned.
pub(super) fn in_copy<T>(body: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    elsewhere(|| unshare(CloneFlags::CLONE_NEWNS), body)
}

fn elsewhere<T>(
    go: impl FnOnce() -> nix::Result<()>,
    body: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let directory = |path: &str| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
    };
    let own = File::open("/proc/self/ns/mnt")?;
    let (root, here) = (directory("/")?, directory(".")?);
    go()?;
    let done = body();
    let back = || -> io::Result<()> {
        setns(own.as_fd(), CloneFlags::CLONE_NEWNS)?;
        // setns(2) leads to the root of the namespace, which need not have been this one's.
        rustix::process::fchdir(&root)?;
        rustix::process::chroot(".")?;
        Ok(rustix::process::fchdir(&here)?)
    };
    back()?;
    done
}

fn end(pid: i32) -> io::Result<()> {
    process::kill(pid, libc::SIGKILL)?;
    process::wait_for(pid).map(|_| ())
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It is a child that waits for its end; there is nobody to tell that it had ended before.
        let ended = end(self.pid);
        debug_assert!(ended.is_ok(), "{ended:?}");
    }
}
