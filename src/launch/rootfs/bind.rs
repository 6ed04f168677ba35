//! Bind mounts: something of the host, shown at another place with options of its own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::attach::may_mount;
use super::inside::{Missing, Place};
use super::options::{Attributes, Options};
use super::plan::{Mount, lexical};
use super::{Assembled, failed};
use crate::launch::Failure;
use crate::sys::mount::{self, Reach, attr};

/// The type of procfs in statfs(2) (`linux/magic.h`).
const PROC_SUPER_MAGIC: i64 = 0x9fa0;

impl Assembled {
    pub(super) fn bind(&mut self, mount: &mut Mount, reach: Reach) -> Result<(), Failure> {
        let opened = mount.opened.take();
        let mount = &*mount;
        let source = mount.source.as_deref().unwrap_or(Path::new("/"));
        let options = &mount.options;
        if options.copy_symlink && self.copy_symlink(mount, source)? {
            return Ok(());
        }
        let tree = match opened {
            Some(tree) => tree,
            None => self
                .copy_of(source, reach, options.source_link)
                .map_err(failed("open the source of a mount,", source))?,
        };
        let kind = || -> io::Result<Missing> {
            let found = FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode);
            Ok(match found {
                FileType::Directory => Missing::Directory,
                _ => Missing::File,
            })
        };
        let place = self
            .target(mount, kind)
            .map_err(failed("make the target of a mount,", &mount.target))?;
        self.may_bind(&place, tree.as_fd())
            .map_err(failed("mount on", &mount.target))?;
        // The console and its like are still to be made in it.
        let late = lexical(&mount.target).as_deref() == Some(Path::new("dev"));
        set_attributes(tree.as_fd(), options, late)
            .map_err(failed("set the options of the mount on", &mount.target))?;
        self.attach(mount, tree, &place, late)
    }

    /// Makes a symbolic link again where it is to be; false when the source is none.
    fn copy_symlink(&self, mount: &Mount, source: &Path) -> Result<bool, Failure> {
        let fail = failed("copy a symbolic link to", &mount.target);
        let target = match rustix::fs::readlink(source, Vec::new()) {
            Ok(target) => target,
            Err(Errno::INVAL) => return Ok(false),
            Err(error) => return Err(failed("read the link", source)(error.into())),
        };
        let (parent, name) = self.inside.parent(&mount.target).map_err(&fail)?;
        match rustix::fs::symlinkat(&target, &parent, name) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => {
                let known = rustix::fs::readlinkat(&parent, name, Vec::new());
                if known.is_ok_and(|known| known == target) {
                    Ok(true)
                } else {
                    Err(fail(Errno::EXIST.into()))
                }
            }
            Err(error) => Err(fail(error.into())),
        }
    }

    /// A mount on /proc has to be a procfs: what a process believes of itself, and where it
    /// writes what restricts it, is read there.
    fn may_bind(&self, place: &Place, tree: BorrowedFd<'_>) -> io::Result<()> {
        if place.path == Path::new("proc") {
            return if rustix::fs::fstatfs(tree)?.f_type == PROC_SUPER_MAGIC {
                Ok(())
            } else {
                Err(io::Error::other("only a procfs can be mounted there"))
            };
        }
        may_mount(place)
    }
}

/// Gives a bind mount the options it was asked for. What keeps the mount that it was taken from
/// from harm, nosuid and its like, stays unless the opposite is asked for in so many words.
fn set_attributes(tree: BorrowedFd<'_>, options: &Options, late: bool) -> io::Result<()> {
    let mut own = options.own;
    if late {
        own.set &= !attr::RDONLY;
    }
    if !options.own.is_empty() {
        mount::change(tree, own.change(), Reach::One).map_err(|error| locked(tree, own, error))?;
    }
    if !options.tree.is_empty() {
        mount::change(tree, options.tree.change(), Reach::Tree)?;
    }
    Ok(())
}

/// In a user namespace what the source is mounted with may be locked.
fn locked(tree: BorrowedFd<'_>, own: Attributes, refused: io::Error) -> io::Error {
    let asked = of_source(tree).is_ok_and(|held| own.clear & held != 0);
    if refused.raw_os_error() == Some(libc::EPERM) && asked {
        let text = "the source is mounted with options that cannot be cleared here";
        return io::Error::new(refused.kind(), format!("{refused}: {text}"));
    }
    refused
}

/// The attributes that the mount has which can be locked.
fn of_source(tree: BorrowedFd<'_>) -> io::Result<u64> {
    use rustix::fs::StatVfsMountFlags as Flags;
    let flags = rustix::fs::fstatvfs(tree)?.f_flag;
    let pairs = [
        (Flags::RDONLY, attr::RDONLY),
        (Flags::NOSUID, attr::NOSUID),
        (Flags::NODEV, attr::NODEV),
        (Flags::NOEXEC, attr::NOEXEC),
        (Flags::NODIRATIME, attr::NODIRATIME),
    ];
    let held = pairs.into_iter().filter(|(flag, _)| flags.contains(*flag));
    Ok(held.fold(0, |all, (_, bit)| all | bit))
}
