//! Sources of bind mounts that the child could not open by itself, opened in the parent.
//!
//! The root of a user namespace cannot translate owners, and cannot enter directories of the host
//! that are closed to it. What is opened for it here comes out of a mount namespace that belongs to
//! a user namespace with the same ids, so that the kernel keeps locked what the host has set:
//! a read-only mount stays one, and what is mounted over a directory stays there.

use std::fs::File;
use std::io::{self, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns, unshare};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};

use super::plan::{IdMaps, Kind, Mount};
use super::{RootfsError, RootfsFacts};
use crate::sys::clone::{self, Cloned};
use crate::sys::mount::{self, Change, Reach};
use crate::sys::process;

/// The ids of a user namespace, or the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ids {
    Mapped(IdMaps),
    Joined(PathBuf),
}

/// Opens what the child could not, and leaves the rest to it.
pub(super) fn open(
    mounts: &mut [Mount],
    spec: &Spec,
    facts: &RootfsFacts,
) -> Result<(), RootfsError> {
    let privileged = rustix::process::geteuid().is_root();
    let container = container_ids(spec).filter(|_| facts.user_namespace);
    let mut known: Vec<(Ids, Helper)> = Vec::new();
    for mount in mounts {
        let Kind::Bind(reach) = mount.kind else {
            continue;
        };
        let Some(source) = mount.source.clone() else {
            continue;
        };
        let own = mount.maps.clone().map(Ids::Mapped);
        let ids = match (mount.options.idmap, &container) {
            (Some(_), _) => {
                own.or_else(|| container.clone())
                    .ok_or_else(|| RootfsError::Mount {
                        target: mount.target.clone(),
                        why: "an id-mapped mount needs uidMappings and gidMappings, because the \
                          container has no user namespace to take them from"
                            .to_owned(),
                    })?
            }
            (None, Some(container)) if privileged && !can_reach(container, spec, &source) => {
                container.clone()
            }
            (None, _) => continue,
        };
        let fail = |cause| RootfsError::Namespace {
            target: mount.target.clone(),
            cause,
        };
        if !known.iter().any(|(kept, _)| *kept == ids) {
            known.push((ids.clone(), Helper::start(&ids).map_err(fail)?));
        }
        let Some((_, helper)) = known.iter().find(|(kept, _)| *kept == ids) else {
            continue;
        };
        let inside = container.as_ref() == Some(&ids);
        mount.opened = Some(open_one(mount, &source, reach, helper, inside)?);
    }
    Ok(())
}

fn container_ids(spec: &Spec) -> Option<Ids> {
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

/// Whether the root of the container's user namespace can open a path. What it cannot find it
/// can: that it is missing is for the child to say.
fn can_reach(container: &Ids, spec: &Spec, source: &Path) -> bool {
    let root_of = |maps: Option<&Vec<oci_spec::runtime::LinuxIdMapping>>| {
        let mut maps = maps.into_iter().flatten();
        maps.find(|map| map.container_id() == 0)
            .map(oci_spec::runtime::LinuxIdMapping::host_id)
    };
    let linux = spec.linux().as_ref();
    let uid = root_of(linux.and_then(|linux| linux.uid_mappings().as_ref()));
    let gid = root_of(linux.and_then(|linux| linux.gid_mappings().as_ref()));
    let (Ids::Mapped(_), Some(uid), Some(gid)) = (container, uid, gid) else {
        return false;
    };
    let found = process::with_file_rights(uid, gid, || {
        rustix::fs::open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    });
    match found {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => error != rustix::io::Errno::ACCESS,
        Err(_) => false,
    }
}

fn open_one(
    mount: &Mount,
    source: &Path,
    reach: Reach,
    helper: &Helper,
    inside: bool,
) -> Result<OwnedFd, RootfsError> {
    let link = mount.options.source_link;
    let cloned = if inside {
        helper.within(|| mount::clone_of(None, source, reach, link))
    } else {
        // Out of the own namespace: what is mounted in it must not show on the host.
        mount::clone_of(None, source, reach, link).and_then(|tree| {
            let slave = Change {
                propagation: libc::MS_SLAVE,
                ..Change::default()
            };
            mount::change(tree.as_fd(), slave, Reach::Tree)?;
            Ok(tree)
        })
    };
    let tree = cloned.map_err(|cause| RootfsError::Source {
        source_path: source.to_owned(),
        target: mount.target.clone(),
        cause,
    })?;
    if let Some(reach) = mount.options.idmap {
        mount::translate_owners(tree.as_fd(), helper.user.as_fd(), reach).map_err(|cause| {
            RootfsError::IdMap {
                source_path: source.to_owned(),
                target: mount.target.clone(),
                cause,
            }
        })?;
    }
    Ok(tree)
}

/// A process that holds a user namespace, and a mount namespace that belongs to it.
struct Helper {
    pid: i32,
    user: OwnedFd,
    mounts: OwnedFd,
    /// It ends when this is closed.
    _holds: PipeWriter,
}

impl Helper {
    fn start(ids: &Ids) -> io::Result<Helper> {
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

    /// Does something in the helper's mount namespace, and comes back.
    fn within<T>(&self, body: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let directory = |path: &str| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty())
        };
        let own = File::open("/proc/self/ns/mnt")?;
        let (root, here) = (directory("/")?, directory(".")?);
        setns(&self.mounts, CloneFlags::CLONE_NEWNS)?;
        let done = body();
        let back = || -> io::Result<()> {
            setns(own.as_fd(), CloneFlags::CLONE_NEWNS)?;
            // setns(2) leads to the root of the namespace, which need not have been this one's.
            enter_root(root.as_fd(), here.as_fd())
        };
        back()?;
        done
    }
}

fn enter_root(root: BorrowedFd<'_>, here: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(".")?;
    Ok(rustix::process::fchdir(here)?)
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
