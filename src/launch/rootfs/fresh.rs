//! Mounts of file systems that are made for the container.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::attach::may_mount;
use super::filesystem::{self, Refused, Words};
use super::inside::{Missing, Place};
use super::plan::{Mount, lexical};
use super::{Assembled, failed};
use crate::launch::Failure;
use crate::sys::mount::{self, Change, Reach, attr};

impl Assembled {
    pub(super) fn fresh(&mut self, mount: &Mount, kind: &CStr) -> Result<(), Failure> {
        let name = kind.to_string_lossy();
        let is_kernel = matches!(name.as_ref(), "proc" | "sysfs");
        let place = self
            .target(mount, || Ok(Missing::Directory))
            .map_err(failed("make the target of a mount,", &mount.target))?;
        if is_kernel {
            ordinary(mount, &name, &place)
                .map_err(failed(&format!("mount {name} on"), &mount.target))?;
        }
        if !(place.path == Path::new("proc") && name == "proc") {
            may_mount(&place).map_err(failed(&format!("mount {name} on"), &mount.target))?;
        }
        // Files are still to be made in these; they become read-only at the end.
        let late = name == "tmpfs" || lexical(&mount.target).as_deref() == Some(Path::new("dev"));
        let tree = match self.make(mount, kind, &place, late, None) {
            Ok(tree) => tree,
            Err(refused) => match self.instead(mount, &name, &place, late, &refused)? {
                Some(tree) => tree,
                None => return Err(explain(&name, mount, &refused)),
            },
        };
        if mount.options.copy_up && !place.made {
            super::copy_up::copy(place.fd.as_fd(), tree.as_fd())
                .map_err(failed("copy what is below", &mount.target))?;
        }
        if !mount.options.tree.is_empty() {
            mount::change(tree.as_fd(), mount.options.tree.change(), Reach::Tree)
                .map_err(failed("set the options of the mount on", &mount.target))?;
        }
        self.attach(mount, tree, &place, late)
    }

    fn make(
        &self,
        mount: &Mount,
        kind: &CStr,
        place: &Place,
        late: bool,
        without: Option<&str>,
    ) -> Result<OwnedFd, Refused> {
        let options = &mount.options;
        let name = kind.to_bytes();
        let mode;
        let mut data: Vec<(&str, Option<&str>)> = Vec::new();
        // A tmpfs is as open as the directory that it covers, unless it is told otherwise.
        if name == b"tmpfs" && !place.made && options.datum("mode").is_none() {
            let covered = rustix::fs::fstat(&place.fd).map_err(Refused::from)?;
            mode = format!("{:04o}", covered.st_mode & 0o7777);
            data.push(("mode", Some(&mode)));
        }
        // These are one file system however often they are mounted; a mount of theirs is
        // read-only by its attribute.
        let is_shared = matches!(
            name,
            b"proc" | b"sysfs" | b"mqueue" | b"devpts" | b"cgroup2" | b"tmpfs"
        );
        if options.own.set & attr::RDONLY != 0 && !is_shared {
            data.push(("ro", None));
        }
        data.extend(options.superblock.iter().map(|flag| (*flag, None)));
        let takes_label = !matches!(name, b"proc" | b"sysfs" | b"mqueue");
        if let Some(label) = self.plan.label.as_deref().filter(|_| takes_label) {
            data.push(("context", Some(label)));
        }
        let given = options.data.iter();
        let given = given.map(|(name, value)| (name.as_str(), value.as_deref()));
        data.extend(given.filter(|(name, _)| Some(*name) != without));
        let words = Words {
            source: mount.source.as_deref().and_then(Path::to_str),
            data: &data,
        };
        let mut attributes = options.own.fresh();
        if late {
            attributes &= !attr::RDONLY;
        }
        if words.are_long() {
            return self.mount_here(kind, words, place, attributes);
        }
        filesystem::fresh(kind, words, attributes)
    }

    /// A file system whose words are too long for the newer interface: mounted in place, and
    /// taken from there as a detached copy of its mount, which then goes the way of all others.
    fn mount_here(
        &self,
        kind: &CStr,
        words: Words<'_>,
        place: &Place,
        attributes: u64,
    ) -> Result<OwnedFd, Refused> {
        let made = || -> Result<OwnedFd, Refused> {
            filesystem::mount_here(place.fd.as_fd(), kind, words)?;
            let top = self.inside.open(&place.path, OFlags::PATH).map_err(errno)?;
            // What it covered is another file system, or another directory of this one.
            if mount_id(top.as_fd())? == mount_id(place.fd.as_fd())? {
                return Err(Errno::STALE.into());
            }
            let tree = mount::clone_of(Some(top.as_fd()), Path::new(""), Reach::One, false)
                .map_err(errno)?;
            rustix::process::fchdir(&top)?;
            rustix::mount::unmount(".", UnmountFlags::DETACH)?;
            let change = Change {
                set: attributes,
                clear: attr::ATIME,
                propagation: libc::MS_PRIVATE,
            };
            mount::change(tree.as_fd(), change, Reach::One).map_err(errno)?;
            Ok(tree)
        };
        let made = made();
        rustix::process::fchdir(&self.outside)?;
        made
    }

    /// What is mounted where a user namespace cannot have the file system that was asked for.
    fn instead(
        &self,
        mount: &Mount,
        name: &str,
        place: &Place,
        late: bool,
        refused: &Refused,
    ) -> Result<Option<OwnedFd>, Failure> {
        match (name, refused.errno) {
            // The group tty has no id in this user namespace.
            ("devpts", Errno::INVAL) if mount.options.datum("gid").is_some() => {
                Ok(self.make(mount, c"devpts", place, late, Some("gid")).ok())
            }
            // The network namespace is not this user namespace's: the host's sysfs, whole and
            // read-only, is what there is.
            ("sysfs", Errno::PERM) if mount.options.own.set & attr::RDONLY != 0 => {
                let shown = || -> io::Result<OwnedFd> {
                    let tree = self.copy_of(Path::new("/sys"), Reach::Tree, false)?;
                    let set = mount.options.own.set;
                    let change = Change {
                        set,
                        ..Change::default()
                    };
                    mount::change(tree.as_fd(), change, Reach::Tree)?;
                    Ok(tree)
                };
                let fail = failed("show the host's /sys on", &mount.target);
                shown().map(Some).map_err(fail)
            }
            _ => Ok(None),
        }
    }
}

/// procfs and sysfs go where they are said to go, and not to where a link of the image leads. That
/// it is a directory is what the kernel wants of it.
fn ordinary(mount: &Mount, name: &str, place: &Place) -> io::Result<()> {
    let is_link = lexical(&mount.target).is_none_or(|path| path != place.path);
    if is_link {
        return Err(io::Error::other(format!(
            "filesystem {name:?} must be mounted on ordinary directory; its path leads through a \
             symbolic link of the image's"
        )));
    }
    Ok(())
}

fn explain(name: &str, mount: &Mount, refused: &Refused) -> Failure {
    let why = match (name, refused.errno) {
        ("proc", Errno::PERM) => {
            ": a new procfs needs a pid namespace of the container's own, and in a user namespace \
             a /proc outside that nothing is mounted over"
        }
        ("sysfs", Errno::PERM) => {
            ": a new sysfs needs a network namespace of the container's own; with the option ro \
             the host's would be shown"
        }
        ("mqueue", Errno::PERM) => ": it needs an IPC namespace of the container's own",
        _ => "",
    };
    Failure::new(
        &format!("mount {name} on"),
        mount.target.display().to_string(),
        format!("{refused}{why}"),
    )
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

fn mount_id(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let found = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok(found.stx_mnt_id)
}
