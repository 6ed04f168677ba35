//! /dev: device nodes, the links that programs expect, and the console.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::plan::{Device, lexical};
use super::{Assembled, failed};
use crate::launch::Failure;
use crate::sys::mount::{self, Change, Reach, attr};

/// Where a link in /dev leads.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

/// What a mount of a device node alone is shown with.
pub(super) const NODE: Change = Change {
    set: attr::NOSUID | attr::NOEXEC,
    clear: 0,
    propagation: 0,
};

impl Assembled {
    /// Makes the devices and links, when no mount has brought a /dev along.
    pub(super) fn fill_dev(&mut self) -> Result<(), Failure> {
        let path = Path::new("/dev");
        let dev = self
            .inside
            .directory(path)
            .map_err(failed("make the directory", path))?
            .fd;
        let devices = std::mem::take(&mut self.plan.devices);
        for mut device in devices {
            let opened = device.opened.take();
            let node = opened.as_ref().map(AsFd::as_fd);
            let made = match in_dev(&device.path) {
                Some(name) => self.device(&device, node, dev.as_fd(), name),
                None => self
                    .inside
                    .parent(&device.path)
                    .and_then(|(parent, name)| self.device(&device, node, parent.as_fd(), name)),
            };
            made.map_err(failed("make the device", &device.path))?;
        }
        links(dev.as_fd()).map_err(failed("make the links in", path))?;
        self.dev = Some(dev);
        Ok(())
    }

    fn device(
        &self,
        device: &Device,
        node: Option<BorrowedFd<'_>>,
        dir: BorrowedFd<'_>,
        name: &OsStr,
    ) -> io::Result<()> {
        if let Some(node) = node {
            let place = node_place(dir, name, 0o666)?;
            return mount::attach(node, place.as_fd());
        }
        // A pipe is a device of nobody's.
        if !self.facts.user_namespace || device.kind == FileType::Fifo {
            match make_node(device, dir, name) {
                // Under a device control group, or in somebody else's user namespace.
                Err(Errno::PERM) => {}
                Err(Errno::EXIST) => return expect_device(device, dir, name),
                other => return Ok(other?),
            }
        }
        if self.facts.mount_namespace {
            bind_node(device, dir, name)
        } else {
            Err(Errno::PERM.into())
        }
    }

    /// Shows the terminal `pty` as /dev/console, which is made if it is missing. Before
    /// [`Assembled::finish`], which makes /dev read-only where that is asked for; before or after
    /// the root is entered.
    ///
    /// # Errors
    /// What the kernel said of the file or the mount.
    pub fn console(&self, pty: BorrowedFd<'_>) -> Result<(), Failure> {
        let path = Path::new("/dev/console");
        if !self.has_mounts {
            // It would be mounted on the host.
            return Ok(());
        }
        let shown = || -> io::Result<()> {
            let own: OwnedFd;
            let dev = match &self.dev {
                Some(dev) => dev.as_fd(),
                None => {
                    own = self.inside.directory(Path::new("/dev"))?.fd;
                    own.as_fd()
                }
            };
            let place = node_place(dev, OsStr::new("console"), 0o600)?;
            let tree = mount::clone_of(Some(pty), Path::new(""), Reach::One, false)?;
            mount::attach(tree.as_fd(), place.as_fd())
        };
        shown().map_err(failed("show the terminal as", path))
    }
}

/// The last name of a path that lies in /dev itself.
fn in_dev(path: &Path) -> Option<&OsStr> {
    let plain = lexical(path)?;
    let is_direct = plain.parent() == Some(Path::new("dev"));
    path.file_name().filter(|_| is_direct)
}

/// The umask is 0, so the mode is as it is given.
fn make_node(device: &Device, dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let number = rustix::fs::makedev(device.major, device.minor);
    let mode = Mode::from_raw_mode(device.full_mode());
    rustix::fs::mknodat(dir, name, device.kind, mode, number)?;
    let (uid, gid) = device.full_owner();
    if (uid, gid) != (0, 0) {
        rustix::fs::chownat(
            dir,
            name,
            Some(rustix::fs::Uid::from_raw(uid)),
            Some(rustix::fs::Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    Ok(())
}

/// What is there already is fine if it is that device, or if config.json has mounted it.
fn expect_device(device: &Device, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let found = rustix::fs::statx(
        dir,
        name,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::TYPE | StatxFlags::MODE,
    )?;
    if found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(());
    }
    let kind = FileType::from_raw_mode(found.stx_mode.into());
    let number = (found.stx_rdev_major, found.stx_rdev_minor);
    let is_it = kind == device.kind && (kind == FileType::Fifo || number == device.number());
    if is_it {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the image has something else at its place; mount a tmpfs on /dev",
        ))
    }
}

/// Shows the host's device of that name, if it is the one that is meant.
fn bind_node(device: &Device, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let tree = mount::clone_of(None, &device.path, Reach::One, false).map_err(|error| {
        let why = "the host's own would be shown, because only root of the host can make another";
        io::Error::new(error.kind(), format!("{why}: {error}"))
    })?;
    let found = rustix::fs::fstat(&tree)?;
    let number = (
        rustix::fs::major(found.st_rdev),
        rustix::fs::minor(found.st_rdev),
    );
    if FileType::from_raw_mode(found.st_mode) != device.kind || number != device.number() {
        return Err(io::Error::other(format!(
            "the host has another file there than the device {}:{}",
            device.major, device.minor
        )));
    }
    mount::change(tree.as_fd(), NODE, Reach::One)?;
    let place = node_place(dir, name, 0o666)?;
    mount::attach(tree.as_fd(), place.as_fd())
}

/// The file that a device is shown on. It is found before it is made, because opening a file to
/// make it would open a device that is there.
fn node_place(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<OwnedFd> {
    let find = || {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, flags, Mode::empty())
    };
    let found = match find() {
        Err(Errno::NOENT) => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode))?
        }
        found => found?,
    };
    match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
        FileType::Symlink => Err(Errno::LOOP.into()),
        _ => Ok(found),
    }
}

fn links(dev: BorrowedFd<'_>) -> io::Result<()> {
    for (name, target) in LINKS {
        // A kernel can be built without it.
        if name == "core" && !Path::new(target).exists() {
            continue;
        }
        match rustix::fs::symlinkat(target, dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The container's own terminals and not those of the image's node.
    match rustix::fs::symlinkat("pts/ptmx", dev, "ptmx") {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(dev, "ptmx", AtFlags::empty())?;
            Ok(rustix::fs::symlinkat("pts/ptmx", dev, "ptmx")?)
        }
        other => Ok(other?),
    }
}
