//! The root of a container that has its caller's mount namespace, and mounts of its own in it.
//!
//! The root becomes a mount of its own where it lies, private, and all else is mounted on that: so
//! nothing of it spreads to other namespaces, and unmounting the one takes everything along. Its
//! id is told before it is attached anywhere, for the caller to write down: whatever ends the
//! container or its creation, the mount is found by that id, and by nothing else.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use super::assemble::open_root;
use super::plan::{Kind, Plan, lexical};
use super::{Assembled, Rootfs, RootfsError, RootfsFacts};
use crate::sys::mount::{self, Change, Reach};

/// The mount that the root of such a container is, by which it is found again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootMount {
    /// Its id, which no other mount of the same boot has.
    pub id: u64,
    /// That boot, as /proc/sys/kernel/random/boot_id has it.
    pub boot: String,
    /// The mount namespace that it is in, as /proc/self/ns/mnt has it.
    pub namespace: String,
}

/// Why the mounts of a container cannot be taken away.
#[derive(Debug, thiserror::Error)]
pub enum RootMountError {
    /// This is another mount namespace.
    #[error(
        "the mounts of the container are in the mount namespace {0}: delete it from there; if that \
         is gone, so are they, and the container's directory below --root can be removed"
    )]
    Elsewhere(String),
    /// Something was mounted on it.
    #[error("something else is mounted over {}, which is the container's: unmount that first", .0.display())]
    Covered(PathBuf),
    /// The kernel refused.
    #[error("cannot unmount what is mounted for the container: {0}")]
    Kernel(#[from] io::Error),
}

/// The root as a mount that is not attached yet.
#[derive(Debug)]
pub(super) struct SharedRoot {
    mount: RootMount,
    tree: OwnedFd,
    place: OwnedFd,
}

const PRIVATE: Change = Change {
    set: 0,
    clear: 0,
    propagation: libc::MS_PRIVATE,
};

/// What the configuration asks of a mount namespace that is the caller's: none when that is
/// nothing; what cannot be had there, by name.
fn asked(plan: &Plan, facts: &RootfsFacts) -> Result<Option<&'static str>, RootfsError> {
    let mounts = &plan.mounts;
    let on_root = |target: &Path| lexical(target).is_some_and(|path| path.as_os_str().is_empty());
    // These would change the host itself.
    let refused = [
        (plan.propagation.is_some(), "linux.rootfsPropagation"),
        (
            mounts.iter().any(|mount| mount.kind == Kind::Remount),
            "a mount with the option remount",
        ),
        (
            mounts.iter().any(|mount| on_root(&mount.target)),
            "a mount on the root",
        ),
    ];
    let asked = [
        (!mounts.is_empty(), "mounts"),
        (!plan.masked.is_empty(), "linux.maskedPaths"),
        (!plan.readonly_paths.is_empty(), "linux.readonlyPaths"),
        (plan.readonly, "root.readonly"),
    ];
    let first = |list: &[(bool, &'static str)]| {
        let mut held = list.iter().filter(|(holds, _)| *holds);
        held.next().map(|(_, what)| *what)
    };
    let asked = first(&asked);
    // The root of a user namespace mounts nothing in one that is not its own.
    match first(&refused).or(asked.filter(|_| facts.user_namespace)) {
        Some(what) => Err(RootfsError::NoMountNamespace(what)),
        None => Ok(asked),
    }
}

/// The root of a container without a mount namespace that has something mounted in it.
pub(super) fn open(plan: &Plan, facts: &RootfsFacts) -> Result<Option<SharedRoot>, RootfsError> {
    if facts.mount_namespace || asked(plan, facts)?.is_none() {
        return Ok(None);
    }
    let failed = |cause| RootfsError::Shared {
        path: plan.bundle.join(&plan.root),
        cause,
    };
    let place = open_root(plan).map_err(|failure| failed(io::Error::other(failure.cause)))?;
    if is_host_s(place.as_fd()).map_err(failed)? {
        return Err(RootfsError::NoMountNamespace("the root of the host"));
    }
    let made = || -> io::Result<SharedRoot> {
        let tree = mount::clone_of(Some(place.as_fd()), Path::new(""), Reach::Tree, false)?;
        mount::change(tree.as_fd(), PRIVATE, Reach::Tree)?;
        let mount = RootMount {
            id: mount::unique_id(tree.as_fd())?,
            boot: own_boot()?,
            namespace: own_namespace()?,
        };
        // That it is nowhere yet can be told where it can be found later.
        mount::point_of(mount.id)?;
        Ok(SharedRoot { mount, tree, place })
    };
    made().map(Some).map_err(failed)
}

/// Whether a directory is the root of this process, were it by another mount of it.
fn is_host_s(place: BorrowedFd<'_>) -> io::Result<bool> {
    let (own, found) = (rustix::fs::stat("/")?, rustix::fs::fstat(place)?);
    Ok((own.st_dev, own.st_ino) == (found.st_dev, found.st_ino))
}

fn own_namespace() -> io::Result<String> {
    let link = fs::read_link("/proc/self/ns/mnt")?;
    Ok(link.display().to_string())
}

fn own_boot() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
}

impl SharedRoot {
    /// Attaches it where the root lies.
    pub(super) fn attach(self) -> io::Result<OwnedFd> {
        mount::attach(self.tree.as_fd(), self.place.as_fd())?;
        // What is mounted where others see it shares with them from then on.
        mount::change(self.tree.as_fd(), PRIVATE, Reach::Tree)?;
        Ok(self.tree)
    }
}

impl Rootfs {
    /// The mount that the root will be in the caller's own mount namespace, if it will: to be
    /// written down before the child assembles, and taken away at the container's end.
    #[must_use]
    pub fn own_mount(&self) -> Option<&RootMount> {
        self.shared.as_ref().map(|shared| &shared.mount)
    }
}

impl Assembled {
    /// A detached copy of something that the host has mounted. In the host's own namespace it must
    /// not share with what it was taken from: what is mounted or unmounted below would be there
    /// as well.
    pub(super) fn copy_of(&self, path: &Path, reach: Reach, link: bool) -> io::Result<OwnedFd> {
        let tree = mount::clone_of(None, path, reach, link)?;
        if !self.facts.mount_namespace {
            mount::change(tree.as_fd(), PRIVATE, reach)?;
        }
        Ok(tree)
    }
}

impl RootMount {
    /// Unmounts it with everything that is mounted on it, if it is there.
    ///
    /// # Errors
    /// It is there and stays.
    pub fn take_away(&self) -> Result<(), RootMountError> {
        if own_boot()? != self.boot {
            // The id is another's by now.
            return Ok(());
        }
        if own_namespace()? != self.namespace {
            return Err(RootMountError::Elsewhere(self.namespace.clone()));
        }
        let Some(point) = mount::point_of(self.id)? else {
            return Ok(());
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let no_links = ResolveFlags::NO_SYMLINKS;
        let found = rustix::fs::openat2(CWD, &point, flags, Mode::empty(), no_links);
        let found = found.map_err(io::Error::from)?;
        if mount::unique_id(found.as_fd())? != self.id {
            return Err(RootMountError::Covered(point));
        }
        mount::detach(found.as_fd())?;
        match mount::point_of(self.id)? {
            None => Ok(()),
            Some(point) => Err(RootMountError::Covered(point)),
        }
    }
}
