//! What a policy takes away below something that it allows: mounts over paths of a root that is
//! entered and in which nothing of the container's runs yet.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::mount::UnmountFlags;

use crate::launch::Failure;
use crate::policy::{Bind, Mask, MaskKind};
use crate::sys::mount::{self, Reach, attr};

const COVER: u64 = attr::RDONLY | attr::NOEXEC | attr::NOSUID | attr::NODEV;
const DIRECTORY: &str = "directory";
const FILE: &str = "file";

fn failed(path: &Path) -> impl Fn(io::Error) -> Failure {
    move |cause| Failure::new("mask", path.display().to_string(), cause)
}

/// Makes mount points of `pins`, so that nothing renames what masks lie in, and lays `masks`.
/// Each is looked at again afterwards.
///
/// # Errors
/// The path, and what the kernel said; a path that is not there is an error, since the plan says
/// that it is.
pub(super) fn lay(pins: &[Bind], masks: &[Mask]) -> Result<(), Failure> {
    for pin in pins {
        let fail = failed(&pin.path);
        let place = open(&pin.path).map_err(&fail)?;
        let tree = mount::clone_of(Some(place.as_fd()), Path::new(""), Reach::Tree, false);
        mount::attach(tree.map_err(&fail)?.as_fd(), place.as_fd()).map_err(&fail)?;
    }
    let hides = masks.iter().any(|mask| mask.kind == MaskKind::Hidden);
    let cover = match hides {
        true => Some(Cover::make().map_err(failed(Path::new("/")))?),
        false => None,
    };
    for mask in masks {
        lay_one(mask, cover.as_ref()).map_err(failed(&mask.path))?;
    }
    match cover {
        Some(cover) => cover.leave().map_err(failed(Path::new("/"))),
        None => Ok(()),
    }
}

/// The paths of a plan lead over no links, and none that came in since is followed.
fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(
        CWD,
        path,
        flags,
        Mode::empty(),
        resolve,
    )?)
}

fn lay_one(mask: &Mask, cover: Option<&Cover>) -> io::Result<()> {
    let place = open(&mask.path)?;
    let (tree, set) = match (mask.kind, cover) {
        (MaskKind::Hidden, Some(cover)) => (cover.over(&place)?, COVER),
        (MaskKind::Hidden, None) => return Err(io::Error::other("there is nothing to cover with")),
        (kind, _) => {
            let tree = mount::clone_of(Some(place.as_fd()), Path::new(""), Reach::Tree, false)?;
            let set = match kind {
                MaskKind::ReadOnly => attr::RDONLY,
                _ => attr::NOEXEC,
            };
            (tree, set)
        }
    };
    mount::set_attributes(tree.as_fd(), set, None)?;
    mount::attach(tree.as_fd(), place.as_fd())?;
    verify(mask, &tree)
}

/// What is at the path now is what was laid there.
fn verify(mask: &Mask, tree: &OwnedFd) -> io::Result<()> {
    let seen = open(&mask.path)?;
    let (seen_at, laid) = (rustix::fs::fstat(&seen)?, rustix::fs::fstat(tree)?);
    let flags = rustix::fs::fstatvfs(&seen)?.f_flag;
    let wanted = match mask.kind {
        MaskKind::NoExec => StatVfsMountFlags::NOEXEC,
        _ => StatVfsMountFlags::RDONLY,
    };
    let same = (seen_at.st_dev, seen_at.st_ino) == (laid.st_dev, laid.st_ino);
    match same && flags.contains(wanted) {
        true => Ok(()),
        false => Err(io::Error::other("the mask was laid and is not in force")),
    }
}

/// A small file system with an empty file and an empty directory that are open to nobody. It has
/// to be attached somewhere to be cloned from, and is over the root for that time.
struct Cover {
    tree: OwnedFd,
}

impl Cover {
    fn make() -> io::Result<Cover> {
        let options = [(c"size", c"16k"), (c"mode", c"0755")];
        let tree = mount::new_filesystem(c"tmpfs", &options, attr::NOSUID | attr::NODEV)?;
        rustix::fs::mkdirat(&tree, DIRECTORY, Mode::empty())?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&tree, FILE, flags, Mode::empty())?;
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        mount::attach(tree.as_fd(), root.as_fd())?;
        Ok(Cover { tree })
    }

    /// What covers the thing that was opened.
    fn over(&self, place: &OwnedFd) -> io::Result<OwnedFd> {
        let found = rustix::fs::statat(place, "", AtFlags::EMPTY_PATH)?;
        let name = match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => DIRECTORY,
            _ => FILE,
        };
        mount::clone_of(Some(self.tree.as_fd()), Path::new(name), Reach::One, false)
    }

    fn leave(self) -> io::Result<()> {
        rustix::process::fchdir(&self.tree)?;
        rustix::mount::unmount(".", UnmountFlags::DETACH)?;
        Ok(rustix::process::chdir("/")?)
    }
}
