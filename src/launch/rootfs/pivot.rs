//! Entering the root, so that nothing outside of it has a name any more.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::Assembled;
use super::options::Propagation;
use crate::launch::Failure;
use crate::sys::mount::{self, Change, Reach, attr};
use crate::sys::mountinfo;

impl Assembled {
    /// Makes the root the root of this process. With `no_pivot`, for a root that pivot_root(2)
    /// refuses because it is the initial one, it is moved over the old root and chroot(2)ed into,
    /// which is weaker.
    ///
    /// # Errors
    /// The step, and what the kernel said.
    pub fn pivot(&mut self, no_pivot: bool) -> Result<(), Failure> {
        let fail = |operation| move |cause: io::Error| Failure::new(operation, "the root", cause);
        if !self.facts.mount_namespace {
            change_root(self.root()).map_err(fail("change into"))?;
        } else if no_pivot {
            cover_host(self.outside.as_fd(), self.root())
                .and_then(|()| mount::attach(self.root(), self.outside.as_fd()))
                .and_then(|()| change_root(self.root()))
                .map_err(fail("move"))?;
        } else {
            let hears_only = self.plan.propagation.is_none_or(Propagation::hears_only);
            exchange(self.root(), self.outside.as_fd(), hears_only).map_err(fail("exchange"))?;
        }
        // Applied to the new root once it is one: before, the host's would have been meant.
        if let Some(propagation) = self.plan.propagation
            && matches!(propagation.kind, libc::MS_SHARED | libc::MS_UNBINDABLE)
        {
            mount::change(self.root(), propagation.change(), propagation.reach)
                .map_err(fail("set the propagation of"))?;
        }
        Ok(())
    }
}

/// pivot_root(2) with one directory for both: the old root lies on the new one then, and is taken
/// off.
fn exchange(root: BorrowedFd<'_>, outside: BorrowedFd<'_>, hears_only: bool) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    rustix::process::fchdir(outside)?;
    // What is unmounted here must not be unmounted on the host. Only now: before, the container's
    // own mounts were part of this tree, and those that share are to go on sharing.
    if !hears_only {
        make_slaves(outside)?;
    }
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}

fn make_slaves(outside: BorrowedFd<'_>) -> io::Result<()> {
    let slave = Change {
        propagation: libc::MS_SLAVE,
        ..Change::default()
    };
    mount::change(outside, slave, Reach::Tree)
}

fn change_root(root: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(".")?;
    Ok(rustix::process::chdir("/")?)
}

/// A chroot leaves the host's mounts in the namespace, and a whole procfs or sysfs among them lets
/// a process in a user namespace mount one afresh that nothing is masked in. So they go.
fn cover_host(outside: BorrowedFd<'_>, root: BorrowedFd<'_>) -> io::Result<()> {
    let own = rustix::fs::readlink(format!("/proc/self/fd/{}", raw(root)), Vec::new())?;
    let own = own.to_string_lossy().into_owned();
    let table = std::fs::read("/proc/self/mountinfo")?;
    make_slaves(outside)?;
    for path in whole_kernel_mounts(&table) {
        if path.starts_with(&own) {
            continue;
        }
        match rustix::mount::unmount(&path, UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::NOENT) => {}
            // It is locked in this user namespace: something is put over it.
            Err(Errno::INVAL | Errno::PERM) => cover(&path)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn raw(fd: BorrowedFd<'_>) -> i32 {
    use std::os::fd::AsRawFd;
    fd.as_raw_fd()
}

fn cover(path: &Path) -> io::Result<()> {
    let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let tree = super::filesystem::plain(c"tmpfs", &[("size", Some("0"))], attr::RDONLY)
        .map_err(|refused| io::Error::other(refused.to_string()))?;
    mount::attach(tree.as_fd(), place.as_fd())
}

/// Where a mountinfo shows a procfs or sysfs from its root on.
fn whole_kernel_mounts(list: &[u8]) -> Vec<PathBuf> {
    let is_whole = |mount: &mountinfo::Mount<'_>| {
        mount.root == Path::new("/") && matches!(mount.kind, b"proc" | b"sysfs")
    };
    let whole = mountinfo::mounts(list).filter(is_whole);
    whole.map(|mount| mount.point).collect()
}
